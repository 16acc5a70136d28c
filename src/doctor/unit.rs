//! systemd: the unit, and the user that it runs as.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Finding, Surroundings, shown};
use crate::config::Config;

/// The unit that comes with this release.
const SHIPPED: &str = include_str!("../../systemd/rollcall.service");
/// Where units are, the first wins.
const DIRS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
const NAME: &str = "rollcall.service";

pub(super) fn check(config: &Config, around: &Surroundings) -> Vec<Finding> {
    let found = DIRS.iter().map(|dir| around.root.join(dir).join(NAME)).find(|path| path.exists());
    let Some(path) = found else {
        return vec![Finding::ok("systemd", "there is no unit rollcall.service")];
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let advice = "run this as root";
            let problem = format!("cannot be read: {error}");
            return vec![Finding::unknown(shown(&path), problem, advice)];
        }
    };
    let mut findings = vec![if settings(&text) == settings(SHIPPED) {
        Finding::ok(shown(&path), "it is the unit of this release")
    } else {
        Finding::warn(
            shown(&path),
            "it differs from the unit of this release",
            "install the one of this release, and keep what is yours in a drop-in: `systemctl \
             edit rollcall`",
        )
    }];
    findings.extend(user(config, &around.root, &path, &text));
    findings
}

/// The lines that say something.
fn settings(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).collect()
}

/// Whether there is the user that the unit names, and whether the data is that user's.
fn user(config: &Config, root: &Path, path: &Path, text: &str) -> Vec<Finding> {
    let named = settings(text).into_iter().find_map(|line| line.strip_prefix("User="));
    let Some(user) = named.filter(|user| !user.is_empty()) else { return Vec::new() };
    let object = format!("user {user}");
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let uid = passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(user)).then(|| parts.nth(1)?.parse::<u32>().ok())?
    });
    let Some(uid) = uid else {
        let problem = format!("{} names it, and /etc/passwd does not", shown(path));
        let advice = "install systemd/rollcall.sysusers as /usr/lib/sysusers.d/rollcall.conf, and \
                      run `systemd-sysusers`";
        return vec![Finding::error(object, problem, advice)];
    };
    match fs::metadata(&config.data_dir) {
        Ok(dir) if dir.uid() != uid => vec![Finding::warn(
            object,
            format!(
                "the unit runs as user {uid}, and the data directory {} is user {}'s",
                shown(&config.data_dir),
                dir.uid()
            ),
            "if this is the service's configuration, `chown -R` the data directory; else give \
             the service's with --config",
        )],
        _ => vec![Finding::ok(object, format!("it is user {uid}"))],
    }
}
