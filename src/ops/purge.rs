//! Forgetting a person: the calls of a telephone number are deleted, everything that was known of them
//! leaves the disk, and the disk is searched for what is left.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::traces::Traces;
use super::{AdminContext, AdminReply, Emit, Failure, Item};
use crate::clock;
use crate::domain::{Call, CallField, CallId, Filter, Number, Order, Sighting};
use crate::fsutil;
use crate::intake::Intake;
use crate::node::Erasure;
use crate::store::{Change, Depth, ListRequest, Progress, Store};
use crate::wire::write_export;

/// Calls that are looked at, or deleted, at once.
const CALLS_AT_ONCE: usize = 500;
/// Calls that are remembered, 32 bytes each; the rest is looked for again.
const CALLS_MAX: usize = 1_000_000;
/// Sids and files that an answer shows.
const SHOWN_MAX: usize = 100;
/// How long an index that was replaced may take to be closed and removed.
const CLOSING_MAX: Duration = Duration::from_mins(1);
/// How often it is looked whether what was replaced is gone.
const PAUSE: Duration = Duration::from_millis(50);

/// What is not looked at where there are other nodes.
const OTHER_NODES: &str = "note: the calls are deleted on every node, and only the files of this one were searched: they \
                           leave the others within retention.erase_within, and the log within cluster.log_age; --now does not wait for \
                           that";

/// What is to be forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purge {
    /// A telephone number, in any writing.
    pub number: String,
    /// Calls that have it anywhere else than in `from` and `to` go too.
    pub mentions: bool,
    /// Calls that are deleted regardless of their numbers, as `account/call`.
    pub calls: Vec<String>,
    /// How long to wait for those who still read what was replaced.
    pub wait: Duration,
    /// Say what would go, and do nothing.
    pub dry_run: bool,
    /// Where there are other nodes: erase it on their disks and in the log as well, and wait for that.
    pub now: bool,
}

/// Where something has a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Where {
    /// A call as `account/call`, an account or a token.
    pub what: String,
    /// Which of its fields.
    pub fields: Vec<String>,
}

/// A file that is not known to be free of a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub file: String,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Purged {
    /// Calls from it or to it, and those that were asked for otherwise.
    pub calls: u64,
    /// They are only counted.
    pub dry_run: bool,
    /// How many calls have it in other fields and stay.
    pub mentions: u64,
    pub mentioned_by: Vec<Where>,
    /// How many calls have its digits as a part of more, or without country or area, and stay: a person
    /// has to say whether they mean it.
    pub unclear: u64,
    pub unclear_in: Vec<Where>,
    /// Accounts and tokens that have it in a name.
    pub settings: Vec<Where>,
    /// Files that have it still, or may have.
    pub files: Vec<Left>,
    /// What became of it elsewhere, where that was asked for and there are other nodes.
    pub elsewhere: Option<Erasure>,
}

impl Purged {
    /// Nothing of it is left, and nothing is undecided.
    pub fn is_gone(&self) -> bool {
        let elsewhere = self.elsewhere.as_ref().is_none_or(Erasure::is_everywhere);
        self.dry_run || (self.is_gone_here() && elsewhere)
    }

    /// The same of this machine, whose files were searched.
    pub fn is_gone_here(&self) -> bool {
        let left = self.mentions + self.unclear;
        left == 0 && self.settings.is_empty() && self.files.is_empty()
    }
}

pub(super) fn run(
    intake: &Intake,
    context: &AdminContext,
    purge: &Purge,
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let store: &Store = intake.store();
    let number = Number::parse(&purge.number).ok_or_else(|| {
        Failure::usage(format!(
            "--number \"{}\": expected a number of 5 to 32 digits, such as +15551230001",
            purge.number
        ))
    })?;
    let named = named(store, &purge.calls)?;
    if !purge.dry_run {
        if let Some(node) = intake.node() {
            node.until_none_is_kept(purge.wait).map_err(Failure::new)?;
        }
        // What waits is found as well once it is a call.
        for changes in store.cdrs_to_place().chunks(CALLS_AT_ONCE) {
            intake.apply(changes, clock::now(), false)?;
        }
    }
    let mut deleted = 0;
    let mut purged = loop {
        let mut found = MatchedCalls::new(&number, purge.mentions, &named);
        found.look(store, emit)?;
        if purge.dry_run {
            found.purged.calls = found.calls.len() as u64 + found.more;
            break found.purged;
        }
        for chunk in found.calls.chunks(CALLS_AT_ONCE) {
            let changes: Vec<Change> = chunk.iter().map(|id| Change::Delete(*id)).collect();
            intake.apply(&changes, clock::now(), false)?;
        }
        deleted += found.calls.len() as u64;
        found.purged.calls = deleted;
        if found.more == 0 {
            break found.purged;
        }
    };
    purged.dry_run = purge.dry_run;
    purged.settings = settings(store, &number);
    if purge.dry_run {
        return Ok(AdminReply::Purged(purged));
    }
    let mut tell = |progress| {
        let _gone = emit(Item::Progress(progress));
    };
    if let Some(node) = intake.node().filter(|_| purge.now) {
        purged.elsewhere = Some(node.erase(purge.wait, &mut tell)?);
    } else {
        store.collect_telling(Depth::Erase, &mut tell)?;
        store.compact(&mut tell)?;
    }
    // What is replaced from now on is free of it.
    let replaced = store.replaced()?;
    wait_for_readers(store, purge.wait, emit)?;
    purged.files = left(store, context, &number, &replaced)?;
    if let (Some(elsewhere), Some(node)) = (&mut purged.elsewhere, intake.node()) {
        elsewhere.searched = Some(node.name().to_owned());
    }
    if intake.node().is_some() && !purge.now {
        let _gone = emit(Item::Note(OTHER_NODES));
    }
    Ok(AdminReply::Purged(purged))
}

