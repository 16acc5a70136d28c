//! Which numbers are missing: whole intervals of them.

use std::collections::BTreeMap;

/// Numbers, as intervals that do not touch: where each begins, and its last one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Gaps(BTreeMap<u32, u32>);

impl Gaps {
    /// Every number.
    pub fn all() -> Self {
        Self(BTreeMap::from([(0, u32::MAX)]))
    }

    /// Takes numbers out.
    pub fn remove(&mut self, first: u32, last: u32) {
        while let Some((low, high)) = self.meeting(first, last) {
            self.0.remove(&low);
            if low < first {
                self.0.insert(low, first - 1);
            }
            if high > last {
                self.0.insert(last + 1, high);
            }
        }
    }

    /// Adds numbers.
    pub fn add(&mut self, first: u32, last: u32) {
        let (mut low, mut high) = (first, last);
        // Neighbours, too, become one with them.
        while let Some((a, b)) = self.meeting(low.saturating_sub(1), high.saturating_add(1)) {
            self.0.remove(&a);
            (low, high) = (low.min(a), high.max(b));
        }
        self.0.insert(low, high);
    }

    /// The first interval that has any of these numbers.
    pub fn meeting(&self, first: u32, last: u32) -> Option<(u32, u32)> {
        let before = self.0.range(..=first).next_back().filter(|(_, high)| **high >= first);
        let found = before.or_else(|| self.0.range(first..=last).next())?;
        Some((*found.0, *found.1))
    }

    /// Whether all of these numbers are there.
    pub fn has_all(&self, first: u32, last: u32) -> bool {
        self.meeting(first, first).is_some_and(|(_, high)| high >= last)
    }

    /// The intervals that have any of these numbers, in order.
    pub fn within(&self, first: u32, last: u32) -> impl Iterator<Item = (u32, u32)> {
        let low = self.meeting(first, last).map_or(u32::MAX, |(low, _)| low);
        self.0
            .range(low..)
            .map(|(low, high)| (*low, *high))
            .take_while(move |(low, _)| *low <= last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_are_what_a_set_says(
            changes in prop::collection::vec((any::<bool>(), 0..40_u32, 0..8_u32), 0..30),
            asked in (0..50_u32, 0..8_u32),
        ) {
            let (mut gaps, mut set) = (Gaps::all(), (0..60).collect::<BTreeSet<u32>>());
            for (add, first, more) in changes {
                let last = first + more;
                if add {
                    gaps.add(first, last);
                    set.extend(first..=last);
                } else {
                    gaps.remove(first, last);
                    set.retain(|n| !(first..=last).contains(n));
                }
                let all: Vec<_> = gaps.0.iter().collect();
                prop_assert!(all.windows(2).all(|two| two[0].1 + 1 < *two[1].0), "they touch: {all:?}");
            }
            for n in 0..60 {
                prop_assert_eq!(gaps.meeting(n, n).is_some(), set.contains(&n));
            }
            let (first, last) = (asked.0, asked.0 + asked.1);
            prop_assert_eq!(gaps.has_all(first, last), (first..=last).all(|n| set.contains(&n)));
            let met: Vec<_> = gaps.within(first, last).collect();
            prop_assert_eq!(met.first().copied(), gaps.meeting(first, last));
            for n in first..=last {
                prop_assert_eq!(met.iter().any(|(a, b)| (*a..=*b).contains(&n)), set.contains(&n));
            }
        }
    }
}
