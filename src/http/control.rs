//! `POST /v1/Accounts/{AccountSid}/Calls`, and `PUT` and `POST …/Calls/{CallSid}`: what changes a
//! call where it runs. Nothing is kept here; what becomes of the call comes back as events.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::auth::Authorization;
use super::body::{fields, read_body};
use super::body_budget::BodyOwner;
use super::calls::{blocking, not_found};
use super::error::ApiError;
use super::request::ApiRequest;
use super::response::{Response, empty, json};
use super::validate;
use crate::domain::{AccountSid, CallField, CallId, CallSid};
use crate::outbound::{Base, Message, RequestError, UpstreamResponse};

/// Characters of an answer's text that a message repeats.
const REPEATED_CHARS: usize = 2000;

/// Passes an update on to the feature server that runs the call.
pub(super) async fn update(request: &mut ApiRequest<'_>, id: CallId) -> Result<Response, ApiError> {
    let context = request.context;
    let CallId { account, sid } = id;
    let body = read_body(request, BodyOwner::Account(account)).await?;
    let fields = fields(request.headers, &body)?;
    validate::update(&fields)?;
    let found = blocking(&context.store, move |store| store.call(id)).await?;
    let call = found.ok_or_else(not_found)?;
    let Some(service_url) = call.text(CallField::ServiceUrl).filter(|url| !url.is_empty()) else {
        let msg = "the call has no service_url: it is not known which feature server runs it";
        return Err(ApiError::relayed(StatusCode::INTERNAL_SERVER_ERROR, msg));
    };
    // A feature server knows a call by its sid alone: it is the call of the account that had it first.
    let asked = if call.namesake {
        tracing::warn!(
            %account, %sid,
            "the update of a call was not passed on: another account had a call of this sid first"
        );
        unused_sid()
    } else {
        sid
    };
    let message = Message {
        path: format!("/v1/updateCall/{asked}"),
        authorization: None,
        headers: HeaderMap::new(),
        body: Bytes::from(Value::Object(fields).to_string()),
    };
    let answer = context.feature_servers.of_call(&context.client, service_url, message).await?;
    updated(as_if_asked(answer, asked, sid))
}

/// The header field with the token: as it was sent, or as it would have been sent without a session.
fn authorization(request: &ApiRequest<'_>) -> Option<HeaderValue> {
    let sent = request.headers.get(AUTHORIZATION).cloned();
    sent.or_else(|| match (request.session, request.authorizations.first()) {
        (Some(_), Some(Authorization::Bearer(token, _))) => {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        }
        _ => None,
    })
}

/// A sid that no call has. A client that claims the call of another account is answered by the feature
/// server itself, and so in words and in time as of any call that it does not run: it learns nothing
/// of another account's calls.
fn unused_sid() -> CallSid {
    CallSid::from_bytes(crate::random::uuid().into_bytes())
}

/// The answer as if this call had been asked about.
fn as_if_asked(answer: UpstreamResponse, asked: CallSid, sid: CallSid) -> UpstreamResponse {
    if asked == sid {
        return answer;
    }
    let text = String::from_utf8_lossy(&answer.body);
    let body = text.replace(&asked.to_string(), &sid.to_string()).into_bytes();
    UpstreamResponse { body, ..answer }
}

/// The feature server's answer: its status, and its body where it is 200 or an error.
fn updated(answer: UpstreamResponse) -> Result<Response, ApiError> {
    let status = answer.status;
    match status {
        StatusCode::OK if is_json(&answer.body) => Ok(json(status, answer.body)),
        StatusCode::OK => Err(not_json(&answer.body)),
        StatusCode::NO_CONTENT => Ok(empty(status)),
        _ if status.is_success() => Ok(json(status, "{}")),
        _ if status.is_client_error() || status.is_server_error() => {
            Err(ApiError::relayed(status, text_of(&answer)))
        }
        _ => Err(unexpected(status)),
    }
}

