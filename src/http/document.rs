//! The API's description, in `OpenAPI` 3.1, and the answers that are made of it: the document
//! itself, a page to read, a text for language models, and the page that leads to these.
//!
//! `openapi.json` is written by hand. `tests/it/api/openapi.rs` holds it against the binary.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};

use super::error::ApiError;
use super::gzip;
use super::ordered::OrderedValue;
use super::request::ApiRequest;
use super::response::{JSON, Response, empty};
use super::{docs, llms};

/// The methods of a path, in the order in which they are shown.
const METHODS: [&str; 5] = ["get", "head", "put", "post", "delete"];

/// Statuses that nearly every operation may answer, and that are told once.
pub(super) const COMMON: [&str; 5] = ["400", "401", "403", "429", "503"];

/// What the examples take from the environment.
pub(super) const SETUP: &str = "\
export ROLLCALL=https://localhost:8443
export TOKEN=$(cat rollcall-data/admin.token)
export ACCOUNT=9351f46a-678c-43f5-b8a6-d4eb58d131af
export CALL=c0000000-0000-4000-8000-000000000001
# Where rollcall has made its own certificate:
export CURL_CA_BUNDLE=rollcall-data/tls/ca.pem";

static SOURCE: LazyLock<String> = LazyLock::new(|| {
    let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
    include_str!("openapi.json").replacen("\"version\": \"0.0.0\"", version, 1)
});

static OPENAPI: LazyLock<StaticPage> =
    LazyLock::new(|| StaticPage::new(JSON, None, SOURCE.clone()));

static DOCS: LazyLock<StaticPage> = LazyLock::new(|| {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let policy = HeaderValue::from_str(&docs::policy()).ok();
    StaticPage::new(kind, policy, docs::page(&OpenApi::own()))
});

static FRONT: LazyLock<StaticPage> = LazyLock::new(|| {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let policy = HeaderValue::from_str(&docs::policy()).ok();
    StaticPage::new(kind, policy, docs::front(&OpenApi::own()))
});

static LLMS: LazyLock<StaticPage> = LazyLock::new(|| {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    StaticPage::new(kind, None, llms::text(&OpenApi::own()))
});

/// `GET /`: where to go from here. Health checks that are not told a path ask for it.
pub(super) fn front(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    Ok(FRONT.reply(request.headers))
}

/// `GET /openapi.json`.
pub(super) fn openapi(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    Ok(OPENAPI.reply(request.headers))
}

/// `GET /docs`.
pub(super) fn docs(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    Ok(DOCS.reply(request.headers))
}

/// `GET /llms.txt`.
pub(super) fn llms(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    Ok(LLMS.reply(request.headers))
}

/// A body that is the same for everybody.
struct StaticPage {
    kind: HeaderValue,
    policy: Option<HeaderValue>,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl StaticPage {
    fn new(kind: HeaderValue, policy: Option<HeaderValue>, body: String) -> Self {
        let gzip = gzip::whole(body.as_bytes()).map(Bytes::from);
        Self { kind, policy, plain: body.into(), gzip }
    }

    fn reply(&self, asked: &HeaderMap) -> Response {
        let zipped = self.gzip.clone().filter(|_| gzip::accepted(asked));
        let mut reply = empty(StatusCode::OK);
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, self.kind.clone());
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if zipped.is_some() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(policy) = &self.policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
        *reply.body_mut() = zipped.unwrap_or_else(|| self.plain.clone()).into();
        reply
    }
}

/// The description, taken apart.
pub(super) struct OpenApi(OrderedValue);

/// What one method of one path does.
pub(super) struct Operation<'a> {
    /// In lower case.
    pub method: &'a str,
    /// With the names of its parameters in braces.
    pub path: &'a str,
    pub node: &'a OrderedValue,
    /// Those of the path and of the operation.
    pub parameters: Vec<&'a OrderedValue>,
}

impl Operation<'_> {
    /// Whether it needs no token.
    pub fn is_open(&self) -> bool {
        self.node.has("security") && self.node.get("security").items().is_empty()
    }

    /// A command that tries the operation out; what it takes from the environment is in [`SETUP`].
    pub fn curl(&self) -> String {
        let mut path = self.path.to_owned();
        for parameter in &self.parameters {
            let name = parameter.get("name").text();
            let variable = name.trim_end_matches("Sid").to_uppercase();
            path = path.replace(&format!("{{{name}}}"), &format!("${variable}"));
        }
        let query = self.node.get("x-example-query").text();
        if !query.is_empty() {
            let _infallible = write!(path, "?{query}");
        }
        let mut command = "curl".to_owned();
        let body = self.node.get("requestBody").get("content").members().first();
        match self.method {
            "get" => {}
            "post" if body.is_some() => {}
            method => {
                let _infallible = write!(command, " -X {}", method.to_uppercase());
            }
        }
        if self.is_open() {
            let _infallible = write!(command, " \"$ROLLCALL{path}\"");
        } else {
            command.push_str(" -H \"Authorization: Bearer $TOKEN\"");
            let _infallible = write!(command, " \\\n  \"$ROLLCALL{path}\"");
        }
        if let Some((_, media)) = body {
            let json = media.get("example").to_string().replace('\'', "'\\''");
            let _infallible = write!(command, " \\\n  --json '{json}'");
        }
        command
    }
}

impl OpenApi {
    /// That of this binary.
    pub fn own() -> Self {
        Self(serde_json::from_str(&SOURCE).unwrap_or(OrderedValue::Null))
    }

    /// A member of the whole.
    pub fn get(&self, name: &str) -> &OrderedValue {
        self.0.get(name)
    }

