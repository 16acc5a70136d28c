//! The server: sockets in front of the HTTP service.

mod certificates;
mod client_address;
pub mod connection;
mod context;
mod demo;
mod error_bodies;
mod files;
mod first_bytes;
mod idle_eviction;
pub mod listener;
mod listeners;
mod owner;
mod prepare;
mod proxy_header;
mod request_timer;
mod serve;
mod signals;
mod socket;
mod socket_activation;
mod systemd;
mod warnings;
mod watchdog;

pub use demo::Samples;
pub use files::raise as raise_files;
pub use owner::{cannot_open, of_another};
pub use serve::{News, serve};

#[cfg(test)]
mod listener_tests;
