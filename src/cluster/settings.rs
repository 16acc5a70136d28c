//! Who this node is, and how it gets to the servers of the log.

use std::path::{Path, PathBuf};

use async_nats::ServerAddr;

use crate::access::Secret;
use crate::config::{Cluster, ClusterName, LogServer};
use crate::tls;

/// Where the servers are and how they are spoken to.
#[derive(Debug, Clone)]
pub struct Settings {
    pub cluster: ClusterName,
    pub node: ClusterName,
    /// In the order in which they are tried. Never empty.
    pub(super) servers: Vec<ServerAddr>,
    pub(super) user: Option<(String, Secret)>,
    /// Authorities of the servers, PEM; those of the machine where there is none.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) identity: Option<Identity>,
}

/// A client certificate.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM.
    pub cert_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
}

/// Why servers cannot be used as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("cluster.servers is empty; name one at least, such as tls://10.0.0.1:4222")]
    NoServers,
    #[error("cluster.servers `{0}` is no address that the client of NATS takes")]
    Address(String),
    #[error("cannot read cluster.password_file {path}: {why}")]
    Password { path: String, why: String },
    #[error("{key}: {why}")]
    File { key: &'static str, why: String },
}

impl Settings {
    /// Without credentials, and with the machine's authorities.
    pub fn new(
        cluster: ClusterName,
        node: ClusterName,
        servers: &[LogServer],
    ) -> Result<Self, SettingsError> {
        let address = |server: &LogServer| {
            let text = server.to_string();
            text.parse().map_err(|_| SettingsError::Address(text))
        };
        let servers: Vec<ServerAddr> = servers.iter().map(address).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(SettingsError::NoServers);
        }
        Ok(Self { cluster, node, servers, user: None, ca_file: None, identity: None })
    }

    /// Those of the configuration, the password from its file.
    pub fn of(configured: &Cluster) -> Result<Self, SettingsError> {
        let Cluster { name, node, servers, login, ca, identity, .. } = configured;
        let mut settings = Self::new(name.clone(), node.clone(), servers)?;
        let file = |key: &'static str, path: &Path| {
            tls::resolve(path).map_err(|error| SettingsError::File { key, why: error.to_string() })
        };
        if let Some((user, path)) = login {
            let password = tls::first_line(path)
                .map_err(|why| SettingsError::Password { path: path.display().to_string(), why })?;
            settings = settings.user(user.as_str(), password);
        }
        if let Some(path) = ca {
            settings = settings.ca_file(file("cluster.ca", path)?);
        }
        if let Some((cert, key)) = identity {
            let (cert_file, key_file) = (file("cluster.cert", cert)?, file("cluster.key", key)?);
            settings = settings.identity(Identity { cert_file, key_file });
        }
        Ok(settings)
    }

    /// The same for each server by itself.
    pub fn each(&self) -> Vec<Self> {
        let one = |server: &ServerAddr| Self { servers: vec![server.clone()], ..self.clone() };
        self.servers.iter().map(one).collect()
    }

    #[must_use]
    pub fn user(mut self, user: &str, password: impl Into<String>) -> Self {
        self.user = Some((user.to_owned(), Secret::new(password)));
        self
    }

    #[must_use]
    pub fn ca_file(mut self, path: PathBuf) -> Self {
        self.ca_file = Some(path);
        self
    }

    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_the_configuration_is_one_for_the_client_and_a_password_is_not_shown() {
        let of = |servers: &[&str]| {
            let servers: Vec<LogServer> = servers.iter().map(|one| one.parse().unwrap()).collect();
            Settings::new("pbx".parse().unwrap(), "node1".parse().unwrap(), &servers)
        };
        assert_eq!(of(&[]).unwrap_err(), SettingsError::NoServers);
        let all = ["tls://10.0.0.1", "nats://localhost:5222", "tls://[fd00::1]:4222"];
        let settings = of(&all).unwrap();
        let servers = settings.servers.iter();
        let shown: Vec<_> = servers.map(|one| (one.tls_required(), one.port())).collect();
        assert_eq!(shown, [(true, 4222), (false, 5222), (true, 4222)]);
        let shown = format!("{:?}", settings.user("rollcall", "hidden"));
        assert!(shown.contains("***") && !shown.contains("hidden"), "{shown}");
    }
}
