//! Forgetting a person: the calls of a telephone number are deleted, everything that was known of them
//! leaves the disk, and the disk is searched for what is left.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Context, Emit, Failure, Item, Reply};
use crate::clock;
use crate::domain::{Call, CallId, Filter, Known, Order};
use crate::store::{Change, Depth, Progress, Request, Store};
use crate::wire::write_export;

/// Calls that are looked at, or deleted, at once.
const CALLS_AT_ONCE: usize = 500;
/// Calls that are remembered, 32 bytes each: the rest needs a second run.
const CALLS_MAX: usize = 1_000_000;
/// Sids that an answer shows.
const SHOWN_MAX: usize = 100;
/// The fewest digits of a number: fewer stand in everything.
const DIGITS_MIN: usize = 5;
/// Bytes of a file that are searched at once.
const PIECE_BYTES: usize = 1 << 20;
/// How long an index that was replaced may take to leave the disk.
const REMOVED_MAX: u32 = 600;

/// What is to be forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purge {
    /// A telephone number, with or without its `+`.
    pub number: String,
    /// Calls that have it anywhere else than in `from` and `to` go too.
    pub mentions: bool,
    /// Say what would go, and do nothing.
    pub dry_run: bool,
}

/// What became of a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Calls from it or to it, and with `mentions` those that have it elsewhere.
    pub calls: u64,
    /// They are only counted.
    pub dry_run: bool,
    /// How many calls have it in other fields and stay.
    pub mentions: u64,
    /// Some of those calls, as `account/call`.
    pub mentioned_by: Vec<String>,
    /// Files that have it still.
    pub files: Vec<String>,
}

impl Purged {
    /// Nothing of it is left.
    pub fn is_gone(&self) -> bool {
        self.dry_run || (self.mentions == 0 && self.files.is_empty())
    }
}

/// A number, as its digits.
struct Number(String);

impl Number {
    fn of(text: &str) -> Result<Self, Failure> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let wrong = |why: &str| Err(Failure::usage(format!("--number \"{text}\": {why}")));
        if digits.len() < DIGITS_MIN || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return wrong("expected at least 5 digits, such as +15551230001");
        }
        Ok(Self(digits.to_owned()))
    }

    /// Whether a call is from it or to it.
    fn is_party(&self, call: &Call) -> bool {
        [Known::From, Known::To]
            .into_iter()
            .any(|known| self.is(call.text(known).unwrap_or_default()))
    }

    /// Whether a party has it, however it was dialled: `+1 (555) 123-0001` and `0015551230001` are the
    /// same number.
    fn is(&self, party: &str) -> bool {
        let digits: String = party.chars().filter(char::is_ascii_digit).collect();
        let bare = party.chars().all(|c| c.is_ascii_digit() || "+ ()-./".contains(c));
        bare && (digits == self.0 || digits.strip_prefix("00") == Some(&*self.0))
    }

    /// Whether it stands in these bytes, not as a part of a longer number.
    fn stands_in(&self, bytes: &[u8]) -> bool {
        let needle = self.0.as_bytes();
        let digit =
            |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        let ends = |at: usize| !digit(at.checked_sub(1)) && !digit(Some(at + needle.len()));
        bytes.windows(needle.len()).enumerate().any(|(at, part)| part == needle && ends(at))
    }
}

pub(super) fn run(
    store: &Store,
    context: &Context,
    purge: &Purge,
    emit: &mut Emit<'_>,
) -> Result<Reply, Failure> {
    let number = Number::of(&purge.number)?;
    let mut purged = Purged {
        calls: 0,
        dry_run: purge.dry_run,
        mentions: 0,
        mentioned_by: Vec::new(),
        files: Vec::new(),
    };
    let calls = find(store, &number, purge.mentions, &mut purged, emit)?;
    purged.calls = calls.len() as u64;
    if purge.dry_run {
        return Ok(Reply::Purged(purged));
    }
    for chunk in calls.chunks(CALLS_AT_ONCE) {
        let changes: Vec<Change> = chunk.iter().map(|id| Change::Delete(*id)).collect();
        store.apply(&changes, clock::now(), false)?;
    }
    store.collect(Depth::Erase)?;
    store.compact(&mut |progress| {
        let _gone = emit(Item::Progress(progress));
    })?;
    purged.files = left(store, &context.data_dir, &number)?;
    Ok(Reply::Purged(purged))
}

