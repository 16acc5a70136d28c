//! Who asks, and whether they may.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::ApiContext;
use super::reply::{ApiError, Why};
use super::routes::ApiRequest;
use crate::access::{Role, TokenScope};
use crate::clock;
use crate::domain::{AccountSid, SidError};
use crate::meter::Cause;
use crate::store::Reach;

/// Whoever brought a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Principal {
    scope: TokenScope,
    role: Role,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Read a list.
    List,
    /// Read a call or a count.
    Read,
    /// Change a call.
    Write,
    /// Send events.
    Ingest,
    /// Read the figures.
    Scrape,
}

impl Principal {
    /// Whoever this token belongs to, and the token's id.
    pub fn of(context: &ApiContext, token: &str) -> Option<(Self, String)> {
        let now = clock::now();
        context.store.access(|access| {
            let token = access.token(token, now)?;
            Some((Self { scope: token.scope, role: token.role }, token.id.clone()))
        })
    }

    /// Whose the token is.
    pub fn scope(self) -> TokenScope {
        self.scope
    }

    /// Whether the role goes so far.
    pub fn may(self, action: Action) -> Result<(), ApiError> {
        let allowed = match (self.role, action) {
            (Role::Full, Action::Ingest | Action::Scrape) => self.scope == TokenScope::Admin,
            (Role::Full, _)
            | (Role::Read, Action::List | Action::Read)
            | (Role::Ingest, Action::Ingest)
            | (Role::Export, Action::List)
            | (Role::Metrics, Action::Scrape) => true,
            _ => false,
        };
        let role = self.role.as_str();
        let msg =
            || ApiError::forbidden(format!("insufficient permissions: the token's role is {role}"));
        if allowed { Ok(()) } else { Err(msg()) }
    }

    /// Whether every account is within the scope.
    pub fn reaches_all(self) -> Result<(), ApiError> {
        if self.scope == TokenScope::Admin {
            return Ok(());
        }
        Err(ApiError::forbidden("insufficient permissions"))
    }

    /// Whether the account is within the scope.
    pub fn reaches(self, context: &ApiContext, account: AccountSid) -> Result<(), ApiError> {
        if context.store.access(|access| access.covers(self.scope, account)) {
            return Ok(());
        }
        Err(ApiError::forbidden("insufficient permissions"))
    }
}

/// Header fields `Authorization` of one request that are looked at.
pub(super) const AUTHORIZATIONS_MAX: usize = 2;
/// What the header field is to look like.
pub(super) const AUTHORIZATION_EXPECTED: &str =
    "Authorization: expected one scheme, one space, one token";

/// The scheme and the credentials of a request. None where it has none at all; 400 where they do
/// not have the shape `scheme credentials`.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Option<(&str, &str)>, ApiError> {
    let malformed = || {
        ApiError::bad(AUTHORIZATION_EXPECTED).because(Why::nobody(&[Cause::AuthorizationMalformed]))
    };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed());
    }
    parts(value).ok_or_else(malformed)
}

/// The scheme and the credentials of one header field; within, none where it is empty.
#[expect(clippy::option_option, reason = "an empty field is one that is not there")]
pub(super) fn parts(value: &HeaderValue) -> Option<Option<(&str, &str)>> {
    let value = value.to_str().ok()?;
    if value.is_empty() {
        return Some(None);
    }
    let (scheme, token) = value.split_once(' ')?;
    (!token.is_empty() && !token.contains(' ')).then_some(Some((scheme, token)))
}

/// Whoever the token in a request belongs to.
pub(super) fn bearer(context: &ApiContext, headers: &HeaderMap) -> Result<Principal, ApiError> {
    match credentials(headers)? {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            let now = clock::now();
            let principal = context.store.access(|access| {
                let token = access.token(token, now)?;
                tracing::Span::current().record("token", token.id.as_str());
                Some(Principal { scope: token.scope, role: token.role })
            });
            principal.ok_or_else(|| ApiError::unauthorized(true))
        }
        _ => Err(ApiError::unauthorized(false)),
    }
}

/// The id of the first token that a request brings, if it brings one.
pub(super) fn token_id(context: &ApiContext, headers: &HeaderMap) -> Option<String> {
    let now = clock::now();
    let values = headers.get_all(AUTHORIZATION).iter().take(AUTHORIZATIONS_MAX);
    let mut tokens = values.filter_map(|value| match parts(value)?? {
        (scheme, token) if scheme.eq_ignore_ascii_case("bearer") => Some(token),
        _ => None,
    });
    tokens.find_map(|token| {
        context.store.access(|access| access.token(token, now).map(|token| token.id.clone()))
    })
}

/// The order of checks is that of jambonz: token 401, account sid 400, permission 403.
pub(super) fn authorize(
    context: &ApiContext,
    headers: &HeaderMap,
    account: &str,
    action: Action,
) -> Result<AccountSid, ApiError> {
    let principal = bearer(context, headers)?;
    let account = account.parse().map_err(|error| wrong_sid("account sid", account, error))?;
    tracing::Span::current().record("account", tracing::field::display(account));
    principal.reaches(context, account)?;
    principal.may(action)?;
    Ok(account)
}

/// Somebody to whom an answer goes for long, and who may cease to be entitled to it meanwhile.
pub(super) struct StreamClient {
    pub context: Arc<ApiContext>,
    /// The token, to be asked for again.
    headers: HeaderMap,
    reach: Reach,
}

impl StreamClient {
    pub fn new(request: &ApiRequest<'_>, reach: Reach) -> Self {
        let token = request.headers.get_all(AUTHORIZATION).iter();
        let headers = token.map(|value| (AUTHORIZATION, value.clone())).collect();
        Self { context: request.context.clone(), headers, reach }
    }

    /// Whether the token opens these lists now: asked after reading and before sending.
    pub fn still_may(&self) -> Result<(), ApiError> {
        let principal = bearer(&self.context, &self.headers)?;
        match self.reach {
            Reach::Account(account) => principal.reaches(&self.context, account)?,
            Reach::Everybody => principal.reaches_all()?,
        }
        principal.may(Action::List)
    }
}

/// 400 that says which sid.
pub(super) fn wrong_sid(what: &str, sid: &str, error: SidError) -> ApiError {
    let shown: String = sid.chars().take(80).collect();
    ApiError::bad(format!("{what} \"{shown}\": {error}"))
}
