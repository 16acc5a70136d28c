//! What the system lets the server have.

use super::server::Server;
use super::{Finding, process};
use crate::config::Config;

/// Files that are open beside connections: the journal, the index, sockets, requests to others.
const OTHERS: u64 = 256;

const OBJECT: &str = "open files";

pub(super) fn check(config: &Config, server: &Server) -> Vec<Finding> {
    let pid = server.answers().and_then(|answers| answers.pid);
    let of_server = pid.and_then(process::open_files_max);
    let own = || rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let soft = of_server.unwrap_or_else(|| own().unwrap_or(u64::MAX));
    let whose = if of_server.is_some() { "the server" } else { "a server started from here" };
    let listeners = 1 + u64::from(config.http.listen.is_some());
    judge(whose, soft, config.limits.connections as u64, listeners)
}

pub(super) fn judge(whose: &str, soft: u64, connections: u64, listeners: u64) -> Vec<Finding> {
    let needed = connections.saturating_mul(listeners).saturating_add(OTHERS);
    if soft >= needed {
        return vec![Finding::ok(OBJECT, format!("{whose} may open {soft}"))];
    }
    let problem = format!(
        "{whose} may open {soft}, and limits.connections = {connections} needs {needed}; beyond \
         that neither connections nor files of the store can be opened"
    );
    let advice = format!("LimitNOFILE={needed} in the unit, or `ulimit -n`; or fewer connections");
    vec![Finding::warn(OBJECT, problem, advice)]
}
