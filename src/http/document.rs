//! The API's description (OpenAPI 3.1) and the three answers that are made of it: the document
//! itself, a page to read, and a text for language models.
//!
//! `openapi.json` is written by hand. `tests/it/api/openapi.rs` holds it against the binary.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};

use super::gzip;
use super::ordered::Node;
use super::reply::{JSON, Refusal, Reply, empty};
use super::routes::Request;
use super::{docs, llms};

/// The methods of a path, in the order in which they are shown.
const METHODS: [&str; 5] = ["get", "head", "post", "put", "delete"];

static SOURCE: LazyLock<String> = LazyLock::new(|| {
    let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
    include_str!("openapi.json").replacen("\"version\": \"0.0.0\"", version, 1)
});

static OPENAPI: LazyLock<Page> = LazyLock::new(|| Page::new(JSON, None, SOURCE.clone()));

static DOCS: LazyLock<Page> = LazyLock::new(|| {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let policy = HeaderValue::from_str(&docs::policy()).ok();
    Page::new(kind, policy, docs::page(&Document::own()))
});

static LLMS: LazyLock<Page> = LazyLock::new(|| {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Page::new(kind, None, llms::text(&Document::own()))
});

/// `GET /openapi.json`.
pub(super) fn openapi(request: &Request<'_>) -> Result<Reply, Refusal> {
    answer(request, &OPENAPI)
}

/// `GET /docs`.
pub(super) fn docs(request: &Request<'_>) -> Result<Reply, Refusal> {
    answer(request, &DOCS)
}

/// `GET /llms.txt`.
pub(super) fn llms(request: &Request<'_>) -> Result<Reply, Refusal> {
    answer(request, &LLMS)
}

fn answer(request: &Request<'_>, page: &Page) -> Result<Reply, Refusal> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Err(Refusal::method("GET, HEAD"));
    }
    Ok(page.reply(request.headers))
}

/// A body that is the same for everybody.
struct Page {
    kind: HeaderValue,
    policy: Option<HeaderValue>,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl Page {
    fn new(kind: HeaderValue, policy: Option<HeaderValue>, body: String) -> Self {
        let gzip = gzip::whole(body.as_bytes()).map(Bytes::from);
        Self { kind, policy, plain: body.into(), gzip }
    }

    fn reply(&self, asked: &HeaderMap) -> Reply {
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
pub(super) struct Document(Node);

/// What one method of one path does.
pub(super) struct Operation<'a> {
    /// In lower case.
    pub method: &'a str,
    /// With the names of its parameters in braces.
    pub path: &'a str,
    pub node: &'a Node,
    /// Those of the path and of the operation.
    pub parameters: Vec<&'a Node>,
}

impl Document {
    /// That of this binary.
    pub fn own() -> Self {
        Self(serde_json::from_str(&SOURCE).unwrap_or(Node::Null))
    }

    /// A member of the whole.
    pub fn get(&self, name: &str) -> &Node {
        self.0.get(name)
    }

    /// What a reference leads to; anything else is itself.
    pub fn resolve<'a>(&'a self, node: &'a Node) -> &'a Node {
        match node.get("$ref").text().strip_prefix("#/") {
            Some(path) => path.split('/').fold(&self.0, Node::get),
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

    /// A command that tries the operation out.
    pub fn curl(&self, operation: &Operation<'_>) -> String {
        let mut path = operation.path.to_owned();
        for parameter in &operation.parameters {
            let name = format!("{{{}}}", parameter.get("name").text());
            path = path.replace(&name, parameter.get("example").text());
        }
        let query = operation.node.get("x-example-query").text();
        if !query.is_empty() {
            let _infallible = write!(path, "?{query}");
        }
        let mut command = "curl".to_owned();
        let body = operation.node.get("requestBody").get("content").members().first();
        match operation.method {
            "get" => {}
            "post" if body.is_some() => {}
            method => {
                let _infallible = write!(command, " -X {}", method.to_uppercase());
            }
        }
        if operation.node.get("security").items().is_empty() && operation.node.has("security") {
            let _infallible = write!(command, " \"$ROLLCALL{path}\"");
        } else {
            let token = "-H \"Authorization: Bearer $TOKEN\"";
            let _infallible = write!(command, " {token} \\\n  \"$ROLLCALL{path}\"");
        }
        if let Some((_, media)) = body {
            let json = media.get("example").to_string().replace('\'', "'\\''");
            let _infallible = write!(command, " \\\n  --json '{json}'");
        }
        command
    }
}
