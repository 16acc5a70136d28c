//! What each setting is to be once a node goes on with a log that has lost what the node has applied.
//!
//! Behind the place that both agree on the node holds what was lost, and others hold what the log has since. A submission
//! there is done or not by what each of its settings was before (`Replaces`), so it may be done on the others and not here:
//! then no setting of it is the same. Those that may differ are *unequal*; they are said again, each whatever it was
//! before, and what is said is what the others hold, unless the node alone has changed it.
//!
//! Architecture invariant: a node that has followed the log, and one that goes back and follows it, hold the same of each setting
//! that is not unequal. A submission of such settings alone is done by both, or by neither.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{GIVEN, MESSAGE_BYTES};
use crate::access::{
    CLUSTER, Replaces, RowDigest, RowOfUse, SettingRow, is_never_made_again, row_digest,
};
use crate::codec::LoggedSetting;
use crate::store::{FILLER, given_setting, is_progress};

/// Rows that say when a token was used: of these the greatest counts by itself.
const USED: &str = "used/";

/// Whether a row is a setting of somebody, and not part of how the log is kept.
pub(super) fn is_setting(name: &str) -> bool {
    name != GIVEN && name != FILLER
}

/// Whether a row of this name is right only where it is put behind all others of that name.
pub(super) fn needs_order(name: &str) -> bool {
    is_setting(name) && !name.starts_with(USED)
}

/// The settings behind a place of the log.
#[derive(Debug)]
pub(super) struct Rows {
    /// The node goes on after this message.
    after: u64,
    /// What has changed here in what was lost, as it is now; empty where it was removed.
    changed: BTreeMap<String, Vec<u8>>,
    /// What was set in the log.
    logged: HashMap<String, Logged>,
    unequal: BTreeSet<String>,
}

/// What this node holds of a setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    /// None where there is none.
    pub digest: Option<RowDigest>,
    /// It was there, and was removed for good.
    pub is_removed: bool,
}

/// What others hold of a setting.
enum Held {
    Unknown,
    /// None where there is none.
    Is(Option<RowDigest>),
}

#[derive(Debug)]
struct Logged {
    /// What it is where the log was followed.
    json: Vec<u8>,
    /// Said by more than nodes which had lost less than this one has.
    counts: bool,
}

impl Rows {
    pub fn new(changed: BTreeMap<String, Vec<u8>>, after: u64) -> Self {
        let unequal = changed.keys().filter(|name| is_setting(name)).cloned().collect();
        Self { after, changed, logged: HashMap::new(), unequal }
    }

    /// The settings of a submission that comes next. `own` says what this node holds of one.
    pub fn submitted(&mut self, settings: &[&LoggedSetting], own: impl Fn(&str) -> Own) {
        let settings = settings.iter().filter(|row| is_setting(&row.name));
        let mut staged: HashMap<&str, Option<RowDigest>> = HashMap::new();
        let mut is_done = true;
        for row in settings.clone() {
            let name = &*row.name;
            let held = staged.get(name).map_or_else(|| self.held(name, &own), |now| Held::Is(*now));
            // What is not known was right for who has sent it.
            let fits = match held {
                // The message that made it may have come once more.
                Held::Is(None) if is_never_made_again(name) => {
                    let is_removed = staged.contains_key(name)
                        || self.logged.contains_key(name)
                        || own(name).is_removed;
                    !is_removed && row.replaces.fits(None)
                }
                Held::Is(held) => row.replaces.fits(held),
                Held::Unknown => true,
            };
            is_done &= row.replaces == Replaces::Anything || fits;
            staged.insert(name, row_digest(&row.json));
        }
        let is_unequal = settings.clone().any(|row| self.unequal.contains(&*row.name));
        for row in settings {
            // Should it have been done after all, those that hold more of when a token was used would keep that.
            let may_be_kept = is_unequal && row.name.starts_with(USED);
            if is_done || may_be_kept {
                self.set(&row.name, &row.json, true);
            }
            // A sender that did not know of the loss yet may have said that webhooks were sent whose numbers are given anew.
            if is_unequal || is_progress(&row.name) {
                self.unequal.insert(row.name.to_string());
            }
        }
    }

