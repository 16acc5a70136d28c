//! The server: sockets in front of the HTTP service.

mod certificates;
pub mod connection;
mod demo;
mod explain;
pub mod listener;
mod serve;

pub use demo::ACCOUNT as DEMO_ACCOUNT;
pub use serve::{News, serve};

#[cfg(test)]
mod listener_tests;
