//! No account learns anything of another: not through an answer, a header field, a cursor, a count,
//! an error or the feed. An account's answers are the same on a server that it has to itself.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;

use super::super::harness::{Answer, Rollcall};
use super::{Account, Operation, cases, operations, query, restless};

const CALLS: u32 = 8;
/// Header fields that tell of the moment, or count over all accounts (as the README says).
const VOLATILE: [&str; 4] = ["date", "x-request-id", "etag", "content-length"];

/// An account on a server, and its tokens.
struct Seat<'a> {
    rollcall: &'a Rollcall,
    account: &'a Account,
    full: String,
    ingest: String,
}

impl<'a> Seat<'a> {
    fn take(rollcall: &'a Rollcall, account: &'a Account) -> Self {
        let full = rollcall.token(&["--account", &account.sid]);
        let ingest = rollcall.token(&["--account", &account.sid, "--role", "ingest"]);
        Self { rollcall, account, full, ingest }
    }

    fn send(
        &self,
        method: &str,
        token: &str,
        path: &str,
        further: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(further);
        self.rollcall.send(method, path, &headers, body.as_bytes()).unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", &self.full, path, &[], "")
    }

    /// Does it with tokens of its own.
    fn act(&self, operation: &Operation) -> Answer {
        match operation {
            Operation::Event(event) => {
                let body = self.account.body(event).to_string();
                self.send("POST", &self.ingest, "/v1/hooks/call-status", &[], &body)
            }
            Operation::Delete(call) => {
                let path = self.account.path(&format!("/Calls/{}", Account::call(*call)));
                self.send("DELETE", &self.full, &path, &[], "")
            }
        }
    }

    /// Every answer that the account can get about itself, and the errors with it.
    fn view(&self, queries: &[String]) -> Vec<(String, Answer)> {
        let stats = "/CallStats?group=status,from,to,trunk&top=3";
        let (recent, part) =
            ("/RecentCalls?page=1&count=50", "/RecentCalls?page=1&count=2&filter=1");
        let search = "/Calls?number_contains=000&answered=false&count=true";
        let rests = [
            "/CallCount",
            "/CallStats",
            stats,
            recent,
            part,
            search,
            "/Calls/changes",
            "/Calls/xyz",
        ];
        let mut paths: Vec<String> = rests.iter().map(|rest| self.account.path(rest)).collect();
        for number in 0..CALLS {
            let path = self.account.path(&format!("/Calls/{}", Account::call(number)));
            paths.push(format!("{path}/events"));
            paths.push(path);
        }
        for query in queries {
            for further in ["", "&count=true", "&limit=2", "&limit=0", "&cursor=x"] {
                paths.push(self.account.path(&format!("/Calls?{query}{further}")));
            }
        }
        paths.push("/v1/Calls/changes".to_owned());
        paths.push(format!("{}/", self.account.path("/Nothing")));
        let mut seen: Vec<_> =
            paths.into_iter().map(|path| (path.clone(), self.get(&path))).collect();
        let list = self.account.path("/Calls");
        let csv = self.send("GET", &self.full, &list, &[("accept", "text/csv")], "");
        seen.push(("as CSV".to_owned(), csv));
        seen.push(("PATCH".to_owned(), self.send("PATCH", &self.full, &list, &[], "")));
        let without = self.rollcall.send("GET", &list, &[], b"").unwrap();
        seen.push(("without a token".to_owned(), without));
        seen
    }
}

/// All that an answer says, but for what is volatile.
fn said(answer: &Answer) -> String {
    let mut said = format!("{}\n", answer.status);
    for (name, value) in &answer.headers {
        if !VOLATILE.contains(&name.as_str()) {
            writeln!(said, "{name}: {value:?}").unwrap();
        }
    }
    // Positions count over all accounts.
    let lines = answer.body.lines().map(|line| match line.split_once("\",\"type\":") {
        Some((_, rest)) if line.starts_with("{\"position\":") => rest,
        _ => line,
    });
    said + &lines.collect::<Vec<_>>().join("\n")
}

/// What must not be seen of an account.
fn shows(answer: &Answer, account: &Account) -> bool {
    let all = format!("{:?}\n{}", answer.headers, answer.body);
    all.contains(&account.sid) || all.contains(account.mark)
}

