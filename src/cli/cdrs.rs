//! `rollcall cdrs backfill` and `subscribe`: words, and what is done.

use std::fmt::Write as _;
use std::io::{BufRead, Cursor, Error, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use clap::{Args, Subcommand};
use serde_json::json;

use super::execute::execute;
use super::output::Output;
use super::paths::{self, whole_path};
use crate::access::Secret;
use crate::cdrs::{
    Backfill, Credentials, DATABASE, Done, Found, Influx, InfluxError, Subscription, Wanted, remove,
};
use crate::config::{Config, WantedAccounts};
use crate::domain::{Timestamp, counted};
use crate::logs;
use crate::ops::{self, AdminReply, AdminRequest, Failure, OnError};
use crate::outbound::Base;
use crate::store::chain;
use crate::wire::{RecordFormat, When, parse_when, show_time, write_export};
use crate::{clock, fsutil, tls};

const PASSWORD_FILE_BYTES_MAX: u64 = 64 << 10;
/// Pages between the reader and the store.
const PAGES_AHEAD: usize = 2;
/// Rows that are left out and told.
const REFUSED_SHOWN: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum CdrsCommand {
    /// Read CDRs back from an InfluxDB: those that came while this server was down.
    ///
    /// Calls are taken that ended between two times. What is there already does not change, so that it may be
    /// given again.
    Backfill(Box<BackfillArgs>),
    /// Have an InfluxDB send CDRs on to this server, by a subscription.
    ///
    /// It makes the subscription, or says that it is there, and shows which there are. Nothing is changed in
    /// jambonz. InfluxDB sends each CDR once: `backfill` reads what it has sent in vain.
    Subscribe(Box<SubscribeArgs>),
}

#[derive(Debug, Args)]
struct InfluxArgs {
    /// Where jambonz's InfluxDB 1.x is, such as `http://10.0.0.7:8086`.
    #[arg(long, value_name = "URL")]
    influx: String,
    /// User of InfluxDB.
    #[arg(long, value_name = "USER", requires = "password_file")]
    user: Option<String>,
    /// File whose first line is that user's password; credential:NAME is a file that systemd hands over.
    #[arg(long, value_name = "FILE", value_parser = whole_path(), requires = "user")]
    password_file: Option<PathBuf>,
    /// File with the authorities (PEM) that its certificate must come from; else those of the system.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    ca: Option<PathBuf>,
    /// The database with the CDRs.
    #[arg(long, value_name = "NAME", default_value = DATABASE)]
    database: String,
}

#[derive(Debug, Args)]
pub(super) struct BackfillArgs {
    #[command(flatten)]
    influx: InfluxArgs,
    /// Calls that ended at this time or later: 2026-01-31, "2026-01-31 23:59", today, yesterday, or 2h for
    /// two hours ago. Days and times are UTC unless they have a zone: 2026-01-31T23:59+02:00.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// Calls that began before this time, which is written like that of --from. The default is now.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Say what would happen, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct SubscribeArgs {
    #[command(flatten)]
    influx: InfluxArgs,
    /// Where InfluxDB reaches `cdrs.listen` of this server, such as `http://10.0.0.5:8086`. The default is
    /// that address itself.
    #[arg(long, value_name = "URL", conflicts_with = "remove")]
    url: Option<String>,
    /// Name of the subscription.
    #[arg(long, value_name = "NAME", default_value = "rollcall")]
    name: String,
    /// Remove the subscription.
    #[arg(long)]
    remove: bool,
}

/// Runs one of them.
pub(super) fn run(
    config: &Config,
    command: CdrsCommand,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    match command {
        CdrsCommand::Backfill(args) => backfill(config, &args, output),
        CdrsCommand::Subscribe(args) => subscribe(config, &args, output),
    }
}

impl InfluxArgs {
    fn open(&self) -> Result<Influx, Failure> {
        let base = base("--influx", &self.influx, "http://10.0.0.7:8086")?;
        let password = self.password_file.as_deref().map(password).transpose()?;
        let login = self.user.as_deref().zip(password.as_ref());
        Influx::new(base, login, self.ca.as_deref()).map_err(|error| Failure::new(chain(&error)))
    }
}

fn base(flag: &str, text: &str, example: &str) -> Result<Base, Failure> {
    text.parse().map_err(|_| {
        // What is wrong may hold a password all the same.
        let shown = text.rsplit_once('@').map_or(text.to_owned(), |(_, rest)| format!("…@{rest}"));
        Failure::usage(format!(
            "{flag} \"{shown}\" is not a base URL; write http or https, a host, and if need be a port, \
             such as {example}; a user and a password have flags of their own"
        ))
    })
}

fn password(named: &Path) -> Result<Secret, Failure> {
    let path = tls::resolve(named)
        .map_err(|error| Failure::usage(format!("--password-file: {}", chain(&error))))?;
    let read = fsutil::open_named(&path)
        .and_then(|file| fsutil::contents(file, PASSWORD_FILE_BYTES_MAX))
        .map_err(|error| paths::failure("read --password-file", &path, &error))?;
    let line = String::from_utf8(read).ok();
    let line = line.as_deref().and_then(|text| text.lines().next());
    match line.filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(Failure::usage(format!(
            "--password-file {}: its first line is no text; expected the password there",
            named.display()
        ))),
    }
}

