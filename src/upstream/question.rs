//! One question about a token: what is asked of jambonz's API, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::domain::{AccountSid, ServiceProviderSid};
use crate::outbound::{Base, Client, Message, RequestError, UpstreamResponse};
use crate::random;

/// Header field of each question. One that comes back here has gone in a circle.
pub const QUESTION: HeaderName = HeaderName::from_static("rollcall-question");
/// Bytes of an answer: jambonz's have some tens.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long nothing is asked after a 429 that does not say how long.
const LIMITED: Duration = Duration::from_secs(10);
/// How long at most.
const LIMITED_MAX: Duration = Duration::from_mins(5);

/// Whose calls a token is to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    Account(AccountSid),
    /// All accounts of a service provider.
    ServiceProvider(ServiceProviderSid),
}

/// What jambonz says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// The token is good, and not for these calls.
    Forbidden,
    Unknown,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("it answers no more requests for now (429)")]
    Limited {
        /// When it will.
        retry_after: Duration,
    },
    #[error(
        "the question came back to rollcall; set upstream.api_url to jambonz itself, not to a proxy that \
         sends calls to rollcall"
    )]
    Circle,
    #[error(
        "it answered {status}, which jambonz does not; see whether upstream.api_url is jambonz's API, \
         without /v1"
    )]
    Strange { status: StatusCode },
    /// The same, where it refuses a token that does not exist as jambonz does.
    #[error("it answered {status} about one token, which jambonz does not")]
    StrangeToken { status: StatusCode },
    /// It answers others: jambonz may be told to count the requests of each token.
    #[error("it answers no more requests of one token for now (429)")]
    LimitedToken { retry_after: Duration },
    #[error(
        "it accepts a token whose own end (exp) is over by the clock of this machine; see whether the clocks \
         of both agree"
    )]
    Ended,
    #[error(
        "it did not refuse a token that does not exist, so that its answers prove nothing; see whether \
         upstream.api_url is jambonz's API, without /v1"
    )]
    RefusesNobody,
    #[error(
        "it lets a token that is not an admin's ask for calls of an account that does not exist, so that it \
         tells no accounts apart, as jambonz-api-server before 0.8.3; update it"
    )]
    OpensAll,
}

impl QuestionError {
    /// Whether it may be the token, and not the API.
    pub(super) fn may_be_of_one_token(&self) -> bool {
        match self {
            // Without a word of 5xx: a part of jambonz that has failed is no matter of one token.
            Self::Strange { status } => !status.is_server_error(),
            Self::Limited { .. } => true,
            _ => false,
        }
    }

    /// The same, where it turned out that it is for one token alone.
    pub(super) fn of_one_token(self) -> Self {
        match self {
            Self::Strange { status } => Self::StrangeToken { status },
            Self::Limited { retry_after } => Self::LimitedToken { retry_after },
            other => other,
        }
    }

    /// Whether others may be asked about meanwhile.
    pub(super) fn is_of_one_token(&self) -> bool {
        matches!(self, Self::StrangeToken { .. } | Self::LimitedToken { .. } | Self::Ended)
    }
}

impl Subject {
    /// What is asked for. Nothing of it is read: jambonz says whether the token may before it looks at what
    /// is asked for.
    fn path(self) -> String {
        match self {
            // There is no such call.
            Self::Account(account) => {
                format!("/v1/Accounts/{account}/Calls/00000000-0000-0000-0000-000000000000")
            }
            // Not by way of one of its accounts: the token of that account alone would do. The parameters
            // that it needs are left out.
            Self::ServiceProvider(provider) => {
                format!("/v1/ServiceProviders/{provider}/RecentCalls")
            }
        }
    }

    fn judge(self, answer: &UpstreamResponse) -> Result<Verdict, QuestionError> {
        let strange = Err(QuestionError::Strange { status: answer.status });
        let says = |words: &str| msg(answer).is_some_and(|msg| msg.contains(words));
        let is_page = is_page(&answer.headers);
        match (answer.status, self) {
            (StatusCode::UNAUTHORIZED, _) if !is_page && is_challenge(&answer.headers) => {
                Ok(Verdict::Unknown)
            }
            (StatusCode::FORBIDDEN, _) if !is_page => Ok(Verdict::Forbidden),
            (StatusCode::NOT_FOUND, Self::Account(_)) if !is_page && is_not_found(&answer.body) => {
                Ok(Verdict::Accepted)
            }
            // To jambonz this is no sid, so that there is no such account.
            (StatusCode::BAD_REQUEST, Self::Account(_)) if says("Bad request") => {
                Ok(Verdict::Forbidden)
            }
            (StatusCode::BAD_REQUEST, Self::ServiceProvider(_)) if says("\"page\"") => {
                Ok(Verdict::Accepted)
            }
            // The same; it says so to an admin in one way, and to a service provider in another.
            (
                StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR,
                Self::ServiceProvider(_),
            ) if says("Bad request") || says("invalid ServiceProvidersSid") => {
                Ok(Verdict::Forbidden)
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                Err(QuestionError::Limited { retry_after: retry_after(&answer.headers) })
            }
            (StatusCode::LOOP_DETECTED, _) => Err(QuestionError::Circle),
            _ => strange,
        }
    }
}