fn named(store: &Store, calls: &[String]) -> Result<Vec<CallId>, Failure> {
    let id = |text: &String| {
        let (account, sid) = text.split_once('/')?;
        Some(CallId { account: account.parse().ok()?, sid: sid.parse().ok()? })
    };
    let mut named = Vec::new();
    for text in calls {
        let wrong = |why: &str| format!("--call \"{text}\": {why}");
        let expected = "expected ACCOUNT_SID/CALL_SID, as the list of undecided calls has them";
        let id = id(text).ok_or_else(|| Failure::usage(wrong(expected)))?;
        if store.call(id)?.is_none() {
            return Err(Failure::new(wrong("there is no such call")));
        }
        named.push(id);
    }
    Ok(named)
}

struct MatchedCalls<'a> {
    number: &'a Number,
    mentions: bool,
    named: &'a [CallId],
    /// They are to go.
    calls: Vec<CallId>,
    /// As many more are.
    more: u64,
    /// What of the others is to be said.
    purged: Purged,
}

impl<'a> MatchedCalls<'a> {
    fn new(number: &'a Number, mentions: bool, named: &'a [CallId]) -> Self {
        let (calls, more, purged) = (Vec::new(), 0, Purged::default());
        Self { number, mentions, named, calls, more, purged }
    }

    fn look(&mut self, store: &Store, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let mut looked_at = 0;
        let total = store.status().calls;
        let mut account = None;
        while let Some(next) = store.next_account(account)? {
            let (filter, order) = (Filter::default(), Order::NewestFirst);
            let mut request = ListRequest { account: next, filter, order, after: None };
            loop {
                let page = store.page(&request, CALLS_AT_ONCE)?;
                for call in &page.calls {
                    self.judge(call);
                }
                looked_at += page.calls.len() as u64;
                let what = "looking through the calls".to_owned();
                emit(Item::Progress(Progress::steps(what, looked_at, total)))?;
                if page.next.is_none() {
                    break;
                }
                request.after = page.next;
            }
            account = Some(next);
        }
        Ok(())
    }

    fn judge(&mut self, call: &Call) {
        let seen = Seen::of(call, self.number);
        let mentioned = !seen.certain.is_empty();
        if seen.party || (mentioned && self.mentions) || self.named.contains(&call.id) {
            if self.calls.len() < CALLS_MAX {
                self.calls.push(call.id);
            } else {
                self.more += 1;
            }
            return;
        }
        let what = || format!("{}/{}", call.id.account, call.id.sid);
        let purged = &mut self.purged;
        if mentioned {
            purged.mentions += 1;
            if purged.mentioned_by.len() < SHOWN_MAX {
                purged.mentioned_by.push(Where { what: what(), fields: seen.certain });
            }
        } else if !seen.unclear.is_empty() {
            purged.unclear += 1;
            if purged.unclear_in.len() < SHOWN_MAX {
                purged.unclear_in.push(Where { what: what(), fields: seen.unclear });
            }
        }
    }
}

/// Where a call has a number.
#[derive(Default)]
struct Seen {
    /// It is from it or to it.
    party: bool,
    certain: Vec<String>,
    unclear: Vec<String>,
}

impl Seen {
    fn of(call: &Call, number: &Number) -> Self {
        let mut seen = Self::default();
        for known in CallField::ALL {
            let Some(text) = call.text(known) else { continue };
            let mut sighting = number.stands_in(text);
            if matches!(known, CallField::From | CallField::To) {
                let party = number.is_party(text);
                seen.party |= party == Some(Sighting::Certain);
                sighting = sighting.max(party);
            }
            seen.note(known.key(), sighting);
        }
        seen.note(
            "sip_reason",
            call.reason.as_ref().and_then(|reason| number.stands_in(&reason.text)),
        );
        for extra in &call.extras.kept {
            let sighting = number.stands_in(&extra.json).max(number.stands_in(&extra.key));
            let value = || serde_json::from_str(&extra.json).ok();
            seen.note(
                &extra.key,
                sighting.max(value().and_then(|value| in_numbers(&value, number))),
            );
        }
        // Everything else that there is of it.
        let mut line = Vec::new();
        write_export(&mut line, call);
        if seen.certain.is_empty() && number.stands_in_bytes(&line) == Some(Sighting::Certain) {
            seen.note("the state of its merge", Some(Sighting::Certain));
        }
        seen
    }

