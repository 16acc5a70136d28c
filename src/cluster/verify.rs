//! Whether the servers can keep the promise: what was acknowledged is on the disks of a quorum, and stays there.

use super::hints::ServerReport;
use super::log::{Bounds, REPLICAS};
use crate::domain::counted;

/// The first release that was tried.
const OLDEST: (u64, u64, u64) = (2, 14, 6);

/// Why a server or a stream is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("server {server} is nats-server \"{version}\": expected 2.14.6 or later")]
    TooOld { server: String, version: String },
    #[error(
        "server {server} acknowledges before its disk has it: expected sync_interval: always in nats.conf"
    )]
    NotSynced { server: String },
    #[error(
        "nothing is known of how server {server} syncs: expected its monitoring address in cluster.monitors \
         of a node that runs"
    )]
    Unproven { server: String },
    #[error(
        "server {server} has lost {} of stream {stream}: its replica has to be made anew",
        counted(*count, "message")
    )]
    Lost { server: String, stream: String, count: u64 },
    #[error("stream {stream} has {}: expected {expected}", counted(*found, "replica"))]
    Replicas { stream: String, found: usize, expected: usize },
    #[error("stream {stream} has {key} {found}: expected {expected}")]
    Config { stream: String, key: &'static str, found: String, expected: &'static str },
}

impl Problem {
    /// Acknowledged messages could be lost: nothing is taken. Others are told, and do no harm yet.
    pub fn refuses(&self) -> bool {
        !matches!(self, Self::Lost { .. })
    }
}

/// What is wrong with servers by themselves, whichever of them will have the stream.
pub fn verify_servers(reports: &[ServerReport]) -> Vec<Problem> {
    reports.iter().flat_map(of_server).collect()
}

fn of_server(report: &ServerReport) -> Vec<Problem> {
    let mut problems = Vec::new();
    let server = &report.name;
    if !is_tried(&report.version) {
        let version = report.version.chars().take(40).collect();
        problems.push(Problem::TooOld { server: server.clone(), version });
    }
    if !report.sync_always {
        problems.push(Problem::NotSynced { server: server.clone() });
    }
    problems
}

/// What is wrong with a stream and the servers that have it. `reports` are those of all monitors that were heard;
/// with `unverified_sync` servers of which none was heard are taken at their operator's word.
pub fn verify(bounds: &Bounds, reports: &[ServerReport], unverified_sync: bool) -> Vec<Problem> {
    let stream = &bounds.config.name;
    let mut problems = Vec::new();
    let config = &bounds.config;
    if config.num_replicas < REPLICAS {
        problems.push(Problem::Replicas {
            stream: stream.clone(),
            found: config.num_replicas,
            expected: REPLICAS,
        });
    }
    let flag = |is: bool| is.to_string();
    for (key, found, expected) in [
        ("storage", config.storage.clone(), "file"),
        ("retention", config.retention.clone(), "limits"),
        ("discard", config.discard.clone(), "old"),
        ("deny_delete", flag(config.deny_delete), "true"),
        ("allow_direct", flag(config.allow_direct), "true"),
        ("max_msgs", config.max_msgs.to_string(), "-1"),
    ] {
        if found != expected {
            problems.push(Problem::Config { stream: stream.clone(), key, found, expected });
        }
    }
    if config.max_bytes <= 0 {
        let found = config.max_bytes.to_string();
        let expected = "a bound, such as 40 GiB";
        problems.push(Problem::Config {
            stream: stream.clone(),
            key: "max_bytes",
            found,
            expected,
        });
    }
    let followers = bounds.replicas.iter().map(|replica| &replica.name);
    for server in bounds.leader.iter().chain(followers) {
        let Some(report) = reports.iter().find(|report| report.name == *server) else {
            if !unverified_sync {
                problems.push(Problem::Unproven { server: server.clone() });
            }
            continue;
        };
        problems.extend(of_server(report));
        if let Some(count) = report.deleted.filter(|count| *count > 0) {
            problems.push(Problem::Lost { server: server.clone(), stream: stream.clone(), count });
        }
    }
    problems
}

