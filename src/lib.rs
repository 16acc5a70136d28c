//! rollcall: a call registry that answers the jambonz REST Calls API from its own durable store.
//!
//! `ARCHITECTURE.md` is the map of this house.

pub mod codec;
pub mod domain;
pub mod journal;
pub mod wire;
