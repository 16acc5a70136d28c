//! What an admin can ask for. A command is a value, run by one function, whether the server is running
//! and passes it on or is down and the command opens the store itself.

mod accounts;
mod audit;
mod certificates;
mod cluster;
mod console;
mod follow;
mod forward;
mod health;
mod hooks;
mod import;
mod purge;
mod select;
mod sessions;
mod settings;
mod show;
mod status;
mod tokens;
mod traces;

use std::cell::RefCell;
use std::io::{self, BufRead};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::node::{Comparison, Erasure, Levels, Missing, NodeStatus};
pub use accounts::{AccountInfo, AccountSettings, NewKeep};
pub use audit::AuditEntry;
pub use certificates::{
    CertificateInfo, CertificateList, CertificateRole, Certificates, ReachableAt, certificates,
};
pub use cluster::ClusterPlace;
pub use console::{NewLink, SignInCodes, SignInLink, token_of_link};
pub use forward::{ForwardFigures, TargetFigures};
pub use health::{Health, Loops};
#[cfg(test)]
pub use hooks::{AccountHooks, UnregisteredAccount};
pub use hooks::{HookFigures, Refusals, registers};
pub use import::{Import, OnError, Summary};
pub use purge::{Left, Purge, Purged, Where};
pub use select::Selection;
pub use sessions::{sign_in, sign_out};
pub use show::is_whole;
pub use status::{
    CdrFigures, ConsoleFigures, LastBackup, MirrorFigures, StatusFigures, UpstreamFigures,
};
pub use tokens::{NewScope, NewToken, TokenInfo, make_first, note_used};

