//! What can fail before there is a store: addresses, certificates, the admin socket, the audit log.
//!
//! Invariant: a start that fails here has made nothing and changed nothing. So an operator can correct the
//! configuration and start again.

use std::path::Path;

use super::listeners::{self, Taken};
use super::owner::{cannot_bind, cannot_open, no_certificate};
use super::socket_activation::ActivatedSockets;
use crate::cdrs::Credentials;
use crate::config::Config;
use crate::logs::AuditLog;
use crate::ops::Failure;
use crate::store::{Lock, OpenError, expect_node};
use crate::{admin, clock, tls};

/// All that a store is opened with.
pub(super) struct Prepared {
    pub taken: Vec<Taken>,
    pub audit: AuditLog,
    pub lock: Lock,
    pub cdr_credentials: Option<Credentials>,
}

impl Prepared {
    /// Takes addresses, then the data directory; a new one is made.
    pub fn of(config: &Config, runtime_dir: Option<&Path>) -> Result<Self, Failure> {
        let activated = ActivatedSockets::from_environment()?;
        let cdr_credentials =
            Credentials::read(&config.cdrs).map_err(|error| Failure::new(error.to_string()))?;
        let failed = |error: OpenError| cannot_open(&error, &config.data_dir);
        // Who else has the store is said before who else has the port.
        let lock = match Lock::take(&config.data_dir, false) {
            Ok(lock) => Some(lock),
            Err(OpenError::Missing { .. }) => None,
            Err(error) => return Err(failed(error)),
        };
        if let (Some(held), Some(cluster)) = (&lock, config.cluster())
            && let Err(error) = expect_node(held.dir(), cluster.node.as_str())
        {
            return Err(given_back(lock, failed(error)));
        }
        let taken = match take(config, runtime_dir, activated) {
            Ok(taken) => taken,
            Err(failure) => return Err(given_back(lock, failure)),
        };
        let lock = match lock {
            Some(lock) => lock,
            None => Lock::take(&config.data_dir, true).map_err(failed)?,
        };
        // Last, since it makes its file.
        match config.audit() {
            Ok(audit) => Ok(Self { taken, audit, lock, cdr_credentials }),
            Err(failure) => Err(given_back(Some(lock), failure)),
        }
    }
}

fn take(
    config: &Config,
    runtime_dir: Option<&Path>,
    activated: ActivatedSockets,
) -> Result<Vec<Taken>, Failure> {
    let data_dir = &config.data_dir;
    let certificates = tls::check(&config.tls_setup(), clock::system_time());
    certificates.map_err(|error| no_certificate(&error, config))?;
    let socket = config.admin_socket_path(runtime_dir);
    admin::check(&socket, data_dir).map_err(|error| cannot_bind(&error, &socket, data_dir))?;
    listeners::take(config, activated)
}

fn given_back(lock: Option<Lock>, failure: Failure) -> Failure {
    if let Some(Err(error)) = lock.map(Lock::leave_as_it_was) {
        tracing::warn!(%error, "the data directory is not as it was");
    }
    failure
}
