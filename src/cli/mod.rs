//! The command line: words in, text out, an exit code.
//!
//! 0: done. 1: it failed. 2: the command line was wrong.

mod amounts;
mod args;
mod backup;
mod bulk;
mod calls;
mod cdrs;
mod cluster;
mod colour;
mod config;
mod doctor;
mod endings;
mod examples;
mod execute;
mod forward_file;
mod health;
mod jambonz;
mod listing;
mod log;
mod manual;
mod mirror;
mod misuse;
mod open;
mod output;
mod owner;
mod paths;
mod render;
mod screen;
mod search;
mod serve;
mod status;
mod systemd_journal;
mod table;
mod webhooks;
mod words;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::config::{Config, ConfigError, DEFAULT_FILE, LoadedConfig, Settings};
use crate::ops::{AdminReply, AdminRequest, Failure, FailureKind};
use args::{
    AccountCommand, CertCommand, Cli, Command, ConfigCommand, ForwardCommand, MirrorCommand,
    TokenCommand,
};
use execute::Init;
use output::Output;

/// What is said of variables that begin like those of rollcall and name no key.
const PASSED_OVER: &str =
    "variables that Kubernetes sets for its Services name no key and are passed over";

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // What this process writes is for its own user: calls, tokens and keys.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // A command opens the store's files as the server does.
    crate::server::raise_files();
    let command = misuse::with_negative_values(examples::with_examples(Cli::command()));
    let words = misuse::without_help_of_help(std::env::args_os().collect(), &command);
    let matches = command.try_get_matches_from(words);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return misuse::misused(&error),
    };
    let serves = matches!(cli.command, Command::Serve(_));
    if serves {
        log::note_panics();
    }
    let mut output = Output::new(cli.json);
    match run(cli, &mut output) {
        Ok(code) => code,
        // The reader of the output has seen enough.
        Err(_) if output.closed() => ExitCode::SUCCESS,
        Err(failure) => {
            output.finish();
            if !(serves && log::failed(&failure.to_string())) {
                output.failure(&failure);
            }
            ExitCode::from(match failure.kind {
                FailureKind::Failed => 1,
                FailureKind::Usage => 2,
                FailureKind::Conflict => 3,
            })
        }
    }
}

