//! Who asks, and whether they may.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::ApiContext;
use super::auth_throttle::network;
use super::error::{ApiError, Why};
use super::jambonz;
use super::request::ApiRequest;
use crate::access::{Access, Role, TokenScope};
use crate::clock;
use crate::domain::{AccountSid, ServiceProviderSid, SidError};
use crate::logs;
use crate::meter::Cause;
use crate::store::Scope;
use crate::upstream::Subject;

/// What a valid token stands for.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub id: Arc<str>,
    pub scope: TokenScope,
    pub role: Role,
    /// It is jambonz that has accepted it, and not rollcall.
    pub is_of_jambonz: bool,
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
            let id = token.id.as_str().into();
            Some(Self { id, scope: token.scope, role: token.role, is_of_jambonz: false })
        })
    }

    /// Whether it is shown telephone numbers without their middle digits.
    pub fn is_masked(&self) -> bool {
        self.role == Role::ReadMasked
    }

    /// Whether the role goes so far.
    pub fn may(&self, action: Action) -> Result<(), ApiError> {
        let allowed = match (self.role, action) {
            (Role::Full, Action::Ingest | Action::Scrape) => self.scope == TokenScope::Admin,
            (Role::Full, _)
            | (Role::Read | Role::ReadMasked, Action::List | Action::Read)
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

    /// Whether all accounts of the service provider are within the scope.
    pub fn provides(&self, provider: ServiceProviderSid) -> Result<(), ApiError> {
        match self.scope {
            TokenScope::Admin => Ok(()),
            TokenScope::ServiceProvider(own) if own == provider => Ok(()),
            _ => Err(ApiError::forbidden("insufficient permissions")),
        }
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
pub(super) const AUTHORIZATIONS_MAX: usize = 4;
/// What the header field is to look like.
pub(super) const AUTHORIZATION_EXPECTED: &str =
    "Authorization: expected one scheme, one space, one token";

/// One header field `Authorization`: `scheme credentials`.
pub(super) enum Authorization<'a> {
    /// An empty field is one that is not there.
    Empty,
    Malformed,
    /// What was sent, and the valid token that it is, if it is one.
    Bearer(&'a str, Option<Principal>),
    Basic(&'a str),
    Other,
}

impl<'a> Authorization<'a> {
    /// Those of a request, as far as they are looked at. Each token is looked up here, once.
    pub fn all(context: &ApiContext, headers: &'a HeaderMap) -> Vec<Self> {
        let fields = headers.get_all(AUTHORIZATION).iter().take(AUTHORIZATIONS_MAX);
        let values = fields.flat_map(separate).take(AUTHORIZATIONS_MAX);
        values.map(|value| Self::read(context, value)).collect()
    }

    fn read(context: &ApiContext, value: Option<&'a str>) -> Self {
        let Some(value) = value else { return Self::Malformed };
        if value.is_empty() {
            return Self::Empty;
        }
        match value.split_once(' ') {
            Some((_, credentials)) if credentials.is_empty() || credentials.contains(' ') => {
                Self::Malformed
            }
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Self::Bearer(token, Principal::of(context, token))
            }
            Some((scheme, credentials)) if scheme.eq_ignore_ascii_case("basic") => {
                Self::Basic(credentials)
            }
            Some(_) => Self::Other,
            None => Self::Malformed,
        }
    }

    /// The valid token that it is.
    pub fn token(&self) -> Option<&Principal> {
        if let Self::Bearer(_, token) = self { token.as_ref() } else { None }
    }
}

/// The credentials of a header field. A program on the way may have joined two fields by a comma, which
/// neither a token nor a password as it is sent has. None where a field is no text.
fn separate(field: &HeaderValue) -> Vec<Option<&str>> {
    let Ok(field) = field.to_str() else { return vec![None] };
    let is_known = |part: &str| {
        part.split_once(' ').is_some_and(|(scheme, _)| {
            scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("basic")
        })
    };
    let parts: Vec<_> = field.split(',').map(str::trim).collect();
    if parts.iter().all(|part| is_known(part)) {
        parts.into_iter().map(Some).collect()
    } else {
        vec![Some(field)]
    }
}

/// The token of a request. Nothing but a sole and well-formed header field counts.
pub(super) fn bearer<'r>(request: &'r ApiRequest<'_>) -> Result<&'r Principal, ApiError> {
    match request.authorizations.as_slice() {
        [Authorization::Bearer(_, token)] => {
            let denied = || request.denied.clone().unwrap_or_else(|| ApiError::unauthorized(true));
            let token = token.as_ref().ok_or_else(denied)?;
            logs::note_token(&token.id);
            Ok(token)
        }
        [] | [Authorization::Empty | Authorization::Basic(_) | Authorization::Other] => {
            Err(ApiError::unauthorized(false))
        }
        [Authorization::Malformed] | [_, _, ..] => Err(ApiError::bad(AUTHORIZATION_EXPECTED)
            .because(Why::unauthenticated(&[Cause::AuthorizationMalformed]))),
    }
}

/// The account of a path, if the token may do this with it. The order of checks is that of jambonz:
/// token 401, account sid 400, permission 403.
pub(super) fn authorize(
    request: &ApiRequest<'_>,
    account: &str,
    action: Action,
) -> Result<AccountSid, ApiError> {
    let token = bearer(request)?;
    let account = account_of(account)?;
    logs::note_account(account);
    token.reaches(request.context, account)?;
    token.may(action)?;
    Ok(account)
}

/// The service provider of a path, if the token may do this with all of its accounts: that of an admin, and
/// its own.
pub(super) fn authorize_provider(
    request: &ApiRequest<'_>,
    provider: &str,
    action: Action,
) -> Result<ServiceProviderSid, ApiError> {
    let token = bearer(request)?;
    let provider = provider_of(provider)?;
    token.provides(provider)?;
    token.may(action)?;
    Ok(provider)
}

/// The account of a path.
pub(super) fn account_of(sid: &str) -> Result<AccountSid, ApiError> {
    sid.parse().map_err(|error| wrong_sid("account sid", sid, error))
}

/// The service provider of a path.
pub(super) fn provider_of(sid: &str) -> Result<ServiceProviderSid, ApiError> {
    sid.parse().map_err(|error| wrong_sid("service provider sid", sid, error))
}

/// The reader of a long answer, whose token may end before the answer does.
pub(super) struct StreamClient {
    context: Arc<ApiContext>,
    token: String,
    /// Of the token. One that is made later may have its value, and another role.
    id: Arc<str>,
    /// The id of the session that stands for the token, where there is one.
    session: Option<String>,
    /// Jambonz was asked about the token, from this network.
    is_of_jambonz: bool,
    from: Option<IpAddr>,
    scope: Scope,
}

impl StreamClient {
    pub fn new(request: &ApiRequest<'_>, scope: impl Into<Scope>) -> Self {
        let (token, id, is_of_jambonz) = match request.authorizations.first() {
            Some(Authorization::Bearer(token, Some(principal))) => {
                (*token, principal.id.clone(), principal.is_of_jambonz)
            }
            _ => ("", "".into(), false),
        };
        Self {
            context: request.context.clone(),
            token: token.to_owned(),
            id,
            session: request.session.map(|session| session.id.clone()),
            is_of_jambonz,
            from: request.peer().map(|peer| network(peer.ip())),
            scope: scope.into(),
        }
    }

    /// Whether the token opens these lists now, and all of these accounts, whose calls were read: accounts
    /// may have gone to another service provider.
    pub async fn still_may_all(
        &self,
        accounts: impl IntoIterator<Item = AccountSid>,
    ) -> Result<(), ApiError> {
        let scope = self.token_now().await?.scope;
        let covers_all =
            |access: &Access| accounts.into_iter().all(|account| access.covers(scope, account));
        if scope == TokenScope::Admin || self.context.store.access(covers_all) {
            return Ok(());
        }
        let msg = "the accounts of the service provider have changed meanwhile; ask again";
        Err(ApiError::unavailable(msg, 1))
    }

    /// Whether the token opens these lists now: asked after reading and before sending.
    pub async fn still_may(&self) -> Result<(), ApiError> {
        self.token_now().await.map(|_| ())
    }

    async fn token_now(&self) -> Result<Principal, ApiError> {
        if let Some(id) = &self.session {
            let now = clock::now();
            let is_there = |access: &Access| access.session(id, now).is_some();
            if !self.context.store.access(is_there) {
                return Err(ApiError::unauthorized(true));
            }
        }
        let token = match Principal::of(&self.context, &self.token) {
            None if self.is_of_jambonz => self.ask_again().await?,
            token => {
                let same = token.filter(|token| token.id == self.id);
                same.ok_or_else(|| ApiError::unauthorized(true))?
            }
        };
        match self.scope {
            Scope::Account(account) => token.reaches(&self.context, account)?,
            Scope::ServiceProvider(provider) => token.provides(provider)?,
            Scope::Everybody => {
                token.reaches_all()?;
            }
        }
        token.may(Action::List)?;
        Ok(token)
    }

    async fn ask_again(&self) -> Result<Principal, ApiError> {
        let subject = match self.scope {
            Scope::Account(account) => Some(Subject::Account(account)),
            Scope::ServiceProvider(provider) => Some(Subject::ServiceProvider(provider)),
            Scope::Everybody => None,
        };
        let subject = subject.ok_or_else(|| ApiError::unauthorized(true))?;
        jambonz::ask(&self.context, &self.token, subject, self.from, false).await
    }
}

/// 400 that says which sid.
pub(super) fn wrong_sid(what: &str, sid: &str, error: SidError) -> ApiError {
    let shown: String = sid.chars().take(80).collect();
    ApiError::bad(format!("{what} \"{shown}\": {error}"))
}