/// What somebody with the first account's token can try on the second one.
fn intrusions(
    one: &Seat<'_>,
    two: &Account,
    cursor: Option<&str>,
    position: &str,
) -> Vec<(u16, Answer)> {
    let call = Account::call(0);
    let event = format!(
        "{{\"account_sid\":\"{}\",\"call_sid\":\"{call}\",\"direction\":\"inbound\"}}",
        two.sid
    );
    let mixed = format!("[{},{event}]", event.replace(&two.sid, &one.account.sid));
    let mut tried = Vec::new();
    let one_call = format!("/Calls/{call}");
    for rest in [
        "/Calls",
        "/Calls?q=000",
        "/CallCount",
        "/CallStats",
        "/CallStats?group=from",
        "/RecentCalls?page=1&count=1",
        "/Calls/changes",
        &one_call,
    ] {
        tried.push((403, one.get(&two.path(rest))));
    }
    tried.push((403, one.get(&two.path(&format!("/Calls/{call}/events")))));
    // Not even those of all accounts together, or of a service provider that it may belong to.
    for of in ["", &format!("/ServiceProviders/{}", two.sid)] {
        for rest in ["Calls", "Calls?limit=1", "CallCount", "CallStats", "CallStats?group=from"] {
            tried.push((403, one.get(&format!("/v1{of}/{rest}"))));
        }
    }
    for method in ["DELETE", "PUT"] {
        let path = two.path(&format!("/Calls/{call}"));
        let body = if method == "PUT" { "{\"call_status\":\"completed\"}" } else { "" };
        tried.push((403, one.send(method, &one.full, &path, &[], body)));
    }
    tried.push((403, one.send("POST", &one.full, &two.path("/Calls"), &[], "{}")));
    for body in [&event, &mixed] {
        tried.push((403, one.send("POST", &one.ingest, "/v1/hooks/call-status", &[], body)));
    }
    if let Some(cursor) = cursor {
        tried.push((400, one.get(&one.account.path(&format!("/Calls?cursor={cursor}")))));
    }
    tried.push((200, one.get(&one.account.path(&format!("/Calls/changes?after={position}")))));
    tried
}

#[test]
fn two_accounts_in_the_same_traffic_never_see_each_other() {
    let (shared, alone) = (restless(), restless());
    let interleaved = proptest::collection::vec((any::<bool>(), operations(CALLS, 4)), 1..10);
    let strategy = (interleaved, proptest::collection::vec(query(), 1..3));
    let law = |(traffic, queries): (Vec<(bool, Vec<Operation>)>, Vec<String>)| {
        let (first, second) = (Account::new("mark-of-one"), Account::new("mark-of-two"));
        let one = Seat::take(&shared, &first);
        let two = Seat::take(&shared, &second);
        let undisturbed = Seat::take(&alone, &first);
        for (of_first, operations) in &traffic {
            for operation in operations {
                if *of_first {
                    let answer = one.act(operation);
                    prop_assert!(!shows(&answer, &second));
                    prop_assert_eq!(said(&answer), said(&undisturbed.act(operation)));
                } else {
                    prop_assert!(!shows(&two.act(operation), &first));
                }
            }
        }
        let seen = one.view(&queries);
        for ((path, answer), (_, expected)) in seen.iter().zip(undisturbed.view(&queries)) {
            prop_assert!(!shows(answer, &second), "{}: {:?}", path, answer);
            prop_assert_eq!(said(answer), said(&expected), "{}", path);
        }
        let before = two.view(&queries);
        for (path, answer) in &before {
            prop_assert!(!shows(answer, &first), "{}: {:?}", path, answer);
        }
        let page = two.get(&second.path("/Calls?limit=1"));
        let feed = two.get(&second.path("/Calls/changes?limit=1"));
        let line: Value = serde_json::from_str(feed.body.lines().next().unwrap()).unwrap();
        let position = line["position"].as_str().unwrap();
        let cursor = page.header("x-next-cursor");
        for (status, answer) in intrusions(&one, &second, cursor, position) {
            prop_assert_eq!(answer.status, status, "{:?}", answer);
            prop_assert!(!shows(&answer, &second), "{:?}", answer);
        }
        for ((path, answer), (_, after)) in before.iter().zip(two.view(&queries)) {
            prop_assert_eq!(said(answer), said(&after), "{}", path);
        }
        Ok(())
    };
    cases(12).run(&strategy, law).unwrap();
}
