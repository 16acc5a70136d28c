//! What became of the webhooks of jambonz's applications, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::table::{clean, table};
use crate::domain::{AccountSid, ApplicationSid, counted};
use crate::jambonz::{Application, Back, ChangeError, Hook, Planned, Restoring, Step, masked};
use crate::logs;

/// What became of an application, or would become of it.
pub(super) struct Line {
    sid: ApplicationSid,
    name: String,
    pub account: Option<AccountSid>,
    now: Option<Hook>,
    /// The URL afterwards; none for no webhook.
    then: Option<String>,
    /// The user that the webhook brings afterwards.
    pub user: Option<String>,
    pub what: What,
    /// Why it failed, or stays as it is.
    why: Option<String>,
}

/// What is done with an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Set,
    Replace,
    Restore,
    Already,
    Left,
    Gone,
    Unseen,
    Refused,
    Failed,
    NotTried,
}

impl What {
    /// What is to be done, or was.
    fn name(self, applied: bool) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Replace if applied => "replaced",
            Self::Replace => "replace",
            Self::Restore if applied => "restored",
            Self::Restore => "restore",
            Self::Already => "already",
            Self::Left => "left",
            Self::Gone => "gone",
            Self::Unseen => "not seen",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::NotTried => "not tried",
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, Self::Unseen | Self::Refused | Self::Failed | Self::NotTried)
    }

    /// Whether the application gets another webhook.
    fn changes(self) -> bool {
        matches!(self, Self::Set | Self::Replace | Self::Restore)
    }
}

pub(super) struct Report {
    pub api: String,
    pub applied: bool,
    pub lines: Vec<Line>,
    pub warnings: Vec<String>,
    /// The file with what was there, where anything is changed.
    pub keep: Option<PathBuf>,
    /// What was written for webhooks that are still to be passed on.
    pub forward: Option<WrittenTargets>,
}

/// Targets that were written to a file.
pub(super) struct WrittenTargets {
    pub path: PathBuf,
    pub count: u64,
    /// Why there is none for an application.
    pub without: Vec<String>,
}

impl Line {
    fn of(application: &Application, what: What) -> Self {
        Self {
            sid: application.sid,
            name: application.name.clone(),
            account: application.account,
            now: application.hook().cloned(),
            then: application.hook().map(|hook| masked(hook.url())),
            user: None,
            what,
            why: None,
        }
    }

    pub fn attached(planned: &Planned) -> Self {
        let what = match planned.step {
            Step::Set => What::Set,
            Step::Replace => What::Replace,
            Step::Already => What::Already,
            Step::Refuse => What::Refused,
        };
        let mut line = Self::of(&planned.application, what);
        if what == What::Refused {
            line.why = Some(
                "somebody else uses its webhook, and nothing would pass the events on; --replace \
                 replaces it, and --forward writes the targets that pass them on"
                    .to_owned(),
            );
            return line;
        }
        line.then = Some(masked(&planned.then.url));
        line.why = planned
            .passed_on
            .as_ref()
            .map(|target| format!("what came to its webhook is passed on to the target {target}"));
        let given = planned.then.credentials.as_ref().map(|(user, _)| user.as_str());
        let stays = line.now.as_ref().and_then(Hook::username);
        line.user = given.or(stays.filter(|_| what == What::Already)).map(str::to_owned);
        line
    }

    pub fn detached(restoring: &Restoring) -> Self {
        let Restoring { kept, now, back } = restoring;
        let what = match back {
            Back::Restore => What::Restore,
            Back::Already => What::Already,
            Back::Leave => What::Left,
            Back::Gone => What::Gone,
        };
        let before = kept.call_status_hook.as_ref().filter(|hook| hook.does_something());
        let Some(now) = now else {
            return Self {
                sid: kept.application_sid,
                name: kept.name.clone(),
                account: kept.account_sid,
                now: None,
                then: None,
                user: None,
                what,
                why: Some("jambonz shows no such application to this token".to_owned()),
            };
        };
        let mut line = Self::of(now, what);
        if what == What::Restore {
            line.then = before.map(|hook| masked(hook.url()));
        }
        if what == What::Left {
            line.why = Some("its webhook has been changed since, and stays".to_owned());
        }
        line
    }

