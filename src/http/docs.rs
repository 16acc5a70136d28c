//! The API's description as a page: plain HTML, one style sheet within it, no script, and nothing
//! from elsewhere. Architecture invariant: every text goes through [`escape`].

use data_encoding::BASE64;

use super::document::{COMMON, OpenApi, Operation, SETUP, Words};
use super::ordered::OrderedValue;

const STYLE: &str = include_str!("docs.css");
/// Columns that an example's line may have before it is broken up.
const EXAMPLE_COLUMNS: usize = 72;

const HTML: Words = Words {
    plain: escape,
    code: |text| format!("<code>{}</code>", escape(text)),
    link: |name| format!("<a href=\"#{0}\">{0}</a>", escape(name)),
};

/// `Content-Security-Policy` of the page: its own style sheet, by its digest, and nothing else.
pub(super) fn policy() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        BASE64.encode(digest.as_ref())
    )
}

/// The whole page.
pub(super) fn page(document: &OpenApi) -> String {
    let info = document.get("info");
    let title = escape(info.get("title").text());
    let version = escape(info.get("version").text());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} {version}: API reference</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<div class=\"frame\">\n"
    );
    contents(&mut out, document, &title, &version);
    put(&mut out, &["<main id=\"top\">\n<h1>", &title, " API</h1>\n<p class=\"lead\">"]);
    put(&mut out, &[&escape(info.get("summary").text()), "</p>\n"]);
    prose(&mut out, info.get("description").text());
    put(
        &mut out,
        &["<p>The same for programs: <a href=\"/openapi.json\">OpenAPI 3.1</a>; for language \
             models: <a href=\"/llms.txt\">llms.txt</a>.</p>\n<h3 id=\"credentials\">Credentials</h3>\n\
             <dl>\n"],
    );
    for (name, scheme) in document.get("components").get("securitySchemes").members() {
        item(&mut out, &format!("<code>{}</code>", escape(name)), "", scheme);
    }
    out.push_str("</dl>\n<h3 id=\"common\">Errors of most requests</h3>\n");
    out.push_str("<dl class=\"answers\">\n");
    for (status, error) in document.common_errors() {
        meaning(&mut out, status, error);
        out.push_str("</dd></div>\n");
    }
    put(&mut out, &["</dl>\n<h3 id=\"examples\">Examples</h3>\n<p>They take these from the "]);
    put(&mut out, &["environment:</p>\n<pre>", &escape(SETUP), "</pre>\n"]);
    for tag in document.get("tags").items() {
        let name = tag.get("name").text();
        put(&mut out, &["<h2 id=\"", &anchor(name), "\">", &escape(name), "</h2>\n"]);
        prose(&mut out, tag.get("description").text());
        for operation in document.operations(name) {
            endpoint(&mut out, document, &operation);
        }
    }
    out.push_str("<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in document.get("components").get("schemas").members() {
        self::schema(&mut out, name, schema);
    }
    out.push_str("</main>\n</div>\n</body>\n</html>\n");
    out
}

/// The page that leads to all others.
pub(super) fn front(document: &OpenApi) -> String {
    let info = document.get("info");
    let title = escape(info.get("title").text());
    let version = escape(info.get("version").text());
    let summary = escape(info.get("summary").text());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} {version}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title} <span class=\"version\">{version}</span></h1>\n\
         <p class=\"lead\">{summary}</p>\n<ul>\n\
         <li><a href=\"/docs\">API reference</a>: every request, with an example to paste</li>\n\
         <li><a href=\"/openapi.json\">OpenAPI 3.1</a>, for programs</li>\n\
         <li><a href=\"/llms.txt\">llms.txt</a>, for language models</li>\n\
         <li><a href=\"/livez\">/livez</a>: the process answers</li>\n\
         <li><a href=\"/readyz\">/readyz</a>: lists are answered; \
         <a href=\"/readyz?for=events\">/readyz?for=events</a>: events are taken</li>\n\
         </ul>\n</main>\n</body>\n</html>\n"
    )
}

fn contents(out: &mut String, document: &OpenApi, title: &str, version: &str) {
    put(
        out,
        &[
            "<nav aria-label=\"Contents\">\n<a class=\"name\" href=\"#top\">",
            title,
            "</a><span class=\"version\">",
            version,
            "</span>\n<details><summary>Contents</summary>\n",
        ],
    );
    for tag in document.get("tags").items() {
        let name = tag.get("name").text();
        put(out, &["<h2>", &escape(name), "</h2>\n<ul>\n"]);
        for operation in document.operations(name) {
            let id = escape(operation.node.get("operationId").text());
            let summary = escape(operation.node.get("summary").text());
            let method = badge(operation.method);
            put(out, &["<li><a href=\"#", &id, "\">", &method, " ", &summary, "</a></li>\n"]);
        }
        out.push_str("</ul>\n");
    }
    out.push_str("<h2>Schemas</h2>\n<ul>\n");
    for (name, _) in document.get("components").get("schemas").members() {
        let name = escape(name);
        put(out, &["<li><a href=\"#", &name, "\">", &name, "</a></li>\n"]);
    }
    out.push_str("</ul>\n</details>\n</nav>\n");
}

