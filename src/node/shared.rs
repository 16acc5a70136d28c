//! The settings that have to be the same on all nodes, as they tell each other.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest;

use crate::config::{Config, ForwardTarget};
use crate::domain::{counted, exact_duration};

/// Targets that are told one by one: a heartbeat has 16 KiB.
const TARGETS_MAX: usize = 40;
/// Characters of a URL that are told.
const SHOWN_MAX: usize = 80;

/// By their keys, as words without anything secret.
pub fn shared_settings(config: &Config) -> BTreeMap<String, String> {
    let time = |time: Duration| exact_duration(time).to_string();
    let retention = &config.retention;
    let mut settings: BTreeMap<String, String> = [
        ("calls.max_lifetime", time(config.calls.max_lifetime)),
        ("retention.age", retention.age.map_or("for good".to_owned(), time)),
        ("retention.bytes", counted(retention.bytes, "byte")),
        ("retention.history", time(retention.history)),
        ("retention.erase_within", time(retention.erase_within)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let targets = &config.forward.targets.0;
    if targets.len() <= TARGETS_MAX {
        let each = targets.iter().map(|target| {
            let shown: String = target.url.shown().chars().take(SHOWN_MAX).collect();
            let to = format!("{shown} ({})", short_hash(&described(target)));
            (format!("forward.targets.{}", target.name), to)
        });
        settings.extend(each);
    } else {
        let mut all: Vec<_> = targets.iter().map(described).collect();
        all.sort_unstable();
        let count = counted(targets.len(), "target");
        let value = format!("{count} ({})", short_hash(&all.join("\n")));
        settings.insert("forward.targets".to_owned(), value);
    }
    settings
}

/// All of a target but its password, which stands in a file of each machine.
fn described(target: &ForwardTarget) -> String {
    let ForwardTarget { name, url, account, applications, user, password_file: _ } = target;
    let mut applications: Vec<String> = applications.iter().map(ToString::to_string).collect();
    applications.sort_unstable();
    let user = user.as_deref().unwrap_or_default();
    format!("{name} {url} {account} {} {user}", applications.join(","))
}

/// What is told in place of something that may be secret.
fn short_hash(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    HEXLOWER.encode(digest.as_ref().get(..4).unwrap_or_default())
}
