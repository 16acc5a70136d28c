//! One change of an application's call status webhook.

use serde_json::Value;

use super::api::{Api, ApiError};
use super::hook::Application;
use crate::domain::ApplicationSid;

/// The key of the row of a webhook.
const ROW: &str = "call_status_hook_sid";
/// The key of the fields of a webhook.
const FIELDS: &str = "call_status_hook";

/// Why an application was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It could not even be asked how the application is now.
    #[error(transparent)]
    Before(ApiError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("its webhook has changed meanwhile; give the command again")]
    ChangedMeanwhile,
    #[error("it is not there any more")]
    Gone,
    #[error("jambonz took the change, and has another webhook all the same")]
    NotTaken,
    #[error(
        "jambonz does not show the password of the webhook that was there, and so it cannot be set \
         again; set it by hand to what the kept file says"
    )]
    Masked,
}

impl ChangeError {
    /// Whether the next application would fare the same.
    pub fn is_general(&self) -> bool {
        matches!(self, Self::Before(error) if error.is_general())
    }
}

/// A way to give an application its webhook.
pub(super) enum Way {
    /// A row that is there, or none.
    Row(Option<String>),
    /// A row that is made first, with these fields.
    NewRow(Value),
    /// Fields, of which jambonz makes a row.
    Fields(Value),
}

/// Changes an application that has been as it was listed until now. The ways are tried in turn where
/// jambonz refuses one and leaves the application as it is; what it has afterwards says whether it is done,
/// also where an answer was lost.
pub(super) async fn change(
    api: &mut Api<'_>,
    listed: &Application,
    ways: Vec<Way>,
    is_done: impl Fn(&Application) -> bool,
) -> Result<(), ChangeError> {
    match api.application(listed.sid).await.map_err(ChangeError::Before)? {
        None => return Err(ChangeError::Gone),
        Some(now) if now.row != listed.row => return Err(ChangeError::ChangedMeanwhile),
        Some(_) => {}
    }
    let mut failure = None;
    for way in ways {
        let sent = send(api, listed.sid, way).await;
        let now = match api.application(listed.sid).await {
            Ok(Some(now)) => now,
            Ok(None) => return Err(ChangeError::Gone),
            Err(error) => return Err(sent.err().unwrap_or(error).into()),
        };
        if is_done(&now) {
            return Ok(());
        }
        // Somebody has changed it at the same time.
        if now.row != listed.row {
            return Err(sent.err().map_or(ChangeError::NotTaken, ChangeError::Api));
        }
        let error = match sent {
            Ok(()) => ChangeError::NotTaken,
            Err(error) if error.is_of_form() => error.into(),
            Err(error) => return Err(error.into()),
        };
        failure.get_or_insert(error);
    }
    Err(failure.unwrap_or(ChangeError::NotTaken))
}

async fn send(api: &mut Api<'_>, sid: ApplicationSid, way: Way) -> Result<(), ApiError> {
    match way {
        Way::Row(row) => api.update(sid, ROW, row.into()).await,
        Way::NewRow(fields) => {
            let row = api.make_webhook(fields).await?;
            api.update(sid, ROW, row.into()).await
        }
        Way::Fields(fields) => api.update(sid, FIELDS, fields).await,
    }
}
