//! Twenty accounts and every kind of credentials at once: whichever client asks anything, at any
//! moment, gets no byte of an account that his credentials do not reach.
//!
//! ```sh
//! TRIAL_SEED=7 TENANCY_ROUNDS=5000 cargo test --test it properties::credentials -- --nocapture
//! ```

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::{BASE64, HEXLOWER};

use super::super::api::samples::now;
use super::super::harness::{Answer, Rollcall, send};
use super::super::load::{Random, Trial};
use super::restless;

const ACCOUNTS: usize = 20;
/// Each has every so many accounts; the last ones have none.
const PROVIDERS: usize = 4;
const OF_PROVIDERS: usize = 16;
/// Those who ask at the same time.
const THREADS: usize = 4;
/// Calls of each account; all accounts have calls of the same sids.
const CALLS: usize = 12;
const ROLES: [&str; 5] = ["full", "read", "ingest", "export", "metrics"];
/// Answers from which something is kept for others to try.
const LOOT_MAX: usize = 400;

/// Somebody with credentials.
struct Principal {
    /// Who, for messages.
    name: String,
    /// `Authorization`, or the account whose secret signs.
    credentials: Credentials,
    /// The accounts that he may see.
    reach: BTreeSet<usize>,
}

enum Credentials {
    Header(String),
    Secret(usize),
}

/// What everybody did, and what was seen of it.
#[derive(Default)]
struct Totals {
    answers: AtomicUsize,
    bytes: AtomicUsize,
    /// Answers that showed what they may.
    own: AtomicUsize,
    refused: AtomicUsize,
    taken: AtomicUsize,
    foreign: Mutex<Vec<String>>,
    /// Cursors, positions and tags, whosever they are.
    loot: Mutex<Vec<String>>,
}

fn account(n: usize) -> String {
    format!("{n:08x}-bbbb-4bbb-8bbb-000000000000")
}

fn provider(n: usize) -> String {
    format!("{n:08x}-cccc-4ccc-8ccc-000000000000")
}

fn call(n: usize) -> String {
    format!("c0000000-0000-4000-8000-{n:012x}")
}

/// Leads every text of an account, and is in no other text.
fn mark(n: usize) -> String {
    format!("<{n:02}>")
}

fn of_provider(n: usize) -> BTreeSet<usize> {
    (0..OF_PROVIDERS).filter(|account| account % PROVIDERS == n).collect()
}

#[test]
fn no_client_among_many_sees_a_byte_of_anybody_else() {
    let trial = Trial::new("TENANCY_ROUNDS", 150);
    let rollcall = restless();
    let principals = principals(&rollcall);
    let totals = Totals::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (rollcall, principals, totals) = (&rollcall, &principals, &totals);
            let mut random = Random::new(trial.seed ^ ((thread as u64 + 1) << 32));
            scope.spawn(move || {
                let agent = rollcall.new_agent();
                for _ in 0..trial.rounds {
                    let principal = &principals[random.below(principals.len())];
                    let asked = request(principal, &mut random, totals);
                    let headers: Vec<_> =
                        asked.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    let url = rollcall.url(&asked.path);
                    let body = asked.body.as_bytes();
                    let answer = send(&agent, asked.method, &url, &headers, body).unwrap();
                    look(principal, &asked, &answer, totals);
                }
            });
        }
    });
    let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
    let foreign = totals.foreign.into_inner().unwrap();
    println!(
        "{} principals, {} answers, {} bytes: {} showed what is one's own, {} requests of events \
         taken, {} refused, {} with foreign bytes",
        principals.len(),
        count(&totals.answers),
        count(&totals.bytes),
        count(&totals.own),
        count(&totals.taken),
        count(&totals.refused),
        foreign.len()
    );
    assert!(foreign.is_empty(), "{foreign:#?}");
    // It would be easy to see nothing where there is nothing to be seen.
    let asked = count(&totals.answers);
    for seen in [&totals.own, &totals.taken, &totals.refused] {
        assert!(count(seen) * 50 > asked, "{} of {asked}", count(seen));
    }
}

