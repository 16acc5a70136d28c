//! Answers as texts.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::cluster;
use super::listing::{Members, shown};
use super::status;
use super::table::{clean, table};
use crate::clock;
use crate::domain::{counted, show_size, was};
use crate::ops::{
    AccountInfo, AdminReply, CertificateInfo, CertificateList, CertificateRole, Erasure,
    ForwardFigures, Left, Missing, Purged, Summary, TokenInfo, Where,
};
use crate::store::{Checked, Collected, Expiring, RemovalReason};

/// What goes to standard output, and what is said beside it.
pub(super) struct Rendered {
    pub data: String,
    pub aside: Option<String>,
}

impl From<String> for Rendered {
    fn from(data: String) -> Self {
        Self { data, aside: None }
    }
}

pub(super) fn json(reply: &AdminReply, running: bool) -> Rendered {
    let value = match reply {
        AdminReply::Token { id, value } => json!({ "id": id, "token": value }),
        AdminReply::SignInLink(link) => json!(link),
        AdminReply::Revoked { id, behind, .. } => {
            json!({ "done": revoked(reply), "id": id, "behind": behind })
        }
        AdminReply::Tokens(tokens) => json!(tokens),
        AdminReply::Accounts(accounts) => json!(accounts),
        AdminReply::Done(text) => json!({ "done": text }),
        AdminReply::Imported(summary) => json!(summary),
        AdminReply::Written(calls) => json!({ "calls": calls }),
        // As they are: a value that went through a parser is not always the same.
        AdminReply::Calls(lines) => return format!("[{}]", lines.join(",\n")).into(),
        AdminReply::Certificates(list) => json!(list),
        AdminReply::Status(status) => {
            let mut value = json!(status);
            if let Value::Object(members) = &mut value {
                members.insert("running".to_owned(), json!(running));
                members.insert("problems".to_owned(), json!(status::problems(status, running)));
            }
            value
        }
        AdminReply::Health(health) => json!(health),
        AdminReply::Compacted { journal, index } => json!({ "journal": journal, "index": index }),
        AdminReply::Expiring(accounts) => json!(accounts),
        AdminReply::Expired(done) => json!(done),
        AdminReply::Purged(purged) => json!(purged),
        AdminReply::Checked(checked) => json!(checked),
        AdminReply::Forward(forward) => json!(forward),
        AdminReply::Compared(comparison) => cluster::compared_json(comparison),
        AdminReply::Levels(levels, _) => json!(levels),
        AdminReply::Place(place) => json!(place),
    };
    value.to_string().into()
}

pub(super) fn text(reply: &AdminReply, running: bool) -> Rendered {
    match reply {
        AdminReply::Token { id, value } => Rendered {
            data: value.clone(),
            aside: Some(format!("token {id}; it is not shown again")),
        },
        AdminReply::SignInLink(link) => link.url.clone().into(),
        AdminReply::Revoked { .. } => revoked(reply).into(),
        AdminReply::Tokens(tokens) => table(
            &["ID", "NAME", "SCOPE", "ROLE", "CREATED", "EXPIRES", "LAST USED"],
            tokens.iter().map(token_row).collect(),
        )
        .into(),
        AdminReply::Accounts(accounts) => table(
            &["ACCOUNT SID", "NAME", "SERVICE PROVIDER", "SIGNED", "HOOK USER", "KEPT"],
            accounts.iter().map(account_row).collect(),
        )
        .into(),
        AdminReply::Done(text) => text.clone().into(),
        AdminReply::Imported(summary) => imported(summary).into(),
        AdminReply::Written(calls) => counted(*calls, "call").into(),
        AdminReply::Calls(lines) => {
            lines.iter().map(|line| one_call(line)).collect::<String>().into()
        }
        AdminReply::Certificates(list) => certificates(list).into(),
        AdminReply::Status(figures) => status::text(figures, running).into(),
        AdminReply::Compacted { journal, index } => {
            let index = format!(
                "index: {} before, {} now, {}",
                show_size(index.bytes_before),
                show_size(index.bytes_after),
                counted(index.calls, "call")
            );
            format!("{}\n{index}", packed(journal)).into()
        }
        AdminReply::Expiring(accounts) if accounts.is_empty() => {
            "nothing would go".to_owned().into()
        }
        AdminReply::Expiring(accounts) => table(
            &["ACCOUNT SID", "CALLS", "OLDEST", "NEWEST", "FOR ITS"],
            accounts.iter().map(expiring_row).collect(),
        )
        .into(),
        AdminReply::Expired(done) => {
            let (calls, was) = (counted(done.expired, "call"), was(done.expired));
            format!("{calls} {was} deleted\n{}", packed(done)).into()
        }
        AdminReply::Purged(purged) => forgotten(purged).into(),
        AdminReply::Checked(checked) => checked_text(checked).into(),
        AdminReply::Forward(forward) => forward_text(forward).into(),
        AdminReply::Compared(comparison) => cluster::compared(comparison).into(),
        AdminReply::Levels(levels, is_raised) => cluster::levels(levels, *is_raised).into(),
        // Asked for by a command that tells it itself.
        AdminReply::Health(_) | AdminReply::Place(_) => String::new().into(),
    }
}

