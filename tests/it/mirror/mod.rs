//! The mirror, with a real Redis.

mod check;
mod found;
mod full;
mod live;
mod page;
pub mod redis;
mod scripted;
mod secure;
mod writer;
