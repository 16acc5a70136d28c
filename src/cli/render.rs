//! Answers as texts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::logs;
use crate::ops::{
    AccountInfo, CertificateInfo, CertificateList, Figures, HookFigures, Left, Listener, Part,
    Purged, Refusals, Reply, Summary, TokenInfo, Where,
};
use crate::store::{Checked, Collected, Expiring, Reason, Status};

/// What goes to standard output, and what is said beside it.
pub(super) struct Shown {
    pub data: String,
    pub aside: Option<String>,
}

impl From<String> for Shown {
    fn from(data: String) -> Self {
        Self { data, aside: None }
    }
}

/// An answer for programs.
pub(super) fn json(reply: &Reply, running: bool) -> Shown {
    let value = match reply {
        Reply::Token { id, value } => json!({ "id": id, "token": value }),
        Reply::Tokens(tokens) => json!(tokens),
        Reply::Accounts(accounts) => json!(accounts),
        Reply::Done(text) => json!({ "done": text }),
        Reply::Imported(summary) => json!(summary),
        Reply::Written(calls) => json!({ "calls": calls }),
        // As they are: a value that went through a parser is not always the same.
        Reply::Calls(lines) => return format!("[{}]", lines.join(",\n")).into(),
        Reply::Certificates(list) => json!(list),
        Reply::Status(status) => {
            let mut value = json!(status);
            if let Value::Object(members) = &mut value {
                members.insert("running".to_owned(), json!(running));
            }
            value
        }
        Reply::Health(health) => json!(health),
        Reply::Compacted { journal, index } => json!({ "journal": journal, "index": index }),
        Reply::Expiring(accounts) => json!(accounts),
        Reply::Expired(done) => json!(done),
        Reply::Purged(purged) => json!(purged),
        Reply::Checked(checked) => json!(checked),
    };
    value.to_string().into()
}

/// An answer for people.
pub(super) fn text(reply: &Reply, running: bool) -> Shown {
    match reply {
        Reply::Token { id, value } => {
            Shown { data: value.clone(), aside: Some(format!("token {id}; it is not shown again")) }
        }
        Reply::Tokens(tokens) => table(
            &["ID", "NAME", "SCOPE", "ROLE", "CREATED", "EXPIRES", "LAST USED"],
            tokens.iter().map(token_row).collect(),
        )
        .into(),
        Reply::Accounts(accounts) => table(
            &["ACCOUNT SID", "NAME", "SERVICE PROVIDER", "SIGNED", "HOOK USER", "KEPT"],
            accounts.iter().map(account_row).collect(),
        )
        .into(),
        Reply::Done(text) => text.clone().into(),
        Reply::Imported(summary) => imported(summary).into(),
        Reply::Written(calls) => format!("{calls} calls").into(),
        Reply::Calls(lines) => lines.iter().map(|line| one_call(line)).collect::<String>().into(),
        Reply::Certificates(list) => certificates(list).into(),
        Reply::Status(status) => figures(status, running).into(),
        Reply::Compacted { journal, index } => {
            let index = format!(
                "index: {} before, {} now, {} calls",
                bytes(index.bytes_before),
                bytes(index.bytes_after),
                index.calls
            );
            format!("{}\n{index}", packed(journal)).into()
        }
        Reply::Expiring(accounts) if accounts.is_empty() => "nothing would go".to_owned().into(),
        Reply::Expiring(accounts) => table(
            &["ACCOUNT SID", "CALLS", "OLDEST", "NEWEST", "FOR ITS"],
            accounts.iter().map(expiring_row).collect(),
        )
        .into(),
        Reply::Expired(done) => {
            format!("{} calls were deleted\n{}", done.expired, packed(done)).into()
        }
        Reply::Purged(purged) => forgotten(purged).into(),
        Reply::Checked(checked) => checked_text(checked).into(),
        // Asked for by a command that tells it itself.
        Reply::Health(_) => String::new().into(),
    }
}

fn token_row(token: &TokenInfo) -> Vec<String> {
    let expires = token.expires_at.clone().unwrap_or_else(|| "never".to_owned());
    vec![
        token.id.clone(),
        token.name.clone().unwrap_or_default(),
        token.scope.clone(),
        token.role.as_str().to_owned(),
        token.created_at.clone(),
        if token.expired { format!("{expires} (over)") } else { expires },
        token.last_used_at.clone().unwrap_or_else(|| "never".to_owned()),
    ]
}