use crate::backup::{BackupError, BackupScope, send};
use crate::domain::{Timestamp, counted, show_size};
use crate::intake::Intake;
use crate::store::{
    Checked, Collected, Compacted, Depth, Expiring, OpenError, Progress, Store, StoreError,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Makes a token and shows it once.
    TokenCreate(NewToken),
    /// Lists tokens, without their values.
    TokenList,
    /// Ends a token at once.
    TokenRevoke {
        /// Its id, or its name where no other token has it.
        token: String,
        /// How long to wait for the other nodes of a cluster; not at all where there is none.
        wait: Option<Duration>,
    },
    /// Changes the settings of an account.
    AccountSet(AccountSettings),
    /// Lists accounts that have settings.
    AccountList,
    /// Removes the settings and the tokens of an account, not its calls.
    AccountRemove {
        /// Its sid, or its name where no other account has it.
        account: String,
    },
    /// Takes records from the input.
    Import(Import),
    /// Writes records to the output, one export line each.
    Export(Selection),
    /// Writes records to the output as CSV, its header first.
    ExportCsv {
        selection: Selection,
        /// For spreadsheets: a byte order mark, and no formulas.
        spreadsheet: bool,
        /// The IANA name of the zone of times; UTC where there is none.
        time_zone: Option<String>,
    },
    /// Writes the newest calls to the output, one Call object a line.
    List {
        selection: Selection,
        limit: usize,
    },
    /// Writes new and changed calls to the output as they come, one Call object a line, until the
    /// server stops.
    Follow {
        selection: Selection,
        limit: Option<u64>,
    },
    /// Shows one call, as an export line.
    Show {
        /// The call, of whichever account: its sid, or the beginning or the end of it.
        call: String,
    },
    Status,
    /// What the server was started with: the answer is TOML.
    Configuration,
    /// Whether the server does its work.
    Health,
    /// Makes a link that signs in at the console.
    ConsoleOpen(NewLink),
    CertShow,
    /// Makes a new certificate for the server.
    CertRenew {
        /// Its authority too.
        authority: bool,
    },
    /// Compares journal and index.
    Check,
    /// Rebuilds the index.
    Rebuild,
    /// Gives back what the disk need not hold: packs the journal, and copies the index into one that
    /// takes less.
    Compact {
        /// Older versions of calls need not be kept.
        drop_history: bool,
    },
    /// Deletes the calls whose time is over.
    Expire {
        /// Say what would go, and do nothing.
        dry_run: bool,
    },
    /// Deletes the calls of a telephone number, and has everything that was known of them leave the
    /// disk.
    Purge(Purge),
    /// How webhooks are passed on.
    ForwardStatus,
    /// Sends again what was set aside.
    ForwardRetry {
        /// The name of a target; none for all.
        target: Option<String>,
    },
    /// Has all nodes say what they hold behind the same message of the log.
    ClusterCompare,
    /// Which version of messages the nodes write, and whether that is to be raised.
    ClusterLevel {
        raise: bool,
    },
    /// How far this store has applied a log, and how far the other nodes have.
    ClusterPlace,
    /// A node that is gone for good is not missed any more.
    ClusterForget {
        node: String,
    },
    /// Keeps webhooks without sending them, or sends them again.
    ForwardPause {
        paused: bool,
    },
    /// Sends the parts of a backup to the output.
    Backup(BackupScope),
    /// Writes down that a backup was made, for the figures.
    BackupMade(LastBackup),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AdminReply {
    /// A new token, shown this once.
    Token {
        /// For lists and for revoking.
        id: String,
        value: String,
    },
    SignInLink(SignInLink),
    Revoked {
        id: String,
        /// What a person called it.
        name: Option<String>,
        /// Other nodes that were waited for and may still take it.
        behind: Vec<String>,
    },
    Tokens(Vec<TokenInfo>),
    Accounts(Vec<AccountInfo>),
    /// A sentence about what was done.
    Done(String),
    Imported(Summary),
    /// How many records were written.
    Written(u64),
    /// Calls as export lines: one of each account that has the sid.
    Calls(Vec<String>),
    Status(Box<StatusFigures>),
    /// Whether the server does its work.
    Health(Health),
    /// What a compaction did: to the journal, and to the index.
    Compacted {
        journal: Collected,
        index: Compacted,
    },
    Expiring(Vec<Expiring>),
    Expired(Collected),
    Purged(Purged),
    Certificates(CertificateList),
    Checked(Checked),
    Forward(ForwardFigures),
    /// What each node holds.
    Compared(Comparison),
    /// Which version of messages is written and read, and whether it was raised just now.
    Levels(Levels, bool),
    /// How far the nodes have applied the log.
    Place(ClusterPlace),
}

/// What a command emits while it runs.
#[derive(Debug)]
pub enum Item<'a> {
    Data(&'a [u8]),
    Progress(Progress),
    /// A record that an import did not take: why, and its text.
    Reject(&'a str, &'a [u8]),
    /// What a person is to know of a record that was taken.
    Note(&'a str),
}

/// Takes what a command emits; an error ends the command.
pub type Emit<'a> = dyn FnMut(Item<'_>) -> io::Result<()> + 'a;

/// Why a command failed, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What went wrong, with the object, the value and what would be right.
    pub message: String,
    pub kind: FailureKind,
}

/// Whose doing it is that a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// It could not be done.
    Failed,
    /// The command line itself was wrong.
    Usage,
    /// Somebody else has changed meanwhile what was to be changed.
    Conflict,
}