/// Whether it is [`OLDEST`] or later; what comes before a release counts as before it.
fn is_tried(text: &str) -> bool {
    let (numbers, is_release) = match text.split_once(['-', '+']) {
        Some((numbers, _)) => (numbers, false),
        None => (text, true),
    };
    let mut parts = numbers.trim_start_matches('v').split('.').map(str::parse::<u64>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => {
            let version = (major, minor, patch);
            version > OLDEST || (version == OLDEST && is_release)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::api::StreamConfig;
    use crate::cluster::log::ReplicaState;

    fn bounds() -> Bounds {
        let config = StreamConfig {
            name: "RC_pbx".to_owned(),
            retention: "limits".to_owned(),
            discard: "old".to_owned(),
            storage: "file".to_owned(),
            num_replicas: 3,
            max_bytes: 1,
            max_msgs: -1,
            deny_delete: true,
            allow_direct: true,
            ..StreamConfig::default()
        };
        let replica = |name: &str| ReplicaState {
            name: name.to_owned(),
            current: true,
            offline: false,
            lag: 0,
            silent: std::time::Duration::ZERO,
        };
        Bounds {
            epoch: None,
            first: 1,
            last: 0,
            messages: 0,
            bytes: 0,
            deleted: 0,
            leader: Some("n1".to_owned()),
            replicas: vec![replica("n2"), replica("n3")],
            clock: None,
            after: None,
            config,
        }
    }

    fn reports() -> Vec<ServerReport> {
        let report = |name: &str| ServerReport {
            name: name.to_owned(),
            version: "2.14.6".to_owned(),
            sync_always: true,
            deleted: Some(0),
            max_payload: 1 << 20,
            ..ServerReport::default()
        };
        ["n1", "n2", "n3", "n9"].map(report).into()
    }

    #[test]
    fn each_server_that_cannot_keep_the_promise_is_named() {
        let check = |change: &dyn Fn(&mut Bounds, &mut Vec<ServerReport>)| {
            let (mut bounds, mut reports) = (bounds(), reports());
            change(&mut bounds, &mut reports);
            let found = verify(&bounds, &reports, false);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(check(&|_, _| {}).is_empty());
        let one = |found: Vec<String>, text: &str| {
            assert!(found.len() == 1 && found[0].contains(text), "{found:?}");
        };
        one(check(&|_, r| r[1].version = "2.14.5".to_owned()), "n2 is nats-server \"2.14.5\"");
        one(check(&|_, r| r[1].version = "2.14.6-RC.1".to_owned()), "n2 is nats-server");
        one(check(&|_, r| r[1].version = "new".to_owned()), "\"new\": expected 2.14.6");
        one(check(&|_, r| r[2].sync_always = false), "server n3 acknowledges before");
        one(check(&|_, r| drop(r.remove(0))), "how server n1 syncs");
        one(check(&|_, r| r[0].deleted = Some(7)), "n1 has lost 7 messages");
        one(check(&|b, _| b.config.num_replicas = 1), "has 1 replica: expected 3");
        one(check(&|b, _| b.config.storage = "memory".to_owned()), "storage memory: expected file");
        one(check(&|b, _| b.config.max_bytes = -1), "max_bytes -1");
        one(check(&|b, _| b.config.deny_delete = false), "deny_delete false: expected true");
        // One that has no replica is of no concern.
        assert!(check(&|_, r| r[3].sync_always = false).is_empty());
        assert!(verify(&bounds(), &[], true).is_empty());
        for newer in ["2.15.1", "2.15.0", "3.0.0", "2.14.10", "v2.14.6", "2.15.0-preview.1"] {
            assert!(check(&|_, r| r[0].version = newer.to_owned()).is_empty(), "{newer}");
        }
    }
}
