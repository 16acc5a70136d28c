//! Signing in, the session of each request, signing out.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue, SET_COOKIE, VARY,
};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::auth::{Authorization, Principal, account_of, provider_of};
use super::super::auth_throttle::network;
use super::super::body::read_body;
use super::super::body_budget::BodyOwner;
use super::super::error::{ApiError, Why};
use super::super::jambonz;
use super::super::reading::BodyReader;
use super::super::request::ApiRequest;
use super::super::response::{Response, empty, json as json_reply};
use super::super::{ApiContext, ConnectionInfo};
use super::{is_served, operation, origin, signed_in};
use crate::access::{Role, SESSION_TOKEN_BYTES_MAX, Secret, Session, SessionCookie, TokenScope};
use crate::clock;
use crate::domain::{AccountSid, Timestamp};
use crate::logs::{AuditEvent, AuditOutcome};
use crate::meter::Cause;
use crate::ops::{self, Failure, FailureKind};
use crate::store::Scope;
use crate::upstream::Subject;
use crate::wire::show_time;

/// Browsers keep a cookie of this name only where it is `Secure`, of the whole host and of nobody else.
const NAME: &str = "__Host-rollcall";
/// Bytes of a request that signs in.
const BODY_BYTES_MAX: usize = 8192;
/// Accounts that a session is told by name.
const ACCOUNTS_MAX: usize = 1000;
/// A cookie is made anew once this part of the time has passed in which its session may be idle.
const RENEWALS: u64 = 20;

/// A session that a request belongs to: it was not signed out, and its time is not over.
#[derive(Debug)]
pub(in crate::http) struct ConsoleSession {
    pub id: String,
    token: Secret,
    token_id: String,
    of_jambonz: Option<TokenScope>,
    ends_at: u64,
    /// Its cookie is to be made anew.
    is_due: bool,
}

impl ConsoleSession {
    /// That of a request; none where no cookie of one counts.
    pub fn of(context: &ApiContext, head: &Parts) -> Option<Self> {
        let headers = &head.headers;
        let value = cookie(headers)?;
        let connection: Option<&ConnectionInfo> = head.extensions.get();
        let connection = connection.filter(|at| is_served(context, Some(*at)))?;
        if headers.contains_key(AUTHORIZATION)
            || !is_within(head.uri.path())
            || !origin::counts(&head.method, headers, connection)
        {
            return None;
        }
        let now = clock::now();
        let idle = millis(context.config.console.idle);
        context.store.access(|access| {
            let SessionCookie { id, seen, token } = access.session_key()?.open(value)?;
            let session = access.session(&id, now)?;
            let unused = now.millis().saturating_sub(seen.millis());
            (unused < idle).then(|| Self {
                id,
                token,
                token_id: session.token_id.clone(),
                of_jambonz: session.of_jambonz,
                ends_at: session.ends_at,
                is_due: unused >= idle / RENEWALS,
            })
        })
    }

    /// What stands in place of the header field. A token that has the value of one that was revoked is another.
    pub fn authorization(&self, context: &ApiContext) -> Authorization<'_> {
        let token = self.token.reveal();
        let principal = Principal::of(context, token).filter(|own| *own.id == *self.token_id);
        Authorization::Bearer(token, principal)
    }

    /// What the token stands for now.
    pub async fn principal(&self, request: &ApiRequest<'_>) -> Result<Principal, ApiError> {
        if let Some(principal) = request.token() {
            return Ok(principal.clone());
        }
        let scope = self.of_jambonz.ok_or_else(|| ApiError::unauthorized(true))?;
        let subject = subject_of(scope).ok_or_else(|| ApiError::unauthorized(true))?;
        let from = request.peer().map(|peer| network(peer.ip()));
        jambonz::ask(request.context, self.token.reveal(), subject, from, false).await
    }

    /// Adds to an answer what every one in a session has: it is kept by the browser alone, and the cookie is
    /// made anew now and then, so that only an unused session ends.
    pub fn put(&self, context: &ApiContext, reply: &mut Response) {
        let headers = reply.headers_mut();
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        }
        headers.append(VARY, HeaderValue::from(COOKIE));
        if !self.is_due || headers.contains_key(SET_COOKIE) {
            return;
        }
        let now = clock::now();
        let fresh = SessionCookie { id: self.id.clone(), seen: now, token: self.token.clone() };
        let sealed = context.store.access(|access| {
            access.session(&self.id, now)?;
            access.session_key()?.seal(&fresh).ok().flatten()
        });
        let left = self.ends_at.saturating_sub(now.millis());
        if let Some(value) = sealed.and_then(|sealed| set_cookie(context, &sealed, left)) {
            headers.insert(SET_COOKIE, value);
        }
    }
}

