//! Lists: jambonz's own path, PostgreSQL, and nginx with the very bytes of the answer as a file.

use std::path::Path;
use std::time::Instant;

use super::cost::{Cost, Load, Sum, TURN, TURNS, cpu};
use super::{Field, skippable};
use crate::baselines::jambonz::{Jambonz, Kept};
use crate::baselines::nginx;
use crate::baselines::postgres::Postgres;
use crate::harness::Outcome;
use crate::harness::calls::{LARGE, write_calls};
use crate::harness::client::Peer;
use crate::harness::figures::Times;
use crate::harness::table::{Table, Target};

/// What is asked for: its name, the query, and the same in SQL.
const NEWEST: Question = Question { name: "newest", query: "limit=50", sql: "" };
const CHOSEN: Question = Question {
    name: "by status and direction",
    query: "limit=50&callStatus=no-answer&direction=inbound",
    sql: " AND call_status = 'no-answer' AND direction = 'inbound'",
};
/// Connections of the load under which processor time is counted.
const CONNECTIONS: usize = 16;
/// Calls in jambonz's Redis; a list goes through all of them.
const JAMBONZ_CALLS: u64 = 10_000;
/// Lists of jambonz that are timed.
const JAMBONZ_LISTS: usize = 5;

struct Question {
    name: &'static str,
    query: &'static str,
    sql: &'static str,
}

impl Question {
    fn path(&self) -> String {
        format!("/v1/Accounts/{LARGE}/Calls?{}", self.query)
    }
}

/// Rows of all lists.
pub async fn run(field: &Field, table: &mut Table) -> Outcome<()> {
    let server = field.rollcall.serve(&[])?;
    let mut lists = Vec::new();
    for question in [NEWEST, CHOSEN] {
        let path = question.path();
        let (peer, pid) = (&server.peer, server.pid());
        let alone = Load { peer, pid, path: &path, connections: 1 }.cost().await?;
        let many = Load { peer, pid, path: &path, connections: CONNECTIONS }.cost().await?;
        let figure = format!(
            "{}; {:.1} µs of CPU a request on one connection, {:.1} on {CONNECTIONS}",
            alone.times.text(),
            alone.micros(),
            many.micros()
        );
        table.line(&format!("list of 50, {}", question.name), &figure, &format!("GET {path}"));
        lists.push((question, alone));
    }
    let part = jambonz(field, table, &lists).await;
    skippable(table, "jambonz", part)?;
    let part = postgres(field, table, &server.peer, server.pid()).await;
    skippable(table, "PostgreSQL", part)?;
    let part = limit(field, table, &server.peer, server.pid()).await;
    skippable(table, "nginx", part)?;
    server.stop()
}

async fn jambonz(field: &Field, table: &mut Table, lists: &[(Question, Cost)]) -> Outcome<()> {
    let dir = field.room("jambonz")?;
    let jambonz = Jambonz::start(&dir, Kept::Memory)?;
    let input = dir.join("calls.ndjson");
    own_calls(&input)?;
    jambonz.fill(&input)?;
    let (_node, peer) = jambonz.serve()?;
    let mut connection = peer.connect().await?;
    let path = format!("/v1/Accounts/{LARGE}/Calls?from=%2B15550142857");
    let mut times = Vec::new();
    let mut rows = 0;
    for _ in 0..JAMBONZ_LISTS {
        let begun = Instant::now();
        let body = connection.get(&path).await?;
        times.push(begun.elapsed());
        rows = std::str::from_utf8(body)?.matches("\"call_sid\":").count();
    }
    let theirs = Times::of(times);
    let figure = format!("{rows} rows of {JAMBONZ_CALLS} calls: {}", theirs.text());
    table.line("jambonz's list, filtered", &figure, &format!("GET {path} (Redis, Node)"));
    for (question, alone) in lists {
        let ratio = theirs.permille(500) / alone.times.permille(500);
        let what = format!("latency of 50, {}, against jambonz's {rows} of 10 000", question.name);
        table.goal(&what, "p50 / p50", ratio, "×", Target::AtLeast(1000.0, 5000.0));
        table.by("list of one connection, end to end; jambonz without TLS");
    }
    Ok(())
}

