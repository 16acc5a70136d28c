//! rollcall: a call registry that answers the jambonz REST Calls API from its own durable store.
//!
//! `ARCHITECTURE.md` is the map. Public is what the program, the tests and the benchmarks use.

mod access;
mod admin;
mod backup;
mod cdrs;
pub mod cli;
pub mod clock;
pub mod cluster;
mod codec;
mod config;
mod console;
mod doctor;
pub mod domain;
mod forward;
pub mod fsutil;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod http;
pub mod index;
mod intake;
mod jambonz;
pub mod journal;
mod keys;
mod logs;
mod meter;
mod mirror;
mod node;
mod ops;
mod outbound;
mod random;
mod registry;
mod server;
mod store;
mod tls;
mod upstream;
mod users;
mod wire;
