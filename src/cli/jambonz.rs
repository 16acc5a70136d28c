//! `rollcall jambonz attach` and `detach`: words, and what is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::args::{one_from_standard_input, secret};
use super::execute::{Answered, execute, reachable};
use super::forward_file;
use super::output::Output;
use super::paths::{self, whole_path};
use super::webhooks::{Line, Report, What};
use crate::access::Secret;
use crate::config::Config;
use crate::domain::{AccountSid, ServiceProviderSid, counted};
use crate::jambonz::{
    Api, ApiError, Attach, Back, ChangeError, HookUrl, KeepError, KeepFile, PassedOn, Planned,
    Restoring, Scope, masked,
};
use crate::ops::{AccountInfo, AdminReply, AdminRequest, Failure, registers};
use crate::outbound::Base;
use crate::store::chain;
use crate::wire::show_time;
use crate::{clock, fsutil, logs, tls};

const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;
/// What jambonz's database holds of a user name or a password.
const CREDENTIAL_BYTES_MAX: usize = 255;
/// Accounts that are warned of by name.
const SHOWN_MAX: usize = 20;
/// Failures one after the other that the next application would have too; then the rest is not tried.
const FAILURES_MAX: usize = 3;

#[derive(Debug, Subcommand)]
pub(super) enum JambonzCommand {
    /// Set the call status webhook of jambonz's applications to this server.
    ///
    /// Without --apply it says what would change, and changes nothing. What the applications had is kept in
    /// a file first, from which `detach` puts it back. A webhook that somebody else uses stays, unless
    /// --replace is given or a target of `[forward]` has its URL, account and application: jambonz sends its
    /// events to one place, and this server passes them on. --forward writes the targets that are still
    /// needed. Exit 1 if an application is not set, or would not be. It may be given again: what is set
    /// already stays.
    Attach(Box<AttachArgs>),
    /// Put back the webhooks that `attach` has replaced.
    ///
    /// Without --apply it says what would change, and changes nothing. An application whose webhook has been
    /// changed since keeps that. Exit 1 if one is not put back that should be, or is not shown to this token.
    Detach(DetachArgs),
}