fn run(cli: Cli, output: &mut Output) -> Result<ExitCode, Failure> {
    // These need no configuration, and so work where it is wrong.
    match &cli.command {
        Command::Completions { shell } => return done(manual::completions(*shell, output)),
        Command::Man { dir } => return done(manual::pages(dir.as_deref(), output)),
        Command::Config(ConfigCommand::Example) => {
            return done(output.data(crate::config::example().as_bytes()).map_err(Into::into));
        }
        _ => {}
    }
    let none = Settings::default();
    let flags = match &cli.command {
        Command::Serve(serve) => &serve.settings,
        Command::Config(ConfigCommand::Check(settings)) => settings,
        _ => &none,
    };
    // A demonstration is of rollcall, and not of what is installed.
    let demo = matches!(&cli.command, Command::Serve(serve) if serve.demo);
    let default = Some(Path::new(DEFAULT_FILE)).filter(|_| !demo);
    let (loaded, errors) = cli.locations.examine(flags, std::env::vars_os(), default);
    let looks = matches!(cli.command, Command::Doctor | Command::Config(_));
    if looks && !loaded.passed_over.is_empty() {
        output.say(&format!("{}: {PASSED_OVER}", loaded.passed_over.join(", ")));
    }
    if matches!(cli.command, Command::Config(ConfigCommand::Check(_))) {
        return config::check(&loaded, errors, output);
    }
    let loaded = ConfigError::of(errors).map_or(Ok(loaded), Err);
    if matches!(cli.command, Command::Doctor) {
        return doctor::doctor(loaded.map(|loaded| loaded.config), output);
    }
    if let Command::Health(words) = &cli.command {
        return health::health(loaded.map(|loaded| loaded.config), words, output);
    }
    let LoadedConfig { config, passed_over, .. } =
        loaded.map_err(|error| Failure::usage(crate::store::chain(&error)))?;
    let mut init = Init::No;
    let locations = cli.locations;
    let request = match cli.command {
        Command::Serve(serve) => {
            let again = || {
                let loaded = locations.load(&serve.settings, std::env::vars_os(), default);
                loaded.map(|loaded| loaded.config)
            };
            return done(serve::serve(&config, serve.demo, &passed_over, &again, output));
        }
        Command::Mirror(MirrorCommand::Check) => return mirror::check(&config, output),
        Command::Jambonz(command) => return jambonz::run(&config, command, output),
        Command::Cdrs(command) => return cdrs::run(&config, command, output),
        Command::Cluster(command) => return cluster::run(&config, command, output),
        Command::Import(import) => return done(bulk::import(&config, &import, output)),
        Command::Export(export) => return done(bulk::export(&config, export, output)),
        Command::Backup(words) => return done(backup::backup(&config, &words, output)),
        Command::Verify(words) => return done(backup::verify(words, output)),
        Command::Restore(words) => return done(backup::restore(&config, words, output)),
        Command::Open(words) => return done(open::open(&config, words, output)),
        Command::List(list) => return done(bulk::list(&config, list, output)),
        Command::Token(TokenCommand::Create(token)) => {
            init = token.init.into();
            AdminRequest::TokenCreate(token.request()?)
        }
        Command::Token(TokenCommand::List) => AdminRequest::TokenList,
        Command::Token(TokenCommand::Revoke { token, wait }) => {
            AdminRequest::TokenRevoke { token, wait }
        }
        Command::Account(AccountCommand::Set(account)) => {
            init = account.init.into();
            AdminRequest::AccountSet(account.request()?)
        }
        Command::Account(AccountCommand::List) => AdminRequest::AccountList,
        Command::Account(AccountCommand::Remove { account }) => {
            AdminRequest::AccountRemove { account }
        }
        Command::Show { call_sid } => AdminRequest::Show { call: call_sid },
        Command::Status => AdminRequest::Status,
        Command::Forward(ForwardCommand::Status) => AdminRequest::ForwardStatus,
        Command::Forward(ForwardCommand::Retry { target, .. }) => {
            AdminRequest::ForwardRetry { target }
        }
        Command::Forward(ForwardCommand::Pause) => AdminRequest::ForwardPause { paused: true },
        Command::Forward(ForwardCommand::Resume) => AdminRequest::ForwardPause { paused: false },
        Command::Cert(CertCommand::Show { ca: true }) => return done(authority(&config, output)),
        Command::Cert(CertCommand::Show { ca: false }) => AdminRequest::CertShow,
        Command::Cert(CertCommand::Renew { ca }) => AdminRequest::CertRenew { authority: ca },
        Command::Check => AdminRequest::Check,
        Command::Rebuild => AdminRequest::Rebuild,
        Command::Compact { drop_history } => AdminRequest::Compact { drop_history },
        Command::Expire { dry_run } => AdminRequest::Expire { dry_run },
        Command::Purge(purge) => AdminRequest::Purge(purge.into()),
        // These do without a configuration, and were done above.
        Command::Doctor
        | Command::Health(_)
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::Man { .. } => {
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut nothing = std::io::empty();
    let mut take = |_: Option<&str>, _: &[u8]| Ok(());
    let answer = execute::execute_or_make(&config, init, request, &mut nothing, output, &mut take)?;
    let found = match &answer.reply {
        AdminReply::Checked(checked) => !checked.findings.is_empty(),
        AdminReply::Revoked { behind, .. } => !behind.is_empty(),
        AdminReply::Purged(purged) => !purged.is_gone(),
        AdminReply::Status(figures) => !status::problems(figures, answer.running).is_empty(),
        _ => false,
    };
    output.reply(&answer.reply, answer.running)?;
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The authority that rollcall has made, for clients.
fn authority(config: &Config, output: &mut Output) -> Result<(), Failure> {
    if config.tls.files().is_some() {
        return Err(Failure::usage(
            "--ca: rollcall did not make this certificate (tls.cert is set); ask the authority that \
             issued it",
        ));
    }
    let path = config.data_dir.join("tls/ca.pem");
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let path = path.display();
            let makes = "the first start of the server makes it";
            Failure::new(format!("cannot read {path}: {error}; {makes}"))
        }
        _ => paths::failure("read", &path, &error),
    })?;
    output.text(&text)
}

/// The exit code of a command that has nothing to answer.
fn done(result: Result<(), Failure>) -> Result<ExitCode, Failure> {
    result.map(|()| ExitCode::SUCCESS)
}
