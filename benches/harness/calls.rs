//! Calls to fill a store with: always the same ones.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Outcome;

/// The account that has a good part of all calls.
pub const LARGE: &str = "a0000000-0000-4000-8000-000000000000";
const LARGE_CALLS: u64 = 100_000;
const OTHER_ACCOUNTS: u64 = 49;

/// Writes so many calls to a file, one a line. Returns its size.
pub fn write_calls(path: &Path, all: u64) -> Outcome<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    for n in 0..all {
        write_call(&mut file, n, all)?;
    }
    let file = file.into_inner()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// The next of a fixed row of numbers that look random (splitmix64).
pub fn mixed(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How a call ended, by chance.
pub fn outcome(chance: u64) -> (&'static str, u16) {
    match chance / 64 % 100 {
        0..70 => ("completed", 200),
        70..85 => ("no-answer", 480),
        85..92 => ("busy", 486),
        _ => ("failed", 503),
    }
}

/// So many milliseconds after the begin of a January.
pub fn january(millis: u64) -> String {
    let (time, millis) = (millis / 1000, millis % 1000);
    let (day, rest) = (time / 86_400, time % 86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("2026-01-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", day + 1)
}

/// A call as a list of jambonz has it, with its times: all calls of a month, as they came.
fn write_call(out: &mut impl Write, n: u64, all: u64) -> io::Result<()> {
    let chance = mixed(n);
    let large = LARGE_CALLS.min(all / 2);
    // Every so many calls one is the large account's.
    let before = |n: u64| n * large / all;
    let account = if before(n + 1) > before(n) {
        LARGE.to_owned()
    } else {
        format!("a0000000-0000-4000-8000-{:012x}", 1 + chance % OTHER_ACCOUNTS)
    };
    let (status, sip) = outcome(chance);
    let direction = if (chance / 8192).is_multiple_of(3) { "outbound" } else { "inbound" };
    let seconds = n * 30 * 86_400 / all;
    let at = |more: u64| january((seconds + more) * 1000 + chance % 1000);
    let lasted = 1 + chance / 1_048_576 % 600;
    write!(
        out,
        "{{\"account_sid\":\"{account}\",\"call_id\":\"{chance:016x}@10.0.0.{}\",\
         \"call_sid\":\"{:08x}-{:04x}-4000-8000-{n:012x}\",\"call_status\":\"{status}\",\
         \"direction\":\"{direction}\",\"from\":\"+1555{:07}\",\
         \"service_url\":\"http://10.0.0.5:3000\",\"sip_status\":{sip},\"to\":\"+1555{:07}\",\
         \"trace_id\":\"{chance:032x}\",\"attempted_at\":\"{}\"",
        chance % 250,
        chance >> 32,
        chance >> 16 & 0xffff,
        chance / 7 % 5000,
        1_000_000 + chance / 11 % 300,
        at(0)
    )?;
    if status == "completed" {
        write!(out, ",\"answered_at\":\"{}\",\"duration\":{lasted}", at(5))?;
    }
    writeln!(out, ",\"terminated_at\":\"{}\"}}", at(5 + lasted))
}

/// What jambonz posts of a call, from its first event to its last: the whole payload.
const STEPS: [(&str, u16, &str); 4] = [
    ("trying", 100, "Trying"),
    ("ringing", 180, "Ringing"),
    ("in-progress", 200, "OK"),
    ("completed", 200, "OK"),
];

/// The next event of an endless row: call after call, each with its four events. Rows of different
/// numbers have calls of their own.
pub struct Events {
    row: u64,
    next: usize,
}

impl Events {
    pub fn of(row: u64) -> Self {
        Self { row, next: 0 }
    }

    pub fn event(&mut self) -> String {
        let n = self.next / STEPS.len();
        let (status, sip, reason) = STEPS.get(self.next % STEPS.len()).unwrap_or(&STEPS[0]);
        self.next += 1;
        let last = if *status == "completed" {
            ",\"call_termination_by\":\"caller\",\"duration\":45"
        } else {
            ""
        };
        format!(
            "{{\"call_sid\":\"e{:07x}-0000-4000-8000-{n:012x}\",\"direction\":\"inbound\",\
             \"from\":\"+1555{:07}\",\"to\":\"+15559999999\",\"call_id\":\"live-{n}@10.0.0.9\",\
             \"sbc_callid\":\"sbc-{n}@10.0.0.9\",\"sip_status\":{sip},\"sip_reason\":\"{reason}\",\
             \"call_status\":\"{status}\",\"account_sid\":\"{LARGE}\",\"trace_id\":\"{n:032x}\",\
             \"application_sid\":\"7087fe50-8acb-4f3b-b820-97b573723aab\",\
             \"fs_sip_address\":\"10.0.0.5:5060\",\"originating_sip_ip\":\"198.51.100.4\",\
             \"originating_sip_trunk_name\":\"Twilio\"{last}}}",
            self.row,
            n % 5000
        )
    }
}
