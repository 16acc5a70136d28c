//! systemd: the unit, and the user that it runs as.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::rights::{ENTER, READ, Rights, UserTable, WRITE};
use super::{Finding, Surroundings, shown};
use crate::config::Config;

/// The units that come with this release; the first two start the server, in one way or the other.
const SHIPPED: [(&str, &str); 6] = [
    ("rollcall.service", include_str!("../../systemd/rollcall.service")),
    ("rollcall-activated.service", include_str!("../../systemd/rollcall-activated.service")),
    ("rollcall.socket", include_str!("../../systemd/rollcall.socket")),
    ("rollcall-activated.socket", include_str!("../../systemd/rollcall-activated.socket")),
    ("rollcall-backup.service", include_str!("../../systemd/rollcall-backup.service")),
    ("rollcall-backup.timer", include_str!("../../systemd/rollcall-backup.timer")),
];
/// Where units are, the first wins.
const DIRS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

pub(super) fn check(config: &Config, known: &UserTable, around: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut named = false;
    for (name, shipped) in SHIPPED {
        let found = DIRS.iter().map(|dir| around.root.join(dir).join(name));
        let Some(path) = found.into_iter().find(|path| path.exists()) else { continue };
        match fs::read_to_string(&path) {
            Ok(text) => {
                findings.push(compare(&path, &text, shipped));
                // All of them name the same user.
                if !named && name.ends_with(".service") {
                    findings.extend(user(config, known, &path, &text));
                    named = true;
                }
            }
            Err(error) => {
                let advice = "run this as root";
                let problem = format!("cannot be read: {error}");
                findings.push(Finding::unknown(shown(&path), problem, advice));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("systemd", "there is no unit of rollcall"));
    }
    findings
}

fn compare(path: &Path, text: &str, shipped: &str) -> Finding {
    if settings(text) == settings(shipped) {
        return Finding::ok(shown(path), "it is the unit of this release");
    }
    let name = path.file_name().unwrap_or_default().display();
    Finding::warn(
        shown(path),
        "it differs from the unit of this release",
        format!(
            "install the one of this release, and keep what is yours in a drop-in: `systemctl \
             edit {name}`"
        ),
    )
}

fn settings(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).collect()
}

/// Whether there is the user that the unit names, and whether the data is that user's to use.
fn user(config: &Config, known: &UserTable, path: &Path, text: &str) -> Vec<Finding> {
    let named = settings(text).into_iter().find_map(|line| line.strip_prefix("User="));
    let Some(user) = named.filter(|user| !user.is_empty()) else { return Vec::new() };
    let object = format!("user {user}");
    let Some(known) = known.named(user) else {
        let problem = format!("{} names it, and /etc/passwd does not", shown(path));
        let advice = "install systemd/rollcall.sysusers as /usr/lib/sysusers.d/rollcall.conf, and \
                      run `systemd-sysusers`";
        return vec![Finding::error(object, problem, advice)];
    };
    let uid = known.uid;
    match fs::metadata(&config.data_dir) {
        Ok(dir) if !known.may(READ | WRITE | ENTER, Rights::of(&dir)) => vec![Finding::warn(
            object,
            format!(
                "the unit runs as user {uid}, who may not write to the data directory {}, which is \
                 user {}'s",
                shown(&config.data_dir),
                dir.uid()
            ),
            "if this is the service's configuration, `chown -R` the data directory; else give \
             the service's with --config",
        )],
        _ => vec![Finding::ok(object, format!("it is user {uid}"))],
    }
}
