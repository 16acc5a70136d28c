//! Request bodies: reading them, and the fields of those that control calls.

use std::ops::Deref;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::{Map, Value};

use super::body_budget::{BodyOwner, BodyPermit, FREE};
use super::error::ApiError;
use super::request::{ApiRequest, RequestBody};
use crate::wire::replace_lone_surrogates;

/// Some senders put it before JSON (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const FORM_PAIRS: usize = 1000;
/// Brackets of a name in a form.
const FORM_DEPTH: usize = 5;

/// A whole body, and its share of the memory for bodies for as long as it is there.
pub(super) struct Body<'a> {
    bytes: Bytes,
    _permit: BodyPermit<'a>,
}

impl Body<'_> {
    /// The bytes, which may outlive their share of the memory for bodies.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The whole body, within the limits of size, time and memory.
pub(super) async fn read_body<'a>(
    request: &mut ApiRequest<'a>,
    owner: BodyOwner,
) -> Result<Body<'a>, ApiError> {
    let (context, headers) = (request.context, request.headers);
    let limit = context.config.limits.body_bytes;
    let encoding = headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| encoding != b"identity") {
        return Err(ApiError::unsupported("Content-Encoding: expected none"));
    }
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large(limit));
    }
    let permit = context.bodies.open(owner);
    let read = whole(&mut request.body, announced.unwrap_or(limit), limit, permit);
    tokio::time::timeout(context.config.limits.body, read)
        .await
        .unwrap_or_else(|_| Err(ApiError::slow_body()))
}

/// The whole body, of which no more than `most` bytes are announced, with the permit for what it takes.
async fn whole<'a>(
    body: &mut RequestBody<'_>,
    most: usize,
    limit: usize,
    mut permit: BodyPermit<'a>,
) -> Result<Body<'a>, ApiError> {
    let cut_off = |_| ApiError::bad("the request body was cut off");
    let Some(first) = body.try_next().await.map_err(cut_off)? else {
        return Ok(Body { bytes: Bytes::new(), _permit: permit });
    };
    if first.len() > limit {
        return Err(too_large(limit));
    }
    permit.grow(first.len())?;
    // A body that comes in one part stays where it is.
    let Some(mut part) = body.try_next().await.map_err(cut_off)? else {
        return Ok(Body { bytes: first, _permit: permit });
    };
    // What does not come takes no more memory than is free.
    let mut bytes = Vec::with_capacity(most.min(FREE).max(first.len()));
    bytes.extend_from_slice(&first);
    drop(first);
    loop {
        let length = bytes.len() + part.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if length > bytes.capacity() {
            // The permit is for the capacity, which is up to twice of what has come.
            let capacity = (2 * bytes.capacity()).clamp(length, most.max(length));
            permit.grow(capacity)?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&part);
        match body.try_next().await.map_err(cut_off)? {
            Some(more) => part = more,
            None => return Ok(Body { bytes: bytes.into(), _permit: permit }),
        }
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::too_large(format!("a request body has at most {limit} bytes"))
}

/// The media type, without its parameters.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

/// The fields of a JSON object or a form. As in jambonz, a body of another type has none, nor has
/// an array.
pub(super) fn fields(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let kind = content_type(headers);
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return form(body);
    }
    if !kind.eq_ignore_ascii_case("application/json") || body.is_empty() {
        return Ok(Map::new());
    }
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let wrong = |error: String| ApiError::bad(format!("the request body is not JSON: {error}"));
    let text = std::str::from_utf8(body).map_err(|error| wrong(error.to_string()))?;
    let value: Value = serde_json::from_str(&replace_lone_surrogates(text))
        .map_err(|error| wrong(error.to_string()))?;
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Array(_) => Ok(Map::new()),
        _ => Err(ApiError::bad("the request body is not a JSON object")),
    }
}

/// `a=1&b[c]=2&d[]=3`: brackets name what is within.
fn form(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let mut whole = Value::Object(Map::new());
    for (n, (name, text)) in form_urlencoded::parse(body).enumerate() {
        let path = form_path(&name);
        if n >= FORM_PAIRS || path.len() > FORM_DEPTH + 1 {
            return Err(ApiError::bad(format!(
                "a form has at most {FORM_PAIRS} pairs, and {FORM_DEPTH} brackets in a name"
            )));
        }
        put(&mut whole, &path, &text);
    }
    match whole {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// The parts of `a[b][c]`; a name whose brackets do not fit is one part.
fn form_path(name: &str) -> Vec<&str> {
    let Some((first, rest)) = name.split_once('[') else { return vec![name] };
    let Some(rest) = rest.strip_suffix(']').filter(|_| !first.is_empty()) else {
        return vec![name];
    };
    std::iter::once(first).chain(rest.split("][")).collect()
}

/// Puts a text where the path leads. Of what contradicts an earlier pair nothing is taken.
fn put(place: &mut Value, path: &[&str], text: &str) {
    let Some((name, rest)) = path.split_first() else {
        match place {
            Value::Null => *place = Value::from(text),
            Value::Array(several) => several.push(Value::from(text)),
            Value::String(one) => *place = Value::from(vec![one.as_str(), text]),
            _ => {}
        }
        return;
    };
    if name.is_empty() && rest.is_empty() {
        if place.is_null() {
            *place = Value::Array(Vec::new());
        }
        return put(place, rest, text);
    }
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    if let Value::Object(fields) = place {
        put(fields.entry(*name).or_insert(Value::Null), rest, text);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use futures_util::stream;
    use serde_json::json;

    use super::super::body_budget::BodyBudget;
    use super::*;

    const LIMIT: usize = 1 << 20;

    #[tokio::test]
    async fn memory_is_held_for_as_long_as_the_body_is_there() {
        for parts in [1, 4] {
            let budget = BodyBudget::new(LIMIT);
            let read = async || {
                let part = Bytes::from(vec![b' '; LIMIT / parts]);
                let mut body = pin!(stream::iter(vec![part; parts].into_iter().map(Ok)));
                let mut body: RequestBody<'_> = Pin::as_mut(&mut body);
                whole(&mut body, LIMIT, LIMIT, budget.open(BodyOwner::Unauthenticated(None))).await
            };
            let mut held = Vec::new();
            while let Ok(body) = read().await {
                assert_eq!(body.len(), LIMIT, "{parts}");
                held.push(body);
                assert!(held.len() < 100, "{parts}: no body takes any memory");
            }
            assert!(held.len() > 1, "{parts}");
            held.clear();
            assert!(read().await.is_ok(), "{parts}");
        }
    }

    #[test]
    fn brackets_in_a_form_name_what_is_within() {
        for (body, fields) in [
            (
                "a=1&to[type]=phone&to%5Bnumber%5D=%2B2",
                json!({"a": "1", "to": {"type": "phone", "number": "+2"}}),
            ),
            ("a=1&a=2&b[]=3&b[]=4", json!({"a": ["1", "2"], "b": ["3", "4"]})),
            ("a[b][c]=x+y", json!({"a": {"b": {"c": "x y"}}})),
            ("a=1&a[b]=2&a[=3&[x]=4", json!({"a": "1", "a[": "3", "[x]": "4"})),
            ("", json!({})),
        ] {
            assert_eq!(Value::Object(form(body.as_bytes()).unwrap()), fields, "{body}");
        }
        assert!(form(b"a[b][c][d][e][f][g]=1").is_err());
        assert!(form("a&".repeat(1001).as_bytes()).is_err());
    }
}
