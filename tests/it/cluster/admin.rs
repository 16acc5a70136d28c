//! What admins change on one node counts on all of them, and once.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use super::super::console::{Browser, ask_to_sign_in, cookie_of};
use super::super::harness::{
    A1, A2, Answer, Printed, ROLLCALL, Rollcall, event, print, sid, until,
};
use super::three::{MACHINES, Setup, Three, begun, create};

/// Rounds in which several nodes change the same at once.
const ROUNDS: usize = 12;

fn calls() -> String {
    format!("/v1/Accounts/{A1}/Calls")
}

/// The same moment on every node: what each of them answers.
fn at_once(three: &Three, args: impl Fn(usize) -> Vec<String> + Sync) -> Vec<Printed> {
    let args = &args;
    thread::scope(|scope| {
        let run = |n: usize| {
            let node = &three.nodes[n];
            scope.spawn(move || {
                let args = args(n);
                node.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
            })
        };
        let running: Vec<_> = (0..MACHINES).map(run).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn accounts(node: &Rollcall) -> Vec<Value> {
    serde_json::from_str(&node.ok(&["account", "list", "--json"])).unwrap()
}

fn assert_conflict(printed: &Printed) {
    assert_eq!(printed.code, Some(3), "{printed:?}");
    assert!(
        printed.stderr.contains("by somebody else meanwhile, and nothing of this was done"),
        "{printed:?}"
    );
}

#[test]
fn of_those_who_change_one_account_at_once_none_undoes_what_another_did() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    let uuid = |n: usize| format!("00000000-0000-4000-8000-{n:012}");
    let mut known = [String::new(), String::new(), String::new()];
    let mut conflicts = 0;
    for round in 0..ROUNDS {
        let wanted = [format!("name {round}"), uuid(round + 1), format!("{}days", round + 2)];
        let flags = ["--name", "--service-provider", "--keep"];
        let done = at_once(&three, |n| words(&["account", "set", A1, flags[n], &wanted[n]]));
        for n in 0..MACHINES {
            if done[n].code == Some(0) {
                known[n].clone_from(&wanted[n]);
            } else {
                assert_conflict(&done[n]);
                conflicts += 1;
            }
        }
        assert!(done.iter().any(|one| one.code == Some(0)), "one is always the first: {done:?}");
        three.rest();
        for node in &three.nodes {
            let account = &accounts(node)[0];
            let fields = ["name", "service_provider_sid", "keep"]
                .map(|field| account[field].as_str().unwrap_or_default().to_owned());
            assert_eq!(fields, known, "round {round}: {done:#?}");
        }
    }
    assert!(conflicts > 0, "they were never at once");
}

#[test]
fn the_console_tells_who_was_not_the_first() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    let browser = |node| Browser::sign_in(node, &three.targets.token);
    let browsers: Vec<_> = three.nodes.iter().map(browser).collect();
    let path = format!("/console/api/accounts/{A1}");
    let mut conflicts = 0;
    for round in 0..ROUNDS {
        let name = |n: usize| format!("name {round} of {n}");
        let answers: Vec<Answer> = thread::scope(|scope| {
            let put = |n: usize| {
                let (browser, body) = (&browsers[n], json!({ "name": name(n) }).to_string());
                let path = &path;
                scope.spawn(move || browser.ask("PUT", path, &body))
            };
            let asked: Vec<_> = (0..MACHINES).map(put).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.status, 409, "{answer:?}");
            assert!(answer.body.contains("by somebody else meanwhile"), "{answer:?}");
            conflicts += 1;
        }
        three.rest();
        let done = (0..MACHINES).filter(|n| answers[*n].status == 200);
        let names: Vec<_> = done.map(name).collect();
        for node in &three.nodes {
            let shown = accounts(node)[0]["name"].as_str().unwrap().to_owned();
            assert!(names.contains(&shown), "{shown:?} is none of {names:?}");
        }
    }
    assert!(conflicts > 0, "they were never at once");
}

#[test]
fn two_accounts_never_share_a_hook_user_and_two_tokens_no_value() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    let accounts_of = [A1, A2, "00000000-0000-4000-8000-000000000003"];
    let (mut conflicts, mut users) = (0, BTreeSet::new());
    for round in 0..ROUNDS {
        let user = format!("user-{round}");
        let done = at_once(&three, |n| {
            words(&[
                "account",
                "set",
                accounts_of[n],
                "--hook-user",
                &user,
                "--hook-password",
                "secret-1",
            ])
        });
        let value = format!("value-of-a-token-{round:04}");
        let made = at_once(&three, |_| words(&["token", "create", "--admin", "--value", &value]));
        for (which, several) in [("user", &done), ("value", &made)] {
            let codes: Vec<_> = several.iter().map(|one| one.code).collect();
            let first = codes.iter().filter(|code| **code == Some(0)).count();
            assert_eq!(first, 1, "round {round}, {which}: {several:#?}");
            let beaten = several.iter().filter(|one| one.code == Some(3));
            conflicts += beaten.inspect(|one| assert_conflict(one)).count();
        }
        three.rest();
        for node in &three.nodes {
            let have = accounts(node).into_iter();
            let have = have.filter(|account| account["hook_user"] == *user);
            let have: Vec<_> = have.map(|account| account["account_sid"].to_string()).collect();
            assert_eq!(have.len(), 1, "{have:?}");
            users.insert((user.clone(), have[0].clone()));
            let answer = node.get(&value, &calls());
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    assert_eq!(users.len(), ROUNDS, "all nodes have the same: {users:?}");
    assert!(conflicts > 0, "they were never at once");
}

#[test]
fn a_token_opens_every_node_and_ends_on_every_node() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    let token = three.nodes[1].ok(&["token", "create", "--account", A1, "--name", "reader"]);
    let token = token.trim();
    three.rest();
    for node in &three.nodes {
        assert_eq!(node.get(token, &calls()).status, 200);
    }
    // It ends wherever it was made, by its name, and those who may still take it are waited for.
    let revoked = three.nodes[2].run(&["token", "revoke", "reader", "--wait"]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    for node in &three.nodes {
        assert_eq!(node.get(token, &calls()).status, 401);
    }
    // One that does not say so is named.
    three.nodes[1].ok(&["token", "create", "--admin", "--name", "operator"]);
    three.rest();
    three.nodes[0].signal("STOP");
    let revoked = three.nodes[2].run(&["token", "revoke", "operator", "--wait", "2s", "--json"]);
    three.nodes[0].signal("CONT");
    assert_eq!(revoked.code, Some(1), "{revoked:?}");
    let said: Value = serde_json::from_str(&revoked.stdout).unwrap();
    assert_eq!(said["behind"], json!(["node1"]), "{said}");
    assert!(said["done"].as_str().unwrap().contains("is revoked, and node1 did not say in time"));
}

#[test]
fn nodes_that_begin_at_once_make_one_first_token() {
    let Some((mut nodes, servers, configs, dir)) = begun(&Setup::default()) else { return };
    until("the log is made", || (create(&servers, &configs[0]).code == Some(0)).then_some(()));
    thread::scope(|scope| {
        for node in &mut nodes {
            scope.spawn(|| node.start());
        }
    });
    let file = |node: &Rollcall| fs::read_to_string(node.data().join("admin.token")).ok();
    let (holder, token) = until("one node has made the first token", || {
        let files: Vec<_> = nodes.iter().map(file).collect();
        let mut held = files.iter().enumerate().filter_map(|(n, file)| Some((n, file.clone()?)));
        let (first, more) = (held.next()?, held.next());
        let token = first.1.trim().to_owned();
        let opens = |node: &Rollcall| node.get(&token, &calls()).status == 200;
        (more.is_none() && nodes.iter().all(opens)).then_some((first.0, token))
    });
    for (n, node) in nodes.iter().enumerate() {
        let tokens: Vec<Value> =
            serde_json::from_str(&node.ok(&["token", "list", "--json"])).unwrap();
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        assert_eq!(file(node).is_some(), n == holder);
    }
    // Its file goes with it, also where it is revoked on another node.
    let id = format!(
        "{}",
        serde_json::from_str::<Value>(&nodes[0].ok(&["token", "list", "--json"])).unwrap()[0]["id"]
    );
    nodes[(holder + 1) % MACHINES].ok(&["token", "revoke", id.trim_matches('"')]);
    assert_eq!(nodes[holder].stop(), Some(0));
    nodes[holder].start();
    until("the file of a token that has ended goes", || {
        file(&nodes[holder]).is_none().then_some(())
    });
    assert!(!token.is_empty());
    drop((servers, dir));
}

#[test]
fn a_session_is_good_on_every_node_and_ends_on_every_node() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    let body = json!({ "token": three.targets.token });
    // The first three sessions of the cluster at once: their cookies are sealed with one key.
    let answers: Vec<Answer> = thread::scope(|scope| {
        let body = &body;
        let ask = |node| scope.spawn(move || ask_to_sign_in(node, body));
        let asked: Vec<_> = three.nodes.iter().map(ask).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    three.rest();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = cookie_of(answer);
        let browsers: Vec<_> = three
            .nodes
            .iter()
            .map(|rollcall| Browser { rollcall, cookie: cookie.clone(), session: answer.json() })
            .collect();
        for browser in &browsers {
            assert_eq!(browser.get("/console/api/session").status, 200);
        }
        assert_eq!(browsers[1].ask("DELETE", "/console/api/session", "").status, 204);
        three.rest();
        for browser in &browsers {
            assert_eq!(browser.get("/console/api/session").status, 401);
        }
    }
}

#[test]
fn what_is_imported_or_forgotten_on_one_node_is_so_on_all() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    // More than one message has room for.
    let padding = "x".repeat(1000);
    let tagged = format!("\"customer_data\":{{\"note\":\"{padding}\"}},\"call_sid\"");
    let records = (0..700).map(|n| event(n, "completed").replace("\"call_sid\"", &tagged) + "\n");
    let records: String = records.collect();
    // Two nodes take the same file at once: each record is new to one of them.
    let imported: Vec<Printed> = thread::scope(|scope| {
        let import = |n: usize| three.nodes[n].run_with(&["import", "--json"], records.as_bytes());
        let begun: Vec<_> = [0, 1].map(|n| scope.spawn(move || import(n))).into();
        begun.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let summaries: Vec<Value> = imported
        .iter()
        .map(|printed| {
            serde_json::from_str(&printed.stdout).unwrap_or_else(|_| panic!("{printed:?}"))
        })
        .collect();
    let sum = |key: &str| -> u64 {
        summaries.iter().map(|summary| summary["outcome"][key].as_u64().unwrap()).sum()
    };
    assert!(summaries.iter().all(|summary| summary["records"] == 700), "{summaries:?}");
    assert_eq!((sum("new"), sum("unchanged")), (700, 700), "{summaries:?}");
    three.rest();
    let exported = |node: &Rollcall| node.ok(&["export"]).lines().count();
    for node in &three.nodes {
        assert_eq!(exported(node), 700);
    }
    let purged = three.nodes[1].run(&["purge", "--number", "+15550000005"]);
    assert_eq!(purged.code, Some(0), "{purged:?}");
    assert!(purged.stderr.contains("only the files of this one were searched"), "{purged:?}");
    three.rest();
    for node in &three.nodes {
        assert_eq!(exported(node), 699);
    }
}

/// Its configuration counts on all nodes, though another one of a longer time looks for calls that are stale, and
/// those that have said otherwise before do not say it again.
fn the_last_to_start_says_how_long_a_call_lives(three: &mut Three) {
    let at = jiff::Timestamp::now().as_millisecond() - 300_000;
    let quiet = event(7, "in-progress").replace('}', &format!(",\"at\":{at}}}"));
    assert_eq!(three.nodes[0].post_events(&quiet).status, 204);
    let said = |node: &Rollcall| {
        node.log().matches("all nodes take calls.max_lifetime from the configuration").count()
    };
    let before = [0, 1].map(|n| said(&three.nodes[n]));
    assert!(before.iter().sum::<usize>() > 0, "one of them was the first to say it");
    let config = three.configs[2].to_str().unwrap().to_owned();
    three.nodes[2].set_args(&["--config", &config, "--calls-max-lifetime", "1m"]);
    three.start_node(2);
    until("the last one has said it", || (said(&three.nodes[2]) == 1).then_some(()));
    for n in 0..MACHINES {
        until("the call is stale on all nodes", || {
            let answer =
                three.nodes[n].get(&three.targets.token, &format!("{}/{}", calls(), sid(7)));
            (answer.json()["stale"] == true).then_some(())
        });
    }
    // Nobody says otherwise meanwhile, nor has the last one to say it again.
    assert_eq!(three.nodes[2].stop(), Some(0));
    three.start_node(2);
    three.rest();
    assert_eq!([0, 1, 2].map(|n| said(&three.nodes[n])), [before[0], before[1], 1]);
}

#[test]
fn a_node_that_does_not_run_is_changed_by_nobody() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    three.nodes[2].stop();
    let node = &three.nodes[2];
    let before = node.ok(&["export"]);
    let config = three.configs[2].clone();
    let config = config.to_str().unwrap();
    for args in [
        &["token", "create", "--admin"][..],
        &["token", "revoke", "first"],
        &["account", "set", A1, "--name", "acme"],
        &["account", "remove", A1],
        &["forward", "pause"],
        &["forward", "retry", "--all"],
        &["expire"],
        &["purge", "--number", "+15551230001"],
        &["import"],
    ] {
        // The data say so, and so does the configuration.
        for args in [args.to_vec(), [&["--config", config], args].concat()] {
            let refused = node.run_with(&args, before.as_bytes());
            assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
            let says = "is a node of a cluster, and changes by the cluster's log alone";
            assert!(refused.stderr.contains(says), "{args:?}: {refused:?}");
        }
    }
    // What only reads is answered, and so is what only tries.
    node.ok(&["token", "list"]);
    node.ok(&["check"]);
    node.ok(&["compact"]);
    node.ok(&["expire", "--dry-run"]);
    assert_eq!(node.run_with(&["import", "--dry-run"], before.as_bytes()).code, Some(0));
    assert_eq!(node.ok(&["export"]), before);
    the_last_to_start_says_how_long_a_call_lives(&mut three);
    three.nodes[2].stop();
    // Nor is it a server by itself.
    three.nodes[2].set_args(&[]);
    let refused = three.nodes[2].start_fails();
    assert!(refused.stderr.contains("has the data of a node of a cluster"), "{refused:?}");
    // Nor is a store made where there is none.
    let node = &three.nodes[2];
    let none = node.data().with_file_name("none");
    let mut command = Command::new(ROLLCALL);
    command.args(["--config", config, "--data-dir"]).arg(&none);
    let made = print(command.args(["token", "create", "--admin", "--init"]), b"");
    assert_eq!(made.code, Some(1), "{made:?}");
    assert!(made.stderr.contains("by the cluster's log alone"), "{made:?}");
    assert!(!none.exists());
}
