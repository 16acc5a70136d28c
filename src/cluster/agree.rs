//! What has to be the same on all nodes, and is not: names that two nodes have, settings, and what they hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::hints::Compared;

/// Starts of one name that are remembered.
const STARTS_MAX: usize = 4;
/// How long it counts that two nodes were heard under one name.
const TWICE: Duration = Duration::from_secs(10);

/// The starts that were heard under one name. A node that starts again is heard under its new one alone; two nodes take
/// turns.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// The one that was heard last is the last.
    known: VecDeque<String>,
    twice: Option<Instant>,
}

impl Starts {
    pub fn note(&mut self, start: &str, now: Instant) {
        if self.known.back().is_some_and(|last| last == start) {
            return;
        }
        if self.known.iter().any(|known| known == start) {
            self.twice = Some(now);
            self.known.retain(|known| known != start);
        }
        self.known.push_back(start.to_owned());
        if self.known.len() > STARTS_MAX {
            self.known.pop_front();
        }
    }

    /// Whether two nodes were heard under it of late.
    pub fn are_two(&self, now: Instant) -> bool {
        self.twice.is_some_and(|at| now.saturating_duration_since(at) <= TWICE)
    }
}

/// What a node holds otherwise than this one behind the same message, in words; none where that is the same, or not known.
pub fn unlike(own: &Compared, node: &str, other: &Compared) -> Option<String> {
    let (calls, settings) = (own.hash != other.hash, own.settings != other.settings);
    let what = match (calls, settings) {
        _ if own.seq != other.seq => return None,
        (false, false) => return None,
        (true, false) => "calls",
        (false, true) => "tokens, accounts or other settings",
        (true, true) => "calls and other settings",
    };
    Some(format!(
        "node {node} holds other {what} than this one behind message {}: `rollcall cluster compare` looks again; seed the \
         nodes that are wrong",
        own.seq
    ))
}

/// Settings that differ, in words. Each node comes with its name and all of its settings; of one without any it is not
/// known what it has.
pub fn differing<'a>(
    nodes: impl Iterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
) -> Vec<String> {
    let mut nodes: Vec<_> = nodes.filter(|(_, settings)| !settings.is_empty()).collect();
    nodes.sort_unstable_by_key(|(node, _)| *node);
    let keys: BTreeSet<&String> = nodes.iter().flat_map(|(_, settings)| settings.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let mut by_value: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, settings) in &nodes {
            let value = settings.get(key).map_or("none", |value| value.as_str());
            by_value.entry(value).or_default().push(node);
        }
        if by_value.len() > 1 {
            let each =
                by_value.iter().map(|(value, nodes)| format!("{value} on {}", nodes.join(", ")));
            let each: Vec<String> = each.collect();
            found
                .push(format!("{key} has to be the same on all nodes, and is {}", each.join("; ")));
        }
    }
    found
}

/// Two nodes of one name, in words.
pub fn two_of_a_name(node: &str) -> String {
    format!(
        "two nodes are called {node}: neither does what one node does for all; set a cluster.node of its own on one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_of_a_name_take_turns_and_one_that_starts_again_does_not() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut starts = Starts::default();
        for n in 0..10 {
            starts.note(&format!("start {n}"), after(n));
            starts.note(&format!("start {n}"), after(n));
            assert!(!starts.are_two(after(n)));
        }
        starts.note("start 8", after(20));
        assert!(
            starts.are_two(after(20)) && starts.are_two(after(30)) && !starts.are_two(after(31))
        );
        // Three of them.
        let mut starts = Starts::default();
        for (n, start) in ["a", "b", "c", "a"].into_iter().enumerate() {
            starts.note(start, begun);
            assert_eq!(starts.are_two(begun), n == 3);
        }
    }

    #[test]
    fn a_node_that_holds_something_else_behind_the_same_message_is_named() {
        let of = |seq, hash: &str, settings: &str| {
            let (hash, settings) = (hash.to_owned(), settings.to_owned());
            Compared { seq, calls: 1, hash, settings }
        };
        let own = of(7, "a", "s");
        for same in [of(7, "a", "s"), of(8, "b", "t")] {
            assert_eq!(unlike(&own, "n2", &same), None, "{same:?}");
        }
        for (other, what) in [
            (of(7, "b", "s"), "other calls than"),
            (of(7, "a", "t"), "other tokens, accounts or other settings than"),
            (of(7, "b", "t"), "other calls and other settings than"),
        ] {
            let said = unlike(&own, "n2", &other).unwrap();
            assert!(
                said.starts_with(&format!("node n2 holds {what} this one behind message 7")),
                "{said}"
            );
        }
    }

    #[test]
    fn settings_that_differ_are_named_with_their_nodes() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (one, two) = (of(&[("a", "1"), ("b", "2")]), of(&[("a", "1"), ("b", "3")]));
        let (more, unknown) = (of(&[("a", "1"), ("b", "2"), ("c", "4")]), of(&[]));
        let all = |nodes: &[(&'static str, &BTreeMap<String, String>)]| {
            differing(nodes.iter().map(|(name, settings)| (*name, *settings)))
        };
        assert!(all(&[]).is_empty() && all(&[("n1", &one)]).is_empty());
        assert!(all(&[("n1", &one), ("n2", &one), ("n3", &unknown)]).is_empty());
        assert_eq!(
            all(&[("n3", &one), ("n2", &two), ("n1", &one)]),
            ["b has to be the same on all nodes, and is 2 on n1, n3; 3 on n2"]
        );
        assert_eq!(
            all(&[("n1", &one), ("n2", &more)]),
            ["c has to be the same on all nodes, and is 4 on n2; none on n1"]
        );
    }
}
