//! The server: sockets in front of the HTTP service.

pub mod connection;
pub mod listener;

#[cfg(test)]
mod listener_tests;