fn time(flag: &str, text: &str) -> Result<Timestamp, Failure> {
    parse_when(text, clock::now(), When::Ago)
        .map_err(|error| Failure::usage(format!("{flag} \"{text}\": {error}")))
}

/// Why reading ended before its time.
enum Stopped {
    Influx(InfluxError),
    /// The store takes no more, and says why itself.
    Unwanted,
}

impl From<InfluxError> for Stopped {
    fn from(error: InfluxError) -> Self {
        Self::Influx(error)
    }
}

fn backfill(
    config: &Config,
    args: &BackfillArgs,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let now = clock::now();
    let from = time("--from", &args.from)?;
    let to = args.to.as_deref().map(|text| time("--to", text)).transpose()?.unwrap_or(now);
    if from >= to {
        return Err(Failure::usage(format!(
            "--from {} is not before --to {}",
            show_time(from),
            show_time(to)
        )));
    }
    let influx = args.influx.open()?;
    let longest = u64::try_from(config.calls.max_lifetime.as_millis()).unwrap_or(u64::MAX);
    let backfill = Backfill { database: args.influx.database.clone(), from, to, longest };
    let accounts = config.cdrs.accounts.clone();
    let (pages, waiting) = sync_channel(PAGES_AHEAD);
    let request = AdminRequest::Import(ops::Import {
        format: RecordFormat::Ndjson,
        dry_run: args.dry_run,
        on_error: OnError::Stop,
    });
    let (answer, refused) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(&backfill, &influx, &accounts, now, &pages));
        let mut input = Pages { waiting, page: Cursor::default() };
        let mut take = |_: Option<&str>, _: &[u8]| Ok(());
        let answer = execute(config, request, &mut input, output, &mut take);
        // A reader that waits for the store sees that it is gone.
        drop(input);
        (answer, reader.join().unwrap_or_default())
    });
    output.finish();
    for why in refused.iter().take(REFUSED_SHOWN) {
        output.say(&logs::plain(&format!("left out: {why}")));
    }
    if refused.len() > REFUSED_SHOWN {
        output.say(&format!("left out: {}", counted(refused.len() as u64, "row")));
    }
    let answer = answer?;
    if matches!(&answer.reply, AdminReply::Imported(summary) if summary.records == 0) {
        output.say("note: InfluxDB has no CDR of a call that ended in that time");
    }
    output.reply(&answer.reply, answer.running)?;
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads CDRs and hands them on, as lines of an export. Returns why rows are left out.
fn read(
    backfill: &Backfill,
    influx: &Influx,
    accounts: &[WantedAccounts],
    now: Timestamp,
    pages: &SyncSender<Result<Vec<u8>, String>>,
) -> Vec<String> {
    let mut refused = Vec::new();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _gone = pages.send(Err(error.to_string()));
            return refused;
        }
    };
    let mut reached = backfill.from;
    let hand_on = |found: Found, until: Timestamp| {
        reached = until;
        refused.extend(found.refused.iter().map(ToString::to_string));
        let mut lines = Vec::new();
        let wanted = |account| accounts.iter().any(|one| one.has(account));
        for call in found.calls.iter().filter(|call| wanted(call.id.account)) {
            write_export(&mut lines, call);
            lines.push(b'\n');
        }
        pages.send(Ok(lines)).map_err(|_| Stopped::Unwanted)
    };
    if let Err(Stopped::Influx(error)) = runtime.block_on(backfill.read(influx, now, hand_on)) {
        let why = format!(
            "{} was read up to {}: {}; give the same command again",
            influx.base(),
            show_time(reached),
            chain(&error)
        );
        let _gone = pages.send(Err(why));
    }
    refused
}

