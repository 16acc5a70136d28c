//! Messages to systemd (`sd_notify(3)`): progress of the start, ready, stopping. Without systemd none are
//! sent.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use super::watchdog::Watchdog;
use crate::clock;
use crate::store::{Progress, Store};

/// How long systemd is to wait for the next word of a start that goes on.
const TIMEOUT: Duration = Duration::from_mins(2);

/// How often a start says how far it is.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often systemd is asked for more time while nothing is said of how far things are.
const BEAT: Duration = Duration::from_secs(20);

/// What a process that does nothing but ask takes at most of the processor in one [`BEAT`].
const IDLE: Duration = Duration::from_millis(2);

/// Tells how far the start is, so that it may take as long as it makes progress.
pub struct Starting {
    last: Option<(String, Instant)>,
    _asking: Asking,
}

impl Starting {
    /// Begins with a first word.
    pub fn begin() -> Self {
        tell_start("opening the store");
        Self { last: None, _asking: Asking::begin() }
    }

    /// Says this, unless the same was said a moment ago.
    pub fn progress(&mut self, progress: &Progress) {
        let again =
            |(what, at): &(String, Instant)| *what == progress.what && at.elapsed() < INTERVAL;
        if self.last.as_ref().is_some_and(again) {
            return;
        }
        let share = progress.total.filter(|total| *total > 0);
        let share = share.map(|total| progress.done.min(total).saturating_mul(100) / total);
        match share {
            Some(share) => tell_start(&format!("{}: {share}%", progress.what)),
            None => tell_start(&progress.what),
        }
        self.last = Some((progress.what.clone(), Instant::now()));
    }
}

fn tell_start(status: &str) {
    notify(&[NotifyState::Status(status), more_time(TIMEOUT)]);
}

fn more_time(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

/// Asks for more time for as long as it lives and the process works: an index that is opened after
/// a power failure, or counted, or that takes over what is in memory, does not say how far it is.
pub struct Asking {
    /// The thread ends with it.
    _end: Option<Sender<()>>,
}

impl Asking {
    /// Begins, where there is a systemd to be asked.
    pub fn begin() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { _end: None };
        }
        let (end, ended) = channel();
        std::thread::spawn(move || {
            ask_while_working(&ended, BEAT, &mut worked, &mut || notify(&[more_time(TIMEOUT)]));
        });
        Self { _end: Some(end) }
    }
}

/// Asks once a beat if more than nothing was done in it. A thread that waits for a
/// lock or a dead disk does nothing.
fn ask_while_working(
    ended: &Receiver<()>,
    beat: Duration,
    worked: &mut dyn FnMut() -> Duration,
    ask: &mut dyn FnMut(),
) {
    let mut before = worked();
    while ended.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
        let now = worked();
        if now.saturating_sub(before) > IDLE {
            ask();
        }
        before = now;
    }
}

/// The time that the processor has worked for this process.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The server is ready, or ready again; `status` is for people.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration and certificates are read again.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(micros)]);
}

/// The server ends, once running requests have had this time.
pub fn stopping(drain: Duration) {
    let status = NotifyState::Status("closing connections and the store");
    notify(&[NotifyState::Stopping, status, more_time(drain.saturating_add(TIMEOUT))]);
}

/// Gives signs of life for as long as the committer answers and every accept loop turns. Ends
/// where systemd does not watch.
pub async fn watchdog(store: Arc<Store>, watchdogs: Arc<Vec<Watchdog>>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let interval = limit / 2;
    let mut ticks = tokio::time::interval(interval);
    // After a pause one look is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match fault(&store, &watchdogs, interval).await {
            None => notify(&[NotifyState::Watchdog]),
            Some(fault) => tracing::error!(fault, "no sign of life is given to systemd"),
        }
    }
}

/// What is wrong with the server, if anything is. Looks for at most `within` at each part.
async fn fault(
    store: &Arc<Store>,
    watchdogs: &[Watchdog],
    within: Duration,
) -> Option<&'static str> {
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
    for watchdog in watchdogs {
        if !watchdog.beats(within).await {
            return Some("an accept loop does not answer");
        }
    }
    None
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot send a message to systemd");
    }
}

#[cfg(test)]
mod tests {
    use super::super::watchdog::watchdog;
    use super::*;
    use crate::config::Config;
    use crate::store::Lock;

    #[test]
    fn time_is_asked_for_while_the_process_works_and_not_while_it_waits() {
        let (end, ended) = channel();
        let mut end = Some(end);
        let mut total = Duration::ZERO;
        // Works in the second, third and fifth beat, waits in the fourth, and ends after the fifth.
        let mut steps = [1, 500, 3, 0, 40].map(Duration::from_millis).into_iter();
        let mut first = true;
        let mut worked = || {
            if !std::mem::take(&mut first) {
                total += steps.next().unwrap();
            }
            if steps.len() == 0 {
                end = None;
            }
            total
        };
        let mut asked = 0;
        ask_while_working(&ended, Duration::from_millis(1), &mut worked, &mut || asked += 1);
        assert_eq!(asked, 3);
        let before = super::worked();
        let mut sum = 0_u64;
        while super::worked() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sign_of_life_needs_the_committer_and_every_accept_loop() {
        const WITHIN: Duration = Duration::from_secs(10);
        let dir = tempfile::tempdir().unwrap();
        let mut options = Config::default().store_options();
        options.data_dir = dir.path().join("data");
        let lock = Lock::take(&options.data_dir, true).unwrap();
        let store = Arc::new(Store::open(lock, options, clock::now(), &|_| {}).unwrap());
        let ((turns, mut asked), (hangs, never_asks)) = (watchdog(), watchdog());
        tokio::spawn(async move {
            loop {
                asked.answer().await;
            }
        });
        let before = store.status().sequence;
        let mut watchdogs = vec![turns];
        assert_eq!(fault(&store, &watchdogs, WITHIN).await, None);
        assert_eq!(store.status().sequence, before, "a look changes nothing");
        watchdogs.push(hangs);
        let short = Duration::from_millis(50);
        assert_eq!(fault(&store, &watchdogs, short).await, Some("an accept loop does not answer"));
        drop(never_asks);
        store.close().unwrap();
        let closed = fault(&store, &watchdogs, WITHIN).await;
        assert_eq!(closed, Some("the journal takes nothing any more"));
    }
}