    /// What a reference leads to; anything else is itself.
    pub fn resolve<'a>(&'a self, node: &'a OrderedValue) -> &'a OrderedValue {
        match node.get("$ref").text().strip_prefix("#/") {
            Some(path) => path.split('/').fold(&self.0, OrderedValue::get),
            None => node,
        }
    }

    /// The operations of a tag, but for HEAD.
    pub fn operations<'a>(&'a self, tag: &str) -> Vec<Operation<'a>> {
        let mut found = Vec::new();
        for (path, item) in self.get("paths").members() {
            let shown = METHODS.into_iter().filter(|method| *method != "head");
            for method in shown.filter(|method| item.has(method)) {
                let node = item.get(method);
                if node.get("tags").items().iter().any(|name| name.text() == tag) {
                    let own = node.get("parameters").items();
                    let all = item.get("parameters").items().iter().chain(own);
                    let parameters = all.map(|node| self.resolve(node)).collect();
                    found.push(Operation { method, path, node, parameters });
                }
            }
        }
        found
    }

    /// The errors of [`COMMON`], with what they mean.
    pub fn common_errors(&self) -> Vec<(&'static str, &OrderedValue)> {
        let list = self.get("paths").get("/v1/Accounts/{AccountSid}/Calls").get("get");
        let meaning = |status| self.resolve(list.get("responses").get(status));
        COMMON.into_iter().map(|status| (status, meaning(status))).collect()
    }
}

/// How the parts of a schema's summary are written.
pub(super) struct Words {
    pub plain: fn(&str) -> String,
    /// A value as it is sent.
    pub code: fn(&str) -> String,
    /// The name of another schema.
    pub link: fn(&str) -> String,
}

impl Words {
    /// What a schema lets through, in a few words.
    pub fn kind(&self, schema: &OrderedValue) -> String {
        let reference = schema.get("$ref").text();
        if let Some(name) = reference.rsplit('/').next().filter(|name| !name.is_empty()) {
            return (self.link)(name);
        }
        let either = ["oneOf", "anyOf"].into_iter().flat_map(|word| schema.get(word).items());
        let either = either.map(|schema| self.kind(schema)).filter(|kind| !kind.is_empty());
        let either: Vec<String> = either.collect();
        if !either.is_empty() && !schema.has("properties") {
            return either.join(" or ");
        }
        if schema.has("const") {
            return match schema.get("const") {
                OrderedValue::Text(text) => (self.code)(text),
                other => (self.code)(&other.to_string()),
            };
        }
        if schema.has("enum") {
            let words = schema.get("enum").items().iter();
            return words.map(|word| (self.code)(word.text())).collect::<Vec<_>>().join(" | ");
        }
        if schema.has("items") {
            return format!("list of {}", self.kind(schema.get("items")));
        }
        if schema.has("properties") {
            return self.members(schema);
        }
        let mut types: Vec<&str> =
            schema.get("type").items().iter().map(OrderedValue::text).collect();
        types.push(schema.get("type").text());
        types.retain(|word| !word.is_empty());
        let mut text = match schema.get("format").text() {
            "" => (self.plain)(&types.join(" or ")),
            format => (self.plain)(format),
        };
        if schema.has("maximum") {
            let (least, most) = (schema.get("minimum"), schema.get("maximum"));
            let _infallible = write!(text, ", {least} to {most}");
        }
        text
    }

    /// `{needed: kind, further?: kind}`
    fn members(&self, schema: &OrderedValue) -> String {
        let required = schema.get("required").items();
        let member = |(key, property): &(String, OrderedValue)| {
            let mark = if required.iter().any(|name| name.text() == key) { "" } else { "?" };
            let key = (self.plain)(key);
            match &*self.kind(property) {
                "" => format!("{key}{mark}"),
                kind => format!("{key}{mark}: {kind}"),
            }
        };
        let members: Vec<String> = schema.get("properties").members().iter().map(member).collect();
        format!("{{{}}}", members.join(", "))
    }

    /// What a body may be: `application/json Call, or text/csv`.
    pub fn bodies(&self, content: &[(String, OrderedValue)]) -> String {
        let body = |(name, media): &(String, OrderedValue)| {
            let schema = media.get("schema");
            let kind = match schema.get("description").text() {
                "" => self.kind(schema),
                says => format!("({})", (self.plain)(says.trim_end_matches('.'))),
            };
            format!("{} {kind}", (self.code)(name)).trim_end().to_owned()
        };
        content.iter().map(body).collect::<Vec<_>>().join(", or ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{changes, health, query};
    use super::*;

    #[test]
    fn every_parameter_that_is_read_is_described_and_no_other() {
        let document = OpenApi::own();
        let mut queries = 0;
        for (path, item) in document.get("paths").members() {
            let read: &[&str] = match path.as_str() {
                "/v1/Accounts/{AccountSid}/Calls" => &query::PARAMETERS,
                "/v1/Accounts/{AccountSid}/CallStats" => &["start", "end"],
                path if path.ends_with("/changes") => &changes::PARAMETERS,
                "/readyz" => &health::PARAMETERS,
                _ => &[],
            };
            for method in METHODS.into_iter().filter(|method| item.has(method)) {
                let own = item.get(method).get("parameters").items();
                let own = own.iter().map(|parameter| document.resolve(parameter));
                let own = own.filter(|parameter| parameter.get("in").text() == "query");
                let own: Vec<&str> = own.map(|parameter| parameter.get("name").text()).collect();
                let expected = if matches!(method, "get" | "head") { read } else { &[] };
                assert_eq!(own, expected, "{method} {path}");
                queries += own.len();
            }
        }
        assert_eq!(queries, 2 * (17 + 2 + 2 + 2 + 1));
    }
}
