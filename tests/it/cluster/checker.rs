//! What a history of requests to several nodes must fulfil, whatever died meanwhile.
//!
//! 1. An answer shows each event that is in the log up to the answer's position, and no call whose deletion is.
//! 2. An answer reaches the position that was asked for.
//! 3. What a node has shown it shows from then on, also after it was killed; a call that it has shown as deleted stays so.
//! 4. Of a request's events of one call all are shown, or none.
//! 5. A call's status is that of the furthest of the events that are shown.
//! 6. Nothing is shown that was not sent before.
//!
//! An event whose request was not answered, or was kept, has a place in the log as well: one that the node which has shown
//! it names from then on. So rule 1 holds it against every other node, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::load::STATUSES;
use super::register::{Call, Content, Event, History, Outcome, Position, Read, Shown, Submission};

/// All that a history says of one call.
#[derive(Debug, Default)]
struct OneCall<'a> {
    events: BTreeMap<usize, Sent<'a>>,
    /// Numbers of events that one request brought.
    batches: Vec<Vec<usize>>,
    deletions: Vec<&'a Submission>,
    /// In the order in which they began.
    reads: Vec<&'a Read>,
}

/// An event that was sent, once or again.
#[derive(Debug)]
struct Sent<'a> {
    event: Event,
    first: Duration,
    /// Places in the log by which it is there.
    places: Vec<Position>,
    /// What was acknowledged first, by a quorum or by one disk.
    acknowledged: Option<&'a Submission>,
}

/// The positions that each node has named, in the order in which the reads began.
struct Positions<'a>(Vec<Vec<&'a Read>>);

impl<'a> Positions<'a> {
    fn of(history: &'a History) -> Self {
        let mut nodes: Vec<Vec<&Read>> = Vec::new();
        for read in history.reads.iter().filter(|read| read.position.is_some()) {
            if nodes.len() <= read.node {
                nodes.resize_with(read.node + 1, Vec::new);
            }
            nodes[read.node].push(read);
        }
        for reads in &mut nodes {
            reads.sort_by_key(|read| read.begun);
        }
        Self(nodes)
    }

    /// What this node names first in a read that began after this time.
    fn after(&self, node: usize, time: Duration) -> Option<&Position> {
        let reads = self.0.get(node)?;
        let at = reads.partition_point(|read| read.begun < time);
        reads.get(at)?.position.as_ref()
    }

    /// A node's position never goes back.
    fn problems(&self, problems: &mut Vec<String>) {
        for reads in &self.0 {
            let mut ended: Vec<&Read> = reads.clone();
            ended.sort_by_key(|read| read.ended);
            let mut before = ended.iter().peekable();
            let mut newest: Option<&Position> = None;
            for read in reads {
                while let Some(earlier) = before.next_if(|earlier| earlier.ended <= read.begun) {
                    let position = earlier.position.as_ref().unwrap();
                    if newest.is_none_or(|newest| position.reaches(newest)) {
                        newest = Some(position);
                    }
                }
                let position = read.position.as_ref().unwrap();
                if let Some(newest) = newest.filter(|newest| newest.epoch == position.epoch)
                    && position.seq < newest.seq
                {
                    problems.push(format!(
                        "node {}: its position went back from {newest} to {position}",
                        read.node
                    ));
                }
            }
        }
    }
}

/// What of a history may not be. Empty where all is well.
pub fn problems(history: &History) -> Vec<String> {
    let positions = Positions::of(history);
    let mut problems = Vec::new();
    positions.problems(&mut problems);
    for (call, one) in calls(history, &positions) {
        let before = problems.len();
        for read in &one.reads {
            let mut found = Vec::new();
            one.check(read, &mut found);
            problems.extend(
                found.into_iter().map(|problem| {
                    format!("{} {}: {problem}: {read:?}", call.account(), call.sid())
                }),
            );
        }
        one.check_nodes(call, &mut problems);
        if problems.len() > before {
            problems.push(format!("all of that call: {one:#?}"));
        }
    }
    for read in &history.reads {
        let asked = read.at_least.as_ref().zip(read.position.as_ref());
        if let Some((asked, given)) = asked
            && asked.epoch == given.epoch
            && !given.reaches(asked)
        {
            problems.push(format!("{asked} was asked for, and {given} answered: {read:?}"));
        }
    }
    problems
}