/// Passes a new call on to the feature server whose turn it is, or to jambonz's own API where it names an
/// application, or where the token is jambonz's, which knows who may place calls.
pub(super) async fn create(
    request: &mut ApiRequest<'_>,
    account: AccountSid,
) -> Result<Response, ApiError> {
    let context = request.context;
    let body = read_body(request, BodyOwner::Account(account)).await?;
    let mut fields = fields(request.headers, &body)?;
    let is_of_jambonz = request.token().is_some_and(|token| token.is_of_jambonz);
    let application = validate::application(&fields);
    if application.is_some() || is_of_jambonz {
        validate::dialled(&fields, &body)?;
        let Some(upstream) = &context.config.upstream.api_url else {
            let shown = application.map(Value::to_string).unwrap_or_default();
            let shown: String = shown.chars().take(80).collect();
            return Err(ApiError::bad(format!(
                "application_sid {shown}: applications are in jambonz's database; set \
                 upstream.api_url to its API, or give call_hook and the speech settings"
            )));
        };
        let body = Bytes::from(Value::Object(fields).to_string());
        let message = Message {
            path: format!("/v1/Accounts/{account}/Calls"),
            authorization: authorization(request),
            headers: HeaderMap::new(),
            body,
        };
        return passed_on(request, upstream, message).await;
    }
    if context.feature_servers.is_empty() {
        return Err(no_feature_server());
    }
    validate::create(&mut fields, &body)?;
    fields.insert("account_sid".to_owned(), Value::from(account.to_string()));
    let message = Message {
        path: "/v1/createCall".to_owned(),
        authorization: None,
        headers: HeaderMap::new(),
        body: Bytes::from(Value::Object(fields).to_string()),
    };
    let answer = context.feature_servers.in_turn(&context.client, &message).await;
    let answer = answer.ok_or_else(no_feature_server)??;
    match answer.status {
        StatusCode::CREATED if is_json(&answer.body) => Ok(json(answer.status, answer.body)),
        StatusCode::CREATED => Err(not_json(&answer.body)),
        status => {
            let text = text_of(&answer);
            let msg = format!("the feature server answered {}: {text}", status.as_u16());
            Err(ApiError::relayed(StatusCode::INTERNAL_SERVER_ERROR, msg))
        }
    }
}

/// The answer of jambonz's own API: as it is, its errors in the one form that all have here.
async fn passed_on(
    request: &ApiRequest<'_>,
    upstream: &Base,
    message: Message,
) -> Result<Response, ApiError> {
    let answer = request.context.client.post(upstream, None, message).await?;
    match answer.status {
        StatusCode::NO_CONTENT => Ok(empty(StatusCode::NO_CONTENT)),
        status if status.is_success() && is_json(&answer.body) => Ok(json(status, answer.body)),
        status if status.is_success() => Err(not_json(&answer.body)),
        status if status.is_client_error() || status.is_server_error() => {
            Err(ApiError::relayed(status, text_of(&answer)))
        }
        status => Err(unexpected(status)),
    }
}

fn no_feature_server() -> ApiError {
    // Not in the registry of HTTP: SIP's "temporarily unavailable", which jambonz sends.
    let status = StatusCode::from_u16(480).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    ApiError::relayed(status, "no available feature servers at this time")
}

fn unexpected(status: StatusCode) -> ApiError {
    let msg = format!("the other side answered {status}, which is neither success nor error");
    ApiError::relayed(StatusCode::BAD_GATEWAY, msg)
}

fn not_json(body: &[u8]) -> ApiError {
    let shown: String = String::from_utf8_lossy(body).chars().take(80).collect();
    let msg = format!("the other side's answer is not JSON: {shown:?}");
    ApiError::relayed(StatusCode::INTERNAL_SERVER_ERROR, msg)
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// What an error says: its `msg`, else its text, else the words of its status.
fn text_of(answer: &UpstreamResponse) -> String {
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let msg = json.as_ref().and_then(|json| json.get("msg")?.as_str());
    let text = msg.map_or_else(|| String::from_utf8_lossy(&answer.body), Into::into);
    match text.trim() {
        "" => answer.status.canonical_reason().unwrap_or("no reason was given").to_owned(),
        text => text.chars().take(REPEATED_CHARS).collect(),
    }
}

impl From<RequestError> for ApiError {
    fn from(failure: RequestError) -> Self {
        let status = match failure {
            // As in jambonz, where no answer came.
            RequestError::Unreached { .. } | RequestError::Lost { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            RequestError::Denied { .. } | RequestError::TooLarge { .. } => StatusCode::BAD_GATEWAY,
            RequestError::Late { .. } => StatusCode::GATEWAY_TIMEOUT,
        };
        Self::relayed(status, failure.to_string())
    }
}