fn endpoint(out: &mut String, document: &OpenApi, operation: &Operation<'_>) {
    let node = operation.node;
    let id = escape(node.get("operationId").text());
    let summary = escape(node.get("summary").text());
    put(out, &["<section class=\"operation\" id=\"", &id, "\">\n<h3><a class=\"anchor\" href=\"#"]);
    put(out, &[&id, "\">", &summary, "</a></h3>\n<p class=\"line\">", &badge(operation.method)]);
    let path = escape(operation.path).replace('{', "<i>{").replace('}', "}</i>");
    put(out, &["<span class=\"path\">", &path, "</span>"]);
    if operation.is_open() {
        out.push_str("<span class=\"mark\">no token</span>");
    }
    out.push_str("</p>\n");
    prose(out, node.get("description").text());
    put(out, &["<pre>", &escape(&operation.curl()), "</pre>\n"]);
    if !operation.parameters.is_empty() {
        out.push_str("<h4>Parameters</h4>\n<dl>\n");
        for parameter in &operation.parameters {
            let name = format!("<code>{}</code>", escape(parameter.get("name").text()));
            let place = escape(parameter.get("in").text());
            let kind = format!("{place}: {}", HTML.kind(parameter.get("schema")));
            item(out, &(name + needed(parameter.get("required"))), &kind, parameter);
        }
        out.push_str("</dl>\n");
    }
    let body = node.get("requestBody").get("content").members();
    if !body.is_empty() {
        out.push_str("<h4>Body</h4>\n<p>");
        out.push_str(&HTML.bodies(body));
        out.push_str("</p>\n");
        if let Some((_, media)) = body.first() {
            example(out, media);
        }
    }
    answers(out, document, node.get("responses").members());
    out.push_str("</section>\n");
}

fn answers(out: &mut String, document: &OpenApi, answers: &[(String, OrderedValue)]) {
    out.push_str("<h4>Answers</h4>\n<dl class=\"answers\">\n");
    let mut shown = None;
    let is_common = |status: &str| COMMON.contains(&status);
    for (status, answer) in answers.iter().filter(|(status, _)| !is_common(status)) {
        let answer = document.resolve(answer);
        meaning(out, status, answer);
        let content = answer.get("content").members();
        if status.starts_with(['2', '3']) {
            out.push_str("<span class=\"more\">");
            out.push_str(&HTML.bodies(content));
            let headers =
                answer.get("headers").members().iter().filter(|(name, _)| !is_general(name));
            let headers = headers.map(|(name, _)| escape(name));
            for (n, name) in headers.enumerate() {
                let between = if n == 0 && !content.is_empty() { "; " } else { " " };
                put(out, &[between, "<code>", &name, "</code>"]);
            }
            out.push_str("</span>");
            let first = content.first().filter(|(_, media)| media.has("example"));
            shown = shown.or(first.map(|(_, media)| (status, media)));
        }
        out.push_str("</dd></div>\n");
    }
    out.push_str("</dl>\n");
    let common: Vec<&str> =
        answers.iter().map(|(status, _)| status.as_str()).filter(|s| is_common(s)).collect();
    if !common.is_empty() {
        let link = "<a href=\"#common\">errors of most requests</a>";
        put(out, &["<p class=\"caption\">And the ", link, ": ", &common.join(", "), ".</p>\n"]);
    }
    if let Some((status, media)) = shown {
        put(out, &["<p class=\"caption\">Example of ", &escape(status), "</p>\n"]);
        example(out, media);
    }
}

/// Whether the description's own words tell of the field for all answers.
fn is_general(field: &str) -> bool {
    field.starts_with("RateLimit-") || field == "X-Request-Id"
}

/// The beginning of an answer: its status, and what it means.
fn meaning(out: &mut String, status: &str, answer: &OrderedValue) {
    let class = status.get(..1).unwrap_or_default();
    put(out, &["<div><dt><span class=\"status s", class, "\">", &escape(status)]);
    put(out, &["</span></dt><dd><p>", &inline(answer.get("description").text()), "</p>"]);
}

