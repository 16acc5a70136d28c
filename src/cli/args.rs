//! Words.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::amounts::{duration, expiry};
pub(super) use super::calls::{Export, ImportArgs, ListArgs};
pub(super) use super::cdrs::CdrsCommand;
pub(super) use super::cluster::ClusterCommand;
pub(super) use super::jambonz::JambonzCommand;
use super::open::OpenArgs;
pub(super) use super::words::{Backup, HealthArgs, Restore, ServerWanted, Verify};
use crate::access::{Keep, Role, Secret, TokenScope};
use crate::config::{Locations, Settings};
use crate::domain::{ServiceProviderSid, parse_duration};
use crate::ops::{AccountSettings, Failure, NewKeep, NewScope, NewToken};

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
    Serve(Box<ServeArgs>),
    /// Print a link to the console that signs in as an admin, once and within a minute; with a desktop, open it.
    ///
    /// What it opens is a token of its own, named after the user, which ends after 12 hours: `token list` shows
    /// it, and `token revoke` ends it.
    Open(OpenArgs),
    /// Make, list and revoke API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Settings of accounts: names, service providers, webhook secrets.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Import calls: the answer of a list, single objects, CSV, or an export.
    ///
    /// Records are imported in batches of 1000, each whole or not at all. Calls that are there already do not
    /// change: finish an interrupted import by giving the same command again.
    Import(ImportArgs),
    /// Export calls, one per line, in a form that `import` reads.
    Export(Export),
    /// List the newest calls.
    List(ListArgs),
    /// Show one call and its timeline.
    Show {
        /// The call: its sid, or at least 4 characters of its beginning, or of its end where no sid begins
        /// so, as `list` shows them.
        call_sid: String,
    },
    /// Show whether the server runs, and how it and its store are; exit 1 if it does not run or something is
    /// wrong.
    Status,
    /// Compare the journal and the index; exit 1 if they differ.
    Check,
    /// Rebuild the index from the journal.
    Rebuild,
    /// Free disk space that journal and index no longer need; the server keeps running meanwhile.
    Compact {
        /// Drop older versions of calls too; later backups can then not be restored to an earlier time.
        #[arg(long)]
        drop_history: bool,
    },
    /// Delete now the calls that are older than they are to be kept (`[retention]`, `account set --keep`).
    Expire {
        /// Say what would be deleted, and delete nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete all calls of a telephone number, and erase them from the disk; exit 1 if anything is left.
    Purge(PurgeArgs),
    /// Examine everything that the server depends on, and say what is wrong and what to do about it; exit 1 on
    /// any error. Changes nothing.
    Doctor,
    /// Say whether the server works; exit 0 if it does, and 1 if not.
    ///
    /// For health checks of containers and for monitoring: it needs no network, no token and no other
    /// program. The server is asked over its admin socket, so that the answer says that its process
    /// runs, that its committer and its listeners answer, and what it takes. It does not say that
    /// clients get through to it.
    Health(HealthArgs),
    /// Show certificates, and renew those that rollcall makes.
    #[command(subcommand)]
    Cert(CertCommand),
    /// The mirror of jambonz's Redis.
    #[command(subcommand)]
    Mirror(MirrorCommand),
    /// Passing webhooks on: how it goes, and what was set aside.
    #[command(subcommand)]
    Forward(ForwardCommand),
    /// Set the call status webhooks of jambonz's applications, and put them back.
    #[command(subcommand)]
    Jambonz(JambonzCommand),
    /// CDRs of jambonz's InfluxDB: have them sent here, and read back what was missed.
    #[command(subcommand)]
    Cdrs(CdrsCommand),
    /// Several machines that keep the same calls: their log, and how it and they are.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Make a backup of everything but the index, from a running server or without one.
    Backup(Backup),
    /// Read a whole backup and say whether it is intact; exit 1 if it is not.
    Verify(Verify),
    /// Restore a backup into the directory that --data-dir names.
    Restore(Restore),
    /// Check the configuration, or print an example of one.
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
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub settings: Settings,

    /// Fill an empty store with sample calls, and say how to list them.
    #[arg(long)]
    pub demo: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration as `serve` does, flags and variables too, and print the result; exit 1 if
    /// something that it names does not work.
    Check(Box<Settings>),
    /// Print a configuration file with every key, its meaning, bounds and default.
    Example,
}

#[derive(Debug, Subcommand)]
pub(super) enum ForwardCommand {
    /// Show each target of `[forward]`: what waits, what was delivered, what failed.
    Status,
    /// Send again what was set aside since it could not be delivered in time.
    Retry {
        /// The target's name, as `forward status` shows it.
        #[arg(value_name = "TARGET", required_unless_present = "all", conflicts_with = "all")]
        target: Option<String>,
        /// All targets.
        #[arg(long)]
        all: bool,
    },
    /// Keep webhooks without sending them.
    Pause,
    /// Send what waits, and go on; after a restore nothing is sent before this.
    Resume,
}

#[derive(Debug, Subcommand)]
pub(super) enum MirrorCommand {
    /// Try what the mirror needs, step by step, and print the ACL line for Redis; exit 1 if something fails.
    ///
    /// It connects to what `[mirror.redis]` names as the server would: it reaches it, logs in, tries the
    /// commands, asks for reports of changes and counts calls. It writes nothing, and needs no server.
    Check,
}