/// The calls that are to go; counts those that stay though they have the number.
fn find(
    store: &Store,
    number: &Number,
    mentions: bool,
    purged: &mut Purged,
    emit: &mut Emit<'_>,
) -> Result<Vec<CallId>, Failure> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let total = store.status().calls;
    let mut account = None;
    while let Some(next) = store.next_account(account)? {
        let (filter, order) = (Filter::default(), Order::NewestFirst);
        let mut request = Request { account: next, filter, order, after: None };
        loop {
            let page = store.page(&request, CALLS_AT_ONCE)?;
            for call in &page.calls {
                let party = number.is_party(call);
                let mut text = Vec::new();
                if !party {
                    write_export(&mut text, call);
                }
                if !party && !number.stands_in(&text) {
                    continue;
                }
                if (party || mentions) && found.len() < CALLS_MAX {
                    found.push(call.id);
                } else {
                    purged.mentions += 1;
                    if purged.mentioned_by.len() < SHOWN_MAX {
                        let id = call.id;
                        purged.mentioned_by.push(format!("{}/{}", id.account, id.sid));
                    }
                }
            }
            looked_at += page.calls.len() as u64;
            let what = "looking through the calls".to_owned();
            emit(Item::Progress(Progress { what, done: looked_at, total: Some(total) }))?;
            if page.next.is_none() {
                break;
            }
            request.after = page.next;
        }
        account = Some(next);
    }
    Ok(found)
}

/// The files of the data directory that have the number, journal segments as they are unpacked.
fn left(store: &Store, data_dir: &Path, number: &Number) -> Result<Vec<String>, Failure> {
    let mut files = store.journal_files_with(|bytes| number.stands_in(bytes))?;
    let entries = std::fs::read_dir(data_dir)?.collect::<Result<Vec<_>, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("index-") {
            continue;
        }
        wait_for_removal(store, data_dir, &entry.path());
        search(&entry.path(), number, &mut files)?;
    }
    files.sort();
    Ok(files)
}

/// An index that was replaced is removed in the background.
fn wait_for_removal(store: &Store, data_dir: &Path, dir: &Path) {
    let current = || store.index_dir().is_some_and(|current| data_dir.join(current) == dir);
    let aside = dir.extension().is_some();
    for _ in 0..REMOVED_MAX {
        if aside || current() || !dir.exists() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Notes every file under a path that has the number.
fn search(path: &Path, number: &Number, files: &mut Vec<String>) -> Result<(), Failure> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(Failure::new(format!("{}: {error}", path.display()))),
    };
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            search(&entry?.path(), number, files)?;
        }
        return Ok(());
    }
    let mut file = File::open(path)?;
    let (mut bytes, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        if number.stands_in(&bytes) {
            files.push(path.display().to_string());
            return Ok(());
        }
        // What lies across two pieces is found with the next one.
        let kept = bytes.len().saturating_sub(64);
        bytes.drain(..kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_whole_and_not_within_another() {
        let number = Number::of("+15551230001").unwrap();
        for text in ["15551230001", "tel:+15551230001;x", "a15551230001b", "1 15551230001"] {
            assert!(number.stands_in(text.as_bytes()), "{text}");
        }
        for text in ["155512300012", "915551230001", "1555123000", ""] {
            assert!(!number.stands_in(text.as_bytes()), "{text}");
        }
        for wrong in ["", "+", "1234", "+1555x12345", "1 555 123 0001"] {
            assert!(Number::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_party_has_the_number_however_it_was_dialled() {
        let number = Number::of("+15551239999").unwrap();
        for same in ["+15551239999", "15551239999", "0015551239999", "+1 (555) 123-9999"] {
            assert!(number.is(same), "{same}");
        }
        for other in ["+155512399990", "x15551239999", "115551239999", "5551239999"] {
            assert!(!number.is(other), "{other}");
        }
    }

    #[test]
    fn a_number_across_two_pieces_of_a_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut bytes = vec![b'x'; PIECE_BYTES - 5];
        bytes.extend_from_slice(b"15551230001");
        std::fs::write(&path, &bytes).unwrap();
        let mut files = Vec::new();
        search(dir.path(), &Number::of("15551230001").unwrap(), &mut files).unwrap();
        assert_eq!(files, [path.display().to_string()]);
    }
}
