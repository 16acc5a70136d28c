//! What a server takes for a request: time, and processor time.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::harness::Outcome;
use crate::harness::client::{Connection, Peer};
use crate::harness::figures::Times;

/// How long each measurement of lists takes.
const WHILE: Duration = Duration::from_secs(4);
/// Two servers are asked in turns, so that both have their share of what else the machine does.
pub const TURNS: u32 = 4;
/// How long a turn takes.
pub const TURN: Duration = Duration::from_secs(1);
/// How often and how long a server is looked at that is to come to rest, and what it may use meanwhile. It
/// looks for something to do every five seconds.
const LOOKS: u32 = 100;
const LOOK: Duration = Duration::from_secs(12);
const RESTING: Duration = Duration::from_millis(60);
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

/// What some requests took together.
#[derive(Default)]
pub struct Sum {
    pub times: Vec<Duration>,
    pub cpu: Duration,
}

impl Sum {
    pub fn cost(self) -> Outcome<Cost> {
        let cpu = self.cpu / u32::try_from(self.times.len())?;
        Ok(Cost { times: Times::of(self.times), cpu })
    }

    /// Asks for the same list over so many connections, each as soon as it has its answer.
    pub async fn lists(&mut self, load: &Load<'_>, time: Duration) -> Outcome<()> {
        let mut open = Vec::new();
        for _ in 0..load.connections {
            let mut connection = load.peer.connect().await?;
            connection.get(load.path).await?;
            open.push(connection);
        }
        let (before, begun) = (cpu(load.pid)?, Instant::now());
        let ask = async |mut connection: Connection| {
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let sent = Instant::now();
                connection.get(load.path).await?;
                times.push(sent.elapsed());
            }
            Outcome::Ok(times)
        };
        for found in futures_util::future::join_all(open.into_iter().map(ask)).await {
            self.times.extend(found?);
        }
        self.cpu += cpu(load.pid)?.saturating_sub(before);
        Ok(())
    }
}

/// Who asks whom for what.
pub struct Load<'a> {
    pub peer: &'a Peer,
    /// Of the server.
    pub pid: u32,
    pub path: &'a str,
    pub connections: usize,
}

impl Load<'_> {
    /// What a list takes.
    pub async fn cost(&self) -> Outcome<Cost> {
        let mut sum = Sum::default();
        sum.lists(self, WHILE).await?;
        sum.cost()
    }
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

/// Waits until a server does nothing by itself: until it has counted what it keeps counted.
pub async fn rest(pid: u32) -> Outcome<()> {
    for _ in 0..LOOKS {
        let before = cpu(pid)?;
        tokio::time::sleep(LOOK).await;
        if cpu(pid)?.saturating_sub(before) < RESTING {
            return Ok(());
        }
    }
    Err("the server does not come to rest".into())
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
