//! jambonz's REST API, as far as it is needed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::hook::Application;
use crate::access::Secret;
use crate::domain::{AccountSid, ApplicationSid, ServiceProviderSid, short_duration};
use crate::outbound::{Base, Client, ClientError, Message, RequestError, UpstreamResponse};

const CONNECT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a list: an application may have 64 KiB of its own.
const LIST_BYTES_MAX: usize = 64 << 20;
/// Bytes of any other answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How much of a message of jambonz is shown.
const MESSAGE_CHARS_MAX: usize = 200;
/// How often one request is sent again after 429.
const RETRIES: usize = 3;
/// How long is waited where jambonz does not say.
const PAUSE: Duration = Duration::from_mins(1);
/// No window of jambonz's limit is waited for that is longer.
const PAUSE_MAX: Duration = Duration::from_mins(15);

/// Which applications are meant.
#[derive(Debug, Clone)]
pub enum Scope {
    /// All that the token reaches.
    All,
    Accounts(Vec<AccountSid>),
    ServiceProvider(ServiceProviderSid),
}

/// Why jambonz did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("jambonz answered {} to {method} {path}{}{}", .status.as_u16(), said(.message.as_deref()), advice(*.status, .location.as_deref()))]
    Refused {
        status: StatusCode,
        method: Method,
        path: String,
        message: Option<String>,
        /// Where a redirect leads.
        location: Option<String>,
    },
    #[error("jambonz allows no more requests for {} ({method} {path} was answered 429)", short_duration(*.wait))]
    TooMany { method: Method, path: String, wait: Duration },
    #[error(
        "what jambonz answered to GET {path} is not understood: {why}; expected --api to be the base of \
         its REST API, what comes before /v1"
    )]
    Answer { path: String, why: String },
}

impl ApiError {
    /// Whether the next request would fare the same.
    pub fn is_general(&self) -> bool {
        match self {
            Self::Request(error) => !matches!(error, RequestError::TooLarge { .. }),
            Self::Refused { status, .. } => *status == StatusCode::UNAUTHORIZED,
            Self::TooMany { .. } => true,
            Self::Answer { .. } => false,
        }
    }

    /// Whether this way of asking may be what is refused.
    pub(super) fn is_of_form(&self) -> bool {
        let forms = [400, 404, 405, 422, 500, 501];
        matches!(self, Self::Refused { status, .. } if forms.contains(&status.as_u16()))
    }

    fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

fn said(message: Option<&str>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}

fn advice(status: StatusCode, location: Option<&str>) -> String {
    match status.as_u16() {
        401 => "; it does not know the token, or the token has expired".to_owned(),
        403 => "; the token may not do that".to_owned(),
        404 => "; expected --api to be the base of jambonz's REST API, what comes before /v1"
            .to_owned(),
        300..=399 => {
            let place = location.map(|place| format!(" ({place})")).unwrap_or_default();
            format!("; the token is not sent on: give --api the address where the API is{place}")
        }
        _ => String::new(),
    }
}

/// jambonz's REST API, and the token that is shown there.
pub struct Api<'a> {
    client: Client,
    base: Base,
    authorization: HeaderValue,
    /// To be waited before the next request, and why.
    pause: Option<(Duration, &'static str)>,
    say: &'a mut dyn FnMut(&str),
}

impl<'a> Api<'a> {
    /// An API that is not asked yet. It trusts the authorities in the file `ca`, else those of the system;
    /// `say` is told why it waits. None where the token holds what no header may.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate.
    pub fn new(
        base: Base,
        token: &Secret,
        ca: Option<(&Path, &'static str)>,
        say: &'a mut dyn FnMut(&str),
    ) -> Result<Option<Self>, ClientError> {
        let (ca, key) = ca.map_or((None, "--ca"), |(path, key)| (Some(path), key));
        let client = Client::new(ca, key, CONNECT, TIMEOUT)?;
        let Ok(mut authorization) = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        else {
            return Ok(None);
        };
        authorization.set_sensitive(true);
        Ok(Some(Self { client, base, authorization, pause: None, say }))
    }

    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The applications that are meant, each once, by account and name.
    ///
    /// # Errors
    /// Those of [`ApiError`].
    pub async fn applications(&mut self, scope: &Scope) -> Result<Vec<Application>, ApiError> {
        let mut found = match scope {
            Scope::All => self.list("/v1/Applications").await?,
            Scope::Accounts(accounts) => {
                let mut found = Vec::new();
                for account in accounts.iter().collect::<BTreeSet<_>>() {
                    let path = format!("/v1/Accounts/{account}/Applications");
                    let listed = self.list(&path).await?;
                    found.extend(listed.into_iter().filter(|one| one.account == Some(*account)));
                }
                found
            }
            Scope::ServiceProvider(provider) => {
                let path = format!("/v1/ServiceProviders/{provider}/Accounts");
                let mut accounts = BTreeSet::new();
                for account in self.array(&path).await? {
                    let sid = account.get("account_sid").and_then(Value::as_str);
                    let sid: Option<AccountSid> = sid.and_then(|sid| sid.parse().ok());
                    accounts.extend(sid);
                }
                // The list of the service provider itself has those of others too.
                let mut found = self.list("/v1/Applications").await?;
                found.retain(|one| one.account.is_some_and(|account| accounts.contains(&account)));
                found
            }
        };
        found.sort_by(|a, b| (a.account, &a.name, a.sid).cmp(&(b.account, &b.name, b.sid)));
        let mut seen = BTreeSet::new();
        found.retain(|one| seen.insert(one.sid));
        Ok(found)
    }

    /// One application; none where there is none that the token reaches.
    pub(super) async fn application(
        &mut self,
        sid: ApplicationSid,
    ) -> Result<Option<Application>, ApiError> {
        let path = format!("/v1/Applications/{sid}");
        let answer = match self.send(Method::GET, &path, None).await {
            Err(error) if error.is_missing() => return Ok(None),
            answer => answer?,
        };
        let value: Value = json_of(&path, &answer)?;
        let found = Application::of(&value).and_then(|found| {
            if found.sid == sid { Ok(found) } else { Err(format!("it is of {}", found.sid)) }
        });
        found.map(Some).map_err(|why| ApiError::Answer { path, why })
    }

    /// Makes a webhook that no application has yet, and returns its sid.
    pub(super) async fn make_webhook(&mut self, fields: Value) -> Result<String, ApiError> {
        let path = "/v1/Webhooks";
        let answer = self.send(Method::POST, path, Some(fields)).await?;
        let value = json_of(path, &answer)?;
        let sid = value.get("sid").and_then(Value::as_str);
        sid.map(str::to_owned).ok_or_else(|| ApiError::Answer {
            path: path.to_owned(),
            why: "it has no sid".to_owned(),
        })
    }

    /// Changes an application.
    pub(super) async fn update(
        &mut self,
        sid: ApplicationSid,
        key: &str,
        value: Value,
    ) -> Result<(), ApiError> {
        let path = format!("/v1/Applications/{sid}");
        self.send(Method::PUT, &path, Some(json!({ key: value }))).await.map(drop)
    }

    async fn list(&mut self, path: &str) -> Result<Vec<Application>, ApiError> {
        let read = |value: &Value| {
            Application::of(value).map_err(|why| ApiError::Answer { path: path.to_owned(), why })
        };
        self.array(path).await?.iter().map(read).collect()
    }

    async fn array(&mut self, path: &str) -> Result<Vec<Value>, ApiError> {
        let answer = self.send(Method::GET, path, None).await?;
        if let Value::Array(found) = json_of(path, &answer)? {
            return Ok(found);
        }
        Err(ApiError::Answer { path: path.to_owned(), why: "it is not an array".to_owned() })
    }

    /// Sends a request, again after 429, and takes an answer of 2xx.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<UpstreamResponse, ApiError> {
        let is_list = method == Method::GET;
        let most = if is_list { LIST_BYTES_MAX } else { ANSWER_BYTES_MAX };
        let message = Message {
            path: path.to_owned(),
            authorization: Some(self.authorization.clone()),
            headers: HeaderMap::new(),
            body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
        };
        let mut tries = 0;
        loop {
            self.rest().await;
            let (method, message) = (method.clone(), message.clone());
            let answer = self.client.request(&self.base, method.clone(), message, most).await?;
            let wait = window(&answer.headers);
            match answer.status {
                StatusCode::TOO_MANY_REQUESTS => {
                    let wait = wait.unwrap_or(PAUSE);
                    tries += 1;
                    if tries > RETRIES || wait > PAUSE_MAX {
                        return Err(ApiError::TooMany { method, path: path.to_owned(), wait });
                    }
                    self.pause = Some((wait, "jambonz answers 429, too many requests"));
                    continue;
                }
                // All clients of jambonz share its limit, the portal too.
                _ if leaves_little(&answer.headers) => {
                    let wait = wait.unwrap_or(PAUSE).min(PAUSE_MAX);
                    self.pause = Some((wait, "a quarter of jambonz's requests is left to others"));
                }
                _ => {}
            }
            if answer.status.is_success() {
                return Ok(answer);
            }
            let location = answer.headers.get(LOCATION).and_then(|place| place.to_str().ok());
            return Err(ApiError::Refused {
                status: answer.status,
                method,
                path: path.to_owned(),
                message: message_of(&answer.body),
                location: location.map(super::masked),
            });
        }
    }

    async fn rest(&mut self) {
        if let Some((wait, why)) = self.pause.take() {
            (self.say)(&format!("{why}; going on in {}", short_duration(wait)));
            tokio::time::sleep(wait).await;
        }
    }
}

/// When the window of the limit ends.
fn window(headers: &HeaderMap) -> Option<Duration> {
    let seconds = number(headers, RETRY_AFTER.as_str());
    let seconds = seconds.or_else(|| number(headers, "ratelimit-reset"))?;
    Some(Duration::from_secs(seconds.max(1)))
}

/// Whether less than a quarter of the limit is left.
fn leaves_little(headers: &HeaderMap) -> bool {
    let (limit, left) =
        (number(headers, "ratelimit-limit"), number(headers, "ratelimit-remaining"));
    matches!((limit, left), (Some(limit), Some(left)) if left < limit / 4)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn json_of(path: &str, answer: &UpstreamResponse) -> Result<Value, ApiError> {
    serde_json::from_slice(&answer.body).map_err(|error| ApiError::Answer {
        path: path.to_owned(),
        why: format!("it is not JSON ({error})"),
    })
}

/// What jambonz says of an error, in short.
fn message_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = ["msg", "message"].iter().find_map(|key| value.get(*key)?.as_str())?;
    Some(text.chars().take(MESSAGE_CHARS_MAX).collect())
}
