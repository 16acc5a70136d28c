//! Where rollcall itself may connect to.

use std::net::{IpAddr, Ipv4Addr};

use super::rights::{User, denied};
use super::{Finding, shown};
use crate::config::Config;
use crate::domain::counted;
use crate::outbound::Network;

/// Bits of a prefix below which a network is very wide.
const BITS_MIN_V4: u8 = 16;
const BITS_MIN_V6: u8 = 48;
/// Where clouds answer for their machines, and give away their credentials.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

pub(super) fn check(config: &Config, server: &User) -> Vec<Finding> {
    let servers = &config.feature_servers;
    let mut findings: Vec<Finding> = servers.networks.iter().filter_map(network).collect();
    if let Some(ca) = &config.upstream.ca
        && let Err(error) = std::fs::read(ca)
    {
        let object = format!("upstream.ca {}", shown(ca));
        let wrong = || {
            let advice = "name a PEM file that the server's user may read";
            Finding::error(&object, format!("cannot be read: {error}"), advice)
        };
        let denied = denied(&object, &error, server, &config.data_dir);
        findings.push(denied.unwrap_or_else(wrong));
    }
    if findings.is_empty() {
        let (urls, networks) = (servers.urls.len(), servers.networks.len());
        let what = match (urls, networks) {
            (0, 0) => "nowhere: calls can be listed, and not controlled".to_owned(),
            _ => format!(
                "to {} and {}",
                counted(urls, "feature server"),
                counted(networks, "network")
            ),
        };
        findings.push(Finding::ok("outgoing connections", what));
    }
    findings
}

fn network(network: &Network) -> Option<Finding> {
    let object = format!("feature_servers.networks {network}");
    let advice = "name the networks of the feature servers alone, such as 10.0.5.0/24";
    if network.contains(METADATA) {
        let problem = format!("it holds {METADATA}, where clouds hand out credentials");
        return Some(Finding::warn(object, problem, advice));
    }
    let least = if network.is_ipv4() { BITS_MIN_V4 } else { BITS_MIN_V6 };
    (network.bits() < least).then(|| {
        let problem = "it is very wide: every client that may send events has rollcall connect to any \
                       address in it";
        Finding::warn(object, problem, advice)
    })
}