fn account_row(account: &AccountInfo) -> Vec<String> {
    let provider = account.service_provider_sid.map(|sid| sid.to_string());
    vec![
        account.account_sid.to_string(),
        account.name.clone().unwrap_or_default(),
        provider.unwrap_or_default(),
        if account.webhook_secret { "yes" } else { "no" }.to_owned(),
        account.hook_user.clone().unwrap_or_default(),
        account.keep.clone().unwrap_or_default(),
    ]
}

fn packed(done: &Collected) -> String {
    match done.segments {
        0 => "journal: nothing to pack".to_owned(),
        segments => format!(
            "journal: {segments} segments packed, {} before, {} now",
            bytes(done.bytes_before),
            bytes(done.bytes_after)
        ),
    }
}

fn expiring_row(of: &Expiring) -> Vec<String> {
    let calls = of.calls.to_string();
    let reason = if of.reason == Reason::Age { "age" } else { "size (about)" };
    let (oldest, newest) = (of.oldest.clone(), of.newest.clone());
    vec![of.account_sid.to_string(), calls, oldest, newest, reason.to_owned()]
}

fn checked_text(checked: &Checked) -> String {
    let Checked { calls, deletions, findings, uncounted } = checked;
    let mut text = String::new();
    for finding in findings {
        let _infallible = writeln!(text, "{}: {}", finding.object, finding.problem);
    }
    let deletions =
        if *deletions > 0 { format!("{deletions} deletions and ") } else { String::new() };
    let _infallible = match findings.len() {
        0 => write!(text, "{deletions}{calls} calls compared: journal and index agree"),
        count => write!(text, "{deletions}{calls} calls compared: {count} findings"),
    };
    if *uncounted {
        text.push_str(
            "\nthe index was written to all the while: whether it has rows of no call was not looked \
             for; check again when less comes in",
        );
    }
    text
}

fn forgotten(purged: &Purged) -> String {
    let verb = if purged.dry_run { "would be deleted" } else { "were deleted" };
    let mut text = format!("{} calls {verb}", purged.calls);
    let mut list = |count: u64, what: &str, of: &[Where]| {
        if count > 0 {
            let _infallible = write!(text, "\n{count} {what}:");
        }
        for Where { what, fields } in of {
            let _infallible = write!(text, "\n  {what} ({})", fields.join(", "));
        }
    };
    list(
        purged.mentions,
        "other calls have the number in other fields; --mentions deletes them too",
        &purged.mentioned_by,
    );
    list(
        purged.unclear,
        "other calls have its digits as a part of more, or without country or area; look at them \
         with `rollcall show`, and delete those that mean it with --call ACCOUNT_SID/CALL_SID",
        &purged.unclear_in,
    );
    list(
        purged.settings.len() as u64,
        "settings have the number; change them with `rollcall account set`, or revoke the token, and \
         run this again",
        &purged.settings,
    );
    if !purged.files.is_empty() {
        text.push_str("\nthese files have it still, or may have it:");
        for Left { file, why } in &purged.files {
            let _infallible = write!(text, "\n  {file}: {why}");
        }
    } else if purged.is_gone() && !purged.dry_run {
        text.push_str("\nevery file of the data directory was searched: the number is in none");
    }
    if !purged.dry_run {
        text.push_str(
            "\nnot searched: backups and exports made before, those who follow the change feed, and \
             logs of other programs; they may have it still",
        );
    }
    text
}

fn imported(summary: &Summary) -> String {
    let Summary { records, rejected, outcome } = summary;
    let mut text = format!(
        "{records} records: {} new, {} changed, {} unchanged",
        outcome.new, outcome.changed, outcome.unchanged
    );
    if outcome.ignored > 0 {
        let _infallible = write!(text, ", {} of deleted calls ignored", outcome.ignored);
    }
    if outcome.dropped_keys > 0 {
        let _infallible = write!(text, ", {} values too large to be kept", outcome.dropped_keys);
    }
    if *rejected > 0 {
        let _infallible = write!(text, ", {rejected} left out");
    }
    text
}