fn forward_text(forward: &ForwardFigures) -> String {
    let lines = status::forward_lines(forward, clock::now());
    if lines.is_empty() {
        return "no webhook is passed on: forward.targets names nobody".to_owned();
    }
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    lines.join("\n")
}

fn revoked(reply: &AdminReply) -> String {
    let AdminReply::Revoked { id, name, behind } = reply else { return String::new() };
    let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    if behind.is_empty() {
        return format!("token {id}{name} is revoked");
    }
    format!(
        "token {id}{name} is revoked, and {} did not say in time that it refuses it, too",
        behind.join(", ")
    )
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
            "journal: {} packed, {} before, {} now",
            counted(segments, "segment"),
            show_size(done.bytes_before),
            show_size(done.bytes_after)
        ),
    }
}

fn expiring_row(of: &Expiring) -> Vec<String> {
    let calls = of.calls.to_string();
    let reason = if of.reason == RemovalReason::Age { "age" } else { "size (about)" };
    let (oldest, newest) = (of.oldest.clone(), of.newest.clone());
    vec![of.account_sid.to_string(), calls, oldest, newest, reason.to_owned()]
}

fn checked_text(checked: &Checked) -> String {
    let Checked { calls, deletions, hooks, findings, uncounted } = checked;
    let mut text = String::new();
    for finding in findings {
        let _infallible = writeln!(text, "{}: {}", finding.object, finding.problem);
    }
    let deletions = match deletions {
        0 => String::new(),
        count => format!("{} and ", counted(*count, "deletion")),
    };
    let calls = counted(*calls, "call");
    let _infallible = match findings.len() {
        0 => write!(text, "{deletions}{calls} compared: journal and index agree"),
        count => write!(text, "{deletions}{calls} compared: {}", counted(count, "finding")),
    };
    if *hooks > 0 {
        let hooks = counted(*hooks, "webhook");
        let _infallible = write!(text, "; the journal has {hooks} to pass on, or passed on");
    }
    if *uncounted {
        text.push_str(
            "\nthe index was written to all the while: whether it has rows of no call was not looked \
             for; check again when less comes in",
        );
    }
    text
}

