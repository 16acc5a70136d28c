//! `rollcall jambonz attach` and `detach`, beside an API that answers as jambonz's does.

mod api;
mod attach;
mod failures;
mod forwarded;
mod kept;
mod refused;
mod registered;

use std::path::{Path, PathBuf};
use std::process::Command;

use super::harness::{Printed, ROLLCALL, print};
use api::{Api, HOOK};

/// A directory with the token files of an API.
struct Commands {
    dir: tempfile::TempDir,
}

impl Commands {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for (name, token) in [
            ("admin", api::ADMIN),
            ("account", api::ACCOUNT),
            ("provider", api::PROVIDER),
            ("view", api::VIEW),
        ] {
            std::fs::write(place.path(name), format!("{token}\n")).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The file with what was there.
    fn keep(&self) -> PathBuf {
        self.path("webhooks.json")
    }

    /// A command of `rollcall jambonz`, with the token in the file of this name.
    fn command(&self, words: &str, url: &str, token: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(ROLLCALL);
        command.args(["jambonz", words, "--api", url, "--data-dir"]).arg(self.path("none"));
        command.arg("--token-file").arg(self.path(token)).args(flags);
        command
    }

    fn attach(&self, api: &Api, token: &str, flags: &[&str]) -> Printed {
        let flags = [&["--hook", HOOK], flags].concat();
        without_secrets(print(&mut self.command("attach", &api.url(), token, &flags), b""))
    }

    /// The same with `--apply`, and what was there kept.
    fn apply(&self, api: &Api, token: &str, flags: &[&str]) -> Printed {
        let keep = self.keep();
        let keep = ["--apply", "--keep", keep.to_str().unwrap()];
        self.attach(api, token, &[&keep, flags].concat())
    }

    fn detach(&self, api: &Api, token: &str, flags: &[&str]) -> Printed {
        let keep = self.keep();
        let flags = [&["--keep", keep.to_str().unwrap()], flags].concat();
        without_secrets(print(&mut self.command("detach", &api.url(), token, &flags), b""))
    }

    /// The lines of the file with what was there.
    fn lines(&self) -> Vec<serde_json::Value> {
        lines_of(&self.keep())
    }
}

fn lines_of(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// No command shows a token, or a password of a webhook.
fn without_secrets(printed: Printed) -> Printed {
    let shown = format!("{}{}", printed.stdout, printed.stderr);
    for secret in [api::ADMIN, api::ACCOUNT, api::PROVIDER, api::VIEW, api::PASSWORD, api::KEY] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    printed
}

/// The line of the table that shows an application.
#[track_caller]
fn row(printed: &Printed, name: &str) -> String {
    let found = printed.stdout.lines().find(|line| line.starts_with(&format!("{name}  ")));
    found.unwrap_or_else(|| panic!("{name}: {printed:?}")).to_owned()
}
