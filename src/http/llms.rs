//! The API's description as a text for language models: everything once, with examples.

use std::fmt::Write as _;

use super::document::{COMMON, OpenApi, Operation, SETUP, Words};
use super::ordered::OrderedValue;

/// Characters of an example answer.
const EXAMPLE_CHARS: usize = 900;

const TEXT: Words =
    Words { plain: ToOwned::to_owned, code: ToOwned::to_owned, link: ToOwned::to_owned };

/// The text, in the form of llms.txt.
pub(super) fn text(document: &OpenApi) -> String {
    let info = document.get("info");
    let says = info.get("description").text().replace("### ", "## ");
    let mut out = format!(
        "# {} {}\n\n> {}\n\n{says}\n\nErrors of most requests:\n\n",
        info.get("title").text(),
        info.get("version").text(),
        info.get("summary").text(),
    );
    for (status, error) in document.common_errors() {
        let _infallible = writeln!(out, "- {status}: {}", error.get("description").text());
    }
    let _infallible = write!(
        out,
        "\n## Examples\n\nThey take these from the environment:\n\n```sh\n{SETUP}\n```\n\n\
         The same as OpenAPI 3.1: /openapi.json. To read: /docs.\n"
    );
    for tag in document.get("tags").items() {
        let (name, says) = (tag.get("name").text(), tag.get("description").text());
        let _infallible = write!(out, "\n## {name}\n\n{says}\n");
        for operation in document.operations(name) {
            endpoint(&mut out, document, &operation);
        }
    }
    out.push_str("\n## Schemas\n");
    for (name, schema) in document.get("components").get("schemas").members() {
        self::schema(&mut out, name, schema);
    }
    out
}

fn endpoint(out: &mut String, document: &OpenApi, operation: &Operation<'_>) {
    let Operation { method, path, node, parameters } = operation;
    let (method, summary) = (method.to_uppercase(), node.get("summary").text());
    let open = if operation.is_open() { " (no token)" } else { "" };
    let _infallible = write!(out, "\n### {method} {path}{open}\n\n{summary}\n");
    paragraph(out, node.get("description").text());
    let named = parameters.iter().filter(|parameter| parameter.get("in").text() != "path");
    let list: String = named.map(|parameter| line(parameter)).collect();
    paragraph(out, list.trim_end());
    let bodies = node.get("requestBody").get("content").members();
    if !bodies.is_empty() {
        let _infallible = write!(out, "\nBody: {}\n", TEXT.bodies(bodies));
    }
    let _infallible = write!(out, "\n```sh\n{}\n```\n\nAnswers:\n\n", operation.curl());
    let answers = node.get("responses").members();
    for (status, answer) in answers.iter().filter(|(status, _)| !COMMON.contains(&&**status)) {
        let answer = document.resolve(answer);
        let _infallible = write!(out, "- {status}: {}", answer.get("description").text());
        let content = answer.get("content").members();
        if status.starts_with('2') && !content.is_empty() {
            let _infallible = write!(out, " {}", TEXT.bodies(content));
        }
        out.push('\n');
        if status.starts_with('2') {
            example(out, answer);
        }
    }
    let common: Vec<&str> =
        answers.iter().map(|(status, _)| &**status).filter(|s| COMMON.contains(s)).collect();
    if !common.is_empty() {
        let _infallible = writeln!(out, "- {}: as in most requests", common.join(", "));
    }
}

fn example(out: &mut String, answer: &OrderedValue) {
    let media = answer.get("content").members().first().map(|(_, media)| media);
    let Some(example) = media.filter(|media| media.has("example")) else { return };
    let whole = match example.get("example") {
        OrderedValue::Text(text) => text.trim_end().replace('\n', "\n  "),
        json => json.to_string(),
    };
    let shown: String = whole.chars().take(EXAMPLE_CHARS).collect();
    let rest = if shown.len() < whole.len() { "…" } else { "" };
    let _infallible = writeln!(out, "  Example:\n  {shown}{rest}");
}

fn schema(out: &mut String, name: &str, schema: &OrderedValue) {
    let _infallible = write!(out, "\n### {name}\n");
    paragraph(out, schema.get("description").text());
    let required = schema.get("required").items();
    let mut list = String::new();
    for (key, property) in schema.get("properties").members() {
        let kind = TEXT.kind(property);
        let needed = if required.iter().any(|name| name.text() == key) { ", required" } else { "" };
        let says = property.get("description").text();
        let line =
            format!("- {key} ({kind}{needed}): {says}").replace("(, ", "(").replace(" ()", "");
        list.push_str(line.trim_end_matches([' ', ':']));
        list.push('\n');
    }
    let list = if list.is_empty() { TEXT.kind(schema) } else { list };
    paragraph(out, list.trim_end());
}

/// One parameter.
fn line(parameter: &OrderedValue) -> String {
    let (name, place) = (parameter.get("name").text(), parameter.get("in").text());
    let kind = TEXT.kind(parameter.get("schema"));
    format!("- {name} ({place}, {kind}): {}\n", parameter.get("description").text())
}

fn paragraph(out: &mut String, text: &str) {
    if !text.is_empty() {
        let _infallible = write!(out, "\n{text}\n");
    }
}
