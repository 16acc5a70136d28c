//! Calls as lines: whole for programs and files, and in as many columns as a terminal has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde_json::value::RawValue;

use super::screen::{Colour, Screen, cut, width};
use super::table::{clean, line_of, table, widths};
use crate::domain::{CallStatus, Timestamp, show_age};
use crate::wire::{parse_time, show_time};

/// A call's keys and values, as they were written: what a source sent may be beyond the numbers
/// and texts of this program.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

/// The columns of the whole table: head, key, and columns that a line alone gives it.
const WHOLE: [(&str, &str, usize); 8] = [
    ("ATTEMPTED", "attempted_at", 24),
    ("CALL SID", "call_sid", 36),
    ("DIRECTION", "direction", 9),
    ("STATUS", "call_status", 11),
    ("FROM", "from", 16),
    ("TO", "to", 16),
    ("SECONDS", "duration", 7),
    ("ACCOUNT SID", "account_sid", 36),
];
/// The columns of the short one, and their places.
const SHORT: [&str; 8] = ["WHEN", "SID", "DIR", "STATUS", "FROM", "TO", "SECS", "ACCOUNT"];
const WHEN: usize = 0;
const STATUS: usize = 3;
const FROM: usize = 4;
const TO: usize = 5;
const ACCOUNT: usize = 7;

/// Characters of a sid that are shown at least where not all are.
const SID_CHARS_MIN: usize = 8;
/// Days after which a date says more.
const DAYS_MAX: u64 = 99;
/// Calls that a list without end remembers to tell their short sids apart.
const REMEMBERED_MAX: usize = 10_000;

/// The text of a value, as it is.
pub(super) fn shown(value: &RawValue) -> String {
    let json = value.get();
    let text = if json.starts_with('"') { serde_json::from_str(json).ok() } else { None };
    text.unwrap_or_else(|| json.to_owned())
}

fn member(call: &Members, key: &str) -> String {
    call.get(key).map(|value| shown(value)).unwrap_or_default()
}

/// Calls with whole sids and times, with their account where there may be several.
pub(super) fn whole(calls: &[Members], one_account: bool) -> String {
    let columns = columns(one_account);
    let heads: Vec<&str> = columns.iter().map(|(head, ..)| *head).collect();
    let row = |call: &Members| columns.iter().map(|(_, key, _)| member(call, key)).collect();
    table(&heads, calls.iter().map(row).collect())
}

fn columns(one_account: bool) -> &'static [(&'static str, &'static str, usize)] {
    let count = if one_account { WHOLE.len() - 1 } else { WHOLE.len() };
    WHOLE.get(..count).unwrap_or(&WHOLE)
}

/// Calls in the columns of a terminal. Numbers are whole; sids are as long as they must be to be told
/// apart in this list. The account is left out where there is no room for it; then the second text says
/// so.
pub(super) fn short(
    calls: &[Members],
    one_account: bool,
    screen: Screen,
    now: Timestamp,
) -> (String, Option<&'static str>) {
    let sids: Vec<String> = calls.iter().map(|call| member(call, "call_sid")).collect();
    let accounts: Vec<String> = calls.iter().map(|call| member(call, "account_sid")).collect();
    let (cut_sids, cut_accounts) = (shortened(&sids), shortened(&accounts));
    let mut lines = vec![SHORT.map(str::to_owned).to_vec()];
    for ((call, sid), account) in calls.iter().zip(cut_sids).zip(cut_accounts) {
        let when = parse_time(&member(call, "attempted_at")).map(|at| age(at, now));
        lines.push(cells(call, when.unwrap_or_default(), sid, account));
    }
    let columns = if one_account { ACCOUNT } else { SHORT.len() };
    let mut kept = columns;
    let mut gap = gap(&lines, kept, screen.width);
    if gap.is_none() && columns > ACCOUNT {
        kept = ACCOUNT;
        gap = self::gap(&lines, kept, screen.width);
    }
    for line in &mut lines {
        line.truncate(kept);
    }
    if gap.is_none() {
        cut_parties(&mut lines, screen.width);
    }
    let widths = widths(&lines);
    let gap = gap.unwrap_or(1);
    let text = lines.iter().zip(heads_and(calls)).map(|(line, call)| {
        let line = line_of(line, &widths, gap);
        painted(line, call, &widths, gap, screen.colours)
    });
    let aside = "the accounts do not fit; --wide shows them";
    (text.collect(), (kept < columns).then_some(aside))
}

