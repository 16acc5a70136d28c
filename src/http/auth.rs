//! Who asks, and whether they may.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::ApiContext;
use super::error::{ApiError, Why};
use super::request::ApiRequest;
use crate::access::{Role, TokenScope};
use crate::clock;
use crate::domain::{AccountSid, SidError};
use crate::meter::Cause;
use crate::store::Reach;

/// What a valid token stands for.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub id: String,
    pub scope: TokenScope,
    role: Role,
}

/// What a token may be asked for.
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
    pub fn of(context: &ApiContext, token: &str) -> Option<Self> {
        let now = clock::now();
        context.store.access(|access| {
            let token = access.token(token, now)?;
            Some(Self { id: token.id.clone(), scope: token.scope, role: token.role })
        })
    }

    /// Whether the role goes so far.
    pub fn may(&self, action: Action) -> Result<(), ApiError> {
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
    pub fn reaches_all(&self) -> Result<&Self, ApiError> {
        if self.scope == TokenScope::Admin {
            return Ok(self);
        }
        Err(ApiError::forbidden("insufficient permissions"))
    }

    /// Whether the account is within the scope.
    pub fn reaches(&self, context: &ApiContext, account: AccountSid) -> Result<(), ApiError> {
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
        ApiError::bad(AUTHORIZATION_EXPECTED)
            .because(Why::unauthenticated(&[Cause::AuthorizationMalformed]))
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

/// The token of a request. Nothing but a sole and well-formed header field counts.
pub(super) fn bearer<'r>(request: &'r ApiRequest<'_>) -> Result<&'r Principal, ApiError> {
    match credentials(request.headers)? {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer") => {
            let token = request.token.as_ref().ok_or_else(|| ApiError::unauthorized(true))?;
            tracing::Span::current().record("token", token.id.as_str());
            Ok(token)
        }
        _ => Err(ApiError::unauthorized(false)),
    }
}

/// The first valid token that a request brings, if it brings one.
pub(super) fn principal(context: &ApiContext, headers: &HeaderMap) -> Option<Principal> {
    let values = headers.get_all(AUTHORIZATION).iter().take(AUTHORIZATIONS_MAX);
    let mut tokens = values.filter_map(|value| match parts(value)?? {
        (scheme, token) if scheme.eq_ignore_ascii_case("bearer") => Some(token),
        _ => None,
    });
    tokens.find_map(|token| Principal::of(context, token))
}

/// The account of a path, if the token may do this with it. The order of checks is that of jambonz:
/// token 401, account sid 400, permission 403.
pub(super) fn authorize(
    request: &ApiRequest<'_>,
    account: &str,
    action: Action,
) -> Result<AccountSid, ApiError> {
    let token = bearer(request)?;
    let account = account.parse().map_err(|error| wrong_sid("account sid", account, error))?;
    tracing::Span::current().record("account", tracing::field::display(account));
    token.reaches(request.context, account)?;
    token.may(action)?;
    Ok(account)
}

/// The reader of a long answer, whose token may end before the answer does.
pub(super) struct StreamClient {
    context: Arc<ApiContext>,
    token: String,
    reach: Reach,
}

impl StreamClient {
    pub fn new(request: &ApiRequest<'_>, reach: Reach) -> Self {
        let token = credentials(request.headers).ok().flatten().map(|(_, token)| token);
        let token = token.unwrap_or_default().to_owned();
        Self { context: request.context.clone(), token, reach }
    }

    /// Whether the token opens these lists now: asked after reading and before sending.
    pub fn still_may(&self) -> Result<(), ApiError> {
        let token = Principal::of(&self.context, &self.token);
        let token = token.ok_or_else(|| ApiError::unauthorized(true))?;
        match self.reach {
            Reach::Account(account) => token.reaches(&self.context, account)?,
            Reach::Everybody => {
                token.reaches_all()?;
            }
        }
        token.may(Action::List)
    }
}

/// 400 that says which sid.
pub(super) fn wrong_sid(what: &str, sid: &str, error: SidError) -> ApiError {
    let shown: String = sid.chars().take(80).collect();
    ApiError::bad(format!("{what} \"{shown}\": {error}"))
}
