//! `POST /v1/hooks/call-status`: events in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, StatusCode};

mod sender;

#[cfg(feature = "fuzzing")]
pub(super) use sender::Signature;
pub(super) use sender::{name_account, presented};

use sender::HookSender;

use super::ApiContext;
use super::auth_throttle::network;
use super::body::{Body, content_type, read_body};
use super::error::{ApiError, Why};
use super::request::ApiRequest;
use super::response::{Response, accepted_reply, empty};
use crate::clock;
use crate::domain::{ApplicationSid, CallField, CallSid, StampedEvent};
use crate::logs::masked;
use crate::meter::Cause;
use crate::store::{Change, HOOK_CALLS_MAX, Hook};
use crate::wire::{WireError, parse_event, pieces};

/// The trace of jambonz.
const B3: HeaderName = HeaderName::from_static("b3");
/// What names a webhook that a server like this one passes on.
const DELIVERY: HeaderName = HeaderName::from_static("rollcall-delivery");

/// Media types of bodies with an event a line.
const NDJSON: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines"];

/// Takes events, all of them or none. 204 once they are on disk.
pub(super) async fn call_status(request: &mut ApiRequest<'_>) -> Result<Response, ApiError> {
    let context = request.context;
    let mut sender = HookSender::of_head(request, clock::now())?;
    request.recognise(sender.is_authenticated());
    let owner = sender.owner(request.peer().map(|peer| network(peer.ip())));
    let body = read_body(request, owner).await;
    let body = body.map_err(|error| blamed(error.logged(), &sender))?;
    // Of the body only the first account is looked at before its sender is authenticated.
    sender.check_body(context, &body)?;
    request.recognise(true);
    let taken = take(request, &sender, &body).await;
    let mut reply = taken.map_err(|error| blamed(error, &sender))?;
    if let Some(why) = sender.beside() {
        warn(context, &why);
        reply.extensions_mut().insert(why);
    }
    Ok(reply)
}

/// 405, for a hook that is set to another method.
pub(super) fn wrong_method(allowed: &str) -> ApiError {
    let msg = format!(
        "this path answers {allowed}, with events as the body: is the method of the call status \
         hook in jambonz {allowed}?"
    );
    let why = Why { causes: vec![Cause::Method], ..Why::default() };
    ApiError::method(allowed, msg).because(why)
}

