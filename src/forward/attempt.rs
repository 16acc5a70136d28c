//! One attempt to deliver a hook: signed with the time of the attempt, and judged by the answer.

use data_encoding::{BASE64, HEXLOWER};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::access::Secret;
use crate::config::{ForwardTarget, TargetUrl};
use crate::domain::Timestamp;
use crate::meter::Undelivered;
use crate::outbound::{Client, KeptConnections, Message, RequestError};
use crate::store::{HookContent, HookHead};

const SIGNATURE: HeaderName = HeaderName::from_static("jambonz-signature");
const B3: HeaderName = HeaderName::from_static("b3");
/// The same at each attempt, so that the receiver can tell a repetition.
const DELIVERY: HeaderName = HeaderName::from_static("rollcall-delivery");

/// Where hooks go, and what they bring.
pub(super) struct Destination {
    url: TargetUrl,
    authorization: Option<HeaderValue>,
    kept: KeptConnections,
}

/// Why a hook was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedAttempt {
    pub how: Undelivered,
    pub why: String,
    /// It may be about this hook, and not about the target.
    pub of_hook: bool,
}

impl Destination {
    /// That of a target, with its password.
    pub fn new(target: &ForwardTarget, password: Option<&Secret>) -> Self {
        let authorization = target.user.as_deref().zip(password).and_then(|(user, password)| {
            let encoded = BASE64.encode(format!("{user}:{}", password.reveal()).as_bytes());
            let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { url: target.url.clone(), authorization, kept: KeptConnections::default() }
    }

    /// Closes connections that were not used for a while.
    pub fn close_idle(&self) {
        self.kept.close_idle();
    }

    /// Closes all connections.
    pub fn close(&self) {
        self.kept.close();
    }

    /// Sends a hook. The signature has the time of this attempt; without a secret there is none.
    pub async fn send(
        &self,
        client: &Client,
        head: &HookHead,
        content: HookContent,
        secret: Option<&Secret>,
        now: Timestamp,
    ) -> Result<(), FailedAttempt> {
        let mut headers = HeaderMap::new();
        let mut put = |name, value: &[u8]| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        };
        put(DELIVERY, head.delivery_id().as_bytes());
        if !content.b3.is_empty() {
            put(B3, &content.b3);
        }
        if !content.content_type.is_empty() {
            put(CONTENT_TYPE, &content.content_type);
        }
        if let Some(secret) = secret {
            put(SIGNATURE, signature(secret, now, &content.body).as_bytes());
        }
        debug_assert!(!headers.contains_key(AUTHORIZATION), "it has a place of its own");
        let message = Message {
            path: self.url.path().to_owned(),
            authorization: self.authorization.clone(),
            headers,
            body: content.body,
        };
        let answer = client.deliver(self.url.origin(), &self.kept, message).await;
        judged(answer)
    }
}

/// `Jambonz-Signature` of a body: `t=<unix seconds>,v1=<hex>`.
fn signature(secret: &Secret, now: Timestamp, body: &[u8]) -> String {
    let time = (now.millis() / 1000).to_string();
    let digest = secret.sign(&[time.as_bytes(), b".", body]);
    format!("t={time},v1={}", HEXLOWER.encode(digest.as_ref()))
}

fn judged(answer: Result<StatusCode, RequestError>) -> Result<(), FailedAttempt> {
    let failed = |how, why: String, of_hook| Err(FailedAttempt { how, why, of_hook });
    match answer {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => {
            let how = match status.as_u16() {
                300..=399 => Undelivered::Redirected,
                500..=599 => Undelivered::Failed,
                _ => Undelivered::Refused,
            };
            let not_followed = match how {
                Undelivered::Redirected => ", and redirects are not followed",
                _ => "",
            };
            let why = format!("it answers {}{not_followed}", status.as_u16());
            failed(how, why, is_of_hook(status))
        }
        Err(error) => {
            let how = match &error {
                RequestError::Unreached { .. } | RequestError::Denied { .. } => {
                    Undelivered::Unreached
                }
                RequestError::Late { .. } => Undelivered::Late,
                RequestError::Lost { .. } | RequestError::TooLarge { .. } => Undelivered::Lost,
            };
            failed(how, error.to_string(), false)
        }
    }
}

/// Whether another hook may have another answer.
fn is_of_hook(status: StatusCode) -> bool {
    match status.as_u16() {
        401 | 403..=405 | 407 | 408 | 429 => false,
        400..=500 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_jambonz() {
        // The first of the recorded webhooks.
        let recorded = include_str!("../../tests/fixtures/status-hooks.jsonl").lines().next();
        let recorded: serde_json::Value = serde_json::from_str(recorded.unwrap()).unwrap();
        let headers = recorded["headers"].as_array().unwrap();
        let at = headers.iter().position(|name| name == "Jambonz-Signature").unwrap();
        let secret = Secret::new("wh_secret_cJqgtMDPzDhhnjmaJH6Mtk");
        let now = Timestamp::from_millis(1_795_853_787_999).unwrap();
        let body = recorded["body"].as_str().unwrap();
        assert_eq!(signature(&secret, now, body.as_bytes()), headers[at + 1].as_str().unwrap());
    }

    #[test]
    fn only_2xx_is_a_success() {
        for (status, how) in [
            (200, None),
            (202, None),
            (204, None),
            (301, Some(Undelivered::Redirected)),
            (404, Some(Undelivered::Refused)),
            (429, Some(Undelivered::Refused)),
            (503, Some(Undelivered::Failed)),
        ] {
            let judged = judged(Ok(StatusCode::from_u16(status).unwrap()));
            assert_eq!(judged.err().map(|failed| failed.how), how, "{status}");
        }
    }
    #[test]
    fn what_may_be_about_one_hook_is_told_from_what_is_about_the_target() {
        let of_hook = |status: u16| {
            let judged = judged(Ok(StatusCode::from_u16(status).unwrap()));
            judged.unwrap_err().of_hook
        };
        assert!([400, 402, 406, 409, 413, 422, 451, 500].into_iter().all(of_hook));
        assert!(![101, 301, 401, 403, 404, 405, 408, 429, 502, 503].into_iter().any(of_hook));
    }
}
