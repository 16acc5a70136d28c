//! Whether the servers can keep the promise: what was acknowledged is on the disks of a quorum, and stays there.

use std::time::Duration;

use super::hints::{Extent, ServerReport};
use super::log::{Bounds, REPLICAS};
use crate::domain::{counted, show_size};

/// Bytes of the largest message that a server has to take: of less than nats-server takes by itself not even heartbeats may
/// get through.
const PAYLOAD_MIN: u64 = 1_000_000;
/// Characters of a value that are shown.
const SHOWN_MAX: usize = 80;
/// The first release that was tried.
const OLDEST: (u64, u64, u64) = (2, 14, 6);

/// What will not be let go of by age within this time, in milliseconds, is kept by every replica: their servers' clocks
/// differ by less.
const EXPIRY_MARGIN: u64 = 60 * 60 * 1000;

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
        "server {server} runs without JetStream: after its disk was full or has failed it stays so until nats-server is \
         restarted; else expected jetstream in nats.conf"
    )]
    Disabled { server: String },
    #[error("server {server} takes messages of {} at most (max_payload): expected 1 MB or more", show_size(*most))]
    SmallMessages { server: String, most: u64 },
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
    #[error(
        "server {server} has lost the beginning of stream {stream}, {}, which {other} has: its replica has to be made anew",
        counted(*count, "message")
    )]
    LostBeginning { server: String, other: String, stream: String, count: u64 },
    #[error(
        "server {server} has other messages in stream {stream} than {others} under the same numbers: its replica has to \
         be made anew"
    )]
    OtherMessages { server: String, others: String, stream: String },
    #[error("stream {stream} has {}: expected {expected}", counted(*found, "replica"))]
    Replicas { stream: String, found: usize, expected: usize },
    #[error("stream {stream} has {key} {found}: expected {expected}")]
    Config { stream: String, key: &'static str, found: String, expected: String },
}