fn heads_and(calls: &[Members]) -> impl Iterator<Item = Option<&Members>> {
    std::iter::once(None).chain(calls.iter().map(Some))
}

fn cells(call: &Members, when: String, sid: String, account: String) -> Vec<String> {
    let direction = match member(call, "direction").as_str() {
        "inbound" => "in".to_owned(),
        "outbound" => "out".to_owned(),
        other => other.to_owned(),
    };
    let seconds = member(call, "duration");
    let [status, from, to] = ["call_status", "from", "to"].map(|key| member(call, key));
    let cells = [when, sid, direction, status, from, to, seconds, account];
    cells.iter().map(|cell| clean(cell)).collect()
}

/// How long ago, or the day where that was long ago or is still to come.
fn age(at: Timestamp, now: Timestamp) -> String {
    const DAY_MILLIS: u64 = 86_400_000;
    let millis = now.millis().saturating_sub(at.millis());
    let ahead = at.millis().saturating_sub(now.millis()) > 60_000;
    if ahead || millis / DAY_MILLIS > DAYS_MAX {
        let mut day = show_time(at).to_string();
        day.truncate("2026-01-31".len());
        return day;
    }
    show_age(Duration::from_millis(millis))
}

/// The blanks between columns with which the first so many columns fit.
fn gap(lines: &[Vec<String>], columns: usize, room: usize) -> Option<usize> {
    let sum: usize = widths(lines).iter().take(columns).sum();
    [2, 1].into_iter().find(|gap| sum + gap * columns.saturating_sub(1) <= room)
}

/// Cuts what stands for a party and is no number, so that the rest fits.
fn cut_parties(lines: &mut [Vec<String>], room: usize) {
    let widths = widths(lines);
    let is_party = |column: &usize| [FROM, TO].contains(column);
    let others: usize =
        widths.iter().enumerate().filter(|(n, _)| !is_party(n)).map(|(_, width)| width).sum();
    let room = room.saturating_sub(others + widths.len().saturating_sub(1));
    let of = |column: usize| widths.get(column).copied().unwrap_or_default();
    let half = room / 2;
    // What the one does not need the other may have.
    let (from, to) = match (of(FROM), of(TO)) {
        (from, _) if from <= half => (from, room - from),
        (_, to) if to <= room - half => (room - to, to),
        _ => (half, room - half),
    };
    for line in lines.iter_mut() {
        for (column, most) in [(FROM, from), (TO, to)] {
            if let Some(cell) = line.get_mut(column)
                && !is_number(cell)
            {
                *cell = cut(cell, most.max(4));
            }
        }
    }
}

fn is_number(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || "+-*#(). ".contains(c))
}

/// The status of a line in the colour of what it means.
fn painted(
    line: String,
    call: Option<&Members>,
    widths: &[usize],
    gap: usize,
    colours: bool,
) -> String {
    let Some(call) = call.filter(|_| colours) else { return line };
    let status = member(call, "call_status");
    let stale = call.get("stale").is_some_and(|stale| stale.get() == "true");
    let Some(colour) = colour(&status, stale) else { return line };
    let before: usize = widths.iter().take(STATUS).map(|width| width + gap).sum();
    // The columns before it are ASCII, or the line is left as it is.
    match (line.get(..before), line.get(before..).and_then(|rest| rest.strip_prefix(&status))) {
        (Some(head), Some(rest)) => format!("{head}{}{rest}", colour.paint(&status)),
        _ => line,
    }
}

fn colour(status: &str, stale: bool) -> Option<Colour> {
    if stale {
        return Some(Colour::Dim);
    }
    match status.parse().ok()? {
        CallStatus::Completed => None,
        CallStatus::Busy | CallStatus::NoAnswer => Some(Colour::Yellow),
        CallStatus::Failed => Some(Colour::Red),
        _ => Some(Colour::Green),
    }
}

/// Sids as short as they may be to be told apart: their beginnings, or, where these are alike for long,
/// their ends.
fn shortened(sids: &[String]) -> Vec<String> {
    let different: HashSet<&str> = sids.iter().map(String::as_str).collect();
    let tells_apart = |part: &dyn Fn(&str) -> Option<String>| {
        let parts: Option<HashSet<String>> = different.iter().map(|sid| part(sid)).collect();
        parts.is_some_and(|parts| parts.len() == different.len())
    };
    let longest = different.iter().map(|sid| sid.len()).max().unwrap_or_default();
    for length in SID_CHARS_MIN..longest {
        let begin = |sid: &str| part(sid.get(..length)?);
        let end = |sid: &str| part(sid.get(sid.len().checked_sub(length)?..)?);
        for part in [&begin as &dyn Fn(&str) -> Option<String>, &end] {
            if tells_apart(part) {
                return sids.iter().map(|sid| part(sid).unwrap_or_default()).collect();
            }
        }
    }
    sids.to_vec()
}

