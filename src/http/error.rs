//! Errors of requests: the one table of errors and statuses.

use http::StatusCode;
use http::header::{
    ALLOW, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::ext::ReasonPhrase;

use super::response::{Response, json};
use crate::domain::AccountSid;
use crate::logs::masked;
use crate::meter::{Cause, Refused};
use crate::store::StoreError;
use crate::wire::WireError;

/// For tenants, while the disk is short of space: how full it is concerns the operator alone.
const SHORT_OF_SPACE: &str = "the server is short of disk space; nothing of this was stored";
/// The words of a status that no standard has, such as 480. As in jambonz.
const UNKNOWN: ReasonPhrase = ReasonPhrase::from_static(b"unknown");

/// Why a request is not answered as it was meant. Every one has a body with `"msg": …`, and nearly all
/// of them nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    msg: String,
    header: Option<(HeaderName, HeaderValue)>,
    /// What it is counted under, where the status does not tell.
    counted: Option<Refused>,
    /// Its body also has what the portal of jambonz reads.
    for_portal: bool,
    /// In a box: every handler returns this type.
    why: Option<Box<Why>>,
}

/// Extension of an answer: what was wrong with who sent the request, or with what it brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Why {
    /// What was found, the one that is counted first.
    pub causes: Vec<Cause>,
    /// Whose request it was, or claimed to be.
    pub account: Option<AccountSid>,
    /// The account without settings whose signature it claims to have.
    pub unregistered: Option<AccountSid>,
    /// The user names of passwords that are wrong.
    pub users: Vec<String>,
    /// Nothing valid came with the request.
    pub unauthenticated: bool,
    /// The first cause in particular, for the log: without numbers, names and other data of callers.
    pub detail: Option<String>,
}

impl Why {
    /// A request without a valid credential.
    pub fn unauthenticated(causes: &[Cause]) -> Self {
        Self { causes: causes.to_vec(), unauthenticated: true, ..Self::default() }
    }

    /// A request with a valid credential.
    pub fn of(account: Option<AccountSid>, cause: Cause) -> Self {
        Self { causes: vec![cause], account, ..Self::default() }
    }
}

impl ApiError {
    fn new(status: StatusCode, msg: impl Into<String>) -> Self {
        Self { status, msg: msg.into(), header: None, counted: None, for_portal: false, why: None }
    }

    /// The same; the body of a refusal also says it as jambonz does where its portal asks.
    pub(super) fn for_portal(self) -> Self {
        Self { for_portal: self.status == StatusCode::FORBIDDEN, ..self }
    }

    fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// The same, and why.
    pub(super) fn because(self, why: Why) -> Self {
        Self { why: Some(Box::new(why)), ..self }
    }

    /// The same for the causes that it has, else for this reason.
    pub(super) fn or_because(self, why: impl FnOnce(StatusCode) -> Why) -> Self {
        let why = match self.why {
            Some(own) if !own.causes.is_empty() => own,
            own => {
                let detail = own.and_then(|own| own.detail);
                Box::new(Why { detail, ..why(self.status) })
            }
        };
        Self { why: Some(why), ..self }
    }

    /// The same, said so in the log.
    pub(super) fn logged_as(mut self, detail: impl Into<String>) -> Self {
        self.why.get_or_insert_default().detail = Some(detail.into());
        self
    }

    /// The same, whose message has nothing of the request and is said in the log as well.
    pub(super) fn logged(self) -> Self {
        let detail = self.msg.clone();
        self.logged_as(detail)
    }

    /// What was wrong with who sent the request, where that is known.
    pub(super) fn why_mut(&mut self) -> Option<&mut Why> {
        self.why.as_deref_mut()
    }

    /// What it says.
    pub(super) fn message(&self) -> &str {
        &self.msg
    }

    /// In how many seconds the client may come again, where that is said.
    pub(super) fn retry_after(&self) -> Option<u16> {
        let (name, value) = self.header.as_ref()?;
        if *name == RETRY_AFTER { value.to_str().ok()?.parse().ok() } else { None }
    }

    /// Whether it is the client's doing.
    pub(super) fn blames_client(&self) -> bool {
        self.status.is_client_error()
    }

