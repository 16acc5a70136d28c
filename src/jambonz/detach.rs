//! Putting back what was there.

use serde_json::Value;

use super::api::Api;
use super::change::{ChangeError, Way, change};
use super::hook::{Application, Hook, is_masked};
use super::keep::Kept;

/// What becomes of an application whose webhook was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// It gets what it had.
    Restore,
    /// It has what it had.
    Already,
    /// It has a webhook that is not ours, and keeps that.
    Leave,
    /// There is none that the token reaches.
    Gone,
}

/// What was kept of an application, how it is now, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Restoring {
    pub kept: Kept,
    pub now: Option<Application>,
    pub back: Back,
}

impl Restoring {
    /// What becomes of an application that is so now.
    pub fn plan(kept: Kept, now: Option<Application>) -> Self {
        let back = match &now {
            None => Back::Gone,
            Some(now) if same(now.row.as_ref(), kept.call_status_hook.as_ref()) => Back::Already,
            Some(now) if now.hook().is_some_and(|hook| kept.is_set_to(hook.url())) => Back::Restore,
            Some(_) => Back::Leave,
        };
        Self { kept, now, back }
    }

    /// Puts back what was kept. Does nothing where the webhook has changed since it was listed.
    ///
    /// # Errors
    /// Why it is not put back.
    pub async fn apply(&self, api: &mut Api<'_>) -> Result<(), ChangeError> {
        let (Back::Restore, Some(listed)) = (self.back, &self.now) else { return Ok(()) };
        let before = self.kept.call_status_hook.as_ref();
        let row = before.and_then(Hook::row);
        let mut ways = Vec::new();
        if before.is_none() || row.is_some() {
            ways.push(Way::Row(row.map(str::to_owned)));
        }
        let masked = before.and_then(Hook::password).is_some_and(is_masked);
        // The row may be gone.
        if before.is_some_and(|before| !before.does_something()) {
            ways.push(Way::Row(None));
        }
        if let Some(before) = before.filter(|_| !masked) {
            let fields = Value::Object(before.fields());
            ways.extend([Way::NewRow(fields.clone()), Way::Fields(fields)]);
        }
        let is_done = |now: &Application| same(now.row.as_ref(), before);
        match change(api, listed, ways, is_done).await {
            Err(ChangeError::NotTaken) if masked => Err(ChangeError::Masked),
            Err(ChangeError::Api(error)) if masked && error.is_of_form() => {
                Err(ChangeError::Masked)
            }
            result => result,
        }
    }
}

/// Whether both are the same row, whatever it says now, or rows that do the same.
fn same(one: Option<&Hook>, other: Option<&Hook>) -> bool {
    let used = |hook: Option<&Hook>| hook.filter(|hook| hook.does_something()).cloned();
    match (used(one), used(other)) {
        (None, None) => true,
        (Some(one), Some(other)) => one.is_row_of(&other) || one.does_as(&other),
        _ => false,
    }
}
