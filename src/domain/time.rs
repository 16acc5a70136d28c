//! Instants, in whole milliseconds.

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
