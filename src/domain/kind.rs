//! What many calls have in common: the parts of a call that have few values. Calls are counted by it.

use super::{Call, CallField, CallStatus, Direction, Filter};

/// The parts of a call that have few values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKind<'a> {
    pub status: CallStatus,
    pub stale: bool,
    pub direction: Direction,
    pub answered: bool,
    pub trunk: Option<&'a str>,
    pub application: Option<&'a str>,
}

impl<'a> CallKind<'a> {
    /// That of a call.
    pub fn of(call: &'a Call) -> Self {
        Self {
            status: call.progress.status,
            stale: call.stale,
            direction: call.direction.value,
            answered: call.answered(),
            trunk: call.text(CallField::OriginatingSipTrunkName),
            application: call.text(CallField::ApplicationSid),
        }
    }
}

/// Some calls: of one status, of one direction, or of one of both. Stale calls have no status and are some by
/// themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindGroup {
    /// Any where none is given.
    pub status: Option<GroupStatus>,
    /// Either where none is given.
    pub direction: Option<Direction>,
}

/// A status by which calls are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupStatus {
    Status(CallStatus),
    Stale,
}

impl KindGroup {
    /// Those to which calls of a kind belong.
    pub fn of(kind: &CallKind<'_>) -> [Self; 3] {
        let status = if kind.stale { GroupStatus::Stale } else { GroupStatus::Status(kind.status) };
        let (status, direction) = (Some(status), Some(kind.direction));
        [
            Self { status, direction: None },
            Self { status: None, direction },
            Self { status, direction },
        ]
    }
}

impl Filter {
    /// Whether the kind of a call and its place in lists decide whether it matches.
    pub fn is_of_kinds(&self) -> bool {
        let of_kinds = Self {
            statuses: self.statuses.clone(),
            directions: self.directions.clone(),
            stale: self.stale,
            start: self.start,
            end: self.end,
            search: super::Search {
                answered: self.search.answered,
                application_sid: self.search.application_sid.clone(),
                ..super::Search::default()
            },
            ..Self::default()
        };
        *self == of_kinds
    }

    /// Whether calls of this kind match, their place in lists apart.
    pub fn matches_kind(&self, kind: &CallKind<'_>) -> bool {
        let applications = &self.search.application_sid;
        let is_wanted = |application| applications.iter().any(|wanted| wanted == application);
        self.matches_bare_kind(kind)
            && (applications.is_empty() || kind.application.is_some_and(is_wanted))
    }

    /// The same by what a kind has beside its texts.
    pub(super) fn matches_bare_kind(&self, kind: &CallKind<'_>) -> bool {
        let status_counts = !kind.stale || self.stale == Some(true);
        (self.statuses.is_empty() || status_counts && self.statuses.contains(&kind.status))
            && self.stale.is_none_or(|stale| stale == kind.stale)
            && (self.directions.is_empty() || self.directions.contains(&kind.direction))
            && self.search.answered.is_none_or(|answered| answered == kind.answered)
    }
}