/// Whether cookies count for a path.
fn is_within(path: &str) -> bool {
    let begins =
        |with: &str| path.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    begins("/v1/") || path.starts_with("/console/api/")
}

/// The value of the cookie that a request brings.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    // Those of other servers of the same host may be in any encoding.
    let fields = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let mut pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    })
}

/// `left` is for how long the session lasts at most, in milliseconds.
fn set_cookie(context: &ApiContext, value: &str, left: u64) -> Option<HeaderValue> {
    let seconds = left.min(millis(context.config.console.idle)) / 1000;
    let text =
        format!("{NAME}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn subject_of(scope: TokenScope) -> Option<Subject> {
    match scope {
        TokenScope::Admin => None,
        TokenScope::Account(account) => Some(Subject::Account(account)),
        TokenScope::ServiceProvider(provider) => Some(Subject::ServiceProvider(provider)),
    }
}

/// What a request that signs in brings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: Option<Secret>,
    code: Option<Secret>,
    /// Whose calls a token of jambonz is for, which rollcall does not know.
    account_sid: Option<String>,
    service_provider_sid: Option<String>,
}

impl SignIn {
    /// Whose calls a token of jambonz is for, where that is said.
    fn subject(&self) -> Result<Option<TokenScope>, ApiError> {
        match (&self.account_sid, &self.service_provider_sid) {
            (None, None) => Ok(None),
            (Some(account), None) => Ok(Some(TokenScope::Account(account_of(account)?))),
            (None, Some(provider)) => Ok(Some(TokenScope::ServiceProvider(provider_of(provider)?))),
            (Some(_), Some(_)) => {
                Err(ApiError::bad("expected account_sid or service_provider_sid, and not both"))
            }
        }
    }
}

/// `POST /console/api/session`.
pub(super) async fn sign_in(request: &mut ApiRequest<'_>, _: &str) -> Result<Response, ApiError> {
    let connection = request.connection;
    if !connection.is_some_and(|connection| origin::may_sign_in(request.headers, connection)) {
        return Err(ApiError::forbidden(
            "signing in is for the pages of this server: the request comes from another origin, or a proxy \
             changes Host (let it pass Host on, or send X-Forwarded-Host)",
        ));
    }
    let given: SignIn = read_json(request).await?;
    let subject = given.subject()?;
    let context = request.context;
    let meter = context.store.meter();
    let wrong = || {
        meter.sign_ins_refused.inc();
        let why = Why::unauthenticated(&[Cause::UnknownToken]);
        ApiError::unauthorized(true).because(why)
    };
    let token = match (given.token, given.code) {
        (Some(token), None) => token,
        (None, Some(code)) => operation::token_of_code(request, &code).await?.ok_or_else(wrong)?,
        _ => return Err(ApiError::bad("expected {\"token\": …} or {\"code\": …}")),
    };
    let token = Secret::new(token.reveal().trim());
    if token.reveal().len() > SESSION_TOKEN_BYTES_MAX {
        return Err(ApiError::bad(format!(
            "token: expected at most {SESSION_TOKEN_BYTES_MAX} characters, which a cookie has room for"
        )));
    }
    let mut of_jambonz = None;
    let principal = if let Some(principal) = Principal::of(context, token.reveal()) {
        principal
    } else {
        let is_asked = context.upstream_auth.is_some() && !jambonz::is_own(context, token.reveal());
        let scope = subject.filter(|_| is_asked).ok_or_else(wrong)?;
        of_jambonz = Some(scope);
        let subject = subject_of(scope).ok_or_else(wrong)?;
        let from = request.peer().map(|peer| network(peer.ip()));
        jambonz::ask(context, token.reveal(), subject, from, false).await?
    };
    if !matches!(principal.role, Role::Full | Role::Read | Role::ReadMasked | Role::Export) {
        let role = principal.role.as_str();
        return Err(ApiError::forbidden(format!(
            "insufficient permissions: the token's role is {role}, and the console shows calls"
        )));
    }
    crate::logs::note_token(&principal.id);
    let now = clock::now();
    let ends_at = now.plus_millis(millis(context.config.console.lifetime)).millis();
    let token_ends = context.store.access(|access| access.token_by_id(&principal.id)?.expires_at);
    let ends_at = token_ends.map_or(ends_at, |token_ends| token_ends.min(ends_at));
    let before = request.session.map(|session| session.id.clone());
    let (intake, id) = (context.intake.clone(), principal.id.clone());
    let begin = move || ops::sign_in(&intake, &token, &id, of_jambonz, ends_at, before.as_deref());
    let (session, sealed) = blocking(begin).await?;
    meter.sign_ins.inc();
    audit(request, &principal.id, "console sign in");
    request.recognise(true);
    let mut reply = json_reply(StatusCode::OK, shown(request, &session, &principal).await?);
    let left = ends_at.saturating_sub(now.millis());
    if let Some(value) = set_cookie(context, &sealed, left) {
        reply.headers_mut().insert(SET_COOKIE, value);
    }
    Ok(reply)
}

