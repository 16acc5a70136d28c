//! Words.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(super) use super::words::{Backup, ExportFormat, Health, Restore, Verify, Wanted};
use crate::access::{Keep, Role, Scope, Secret};
use crate::config::{Locations, Settings};
use crate::domain::{AccountSid, CallSid, ServiceProviderSid};
use crate::ops::{AccountSettings, Failure, NewKeep, NewToken, OnError, Request, Selection};
use crate::wire::{Format, Zone, ZoneError};

/// A call registry that answers the jambonz REST Calls API from its own durable store.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, max_term_width = 100, infer_long_args = false)]
pub(super) struct Cli {
    #[command(flatten)]
    pub locations: Locations,

    /// Answer in JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server.
    Serve(Box<Serve>),
    /// Make, list and revoke API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Settings of accounts: names, service providers, webhook secrets.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Take in calls: the answer of a list, single objects, CSV, or an export.
    ///
    /// Records are taken in batches of 1000, each whole or not at all. What is there already does not
    /// change: an import that was interrupted is finished by giving the same command again.
    Import(Import),
    /// Write calls out, one line each, so that an import of them makes the same calls.
    Export(Export),
    /// List the newest calls.
    List(List),
    /// Show one call and its timeline.
    Show {
        /// The call.
        call_sid: CallSid,
    },
    /// Show figures of the store.
    Status,
    /// Compare the journal and the index; exit 1 if they differ.
    Check,
    /// Build the index anew from the journal.
    Rebuild,
    /// Give back disk space that journal and index no longer need; the server goes on meanwhile.
    Compact {
        /// Drop older versions of calls too: backups can then not be restored as of earlier.
        #[arg(long)]
        drop_history: bool,
    },
    /// Delete the calls whose time is over (`[retention]`, `account set --keep`) now.
    Expire {
        /// Say what would go, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Forget a telephone number: delete its calls, and have all that was known of them leave the
    /// disk; exit 1 if anything is left.
    Purge(Purge),
    /// Look at everything that the server stands on, and say what is wrong and what to do about it;
    /// exit 1 on any error. Changes nothing.
    Doctor,
    /// Say whether the server does its work; exit 0 if it does, and 1 if not.
    ///
    /// For health checks of containers and for monitoring: it needs no network, no token and no other
    /// program. The server is asked over its admin socket, so that the answer says that its process
    /// runs, that its committer and its listeners answer, and what it takes. It does not say that
    /// clients get through to it.
    Health(Health),
    /// Look at certificates, and renew those that rollcall makes.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Make a backup of everything but the index, from a running server or without one.
    Backup(Backup),
    /// Read a backup through and say whether it is whole; exit 1 if it is not.
    Verify(Verify),
    /// Make a data directory of a backup, where --data-dir says.
    Restore(Restore),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write completions for a shell to standard output.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write manual pages: one for each command into a directory, or that of rollcall itself to
    /// standard output.
    Man {
        /// The directory.
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub settings: Settings,

    /// Fill an empty store with sample calls, and say how to list them.
    #[arg(long)]
    pub demo: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration as every command does, and print what it comes to.
    Check,
}

#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// Show the certificates in use, and when they end.
    Show {
        /// Print the authority that clients are to trust, as PEM, and nothing else.
        #[arg(long)]
        ca: bool,
    },
    /// Make the server's certificate and key anew; a running server uses them at once.
    Renew {
        /// Make a new authority too, which every client must then be told to trust.
        #[arg(long)]
        ca: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it. It is not shown again.
    Create(TokenCreate),
    /// List tokens.
    List,
    /// End a token at once.
    Revoke {
        /// The id that `token list` shows.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct TokenCreate {
    #[command(flatten)]
    scope: TokenScope,
    /// What it may do: everything, read, send events, list only, or scrape metrics only.
    #[arg(long, value_enum, default_value = "full")]
    role: Role,
    /// What to call it.
    #[arg(long)]
    name: Option<String>,
    /// When it ends, from now: 90d, 12h, 1year.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// Take over an existing jambonz API key; `-` reads it from standard input.
    #[arg(long, value_name = "TOKEN")]
    value: Option<String>,
    /// Make a new store where the data directory has none yet.
    #[arg(long)]
    pub init: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct TokenScope {
    /// For every account.
    #[arg(long)]
    admin: bool,
    /// For one account.
    #[arg(long, value_name = "SID")]
    account: Option<AccountSid>,
    /// For the accounts of a service provider.
    #[arg(long, value_name = "SID")]
    service_provider: Option<ServiceProviderSid>,
}

impl TokenCreate {
    pub fn request(self) -> Result<NewToken, Failure> {
        let scope = match (self.scope.account, self.scope.service_provider) {
            (Some(account), _) => Scope::Account(account),
            (None, Some(provider)) => Scope::ServiceProvider(provider),
            (None, None) if self.scope.admin || self.role == Role::Metrics => Scope::Admin,
            (None, None) => {
                return Err(Failure::usage(
                    "whose calls is the token for? give --account SID, --service-provider SID or \
                     --admin",
                ));
            }
        };
        Ok(NewToken {
            scope,
            role: self.role,
            name: self.name,
            expires_in: self.expires.map(|time| time.as_secs()),
            value: secret("--value", self.value.as_deref())?,
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Purge {
    /// The number in any writing, such as +15551230001; with its country, so that other countries'
    /// numbers are told from it.
    #[arg(long)]
    number: String,
    /// Delete the calls too that have it in other fields than `from` and `to`.
    #[arg(long)]
    mentions: bool,
    /// Delete this call too, whatever it has; may be given more than once.
    #[arg(long, value_name = "ACCOUNT_SID/CALL_SID")]
    call: Vec<String>,
    /// How long to wait for a backup or another reader that holds replaced files.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Say what would go, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl From<Purge> for crate::ops::Purge {
    fn from(purge: Purge) -> Self {
        let Purge { number, mentions, call: calls, wait, dry_run } = purge;
        Self { number, mentions, calls, wait, dry_run }
    }
}

/// `forever`, `default` or a duration.
fn keep(text: &str) -> Result<NewKeep, String> {
    match text {
        "default" => Ok(NewKeep::Default),
        "forever" => Ok(NewKeep::Own(Keep::Forever)),
        _ => match humantime::parse_duration(text) {
            Ok(age) if age >= Duration::from_mins(1) => {
                let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                Ok(NewKeep::Own(Keep::Millis(millis)))
            }
            _ => Err("expected forever, default, or at least 1m, such as 90days".to_owned()),
        },
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Change settings of an account; what is not given stays as it is.
    Set(AccountSet),
    /// List accounts that have settings.
    List,
    /// Remove an account's settings and tokens. Its calls stay.
    Remove {
        /// The account.
        account_sid: AccountSid,
    },
}

#[derive(Debug, Args)]
pub(super) struct AccountSet {
    /// The account.
    account_sid: AccountSid,
    /// What to call it.
    #[arg(long)]
    name: Option<String>,
    /// The service provider that it belongs to.
    #[arg(long, value_name = "SID")]
    service_provider: Option<ServiceProviderSid>,
    /// What its webhooks are signed with; `-` reads it from standard input.
    #[arg(long, value_name = "SECRET")]
    webhook_secret: Option<String>,
    /// The user name that its webhooks bring.
    #[arg(long, value_name = "USER")]
    hook_user: Option<String>,
    /// The password that goes with it; `-` reads it from standard input.
    #[arg(long, value_name = "PASSWORD")]
    hook_password: Option<String>,
    /// How long its calls are kept: 90days, forever, or default for what the configuration says.
    #[arg(long, value_name = "TIME", value_parser = keep)]
    keep: Option<NewKeep>,
    /// Make a new store where the data directory has none yet.
    #[arg(long)]
    pub init: bool,
}

impl AccountSet {
    pub fn request(self) -> Result<AccountSettings, Failure> {
        let texts = [&self.name, &self.webhook_secret, &self.hook_user, &self.hook_password];
        if self.service_provider.is_none()
            && self.keep.is_none()
            && texts.into_iter().all(Option::is_none)
        {
            return Err(Failure::usage(
                "nothing to set; give --name, --service-provider, --webhook-secret, --hook-user, \
                 --hook-password or --keep",
            ));
        }
        one_from_standard_input(&[
            ("--webhook-secret", self.webhook_secret.as_deref()),
            ("--hook-password", self.hook_password.as_deref()),
        ])?;
        Ok(AccountSettings {
            account_sid: self.account_sid,
            name: self.name,
            service_provider_sid: self.service_provider,
            webhook_secret: secret("--webhook-secret", self.webhook_secret.as_deref())?,
            hook_user: self.hook_user,
            hook_password: secret("--hook-password", self.hook_password.as_deref())?,
            keep: self.keep,
        })
    }
}

/// Lines of standard input have no names: which is which would depend on who reads first.
fn one_from_standard_input(options: &[(&str, Option<&str>)]) -> Result<(), Failure> {
    let from_there = options.iter().filter(|(_, given)| *given == Some("-"));
    let flags: Vec<&str> = from_there.map(|(flag, _)| *flag).collect();
    if flags.len() < 2 {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} cannot both be read from standard input; give them to two commands",
        flags.iter().map(|flag| format!("{flag} -")).collect::<Vec<_>>().join(" and ")
    )))
}

/// A secret as given, or one line of standard input where it is given as `-`.
fn secret(flag: &str, given: Option<&str>) -> Result<Option<Secret>, Failure> {
    match given {
        None => Ok(None),
        Some("-") => {
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            read.map_err(|error| Failure::new(format!("{flag} -: standard input: {error}")))?;
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                return Err(Failure::usage(format!(
                    "{flag} -: expected a line on standard input with the secret"
                )));
            }
            Ok(Some(Secret::new(line)))
        }
        Some(text) => Ok(Some(Secret::new(text))),
    }
}

/// How records stand in a file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ImportFormat {
    Auto,
    Json,
    Ndjson,
    Csv,
}

impl From<ImportFormat> for Format {
    fn from(format: ImportFormat) -> Self {
        match format {
            ImportFormat::Auto => Self::Auto,
            ImportFormat::Json => Self::Json,
            ImportFormat::Ndjson => Self::Ndjson,
            ImportFormat::Csv => Self::Csv,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file; `-` or nothing for standard input.
    pub file: Option<PathBuf>,
    /// How records stand in it.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: ImportFormat,
    /// Say what would happen, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// What a bad record does: end the import, or be left out.
    #[arg(long, value_enum, default_value = "stop")]
    pub on_error: OnError,
    /// Write records that are left out to this file.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Make a new store where the data directory has none yet.
    #[arg(long)]
    pub init: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Select {
    /// Calls of this account; may be given more than once.
    #[arg(long = "account", value_name = "SID")]
    accounts: Vec<AccountSid>,
    /// Calls with one of these statuses, separated by commas.
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',')]
    statuses: Vec<String>,
    /// inbound or outbound.
    #[arg(long)]
    direction: Option<String>,
    /// Calls from this number.
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
    /// Calls to this number.
    #[arg(long, value_name = "NUMBER")]
    to: Option<String>,
    /// Calls listed at this time or later: 2026-01-31, or 2026-01-31T23:59:59Z.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Calls listed before this time.
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
}

impl Select {
    pub fn one_account(&self) -> bool {
        self.accounts.len() == 1
    }
}

impl From<Select> for Selection {
    fn from(select: Select) -> Self {
        Self {
            accounts: select.accounts,
            statuses: select.statuses,
            direction: select.direction,
            from: select.from,
            to: select.to,
            start: select.start,
            end: select.end,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    pub select: Select,
    /// A record a line, one array, or a table; what the ending of FILE says, else ndjson.
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// With csv: for spreadsheets, with a byte order mark and with an apostrophe before formulas.
    #[arg(long)]
    pub spreadsheet: bool,
    /// With csv: the time zone of all times, as Europe/Berlin; UTC unless it is given.
    #[arg(long, value_name = "NAME", value_parser = time_zone)]
    pub time_zone: Option<String>,
    /// The file, which is written whole or not at all; standard output where there is none.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Export {
    pub fn request(&self, format: ExportFormat) -> Result<Request, Failure> {
        let selection = Selection::from(self.select.clone());
        if format == ExportFormat::Csv {
            let (spreadsheet, time_zone) = (self.spreadsheet, self.time_zone.clone());
            return Ok(Request::ExportCsv { selection, spreadsheet, time_zone });
        }
        let flag = match (self.spreadsheet, &self.time_zone) {
            (true, _) => "--spreadsheet",
            (false, Some(_)) => "--time-zone",
            (false, None) => return Ok(Request::Export(selection)),
        };
        Err(Failure::usage(format!("{flag} needs --format csv: JSON stays as it is")))
    }
}

/// The name of a time zone that there is.
fn time_zone(name: &str) -> Result<String, ZoneError> {
    name.parse::<Zone>().map(|_| name.to_owned())
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub select: Select,
    /// How many calls at most.
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}
