//! What one node does for all, and readers who go from node to node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::super::forward::{HOOK, whole_call};
use super::super::harness::{A1, Answer, event, until};
use super::super::load::Random;
use super::super::peer::{Peer, Received};
use super::node::with_log;
use super::three::{Setup, Three};

/// Sends a request to a node until there is an answer of this status.
fn sure(
    three: &Three,
    nodes: &[usize],
    status: u16,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    let mut tried = 0;
    until("a node answers", || {
        let node = nodes[tried % nodes.len()];
        tried += 1;
        let json = [("content-type", "application/json")];
        let answer = three.targets.send(node, method, path, &json, body)?;
        (answer.status == status).then_some(answer)
    })
}

#[test]
fn another_node_passes_webhooks_on_when_the_first_is_gone() {
    let peer = Peer::saying(200);
    let lines = format!(
        "[forward]\nretry_max = \"1s\"\n[[forward.targets]]\nname = \"customer\"\nurl = \"{}\"\naccount_sid = \"{A1}\"\n",
        peer.url("/hook")
    );
    let setup = Setup { more: Box::leak(lines.into_boxed_str()), ..Setup::default() };
    let Some(mut three) = Three::up(&setup) else { return };
    // From when the first node has said so the target is open.
    until("hooks are for the target on all nodes", || {
        let open = |n: usize| {
            let text = three.nodes[n].run(&["forward", "status", "--json"]).stdout;
            let figures: Value = serde_json::from_str(&text).ok()?;
            (figures["targets"][0]["open"] == true).then_some(())
        };
        (0..3).all(|n| open(n).is_some()).then_some(())
    });
    let mut bodies = Vec::new();
    let post =
        |three: &Three, nodes: &[usize], calls: std::ops::Range<u32>, bodies: &mut Vec<String>| {
            for body in calls.flat_map(whole_call) {
                sure(three, nodes, 204, "POST", HOOK, &body);
                bodies.push(body);
            }
        };
    let all_arrived = |bodies: &[String]| {
        until("each hook arrives", || {
            let received = peer.received();
            let arrived: BTreeSet<&str> = received.iter().map(Received::text).collect();
            bodies.iter().all(|body| arrived.contains(&**body)).then_some(())
        });
    };
    post(&three, &[0, 1, 2], 1..10, &mut bodies);
    all_arrived(&bodies);
    // How far it got the others hear within a second or so.
    until("all nodes know that none waits", || {
        let queued = |n: usize| {
            let text = three.nodes[n].run(&["forward", "status", "--json"]).stdout;
            let figures: Value = serde_json::from_str(&text).ok()?;
            figures["targets"][0]["queued"].as_u64()
        };
        (0..3).all(|n| queued(n) == Some(0)).then_some(())
    });
    let known = bodies.len();
    // node1 is the first of them. What it has sent in its last second the next one sends again.
    post(&three, &[0], 10..13, &mut bodies);
    three.kill_node(0);
    let killed = bodies.len();
    let before = three.position(1).unwrap().seq;
    post(&three, &[1, 2], 13..20, &mut bodies);
    all_arrived(&bodies);
    // A message whose writer had no acknowledgement is in the log once more.
    let last = three.position(1).unwrap().seq;
    with_log(&three.servers, async |_, log| {
        for seq in before + 1..=last {
            let message = log.message_at(seq).await.unwrap().unwrap();
            log.append(message.bytes, Duration::from_secs(5)).await.unwrap();
        }
    });
    // It takes over again while others write, and is told exactly how far that was.
    three.start_node(0);
    let mut call = 20;
    until("the second node hands over", || {
        post(&three, &[1, 2], call..call + 1, &mut bodies);
        call += 1;
        three.nodes[1].log().contains("another node passes webhooks on").then_some(())
    });
    three.all_ready();
    post(&three, &[0, 1, 2], call..call + 10, &mut bodies);
    all_arrived(&bodies);
    // And so is the next one where it ends in order.
    post(&three, &[0, 1, 2], call + 10..call + 13, &mut bodies);
    assert_eq!(three.nodes[0].stop(), Some(0));
    post(&three, &[1, 2], call + 13..call + 16, &mut bodies);
    all_arrived(&bodies);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in peer.received() {
        *times.entry(one.text().to_owned()).or_default() += 1;
        let id = one.header("rollcall-delivery").unwrap().to_owned();
        ids.entry(one.text().to_owned()).or_default().insert(id);
    }
    assert_eq!(times.len(), bodies.len());
    assert!(ids.values().all(|ids| ids.len() == 1), "a hook had two ids: {ids:?}");
    let again = times.values().filter(|times| **times > 1).count();
    println!("{again} of {} webhooks came again", bodies.len());
    let once = bodies[..known].iter().chain(&bodies[killed..]);
    let twice: Vec<_> = once.filter(|body| times[*body] > 1).collect();
    assert!(twice.is_empty(), "what all nodes knew of or was handed over came again: {twice:#?}");
    three.start_node(0);
    three.rest();
}

