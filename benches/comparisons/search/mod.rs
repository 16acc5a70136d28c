//! Search, counts, statistics and recent calls of a month, beside PostgreSQL and beside jambonz. Both are
//! asked in turns; first their answers are compared, and a difference is an error.

mod answers;
mod month;
mod questions;
mod side;

use std::path::Path;

use questions::Question;
use side::Side;

use super::cost::{Sum, TURNS, rest};
use super::{Field, skippable};
use crate::baselines::influx::Influx;
use crate::baselines::postgres::Postgres;
use crate::harness::figures::short;
use crate::harness::server::{Rollcall, Server};
use crate::harness::table::Table;
use crate::harness::{Outcome, text};

/// Rows of all questions, with a store of their own.
pub async fn run(field: &Field, table: &mut Table) -> Outcome<()> {
    let dir = field.room("search")?;
    let input = dir.join("month.ndjson");
    month::write_month(&input, field.calls)?;
    let rollcall = Rollcall::new(&dir.join("data"));
    rollcall.timed(&["import", "--init", text(&input)?])?;
    // What it does by itself in time. PostgreSQL's table is vacuumed, too.
    rollcall.timed(&["compact"])?;
    let server = rollcall.serve(&[])?;
    rest(server.pid()).await?;
    let part = postgres(field, table, &server, &input).await;
    skippable(table, "PostgreSQL", part)?;
    let part = jambonz(field, table, &server, &input).await;
    skippable(table, "InfluxDB", part)?;
    server.stop()
}

async fn postgres(field: &Field, table: &mut Table, server: &Server, input: &Path) -> Outcome<()> {
    let postgres = Postgres::start(&field.room("postgres-search")?).await?;
    postgres.fill(Some(input)).await?;
    let mut session = postgres.connect().await?;
    let trigrams = postgres.index_search(&mut session).await?;
    let mut ours = rollcall(server).await?;
    let mut theirs = Side::sql(session, postgres.server.pid());
    if trigrams {
        turns(&questions::parts(), table, [&mut ours, &mut theirs], "PostgreSQL, pg_trgm").await?;
    } else {
        table.line("**left out: a part of a number**", "pg_trgm is not installed", "");
    }
    let lists = questions::lists(field.calls);
    for question in lists.iter().chain(&questions::statistics()) {
        turns(question, table, [&mut ours, &mut theirs], "PostgreSQL").await?;
    }
    Ok(())
}

async fn jambonz(field: &Field, table: &mut Table, server: &Server, input: &Path) -> Outcome<()> {
    let influx = Influx::start(&field.room("influx")?)?;
    influx.fill(input)?;
    let (node, peer) = influx.serve()?;
    let mut ours = rollcall(server).await?;
    let mut theirs = Side::http(peer.connect().await?, vec![influx.database.pid(), node.pid()]);
    for question in &questions::recent(field.calls) {
        turns(question, table, [&mut ours, &mut theirs], "jambonz with InfluxDB").await?;
    }
    Ok(())
}

async fn rollcall(server: &Server) -> Outcome<Side> {
    Ok(Side::http(server.peer.connect().await?, vec![server.pid()]))
}

/// Compares all answers, and then has both answer in turns.
async fn turns(
    question: &Question,
    table: &mut Table,
    [ours, theirs]: [&mut Side; 2],
    peer: &str,
) -> Outcome<()> {
    let (what, target) = (&question.what, question.target);
    if let Some(sql) = &question.prepare {
        theirs.ask(sql).await?;
    }
    let mut lines = 0;
    for [path, same] in &question.pairs {
        let (our_answer, their_answer) = (ours.ask(path).await?, theirs.ask(same).await?);
        lines += question
            .compare(&our_answer, &their_answer)
            .map_err(|error| format!("{what}: {path}: not what {peer} answers: {error}"))?;
    }
    if lines == 0 {
        return Err(format!("{what}: nothing is found").into());
    }
    let pairs = question.pairs.iter().map(|[path, same]| (path.clone(), same.clone()));
    let (paths, requests): (Vec<_>, Vec<_>) = pairs.unzip();
    let (mut our_sum, mut their_sum) = (Sum::default(), Sum::default());
    for _ in 0..TURNS {
        ours.turn(&paths, &mut our_sum).await?;
        theirs.turn(&requests, &mut their_sum).await?;
    }
    let (ours, theirs) = (our_sum.cost()?, their_sum.cost()?);
    let path = paths.first().ok_or("a question has a path")?;
    let command = format!("GET {path}");
    let figure = format!("{} µs against {}", short(ours.micros()), short(theirs.micros()));
    let ratio = theirs.micros() / ours.micros();
    table.goal(&format!("{what}: CPU a request against {peer}"), &figure, ratio, "×", target);
    table.by(&command);
    let [our_p50, their_p50] = [&ours, &theirs].map(|cost| cost.times.permille(500));
    let figure = format!(
        "{} ms against {}; p99 {} and {}",
        short(our_p50),
        short(their_p50),
        short(ours.times.permille(990)),
        short(theirs.times.permille(990))
    );
    table.goal(&format!("{what}: p50 against {peer}"), &figure, their_p50 / our_p50, "×", target);
    table.by(&command);
    Ok(())
}