/// Certificates as paragraphs: file names and digests are too wide for a table.
fn certificates(list: &CertificateList) -> String {
    let mut text = String::new();
    for one in &list.certificates {
        let lines = [
            ("certificate", part(one)),
            ("file", one.file.display().to_string()),
            ("subject", one.subject.clone()),
            ("names", one.names.join(" ")),
            ("not before", one.not_before.clone()),
            ("not after", format!("{} ({})", one.not_after, left(one.days_left))),
            ("SHA-256", one.sha256.clone()),
        ];
        for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
            let _infallible = writeln!(text, "{name:<16} {}", clean(value));
        }
        text.push('\n');
    }
    for path in &list.certificates_changed {
        let _infallible = writeln!(text, "{}", changed(path));
    }
    if list.certificates.is_empty() {
        text.push_str("no certificate is made yet; `rollcall serve` makes one\n");
    }
    text
}

fn part(one: &CertificateInfo) -> String {
    let part = match one.part {
        Part::Server => "server",
        Part::Chain => "chain",
        Part::Authority => "authority",
        Part::ClientAuthority => "client authority",
    };
    format!("{part}, {}", if one.made { "made by rollcall" } else { "configured" })
}

fn left(days: i64) -> String {
    if days < 0 { "over".to_owned() } else { format!("{days} days left") }
}

fn changed(path: &std::path::Path) -> String {
    format!("{} has changed since it was read; SIGHUP takes it up", path.display())
}

/// A line for each certificate that is in use, for the figures.
fn certificate_lines(list: &CertificateList) -> Vec<(&'static str, String)> {
    let one = |one: &CertificateInfo| {
        let names = if one.names.is_empty() { &one.subject } else { &one.names.join(" ") };
        let (file, end, left) = (one.file.display(), &one.not_after, left(one.days_left));
        ("certificate", clean(&format!("{}: {file}, {names}, until {end} ({left})", part(one))))
    };
    let changed = list.certificates_changed.iter().map(|path| ("", changed(path)));
    let problem = list.certificates_problem.iter().map(|problem| ("certificate", problem.clone()));
    list.certificates.iter().map(one).chain(changed).chain(problem).collect()
}

fn figures(figures: &Figures, running: bool) -> String {
    let status = &figures.store;
    let index = status.index_bytes.map_or_else(|| "is being built again".to_owned(), bytes);
    let checkpoint = match &status.checkpoint_at {
        Some(at) => format!("at {at}, up to sequence {}", status.checkpoint_sequence),
        None => "none yet".to_owned(),
    };
    [
        ("server", if running { "running" } else { "not running" }.to_owned()),
        ("calls", count(status.calls)),
        ("in memory", status.registry_calls.to_string()),
        ("tombstones", count(status.tombstones)),
        ("sequence", status.sequence.to_string()),
        ("epoch", status.epoch.clone()),
        ("last checkpoint", checkpoint),
        (
            "journal",
            format!(
                "{} in {} segments{}",
                bytes(status.journal_bytes),
                status.journal_segments,
                ratio(status)
            ),
        ),
        ("index", index),
        ("disk", disk(status)),
        ("left out", left_out(status)),
        ("failed logins", status.failed_authentications.to_string()),
    ]
    .into_iter()
    .chain(figures.listeners.iter().map(listener))
    .chain(certificate_lines(&figures.tls))
    .chain(hook_lines(&figures.hooks))
    .fold(String::new(), |mut text, (name, value)| {
        let _infallible = writeln!(text, "{name:<16} {value}");
        text
    })
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(|| "not known until the index is built".to_owned(), |n| n.to_string())
}

fn listener(listener: &Listener) -> (&'static str, String) {
    let held = if listener.held { ", held by the service manager" } else { "" };
    ("listener", format!("{}{held}", listener.url))
}

/// What of events was not taken while the rest of them was.
fn left_out(status: &Status) -> String {
    let mut text = format!("{} values too large", status.changes.dropped_keys);
    for (field, count) in &status.unread_values {
        let _infallible = write!(text, ", {count} of {field} unreadable");
    }
    text
}

