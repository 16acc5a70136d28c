//! Setting webhooks.

use super::api::Api;
use super::change::{ChangeError, Way, change};
use super::hook::{Application, Hook, HookUrl, NewHook, is_masked, same_place};
use super::keep::Kept;
use crate::access::Secret;
use crate::domain::{AccountSid, ApplicationSid};

/// What is to be set.
#[derive(Debug, Clone)]
pub struct Attach {
    pub hook: HookUrl,
    /// User and password that the webhook brings beside its signature.
    pub credentials: Option<(String, Secret)>,
    /// Webhooks of others are replaced.
    pub replace: bool,
    /// Where webhooks are passed on to: those of others that lead there are replaced, too.
    pub passed_on: Vec<PassedOn>,
}

/// A target that webhooks are passed on to.
#[derive(Debug, Clone)]
pub struct PassedOn {
    pub name: String,
    pub url: String,
    pub account: AccountSid,
    /// Empty: all.
    pub applications: Vec<ApplicationSid>,
}

impl PassedOn {
    /// Whether what this webhook of an application gets now is passed on to it.
    fn serves(&self, application: &Application, hook: &Hook) -> bool {
        let named = self.applications.is_empty() || self.applications.contains(&application.sid);
        let own = application.account == Some(self.account);
        own && named && hook.is_post() && same_place(&self.url, hook.url())
    }
}

/// What becomes of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It has no webhook, or an older one of ours.
    Set,
    /// Somebody else's webhook goes.
    Replace,
    /// It has the webhook.
    Already,
    /// It has somebody else's webhook.
    Refuse,
}

/// An application, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Planned {
    pub application: Application,
    pub step: Step,
    pub then: NewHook,
    /// The name of the target that the webhook that goes is passed on to.
    pub passed_on: Option<String>,
    /// What is to be put back one day.
    before: Option<Hook>,
}

impl Attach {
    /// What becomes of an application of which this was kept before.
    pub fn plan(&self, application: Application, kept: Option<&Kept>) -> Planned {
        let mut then =
            NewHook { url: self.hook.to_string(), credentials: self.credentials.clone() };
        let hook = application.hook();
        let ours = hook.filter(|hook| {
            let earlier = kept.is_some_and(|kept| kept.is_set_to(hook.url()));
            earlier || self.hook.is_place_of(hook.url())
        });
        // What was given once stays until something else is given.
        if then.credentials.is_none()
            && let Some((user, password)) = ours.and_then(|own| own.username().zip(own.password()))
            && !is_masked(password)
        {
            then.credentials = Some((user.to_owned(), Secret::new(password)));
        }
        let passed_on = hook.filter(|_| ours.is_none()).and_then(|hook| {
            let found = self.passed_on.iter().find(|target| target.serves(&application, hook));
            found.map(|target| target.name.clone())
        });
        let step = match (hook, ours) {
            (Some(hook), Some(_)) if then.is(hook) => Step::Already,
            (None, _) | (_, Some(_)) => Step::Set,
            (Some(_), None) if self.replace || passed_on.is_some() => Step::Replace,
            (Some(_), None) => Step::Refuse,
        };
        // Where our own webhook changes, what was there before ours is what counts.
        let before = match (ours, kept) {
            (Some(_), Some(kept)) => kept.call_status_hook.clone(),
            _ => application.row.clone(),
        };
        Planned { application, step, then, passed_on, before }
    }
}

impl Planned {
    /// Whether anything is to be done.
    pub fn changes(&self) -> bool {
        matches!(self.step, Step::Set | Step::Replace)
    }

    /// What is to be kept of it.
    pub fn to_keep(&self, api: &str, at: &str) -> Kept {
        let Application { sid, name, account, .. } = &self.application;
        Kept::new(*sid, *account, name, api, at, self.before.clone(), &self.then.url)
    }

    /// Sets the webhook. Does nothing where it has changed since it was listed.
    ///
    /// # Errors
    /// Why it is not set.
    pub async fn apply(&self, api: &mut Api<'_>) -> Result<(), ChangeError> {
        let fields = self.then.fields();
        let ways = vec![Way::NewRow(fields.clone()), Way::Fields(fields)];
        let is_done = |now: &Application| now.hook().is_some_and(|hook| self.then.is(hook));
        change(api, &self.application, ways, is_done).await
    }
}