fn forgotten(purged: &Purged) -> String {
    let calls = counted(purged.calls, "call");
    let verb = if purged.dry_run { "would be" } else { was(purged.calls) };
    let mut text = format!("{calls} {verb} deleted");
    // The words for one, and those for several.
    let mut list = |count: u64, [one, several]: [&str; 2], of: &[Where]| {
        if count > 0 {
            let what = if count == 1 { one } else { several };
            let _infallible = write!(text, "\n{count} {what}:");
        }
        for Where { what, fields } in of {
            let _infallible = write!(text, "\n  {what} ({})", fields.join(", "));
        }
    };
    list(
        purged.mentions,
        [
            "other call has the number in other fields; --mentions deletes it too",
            "other calls have the number in other fields; --mentions deletes them too",
        ],
        &purged.mentioned_by,
    );
    list(
        purged.unclear,
        [
            "other call has its digits as a part of more, or without country or area; look at it with \
             `rollcall show`, and delete it, if it means the number, with --call ACCOUNT_SID/CALL_SID",
            "other calls have its digits as a part of more, or without country or area; look at them \
             with `rollcall show`, and delete those that mean it with --call ACCOUNT_SID/CALL_SID",
        ],
        &purged.unclear_in,
    );
    list(
        purged.settings.len() as u64,
        [
            "setting has the number; change it with `rollcall account set`, or revoke the token, and \
             run this again",
            "settings have the number; change them with `rollcall account set`, or revoke the token, \
             and run this again",
        ],
        &purged.settings,
    );
    if !purged.files.is_empty() {
        let these = match purged.files.len() {
            1 => "\nthis file has it still, or may have it:",
            _ => "\nthese files have it still, or may have it:",
        };
        text.push_str(these);
        for Left { file, why } in &purged.files {
            let _infallible = write!(text, "\n  {file}: {why}");
        }
    } else if purged.is_gone_here() && !purged.dry_run {
        text.push_str("\nevery file of the data directory was searched: the number is in none");
    }
    if let Some(elsewhere) = &purged.elsewhere {
        erased(&mut text, elsewhere);
    }
    if !purged.dry_run {
        text.push_str(
            "\nnot searched: backups and exports made before, those who follow the change feed, and \
             logs of other programs; they may have it still",
        );
    }
    text
}

/// What became of it on the nodes and in the log.
fn erased(text: &mut String, Erasure { nodes, searched, missing, trimmed, log }: &Erasure) {
    let is_searched = |node: &&String| Some(*node) == searched.as_ref();
    let (own, others): (Vec<&String>, Vec<&String>) = nodes.iter().partition(is_searched);
    for node in own {
        let _infallible = write!(text, "\nerased on the disk of {node}, which is this node");
    }
    for node in others {
        let _infallible = write!(
            text,
            "\nerased on the disk of {node}, as that node reports: it has packed its journal and index without it; its \
             files were not searched"
        );
    }
    if let Some(last) = trimmed {
        let _infallible = write!(
            text,
            "\nthe log begins after message {last} now, as its servers report; their files were not searched"
        );
    }
    for Missing { node, why } in missing {
        let _infallible = write!(text, "\nnot erased on node {node}: {why}");
    }
    if !missing.is_empty() {
        text.push_str(
            "\nthe log has it still: run this again once each node has erased it, or is forgotten (`rollcall cluster \
             forget`)",
        );
    }
    for why in log {
        let _infallible = write!(text, "\nnot erased in the log: {why}");
    }
}

fn imported(summary: &Summary) -> String {
    let Summary { records, rejected, outcome } = summary;
    let mut text = format!(
        "{}: {} new, {} changed, {} unchanged",
        counted(*records, "record"),
        outcome.new,
        outcome.changed,
        outcome.unchanged
    );
    if outcome.ignored > 0 {
        let _infallible = write!(text, ", {} of deleted calls ignored", outcome.ignored);
    }
    if outcome.dropped_keys > 0 {
        let values = counted(outcome.dropped_keys, "value");
        let _infallible = write!(text, ", {values} too large to be kept");
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

pub(super) fn part(one: &CertificateInfo) -> String {
    let part = match one.part {
        CertificateRole::Server => "server",
        CertificateRole::Chain => "chain",
        CertificateRole::Authority => "authority",
        CertificateRole::ClientAuthority => "client authority",
    };
    format!("{part}, {}", if one.made { "made by rollcall" } else { "configured" })
}

pub(super) fn left(days: i64) -> String {
    u64::try_from(days).map_or("over".to_owned(), |days| format!("{} left", counted(days, "day")))
}

pub(super) fn changed(path: &std::path::Path) -> String {
    format!("{} has changed since it was read; SIGHUP takes it up", path.display())
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
        let at = at.map_or_else(
            || "no time was given".to_owned(),
            |at| crate::wire::show_time(at).to_string(),
        );
        let source = part(1).map(plain).unwrap_or_default();
        let status = part(2).map_or_else(|| "-".to_owned(), plain);
        let sip_status = part(3).map(plain).unwrap_or_default();
        let _infallible = writeln!(text, "  {at:<26} {source:<8} {status:<12} {sip_status}");
    }
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
