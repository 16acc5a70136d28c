//! What a server takes for a request: time, and processor time.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::ground::Outcome;
use crate::ground::client::{Connection, Peer};
use crate::ground::figures::Times;

/// How long each measurement of lists takes.
pub const WHILE: Duration = Duration::from_secs(4);
/// Clock ticks of `/proc/PID/stat` in a second: the same on every Linux.
const TICKS: u32 = 100;

/// What a request took.
#[derive(Debug, Clone)]
pub struct Cost {
    pub times: Times,
    /// Processor time of one.
    pub cpu: Duration,
}

impl Cost {
    pub fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6
    }
}

/// Asks for the same list over so many connections, each as soon as it has its answer.
pub async fn lists(peer: &Peer, pid: u32, path: &str, connections: usize) -> Outcome<Cost> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = peer.connect().await?;
        connection.get(path).await?;
        open.push(connection);
    }
    let (before, begun) = (cpu(pid)?, Instant::now());
    let asked = open.into_iter().map(|connection| ask(connection, path, begun));
    let mut times = Vec::new();
    for found in futures_util::future::join_all(asked).await {
        times.extend(found?);
    }
    let spent = cpu(pid)?.saturating_sub(before);
    Ok(Cost { cpu: spent / u32::try_from(times.len())?, times: Times::of(times) })
}

async fn ask(mut connection: Connection, path: &str, begun: Instant) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    while begun.elapsed() < WHILE {
        let sent = Instant::now();
        connection.get(path).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

/// Processor time of a process and of all below it, those included that have ended.
pub fn cpu(pid: u32) -> Outcome<Duration> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // It may have ended meanwhile.
        if let Some(found) = stat(pid) {
            all.insert(pid, found);
        }
    }
    let mut ticks = 0;
    let mut family = vec![pid];
    while let Some(pid) = family.pop() {
        ticks += all.get(&pid).ok_or("the process is gone")?.ticks;
        family.extend(all.iter().filter(|(_, found)| found.parent == pid).map(|(child, _)| *child));
    }
    Ok(Duration::from_secs(ticks) / TICKS)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may have spaces and brackets.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
}