    fn note(&mut self, field: &str, sighting: Option<Sighting>) {
        match sighting {
            Some(Sighting::Certain) => self.certain.push(field.to_owned()),
            Some(Sighting::Unclear) => self.unclear.push(field.to_owned()),
            None => {}
        }
    }
}

/// Whether a number of JSON is the number, such as `1.5551230001e10`.
fn in_numbers(value: &serde_json::Value, number: &Number) -> Option<Sighting> {
    use serde_json::Value;
    match value {
        // Whole numbers up to here are exact.
        Value::Number(found) if found.is_f64() => {
            let found =
                found.as_f64().filter(|found| found.fract() == 0.0 && found.abs() < 9e15)?;
            number.stands_in(&format!("{found:.0}"))
        }
        Value::Array(values) => values.iter().filter_map(|value| in_numbers(value, number)).max(),
        Value::Object(members) => {
            members.values().filter_map(|value| in_numbers(value, number)).max()
        }
        _ => None,
    }
}

/// Accounts and tokens that have the number in what a person has called them.
fn settings(store: &Store, number: &Number) -> Vec<Where> {
    let has = |text: &Option<String>| {
        text.as_deref().is_some_and(|text| number.stands_in(text) == Some(Sighting::Certain))
    };
    store.access(|access| {
        let mut found = Vec::new();
        for account in access.accounts() {
            let fields = [("name", &account.name), ("hook_user", &account.hook_user)];
            let fields = fields.into_iter().filter(|(_, text)| has(text));
            let fields: Vec<_> = fields.map(|(name, _)| name.to_owned()).collect();
            if !fields.is_empty() {
                found.push(Where { what: format!("account {}", account.account_sid), fields });
            }
        }
        let tokens = access.tokens().filter(|token| has(&token.name));
        found.extend(tokens.map(|token| Where {
            what: format!("token {}", token.id),
            fields: vec!["name".to_owned()],
        }));
        found
    })
}

/// Waits until nobody reads what was replaced any more, but not for longer than that.
fn wait_for_readers(store: &Store, wait: Duration, emit: &mut Emit<'_>) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut collected = false;
    loop {
        let replaced = store.replaced()?;
        let is_index = |path: &PathBuf| path.is_dir();
        let wait = if replaced.iter().any(is_index) { wait.max(CLOSING_MAX) } else { wait };
        if replaced.is_empty() || begun.elapsed() >= wait {
            return Ok(());
        }
        let what = match store.segment_users() {
            // Once more, without those who held them.
            users if users.is_empty() && !collected => {
                store.collect(Depth::Erase)?;
                collected = true;
                continue;
            }
            users if users.is_empty() => "waiting for replaced files to go".to_owned(),
            users => format!("waiting for {}, with replaced files", users.join(" and ")),
        };
        let (done, total) = (begun.elapsed().as_secs(), Some(wait.as_secs()));
        let _gone = emit(Item::Progress(Progress::steps(what, done, total)));
        std::thread::park_timeout(PAUSE);
    }
}

/// The files that have the number, or may have: of the data directory every one.
/// `before` are those that had been replaced when everything was deleted.
fn left(
    store: &Store,
    context: &AdminContext,
    number: &Number,
    before: &[PathBuf],
) -> Result<Vec<Left>, Failure> {
    let replaced = store.replaced()?;
    let readers = store.segment_users();
    let mut traces = Traces::default();
    traces.search(&context.data_dir, number);
    if let Some(audit) =
        context.audit_log.as_ref().filter(|log| !log.starts_with(&context.data_dir))
    {
        traces.search(audit, number);
    }
    // What went while the rest was searched is gone.
    traces.found.retain(|(path, _)| fsutil::is_there(path));
    let why = |path: &Path, sighting| {
        let mut why = match sighting {
            Sighting::Certain => "it has the number".to_owned(),
            Sighting::Unclear => "it has these digits beside others".to_owned(),
        };
        let is_in = |replaced: &PathBuf| path.starts_with(replaced);
        if replaced.iter().any(is_in) {
            why.push_str("; it was replaced, and is removed once no reader has it open");
            if !readers.is_empty() {
                let _infallible = write!(why, ": {} runs", readers.join(" and "));
            }
        }
        why
    };
    let found = traces.found.iter().map(|(path, sighting)| (path, why(path, *sighting)));
    // Keys of an index lack what they share with their neighbours, so that a search may not see them.
    let seen = |index: &PathBuf| traces.found.iter().any(|(path, _)| path.starts_with(index));
    let hidden: Vec<(PathBuf, String)> = before
        .iter()
        .filter(|path| path.is_dir() && !seen(path))
        .map(|path| (path.clone(), "it was replaced, and is still there".to_owned()))
        .collect();
    let unsearched = traces.unsearched.iter().chain(&hidden);
    let unsearched = unsearched.map(|(path, why)| (path, format!("it was not searched: {why}")));
    let mut files: Vec<Left> = found
        .chain(unsearched)
        .map(|(path, why)| Left { file: path.display().to_string(), why })
        .collect();
    files.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(files)
}
