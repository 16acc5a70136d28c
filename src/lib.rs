//! rollcall: a call registry that answers the jambonz REST Calls API from its own durable store.
//!
//! `ARCHITECTURE.md` is the map.

pub mod access;
pub mod admin;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod files;
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod index;
pub mod journal;
pub mod keys;
pub mod logs;
pub mod meter;
pub mod ops;
pub mod outbound;
pub mod random;
pub mod registry;
pub mod server;
pub mod store;
pub mod tls;
pub mod wire;
