//! What a token says of itself. It is read only once jambonz has accepted the token, so that its
//! signature needs no look; and it only ever narrows what the token may do.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use crate::domain::Timestamp;

/// What counts of a token's claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claims {
    /// Its own end; none for one that says none, as an API key.
    pub expires_at: Option<Timestamp>,
    /// It may only read.
    pub is_view_only: bool,
}

impl Claims {
    /// Those of a JWT. An API key has none, and one that looks like a JWT and is none only reads.
    pub fn of(token: &str) -> Self {
        let parts: Vec<&str> = token.split('.').collect();
        let [_, payload, _] = parts[..] else {
            return Self { expires_at: None, is_view_only: false };
        };
        let payload = BASE64URL_NOPAD.decode(payload.trim_end_matches('=').as_bytes());
        let claims = payload.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(Value::Object(claims)) = claims else {
            return Self { expires_at: None, is_view_only: true };
        };
        Self {
            expires_at: claims.get("exp").map(|exp| end(exp).unwrap_or_default()),
            is_view_only: claims.get("is_view_only").is_some_and(is_truthy),
        }
    }

    /// Its time is over.
    pub fn expired(self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Seconds since 1970, rounded down.
fn end(exp: &Value) -> Option<Timestamp> {
    let seconds = exp.as_u64().or_else(|| {
        let seconds = exp.as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was compared"
        )]
        Some(seconds as u64)
    })?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)).unwrap_or(Timestamp::MAX))
}

/// As JavaScript has it, which jambonz is written in.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn jwt(claims: &Value) -> String {
        format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()))
    }

    #[test]
    fn tokens_of_the_portal_are_read_as_they_are() {
        let recorded = include_str!("../../tests/fixtures/jwt-claims.json");
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        for (who, end, is_view_only) in [
            ("login_admin", 1_795_857_324, false),
            ("login_service_provider", 1_795_857_387, false),
            ("login_account_view_only", 1_795_857_387, true),
        ] {
            let expires_at = Timestamp::from_millis(end * 1000);
            let claims = Claims { expires_at, is_view_only };
            assert_eq!(Claims::of(&jwt(&recorded[who])), claims, "{who}");
        }
    }

    #[test]
    fn claims_say_when_a_token_ends_and_whether_it_only_reads() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        for (claims, expires_at, is_view_only) in [
            (json!({}), None, false),
            (json!({"exp": 1_795_857_324, "is_view_only": false}), at(1_795_857_324), false),
            (json!({"exp": 1_795_857_324.9, "is_view_only": true}), at(1_795_857_324), true),
            // What makes no sense is the least.
            (json!({"exp": "soon", "is_view_only": "yes"}), at(0), true),
            (json!({"exp": -5, "is_view_only": 1}), at(0), true),
            (json!({"exp": null, "is_view_only": {}}), at(0), true),
            (json!({"exp": u64::MAX, "is_view_only": 0}), Some(Timestamp::MAX), false),
            (json!({"is_view_only": null}), None, false),
            (json!({"is_view_only": ""}), None, false),
            (json!([1]), None, true),
        ] {
            assert_eq!(Claims::of(&jwt(&claims)), Claims { expires_at, is_view_only }, "{claims}");
        }
        let key = Claims { expires_at: None, is_view_only: false };
        assert_eq!(Claims::of("38700987-c7a4-4685-a5bb-af378f9734de"), key);
        for text in ["a.!.b", "a..b", ".."] {
            let narrow = Claims { expires_at: None, is_view_only: true };
            assert_eq!(Claims::of(text), narrow, "{text}");
        }
    }
}
