//! Backups: the journal and the secrets of a data directory, up to one commit.
//!
//! ```text
//! journal/…       segments, packed or not; the last one up to the last commit at the time
//! tls/…           the private authority, certificates and keys, where rollcall made them
//! admin.token     the first admin token, until it is revoked
//! BACKUP          the manifest: what every file is; the last that is written
//! ```
//!
//! It is a directory of these, or a tar of them in this order, compressed by zstd and, where it is
//! asked for, encrypted by age. The index is not in it: it is built again. Nor is `FORMAT`: a backup
//! is no data directory, and what is made of it begins a new epoch.
//!
//! **Online.** Sealed segments never change, and a segment that is held keeps its file. So a backup is the
//! list of segments at one moment and then their bytes, for as long as that takes. [`send`] reads them
//! in the server; [`Writing`] takes them, with the rights of the user who runs the command, checks
//! every frame as it passes by, and writes.
//!
//! **In a pipe.** An archive has its manifest last, so that it can be written to a stream and read from one, once, with
//! nothing held whole. Its reader makes a data directory that is none before all is checked. The writer does not wait for ever
//! for its reader (`pipe.rs`), since the store keeps what was not read yet.
//!
//! **What a crash leaves.** A backup is written under a name that ends in `.partial`, synced, and
//! renamed at the end. A directory that is there already may be a mount, which nothing can be renamed to:
//! a backup, as a restore, fills it in place and marks it with the file `UNFINISHED` first; a directory
//! with that is refused by every command. The writer holds a lock: files of a killed backup have no
//! lock, and the next backup removes them.

mod archive;
mod error;
mod examine;
mod in_place;
mod keep;
mod manifest;
mod names;
mod parts;
mod pipe;
mod read;
mod restore;
mod send;
mod verify;
mod write;

pub use crate::journal::Until;
pub use archive::{Recipient, parse_recipient};
pub use error::BackupError;
pub use manifest::Manifest;
pub use read::{BackupSource, Identities};
pub use restore::{Restored, restore};
pub use send::{BackupScope, send};
pub use verify::verify;
pub use write::{BackupRequest, BackupSummary, Put, StreamRequest, write, write_stream};