/// A line for each account, for at most so many of them.
fn hook_lines(hooks: &HookFigures) -> Vec<(&'static str, String)> {
    const ACCOUNTS_MAX: usize = 50;
    let line = |whose: &str, last: Option<&str>, refused: &Refusals| {
        let parts: Vec<_> = last.map(str::to_owned).into_iter().chain(refused.texts()).collect();
        ("webhooks", format!("{whose}: {}", parts.join("; ")))
    };
    // Those who need somebody first.
    let mut accounts: Vec<_> = hooks.accounts.iter().collect();
    accounts.sort_by_key(|one| one.refused.is_empty());
    let mut lines: Vec<_> = accounts
        .iter()
        .take(ACCOUNTS_MAX)
        .map(|one| {
            let whose = format!("account {}", one.account_sid);
            let last = one.last_event_at.as_deref();
            let last = last.map_or("no event since the start".to_owned(), |at| {
                format!("last event taken at {at}")
            });
            line(&whose, Some(&last), &one.refused)
        })
        .collect();
    if accounts.len() > ACCOUNTS_MAX {
        let more = accounts.len() - ACCOUNTS_MAX;
        lines.push(("", format!("and {more} accounts more: see --json")));
    }
    if !hooks.others_refused.is_empty() {
        lines.push(line("no known account", None, &hooks.others_refused));
    }
    lines
}

fn disk(status: &Status) -> String {
    let free = status.disk_free_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    let refused = if status.disk_low {
        format!("; events and imports are refused below {}", bytes(status.disk_least_bytes))
    } else {
        String::new()
    };
    let reserve = match status.reserve_bytes {
        0 => "no reserve".to_owned(),
        held => format!("{} in reserve", bytes(held)),
    };
    format!("{free} free, {reserve}{refused}")
}

/// How much smaller the journal is than what was written.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(status: &Status) -> String {
    if status.journal_unpacked_bytes <= status.journal_bytes {
        return String::new();
    }
    let ratio = status.journal_unpacked_bytes as f64 / status.journal_bytes.max(1) as f64;
    format!(", compressed {ratio:.1} times")
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// One call as lines of key and value, and its timeline.
fn one_call(line: &str) -> String {
    let Ok(members) = serde_json::from_str::<Members>(line) else {
        return "(this call cannot be shown; see --json)\n".to_owned();
    };
    let mut text = String::new();
    for (key, value) in &members {
        if key != "merge" && key != "listed_at" {
            let (key, value) = (clean(key), clean(&shown(value)));
            let _infallible = writeln!(text, "{key:<28} {value}");
        }
    }
    let merge = members.get("merge").and_then(|merge| serde_json::from_str(merge.get()).ok());
    let merge: Value = merge.unwrap_or_default();
    let timeline = merge.get("timeline").and_then(Value::as_array);
    text.push_str("timeline\n");
    for entry in timeline.into_iter().flatten() {
        let part = |n: usize| entry.get(n).filter(|value| !value.is_null());
        let at = part(0).and_then(Value::as_u64).and_then(crate::domain::Timestamp::from_millis);
        let at =
            at.map_or_else(|| "unknown".to_owned(), |at| crate::wire::show_time(at).to_string());
        let source = part(1).map(plain).unwrap_or_default();
        let status = part(2).map_or_else(|| "-".to_owned(), plain);
        let sip_status = part(3).map(plain).unwrap_or_default();
        let _infallible = writeln!(text, "  {at:<26} {source:<8} {status:<12} {sip_status}");
    }
    text
}

/// Calls as a table, with their account where there may be several.
pub(super) fn calls(calls: &[Members], one_account: bool) -> String {
    let mut columns = vec![
        ("ATTEMPTED", "attempted_at"),
        ("CALL SID", "call_sid"),
        ("DIRECTION", "direction"),
        ("STATUS", "call_status"),
        ("FROM", "from"),
        ("TO", "to"),
        ("SECONDS", "duration"),
    ];
    if !one_account {
        columns.push(("ACCOUNT SID", "account_sid"));
    }
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let rows = calls.iter().map(|call| {
        let cell = |key: &str| call.get(key).map(|value| shown(value)).unwrap_or_default();
        columns.iter().map(|(_, key)| cell(key)).collect()
    });
    table(&heads, rows.collect())
}

/// A call's keys and values, as they were written: what a source sent may be beyond the numbers
/// and texts of this program.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

fn shown(value: &RawValue) -> String {
    let json = value.get();
    let text = if json.starts_with('"') { serde_json::from_str(json).ok() } else { None };
    text.unwrap_or_else(|| json.to_owned())
}

/// What a terminal would obey is not passed on to it.
fn clean(text: &str) -> String {
    logs::plain(text).into_owned()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Columns as wide as their widest cell.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut lines = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.into_iter().map(|row| row.iter().map(|cell| clean(cell)).collect()));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _infallible = write!(shown, "{cell:<width$}  ");
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}
