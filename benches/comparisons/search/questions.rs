//! What is asked twice: as a path, and as another server is asked.

use super::answers::{self, Reader};
use super::month::{self, END, START};
use super::side::Answer;
use crate::baselines::postgres::SHOWN;
use crate::harness::Outcome;
use crate::harness::calls::LARGE;
use crate::harness::table::Target;

/// Values that are asked for in turn, where a question has one.
const VALUES: u64 = 16;
/// Calls of a page of recent calls, as the portal asks for them.
const PAGE: u64 = 25;
/// The page far behind.
const FAR: u64 = 1000;

const PARTS: Target = Target::AtLeast(2.0, 10.0);
const EXACT: Target = Target::AtLeast(1.0, 3.0);
const COUNTS: Target = Target::AtLeast(10.0, 100.0);
const RECENT: Target = Target::AtLeast(10.0, 100.0);

pub struct Question {
    pub what: String,
    pub target: Target,
    /// SQL that comes before it.
    pub prepare: Option<String>,
    /// A path and the same asked of the other, for each value.
    pub pairs: Vec<[String; 2]>,
    readers: [Reader; 2],
}

impl Question {
    /// How many lines both answers have. It is an error where they differ.
    pub fn compare(&self, ours: &Answer, theirs: &Answer) -> Outcome<usize> {
        let [read_ours, read_theirs] = self.readers;
        let (ours, theirs) = (read_ours(ours)?, read_theirs(theirs)?);
        if ours == theirs {
            return Ok(ours.len());
        }
        let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        let at = differs.unwrap_or(ours.len().min(theirs.len()));
        let [our_line, their_line] = [&ours, &theirs].map(|lines| lines.get(at));
        Err(format!(
            "line {at} of {} is {our_line:?}, and of the other's {} {their_line:?}",
            ours.len(),
            theirs.len()
        )
        .into())
    }
}

/// Calls by a part of either number.
pub fn parts() -> Question {
    let columns = shown();
    let pair = |n| {
        let part = month::part(n);
        // With the part in it, so that each is planned by how many calls are to be expected.
        let sql = format!(
            "SELECT json_agg(r) FROM (SELECT {columns} FROM calls WHERE account_sid = '{LARGE}' \
             AND (\"from\" LIKE '%{part}%' OR \"to\" LIKE '%{part}%') \
             ORDER BY attempted_at DESC, call_sid LIMIT 50) r"
        );
        [calls(&format!("limit=50&number_contains={part}")), sql]
    };
    Question {
        what: "50 calls by a part of a number".to_owned(),
        target: PARTS,
        prepare: None,
        pairs: (0..VALUES).map(pair).collect(),
        readers: [answers::list; 2],
    }
}

/// Calls by what they have.
pub fn lists(all: u64) -> [Question; 2] {
    let list = |name: &str, types: &str, filter: &str| {
        Some(format!(
            "PREPARE {name}(uuid{types}) AS SELECT json_agg(r) FROM (SELECT {} FROM calls \
             WHERE account_sid = $1 AND {filter} ORDER BY attempted_at DESC, call_sid LIMIT 50) r",
            shown()
        ))
    };
    let by_call_id = |n| {
        let call_id = month::call_id((2 * n + 1) * all / (2 * VALUES));
        let path = calls(&format!("limit=50&call_id={call_id}"));
        [path, format!("EXECUTE by_call_id('{LARGE}', '{call_id}')")]
    };
    let by_trunk = |n| {
        let (application, trunk) = (month::application(n), month::trunk(n));
        let [start, end] = month::day(n * 5);
        let path = calls(&format!(
            "limit=50&application_sid={application}&trunk={trunk}&start={start}&end={end}"
        ));
        let values = format!("'{LARGE}', '{application}', '{trunk}', '{start}', '{end}'");
        [path, format!("EXECUTE by_trunk({values})")]
    };
    [
        Question {
            what: "calls by Call-ID".to_owned(),
            target: EXACT,
            prepare: list("by_call_id", ", text", "call_id = $2"),
            pairs: (0..VALUES).map(by_call_id).collect(),
            readers: [answers::list; 2],
        },
        Question {
            what: "50 calls by application, trunk and day".to_owned(),
            target: EXACT,
            prepare: list(
                "by_trunk",
                ", uuid, text, timestamptz, timestamptz",
                "application_sid = $2 AND originating_sip_trunk_name = $3 \
                 AND attempted_at >= $4 AND attempted_at < $5",
            ),
            pairs: (0..VALUES).map(by_trunk).collect(),
            readers: [answers::list; 2],
        },
    ]
}

/// How many calls there are, and when they were.
pub fn statistics() -> [Question; 5] {
    let question = |what: &str, name: &str, path: String, sql: &str, readers| Question {
        what: what.to_owned(),
        target: COUNTS,
        prepare: Some(format!("PREPARE {name}(uuid) AS {sql}")),
        pairs: vec![[path, format!("EXECUTE {name}('{LARGE}')")]],
        readers,
    };
    let hours = format!("{}?interval=hour&start={START}&end={END}", stats());
    let by_hour = |group: &str, place: &str| {
        format!(
            "SELECT json_agg(r) FROM (SELECT date_trunc('hour', attempted_at) AS start{group}, \
             count(*) AS calls, count(answered_at) AS answered, \
             coalesce(sum(duration), 0) AS seconds FROM calls WHERE account_sid = $1 \
             AND attempted_at >= '{START}' AND attempted_at < '{END}' GROUP BY 1{place}) r"
        )
    };
    [
        question(
            "count of all calls",
            "count_all",
            calls("limit=1&count=true"),
            "SELECT count(*) FROM calls WHERE account_sid = $1",
            [answers::total; 2],
        ),
        question(
            "count of the calls of a status",
            "count_status",
            calls("limit=1&count=true&callStatus=no-answer"),
            "SELECT count(*) FROM calls WHERE account_sid = $1 AND call_status = 'no-answer'",
            [answers::total; 2],
        ),
        question(
            "counts by direction and status",
            "counts",
            stats(),
            "SELECT json_agg(r) FROM (SELECT direction, call_status, count(*) AS calls \
             FROM calls WHERE account_sid = $1 GROUP BY 1, 2) r",
            [answers::standing, answers::standing_rows],
        ),
        question(
            "calls per hour of a month",
            "hours",
            hours.clone(),
            &by_hour("", ""),
            [answers::hours, answers::hour_rows],
        ),
        question(
            "calls per hour of a month, by status",
            "hours_by_status",
            format!("{hours}&group=status"),
            &by_hour(", call_status AS status", ", 2"),
            [answers::hours, answers::hour_rows],
        ),
    ]
}

/// Recent calls as the portal asks for them: the first page, and one far behind.
pub fn recent(all: u64) -> [Question; 2] {
    let far = FAR.min(all / PAGE);
    [1, far].map(|page| {
        let path = format!(
            "/v1/Accounts/{LARGE}/RecentCalls?page={page}&count={PAGE}&start={START}T00:00:00.000Z"
        );
        Question {
            what: format!("RecentCalls, page {page}"),
            target: RECENT,
            prepare: None,
            pairs: vec![[path.clone(), path]],
            readers: [answers::recent; 2],
        }
    })
}

fn calls(query: &str) -> String {
    format!("/v1/Accounts/{LARGE}/Calls?{query}")
}

fn stats() -> String {
    format!("/v1/Accounts/{LARGE}/CallStats")
}

/// What a list shows of a row.
fn shown() -> String {
    format!("{SHOWN}, application_sid, originating_sip_trunk_name")
}
