//! The call status webhooks of jambonz's applications: set, and put back, through jambonz's REST API.
//!
//! Facts about that API (0.9.6, tried). A webhook is a row of its own, which several applications may
//! share. `PUT /v1/Applications/{sid}` with a `call_status_hook` is refused unless the `call_hook` is sent
//! too, and one that names its `webhook_sid` changes the row, for every application that has it. So a new
//! row is made (`POST /v1/Webhooks`) and the application is pointed at it by `call_status_hook_sid`; the
//! row that was there stays as it is. Putting it back points the application at it again; this is also the
//! one way to take a webhook away (`null`). `GET /v1/ServiceProviders/{sid}/Applications` lists those of
//! everybody, so the accounts of a service provider are asked for instead.
//!
//! Architecture invariant: what is replaced is on disk before it is, and is never written over
//! ([`KeepFile`]).

mod api;
mod attach;
mod change;
mod detach;
mod hook;
mod keep;

pub use api::{Api, ApiError, Scope};
pub use attach::{Attach, PassedOn, Planned, Step};
pub use change::ChangeError;
pub use detach::{Back, Restoring};
pub use hook::{Application, Hook, HookUrl, masked};
pub use keep::{KeepError, KeepFile};