/// A part of a sid that does not begin or end with its hyphen.
fn part(text: &str) -> Option<String> {
    (!text.starts_with('-') && !text.ends_with('-')).then(|| text.to_owned())
}

/// Lines of a list without end.
pub(super) struct FollowLines {
    one_account: bool,
    /// None where whole lines are written.
    screen: Option<Screen>,
    /// Which sid is shown so.
    shown: HashMap<String, String>,
}

/// What the columns of a short line take: numbers and texts beyond that move the rest.
const SHORT_WIDTHS: [usize; 8] = [8, 8, 3, 11, 13, 13, 4, 8];

impl FollowLines {
    pub fn new(one_account: bool, screen: Option<Screen>) -> Self {
        Self { one_account, screen, shown: HashMap::new() }
    }

    pub fn head(&self) -> String {
        let whole = || {
            let columns = columns(self.one_account);
            let heads: Vec<String> = columns.iter().map(|(head, ..)| (*head).to_owned()).collect();
            line_of(&heads, &columns.iter().map(|(.., width)| *width).collect::<Vec<_>>(), 2)
        };
        let Some(screen) = self.screen else { return whole() };
        let mut heads = SHORT.map(str::to_owned).to_vec();
        if let Some(when) = heads.get_mut(WHEN) {
            "UTC".clone_into(when);
        }
        heads.truncate(self.short_columns(screen));
        line_of(&heads, &SHORT_WIDTHS, 1)
    }

    fn short_columns(&self, screen: Screen) -> usize {
        let all: usize = SHORT_WIDTHS.iter().map(|width| width + 1).sum();
        if self.one_account || all > screen.width + 1 { ACCOUNT } else { SHORT.len() }
    }

    /// A call that has come now.
    pub fn line(&mut self, call: &Members, now: Timestamp) -> String {
        let Some(screen) = self.screen else {
            let columns = columns(self.one_account);
            let cells: Vec<String> =
                columns.iter().map(|(_, key, _)| clean(&member(call, key))).collect();
            return line_of(
                &cells,
                &columns.iter().map(|(.., width)| *width).collect::<Vec<_>>(),
                2,
            );
        };
        let time = show_time(now).to_string();
        let time = time.get(11..19).unwrap_or_default().to_owned();
        let (sid, account) = (member(call, "call_sid"), member(call, "account_sid"));
        let sid = self.short_sid(sid);
        let account = account.get(..SID_CHARS_MIN).unwrap_or(&account).to_owned();
        let mut line = vec![cells(call, time, sid, account)];
        let columns = self.short_columns(screen);
        for cells in &mut line {
            cells.truncate(columns);
        }
        if gap(&line, columns, screen.width).is_none() {
            cut_parties(&mut line, screen.width);
        }
        let cells = line.pop().unwrap_or_default();
        // What is longer than its column takes of the blanks of those after it.
        let mut widths = SHORT_WIDTHS;
        let mut beyond = 0;
        for (cell, width) in cells.iter().zip(&mut widths) {
            let least = self::width(cell);
            let spare = width.saturating_sub(least).min(beyond);
            beyond -= spare;
            *width -= spare;
            if least > *width {
                beyond += least - *width;
                *width = least;
            }
        }
        painted(line_of(&cells, &widths, 1), Some(call), &widths, 1, screen.colours)
    }

    /// A part of a sid that has not stood for another one lately.
    fn short_sid(&mut self, sid: String) -> String {
        if self.shown.len() > REMEMBERED_MAX {
            self.shown.clear();
        }
        let end = sid.len().checked_sub(SID_CHARS_MIN).and_then(|at| sid.get(at..));
        for part in [sid.get(..SID_CHARS_MIN), end, Some(sid.as_str())].into_iter().flatten() {
            let is_its = self.shown.get(part).is_none_or(|other| *other == sid);
            if is_its {
                self.shown.insert(part.to_owned(), sid.clone());
                return part.to_owned();
            }
        }
        sid
    }
}
