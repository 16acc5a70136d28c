//! Several machines: three real nats-servers, which the tests start. `log_….rs` are of the log alone.

mod admin;
mod checker;
mod commands;
mod erasure;
mod figures;
mod handover;
mod join;
mod kills;
mod log;
mod log_epochs;
mod log_failures;
mod log_follow;
mod log_gaps;
mod log_hints;
mod log_packing;
mod log_security;
pub mod nats;
mod node;
mod nodes;
mod page;
mod power;
mod quorum;
mod register;
mod takeover;
mod three;
mod writers;
