//! Whether a record that is brought back tells of a call what is known of it.

use super::{Call, CallField, StampedEvent, Timestamp};

impl Call {
    /// Whether everything that this record says is what the call shows. Then it tells nothing new, not even
    /// when something was heard: the answer of a list, say, that is imported where it came from.
    pub fn shows_all_of(&self, record: &StampedEvent) -> bool {
        let StampedEvent {
            id,
            source: _,
            stamp,
            status,
            sip_status,
            sip_reason,
            duration,
            direction,
            texts,
            extras,
            left_out,
            unread,
        } = record;
        let progress = &self.progress;
        let (began, answered, ended) =
            (self.attempted_at(), self.answered_at(), self.terminated_at());
        let same = |given: Option<Timestamp>, known| given.is_none_or(|given| Some(given) == known);
        let at = stamp.at.map(super::Moment::time);
        let decided = progress.at.map(super::Moment::time);
        *id == self.id
            && !self.stale
            && *status == Some(progress.status)
            && *direction == self.direction.value
            && sip_status.is_none_or(|given| given == progress.sip_status)
            && sip_reason.as_deref().is_none_or(|given| self.sip_reason() == Some(given))
            && duration.is_none_or(|given| self.duration() == Some(given.into()))
            && same(stamp.listed_at, Some(self.listed_at))
            && same(stamp.attempted_at, began)
            && same(stamp.answered_at, answered)
            && same(stamp.terminated_at, ended)
            && (at.is_none() || [began, answered, ended, decided].contains(&at))
            && CallField::ALL.iter().zip(texts).all(|(field, given)| {
                given.as_deref().is_none_or(|given| given == self.text(*field).unwrap_or_default())
            })
            && extras.iter().all(|(key, given)| self.extras.get(key) == Some(given))
            && left_out.count() == 0
            && unread.is_empty()
    }
}