/// A reader of the feed who asks another node each time.
#[derive(Default)]
struct Reader {
    after: Option<String>,
    calls: BTreeMap<String, Value>,
}

impl Reader {
    /// Reads some lines of a node. Says whether there were none.
    fn read(&mut self, three: &Three, node: usize, limit: usize) -> bool {
        let after = self.after.as_ref().map(|after| format!("&after={after}")).unwrap_or_default();
        let path = format!("/v1/Calls/changes?limit={limit}{after}");
        let answer = sure(three, &[node], 200, "GET", &path, "");
        let mut count = 0;
        for line in answer.body.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            self.after = line["position"].as_str().map(ToOwned::to_owned);
            count += usize::from(line["type"] != "end");
            let sid = |of: &Value| format!("{}/{}", of["account_sid"], of["call_sid"]);
            match line["type"].as_str().unwrap() {
                "call" => drop(self.calls.insert(sid(&line["call"]), line["call"].clone())),
                "deleted" => drop(self.calls.remove(&sid(&line))),
                _ => {}
            }
        }
        count == 0
    }
}

#[test]
fn pages_feed_and_tags_are_good_on_every_node() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    let mut random = Random::new(22);
    let mut reader = Reader::default();
    let statuses = ["trying", "ringing", "in-progress", "completed"];
    let list = format!("/v1/Accounts/{A1}/Calls");
    let mut not_modified = 0;
    for round in 0..60 {
        let node = random.below(3);
        let some: Vec<String> = (0..=random.below(6))
            .map(|_| event(u32::try_from(random.below(40)).unwrap(), statuses[random.below(4)]))
            .collect();
        let written = sure(&three, &[node], 204, "POST", HOOK, &format!("[{}]", some.join(",")));
        let written = written.header("rollcall-position").unwrap().to_owned();
        // What was written on one node is read on another.
        let other = random.below(3);
        let at_least = [("rollcall-at-least", written.as_str())];
        let shown = three.targets.send(other, "GET", &list, &at_least, "").unwrap();
        assert_eq!(shown.status, 200, "{shown:?}");
        let last: Value = serde_json::from_str(some.last().unwrap()).unwrap();
        let calls: Value = serde_json::from_str(&shown.body).unwrap();
        let found = calls.as_array().unwrap().iter();
        assert!(
            found.into_iter().any(|call| call["call_sid"] == last["call_sid"]),
            "round {round}"
        );
        // Its tag is known to all that have come as far.
        let tag = shown.header("etag").unwrap().to_owned();
        let known = [at_least[0], ("if-none-match", tag.as_str())];
        let again = three.targets.send(random.below(3), "GET", &list, &known, "").unwrap();
        assert_eq!(again.status, 304, "round {round}: {again:?}");
        not_modified += 1;
        reader.read(&three, random.below(3), 1 + random.below(4));
    }
    assert_eq!(not_modified, 60);
    three.rest();
    let mut turns = 0;
    while !reader.read(&three, turns % 3, 3) {
        turns += 1;
        assert!(turns < 5000, "the feed does not come to an end");
    }
    // Pages, each of another node.
    let (mut cursor, mut paged) = (String::new(), Vec::new());
    for n in 0.. {
        let page = sure(&three, &[n % 3], 200, "GET", &format!("/v1/Calls?limit=7{cursor}"), "");
        paged.extend(serde_json::from_str::<Vec<Value>>(&page.body).unwrap());
        let Some(next) = page.header("x-next-cursor") else { break };
        cursor = format!("&cursor={next}");
    }
    let whole = sure(&three, &[1], 200, "GET", "/v1/Calls", "");
    assert_eq!(paged, serde_json::from_str::<Vec<Value>>(&whole.body).unwrap());
    assert_eq!(reader.calls.len(), paged.len());
    for call in &paged {
        let sid = format!("{}/{}", call["account_sid"], call["call_sid"]);
        assert_eq!(reader.calls[&sid], *call);
    }
    for (at, status) in [
        ("x", 400),
        ("00000000000000000000000000000000-s1", 410),
        (&*format!("{}-s999999999", three.position(0).unwrap().epoch), 503),
    ] {
        let refused =
            three.targets.send(2, "GET", &list, &[("rollcall-at-least", at)], "").unwrap();
        assert_eq!(refused.status, status, "{at}: {refused:?}");
        let after = format!("/v1/Calls/changes?limit=1&after={at}");
        let refused = three.targets.send(2, "GET", &after, &[], "").unwrap();
        assert_eq!(refused.status, status, "{at}: {refused:?}");
    }
}