    /// The settings of a message that was given back; `is_older` where its node had lost less than this one.
    pub fn given(&mut self, settings: &[&LoggedSetting], is_older: bool) {
        for row in settings.iter().filter(|row| is_setting(&row.name)) {
            self.set(&row.name, &row.json, !is_older);
            // Of what has changed here alone, what the node holds is to be said, and not what one has said that had less;
            // and of when a token was used, no less than is known.
            let may_be_less = row.name.starts_with(USED) || self.changed.contains_key(&*row.name);
            if may_be_less && self.row(&row.name, &[]).json != *row.json {
                self.unequal.insert(row.name.to_string());
            } else {
                self.unequal.remove(&*row.name);
            }
        }
    }

    /// What those that have followed the log hold.
    fn held(&self, name: &str, own: impl Fn(&str) -> Own) -> Held {
        match self.logged.get(name) {
            // Not what was sent is stored of it.
            _ if name == CLUSTER => Held::Unknown,
            Some(logged) => Held::Is(row_digest(&logged.json)),
            None if self.changed.contains_key(name) => Held::Unknown,
            None => Held::Is(own(name).digest),
        }
    }

    fn set(&mut self, name: &str, json: &[u8], counts: bool) {
        match self.logged.get_mut(name) {
            Some(logged) => {
                if !name.starts_with(USED) || is_later_use(name, json, &logged.json) {
                    logged.json = json.to_vec();
                }
                logged.counts |= counts;
            }
            None => {
                self.logged.insert(name.to_owned(), Logged { json: json.to_vec(), counts });
            }
        }
    }

    /// Some of the names that have to be said again, as many as go into a message; true where these are all. `own` is what
    /// this node holds of them.
    pub fn next(&self, own: &BTreeMap<String, Vec<u8>>) -> (Vec<SettingRow>, bool) {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for name in &self.unequal {
            let row = self.row(name, own.get(name).map_or(&[], Vec::as_slice));
            bytes += row.name.len() + row.json.len() + 32;
            if bytes > MESSAGE_BYTES && !rows.is_empty() {
                return (rows, false);
            }
            rows.push(row);
        }
        (rows, true)
    }

    pub fn unequal(&self) -> &BTreeSet<String> {
        &self.unequal
    }

    /// What a setting is to be on all nodes, where this one holds `own`.
    fn row(&self, name: &str, own: &[u8]) -> SettingRow {
        let (logged, changed) = (self.logged.get(name), self.changed.get(name));
        let own = changed.map_or(own, Vec::as_slice);
        let json = match (logged, changed) {
            (_, Some(changed)) if is_revoked(name, changed) => &[],
            (Some(logged), _) if name.starts_with(USED) => {
                let is_unknown = own.is_empty() && changed.is_none();
                let is_later = is_unknown || is_later_use(name, &logged.json, own);
                if is_later { &*logged.json } else { own }
            }
            (Some(logged), changed) if logged.counts || changed.is_none() => &logged.json,
            _ => own,
        };
        given_setting(name.to_owned(), json.to_vec(), self.after)
    }
}

/// A token that was revoked stays revoked.
fn is_revoked(name: &str, changed: &[u8]) -> bool {
    changed.is_empty() && is_never_made_again(name)
}