#[derive(Debug, Args)]
struct ApiArgs {
    /// The base of jambonz's REST API, what comes before /v1, such as `https://jambonz.example.com/api`. The
    /// default is `upstream.api_url`.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    /// File with the authorities (PEM) that the API's certificate must come from. The default is
    /// `upstream.ca`, else those of the system.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    ca: Option<PathBuf>,
    /// Do it.
    #[arg(long)]
    apply: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TokenArgs {
    /// File whose first line is an API key of jambonz, or a token of its portal; credential:NAME is a file
    /// that systemd hands over.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    token_file: Option<PathBuf>,
    /// The API key itself; `-` reads it from standard input. Other users of the machine may see command
    /// lines.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Where jambonz reaches this server, such as `https://HOST:8443/v1/hooks/call-status`. The recipe for
    /// retries, #rc=5&rp=ct,5xx, is put behind it unless it has one.
    #[arg(long, value_name = "URL")]
    hook: String,
    /// Applications of this account; may be given more than once. Without any, and without
    /// --service-provider: all that the token reaches.
    #[arg(long = "account", value_name = "SID", conflicts_with = "service_provider")]
    accounts: Vec<AccountSid>,
    /// Applications of the accounts of this service provider.
    #[arg(long, value_name = "SID")]
    service_provider: Option<ServiceProviderSid>,
    /// The user name that the account's webhooks send beside their signature; it needs one --account.
    #[arg(long, value_name = "USER", requires = "hook_password")]
    hook_user: Option<String>,
    /// The password that goes with it; `-` reads it from standard input.
    #[arg(long, value_name = "PASSWORD", requires = "hook_user")]
    hook_password: Option<String>,
    /// Replace webhooks that somebody else uses, who gets no events from then on.
    #[arg(long)]
    replace: bool,
    /// File for the targets of `[forward]` that the webhooks of others need, to be added to the configuration.
    /// It is written anew; passwords go into files beside it. All of them are for their owner alone.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    forward: Option<PathBuf>,
    /// File in which the webhooks that are there now are kept, for `detach`. It is made, or added to; it
    /// holds passwords.
    #[arg(long, value_name = "FILE", value_parser = whole_path(), required_if_eq("apply", "true"))]
    keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DetachArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// File in which `attach` has kept what was there.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    keep: PathBuf,
}

/// Runs one of them.
pub(super) fn run(
    config: &Config,
    command: JambonzCommand,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = match command {
        JambonzCommand::Attach(args) => {
            let mut attach = args.attach()?;
            let (targets, missing) = targets(config, output);
            attach.passed_on = targets;
            let keep = args.keep.as_deref();
            let mut file = match keep {
                Some(path) if args.api.apply => Some(opened(KeepFile::open_to_add(path), path)?),
                Some(path) => Some(opened(KeepFile::read(path), path)?),
                None => None,
            };
            let known = registered(config, output);
            let mut say = |text: &str| output.say(text);
            let mut api = args.api.api(config, &mut say)?;
            let mut report = runtime.block_on(attached(&args, &attach, &mut api, file.as_mut()))?;
            report.warnings.extend(warnings(&report.lines, known));
            report.warnings.extend(missing);
            report
        }
        JambonzCommand::Detach(args) => {
            let file = opened(KeepFile::read(&args.keep), &args.keep)?;
            if file.all().next().is_none() {
                let path = args.keep.display();
                return Err(Failure::usage(format!(
                    "--keep {path}: nothing is kept there; name the file that was given to `rollcall \
                     jambonz attach --apply`"
                )));
            }
            let mut say = |text: &str| output.say(text);
            let mut api = args.api.api(config, &mut say)?;
            runtime.block_on(detached(&args, &mut api, &file))?
        }
    };
    if output.json {
        output.text(&report.json().to_string())?;
    } else {
        for warning in &report.warnings {
            output.say(&logs::plain(&format!("warning: {warning}")));
        }
        output.text(&report.text())?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn opened(file: Result<KeepFile, KeepError>, path: &Path) -> Result<KeepFile, Failure> {
    file.map_err(|error| keep_failure(path, error))
}

fn keep_failure(path: &Path, error: KeepError) -> Failure {
    match error {
        KeepError::Io { action, source } => paths::failure(action, path, &source),
        KeepError::Open => Failure::new(format!("--keep {0}: {error} {0}", path.display())),
        error => Failure::new(format!("--keep {}: {error}", path.display())),
    }
}

impl ApiArgs {
    fn api<'a>(&self, config: &Config, say: &'a mut dyn FnMut(&str)) -> Result<Api<'a>, Failure> {
        let base: Base = match (&self.api, &config.upstream.api_url) {
            (Some(text), _) => text.parse().map_err(|_| {
                Failure::usage(format!(
                    "--api \"{}\" is not a base URL; write http or https, a host, and if need be a \
                         port and a path, such as https://jambonz.example.com/api",
                    masked(text)
                ))
            })?,
            (None, Some(base)) => base.clone(),
            (None, None) => {
                return Err(Failure::usage(
                    "where is jambonz's REST API? give --api URL, or set upstream.api_url",
                ));
            }
        };
        let ca = match (&self.ca, &config.upstream.ca) {
            (Some(path), _) => Some((path.as_path(), "--ca")),
            (None, Some(path)) => Some((path.as_path(), "upstream.ca")),
            (None, None) => None,
        };
        let token = self.token.read()?;
        let api = Api::new(base, &token, ca, say);
        api.map_err(|error| Failure::new(chain(&error)))?.ok_or_else(|| {
            Failure::usage(
                "the token has characters that no header may have; expected an API key of jambonz on one \
                 line",
            )
        })
    }
}

impl TokenArgs {
    fn read(&self) -> Result<Secret, Failure> {
        if let Some(token) = secret("--token", self.token.as_deref())? {
            return Ok(token);
        }
        let named = self.token_file.clone().unwrap_or_default();
        let path = tls::resolve(&named)
            .map_err(|error| Failure::usage(format!("--token-file: {}", chain(&error))))?;
        let read = fsutil::open_named(&path)
            .and_then(|file| fsutil::contents(file, TOKEN_FILE_BYTES_MAX))
            .map_err(|error| paths::failure("read --token-file", &path, &error))?;
        let line = String::from_utf8(read).ok();
        let line = line.as_deref().and_then(|text| text.lines().next()).map(str::trim);
        match line.filter(|line| !line.is_empty()) {
            Some(line) => Ok(Secret::new(line)),
            None => Err(Failure::usage(format!(
                "--token-file {}: its first line is no text; expected an API key of jambonz there",
                named.display()
            ))),
        }
    }
}

impl AttachArgs {
    fn attach(&self) -> Result<Attach, Failure> {
        one_from_standard_input(&[
            ("--token", self.api.token.token.as_deref()),
            ("--hook-password", self.hook_password.as_deref()),
        ])?;
        let hook: HookUrl =
            self.hook.parse().map_err(|error| Failure::usage(format!("--hook: {error}")))?;
        if self.hook_user.is_some() && self.accounts.len() != 1 {
            return Err(Failure::usage(
                "--hook-user: the user and the password are those of one account; give that account with \
                 --account SID, and the others in commands of their own",
            ));
        }
        let password = secret("--hook-password", self.hook_password.as_deref())?;
        let texts = [
            ("--hook-user", self.hook_user.as_deref()),
            ("--hook-password", password.as_ref().map(Secret::reveal)),
        ];
        for (flag, text) in texts {
            if text.is_some_and(|text| text.is_empty() || text.len() > CREDENTIAL_BYTES_MAX) {
                return Err(Failure::usage(format!(
                    "{flag}: expected 1 to {CREDENTIAL_BYTES_MAX} bytes"
                )));
            }
        }
        if let Some(user) = self.hook_user.as_deref().filter(|user| user.contains(':')) {
            return Err(Failure::usage(format!(
                "--hook-user \"{user}\": a user name has no colon (RFC 7617)"
            )));
        }
        let credentials = self.hook_user.clone().zip(password);
        Ok(Attach { hook, credentials, replace: self.replace, passed_on: Vec::new() })
    }