    /// 400: something in the request is wrong.
    pub fn bad(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, msg)
    }

    /// 401; `presented` where a token was.
    pub fn unauthorized(presented: bool) -> Self {
        let challenge = if presented {
            "Bearer realm=\"Users\", error=\"invalid_token\""
        } else {
            "Bearer realm=\"Users\""
        };
        let challenge = HeaderValue::from_static(challenge);
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized").with(WWW_AUTHENTICATE, challenge)
    }

    /// 403: authenticated, and not entitled.
    pub fn forbidden(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, msg)
    }

    /// 404.
    pub fn not_found(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, msg)
    }

    /// 405, with the methods that are allowed.
    pub fn method(allowed: &str, msg: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, msg);
        match HeaderValue::from_str(allowed) {
            Ok(allowed) => error.with(ALLOW, allowed),
            Err(_) => error,
        }
    }

    /// 408: the body did not come in time.
    pub fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "the request body took too long")
    }

    /// 409: somebody else has changed meanwhile what was to be changed.
    pub fn conflict(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, msg)
    }

    /// 410: what was asked for was there and is no more.
    pub fn gone(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, msg)
    }

    /// 413.
    pub fn too_large(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, msg)
    }

    /// 415.
    pub fn unsupported(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, msg)
    }

    /// 426: what an old protocol cannot say the end of.
    pub fn upgrade(msg: impl Into<String>) -> Self {
        let newer = HeaderValue::from_static("HTTP/1.1");
        Self::new(StatusCode::UPGRADE_REQUIRED, msg).with(UPGRADE, newer)
    }

    /// The client has closed the connection and gets no answer.
    pub fn left() -> Self {
        Self::unavailable("the client has left", 1)
    }

    /// 429, and when to come again, in seconds.
    pub fn too_many(msg: impl Into<String>, seconds: u64) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, msg);
        error.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Another status, from elsewhere or of jambonz.
    pub fn relayed(status: StatusCode, msg: impl Into<String>) -> Self {
        Self::new(status, msg)
    }

    /// 500: something is wrong here that no request can help; the log says more.
    pub fn internal(what: &str) -> Self {
        let msg = format!("{what}; the log says more beside the id in X-Request-Id");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, msg)
    }

    /// 500: the handler has panicked.
    pub fn panicked() -> Self {
        Self { counted: Some(Refused::Panic), ..Self::internal("an error inside rollcall") }
    }

    /// 508: a question of rollcall's own has come back.
    pub fn circle() -> Self {
        let msg =
            "this question about a token comes from rollcall: it is to go to jambonz's own API";
        Self::new(StatusCode::LOOP_DETECTED, msg)
    }

    /// 503: as many are being served as may be.
    pub fn busy(msg: impl Into<String>) -> Self {
        Self { counted: Some(Refused::Busy), ..Self::unavailable(msg, 1) }
    }

    /// 503, and when to come again.
    pub fn unavailable(msg: impl Into<String>, seconds: u16) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, msg);
        error.with(RETRY_AFTER, HeaderValue::from(seconds))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let msg = error.to_string();
        let counted = match error {
            StoreError::Busy => Refused::Busy,
            StoreError::NoQuorum(_) => Refused::NoQuorum,
            StoreError::Closing => Refused::Closing,
            StoreError::IndexUnavailable(..) | StoreError::NotBuilt(_) => Refused::Index,
            StoreError::Full
            | StoreError::Low { .. }
            | StoreError::NoSpace { .. }
            | StoreError::KeptFull { .. } => Refused::Disk,
            StoreError::Failed(_) | StoreError::Unreadable(_) => Refused::Journal,
            StoreError::Panicked(_) => Refused::Panic,
            StoreError::TooLarge(_) | StoreError::LongMessage { .. } => Refused::TooLarge,
            StoreError::Behind { .. }
            | StoreError::Gone(_)
            | StoreError::Conflict(_)
            | StoreError::OfNode
            | StoreError::OutOfOrder(_) => Refused::Other,
        };
        let error = match error {
            StoreError::Busy
            | StoreError::Closing
            | StoreError::Behind { .. }
            | StoreError::OutOfOrder(_) => Self::unavailable(msg, 1),
            StoreError::NoQuorum(_) => Self::unavailable(msg, 2),
            StoreError::IndexUnavailable(_, Some(seconds)) => Self::unavailable(
                format!("the index is being built again, which takes about {seconds} s more"),
                seconds,
            ),
            StoreError::IndexUnavailable(_, None) | StoreError::NotBuilt(_) => {
                Self::unavailable("the index is being built again", 5)
            }
            StoreError::Full | StoreError::Low { .. } | StoreError::NoSpace { .. } => {
                Self::unavailable(SHORT_OF_SPACE, 30)
            }
            StoreError::Failed(_) => Self::unavailable("the store has failed and restarts", 10),
            StoreError::Unreadable(_) => {
                tracing::error!(error = &*masked(&msg), "a request was not answered");
                Self::internal("a part of the journal cannot be read")
            }
            StoreError::Panicked(_) => Self::panicked(),
            StoreError::TooLarge(_) | StoreError::LongMessage { .. } => Self::too_large(msg),
            StoreError::Gone(_) => Self::gone(msg),
            StoreError::OfNode => Self::internal(&msg),
            StoreError::Conflict(_) => Self::new(StatusCode::CONFLICT, msg),
            StoreError::KeptFull { .. } => Self::unavailable(msg, 30),
        };
        Self { counted: Some(counted), ..error }
    }
}

impl From<WireError> for ApiError {
    fn from(error: WireError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Self {
        let msg = error.msg;
        let body = if error.for_portal {
            let message = "insufficient privileges";
            serde_json::json!({ "msg": msg, "status": "fail", "message": message })
        } else {
            serde_json::json!({ "msg": msg })
        };
        let mut reply = json(error.status, body.to_string());
        if let Some((name, value)) = error.header {
            if name == UPGRADE {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            }
            reply.headers_mut().insert(name, value);
        }
        if let Some(counted) = error.counted {
            reply.extensions_mut().insert(counted);
        }
        if let Some(why) = error.why {
            reply.extensions_mut().insert(*why);
        }
        if error.status.canonical_reason().is_none() {
            reply.extensions_mut().insert(UNKNOWN);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_is_being_built_is_answered_with_how_long_that_takes() {
        for (left, seconds, said) in [(Some(42), "42", "about 42 s more"), (None, "5", "again")] {
            let error = ApiError::from(StoreError::IndexUnavailable("gone".to_owned(), left));
            assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(error.msg.ends_with(said), "{}", error.msg);
            let after = error.header.iter().find(|(name, _)| *name == RETRY_AFTER);
            assert_eq!(after.map(|(_, value)| value.to_str().unwrap()), Some(seconds));
        }
    }
}