impl Problem {
    /// Acknowledged messages could be lost: nothing is taken. Others are told, and do no harm yet.
    pub fn refuses(&self) -> bool {
        // Without the right to purge nothing is lost; what is to be erased stays until it is old.
        !matches!(
            self,
            Self::Lost { .. }
                | Self::LostBeginning { .. }
                | Self::OtherMessages { .. }
                | Self::Disabled { .. }
                | Self::Config { key: "deny_purge", .. }
        )
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
    if report.disabled {
        // It acknowledges nothing.
        problems.push(Problem::Disabled { server: server.clone() });
    } else if !report.sync_always {
        problems.push(Problem::NotSynced { server: server.clone() });
    }
    // A server that says nothing of it is judged when it is connected to.
    let most = report.max_payload;
    if most > 0 && most < PAYLOAD_MIN {
        problems.push(Problem::SmallMessages { server: server.clone(), most });
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
    problems.extend(other_config(bounds));
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
    // What one that does not follow has says nothing: messages may have gone that it has still, or have come.
    let followers = bounds.replicas.iter().filter(|replica| replica.current);
    let follow: Vec<&String> =
        bounds.leader.iter().chain(followers.map(|replica| &replica.name)).collect();
    let there = reports.iter().filter(|report| follow.contains(&&report.name));
    let there: Vec<_> = there.filter_map(|report| Some((report, report.extent?))).collect();
    problems.extend(lost_beginnings(stream, bounds.max_age(), &there));
    problems.extend(other_messages(stream, &there));
    problems
}

/// What of the stream is not as it was made.
fn other_config(bounds: &Bounds) -> Vec<Problem> {
    let config = &bounds.config;
    let flag = |is: bool| is.to_string();
    let number = |number: i64| number.to_string();
    let mut keys = vec![
        ("storage", config.storage.clone(), "file".to_owned()),
        ("retention", config.retention.clone(), "limits".to_owned()),
        ("discard", config.discard.clone(), "old".to_owned()),
        ("deny_delete", flag(config.deny_delete), flag(true)),
        ("deny_purge", flag(config.deny_purge), flag(false)),
        ("allow_direct", flag(config.allow_direct), flag(true)),
        ("max_msgs", number(config.max_msgs), number(-1)),
        ("max_msg_size", number(config.max_msg_size), number(-1)),
    ];
    if config.max_bytes <= 0 {
        keys.push(("max_bytes", number(config.max_bytes), "a bound, such as 40 GiB".to_owned()));
    }
    if let Some(expected) = bounds.expected_subjects() {
        keys.push(("subjects", config.subjects.join(", "), expected));
    }
    // What nobody has set is not said, or said as this.
    for (key, unset, expected) in [
        ("sealed", "false", "false"),
        ("no_ack", "false", "false"),
        ("max_msgs_per_subject", "-1", "-1"),
        ("mirror", "null", "none"),
        ("sources", "null", "none"),
        ("subject_transform", "null", "none"),
        ("persist_mode", "\"default\"", "default"),
    ] {
        if let Some(found) = config.more.get(key).map(ToString::to_string)
            && found != unset
        {
            let found = found.chars().take(SHOWN_MAX).collect();
            keys.push((key, found, expected.to_owned()));
        }
    }
    let other = keys.into_iter().filter(|(_, found, expected)| found != expected);
    let stream = &config.name;
    other
        .map(|(key, found, expected)| Problem::Config {
            stream: stream.clone(),
            key,
            found,
            expected,
        })
        .collect()
}

/// Replicas that begin later than another one does.
fn lost_beginnings(
    stream: &str,
    max_age: Duration,
    there: &[(&ServerReport, Extent)],
) -> Vec<Problem> {
    let max_age = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
    let lost = |(report, extent): &(&ServerReport, Extent)| {
        let others = there.iter().filter(|(other, begin)| {
            // Servers let go of what is old by their own clocks, and not at the same moment.
            let ends = begin.first_at.saturating_add(max_age);
            let stays = ends >= other.looked_at.saturating_add(EXPIRY_MARGIN);
            let is_much = extent.first_at.saturating_sub(begin.first_at) >= max_age / 4;
            // Messages may have been trimmed between two looks: the other one has it still after this one lacked it.
            let before = report.before.filter(|before| before.extent.first > begin.first);
            let lacked = report.looked_at.saturating_sub(before.map_or(0, |before| before.millis));
            other.looked_at >= lacked && (stays || is_much || max_age == 0)
        });
        let (other, begin) = others.min_by_key(|(_, begin)| begin.first)?;
        (begin.first < extent.first).then(|| Problem::LostBeginning {
            server: report.name.clone(),
            other: other.name.clone(),
            stream: stream.to_owned(),
            count: extent.first - begin.first,
        })
    };
    there.iter().filter_map(lost).collect()
}

/// Replicas that are larger or smaller than the others with as many messages of the same numbers.
fn other_messages(stream: &str, there: &[(&ServerReport, Extent)]) -> Vec<Problem> {
    let place = |extent: &Extent| (extent.first, extent.last, extent.messages);
    let other = |(report, extent): &(&ServerReport, Extent)| {
        let beside = there
            .iter()
            .filter(|(other, its)| other.name != report.name && place(its) == place(extent));
        let (alike, unlike): (Vec<_>, Vec<_>) =
            beside.partition(|(_, its)| its.bytes == extent.bytes);
        // Of three it is the one that has other messages than two.
        (unlike.len() > alike.len()).then(|| Problem::OtherMessages {
            server: report.name.clone(),
            others: unlike.iter().map(|(other, _)| &*other.name).collect::<Vec<_>>().join(" and "),
            stream: stream.to_owned(),
        })
    };
    there.iter().filter_map(other).collect()
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
    use crate::cluster::Epoch;
    use crate::cluster::api::StreamConfig;
    use crate::cluster::hints::Before;
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
            max_msg_size: -1,
            deny_delete: true,
            allow_direct: true,
            ..StreamConfig::default()
        };
        let replica = |name: &str| ReplicaState {
            name: name.to_owned(),
            current: true,
            offline: false,
            lag: 0,
            silent: Duration::ZERO,
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
        one(
            check(&|_, r| r[2].max_payload = 1024),
            "server n3 takes messages of 1.0 kB at most (max_payload)",
        );
        assert!(check(&|_, r| r[2].max_payload = 0).is_empty());
        one(
            check(&|_, r| (r[2].disabled, r[2].sync_always) = (true, false)),
            "n3 runs without JetStream",
        );
        one(check(&|_, r| drop(r.remove(0))), "how server n1 syncs");
        one(check(&|_, r| r[0].deleted = Some(7)), "n1 has lost 7 messages");
        // What is trimmed, and what is let go of by age, goes at one server a little before it goes at another.
        let begins = |late: (u64, u64), early: (u64, u64), looked: [u64; 2]| {
            let extent = |(first, first_at)| {
                Some(Extent { first, first_at, last: 999, messages: 1, bytes: first })
            };
            check(&|bounds, reports| {
                bounds.config.max_age = 7 * 24 * 3_600_000 * 1_000_000;
                for report in &mut *reports {
                    (report.extent, report.looked_at) = (extent(early), looked[1]);
                }
                (reports[0].extent, reports[0].looked_at) = (extent(late), looked[0]);
            })
        };
        let (hour, day) = (3_600_000, 24 * 3_600_000);
        let young = begins((40, 30 * day), (7, 29 * day), [31 * day; 2]);
        one(young, "n1 has lost the beginning of stream RC_pbx, 33 messages, which n");
        let looked = [31 * day, 31 * day - 1];
        let trimmed = begins((40, 30 * day), (7, 29 * day), looked);
        assert!(trimmed.is_empty(), "{trimmed:?}");
        let lacked_before = |first, millis| {
            let extent =
                |first| Extent { first, first_at: 30 * day, last: 999, messages: 1, bytes: 1 };
            check(&|bounds, reports| {
                bounds.config.max_age = 7 * 24 * 3_600_000 * 1_000_000;
                for (report, (begin, at)) in
                    reports.iter_mut().zip([(40, looked[0]), (7, looked[1]), (7, looked[1])])
                {
                    (report.extent, report.looked_at) = (Some(extent(begin)), at);
                }
                reports[0].before = Some(Before { extent: extent(first), millis });
            })
        };
        one(lacked_before(40, 1), "n1 has lost the beginning of stream RC_pbx, 33 messages");
        one(lacked_before(8, 10_000), "n1 has lost the beginning of stream RC_pbx, 33 messages");
        // It had it still, or was looked at before the others were.
        assert!(lacked_before(7, 10_000).is_empty() && lacked_before(40, 0).is_empty());
        let expired = begins((8, 24 * day + hour), (7, 24 * day), [31 * day; 2]);
        assert!(expired.is_empty(), "{expired:?}");
        let most = begins((900, 29 * day), (7, 24 * day), [31 * day; 2]);
        one(most, "n1 has lost the beginning of stream RC_pbx, 893 messages");
        let sizes = |sizes: [u64; 3], last: u64, current: bool| {
            check(&|bounds, reports| {
                for (report, bytes) in reports.iter_mut().zip(sizes) {
                    report.extent =
                        Some(Extent { first: 1, last: 9, messages: 9, bytes, first_at: 0 });
                }
                reports[1].extent = reports[1].extent.map(|extent| Extent { last, ..extent });
                bounds.replicas[0].current = current;
            })
        };
        one(sizes([90, 91, 90], 9, true), "n2 has other messages in stream RC_pbx than n1 and n3");
        assert_eq!(sizes([90, 91, 92], 9, true).len(), 3);
        // It has come further since, or does not follow.
        assert!(sizes([90, 91, 90], 10, true).is_empty());
        assert!(sizes([90, 91, 90], 9, false).is_empty());
        one(check(&|b, _| b.config.num_replicas = 1), "has 1 replica: expected 3");
        one(check(&|b, _| b.config.storage = "memory".to_owned()), "storage memory: expected file");
        one(check(&|b, _| b.config.max_bytes = -1), "max_bytes -1");
        one(check(&|b, _| b.config.deny_delete = false), "deny_delete false: expected true");
        one(check(&|b, _| b.config.max_msg_size = 300), "max_msg_size 300: expected -1");
        let subjects = |subject: &str| {
            check(&|bounds, _| {
                bounds.epoch = Some(Epoch::from_bytes([1; 16]));
                bounds.config.subjects = vec![subject.to_owned()];
            })
        };
        let own = format!("rc.pbx.log.{}.*", Epoch::from_bytes([1; 16]));
        assert!(subjects(&own).is_empty());
        one(subjects("rc.pbx.log.*.*"), &format!("subjects rc.pbx.log.*.*: expected {own}"));
        let more = |key: &str, value: serde_json::Value| {
            check(&|b, _| drop(b.config.more.insert(key.to_owned(), value.clone())))
        };
        one(more("sealed", true.into()), "has sealed true: expected false");
        one(more("no_ack", true.into()), "has no_ack true: expected false");
        one(more("max_msgs_per_subject", 3.into()), "max_msgs_per_subject 3: expected -1");
        one(
            more("mirror", serde_json::json!({ "name": "x" })),
            "mirror {\"name\":\"x\"}: expected",
        );
        assert!(more("sealed", false.into()).is_empty());
        assert!(more("max_msgs_per_subject", (-1).into()).is_empty());
        assert!(more("allow_msg_ttl", true.into()).is_empty());
        // Nothing is lost by this one.
        let (mut no_purge, reports) = (bounds(), reports());
        no_purge.config.deny_purge = true;
        let found = verify(&no_purge, &reports, false);
        assert!(found.len() == 1 && !found[0].refuses(), "{found:?}");
        // One that has no replica is of no concern.
        assert!(check(&|_, r| r[3].sync_always = false).is_empty());
        assert!(verify(&bounds(), &[], true).is_empty());
        for newer in ["2.15.1", "2.15.0", "3.0.0", "2.14.10", "v2.14.6", "2.15.0-preview.1"] {
            assert!(check(&|_, r| r[0].version = newer.to_owned()).is_empty(), "{newer}");
        }
    }
}
