//! Tests that drive the real binary over its real sockets. One test binary: a room a subject.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by a panic, and says what it skips"
)]

mod harness;
mod peer;

mod api;
mod appliance;
mod backup;
mod cdrs;
mod cli;
mod clients;
mod cluster;
mod console;
mod control;
mod crash;
mod faults;
mod files;
mod forward;
mod full;
mod fuzz;
mod golden;
mod hooks;
mod jambonz;
mod load;
mod mirror;
mod order;
mod portal;
mod power;
mod properties;
mod search;
mod setup;
mod smoke;
mod stats;
mod tidy;
mod transfer;
mod upgrade;
mod upstream;
