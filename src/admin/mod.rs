//! The admin socket: commands for a running server, from its own machine and user.
//!
//! A conversation is one command. Each side sends frames `kind u8 · length u32 · content`: first the
//! request, then, while the command runs, input one way and output the other, last the reply.
//! Architecture invariant: nothing here knows what a command does; [`crate::ops::run`] does.

mod client;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod server;

pub use client::ask;
pub use server::{SOCKET_NAME, bind, check, serve};