/// All accounts with their settings, and one of each kind for each scope.
fn principals(rollcall: &Rollcall) -> Vec<Principal> {
    let mut principals = Vec::new();
    let mut with_token = |name: String, scope: &[&str], reach: &BTreeSet<usize>| {
        for role in ROLES {
            if role == "metrics" && scope != ["--admin"] {
                continue;
            }
            let token = rollcall.token(&[scope, &["--role", role]].concat());
            principals.push(Principal {
                name: format!("{name}, {role}"),
                credentials: Credentials::Header(format!("Bearer {token}")),
                reach: reach.clone(),
            });
        }
    };
    with_token("admin".to_owned(), &["--admin"], &(0..ACCOUNTS).collect());
    for n in 0..PROVIDERS {
        let sid = provider(n);
        with_token(format!("provider {n}"), &["--service-provider", &sid], &of_provider(n));
    }
    for n in 0..ACCOUNTS {
        with_token(format!("account {n}"), &["--account", &account(n)], &BTreeSet::from([n]));
    }
    for n in 0..ACCOUNTS {
        let (sid, secret, user) = (account(n), format!("secret-{n}"), format!("user-{n}"));
        let mut args = vec!["account", "set", &sid, "--webhook-secret", &secret];
        args.extend(["--hook-user", &user, "--hook-password", &secret]);
        let provider = provider(n % PROVIDERS);
        if n < OF_PROVIDERS {
            args.extend(["--service-provider", &provider]);
        }
        rollcall.ok(&args);
        let basic = BASE64.encode(format!("{user}:{secret}").as_bytes());
        for (name, credentials) in [
            ("basic", Credentials::Header(format!("Basic {basic}"))),
            ("signature", Credentials::Secret(n)),
        ] {
            let (name, reach) = (format!("account {n}, {name}"), BTreeSet::from([n]));
            principals.push(Principal { name, credentials, reach });
        }
    }
    principals
}