/// Whether the first of these says more than the second of when a token was used.
fn is_later_use(name: &str, json: &[u8], before: &[u8]) -> bool {
    let rows = [json, before].map(|json| SettingRow { name: name.to_owned(), json: json.to_vec() });
    let [now, before] = rows.each_ref().map(|row| RowOfUse::of(row).map(|(_, of_use)| of_use));
    now.is_some_and(|now| now.follows(before))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 5] = ["account/a", "account/b", "token/1", "used/1", "latest/x"];

    type State = BTreeMap<String, Vec<u8>>;
    /// Of a row its name, what it becomes, and what it replaces: anything, what its writer sees, or some other.
    type Draft = Vec<(usize, u8, u8)>;

    fn json(name: &str, value: u8) -> Box<[u8]> {
        match value {
            0 => Box::default(),
            _ if name.starts_with(USED) => value.to_string().into_bytes().into(),
            _ => format!("\"{value}\"").into_bytes().into(),
        }
    }

    fn digest(state: &State, name: &str) -> Option<RowDigest> {
        row_digest(state.get(name).map_or(&[], Vec::as_slice))
    }

    fn submission(draft: &Draft, seen: &State) -> Vec<LoggedSetting> {
        let row = |(name, value, replaces): &(usize, u8, u8)| {
            let name = NAMES[*name];
            let replaces = match replaces {
                _ if name.starts_with(USED) => Replaces::Anything,
                0 => Replaces::Anything,
                1..6 => Replaces::seen(digest(seen, name)),
                other => Replaces::content(&json(name, other % 3)),
            };
            LoggedSetting { name: name.into(), json: json(name, *value), replaces }
        };
        draft.iter().map(row).collect()
    }

    /// As a store applies it; false where it does not fit.
    fn apply(state: &mut State, submission: &[LoggedSetting]) -> bool {
        let mut after = state.clone();
        for row in submission {
            let is_removed =
                is_never_made_again(&row.name) && after.get(&*row.name).is_some_and(Vec::is_empty);
            let fits = !is_removed && row.replaces.fits(digest(&after, &row.name));
            if row.replaces != Replaces::Anything && !fits {
                return false;
            }
            set(&mut after, &row.name, &row.json);
        }
        *state = after;
        true
    }

    fn set(state: &mut State, name: &str, json: &[u8]) {
        let is_of_use = name.starts_with(USED);
        // That a token was revoked stays known of its use.
        let before = state.get(name);
        if !is_of_use || before.is_none_or(|before| is_later_use(name, json, before)) {
            state.insert(name.to_owned(), json.to_vec());
        }
    }

    fn changed(drafts: &[Draft], state: &mut State) -> State {
        let before = state.clone();
        let mut named = BTreeSet::new();
        for draft in drafts {
            let submission = submission(draft, state);
            if apply(state, &submission) {
                named.extend(submission.into_iter().map(|row| row.name.to_string()));
            }
        }
        // A row that says what it was has changed, too: it is in the journal.
        let now = |name: String| (name.clone(), state.get(&name).cloned().unwrap_or_default());
        assert!(
            state
                .iter()
                .all(|(name, json)| { named.contains(name) || before.get(name) == Some(json) })
        );
        named.into_iter().map(now).collect()
    }

    /// What the log has behind the place.
    enum Logged {
        Submission(Vec<LoggedSetting>),
        /// Rows that a node gives back, and how much it had lost; it had looked at so much of the log.
        Given {
            rows: Vec<LoggedSetting>,
            had: usize,
            behind: usize,
            ends: bool,
        },
    }

    struct Test {
        log: Vec<Logged>,
        /// Of a node that has followed the log.
        follower: State,
        /// What was set last by others than those who give back, done there.
        set: State,
        /// A submission was not done by what the giving nodes cannot know.
        is_guessed: bool,
    }

    impl Test {
        fn counts(&self, at: usize) -> bool {
            let Logged::Given { rows, behind, .. } = &self.log[at] else { return true };
            let between = self.log[*behind..at].iter().flat_map(|logged| match logged {
                Logged::Submission(rows) | Logged::Given { rows, .. } => rows,
            });
            let named: Vec<_> = between.map(|row| &row.name).collect();
            !rows.iter().any(|row| needs_order(&row.name) && named.contains(&&row.name))
        }

        fn write(&mut self, draft: &Draft, changed: &State) {
            let submission = submission(draft, &self.follower);
            if apply(&mut self.follower, &submission) {
                for row in &submission {
                    set(&mut self.set, &row.name, &row.json);
                }
            } else {
                self.is_guessed |= submission.iter().any(|row| changed.contains_key(&*row.name));
            }
            self.log.push(Logged::Submission(submission));
        }

        fn follow(&self, state: &mut State) {
            for (at, logged) in self.log.iter().enumerate() {
                match logged {
                    Logged::Submission(rows) => drop(apply(state, rows)),
                    Logged::Given { rows, .. } if self.counts(at) => {
                        assert!(apply(state, rows), "it replaces anything");
                    }
                    Logged::Given { .. } => {}
                }
            }
        }

        /// A node that holds this and has lost so much gives it back, while others write.
        /// `unknown` are settings of which nothing says what they were for who follows the log.
        fn give(
            &mut self,
            own: &State,
            lost: &State,
            had: usize,
            meanwhile: &[Draft],
            unknown: &mut State,
        ) {
            let mut rows = Rows::new(lost.clone(), 7);
            let (mut read, mut meanwhile) = (0, meanwhile.iter());
            loop {
                for at in read..self.log.len() {
                    match &self.log[at] {
                        Logged::Submission(settings) => {
                            let settings: Vec<_> = settings.iter().collect();
                            rows.submitted(&settings, |name| Own {
                                digest: digest(own, name),
                                is_removed: own.get(name).is_some_and(Vec::is_empty),
                            });
                        }
                        Logged::Given { rows: settings, had: other, ends, .. } => {
                            if !self.counts(at) {
                                continue;
                            }
                            let settings: Vec<_> = settings.iter().collect();
                            rows.given(&settings, *other < had);
                            if *ends && *other >= had {
                                return;
                            }
                        }
                    }
                }
                read = self.log.len();
                let said = |name: &String| {
                    let own = own.get(name).map_or(&[][..], Vec::as_slice);
                    let SettingRow { name, json } = rows.row(name, own);
                    let (name, json) = (name.into(), json.into());
                    LoggedSetting { name, json, replaces: Replaces::Anything }
                };
                // Two go into a message.
                let given: Vec<_> = rows.unequal().iter().take(2).map(said).collect();
                let ends = rows.unequal().len() == given.len();
                for draft in meanwhile.by_ref().take(1) {
                    self.write(draft, unknown);
                }
                self.log.push(Logged::Given { rows: given, had, behind: read, ends });
                let last = self.log.len() - 1;
                if self.counts(last)
                    && let Logged::Given { rows, .. } = &self.log[last]
                {
                    apply(&mut self.follower, rows);
                    for row in rows {
                        unknown.remove(&*row.name);
                    }
                }
            }
        }
    }

    fn drafts(most: usize) -> impl Strategy<Value = Vec<Draft>> {
        vec(vec((0..NAMES.len(), 0_u8..4, 0_u8..9), 1..4), 0..most)
    }

    #[test]
    fn how_far_webhooks_are_is_said_again_though_nothing_of_it_was_lost() {
        let row = |name: &str| LoggedSetting {
            name: name.into(),
            json: (*b"{}").into(),
            replaces: Replaces::Anything,
        };
        let mut rows = Rows::new(BTreeMap::new(), 7);
        for name in ["account/a", "forward/crm"] {
            rows.submitted(&[&row(name)], |_| Own { digest: None, is_removed: false });
        }
        assert_eq!(rows.unequal().iter().collect::<Vec<_>>(), ["forward/crm"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Three nodes: one that follows the log, one that had come less far in what is lost, and one that had all of it.
        #[test]
        fn all_hold_the_same_once_it_was_given_back(
            before in drafts(4), lost in drafts(5), less in 0..5_usize,
            behind in drafts(5), first in drafts(3), then in drafts(4),
        ) {
            let mut place = State::new();
            changed(&before, &mut place);
            let less = less.min(lost.len());
            let (mut all, mut some) = (place.clone(), place.clone());
            let lost_all = changed(&lost, &mut all);
            let lost_some = changed(&lost[..less], &mut some);
            let mut test = Test {
                log: Vec::new(),
                follower: place.clone(),
                set: State::new(),
                is_guessed: false,
            };
            for draft in &behind {
                test.write(draft, &lost_all);
            }
            let mut unknown = lost_all.clone();
            test.give(&some, &lost_some, less, &first, &mut unknown);
            test.give(&all, &lost_all, lost.len(), &then, &mut unknown);
            let held = |state: &State| -> State {
                let rows = state.iter().filter(|(_, json)| !json.is_empty());
                rows.map(|(name, json)| (name.clone(), json.clone())).collect()
            };
            let mut expected = all.clone();
            for (name, json) in &test.set {
                set(&mut expected, name, json);
            }
            for state in [&mut all, &mut some] {
                test.follow(state);
                prop_assert_eq!(held(state), held(&test.follower));
            }
            let mut again = place;
            test.follow(&mut again);
            prop_assert_eq!(&again, &test.follower);
            // The id of a token that was revoked is given to no other, and of its use more may be known.
            let is_known = |name: &str| {
                let mut own = [&lost_some, &lost_all].into_iter().filter_map(|lost| lost.get(name));
                !name.starts_with(USED) && !own.any(|own| is_revoked(name, own))
            };
            for name in NAMES.iter().filter(|name| !test.is_guessed && is_known(name)) {
                let [found, wanted] = [&test.follower, &expected].map(|state| digest(state, name));
                prop_assert_eq!(found, wanted, "{}", name);
            }
        }
    }
}
