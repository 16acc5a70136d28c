//! `POST /v1/hooks/call-status`: events in.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use http::header::HeaderName;
use http::{HeaderMap, Method, StatusCode};
use warp::{Buf, Stream};

use super::Context;
use super::auth::{Deed, Principal, bearer, credentials};
use super::body::{content_type, read_body};
use super::purse::Bearer;
use super::reply::{Refusal, Reply, empty};
use super::routes::Request;
use crate::clock;
use crate::domain::{AccountSid, StampedEvent, Timestamp};
use crate::store::Change;
use crate::wire::{parse_event, pieces};

pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("jambonz-signature");
/// How far a signature's time may be from this machine's clock, in seconds.
const SIGNATURE_SECONDS: u64 = 5 * 60;

/// Whose events a request may bring.
enum Sender {
    /// Known by a token.
    Token(Principal),
    /// Known by its own user and password.
    Account(AccountSid),
    /// To be known by the signature of the body.
    Signature(Signature),
}

/// Takes events, all of them or none. 204 once they are on disk.
pub(super) async fn call_status<B: Buf>(
    request: &Request<'_>,
    body: impl Stream<Item = Result<B, warp::Error>> + Send,
) -> Result<Reply, Refusal> {
    if *request.method != Method::POST {
        return Err(Refusal::method("POST"));
    }
    let context = request.context;
    let sender = sender(context, request.headers)?;
    let bearer =
        if matches!(sender, Sender::Signature(_)) { Bearer::Unknown } else { Bearer::Known };
    let body = read_body(context, request.headers, bearer, body).await?;
    let now = clock::now();
    // Whoever sends a byte that is no UTF-8 does not send the event again in another encoding.
    let text = String::from_utf8_lossy(&body);
    let texts = split(context, request.headers, &text)?;
    let sender = match sender {
        Sender::Signature(signature) => {
            // Whoever is not known yet is to cost no more than one event.
            let Some(first) = texts.first() else { return Err(Refusal::unauthorized(true)) };
            let account = event(context, &texts, 0, first)?.id.account;
            signature.verify(context, account, &body, now)?;
            Sender::Account(account)
        }
        known => known,
    };
    let numbered = texts.iter().enumerate();
    let events = numbered.map(|(n, text)| event(context, &texts, n, text));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let meter = context.store.meter();
    meter.events_received.add(events.len() as u64);
    events.iter().flat_map(|event| &event.unread).for_each(|field| meter.unread(field));
    within(context, &sender, &events)?;
    if events.is_empty() {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let changes = events.into_iter().map(|event| Change::Event(Box::new(event))).collect();
    context.store.submit(changes, now)?.durable().await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn sender(context: &Context, headers: &HeaderMap) -> Result<Sender, Refusal> {
    if let Some(signature) = headers.get(SIGNATURE) {
        let signature = signature.to_str().ok().and_then(Signature::parse);
        let malformed = || {
            Refusal::bad("Jambonz-Signature: expected t=<unix seconds>,v1=<64 hexadecimal digits>")
        };
        return signature.map(Sender::Signature).ok_or_else(malformed);
    }
    match credentials(headers)? {
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("basic") => {
            let account = basic(context, value).ok_or_else(|| Refusal::unauthorized(false))?;
            Ok(Sender::Account(account))
        }
        _ => {
            let principal = bearer(context, headers)?;
            principal.may(Deed::Ingest)?;
            Ok(Sender::Token(principal))
        }
    }
}

/// The account whose hook user and password these are (RFC 7617).
fn basic(context: &Context, value: &str) -> Option<AccountSid> {
    let decoded = BASE64.decode(value.as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    context.store.access(|access| {
        let account = access.account_by_hook_user(user)?;
        let right = account.hook_password.as_ref()?.matches(password);
        right.then_some(account.account_sid)
    })
}

/// Whether the sender may bring all of these.
fn within(context: &Context, sender: &Sender, events: &[StampedEvent]) -> Result<(), Refusal> {
    let mut accounts = events.iter().map(|event| event.id.account);
    match sender {
        Sender::Token(principal) => {
            accounts.try_for_each(|account| principal.reaches(context, account))
        }
        Sender::Account(own) if accounts.all(|account| account == *own) => Ok(()),
        _ => Err(Refusal::forbidden(
            "insufficient permissions: these credentials bring events of one account alone",
        )),
    }
}

/// `t=<unix seconds>,v1=<hex>[,v1=<hex>…]`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub seconds: u64,
    /// As it was sent: it is part of what is signed.
    pub time: String,
    pub digests: Vec<Vec<u8>>,
}

impl Signature {
    pub fn parse(text: &str) -> Option<Self> {
        let (mut time, mut digests) = (None, Vec::new());
        for part in text.split(',') {
            match part.trim().split_once('=')? {
                ("t", value) => time = Some(value.to_owned()),
                ("v1", value) => digests.push(HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok()?),
                _ => {}
            }
        }
        let time = time?;
        let seconds = time.parse().ok()?;
        (!digests.is_empty() && digests.len() <= 4).then_some(Self { seconds, time, digests })
    }

    /// HMAC-SHA256 with the account's secret over `<t>.<raw body>`.
    fn verify(
        &self,
        context: &Context,
        account: AccountSid,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let refused = || Refusal::unauthorized(true);
        if self.seconds.abs_diff(now.millis() / 1000) > SIGNATURE_SECONDS {
            return Err(refused());
        }
        let secret = context.store.access(|access| access.account(account)?.webhook_secret.clone());
        let secret = secret.ok_or_else(refused)?;
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.reveal().as_bytes());
        let signed = [self.time.as_bytes(), b".", body].concat();
        let right = |digest: &Vec<u8>| ring::hmac::verify(&key, &signed, digest).is_ok();
        if self.digests.iter().any(right) { Ok(()) } else { Err(refused()) }
    }
}

/// The texts of all events in a body.
fn split<'a>(
    context: &Context,
    headers: &HeaderMap,
    body: &'a str,
) -> Result<Vec<&'a str>, Refusal> {
    let kind = content_type(headers);
    let texts = pieces(body, kind.eq_ignore_ascii_case("application/x-ndjson"))?;
    if texts.len() > context.batch_events {
        let most = context.batch_events;
        let msg = format!("{} events: a request has at most {most}", texts.len());
        return Err(Refusal::too_large(msg));
    }
    Ok(texts)
}

/// Event number `n` of these.
fn event(context: &Context, texts: &[&str], n: usize, text: &str) -> Result<StampedEvent, Refusal> {
    parse_event(text, clock::moment(), &context.service_url).map_err(|error| {
        if texts.len() > 1 {
            Refusal::bad(format!("event {}: {error}", n + 1))
        } else {
            error.into()
        }
    })
}
