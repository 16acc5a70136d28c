//! Tokens of jambonz, which rollcall does not know itself.
//!
//! They are asked about where a path names whose calls are meant, an account or a service provider, and open
//! those alone: no events, no figures, not all accounts at once.

use std::net::IpAddr;

use super::ApiContext;
use super::auth::{Authorization, Principal};
use super::auth_throttle::network;
use super::error::ApiError;
use super::request::ApiRequest;
use crate::access::{Role, TokenScope};
use crate::meter::Unasked;
use crate::upstream::{Denial, Grant, Subject, Unavailable};

/// How tokens of rollcall's own begin.
const OWN: &str = "rc_";

/// Asks about the token of a request, unless rollcall knows it. `subject` is whose calls are meant, or what
/// is wrong with the path.
pub(super) async fn recognise(
    request: &mut ApiRequest<'_>,
    subject: impl FnOnce() -> Option<Result<Subject, ApiError>>,
) {
    let context = request.context;
    let [Authorization::Bearer(token, None)] = request.authorizations[..] else { return };
    if context.upstream_auth.is_none() || is_own(context, token) {
        return;
    }
    let Some(subject) = subject() else { return };
    let subject = match subject {
        Ok(subject) => subject,
        Err(error) => {
            request.denied = Some(error);
            return;
        }
    };
    let from = request.peer().map(|peer| network(peer.ip()));
    let changes = !request.method.is_safe();
    match ask(context, token, subject, from, changes).await {
        Ok(principal) => {
            request.authorizations = vec![Authorization::Bearer(token, Some(principal))];
            request.recognise(true);
        }
        Err(error) => request.denied = Some(error),
    }
}

/// What the token stands for. Where it is to change calls (`changes`), an answer that is too old is not enough.
pub(super) async fn ask(
    context: &ApiContext,
    token: &str,
    subject: Subject,
    from: Option<IpAddr>,
    changes: bool,
) -> Result<Principal, ApiError> {
    let unknown = || ApiError::unauthorized(true);
    let auth = context.upstream_auth.as_ref().ok_or_else(unknown)?;
    match auth.check(token, subject, from, changes).await {
        Ok(grant) => Ok(grant.into()),
        Err(Denial::Unknown) => Err(unknown()),
        Err(Denial::Forbidden) => Err(ApiError::forbidden("insufficient permissions")),
        Err(Denial::Unavailable(unavailable)) => Err(unavailable.into()),
    }
}

/// Whether the token is rollcall's, though it does not count any more. Jambonz is not asked whether it does.
pub(super) fn is_own(context: &ApiContext, token: &str) -> bool {
    token.starts_with(OWN) || context.store.access(|access| access.has_value(token).is_some())
}

impl From<Grant> for Principal {
    fn from(grant: Grant) -> Self {
        Self {
            id: grant.id.into(),
            scope: match grant.subject {
                Subject::Account(account) => TokenScope::Account(account),
                Subject::ServiceProvider(provider) => TokenScope::ServiceProvider(provider),
            },
            role: if grant.is_view_only { Role::Read } else { Role::Full },
            is_of_jambonz: true,
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(Unavailable { why, retry_after }: Unavailable) -> Self {
        let why = match why {
            Unasked::Budget => "as many questions were asked as may be",
            Unasked::AddressBudget => "as many questions were asked for this address as may be",
            Unasked::Limited => "its API answers no more requests for now",
            Unasked::Failed => "its API does not answer",
            Unasked::Token => "its answer about this token does not count",
        };
        let seconds = retry_after.as_millis().div_ceil(1000).clamp(1, 300);
        let msg = format!("jambonz cannot be asked about this token: {why}");
        Self::unavailable(msg, u16::try_from(seconds).unwrap_or(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AccountSid, ServiceProviderSid};
    use crate::http::auth::Action;

    #[test]
    fn a_token_of_jambonz_is_of_what_was_asked_about_and_brings_no_events() {
        let (account, provider) =
            (AccountSid::from_bytes([1; 16]), ServiceProviderSid::from_bytes([2; 16]));
        for (subject, scope) in [
            (Subject::Account(account), TokenScope::Account(account)),
            (Subject::ServiceProvider(provider), TokenScope::ServiceProvider(provider)),
        ] {
            for (is_view_only, changes) in [(false, true), (true, false)] {
                let id = "jambonz-0".to_owned();
                let token = Principal::from(Grant { id, subject, is_view_only });
                assert_eq!(token.scope, scope);
                assert!(token.may(Action::List).is_ok() && token.may(Action::Read).is_ok());
                assert_eq!(token.may(Action::Write).is_ok(), changes);
                assert!(token.may(Action::Ingest).is_err() && token.may(Action::Scrape).is_err());
                assert!(token.reaches_all().is_err());
            }
        }
    }
}
