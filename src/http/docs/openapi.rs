//! The description taken apart, for the templates of pages that are made of it.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// The methods of a path but for HEAD, in the order in which they are shown.
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

/// Statuses that nearly every operation may answer, and that are described once.
const COMMON: [&str; 5] = ["400", "401", "403", "429", "503"];

/// What the examples take from the environment.
const SETUP: &str = "\
export ROLLCALL=https://localhost:8443
export TOKEN=$(cat rollcall-data/admin.token)
export ACCOUNT=9351f46a-678c-43f5-b8a6-d4eb58d131af
export CALL=c0000000-0000-4000-8000-000000000001
export SERVICEPROVIDER=2708b1b3-2736-40ea-b502-c53d8396247f
# Where rollcall has made its own certificate:
export CURL_CA_BUNDLE=rollcall-data/tls/ca.pem";

static NULL: Value = Value::Null;

/// Members of a JSON value by name. What is not there is null, empty or nothing.
pub(super) trait Node {
    fn at(&self, name: &str) -> &Value;
    fn text(&self) -> &str;
    fn items(&self) -> &[Value];
    fn members(&self) -> impl Iterator<Item = (&String, &Value)>;

    fn has(&self, name: &str) -> bool {
        self.members().any(|(key, _)| key == name)
    }
}

impl Node for Value {
    fn at(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }

    fn text(&self) -> &str {
        self.as_str().unwrap_or_default()
    }

    fn items(&self) -> &[Value] {
        self.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn members(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.as_object().into_iter().flatten()
    }
}

/// What a reference leads to; anything else is itself.
pub(super) fn resolve<'a>(document: &'a Value, node: &'a Value) -> &'a Value {
    let path = node.at("$ref").text().strip_prefix('#');
    path.map_or(node, |path| document.pointer(path).unwrap_or(&NULL))
}

/// What the templates show of a description.
pub(super) fn view(document: &Value) -> Value {
    let (info, components) = (document.at("info"), document.at("components"));
    let list = document.at("paths").at("/v1/Accounts/{AccountSid}/Calls").at("get");
    let common = COMMON.map(|status| answer(document, status, list.at("responses").at(status)));
    let tags = document.at("tags").items().iter().map(|tag| {
        let operations = operations(document, tag.at("name"));
        json!({ "name": tag.at("name"), "description": tag.at("description"), "operations": operations })
    });
    json!({
        "title": info.at("title"),
        "version": info.at("version"),
        "summary": info.at("summary"),
        "description": info.at("description"),
        "setup": SETUP,
        "common": common,
        "tags": tags.collect::<Vec<_>>(),
        "schemes": components.at("securitySchemes"),
        "schemas": components.at("schemas"),
    })
}

fn operations(document: &Value, tag: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for (path, item) in document.at("paths").members() {
        for method in METHODS {
            let node = item.at(method);
            if node.at("tags").items().contains(tag) {
                let all = [item, node].map(|node| node.at("parameters").items()).concat();
                let parameters = all.iter().map(|node| resolve(document, node).clone());
                found.push(operation(
                    document,
                    path,
                    method,
                    node,
                    &parameters.collect::<Vec<_>>(),
                ));
            }
        }
    }
    found
}

fn operation(
    document: &Value,
    path: &str,
    method: &str,
    node: &Value,
    parameters: &[Value],
) -> Value {
    let is_common = |status: &str| COMMON.contains(&status);
    let responses = node.at("responses");
    let own = responses.members().filter(|(status, _)| !is_common(status));
    let answers: Vec<Value> = own.map(|(status, node)| answer(document, status, node)).collect();
    let common: Vec<_> =
        responses.members().map(|(status, _)| status.as_str()).filter(|s| is_common(s)).collect();
    let shown = answers.iter().find_map(|answer| {
        let (_, media) = answer.at("content").members().next()?;
        let good = answer.at("status").text().starts_with(['2', '3']);
        (good && media.has("example"))
            .then(|| json!({ "status": answer.at("status"), "media": media }))
    });
    let open = node.has("security") && node.at("security").items().is_empty();
    json!({
        "id": node.at("operationId"),
        "method": method,
        "path": path,
        "summary": node.at("summary"),
        "description": node.at("description"),
        "open": open,
        "curl": curl(path, method, node, parameters, open),
        "parameters": parameters,
        "body": node.at("requestBody").at("content"),
        "answers": answers,
        "common": common.join(", "),
        "shown": shown,
    })
}

/// One answer, with the header fields that are not described for all answers.
fn answer(document: &Value, status: &str, node: &Value) -> Value {
    let node = resolve(document, node);
    let is_general = |name: &str| name.starts_with("RateLimit-") || name == "X-Request-Id";
    let headers = node.at("headers").members().map(|(name, _)| name).filter(|n| !is_general(n));
    let none = Value::Object(Map::new());
    let content = if node.has("content") { node.at("content") } else { &none };
    json!({
        "status": status,
        "description": node.at("description"),
        "content": content,
        "headers": headers.collect::<Vec<_>>(),
    })
}

/// A command that tries an operation out; what it takes from the environment is in [`SETUP`].
fn curl(path: &str, method: &str, node: &Value, parameters: &[Value], open: bool) -> String {
    let mut path = path.to_owned();
    for parameter in parameters {
        let name = parameter.at("name").text();
        let variable = name.trim_end_matches("Sid").to_uppercase();
        path = path.replace(&format!("{{{name}}}"), &format!("${variable}"));
    }
    let query = node.at("x-example-query").text();
    if !query.is_empty() {
        path = format!("{path}?{query}");
    }
    let body = node.at("requestBody").at("content").members().next();
    let option = match method {
        "get" => String::new(),
        "post" if body.is_some() => String::new(),
        method => format!(" -X {}", method.to_uppercase()),
    };
    let token = if open { "" } else { " -H \"Authorization: Bearer $TOKEN\" \\\n " };
    let mut command = format!("curl{option}{token} \"$ROLLCALL{path}\"");
    if let Some((_, media)) = body {
        let json = media.at("example").to_string().replace('\'', "'\\''");
        let _infallible = write!(command, " \\\n  --json '{json}'");
    }
    command
}