    /// It may be there all the same.
    pub fn is_not_seen(&mut self, why: &str) {
        self.what = What::Unseen;
        self.why = Some(why.to_owned());
    }

    pub fn take(&mut self, done: Result<(), Option<ChangeError>>) {
        match done {
            Ok(()) => {}
            Err(Some(error)) => {
                self.what = What::Failed;
                self.why = Some(error.to_string());
            }
            Err(None) => {
                self.what = What::NotTried;
                self.why = Some("the ones before have failed for the same reason".to_owned());
            }
        }
    }

    fn row(&self, applied: bool) -> Vec<String> {
        let none = || "none".to_owned();
        let now = self.now.as_ref().map_or_else(none, |hook| {
            let url = masked(hook.url());
            if hook.password().is_some() { format!("{url} (with a password)") } else { url }
        });
        let (now, then) = match self.what {
            What::Gone | What::Unseen => (String::new(), String::new()),
            what if what.changes() => (now, self.then.clone().unwrap_or_else(none)),
            _ => (now, "the same".to_owned()),
        };
        let account = self.account.map(|sid| sid.to_string()).unwrap_or_default();
        let name = if self.name.is_empty() { self.sid.to_string() } else { self.name.clone() };
        vec![name, account, now, then, self.what.name(applied).to_owned()]
    }

    fn json(&self, applied: bool) -> Value {
        json!({
            "application_sid": self.sid,
            "name": self.name,
            "account_sid": self.account,
            "now": self.now.as_ref().map(|hook| masked(hook.url())),
            "then": self.then,
            "action": self.what.name(applied).replace(' ', "_"),
            "why": self.why,
        })
    }
}

impl Report {
    pub fn is_good(&self) -> bool {
        !self.lines.iter().any(|line| line.what.is_bad())
    }

    pub fn json(&self) -> Value {
        json!({
            "api": self.api,
            "applied": self.applied,
            "applications": self.lines.iter().map(|line| line.json(self.applied)).collect::<Vec<_>>(),
            "kept_in": self.keep,
            "forward_in": self.forward.as_ref().map(|written| &written.path),
            "warnings": self.warnings,
        })
    }

    pub fn text(&self) -> String {
        let heads = ["APPLICATION", "ACCOUNT", "WEBHOOK NOW", "WEBHOOK THEN", "ACTION"];
        let mut text =
            table(&heads, self.lines.iter().map(|line| line.row(self.applied)).collect());
        let mut counts: BTreeMap<What, u64> = BTreeMap::new();
        for line in &self.lines {
            *counts.entry(line.what).or_default() += 1;
            if let Some(why) = &line.why {
                let (name, why) = (clean(&line.name), clean(why));
                let (sid, what) = (line.sid, line.what.name(self.applied));
                let _infallible = writeln!(text, "{what}: {name} ({sid}): {why}");
            }
        }
        let counts: Vec<_> = counts
            .iter()
            .map(|(what, count)| format!("{count} {}", what.name(self.applied)))
            .collect();
        let all = counted(self.lines.len(), "application");
        let _infallible = writeln!(text, "{all}: {}", counts.join(", "));
        match self.lines.iter().any(|line| line.what.changes()) {
            _ if self.applied => {}
            true => text.push_str("nothing was changed; --apply does it\n"),
            false => text.push_str("nothing is to be changed\n"),
        }
        if let Some(keep) = &self.keep {
            let _infallible = writeln!(text, "what was there is kept in {}", keep.display());
        }
        if let Some(written) = &self.forward {
            for why in &written.without {
                let _infallible = writeln!(text, "no target: {why}");
            }
            let (count, path) = (counted(written.count, "target"), written.path.display());
            let _infallible = match written.count {
                0 => writeln!(text, "no target is still needed"),
                _ => writeln!(
                    text,
                    "{count} written to {path}: add it to the configuration, restart the server, and give \
                     this command again"
                ),
            };
        }
        // What jambonz answers is not to be obeyed by a terminal.
        logs::plain_lines(&text).into_owned()
    }
}
