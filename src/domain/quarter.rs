//! Quarters of an hour: hours and days of every zone that is in use are made of whole ones.

use super::Timestamp;

/// A quarter of an hour of UTC, by its number since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quarter(u32);

impl Quarter {
    /// How long one is.
    pub const MILLIS: u64 = 15 * 60 * 1000;
    /// Beyond every instant.
    pub const MAX: Self = Self(u32::MAX);

    /// The one that an instant is in.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.millis() / Self::MILLIS).unwrap_or(u32::MAX))
    }

    /// The one of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp::default().plus_millis(u64::from(self.0) * Self::MILLIS)
    }

    /// The first instant after it.
    pub fn end(self) -> Timestamp {
        self.start().plus_millis(Self::MILLIS)
    }

    /// Its last instant.
    pub fn last(self) -> Timestamp {
        Timestamp::default().plus_millis(u64::from(self.0) * Self::MILLIS + (Self::MILLIS - 1))
    }

    /// So many later, at most [`Quarter::MAX`].
    #[must_use]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// So many earlier, at least that of 1970.
    #[must_use]
    pub const fn minus(self, count: u32) -> Self {
        Self(self.0.saturating_sub(count))
    }
}

/// A day of UTC, by its number since 1970: 96 quarters of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(u32);

impl Day {
    /// Quarters of one.
    pub const QUARTERS: u32 = 96;
    /// Beyond every instant.
    pub const MAX: Self = Self(u32::MAX / Self::QUARTERS);

    /// The one that a quarter is in.
    pub const fn of(quarter: Quarter) -> Self {
        Self(quarter.number() / Self::QUARTERS)
    }

    /// The one of this number, at most [`Day::MAX`].
    pub fn new(number: u32) -> Self {
        Self(number).min(Self::MAX)
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its first quarter.
    pub const fn first(self) -> Quarter {
        Quarter(self.0.saturating_mul(Self::QUARTERS))
    }

    /// Its last quarter.
    pub const fn last(self) -> Quarter {
        self.first().plus(Self::QUARTERS - 1)
    }
}
