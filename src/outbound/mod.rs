//! Requests that rollcall itself sends: to feature servers, to jambonz's own API, and to its Redis.
//!
//! Architecture invariant: nothing is ever connected to that neither the configuration nor the command line names. A feature
//! server is either named by `[feature_servers] urls`, or every address that its name resolves to
//! lies in `[feature_servers] networks`; the address that was looked at is the one that is
//! connected to. No redirect is followed, no proxy is asked, and no request is sent twice: one is sent again over a new
//! connection only where nothing of it went out over a kept one.

mod address;
mod client;
mod error;
mod servers;
mod stream;

pub use address::{Base, Endpoint, Network};
pub use client::{Client, KeptConnections, Message, UpstreamResponse};
pub use error::{ClientError, RequestError};
pub use servers::Servers;
pub use stream::{ClientTls, Connector, Stream};