fn schema(out: &mut String, name: &str, schema: &OrderedValue) {
    let name = escape(name);
    put(out, &["<section class=\"schema\" id=\"", &name, "\">\n<h3><a class=\"anchor\" href=\"#"]);
    put(out, &[&name, "\">", &name, "</a></h3>\n"]);
    prose(out, schema.get("description").text());
    let properties = schema.get("properties").members();
    if properties.is_empty() {
        put(out, &["<p>", &HTML.kind(schema), "</p>\n"]);
    } else {
        let required = schema.get("required").items();
        out.push_str("<dl>\n");
        for (key, property) in properties {
            let mark = if required.iter().any(|name| name.text() == key) {
                needed(&OrderedValue::Bool(true))
            } else {
                ""
            };
            let term = format!("<code>{}</code>{mark}", escape(key));
            item(out, &term, &HTML.kind(property), property);
        }
        out.push_str("</dl>\n");
    }
    example(out, schema);
    out.push_str("</section>\n");
}

fn item(out: &mut String, term: &str, kind: &str, node: &OrderedValue) {
    put(out, &["<div><dt>", term, "<span class=\"type\">", kind, "</span></dt><dd>"]);
    out.push_str(&inline(node.get("description").text()));
    if node.has("default") {
        let default = escape(&node.get("default").to_string());
        put(out, &[" <span class=\"more\">Default ", &default, ".</span>"]);
    }
    out.push_str("</dd></div>\n");
}

fn needed(required: &OrderedValue) -> &'static str {
    if *required == OrderedValue::Bool(true) {
        "<span class=\"needed\">required</span>"
    } else {
        ""
    }
}

fn badge(method: &str) -> String {
    format!("<span class=\"method {method}\">{}</span>", method.to_uppercase())
}

fn example(out: &mut String, node: &OrderedValue) {
    match node.get("example") {
        OrderedValue::Null => {}
        OrderedValue::Text(text) => put(out, &["<pre>", &escape(text), "</pre>\n"]),
        json => {
            out.push_str("<pre>");
            written(out, json, 0);
            out.push_str("</pre>\n");
        }
    }
}

/// JSON over several lines, with marks for keys and texts. HTML.
fn written(out: &mut String, node: &OrderedValue, depth: usize) {
    let fits = node.to_string().len() + 2 * depth <= EXAMPLE_COLUMNS;
    let pad = if fits { String::new() } else { format!("\n{}", "  ".repeat(depth + 1)) };
    let end = if fits { String::new() } else { format!("\n{}", "  ".repeat(depth)) };
    let comma = if fits { ", " } else { "," };
    match node {
        OrderedValue::Text(_) => put(out, &["<i>", &escape(&node.to_string()), "</i>"]),
        OrderedValue::List(items) if !items.is_empty() => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                put(out, &[if n == 0 { "" } else { comma }, &pad]);
                written(out, item, depth + 1);
            }
            put(out, &[&end, "]"]);
        }
        OrderedValue::Object(members) if !members.is_empty() => {
            out.push('{');
            for (n, (key, value)) in members.iter().enumerate() {
                let key = escape(&OrderedValue::Text(key.clone()).to_string());
                put(out, &[if n == 0 { "" } else { comma }, &pad, "<b>", &key, "</b>: "]);
                written(out, value, depth + 1);
            }
            put(out, &[&end, "}"]);
        }
        _ => out.push_str(&escape(&node.to_string())),
    }
}

/// Paragraphs, and headings that begin with `### `. HTML.
fn prose(out: &mut String, text: &str) {
    for part in text.split("\n\n").filter(|part| !part.is_empty()) {
        match part.strip_prefix("### ") {
            Some(title) => {
                let id = anchor(title);
                put(out, &["<h3 id=\"", &id, "\">", &escape(title), "</h3>\n"]);
            }
            None => put(out, &["<p>", &inline(part), "</p>\n"]),
        }
    }
}

/// Text in which what stands between back-ticks is code. HTML.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in text.split('`').enumerate() {
        if n % 2 == 1 {
            put(&mut out, &["<code>", &escape(part), "</code>"]);
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

fn anchor(title: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    title.chars().map(plain).collect()
}

/// Text as it may stand in HTML, also within an attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn put(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let hostile = "<script>&\"'";
        assert_eq!(escape(hostile), "&lt;script&gt;&amp;&quot;&#39;");
        assert_eq!(inline("a `<b>` c"), "a <code>&lt;b&gt;</code> c");
        let node: OrderedValue = serde_json::from_str(r#"{"example":{"<k>":["<v>",1]}}"#).unwrap();
        let mut out = String::new();
        example(&mut out, &node);
        let key = "{<b>&quot;&lt;k&gt;&quot;</b>: [<i>&quot;&lt;v&gt;&quot;</i>, 1]}";
        assert_eq!(out, format!("<pre>{key}</pre>\n"));
    }

    #[test]
    fn every_anchor_that_is_linked_to_is_there() {
        let page = page(&OpenApi::own());
        let links: Vec<&str> = page.split("href=\"#").skip(1).collect();
        for link in &links {
            let id = link.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
        assert!(links.len() > 100, "only {} links", links.len());
    }
}
