//! How webhooks are passed on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::counter::Counter;

use super::Histogram;
use crate::domain::Timestamp;

/// Bounds of the time from the receipt of a webhook to its delivery, in microseconds.
const DELAY_MICROS: &[u64] = &[
    5000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];

/// All targets, by name.
#[derive(Debug, Default)]
pub struct ForwardMetrics {
    targets: RwLock<BTreeMap<String, Arc<TargetMetrics>>>,
    /// Webhooks that were for no target, since they had events of several accounts or of too many calls, or came
    /// back from a target.
    pub passed_over: Counter,
}

impl ForwardMetrics {
    /// The instruments of a target.
    pub fn target(&self, name: &str) -> Arc<TargetMetrics> {
        self.targets.write().entry(name.to_owned()).or_default().clone()
    }

    /// Those of every target.
    pub fn all(&self) -> Vec<(String, Arc<TargetMetrics>)> {
        let targets = self.targets.read();
        targets.iter().map(|(name, target)| (name.clone(), target.clone())).collect()
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// There was no connection.
    Unreached,
    /// There was no answer in time.
    Late,
    /// The connection failed before an answer.
    Lost,
    /// An answer that leads elsewhere; it is not followed.
    Redirected,
    /// 4xx, and whatever else is no success.
    Refused,
    /// 5xx.
    Failed,
}

impl Undelivered {
    pub const ALL: [Self; 6] =
        [Self::Unreached, Self::Late, Self::Lost, Self::Redirected, Self::Refused, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreached => "unreached",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::Redirected => "redirected",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// All instruments of a target.
#[derive(Debug)]
pub struct TargetMetrics {
    pub delivered: Counter,
    failures: [Counter; Undelivered::ALL.len()],
    /// Those that were given up.
    pub set_aside: Counter,
    /// Those whose call was deleted before.
    pub gone: Counter,
    /// Attempts without a signature, since the account has no secret.
    pub unsigned: Counter,
    /// From the receipt to the delivery.
    pub delay: Histogram,
    /// When the oldest that is not delivered was received, in milliseconds since 1970; 0 for none.
    oldest: AtomicU64,
    state: Mutex<TargetState>,
}

impl Default for TargetMetrics {
    fn default() -> Self {
        Self {
            delivered: Counter::default(),
            failures: Default::default(),
            set_aside: Counter::default(),
            gone: Counter::default(),
            unsigned: Counter::default(),
            delay: Histogram::of_micros(DELAY_MICROS),
            oldest: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }
}

/// How a target is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetState {
    /// Where it is, without what may be secret; empty where it is not configured.
    pub url: String,
    /// Attempts have failed one after the other, since this time: only now and then one is made.
    pub down_since: Option<Timestamp>,
    /// What the last failure was; none after a success.
    pub why: Option<String>,
    pub last_delivered_at: Option<Timestamp>,
}

impl TargetMetrics {
    pub fn failed(&self, how: Undelivered) {
        if let Some(counter) = self.failures.get(how as usize) {
            counter.inc();
        }
    }

    /// How many attempts failed, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (Undelivered, u64)> {
        Undelivered::ALL.into_iter().zip(self.failures.iter().map(Counter::get))
    }

    pub fn state(&self) -> TargetState {
        self.state.lock().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut TargetState)) {
        change(&mut self.state.lock());
    }

    pub fn set_oldest(&self, at: Option<Timestamp>) {
        self.oldest.store(at.map_or(0, Timestamp::millis), Ordering::Relaxed);
    }

    /// When the oldest that is not delivered was received.
    pub fn oldest(&self) -> Option<Timestamp> {
        let millis = self.oldest.load(Ordering::Relaxed);
        Timestamp::from_millis(millis).filter(|_| millis > 0)
    }
}
