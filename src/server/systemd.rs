//! What systemd is told (`sd_notify(3)`): how far the start is, that all is well, that it is over.
//! Without systemd nothing is said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use super::pulse::Pulse;
use crate::clock;
use crate::store::{Progress, Store};

/// How long systemd is to wait for the next word of a start that goes on.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often a start says how far it is.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells how far the start is, so that it may take as long as it makes progress.
pub struct Starting {
    told: Option<(String, Instant)>,
}

impl Starting {
    /// Begins with a first word.
    pub fn begin() -> Self {
        tell_start("opening the store");
        Self { told: None }
    }

    /// Says this, unless the same was said a moment ago.
    pub fn progress(&mut self, progress: &Progress) {
        let again =
            |(what, at): &(String, Instant)| *what == progress.what && at.elapsed() < INTERVAL;
        if self.told.as_ref().is_some_and(again) {
            return;
        }
        let share = progress.total.filter(|total| *total > 0);
        let share = share.map(|total| progress.done.min(total).saturating_mul(100) / total);
        match share {
            Some(share) => tell_start(&format!("{}: {share}%", progress.what)),
            None => tell_start(&progress.what),
        }
        self.told = Some((progress.what.clone(), Instant::now()));
    }
}

fn tell_start(status: &str) {
    let micros = u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(micros)]);
}

/// The server is up, or up again; `status` is for people.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration and certificates are read again.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(micros)]);
}

/// The server ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("closing connections and the store")]);
}

/// Gives signs of life for as long as the committer answers and every accept loop turns. Ends
/// where systemd does not watch.
pub async fn watchdog(store: Arc<Store>, pulses: Vec<Pulse>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let interval = limit / 2;
    let mut ticks = tokio::time::interval(interval);
    // After a pause one look is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match fault(&store, &pulses, interval).await {
            None => notify(&[NotifyState::Watchdog]),
            Some(fault) => tracing::error!(fault, "no sign of life is given to systemd"),
        }
    }
}

/// What is wrong with the server, if anything is. Looks for at most `within` at each part.
async fn fault(store: &Arc<Store>, pulses: &[Pulse], within: Duration) -> Option<&'static str> {
    let store = store.clone();
    // Nothing is changed, but the committer itself says so: it is neither stuck nor gone, and it
    // refuses once the journal has failed. The figures show that no lock is held for good.
    let looked = tokio::task::spawn_blocking(move || {
        store.status();
        store.apply(&[], clock::now(), true).is_ok()
    });
    match tokio::time::timeout(within, looked).await {
        Ok(Ok(true)) => {}
        Ok(_) => return Some("the journal takes nothing any more"),
        Err(_) => return Some("the committer does not answer"),
    }
    for pulse in pulses {
        if !pulse.beats(within).await {
            return Some("an accept loop does not turn");
        }
    }
    None
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::super::pulse::pulse;
    use super::*;
    use crate::config::Config;
    use crate::store::Lock;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sign_of_life_needs_the_committer_and_every_accept_loop() {
        const WITHIN: Duration = Duration::from_secs(10);
        let dir = tempfile::tempdir().unwrap();
        let mut options = Config::default().store_options();
        options.data_dir = dir.path().join("data");
        let lock = Lock::take(&options.data_dir, true).unwrap();
        let store = Arc::new(Store::open(lock, options, clock::now(), &|_| {}).unwrap());
        let ((turns, mut asked), (hangs, never_asks)) = (pulse(), pulse());
        tokio::spawn(async move {
            loop {
                asked.answer().await;
            }
        });
        let before = store.status().sequence;
        let mut pulses = vec![turns];
        assert_eq!(fault(&store, &pulses, WITHIN).await, None);
        assert_eq!(store.status().sequence, before, "a look changes nothing");
        pulses.push(hangs);
        let short = Duration::from_millis(50);
        assert_eq!(fault(&store, &pulses, short).await, Some("an accept loop does not turn"));
        drop(never_asks);
        store.close().unwrap();
        let closed = fault(&store, &pulses, WITHIN).await;
        assert_eq!(closed, Some("the journal takes nothing any more"));
    }
}
