//! CDRs: what jambonz's SBCs write of calls to an `InfluxDB`, once these have ended.
//!
//! They know what no webhook says: the trunk, the other host, who hung up, and calls that never reached an
//! application. rollcall takes them by the write side of `InfluxDB` 1.x (`http/cdrs.rs`), from an SBC or from a
//! subscription of `InfluxDB`. A CDR is an event like any other, and ranks below all others (`Rank::Cdr`): what
//! another source has said of a call stays. How it finds its call is told in `store/placing.rs`.
//!
//! `line.rs` is `InfluxDB`'s line protocol, `point.rs` what a point says of a call;
//! `influx.rs` asks an `InfluxDB`: `backfill.rs` for CDRs that it has, `subscription.rs` to send on what comes.

mod backfill;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod influx;
mod line;
mod point;
mod subscription;

pub use backfill::{Backfill, Found};
pub use influx::{Influx, InfluxError};
pub use line::{Precision, lines};
pub use point::{Cdr, PointError, PointKey};
pub use subscription::{Done, Subscription, Wanted, remove};

use crate::access::Secret;
use crate::config::CdrsSection;
use crate::fsutil;
use crate::tls;

/// The database that SBCs write CDRs to.
pub const DATABASE: &str = "cdrs";
/// Its measurements: a point for each CDR at the time of the attempt, and one at the time of the end.
pub const MEASUREMENTS: [&str; 2] = ["cdrs", BY_END];
const BY_END: &str = "cdrs_by_end";

/// What SBCs write for a value that they do not know.
const UNKNOWN: &str = "undefined";
/// The trunk whose calls are priced later, as jambonz names it.
const RATED_TRUNK: &str = "jambonz";

/// Bytes of a password, and of the file that it is in.
const PASSWORD_BYTES_MAX: usize = 4096;
const FILE_BYTES_MAX: u64 = 64 * 1024;
const PASSWORD_KEY: &str = "cdrs.password_file";

/// Who may write CDRs.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// Why the password cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {PASSWORD_KEY} {path}: {why}")]
pub struct PasswordError {
    path: String,
    why: String,
}

impl Credentials {
    /// Those of the configuration, the password from its file; none where CDRs are not taken.
    pub fn read(settings: &CdrsSection) -> Result<Option<Self>, PasswordError> {
        let (Some(_), Some(user), Some(path)) =
            (&settings.listen, &settings.user, &settings.password_file)
        else {
            return Ok(None);
        };
        let wrong = |why: String| PasswordError { path: path.display().to_string(), why };
        let file = tls::resolve(path).map_err(|error| wrong(error.to_string()))?;
        let read =
            fsutil::open_named(&file).and_then(|file| fsutil::contents(file, FILE_BYTES_MAX));
        let bytes = read.map_err(|error| wrong(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
        match text.lines().next().unwrap_or_default() {
            "" => Err(wrong("its first line is empty; expected the password there".to_owned())),
            line if line.len() > PASSWORD_BYTES_MAX => {
                Err(wrong(format!("its first line has more than {PASSWORD_BYTES_MAX} bytes")))
            }
            line => Ok(Some(Self { user: user.as_str().to_owned(), password: Secret::new(line) })),
        }
    }

    /// Whether they are these. It takes the same time whichever of them is wrong.
    pub fn are(&self, user: &str, password: &str) -> bool {
        let right_user = Secret::new(self.user.as_str()).matches(user);
        self.password.matches(password) & right_user
    }
}
