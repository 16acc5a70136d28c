//! Requests that are signed, or have a user and a password.

use data_encoding::{BASE64, HEXLOWER};

use super::super::api::samples::now;
use super::super::harness::{Answer, Rollcall};
use super::post;

/// The webhook secret of account one.
pub const SECRET: &str = "wh-secret of account one";

/// HMAC-SHA256 over `<t>.<body>`.
pub fn mac(secret: &str, t: &str, body: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    ring::hmac::sign(&key, format!("{t}.{body}").as_bytes()).as_ref().to_vec()
}

/// The header of a request that is signed so many seconds from now.
pub fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let t = (now() / 1000 + seconds).to_string();
    format!("t={t},v1={}", HEXLOWER.encode(&mac(secret, &t, body)))
}

/// The header of a user and a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

pub fn post_signed(rollcall: &Rollcall, signature: &str, body: &str) -> Answer {
    post(rollcall, &[("jambonz-signature", signature)], body)
}

pub fn post_basic(rollcall: &Rollcall, user: &str, password: &str, body: &str) -> Answer {
    post(rollcall, &[("authorization", &basic(user, password))], body)
}
