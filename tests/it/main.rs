//! Tests that drive the real binary over its real sockets. One test binary: a room a subject.

mod harness;

mod api;
mod cli;
mod crash;
mod golden;
mod hooks;
mod order;
mod power;
mod smoke;
mod transfer;