struct Asked {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// Anything at all: mostly of an account that he may see, often of another.
fn request(principal: &Principal, random: &mut Random, totals: &Totals) -> Asked {
    // A signature of another account is a wrong credential, and those cost time.
    let signs = matches!(principal.credentials, Credentials::Secret(_));
    let target = if random.percent(if signs { 98 } else { 60 }) {
        let place = random.below(principal.reach.len());
        *principal.reach.iter().nth(place).unwrap()
    } else {
        random.below(ACCOUNTS)
    };
    let ingests = principal.name.ends_with("ingest");
    // What a hook has is no token: a request with it has failed, and failing costs time.
    let chance = match &principal.credentials {
        Credentials::Header(value) if value.starts_with("Bearer") && ingests => 75,
        Credentials::Header(value) if value.starts_with("Bearer") => 8,
        _ => 99,
    };
    let mut asked = if random.percent(chance) {
        events(target, random)
    } else {
        question(target, random, totals)
    };
    match &principal.credentials {
        Credentials::Header(value) => asked.headers.push(("authorization", value.clone())),
        Credentials::Secret(n) => {
            let seconds = (now() / 1000).to_string();
            let signed = format!("{seconds}.{}", asked.body);
            let key = format!("secret-{n}");
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
            let digest = HEXLOWER.encode(ring::hmac::sign(&key, signed.as_bytes()).as_ref());
            asked.headers.push(("jambonz-signature", format!("t={seconds},v1={digest}")));
        }
    }
    asked
}

/// Events of one account, or of one and another.
fn events(target: usize, random: &mut Random) -> Asked {
    let several = random.percent(30);
    let mixed = random.percent(10);
    let count = if several || mixed { 2 + random.below(4) } else { 1 };
    let event = |n: usize, random: &mut Random| {
        let of = if mixed && n > 0 { random.below(ACCOUNTS) } else { target };
        let (mark, sid) = (mark(of), account(of));
        let status = ["ringing", "in-progress", "completed", "busy"][random.below(4)];
        let (call_sid, parent) = (call(random.below(CALLS)), call(random.below(CALLS)));
        format!(
            "{{\"account_sid\":\"{sid}\",\"call_sid\":\"{call_sid}\",\"direction\":\"inbound\",\
             \"from\":\"{mark}\",\"to\":\"+1555\",\"call_id\":\"{mark}\",\"note\":\"{mark}\",\
             \"caller_name\":\"{mark}\",\"parent_call_sid\":\"{parent}\",\
             \"call_status\":\"{status}\",\"sip_reason\":\"{mark}\"}}"
        )
    };
    let lines: Vec<_> = (0..count).map(|n| event(n, random)).collect();
    let (kind, body) = match lines.as_slice() {
        [line] => ("application/json", line.clone()),
        lines if random.percent(50) => ("application/x-ndjson", lines.join("\n")),
        lines => ("application/json", format!("[{}]", lines.join(","))),
    };
    let headers = vec![("content-type", kind.to_owned())];
    Asked { method: "POST", path: "/v1/hooks/call-status".to_owned(), headers, body }
}

fn question(target: usize, random: &mut Random, totals: &Totals) -> Asked {
    let sid = account(target);
    let one = call(random.below(CALLS));
    let loot = {
        let loot = totals.loot.lock().unwrap();
        if loot.is_empty() { "x".to_owned() } else { loot[random.below(loot.len())].clone() }
    };
    let found: String = form_urlencoded::byte_serialize(loot.as_bytes()).collect();
    let another = mark(random.below(ACCOUNTS)).replace('<', "%3C").replace('>', "%3E");
    let rest = match random.below(20) {
        0..3 => String::new(),
        3 => format!("?from={another}"),
        4 => format!("?from_prefix={another}&limit=5"),
        5 => format!("?limit=3&cursor={found}"),
        6 => "?limit=2&count=true".to_owned(),
        7 => format!("?parent_call_sid={one}"),
        8 => "?callStatus=completed&direction=inbound&order=asc&limit=1".to_owned(),
        9..12 => format!("/{one}"),
        12 => format!("/{one}/events"),
        13..16 => "/changes".to_owned(),
        16 => format!("/changes?limit=4&after={found}"),
        _ => format!("/changes?limit=2&after={}", ["now", "x"][random.below(2)]),
    };
    let path = match random.below(30) {
        0 => "/v1/Calls/changes".to_owned(),
        1 => "/metrics".to_owned(),
        2 => ["/livez", "/readyz", "/openapi.json", "/docs", "/llms.txt", "/"][random.below(6)]
            .into(),
        3 | 4 => format!("/v1/Accounts/{sid}/CallCount"),
        5 | 6 => format!("/v1/Accounts/{sid}/CallStats"),
        7 => format!("/v1/accounts/{}/calls{rest}", sid.to_uppercase()),
        8 => format!("/v1/Accounts/{sid}/../{}/Calls", account(random.below(ACCOUNTS))),
        9 => format!("/v1/Accounts/{sid}%2f/Calls"),
        _ => format!("/v1/Accounts/{sid}/Calls{rest}"),
    };
    let method = match random.below(40) {
        0 => "DELETE",
        1 => "PUT",
        2 => "POST",
        3 => "HEAD",
        4 => "PATCH",
        5 => "OPTIONS",
        _ => "GET",
    };
    let mut headers = Vec::new();
    match random.below(10) {
        0 => headers.push(("accept", "text/csv".to_owned())),
        1 => headers.push(("if-none-match", loot)),
        _ => {}
    }
    let sends = matches!(method, "PUT" | "POST");
    if sends {
        headers.push(("content-type", "application/json".to_owned()));
    }
    let body = if sends { "{\"call_status\":\"completed\"}" } else { "" };
    Asked { method, path, headers, body: body.to_owned() }
}

/// Nothing of an account that he does not reach may stand anywhere in the answer.
fn look(principal: &Principal, asked: &Asked, answer: &Answer, totals: &Totals) {
    let all = format!("{:?}\n{}", answer.headers, answer.body);
    let add = |number: &AtomicUsize, more| number.fetch_add(more, Ordering::Relaxed);
    add(&totals.answers, 1);
    add(&totals.bytes, all.len());
    let sent = format!("{}\n{}", asked.path.to_lowercase(), asked.body);
    let mut shows_own = false;
    for n in 0..ACCOUNTS {
        let own = principal.reach.contains(&n);
        let sid = account(n);
        // A client that names an account may be told that it is not his.
        let shown = all.contains(&mark(n)) || all.contains(&sid) && !sent.contains(&sid);
        if shown && !own {
            let problem = format!("{}: {} {}: {all}", principal.name, asked.method, asked.path);
            totals.foreign.lock().unwrap().push(problem);
        }
        shows_own |= own && answer.status == 200 && all.contains(&mark(n));
    }
    add(&totals.own, usize::from(shows_own));
    match answer.status {
        204 if asked.path.starts_with("/v1/hooks") => _ = add(&totals.taken, 1),
        401 | 403 => _ = add(&totals.refused, 1),
        // What jambonz answers, too, where nobody knows who runs the call.
        500 if answer.body.contains("the call has no service_url") => {}
        500 => totals.foreign.lock().unwrap().push(format!("{}: {all}", asked.path)),
        _ => {}
    }
    let mut loot = totals.loot.lock().unwrap();
    if loot.len() < LOOT_MAX {
        let kept = ["x-next-cursor", "etag"].into_iter().filter_map(|name| answer.header(name));
        loot.extend(kept.map(str::to_owned));
        let position = answer.body.lines().last().and_then(|line| {
            line.strip_prefix("{\"position\":\"")?.split('"').next().map(str::to_owned)
        });
        loot.extend(position);
    }
}