    fn scope(&self) -> Scope {
        match self.service_provider {
            Some(provider) => Scope::ServiceProvider(provider),
            None if self.accounts.is_empty() => Scope::All,
            None => Scope::Accounts(self.accounts.clone()),
        }
    }
}

async fn attached(
    args: &AttachArgs,
    attach: &Attach,
    api: &mut Api<'_>,
    file: Option<&mut KeepFile>,
) -> Result<Report, Failure> {
    let scope = args.scope();
    let found = api.applications(&scope).await.map_err(|error| whole(&error))?;
    if found.is_empty() {
        return Err(Failure::new(format!(
            "jambonz shows no application of {}; is it the right sid, and may the token see it?",
            match &scope {
                Scope::All => "this token".to_owned(),
                Scope::Accounts(accounts) => {
                    let sids: Vec<_> = accounts.iter().map(ToString::to_string).collect();
                    format!("account {}", sids.join(", "))
                }
                Scope::ServiceProvider(provider) => format!("service provider {provider}"),
            }
        )));
    }
    let applied = args.api.apply;
    let base = api.base().to_string();
    let mut warnings: Vec<String> = readable(api.base()).into_iter().collect();
    let has = |account: &AccountSid| found.iter().any(|one| one.account == Some(*account));
    for account in args.accounts.iter().filter(|account| !has(account)) {
        warnings.push(format!(
            "jambonz shows no application of account {account}; is it the right sid?"
        ));
    }
    if attach.hook.base().is_readable() {
        warnings.push(format!(
            "--hook {} is plain HTTP to another machine: events, and a password, can be read on the way; give \
             the https address of this server, or of the proxy before it",
            attach.hook.base()
        ));
    }
    warnings.extend(file.as_deref().and_then(cut_line));
    let plan: Vec<Planned> = {
        let kept = |sid| file.as_deref().and_then(|file| file.of_application(sid));
        found
            .into_iter()
            .map(|application| {
                let kept = kept(application.sid);
                attach.plan(application, kept)
            })
            .collect()
    };
    let forward = match &args.forward {
        Some(path) => Some(forward_file::write(path, &plan)?),
        None => None,
    };
    let mut keep = None;
    if let Some(file) = file.filter(|_| applied) {
        let now = show_time(clock::now()).to_string();
        let changed = plan.iter().filter(|planned| planned.changes());
        let all: Vec<_> = changed.map(|planned| planned.to_keep(&base, &now)).collect();
        let path = file.path().to_owned();
        keep = (!all.is_empty()).then(|| path.clone());
        file.add(all).map_err(|error| {
            let mut failure = keep_failure(&path, error);
            failure.message.push_str("; nothing was changed");
            failure
        })?;
    }
    let mut lines = Vec::new();
    let mut failures = Failures::default();
    for planned in plan {
        let mut line = Line::attached(&planned);
        if applied && planned.changes() {
            line.take(failures.next(async || planned.apply(api).await).await);
        }
        lines.push(line);
    }
    Ok(Report { api: base, applied, lines, warnings, keep, forward })
}

async fn detached(
    args: &DetachArgs,
    api: &mut Api<'_>,
    file: &KeepFile,
) -> Result<Report, Failure> {
    let found = api.applications(&Scope::All).await.map_err(|error| whole(&error))?;
    let mut found: BTreeMap<_, _> = found.into_iter().map(|one| (one.sid, one)).collect();
    let mut plan: Vec<Restoring> = file
        .all()
        .map(|kept| Restoring::plan(kept.clone(), found.remove(&kept.application_sid)))
        .collect();
    plan.sort_by(|a, b| {
        (a.kept.account_sid, &a.kept.name).cmp(&(b.kept.account_sid, &b.kept.name))
    });
    if plan.iter().all(|one| one.back == Back::Gone) {
        return Err(Failure::new(format!(
            "the token sees none of {} of {} at {}; is it the API that `attach` was given, and may the \
             token see them?",
            counted(plan.len(), "application"),
            args.keep.display(),
            api.base()
        )));
    }
    let unseen = unseen(api, &plan).await?;
    let mut warnings: Vec<String> = readable(api.base()).into_iter().collect();
    warnings.extend(cut_line(file));
    let base = api.base().to_string();
    let others: BTreeSet<&str> =
        file.all().map(|kept| kept.api.as_str()).filter(|its| *its != base).collect();
    if let Some(other) = others.first() {
        warnings.push(format!(
            "{} has what was at the API \"{}\", and --api is {base}; make sure that they are the same jambonz",
            args.keep.display(),
            masked(other)
        ));
    }
    let mut lines = Vec::new();
    let mut failures = Failures::default();
    for restoring in plan {
        let mut line = Line::detached(&restoring);
        let unseen = restoring.kept.account_sid.and_then(|account| unseen.get(&account));
        if let Some(why) = unseen.filter(|_| restoring.back == Back::Gone) {
            line.is_not_seen(why);
        }
        if args.api.apply && restoring.back == Back::Restore {
            line.take(failures.next(async || restoring.apply(api).await).await);
        }
        lines.push(line);
    }
    Ok(Report { api: base, applied: args.api.apply, lines, warnings, keep: None, forward: None })
}

/// Why the token is not shown the applications of an account; those of it that are gone need not be.
async fn unseen(
    api: &mut Api<'_>,
    plan: &[Restoring],
) -> Result<BTreeMap<AccountSid, String>, Failure> {
    let gone = plan.iter().filter(|one| one.back == Back::Gone);
    let accounts: BTreeSet<AccountSid> = gone.filter_map(|one| one.kept.account_sid).collect();
    let mut unseen = BTreeMap::new();
    for account in accounts {
        match api.applications(&Scope::Accounts(vec![account])).await {
            Ok(_) => {}
            Err(error) if error.is_general() => return Err(whole(&error)),
            Err(error) => {
                unseen.insert(account, error.to_string());
            }
        }
    }
    Ok(unseen)
}

/// What plain HTTP to another machine means for the token.
fn readable(base: &Base) -> Option<String> {
    let why = "the token and the passwords of webhooks can be read on the way; give it https";
    base.is_readable().then(|| format!("--api {base} is plain HTTP to another machine: {why}"))
}

/// What a line that was cut off means.
fn cut_line(file: &KeepFile) -> Option<String> {
    let line = file.cut_line()?;
    Some(format!(
        "{}: line {line} is cut off and says nothing; a command ended while it wrote it, before it changed \
         anything, or the file is no whole copy",
        file.path().display()
    ))
}

/// Failures one after the other that concern all applications.
#[derive(Default)]
struct Failures(usize);

impl Failures {
    /// Does it, unless it would fail as those before have.
    async fn next(
        &mut self,
        change: impl AsyncFnOnce() -> Result<(), ChangeError>,
    ) -> Result<(), Option<ChangeError>> {
        if self.0 >= FAILURES_MAX {
            return Err(None);
        }
        let done = change().await;
        let general = done.as_ref().is_err_and(ChangeError::is_general);
        self.0 = if general { self.0 + 1 } else { 0 };
        done.map_err(Some)
    }
}

/// A failure before anything was changed.
fn whole(error: &ApiError) -> Failure {
    Failure::new(logs::plain(&format!("{error}; nothing was changed")).into_owned())
}

/// The accounts that are registered here; or why that is not known.
fn registered(config: &Config, output: &mut Output) -> Result<Vec<AccountInfo>, String> {
    let dir = &config.data_dir;
    if !dir.exists() {
        return Err(format!("there is no store in {}", dir.display()));
    }
    let mut nothing = std::io::empty();
    let mut take = |_: Option<&str>, _: &[u8]| Ok(());
    let asked = reachable(config)
        .and_then(|()| execute(config, AdminRequest::AccountList, &mut nothing, output, &mut take));
    match asked {
        Ok(answered) => match answered.reply {
            AdminReply::Accounts(accounts) => Ok(accounts),
            _ => Ok(Vec::new()),
        },
        Err(failure) => Err(failure.message),
    }
}

/// The targets of the configuration. One that a running server does not have is none, and named.
fn targets(config: &Config, output: &mut Output) -> (Vec<PassedOn>, Vec<String>) {
    let configured = &config.forward.targets.0;
    if configured.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let mut nothing = std::io::empty();
    let mut take = |_: Option<&str>, _: &[u8]| Ok(());
    let asked = reachable(config).and_then(|()| {
        execute(config, AdminRequest::ForwardStatus, &mut nothing, output, &mut take)
    });
    let running = match asked {
        Ok(Answered { reply: AdminReply::Forward(figures), running: true }) => Some(figures),
        _ => None,
    };
    let (mut targets, mut missing) = (Vec::new(), Vec::new());
    for target in configured {
        let known = running.as_ref().is_none_or(|figures| {
            figures.targets.iter().any(|one| {
                one.name == target.name
                    && one.open
                    && one.account_sid == target.account
                    && one.application_sids == target.applications
            })
        });
        if known {
            targets.push(PassedOn {
                name: target.name.clone(),
                url: target.url.to_string(),
                account: target.account,
                applications: target.applications.clone(),
            });
        } else {
            missing.push(format!(
                "the server does not have the target {} as the configuration has it; restart it before its \
                 webhooks are replaced",
                target.name
            ));
        }
    }
    (targets, missing)
}

/// What would have the webhooks refused here.
fn warnings(lines: &[Line], known: Result<Vec<AccountInfo>, String>) -> Vec<String> {
    let concerned =
        lines.iter().filter(|line| matches!(line.what, What::Set | What::Replace | What::Already));
    let users: BTreeMap<AccountSid, Option<&str>> =
        concerned.filter_map(|line| Some((line.account?, line.user.as_deref()))).collect();
    let known = match known {
        Ok(known) => known,
        Err(_) if users.is_empty() => return Vec::new(),
        Err(why) => {
            return vec![format!(
                "it is not known here which accounts are registered ({why}); `rollcall account list` on the \
                 server shows them, and the webhooks of others will be refused"
            )];
        }
    };
    let known: BTreeMap<_, _> = known.iter().map(|one| (one.account_sid, one)).collect();
    let mut warnings: Vec<String> = users
        .into_iter()
        .filter_map(|(account, user)| warning(account, user, known.get(&account).copied()))
        .collect();
    if let Some(more) = warnings.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        warnings.truncate(SHOWN_MAX);
        let more = counted(more, "account");
        warnings.push(format!(
            "so it is with {more} more; `rollcall account list` shows those that are registered"
        ));
    }
    warnings
}

fn warning(account: AccountSid, user: Option<&str>, known: Option<&AccountInfo>) -> Option<String> {
    let own = known.and_then(|known| known.hook_user.as_deref());
    if known.is_some_and(|known| known.webhook_secret) || (own.is_some() && own == user) {
        return None;
    }
    let register = registers(account);
    Some(match own {
        None => format!(
            "account {account} has no webhook secret here, and so its webhooks will be refused; {register}"
        ),
        Some(own) => format!(
            "account {account} has the hook user \"{own}\" here and no webhook secret, and the webhook does \
             not send that user, so it will be refused; give --hook-user {own} and --hook-password, or \
             {register}"
        ),
    })
}