/// `GET /console/api/session`.
pub(super) async fn show(request: &mut ApiRequest<'_>, _: &str) -> Result<Response, ApiError> {
    let (session, principal) = signed_in(request).await?;
    let now = clock::now();
    let row = request.context.store.access(|access| access.session(&session.id, now).cloned());
    let row = row.ok_or_else(|| ApiError::unauthorized(true))?;
    Ok(json_reply(StatusCode::OK, shown(request, &row, &principal).await?))
}

/// `DELETE /console/api/session`. A session whose token has ended is signed out, too.
pub(super) async fn sign_out(request: &mut ApiRequest<'_>, _: &str) -> Result<Response, ApiError> {
    let session = request.session.ok_or_else(|| ApiError::unauthorized(false))?;
    let (intake, id) = (request.context.intake.clone(), session.id.clone());
    if blocking(move || ops::sign_out(&intake, &id)).await? {
        audit(request, &session.token_id, "console sign out");
    }
    let mut reply = empty(StatusCode::NO_CONTENT);
    let gone = format!("{NAME}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict");
    if let Ok(gone) = HeaderValue::try_from(gone) {
        reply.headers_mut().insert(SET_COOKIE, gone);
    }
    Ok(reply)
}

fn audit(request: &ApiRequest<'_>, token_id: &str, what: &str) {
    request.context.audit.write(&AuditEvent {
        at: clock::now(),
        who: &format!("token {token_id}"),
        what,
        object: None,
        outcome: AuditOutcome::Done,
        peer: request.peer(),
    });
}

/// A small body, as JSON.
pub(super) async fn read_json<T: serde::de::DeserializeOwned>(
    request: &mut ApiRequest<'_>,
) -> Result<T, ApiError> {
    let from = request.peer().map(|peer| network(peer.ip()));
    let owner = match request.token() {
        Some(token) => BodyOwner::Token(token.id.clone()),
        None => BodyOwner::Unauthenticated(from),
    };
    let body = read_body(request, owner).await?;
    if body.len() > BODY_BYTES_MAX {
        let msg = format!("a request of the console has at most {BODY_BYTES_MAX} bytes");
        return Err(ApiError::too_large(msg));
    }
    serde_json::from_slice(&body).map_err(|error| {
        // What was sent may be a secret: where it is wrong is said, and not what it is.
        let at = format!("line {}, column {}", error.line(), error.column());
        ApiError::bad(format!("the request body is not the JSON that is expected here ({at})"))
    })
}

/// Work that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure { message, kind })) => Err(match kind {
            FailureKind::Usage => ApiError::bad(message),
            FailureKind::Conflict => ApiError::conflict(message),
            FailureKind::Failed => ApiError::unavailable(message, 1),
        }),
        Err(_) => Err(ApiError::unavailable("the server is stopping", 1)),
    }
}