#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// Show the certificates in use, and when they end.
    Show {
        /// Print only the authority that clients must trust, as PEM.
        #[arg(long)]
        ca: bool,
    },
    /// Make a new certificate and key for the server; a running server uses them at once.
    Renew {
        /// Make a new authority too; every client must then be set up to trust it.
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
    /// Revoke a token at once.
    Revoke {
        /// The id that `token list` shows, or a name that no other token has.
        #[arg(value_name = "ID|NAME")]
        token: String,
        /// In a cluster: wait until every other node that is alive refuses it as well, 30s at most where no TIME is
        /// given, and exit 1 where one does not say so in time.
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "30s", value_parser = duration)]
        wait: Option<Duration>,
    },
}

#[derive(Debug, Args)]
pub(super) struct TokenCreate {
    #[command(flatten)]
    scope: ScopeArgs,
    /// What it may do.
    #[arg(long, value_enum, default_value = "full")]
    role: Role,
    /// A name for it.
    #[arg(long)]
    name: Option<String>,
    /// When it expires: a duration from now, such as 90d, 12h or 1year, or a time, such as 2026-12-31 (UTC).
    #[arg(long, value_name = "TIME", value_parser = expiry, allow_hyphen_values = true)]
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
struct ScopeArgs {
    /// The token is for every account.
    #[arg(long)]
    admin: bool,
    /// The token is for one account, by its sid or its name.
    #[arg(long, value_name = "SID|NAME")]
    account: Option<String>,
    /// The token is for the accounts of a service provider.
    #[arg(long, value_name = "SID")]
    service_provider: Option<ServiceProviderSid>,
}

impl TokenCreate {
    pub fn request(self) -> Result<NewToken, Failure> {
        let scope = match (self.scope.account, self.scope.service_provider) {
            (Some(account), _) => match account.parse() {
                Ok(sid) => NewScope::Known(TokenScope::Account(sid)),
                Err(_) => NewScope::AccountNamed(account),
            },
            (None, Some(provider)) => NewScope::Known(TokenScope::ServiceProvider(provider)),
            (None, None) if self.scope.admin || self.role == Role::Metrics => {
                NewScope::Known(TokenScope::Admin)
            }
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
pub(super) struct PurgeArgs {
    /// The number, however it is written, with its country code, such as +15551230001.
    #[arg(long)]
    number: String,
    /// Also delete calls that have the number in other fields than `from` and `to`.
    #[arg(long)]
    mentions: bool,
    /// Also delete this call; may be given more than once.
    #[arg(long, value_name = "ACCOUNT_SID/CALL_SID")]
    call: Vec<String>,
    /// How long to wait for a backup or another reader that holds replaced files.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, allow_hyphen_values = true)]
    wait: Duration,
    /// In a cluster: also erase it on all nodes and in the log, and wait for that. A single server does so anyway.
    ///
    /// The other nodes erase it themselves and report that they have; only the files of this one are searched.
    #[arg(long)]
    now: bool,
    /// Say what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

impl From<PurgeArgs> for crate::ops::Purge {
    fn from(purge: PurgeArgs) -> Self {
        let PurgeArgs { number, mentions, call: calls, wait, now, dry_run } = purge;
        Self { number, mentions, calls, wait, dry_run, now }
    }
}

/// `forever`, `default` or a duration.
fn keep(text: &str) -> Result<NewKeep, String> {
    match text {
        "default" => Ok(NewKeep::Default),
        "forever" => Ok(NewKeep::Own(Keep::Forever)),
        _ => match parse_duration(text) {
            Ok(age) if age >= Duration::from_mins(1) => {
                let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                Ok(NewKeep::Own(Keep::Millis(millis)))
            }
            Ok(_) => Err("expected forever, default, or at least 1m, such as 90days".to_owned()),
            Err(why) => Err(format!("{why}; expected forever, default or a time such as 90days")),
        },
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Change settings of an account; what is not given stays as it is.
    Set(AccountSet),
    /// List accounts that have settings.
    List,
    /// Remove the settings and tokens of an account. Its calls stay.
    Remove {
        /// The account, by its sid or by a name that no other account has.
        #[arg(value_name = "SID|NAME")]
        account: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct AccountSet {
    /// The account: its sid, or the name that it has already.
    #[arg(value_name = "SID|NAME")]
    account: String,
    /// A name for it.
    #[arg(long)]
    name: Option<String>,
    /// The service provider that it belongs to.
    #[arg(long, value_name = "SID")]
    service_provider: Option<ServiceProviderSid>,
    /// The secret that its webhooks are signed with; `-` reads it from standard input.
    #[arg(long, value_name = "SECRET")]
    webhook_secret: Option<String>,
    /// The user name that its webhooks send.
    #[arg(long, value_name = "USER")]
    hook_user: Option<String>,
    /// The password that goes with it; `-` reads it from standard input.
    #[arg(long, value_name = "PASSWORD")]
    hook_password: Option<String>,
    /// How long its calls are kept: 90days, forever, or default for what the configuration says.
    #[arg(long, value_name = "TIME", value_parser = keep, allow_hyphen_values = true)]
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
            account: self.account,
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
pub(super) fn one_from_standard_input(options: &[(&str, Option<&str>)]) -> Result<(), Failure> {
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
pub(super) fn secret(flag: &str, given: Option<&str>) -> Result<Option<Secret>, Failure> {
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
