//! The server: sockets in front of the HTTP service.

mod certificates;
mod client_address;
pub mod connection;
mod context;
mod demo;
mod door;
mod explain;
mod files;
mod handed;
pub mod listener;
mod pressure;
mod proxy_header;
mod pulse;
mod serve;
mod socket;
mod systemd;

pub use demo::ACCOUNT as DEMO_ACCOUNT;
pub use files::raise as raise_files;
pub use serve::{News, serve};

#[cfg(test)]
mod listener_tests;