/// The session as its page reads it.
async fn shown(
    request: &ApiRequest<'_>,
    session: &Session,
    principal: &Principal,
) -> Result<String, ApiError> {
    let context = request.context;
    let (account, provider) = match principal.scope {
        TokenScope::Admin => (None, None),
        TokenScope::Account(account) => (Some(account.to_string()), None),
        TokenScope::ServiceProvider(provider) => (None, Some(provider.to_string())),
    };
    let scope = match principal.scope {
        TokenScope::Admin => "admin",
        TokenScope::Account(_) => "account",
        TokenScope::ServiceProvider(_) => "service_provider",
    };
    let (accounts, more) = accounts(request, principal.scope).await?;
    let servers = &context.config.feature_servers;
    let controls = !servers.urls.is_empty() || !servers.networks.is_empty();
    let now = clock::now();
    let shown_time = |millis| Timestamp::from_millis(millis).map(|at| show_time(at).to_string());
    let name = context.store.access(|access| access.token_by_id(&principal.id)?.name.clone());
    let mut shown = json!({
        "name": name,
        "token_id": &*principal.id,
        "scope": scope,
        "role": principal.role.as_str(),
        "may": may(principal, controls),
        "accounts": accounts,
        "idle_seconds": context.config.console.idle.as_secs(),
        "expires_at": shown_time(session.ends_at),
        "control": controls,
        "demo": context.is_demo,
        "version": env!("CARGO_PKG_VERSION"),
        "time": show_time(now).to_string(),
        "epoch": context.store.epoch().to_string(),
    });
    for (key, value) in [("account_sid", account), ("service_provider_sid", provider)] {
        if let (Some(value), Some(fields)) = (value, shown.as_object_mut()) {
            fields.insert(key.to_owned(), value.into());
        }
    }
    if let (true, Some(fields)) = (more, shown.as_object_mut()) {
        fields.insert("accounts_more".to_owned(), true.into());
    }
    Ok(shown.to_string())
}

/// What the page may offer.
fn may(principal: &Principal, controls: bool) -> Vec<&'static str> {
    let is_full = principal.role == Role::Full;
    let rights = [
        ("read", principal.role != Role::Export),
        ("delete", is_full),
        ("control", is_full && controls),
        ("export", true),
        ("operate", is_full && principal.scope == TokenScope::Admin),
    ];
    rights.into_iter().filter(|(_, may)| *may).map(|(right, _)| right).collect()
}

/// The accounts that the token reaches, by name and sid, and whether there are more.
async fn accounts(
    request: &ApiRequest<'_>,
    scope: TokenScope,
) -> Result<(Vec<Value>, bool), ApiError> {
    let read = match scope {
        TokenScope::Admin => Scope::Everybody,
        TokenScope::Account(account) => Scope::Account(account),
        TokenScope::ServiceProvider(provider) => Scope::ServiceProvider(provider),
    };
    // An index that is built again is no reason not to sign in.
    let with_calls = BodyReader::new(request, read).accounts().await;
    let with_calls = with_calls.map(|accounts| accounts.to_vec()).unwrap_or_default();
    let mut names: BTreeMap<AccountSid, Option<String>> = BTreeMap::new();
    names.extend(with_calls.into_iter().map(|one| (one.account, None)));
    request.context.store.access(|access| {
        let own = access.accounts().filter(|one| access.covers(scope, one.account_sid));
        names.extend(own.map(|one| (one.account_sid, one.name.clone())));
    });
    let mut all: Vec<(AccountSid, Option<String>)> = names.into_iter().collect();
    all.sort_by(|one, other| {
        let key = |of: &(AccountSid, Option<String>)| (of.1.is_none(), of.1.clone(), of.0);
        key(one).cmp(&key(other))
    });
    let more = all.len() > ACCOUNTS_MAX;
    all.truncate(ACCOUNTS_MAX);
    let shown =
        all.into_iter().map(|(sid, name)| json!({"account_sid": sid.to_string(), "name": name}));
    Ok((shown.collect(), more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=b; rollcall=x;__Host-rollcall2=y"));
        assert_eq!(cookie(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("c=d;  __Host-rollcall=v=w; e=f"));
        assert_eq!(cookie(&headers), Some("v=w"));
        let beside = [&b"x=M\xfcller; y=\xc3\xa9; __Host-rollcall=v"[..], b"__Host-rollcall=\xff"];
        for (field, found) in beside.into_iter().zip([Some("v"), None]) {
            headers.insert(COOKIE, HeaderValue::from_bytes(field).unwrap());
            assert_eq!(cookie(&headers), found);
        }
    }

    #[test]
    fn cookies_count_for_the_api_and_for_nothing_else() {
        for path in ["/v1/Calls", "/V1/Accounts/x/Calls", "/console/api/session"] {
            assert!(is_within(path), "{path}");
        }
        for path in ["/", "/metrics", "/v1", "/docs", "/console/live", "/console"] {
            assert!(!is_within(path), "{path}");
        }
    }
}
