//! One call, and the number of live ones.

use http::StatusCode;

use super::auth::StreamClient;
use super::error::ApiError;
use super::reading::BodyReader;
use super::request::ApiRequest;
use super::response::{Response, accepted_reply, json};
use crate::clock;
use crate::domain::{AccountSid, CallId, ServiceProviderSid};
use crate::logs::{self, LogRequest};
use crate::store::{Change, Counting, CountingAcross, Scope, Store, StoreError};
use crate::wire::{masked_call, write_call, write_timeline};

/// `GET /v1/Accounts/{AccountSid}/Calls/{CallSid}`.
pub(super) async fn call(request: &ApiRequest<'_>, id: CallId) -> Result<Response, ApiError> {
    let call = request.context.store.call(id)?.ok_or_else(not_found)?;
    let mut body = Vec::with_capacity(1024);
    if request.is_masked() {
        write_call(&mut body, &masked_call(&call));
    } else {
        write_call(&mut body, &call);
    }
    Ok(json(StatusCode::OK, body))
}

/// `DELETE /v1/Accounts/{AccountSid}/Calls/{CallSid}`.
pub(super) async fn delete(request: &ApiRequest<'_>, id: CallId) -> Result<Response, ApiError> {
    let now = clock::now();
    let deletion = request.context.intake.outcome_of(vec![Change::Delete(id)], now);
    let (outcome, accepted) = deletion.await?;
    if outcome.changed == 0 {
        return Err(not_found());
    }
    let CallId { account, sid } = id;
    let token = request.token().map(|token| &*token.id).unwrap_or_default();
    request.context.audit.write(&logs::AuditEvent {
        at: now,
        who: &format!("token {token}"),
        what: "call delete",
        object: Some(&format!("account {account}, call {sid}")),
        outcome: logs::AuditOutcome::Done,
        peer: request.peer(),
    });
    Ok(accepted_reply(&accepted))
}

/// `GET /v1/Accounts/{AccountSid}/Calls/{CallSid}/events`: the call's timeline.
pub(super) async fn events(request: &ApiRequest<'_>, id: CallId) -> Result<Response, ApiError> {
    let found = blocking(&request.context.store, move |store| store.call(id)).await?;
    let call = found.as_deref().ok_or_else(not_found)?;
    let mut body = Vec::with_capacity(1024);
    if request.is_masked() {
        write_timeline(&mut body, &masked_call(call));
    } else {
        write_timeline(&mut body, call);
    }
    Ok(json(StatusCode::OK, body))
}

/// `GET /v1/Accounts/{AccountSid}/CallCount`.
pub(super) async fn count_of_account(
    request: &ApiRequest<'_>,
    account: AccountSid,
) -> Result<Response, ApiError> {
    let reading = BodyReader::new(request, Scope::Account(account));
    Ok(show_count(reading.count(Counting::of_live(account)).await?.with_status()))
}

/// `GET /v1/ServiceProviders/{ServiceProviderSid}/CallCount`.
pub(super) async fn count_of_provider(
    request: &ApiRequest<'_>,
    provider: ServiceProviderSid,
) -> Result<Response, ApiError> {
    count_across(request, Scope::ServiceProvider(provider)).await
}

/// `GET /v1/CallCount`.
pub(super) async fn count_of_all(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    count_across(request, Scope::Everybody).await
}

async fn count_across(request: &ApiRequest<'_>, scope: Scope) -> Result<Response, ApiError> {
    let reading = BodyReader::new(request, scope);
    let accounts = reading.accounts().await?;
    let counting = CountingAcross::of_live(&request.context.store, &accounts);
    let counted = reading.count_across(counting).await?.with_status();
    StreamClient::new(request, scope).still_may_all(accounts.iter().map(|one| one.account)).await?;
    Ok(show_count(counted))
}

fn show_count([inbound, outbound]: [u64; 2]) -> Response {
    let body = format!("{{\"inbound\":{inbound},\"outbound\":{outbound}}}");
    json(StatusCode::OK, body)
}

/// 404 for a call.
pub(super) fn not_found() -> ApiError {
    ApiError::not_found("no such call")
}

/// Asks the store in a thread that may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    store: &std::sync::Arc<Store>,
    ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let _waits = store.waits_for("reading calls");
    let store = store.clone();
    apart(move || ask(&store)).await
}

/// Does something in a thread that may wait.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let request = LogRequest::current();
    let done = tokio::task::spawn_blocking(move || LogRequest::in_scope(request, work)).await;
    done.unwrap_or_else(|error| {
        // It runs to its end, unless it panics or the process is ending.
        Err(if error.is_panic() { StoreError::Panicked("the answer") } else { StoreError::Closing })
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_no_store_that_closes() {
        let error = apart::<()>(|| panic!("on purpose")).await.unwrap_err();
        assert!(matches!(error, StoreError::Panicked(_)), "{error:?}");
        let reply = Response::from(ApiError::from(error));
        assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(apart(|| Ok(7)).await.unwrap(), 7);
    }
}
