//! What others feel: a client that writes and reads at an even pace, and how long it waits.

use std::time::{Duration, Instant};

use super::Outcome;
use super::client::{ACCOUNT, Target, event};

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(4);

/// How long requests took.
pub struct Waits(Vec<Duration>);

impl Waits {
    /// Of so many hundred, this many took no longer.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.0.get(self.0.len() * percent / 100).copied().unwrap_or_default()
    }
}

/// Asks for so long, on connections of its own.
pub async fn probe(target: &Target, time: Duration) -> Outcome<Waits> {
    let (mut writer, mut reader) = (target.client().await?, target.client().await?);
    let path = format!("/v1/Accounts/{ACCOUNT}/Calls?limit=50");
    let begun = Instant::now();
    let mut waits = Vec::new();
    for turn in 0_u64.. {
        if begun.elapsed() >= time {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        let asked = Instant::now();
        let (expected, answer) = if turn.is_multiple_of(2) {
            (204, writer.post(&event(turn % 1000, "in-progress", "")).await?)
        } else {
            (200, reader.get(&path).await?)
        };
        waits.push(asked.elapsed());
        if answer.status != expected {
            return Err(format!("the answer to others was {}", answer.status).into());
        }
    }
    waits.sort_unstable();
    Ok(Waits(waits))
}

pub fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