impl Failure {
    /// The command could not be done.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: FailureKind::Failed }
    }

    /// The command was not a sensible one.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: FailureKind::Usage }
    }

    /// Somebody else was faster: nothing of the command was done.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: FailureKind::Conflict }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        if matches!(error, StoreError::Conflict(_)) {
            Self::conflict(message)
        } else {
            Self::new(message)
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(crate::store::chain(&error))
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let is_usage = matches!(error, BackupError::Usage(_));
        let kind = if is_usage { FailureKind::Usage } else { FailureKind::Failed };
        Self { message: crate::store::chain(&error), kind }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Why nothing is changed here by itself.
const OF_A_CLUSTER: &str = "this is a node of a cluster, and changes by the cluster's log alone: start it \
                             (`rollcall serve`), or give the command on a node that runs";

impl AdminRequest {
    /// It changes calls or settings.
    fn changes(&self) -> bool {
        match self {
            Self::TokenCreate(_)
            | Self::TokenRevoke { .. }
            | Self::AccountSet(_)
            | Self::AccountRemove { .. }
            | Self::ForwardRetry { .. }
            | Self::ForwardPause { .. } => true,
            Self::Import(import) => !import.dry_run,
            Self::Expire { dry_run } => !dry_run,
            Self::Purge(purge) => !purge.dry_run,
            Self::TokenList
            | Self::AccountList
            | Self::Export(_)
            | Self::ExportCsv { .. }
            | Self::List { .. }
            | Self::Follow { .. }
            | Self::Show { .. }
            | Self::Status
            | Self::Configuration
            | Self::Health
            | Self::ConsoleOpen(_)
            | Self::CertShow
            | Self::CertRenew { .. }
            | Self::Check
            | Self::Rebuild
            | Self::Compact { .. }
            | Self::ForwardStatus
            | Self::ClusterCompare
            | Self::ClusterLevel { .. }
            | Self::ClusterPlace
            | Self::ClusterForget { .. }
            | Self::Backup(_)
            | Self::BackupMade(_) => false,
        }
    }

    /// Why a process that does not have the log of its cluster may not run it, where that is so.
    pub fn needs_cluster(&self) -> Option<Failure> {
        self.changes().then(|| Failure::new(OF_A_CLUSTER))
    }
}

/// How often calls go and the index is compacted before a store that does not fit is left as it is.
const FITTING_ROUNDS: usize = 8;

/// What commands need to know beside the store.
#[derive(Debug, Clone)]
pub struct AdminContext {
    /// `service_url` of records that name none; empty for none.
    pub service_url: String,
    /// The data directory, for the file with the first token.
    pub data_dir: std::path::PathBuf,
    /// The log of who did what, where there is one.
    pub audit_log: Option<std::path::PathBuf>,
    pub certificates: Certificates,
    /// Where the server can be reached.
    pub listeners: Vec<ReachableAt>,
    /// Its accept loops, where this process is it.
    pub loops: Option<Loops>,
    /// How long an account's calls have to be kept at least.
    pub keep_least_millis: u64,
    /// The configuration as TOML; empty where the command runs without a server.
    pub configuration: String,
    /// Links that sign in at the console; none without one.
    pub sign_in_codes: Option<SignInCodes>,
    /// When the server started; none without a server.
    pub started_at: Option<Timestamp>,
    /// Loses its sender when the server stops; none without a server.
    pub stopping: Option<tokio::sync::watch::Receiver<()>>,
}

/// Runs a command that needs no store; none where this one does.
pub fn run_without_store(
    context: &AdminContext,
    request: &AdminRequest,
) -> Option<Result<AdminReply, Failure>> {
    match request {
        AdminRequest::CertShow => Some(certificates::show(context)),
        AdminRequest::CertRenew { authority } => Some(certificates::renew(context, *authority)),
        AdminRequest::ConsoleOpen(new) => Some(console::link(context, new)),
        AdminRequest::BackupMade(made) => Some(status::note_backup(context, made)),
        AdminRequest::Follow { .. } => Some(Err(Failure::new(
            "no server is running, and so nothing comes: start `rollcall serve`, or list what is there \
             without --follow",
        ))),
        _ => None,
    }
}

/// Runs a command: what it changes goes to the intake, what it reads comes from its store.
pub fn run(
    intake: &Intake,
    context: &AdminContext,
    request: AdminRequest,
    input: &mut (dyn BufRead + Send),
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let store: &Store = intake.store();
    if let Intake::Alone(store) = intake
        && store.position().is_some()
        && let Some(refused) = request.needs_cluster()
    {
        return Err(refused);
    }
    match request {
        AdminRequest::TokenCreate(token) => tokens::create(intake, token, emit),
        AdminRequest::TokenList => Ok(tokens::list(store)),
        AdminRequest::TokenRevoke { token, wait } => tokens::revoke(intake, context, &token, wait),
        AdminRequest::AccountSet(settings) => accounts::set(intake, context, settings, emit),
        AdminRequest::AccountList => Ok(accounts::list(store)),
        AdminRequest::AccountRemove { account } => accounts::remove(intake, context, &account),
        AdminRequest::Import(import) => {
            import.run(intake, context, input, emit).map(AdminReply::Imported)
        }
        AdminRequest::Export(selection) => {
            select::export(store, &selection, &select::ExportLayout::Lines, emit)
        }
        AdminRequest::ExportCsv { selection, spreadsheet, time_zone } => {
            let shape = select::ExportLayout::csv(spreadsheet, time_zone.as_deref())?;
            select::export(store, &selection, &shape, emit)
        }
        AdminRequest::List { selection, limit } => select::list(store, &selection, limit, emit),
        AdminRequest::Follow { selection, limit } => {
            follow::run(store, context, &selection, limit, emit)
        }
        AdminRequest::Health => Ok(health::look(intake, context)),
        AdminRequest::Configuration => Ok(AdminReply::Done(context.configuration.clone())),
        AdminRequest::Show { call } => show::show(store, &call),
        AdminRequest::Status => Ok(status::figures(intake, context)),
        AdminRequest::ForwardStatus => Ok(forward::status(store)),
        AdminRequest::ForwardRetry { target } => forward::retry(intake, target.as_deref()),
        AdminRequest::ForwardPause { paused } => forward::pause(intake, paused),
        AdminRequest::ClusterCompare => cluster::compare(intake),
        AdminRequest::ClusterLevel { raise } => cluster::level(intake, raise),
        AdminRequest::ClusterPlace => Ok(cluster::place(intake)),
        AdminRequest::ClusterForget { node } => cluster::forget(intake, &node),
        AdminRequest::BackupMade(made) => status::note_backup(context, &made),
        AdminRequest::ConsoleOpen(new) => console::link(context, &new),
        AdminRequest::CertShow => certificates::show(context),
        AdminRequest::CertRenew { authority } => certificates::renew(context, authority),
        AdminRequest::Check => {
            let emit = parking_lot::Mutex::new(emit);
            let progress = |progress| {
                // A listener that is gone does not end a check.
                let _gone = (emit.lock())(Item::Progress(progress));
            };
            store.check(&progress).map(AdminReply::Checked).map_err(Into::into)
        }
        AdminRequest::Rebuild => {
            let calls = store.rebuild(&mut |progress| {
                let _gone = emit(Item::Progress(progress));
            })?;
            Ok(rebuilt(calls))
        }
        AdminRequest::Compact { drop_history } => {
            let depth = if drop_history { Depth::Erase } else { Depth::Thorough };
            let (journal, index) = store.collect_and_compact(depth, &mut |progress| {
                let _gone = emit(Item::Progress(progress));
            })?;
            let index = index.map_err(|error| {
                let Collected { segments, bytes_before, bytes_after, .. } = journal;
                Failure::new(format!(
                    "the journal was packed ({}, {} before, {} now), and the index was not: {error}",
                    counted(segments, "segment"),
                    show_size(bytes_before),
                    show_size(bytes_after)
                ))
            })?;
            Ok(AdminReply::Compacted { journal, index })
        }
        AdminRequest::Expire { dry_run: true } => Ok(AdminReply::Expiring(store.expiring()?)),
        AdminRequest::Expire { dry_run: false } => expire(store, emit).map(AdminReply::Expired),
        AdminRequest::Purge(purge) => purge::run(intake, context, &purge, emit),
        AdminRequest::Backup(wanted) => {
            let emit = RefCell::new(emit);
            let mut put = |bytes: &[u8]| (emit.borrow_mut())(Item::Data(bytes));
            let mut progress = |progress| {
                let _gone = (emit.borrow_mut())(Item::Progress(progress));
            };
            send(store, &wanted, crate::clock::now(), &mut put, &mut progress)?;
            Ok(AdminReply::Done("the backup was sent".to_owned()))
        }
    }
}

/// Does at once what rounds of retention do, until the store fits into its size.
fn expire(store: &Store, emit: &mut Emit<'_>) -> Result<Collected, Failure> {
    let mut all = store.collect(Depth::Thorough)?;
    for _ in 0..FITTING_ROUNDS {
        if !all.fitting {
            break;
        }
        // The size is judged by an index that has nothing left of what went.
        store.compact(&mut |progress| {
            let _gone = emit(Item::Progress(progress));
        })?;
        let more = store.collect(Depth::Thorough)?;
        all.expired += more.expired;
        all.segments += more.segments;
        all.bytes_before += more.bytes_before;
        all.bytes_after += more.bytes_after;
        all.fitting = more.fitting;
    }
    Ok(all)
}

/// The answer to [`AdminRequest::Rebuild`], also where opening the store has done it already.
pub fn rebuilt(calls: u64) -> AdminReply {
    AdminReply::Done(format!("the index was rebuilt: {}", counted(calls, "call")))
}