/// Calls of one account alone, every thousandth from one number: jambonz's path at its best.
fn own_calls(path: &Path) -> Outcome<()> {
    write_calls(path, JAMBONZ_CALLS)?;
    let mut own = String::new();
    for (n, line) in std::fs::read_to_string(path)?.lines().enumerate() {
        let mut call: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line)?;
        call.insert("account_sid".to_owned(), LARGE.into());
        if n.is_multiple_of(1000) {
            call.insert("from".to_owned(), "+15550142857".into());
        }
        own.push_str(&serde_json::to_string(&call)?);
        own.push('\n');
    }
    std::fs::write(path, own)?;
    Ok(())
}

async fn postgres(field: &Field, table: &mut Table, peer: &Peer, pid: u32) -> Outcome<()> {
    let dir = field.room("postgres")?;
    let postgres = Postgres::start(&dir).await?;
    postgres.fill(Some(&field.input)).await?;
    let mut session = postgres.connect().await?;
    for (at, question) in [NEWEST, CHOSEN].into_iter().enumerate() {
        let name = format!("list{at}");
        session.prepare(&name, question.sql, 50).await?;
        let ask = format!("EXECUTE {name}('{LARGE}')");
        let (mut ours, mut theirs) = (Sum::default(), Sum::default());
        for _ in 0..TURNS {
            let load = Load { peer, pid, path: &question.path(), connections: 1 };
            ours.lists(&load, TURN).await?;
            let (before, begun) = (cpu(postgres.server.pid())?, Instant::now());
            while begun.elapsed() < TURN {
                let sent = Instant::now();
                session.ask(&ask).await?;
                theirs.times.push(sent.elapsed());
            }
            theirs.cpu += cpu(postgres.server.pid())?.saturating_sub(before);
        }
        let (ours, theirs) = (ours.cost()?, theirs.cost()?);
        let figure = format!("{}; {:.1} µs of CPU", theirs.times.text(), theirs.micros());
        let what = format!("PostgreSQL's list of 50, {}", question.name);
        table.line(&what, &figure, "json_agg, prepared, one kept connection, no TLS");
        let what = format!("requests per CPU second, {}, against PostgreSQL", question.name);
        let figure = format!("{:.1} µs against {:.1}", ours.micros(), theirs.micros());
        let ratio = theirs.micros() / ours.micros();
        table.goal(&what, &figure, ratio, "×", Target::AtLeast(2.0, 4.0));
        table.by("one kept connection each, in turns, rollcall's with TLS");
    }
    Ok(())
}

async fn limit(field: &Field, table: &mut Table, peer: &Peer, pid: u32) -> Outcome<()> {
    let dir = field.room("nginx")?;
    let rows = [("50", 2.0), ("1000", 2.5)];
    let mut bodies = Vec::new();
    let mut connection = peer.connect().await?;
    for (rows, _) in rows {
        let path = format!("/v1/Accounts/{LARGE}/Calls?limit={rows}");
        bodies.push((rows, connection.get(&path).await?.to_vec()));
    }
    let files: Vec<(&str, &[u8])> = bodies.iter().map(|(name, b)| (*name, &b[..])).collect();
    let (server, file) = nginx::start(&dir, &field.rollcall.data.join("tls"), &files)?;
    for ((rows, first), (_, body)) in rows.into_iter().zip(&bodies) {
        let path = format!("/v1/Accounts/{LARGE}/Calls?limit={rows}");
        let ours = Load { peer, pid, path: &path, connections: CONNECTIONS };
        let same = format!("/{rows}");
        let theirs = Load { peer: &file, pid: server.pid(), path: &same, connections: CONNECTIONS };
        let (mut our_sum, mut their_sum) = (Sum::default(), Sum::default());
        for _ in 0..TURNS {
            our_sum.lists(&ours, TURN).await?;
            their_sum.lists(&theirs, TURN).await?;
        }
        let (ours, theirs) = (our_sum.cost()?, their_sum.cost()?);
        let what = format!("CPU a request of {rows} rows against nginx's static file");
        let figure =
            format!("{:.1} µs against {:.1}, {} bytes", ours.micros(), theirs.micros(), body.len());
        let ratio = ours.micros() / theirs.micros();
        table.goal(&what, &figure, ratio, "×", Target::AtMost(first, 1.0));
        table.by(&format!("{CONNECTIONS} kept connections each, in turns, TLS 1.3, ECDSA P-256"));
    }
    Ok(())
}
