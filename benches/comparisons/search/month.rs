//! A month of one account, which has all calls: 100 000 numbers call 300 of its own, through some trunks and
//! for some applications. No two calls begin in the same millisecond.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::harness::Outcome;
use crate::harness::calls::{LARGE, january, mixed, outcome};

/// The time of all calls, as dates of queries.
pub const START: &str = "2026-01-01";
pub const END: &str = "2026-02-01";
/// Its days.
const DAYS: u64 = 31;
/// Calls begin within so many milliseconds: the last of them, too, has ended in the month.
const BEGINS_MILLIS: u64 = (DAYS * 24 - 1) * 3_600_000;
/// Numbers that call.
const NUMBERS: u64 = 100_000;
/// Numbers that are called.
const OWN_NUMBERS: u64 = 300;
const APPLICATIONS: u64 = 8;
const TRUNKS: u64 = 5;

/// Writes so many calls to a file, one a line, as an import takes them.
pub fn write_month(path: &Path, all: u64) -> Outcome<()> {
    if all > BEGINS_MILLIS {
        return Err(format!("{all} calls: expected at most {BEGINS_MILLIS}").into());
    }
    let mut file = BufWriter::new(File::create(path)?);
    for n in 0..all {
        write_call(&mut file, n, all)?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn write_call(out: &mut impl Write, n: u64, all: u64) -> io::Result<()> {
    let chance = mixed(n);
    let (status, sip) = outcome(chance);
    let direction = if (chance / 8192).is_multiple_of(3) { "outbound" } else { "inbound" };
    let spacing = BEGINS_MILLIS / all;
    let begun = n * spacing + chance / 64 % spacing;
    let lasted = 1 + chance / 1_048_576 % 600;
    // They share no factor with 10 000 000, so that no two numbers are the same.
    let number = (chance >> 20) % NUMBERS * 7_654_321 % 10_000_000;
    write!(
        out,
        "{{\"account_sid\":\"{LARGE}\",\"call_id\":\"{}\",\
         \"call_sid\":\"{:08x}-{:04x}-4000-8000-{n:012x}\",\"call_status\":\"{status}\",\
         \"direction\":\"{direction}\",\"from\":\"+1555{number:07}\",\
         \"service_url\":\"http://10.0.0.5:3000\",\"sip_status\":{sip},\"to\":\"+1666{:07}\",\
         \"application_sid\":\"{}\",\"originating_sip_trunk_name\":\"{}\",\
         \"trace_id\":\"{chance:032x}\",\"attempted_at\":\"{}\"",
        call_id(n),
        chance >> 32,
        chance >> 16 & 0xffff,
        1_000_000 + chance / 11 % OWN_NUMBERS,
        application(chance >> 12),
        trunk(chance >> 40),
        january(begun)
    )?;
    if status == "completed" {
        write!(out, ",\"answered_at\":\"{}\",\"duration\":{lasted}", january(begun + 5000))?;
    }
    writeln!(out, ",\"terminated_at\":\"{}\"}}", january(begun + 5000 + lasted * 1000))
}

/// The Call-ID of a call.
pub fn call_id(n: u64) -> String {
    let chance = mixed(n);
    format!("{chance:016x}@10.0.0.{}", chance % 250)
}

/// One of the applications.
pub fn application(n: u64) -> String {
    format!("7087fe50-8acb-4f3b-b820-{:012x}", n % APPLICATIONS)
}

/// One of the trunks.
pub fn trunk(n: u64) -> String {
    format!("carrier-{}", n % TRUNKS)
}

/// One of the days, and the day after it, as dates of queries.
pub fn day(n: u64) -> [String; 2] {
    let date = |day: u64| january(day * 86_400_000).chars().take(10).collect();
    // January's last day ends in another month.
    let day = n % (DAYS - 1);
    [date(day), date(day + 1)]
}

/// Four digits, of numbers of which some call.
pub fn part(n: u64) -> String {
    format!("{:04}", mixed(n + 1) % 10_000)
}
