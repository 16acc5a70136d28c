//! The server: sockets in front of the HTTP service.

mod certificates;
mod client_address;
pub mod connection;
mod context;
mod demo;
mod door;
mod explain;
mod files;
mod first_bytes;
mod handed;
pub mod listener;
mod owner;
mod prepare;
mod pressure;
mod proxy_header;
mod pulse;
mod request_timer;
mod serve;
mod signals;
mod socket;
mod systemd;
mod warnings;

pub use demo::ACCOUNT as DEMO_ACCOUNT;
pub use files::raise as raise_files;
pub use owner::{cannot_open, of_another, us};
pub use serve::{News, serve};

#[cfg(test)]
mod listener_tests;