/// What the body of an authenticated sender says.
async fn take(
    request: &ApiRequest<'_>,
    sender: &HookSender,
    body: &Body<'_>,
) -> Result<Response, ApiError> {
    let context = request.context;
    let now = clock::now();
    let byte_order_marks: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
    if byte_order_marks.iter().any(|mark| body.starts_with(mark)) {
        return Err(ApiError::bad("the request body is UTF-16; expected UTF-8").logged());
    }
    // A sender of a byte that is no UTF-8 does not send the event again in another encoding.
    let text = String::from_utf8_lossy(body);
    let texts = split(context, request.headers, &text)?;
    let numbered = texts.iter().enumerate();
    let events = numbered.map(|(n, text)| event(context, &texts, n, text));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let meter = context.store.meter();
    meter.events_received.inc_by(events.len() as u64);
    events.iter().flat_map(|event| &event.unread).for_each(|field| meter.unread(field));
    sender.may_bring(context, &events)?;
    if events.is_empty() {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let mut accounts: Vec<_> = events.iter().map(|event| event.id.account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let hook = forwarded(request, &events, body);
    let events = events.into_iter().map(|event| Change::Event(Box::new(event)));
    let changes = events.chain(hook.map(Change::Forward)).collect();
    let accepted = context.intake.submit(changes, now).await?;
    for account in accounts {
        context.store.meter().hooks.taken(account, now);
    }
    Ok(accepted_reply(&accepted))
}

/// The hook that is to be passed on, where a target wants it. A body with events of several accounts is for none,
/// nor is one that is being passed on and has come back.
fn forwarded(
    request: &ApiRequest<'_>,
    events: &[StampedEvent],
    body: &Body<'_>,
) -> Option<Arc<Hook>> {
    let store = &request.context.store;
    let account = events.first()?.id.account;
    let application = |event: &StampedEvent| {
        event.texts.get(CallField::ApplicationSid as usize)?.as_deref()?.parse().ok()
    };
    let applications: Option<BTreeSet<ApplicationSid>> = events.iter().map(application).collect();
    let applications = applications.map(Vec::from_iter);
    let own = events.iter().filter(|event| event.id.account == account).count();
    if own < events.len() {
        let wanted = |event: &StampedEvent| store.forwards(event.id.account, None);
        if events.iter().any(wanted) {
            store.meter().forward.passed_over.inc();
        }
        return None;
    }
    if !store.forwards(account, applications.as_deref()) {
        return None;
    }
    let calls: BTreeSet<CallSid> = events.iter().map(|event| event.id.sid).collect();
    let id = request.headers.get(DELIVERY).and_then(|id| id.to_str().ok());
    // A target that leads here again must not have it sent for ever.
    let comes_back = id.is_some_and(|id| store.is_on_its_way(id));
    if comes_back || calls.len() > HOOK_CALLS_MAX {
        store.meter().forward.passed_over.inc();
        return None;
    }
    let calls = calls.into_iter().collect();
    let header = |name: HeaderName| {
        request.headers.get(name).map(|value| value.as_bytes().to_vec()).unwrap_or_default()
    };
    let (content_type, b3) = (header(CONTENT_TYPE), header(B3));
    let body = body.bytes();
    Some(Arc::new(Hook { account, applications, calls, content_type, b3, body, origin: None }))
}

/// An error that says whose request it was, if its sender is authenticated.
fn blamed(error: ApiError, sender: &HookSender) -> ApiError {
    let authenticated = sender.is_authenticated();
    let client = error.blames_client();
    error.or_because(|status| {
        let cause = cause(status);
        if authenticated || !client {
            return Why::of(sender.account(), cause);
        }
        let mut why = sender.why();
        why.causes.retain(|cause| *cause != Cause::NoCredentials);
        why.causes.insert(0, cause);
        why
    })
}

/// Why events were not taken, where nothing but the status of the answer tells.
pub(super) fn cause(status: StatusCode) -> Cause {
    match status.as_u16() {
        400 | 415 => Cause::Malformed,
        408 => Cause::SlowBody,
        413 => Cause::TooLarge,
        429 => Cause::TooManyRequests,
        500..=599 => Cause::Unavailable,
        _ => Cause::Other,
    }
}

/// Tells once a minute for each account that a credential beside the valid one is wrong.
fn warn(context: &ApiContext, why: &Why) {
    let Some((account, cause)) = why.account.zip(why.causes.first()) else { return };
    if context.store.meter().hooks.warns(account, Instant::now()) {
        let cause = cause.text();
        tracing::warn!(%account, "a webhook was taken by another credential: {cause}");
    }
}

/// The texts of all events in a body.
fn split<'a>(
    context: &ApiContext,
    headers: &HeaderMap,
    body: &'a str,
) -> Result<Vec<&'a str>, ApiError> {
    let kind = content_type(headers);
    let lines = NDJSON.iter().any(|known| kind.eq_ignore_ascii_case(known));
    let texts = pieces(body, lines).map_err(|error| malformed(&error, ""))?;
    if texts.len() > context.config.limits.batch_events {
        let most = context.config.limits.batch_events;
        let msg = format!("{} events: a request has at most {most}", texts.len());
        return Err(ApiError::too_large(msg).logged());
    }
    Ok(texts)
}

/// Event number `n` of these.
fn event(
    context: &ApiContext,
    texts: &[&str],
    n: usize,
    text: &str,
) -> Result<StampedEvent, ApiError> {
    parse_event(text, clock::moment(), context.config.hooks.service_url()).map_err(|error| {
        let which = if texts.len() > 1 { format!("event {}: ", n + 1) } else { String::new() };
        malformed(&error, &which)
    })
}

/// 400 for an event that cannot be taken; `which` of them names it where there are several.
fn malformed(error: &WireError, which: &str) -> ApiError {
    let detail = error.without_data();
    ApiError::bad(format!("{which}{error}")).logged_as(format!("{which}{}", masked(&detail)))
}
