//! Instants in whole milliseconds, and the finer ones that put events in order.

/// Milliseconds since 1970-01-01T00:00:00Z; at most [`Timestamp::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-30T22:00:00.999Z: after it, an offset could lead beyond the years of RFC 3339.
    pub const MAX: Self = Self(253_402_207_200_999);

    /// The instant that many milliseconds after the epoch, or none beyond [`Timestamp::MAX`].
    pub const fn from_millis(millis: u64) -> Option<Self> {
        if millis <= Self::MAX.0 { Some(Self(millis)) } else { None }
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The instant `millis` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        let later = self.0.saturating_add(millis);
        if later > Self::MAX.0 { Self::MAX } else { Self(later) }
    }

    /// The instant `millis` earlier, at least the epoch.
    #[must_use]
    pub const fn minus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_sub(millis))
    }
}

/// When an event came, in microseconds: finer than any time that is shown, so that of two events of one
/// process the later one has the later moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// So many microseconds after a time; at most the last one before the next millisecond.
    pub const fn new(time: Timestamp, micros: u16) -> Self {
        let micros = if micros < 1000 { micros } else { 999 };
        Self(time.0 * 1000 + micros as u64)
    }

    /// The moment that many microseconds after the epoch, or none beyond [`Timestamp::MAX`].
    pub const fn from_micros(micros: u64) -> Option<Self> {
        if micros / 1000 <= Timestamp::MAX.0 { Some(Self(micros)) } else { None }
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The millisecond in which it lies.
    pub const fn time(self) -> Timestamp {
        Timestamp(self.0 / 1000)
    }

    /// Microseconds within that millisecond.
    pub const fn rest(self) -> u64 {
        self.0 % 1000
    }
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self::new(time, 0)
    }
}
