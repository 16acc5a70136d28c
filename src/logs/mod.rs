//! What may be said in the log, and the audit log.
//!
//! Architecture invariant: above `debug` no line holds a token, a secret, or a telephone number
//! that has not been through [`masked`]. Requests are named by the template of their path, since
//! paths and queries hold what callers wrote.

mod audit;
mod mask;
mod plain;
mod request;

pub use audit::{AuditEvent, AuditLog, AuditOutcome};
pub use mask::{masked, show_numbers};
pub use plain::{plain, plain_lines, plain_log};
pub use request::{LogRequest, WithRequest, note_account, note_token};