/// Asks about a token.
pub(super) async fn ask(
    client: &Client,
    api: &Base,
    token: &str,
    subject: Subject,
) -> Result<Verdict, QuestionError> {
    // What can stand in a header field has come in one.
    let Ok(mut authorization) = HeaderValue::try_from(format!("Bearer {token}")) else {
        return Ok(Verdict::Unknown);
    };
    authorization.set_sensitive(true);
    let message = Message {
        path: subject.path(),
        authorization: Some(authorization),
        headers: HeaderMap::from_iter([(QUESTION, HeaderValue::from_static("1"))]),
        body: Bytes::new(),
    };
    let answer = client.request(api, Method::GET, message, ANSWER_BYTES).await?;
    subject.judge(&answer)
}

/// Asks about a token that does not exist. What does not refuse it is not jambonz's API: a proxy whose
/// server has gone, or a page for all paths, would accept everybody.
pub(super) async fn prove(
    client: &Client,
    api: &Base,
    subject: Subject,
) -> Result<(), QuestionError> {
    match ask(client, api, &random::uuid().to_string(), subject).await? {
        Verdict::Unknown => Ok(()),
        Verdict::Accepted | Verdict::Forbidden => Err(QuestionError::RefusesNobody),
    }
}

/// Whether this token may ask for the calls of an account that does not exist, though it is no admin's.
/// None where it is an admin's, or where that cannot be told: then nothing follows from it.
pub(super) async fn opens_all(
    client: &Client,
    api: &Base,
    token: &str,
) -> Result<Option<bool>, QuestionError> {
    let made_up = || random::uuid().into_bytes();
    let account = Subject::Account(AccountSid::from_bytes(made_up()));
    match ask(client, api, token, account).await? {
        Verdict::Forbidden => return Ok(Some(false)),
        Verdict::Unknown => return Ok(None),
        Verdict::Accepted => {}
    }
    let provider = Subject::ServiceProvider(ServiceProviderSid::from_bytes(made_up()));
    match ask(client, api, token, provider).await {
        Ok(Verdict::Forbidden) => Ok(Some(true)),
        Ok(Verdict::Accepted | Verdict::Unknown) | Err(QuestionError::Strange { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The account that is named where no account is meant.
pub(super) fn nobody() -> Subject {
    Subject::Account(AccountSid::from_bytes([0; 16]))
}

/// Whether it is jambonz that asks for another token, and not a proxy for a password.
fn is_challenge(headers: &HeaderMap) -> bool {
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().peekable();
    let is_bearer = |challenge: &HeaderValue| {
        challenge.as_bytes().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    };
    challenges.peek().is_none() || challenges.any(is_bearer)
}

/// Whether it is a page for people: jambonz has none for calls.
fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"))
}

/// Whether it is what jambonz says of a call that there is none of, or has the form of its errors. Gateways and
/// other servers have words of their own; one on the way may leave out all of them.
fn is_not_found(body: &[u8]) -> bool {
    let is_error = || {
        let error: Option<Value> = serde_json::from_slice(body).ok();
        error
            .as_ref()
            .and_then(Value::as_object)
            .is_some_and(|error| error.keys().all(|key| key == "msg"))
    };
    matches!(body.trim_ascii(), b"" | b"Not Found") || is_error()
}

/// The `msg` of an error of jambonz.
fn msg(answer: &UpstreamResponse) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(body.get("msg")?.as_str()?.to_owned())
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = [RETRY_AFTER, HeaderName::from_static("ratelimit-reset")]
        .iter()
        .find_map(|name| headers.get(name)?.to_str().ok()?.trim().parse().ok());
    seconds.map_or(LIMITED, |seconds: u64| {
        Duration::from_secs(seconds).clamp(Duration::from_secs(1), LIMITED_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(HeaderName, &'static str)], body: &str) -> UpstreamResponse {
        let headers = headers.iter();
        UpstreamResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn only_what_jambonz_says_is_a_verdict() {
        let account = nobody();
        let provider = Subject::ServiceProvider(ServiceProviderSid::from_bytes([2; 16]));
        let text = (CONTENT_TYPE, "text/plain; charset=utf-8");
        let page = (CONTENT_TYPE, "Text/HTML; charset=utf-8");
        let bearer = (WWW_AUTHENTICATE, "Bearer realm=\"Users\", error=\"invalid_token\"");
        let basic = (WWW_AUTHENTICATE, "Basic realm=\"members\"");
        let no_page = "{\"msg\":\"missing or invalid \\\"page\\\" query arg\"}";
        let no_sid = "{\"msg\":\"Bad request\"}";
        let no_provider = "{\"msg\":\"invalid ServiceProvidersSid format\"}";
        let no_rights = "{\"msg\":\"insufficient permissions\"}";
        for (subject, answer, verdict) in [
            (
                account,
                answer(404, std::slice::from_ref(&text), "Not Found"),
                Some(Verdict::Accepted),
            ),
            (account, answer(404, &[], ""), Some(Verdict::Accepted)),
            (account, answer(404, std::slice::from_ref(&page), "<html>"), None),
            (account, answer(404, std::slice::from_ref(&text), "404 page not found\n"), None),
            (account, answer(404, &[], "default backend - 404"), None),
            (account, answer(404, &[], "{\"msg\":\"no such call\"}"), Some(Verdict::Accepted)),
            (account, answer(404, &[], "{\"message\":\"Not Found\"}"), None),
            (account, answer(404, &[], "[]"), None),
            (account, answer(403, &[], no_rights), Some(Verdict::Forbidden)),
            (account, answer(403, std::slice::from_ref(&page), "<html>"), None),
            (account, answer(400, &[], no_sid), Some(Verdict::Forbidden)),
            (account, answer(400, &[], no_page), None),
            (account, answer(400, &[], "Request Header Too Large"), None),
            (
                account,
                answer(401, std::slice::from_ref(&bearer), "Unauthorized"),
                Some(Verdict::Unknown),
            ),
            (account, answer(401, &[], "Unauthorized"), Some(Verdict::Unknown)),
            (account, answer(401, &[page], "<html>"), None),
            (account, answer(401, std::slice::from_ref(&basic), ""), None),
            (account, answer(401, &[basic, bearer.clone()], ""), Some(Verdict::Unknown)),
            (account, answer(200, &[], "{}"), None),
            (account, answer(302, &[], ""), None),
            (account, answer(500, &[], "{}"), None),
            (provider, answer(400, &[], no_page), Some(Verdict::Accepted)),
            (provider, answer(400, &[], no_sid), Some(Verdict::Forbidden)),
            (provider, answer(500, &[], no_provider), Some(Verdict::Forbidden)),
            (provider, answer(500, &[], "{\"msg\":\"ER_CON_COUNT_ERROR\"}"), None),
            (account, answer(500, &[], no_provider), None),
            // As of an account: this path is there, so that 404 is not jambonz's.
            (provider, answer(404, &[text], "Not Found"), None),
            (provider, answer(200, &[], "{\"total\":0}"), None),
            (provider, answer(403, &[], "{\"status\":\"fail\"}"), Some(Verdict::Forbidden)),
            (provider, answer(401, &[bearer], "Unauthorized"), Some(Verdict::Unknown)),
        ] {
            assert_eq!(subject.judge(&answer).ok(), verdict, "{subject:?} {answer:?}");
        }
    }

    #[test]
    fn a_limit_says_how_long_within_bounds() {
        let reset = HeaderName::from_static("ratelimit-reset");
        for (headers, seconds) in [
            (&[][..], 10),
            (&[(RETRY_AFTER, "77")], 77),
            (&[(reset.clone(), "5")], 5),
            (&[(reset, "5"), (RETRY_AFTER, "7")], 7),
            (&[(RETRY_AFTER, "0")], 1),
            (&[(RETRY_AFTER, "99999999")], 300),
            (&[(RETRY_AFTER, "Wed, 21 Oct 2015 07:28:00 GMT")], 10),
        ] {
            let error = nobody().judge(&answer(429, headers, "")).unwrap_err();
            let QuestionError::Limited { retry_after } = error else { panic!("{error}") };
            assert_eq!(retry_after, Duration::from_secs(seconds), "{headers:?}");
        }
        let error = nobody().judge(&answer(508, &[], "")).unwrap_err();
        assert!(matches!(error, QuestionError::Circle), "{error}");
    }
}
