//! The API's description as a text for language models: everything once, with examples.

use std::fmt::Write as _;

use super::document::{Document, Operation};

/// Characters of an example answer.
const EXAMPLE_CHARS: usize = 700;

/// The text, in the form of llms.txt.
pub(super) fn text(document: &Document) -> String {
    let info = document.get("info");
    let mut out = format!(
        "# {} {}\n\n> {}\n\n{}\n\n\
         The examples take the address from ROLLCALL (https://localhost:8443) and a token from \
         TOKEN. The whole description as OpenAPI 3.1: /openapi.json. To read: /docs.\n",
        info.get("title").text(),
        info.get("version").text(),
        info.get("summary").text(),
        info.get("description").text(),
    );
    for tag in document.get("tags").items() {
        let (name, says) = (tag.get("name").text(), tag.get("description").text());
        let _infallible = write!(out, "\n## {name}\n\n{says}\n");
        for operation in document.operations(name) {
            endpoint(&mut out, document, &operation);
        }
    }
    out
}

fn endpoint(out: &mut String, document: &Document, operation: &Operation<'_>) {
    let Operation { method, path, node, parameters } = operation;
    let (method, summary) = (method.to_uppercase(), node.get("summary").text());
    let _infallible = write!(out, "\n### {method} {path}\n\n{summary}\n");
    let says = node.get("description").text();
    if !says.is_empty() {
        let _infallible = write!(out, "\n{says}\n");
    }
    let named = parameters.iter().filter(|parameter| parameter.get("in").text() != "path");
    for (n, parameter) in named.enumerate() {
        let (name, place) = (parameter.get("name").text(), parameter.get("in").text());
        let says = parameter.get("description").text();
        let begin = if n == 0 { "\n" } else { "" };
        let _infallible = writeln!(out, "{begin}- {name} ({place}): {says}");
    }
    let _infallible = write!(out, "\n```sh\n{}\n```\n\nAnswers:\n", document.curl(operation));
    for (status, answer) in node.get("responses").members() {
        let answer = document.resolve(answer);
        let _infallible = writeln!(out, "- {status}: {}", answer.get("description").text());
        if !status.starts_with('2') {
            continue;
        }
        let media = answer.get("content").members().first().map(|(_, media)| media);
        if let Some(example) = media.filter(|media| media.has("example")) {
            let example = example.get("example");
            let whole = match example.text() {
                "" => example.to_string(),
                text => text.trim_end().replace('\n', " "),
            };
            let shown: String = whole.chars().take(EXAMPLE_CHARS).collect();
            let _infallible = writeln!(out, "  Example: {shown}");
        }
    }
}
