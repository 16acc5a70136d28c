//! Setting webhooks.

use super::api::Api;
use super::change::{ChangeError, Way, change};
use super::hook::{Application, Hook, HookUrl, NewHook, is_masked};
use super::keep::Kept;
use crate::access::Secret;

/// What is to be set.
#[derive(Debug, Clone)]
pub struct Attach {
    pub hook: HookUrl,
    /// User and password that the webhook brings beside its signature.
    pub credentials: Option<(String, Secret)>,
    /// Webhooks of others are replaced.
    pub replace: bool,
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
        let step = match (hook, ours) {
            (Some(hook), Some(_)) if then.is(hook) => Step::Already,
            (None, _) | (_, Some(_)) => Step::Set,
            (Some(_), None) if self.replace => Step::Replace,
            (Some(_), None) => Step::Refuse,
        };
        // Where our own webhook changes, what was there before ours is what counts.
        let before = match (ours, kept) {
            (Some(_), Some(kept)) => kept.call_status_hook.clone(),
            _ => application.row.clone(),
        };
        Planned { application, step, then, before }
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
