//! Groups of calls: by what they are told apart, and which of them have the most calls.

use std::collections::HashMap;

use super::lines::Exceeded;
use crate::domain::{Call, CallField, CallKind, country_code};

/// Memory for groups while they are counted.
pub const GROUPS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a group takes beside its values.
const GROUP_BYTES: usize = 72;

/// By what calls are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// Stale calls are a group of their own, whatever their status.
    Status,
    Direction,
    Trunk,
    Application,
    From,
    To,
    /// The country code of the number that is called.
    ToCountry,
}

impl Dimension {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Status,
        Self::Direction,
        Self::Trunk,
        Self::Application,
        Self::From,
        Self::To,
        Self::ToCountry,
    ];

    /// The word in queries and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Direction => "direction",
            Self::Trunk => "trunk",
            Self::Application => "application",
            Self::From => "from",
            Self::To => "to",
            Self::ToCountry => "to_country",
        }
    }

    /// Whether the kind of a call decides it.
    pub(super) const fn is_of_kinds(self) -> bool {
        !matches!(self, Self::From | Self::To | Self::ToCountry)
    }

    fn of_kind<'a>(self, kind: &CallKind<'a>) -> Option<&'a str> {
        match self {
            Self::Status if kind.stale => Some("stale"),
            Self::Status => Some(kind.status.as_str()),
            Self::Direction => Some(kind.direction.as_str()),
            Self::Trunk => kind.trunk,
            Self::Application => kind.application,
            Self::From | Self::To | Self::ToCountry => None,
        }
    }

    fn of(self, call: &Call) -> Option<&str> {
        match self {
            // A list shows a number that is not known as an empty one.
            Self::From => Some(call.text(CallField::From).unwrap_or_default()),
            Self::To => Some(call.text(CallField::To).unwrap_or_default()),
            Self::ToCountry => call.text(CallField::To).and_then(country_code),
            _ => self.of_kind(&CallKind::of(call)),
        }
    }
}

/// The values of a group: for each, whether there is one, its length and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group(Box<[u8]>);

impl Group {
    /// The values, as many as there are dimensions.
    pub fn values(&self) -> Vec<Option<&str>> {
        let mut values = Vec::new();
        let mut rest = &*self.0;
        while let [is_there, high, low, more @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
            let (value, after) = more.split_at(length);
            values.push(std::str::from_utf8(value).ok().filter(|_| *is_there == 1));
            rest = after;
        }
        values
    }
}

/// Writes the values of a call, as [`Group`] has them.
pub(super) fn write_group(dimensions: &[Dimension], call: &Call, into: &mut Vec<u8>) {
    into.clear();
    for dimension in dimensions {
        write_value(dimension.of(call), into);
    }
}

/// Writes the values of calls of a kind.
pub(super) fn write_group_of_kind(
    dimensions: &[Dimension],
    kind: &CallKind<'_>,
    into: &mut Vec<u8>,
) {
    into.clear();
    for dimension in dimensions {
        write_value(dimension.of_kind(kind), into);
    }
}

fn write_value(value: Option<&str>, into: &mut Vec<u8>) {
    let text = value.unwrap_or_default().as_bytes();
    // No text of a call is as long.
    let text = text.get(..usize::from(u16::MAX)).unwrap_or(text);
    into.push(u8::from(value.is_some()));
    into.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    into.extend_from_slice(text);
}

/// How many calls each group has.
#[derive(Debug, Default)]
pub(super) struct GroupCounts {
    counts: HashMap<Box<[u8]>, u64>,
    bytes: usize,
}

impl GroupCounts {
    /// A call of a group; one that counts for its peaks alone is none.
    pub fn add(&mut self, group: &[u8], calls: u64) -> Result<(), Exceeded> {
        if let Some(count) = self.counts.get_mut(group) {
            *count += calls;
            return Ok(());
        }
        self.bytes += GROUP_BYTES + group.len();
        if self.bytes > GROUPS_BYTES_MAX {
            return Err(Exceeded::Groups(self.counts.len()));
        }
        self.counts.insert(group.into(), calls);
        Ok(())
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The groups that have the most calls, those with the most first, then by their values, none
    /// before any; and how many others there are.
    pub fn top(self, most: usize) -> (Vec<Group>, usize) {
        let mut groups: Vec<(u64, Group)> =
            self.counts.into_iter().map(|(key, calls)| (calls, Group(key))).collect();
        groups.sort_unstable_by(|(a_calls, a), (b_calls, b)| {
            b_calls.cmp(a_calls).then_with(|| a.values().cmp(&b.values()))
        });
        let others = groups.len().saturating_sub(most);
        groups.truncate(most);
        groups.shrink_to_fit();
        (groups.into_iter().map(|(_, group)| group).collect(), others)
    }
}

/// The number of each group.
pub(super) fn numbers(groups: &[Group]) -> HashMap<Box<[u8]>, usize> {
    groups.iter().enumerate().map(|(n, group)| (group.0.clone(), n)).collect()
}
