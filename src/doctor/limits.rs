//! What the system lets the server have.

use super::server::ObservedServer;
use super::{Finding, process};
use crate::config::Config;
use crate::domain::counted;

/// Files that are open beside connections and feeds: the journal, the index, sockets, requests to
/// others.
const OTHERS: u64 = 256;

const OBJECT: &str = "open files";

/// Connections that are to be able to wait for a server that restarts: ten seconds of 200 a second.
const WAITING: u64 = 2000;

pub(super) fn check(config: &Config, server: &ObservedServer) -> Vec<Finding> {
    let pid = server.answers().and_then(|answers| answers.pid);
    let of_server = pid.and_then(process::open_files_max);
    // A server raises its limit to the hard one.
    let own = || rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = of_server.unwrap_or_else(|| own().unwrap_or(u64::MAX));
    let whose = if of_server.is_some() { "the server" } else { "a server started from here" };
    let listeners = 1 + u64::from(config.http.listen.is_some());
    let others = OTHERS + config.limits.event_streams as u64;
    let mut findings = judge(whose, most, config.limits.connections as u64, listeners, others);
    // Of the network that this command is in, which is that of the process that opens listeners.
    let waiting = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    findings.extend(waiting.and_then(|text| text.trim().parse().ok()).map(judge_waiting));
    findings
}

/// How many connections the kernel lets wait for each listener.
pub(super) fn judge_waiting(most: u64) -> Finding {
    let object = "net.core.somaxconn";
    if most >= WAITING {
        return Finding::ok(
            object,
            format!("{} may wait for each listener", counted(most, "connection")),
        );
    }
    let problem = format!(
        "{} may wait for each listener: while the server is busy or restarts, \
         further ones are dropped, and webhooks are lost",
        counted(most, "connection")
    );
    let advice = format!(
        "`sysctl -w net.core.somaxconn=4096`, and the same in a file of /etc/sysctl.d; {WAITING} are \
         ten seconds of 200 a second"
    );
    Finding::warn(object, problem, advice)
}

pub(super) fn judge(
    whose: &str,
    most: u64,
    connections: u64,
    listeners: u64,
    others: u64,
) -> Vec<Finding> {
    let needed = connections.saturating_mul(listeners).saturating_add(others);
    if most >= needed {
        return vec![Finding::ok(OBJECT, format!("{whose} may open {most}"))];
    }
    let problem = format!(
        "{whose} may open {most}, and limits.connections = {connections} needs {needed}; fewer \
         connections are taken, so that files of the store can be opened"
    );
    let advice = format!("LimitNOFILE={needed} in the unit, or `ulimit -n`; or fewer connections");
    vec![Finding::warn(OBJECT, problem, advice)]
}