/// What each call must be once all is at rest, and what is wrong with what is shown. `shown` has all calls.
pub fn settled(history: &History, shown: &BTreeMap<Call, Shown>) -> Vec<String> {
    let positions = Positions::of(history);
    let calls = calls(history, &positions);
    let mut problems = Vec::new();
    for call in shown.keys().filter(|call| !calls.contains_key(call)) {
        problems.push(format!("{} {}: nobody has sent it", call.account(), call.sid()));
    }
    for (call, one) in &calls {
        let mut say = |problem: String| {
            problems.push(format!("{} {}: {problem}", call.account(), call.sid()));
        };
        let deleted = one.deletions.iter().any(|deletion| deletion.outcome != Outcome::Unknown);
        match shown.get(call) {
            Some(Shown::Present { events, status }) => {
                if deleted {
                    say("it was deleted and is shown".to_owned());
                }
                for (number, sent) in &one.events {
                    let is_there = events.contains(number);
                    if let Some(submission) = sent.acknowledged.filter(|_| !is_there) {
                        say(format!("event {number} is lost: {}", submission.origin()));
                    } else if !is_there && one.reads.iter().any(|read| read.shown.has(*number)) {
                        say(format!("event {number} is lost, which was shown"));
                    }
                }
                one.check_shown(events, status, None, &mut say);
            }
            Some(Shown::Absent) | None => {
                let lost = one.events.iter().find_map(|(number, sent)| {
                    sent.acknowledged.map(|submission| (number, submission))
                });
                if let Some((number, submission)) = lost.filter(|_| one.deletions.is_empty()) {
                    let origin = submission.origin();
                    say(format!("event {number} and the whole call are lost: {origin}"));
                }
            }
        }
    }
    problems
}

impl Submission {
    /// Who has answered it, and how.
    fn origin(&self) -> String {
        let Self { node, sent, answered, outcome, .. } = self;
        format!("node {node}, sent at {sent:?}, answered at {answered:?}: {outcome:?}")
    }
}

impl Shown {
    fn has(&self, event: usize) -> bool {
        matches!(self, Self::Present { events, .. } if events.contains(&event))
    }
}

fn calls<'a>(history: &'a History, positions: &Positions<'_>) -> BTreeMap<Call, OneCall<'a>> {
    let mut calls: BTreeMap<Call, OneCall> = BTreeMap::new();
    for submission in &history.submissions {
        match &submission.content {
            Content::Deletion(call) => {
                calls.entry(*call).or_default().deletions.push(submission);
            }
            Content::Events(events) => {
                let mut batches: BTreeMap<Call, Vec<usize>> = BTreeMap::new();
                for event in events {
                    batches.entry(event.call).or_default().push(event.number);
                    let one = calls.entry(event.call).or_default();
                    let sent = one.events.entry(event.number).or_insert_with(|| Sent {
                        event: *event,
                        first: submission.sent,
                        places: Vec::new(),
                        acknowledged: None,
                    });
                    sent.first = sent.first.min(submission.sent);
                    if let Outcome::Logged(position) = &submission.outcome {
                        sent.places.push(position.clone());
                    }
                    if submission.outcome != Outcome::Unknown {
                        sent.acknowledged.get_or_insert(submission);
                    }
                }
                for (call, batch) in batches {
                    calls.entry(call).or_default().batches.push(batch);
                }
            }
        }
    }
    for read in &history.reads {
        calls.entry(read.call).or_default().reads.push(read);
    }
    for one in calls.values_mut() {
        one.reads.sort_by_key(|read| read.begun);
        let OneCall { events, reads, .. } = one;
        for read in reads {
            let Shown::Present { events: shown, .. } = &read.shown else { continue };
            let Some(position) = positions.after(read.node, read.ended) else { continue };
            for number in shown {
                if let Some(sent) = events.get_mut(number) {
                    sent.places.push(position.clone());
                }
            }
        }
    }
    calls
}