/// Pages as one input.
struct Pages {
    waiting: Receiver<Result<Vec<u8>, String>>,
    page: Cursor<Vec<u8>>,
}

impl Read for Pages {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.fill_buf()?;
        self.page.read(out)
    }
}

impl BufRead for Pages {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        while self.page.position() >= self.page.get_ref().len() as u64 {
            match self.waiting.recv() {
                Ok(Ok(page)) => self.page = Cursor::new(page),
                Ok(Err(why)) => return Err(Error::other(why)),
                Err(_) => return Ok(&[]),
            }
        }
        self.page.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.page.consume(length);
    }
}

fn subscribe(
    config: &Config,
    args: &SubscribeArgs,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let influx = args.influx.open()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (database, name) = (args.influx.database.as_str(), args.name.as_str());
    let failed = |error: InfluxError| Failure::new(format!("{}: {}", influx.base(), chain(&error)));
    let (done, all) = if args.remove {
        runtime.block_on(remove(&influx, database, name)).map_err(failed)?
    } else {
        let credentials = Credentials::read(&config.cdrs)
            .map_err(|error| Failure::new(error.to_string()))?
            .ok_or_else(|| {
                Failure::usage(
                    "cdrs.listen is not set, so that nothing would take CDRs; set cdrs.listen, cdrs.user and \
                     cdrs.password_file, and restart the server",
                )
            })?;
        let url = args.url(config)?;
        if url.is_readable() {
            output.say(&format!(
                "warning: {url} is plain HTTP to another machine: the password and CDRs can be read on the way; \
                 set cdrs.tls = true, and give the https address"
            ));
        }
        let wanted = Wanted { database, name, url: &url, credentials: &credentials };
        runtime.block_on(wanted.make(&influx)).map_err(failed)?
    };
    let text = if output.json { as_json(done, &all) } else { shown(done, args, &all) };
    output.text(&logs::plain_lines(&text))?;
    Ok(ExitCode::SUCCESS)
}

impl SubscribeArgs {
    /// Where `InfluxDB` reaches the listener.
    fn url(&self, config: &Config) -> Result<Base, Failure> {
        if let Some(text) = &self.url {
            return base("--url", text, "http://10.0.0.5:8086");
        }
        let listen = config.cdrs.listen.as_ref();
        let reached = listen.filter(|at| !at.is_unspecified() && at.port() != 0);
        let scheme = if config.cdrs.tls { "https" } else { "http" };
        reached.and_then(|at| format!("{scheme}://{at}").parse().ok()).ok_or_else(|| {
            Failure::usage(
                "where does InfluxDB reach cdrs.listen? give --url, such as http://10.0.0.5:8086",
            )
        })
    }
}

fn said(done: Done) -> &'static str {
    match done {
        Done::Made => "made",
        Done::Replaced => "replaced",
        Done::AsItWas => "there already",
        Done::Removed => "removed",
        Done::NotThere => "not there",
    }
}

fn shown(done: Done, args: &SubscribeArgs, all: &[Subscription]) -> String {
    let database = &args.influx.database;
    let mut text = format!("the subscription {} of {database} is {}\n", args.name, said(done));
    for one in all {
        let Subscription { name, retention_policy, .. } = one;
        let _infallible = writeln!(text, "{database}.{retention_policy} {name}: {}", one.shown());
    }
    text
}

fn as_json(done: Done, all: &[Subscription]) -> String {
    let all: Vec<_> = all
        .iter()
        .map(|one| {
            json!({
                "name": one.name,
                "retention_policy": one.retention_policy,
                "destinations": one.shown(),
            })
        })
        .collect();
    json!({ "subscription": said(done), "subscriptions": all }).to_string()
}
