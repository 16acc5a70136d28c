//! The targets of `[forward]` that pass on what came to the webhooks of others, as a file to be added to the
//! configuration. It may hold secrets of theirs, in URLs, and so it and the files with their passwords are for
//! their owner alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::paths;
use super::webhooks::WrittenTargets;
use crate::config::TargetUrl;
use crate::fsutil;
use crate::jambonz::{Application, Hook, Planned, Step, masked};
use crate::ops::Failure;

const HEAD: &str = "# What came to these webhooks is passed on by rollcall once these targets are in its configuration.\n";
/// Characters of an application's name that a target's name has.
const NAME_CHARS: usize = 40;

/// Writes a target for each webhook of others that has none yet.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(path: &Path, plan: &[Planned]) -> Result<WrittenTargets, Failure> {
    let mut text = HEAD.to_owned();
    let (mut count, mut without) = (0, Vec::new());
    let mut names = BTreeSet::new();
    for planned in plan {
        let foreign = matches!(planned.step, Step::Replace | Step::Refuse);
        let hook = planned.application.hook();
        let Some(hook) = hook.filter(|_| foreign && planned.passed_on.is_none()) else { continue };
        match target(path, &planned.application, hook, &mut names)? {
            Ok(lines) => {
                text.push_str(&lines);
                count += 1;
            }
            Err(why) => without.push(format!("{}: {why}", planned.application.name)),
        }
    }
    replace(path, &text)?;
    Ok(WrittenTargets { path: path.to_owned(), count, without })
}

/// The lines of one; or why there can be none.
fn target(
    path: &Path,
    application: &Application,
    hook: &Hook,
    names: &mut BTreeSet<String>,
) -> Result<Result<String, String>, Failure> {
    let Some(account) = application.account else {
        return Ok(Err("it is shared by several accounts, and a target is of one".to_owned()));
    };
    if !hook.is_post() {
        return Ok(Err("its webhook is a GET, and webhooks are passed on by POST".to_owned()));
    }
    let url: TargetUrl = match hook.url().parse() {
        Ok(url) => url,
        Err(_) => return Ok(Err(format!("{} is no URL of a target", masked(hook.url())))),
    };
    let name = name(application, names);
    let mut lines = format!(
        "\n[[forward.targets]]\nname = \"{name}\"\nurl = {}\naccount_sid = \"{account}\"\n\
         application_sids = [\"{}\"]\n",
        toml::Value::String(url.to_string()),
        application.sid
    );
    let Some(user) = hook.username() else { return Ok(Ok(lines)) };
    let mut file = path.as_os_str().to_owned();
    file.push(format!(".{name}.password"));
    let file = PathBuf::from(file);
    let user = toml::Value::String(user.to_owned());
    let shown = toml::Value::String(file.display().to_string());
    let _infallible = match hook.password().filter(|_| !hook.is_masked()) {
        Some(password) => {
            replace(&file, &format!("{password}\n"))?;
            writeln!(lines, "user = {user}\npassword_file = {shown}")
        }
        None => writeln!(
            lines,
            "# jambonz does not show the password of user {user}: put it into a file, and name both here.\n\
             # user = {user}\n# password_file = {shown}"
        ),
    };
    Ok(Ok(lines))
}

/// A name for a target: that of its application and the beginning of its sid.
fn name(application: &Application, names: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let words: String = application.name.chars().take(NAME_CHARS).map(plain).collect();
    let sid = application.sid.to_string();
    let short = sid.split('-').next().unwrap_or_default();
    let mut name = format!("{}-{short}", words.trim_matches('-'));
    if !names.insert(name.clone()) {
        name = format!("{}-{sid}", words.trim_matches('-'));
        names.insert(name.clone());
    }
    name.trim_matches('-').to_owned()
}

fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    fsutil::replace(path, 0o600, |_| text.as_bytes().to_vec())
        .map_err(|error| paths::failure("write", path, &error))
}