impl OneCall<'_> {
    /// What one answer shows wrongly, beside what is known of places in the log.
    fn check(&self, read: &Read, problems: &mut Vec<String>) {
        let reached = |place: &Position| {
            read.position.as_ref().is_some_and(|position| position.reaches(place))
                // What was answered before it was asked for counts where the answer names no position.
                || (read.position.is_none()
                    && read.at_least.as_ref().is_some_and(|asked| asked.reaches(place)))
        };
        let gone = self
            .deletions
            .iter()
            .any(|deletion| matches!(&deletion.outcome, Outcome::Logged(place) if reached(place)));
        match &read.shown {
            Shown::Absent => {
                if self.deletions.iter().any(|deletion| deletion.sent <= read.ended) {
                    return;
                }
                for (number, sent) in &self.events {
                    if let Some(place) = sent.places.iter().find(|place| reached(place)) {
                        problems
                            .push(format!("event {number} of {place} is not shown, and no call"));
                    }
                }
            }
            Shown::Present { events, status } => {
                if gone {
                    problems.push("its deletion is not shown".to_owned());
                }
                for (number, sent) in &self.events {
                    let place = sent.places.iter().find(|place| reached(place));
                    if let Some(place) = place.filter(|_| !events.contains(number)) {
                        problems.push(format!("event {number} of {place} is not shown"));
                    }
                }
                let mut say = |problem| problems.push(problem);
                self.check_shown(events, status, Some(read.ended), &mut say);
            }
        }
    }

    /// Rules 4 to 6 of what is shown at a time.
    fn check_shown(
        &self,
        events: &BTreeSet<usize>,
        status: &str,
        ended: Option<Duration>,
        say: &mut dyn FnMut(String),
    ) {
        let mut furthest = None;
        for number in events {
            match self.events.get(number) {
                Some(sent) if ended.is_none_or(|ended| sent.first <= ended) => {
                    furthest = furthest.max(Some(STATUSES[sent.event.status].1));
                }
                _ => say(format!("event {number} was not sent yet")),
            }
        }
        for batch in &self.batches {
            let shown = batch.iter().filter(|number| events.contains(number)).count();
            if shown > 0 && shown < batch.len() {
                say(format!("{shown} of the events {batch:?} of one request"));
            }
        }
        let rank = STATUSES.iter().find(|(name, _)| *name == status).map(|(_, rank)| *rank);
        if rank != furthest {
            say(format!("the status is {status}, whose rank is not {furthest:?}"));
        }
    }

    /// Rule 3, node by node.
    fn check_nodes(&self, call: Call, problems: &mut Vec<String>) {
        for (at, later) in self.reads.iter().enumerate() {
            let same = |read: &&&Read| read.node == later.node && read.ended <= later.begun;
            let earlier: Vec<_> = self.reads[..at].iter().filter(same).collect();
            let mut say = |problem: String| {
                problems.push(format!("{} {}: {problem}: {later:?}", call.account(), call.sid()));
            };
            let there = earlier.iter().filter(|read| read.shown != Shown::Absent);
            let was_there = there.clone().next().is_some();
            // Of two at the same time either may have been answered by the earlier state.
            let seen = there.map(|read| read.ended).min();
            let went = earlier.iter().any(|read| {
                read.shown == Shown::Absent && seen.is_some_and(|seen| seen <= read.begun)
            });
            match &later.shown {
                Shown::Present { events, .. } => {
                    if went {
                        say("it was deleted, and is there again".to_owned());
                    }
                    let before = earlier.iter().filter_map(|read| match &read.shown {
                        Shown::Present { events, .. } => Some(events),
                        Shown::Absent => None,
                    });
                    let lost = before.flatten().find(|number| !events.contains(number));
                    if let Some(number) = lost {
                        say(format!("event {number} was shown by this node before"));
                    }
                }
                Shown::Absent => {
                    let deleted =
                        self.deletions.iter().any(|deletion| deletion.sent <= later.ended);
                    if was_there && !deleted {
                        say("the call was shown by this node before".to_owned());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call { worker: 0, number: 0 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn place(seq: u64) -> Position {
        Position { epoch: "e".to_owned(), seq }
    }

    /// Events by number, which have their statuses in the order of [`STATUSES`].
    fn sent(numbers: &[usize], sent: u64, outcome: Outcome) -> Submission {
        let event = |number: &usize| Event { call: CALL, number: *number, status: *number };
        let content = Content::Events(numbers.iter().map(event).collect());
        Submission { node: 0, content, sent: at(sent), answered: at(sent + 5), outcome }
    }

    fn deletion(time: u64, outcome: Outcome) -> Submission {
        let content = Content::Deletion(CALL);
        Submission { node: 0, content, sent: at(time), answered: at(time + 5), outcome }
    }

    fn shows(numbers: &[usize], status: &str) -> Shown {
        Shown::Present { events: numbers.iter().copied().collect(), status: status.to_owned() }
    }

    fn read(node: usize, begun: u64, seq: u64, shown: Shown) -> Read {
        Read {
            node,
            call: CALL,
            begun: at(begun),
            ended: at(begun + 5),
            at_least: None,
            position: Some(place(seq)),
            shown,
        }
    }

    /// Two nodes; the second is behind for a while. All is well.
    fn good() -> History {
        History {
            submissions: vec![
                sent(&[0, 2], 0, Outcome::Logged(place(3))),
                sent(&[5], 10, Outcome::Kept),
                sent(&[6], 60, Outcome::Unknown),
                deletion(90, Outcome::Logged(place(9))),
            ],
            reads: vec![
                read(0, 20, 4, shows(&[0, 2], "ringing")),
                read(1, 20, 2, Shown::Absent),
                read(0, 30, 5, shows(&[0, 2, 5], "in-progress")),
                read(0, 40, 6, shows(&[0, 2, 5], "in-progress")),
                read(1, 50, 5, shows(&[0, 2], "ringing")),
                read(1, 70, 6, shows(&[0, 2, 5, 6], "completed")),
                read(0, 100, 9, Shown::Absent),
                read(1, 100, 8, shows(&[0, 2, 5, 6], "completed")),
            ],
            behind: 0,
        }
    }

    /// The one problem of a history that was good before this change.
    fn only(change: impl FnOnce(&mut History), problem: &str) {
        let mut history = good();
        change(&mut history);
        let found = problems(&history);
        assert!(!found.is_empty(), "{problem}: nothing is found");
        assert!(found.iter().any(|found| found.contains(problem)), "{problem}: {found:#?}");
    }

    #[test]
    fn each_rule_finds_what_breaks_it_and_a_good_history_breaks_none() {
        assert_eq!(problems(&good()), Vec::<String>::new());
        only(
            |history| history.reads[0].shown = Shown::Absent,
            "event 0 of e-s3 is not shown, and no call",
        );
        only(
            |history| history.reads[5].shown = shows(&[5, 6], "completed"),
            "event 0 of e-s3 is not shown",
        );
        // It was kept; node 0 has shown it, and named 6 afterwards, which node 1 reaches.
        only(
            |history| history.reads[5].shown = shows(&[0, 2, 6], "completed"),
            "event 5 of e-s6 is not shown",
        );
        only(|history| history.reads[6].shown = shows(&[0, 2], "ringing"), "its deletion is not");
        only(|history| history.reads[1].at_least = Some(place(3)), "e-s3 was asked for, and e-s2");
        only(
            |history| {
                history.reads[3].shown = shows(&[0, 2], "ringing");
                history.reads[3].position = None;
            },
            "event 5 was shown by this node before",
        );
        only(
            |history| {
                history.submissions.pop();
            },
            "the call was shown by this node before",
        );
        only(
            |history| history.reads.push(read(0, 110, 9, shows(&[0, 2, 5, 6], "completed"))),
            "it was deleted, and is there again",
        );
        // An answer of before the call came in, beside one that showed it.
        let mut history = good();
        history.reads.push(Read { ended: at(29), ..read(0, 18, 4, shows(&[0, 2], "ringing")) });
        history.reads.push(Read { position: None, ..read(0, 19, 1, Shown::Absent) });
        history.reads.retain(|read| read.begun != at(20) || read.node != 0);
        assert_eq!(problems(&history), Vec::<String>::new());
        only(|history| history.reads[1].shown = shows(&[2], "ringing"), "1 of the events [0, 2]");
        only(|history| history.reads[0].shown = shows(&[0, 2], "queued"), "rank is not Some(1)");
        only(
            |history| history.reads[4].shown = shows(&[0, 2, 6], "completed"),
            "event 6 was not sent yet",
        );
        only(|history| history.reads[2].position = Some(place(3)), "went back from e-s4 to e-s3");
    }

    #[test]
    fn what_is_there_in_the_end_is_what_was_acknowledged() {
        let last = |shown: Shown| BTreeMap::from([(CALL, shown)]);
        let mut history = good();
        assert_eq!(settled(&history, &BTreeMap::new()), Vec::<String>::new());
        let found = settled(&history, &last(shows(&[0, 2, 5, 6], "completed")));
        assert!(found[0].ends_with("it was deleted and is shown"), "{found:?}");
        history.submissions.pop();
        assert_eq!(
            settled(&history, &last(shows(&[0, 2, 5, 6], "completed"))),
            Vec::<String>::new()
        );
        let found = settled(&history, &BTreeMap::new());
        assert!(
            found[0].contains("event 0 and the whole call are lost: node 0, sent at 0ns"),
            "{found:?}"
        );
        // One that was kept, and one that was not answered, and was shown once.
        let found = settled(&history, &last(shows(&[0, 2, 6], "completed")));
        assert!(found[0].contains("event 5 is lost: node 0, sent at 10ms"), "{found:?}");
        let found = settled(&history, &last(shows(&[0, 2, 5], "in-progress")));
        assert!(found[0].ends_with("event 6 is lost, which was shown"), "{found:?}");
        // One that nobody has shown may be there or not.
        history.reads.retain(|read| !read.shown.has(6));
        assert_eq!(
            settled(&history, &last(shows(&[0, 2, 5], "in-progress"))),
            Vec::<String>::new()
        );
        let mut other = last(shows(&[0, 2, 5], "in-progress"));
        other.insert(Call { worker: 9, number: 9 }, Shown::Absent);
        assert!(settled(&history, &other)[0].ends_with("nobody has sent it"));
    }
}
