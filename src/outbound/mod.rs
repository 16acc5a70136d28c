//! Requests that rollcall itself sends: to feature servers, and to jambonz's own API.
//!
//! Architecture invariant: nothing outside the configuration is ever connected to. A feature
//! server is either named by `[feature_servers] urls`, or every address that its name resolves to
//! lies in `[feature_servers] networks`; the address that was looked at is the one that is
//! connected to. No redirect is followed, no proxy is asked, and no request is sent twice.

mod address;
mod client;
mod error;
mod servers;

pub use address::{Base, Network};
pub use client::{Client, Message, UpstreamResponse};
pub use error::RequestError;
pub use servers::Servers;
