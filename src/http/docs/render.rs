//! The templates, and what they need beside the built-in filters. Architecture invariant: what a
//! template does not escape is made here, of parts that went through [`escape`].

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, HtmlEscape, State};
use serde_json::Value;

use super::openapi::{Node as _, view};

/// Columns that an example's line may have before it is broken up.
const EXAMPLE_COLUMNS: usize = 72;
/// Characters of an example in the text for language models.
const EXAMPLE_CHARS: usize = 900;

/// One of the templates, filled with what this description says.
pub(super) fn render(template: &str, document: &Value) -> Result<String, Error> {
    let mut templates = Environment::new();
    let lines = SyntaxConfig::builder().trim_blocks(true).keep_trailing_newline(true).build()?;
    templates.set_syntax(lines);
    templates.set_auto_escape_callback(|name| match name {
        "llms.txt" => AutoEscape::None,
        _ => AutoEscape::Html,
    });
    templates.add_template("page.html", include_str!("page.html"))?;
    templates.add_template("front.html", include_str!("front.html"))?;
    templates.add_template("llms.txt", include_str!("llms.txt"))?;
    templates.add_global("style", super::STYLE);
    templates.add_filter("kind", |state: &State<'_, '_>, schema: Serde<Value>| {
        written(state, |words| words.kind(&schema))
    });
    templates.add_filter("bodies", |state: &State<'_, '_>, content: Serde<Value>| {
        written(state, |words| words.bodies(&content))
    });
    templates.add_filter("inline", |text: minijinja::Value| {
        minijinja::Value::from_safe_string(inline(text.as_str().unwrap_or_default()))
    });
    templates.add_filter("prose", |text: minijinja::Value| {
        minijinja::Value::from_safe_string(prose(text.as_str().unwrap_or_default()))
    });
    templates.add_filter("marked", |path: &str| {
        let path = escape(path).replace('{', "<i>{").replace('}', "}</i>");
        minijinja::Value::from_safe_string(path)
    });
    templates.add_filter("example", |node: Serde<Value>| {
        minijinja::Value::from_safe_string(example(&node))
    });
    templates.add_filter("anchor", anchor);
    templates.add_filter("json", |value: Serde<Value>| value.to_string());
    templates.add_filter("excerpt", |content: Serde<Value>| excerpt(&content));
    templates.add_filter("property", |property: Serde<(String, Value, bool)>| {
        let (key, schema, required) = &*property;
        property_line(key, schema, *required)
    });
    templates.get_template(template)?.render(minijinja::Value::from(Serde(view(document))))
}

/// HTML or plain text, as the template is.
fn written(state: &State<'_, '_>, write: impl FnOnce(&Words) -> String) -> minijinja::Value {
    match state.auto_escape() {
        AutoEscape::Html => minijinja::Value::from_safe_string(write(&HTML)),
        _ => minijinja::Value::from(write(&TEXT)),
    }
}

/// How the parts of a schema's summary are written.
struct Words {
    plain: fn(&str) -> String,
    /// A value as it is sent.
    code: fn(&str) -> String,
    /// The name of another schema.
    link: fn(&str) -> String,
}

const HTML: Words = Words {
    plain: escape,
    code: |text| format!("<code>{}</code>", escape(text)),
    link: |name| format!("<a href=\"#{0}\">{0}</a>", escape(name)),
};

const TEXT: Words =
    Words { plain: ToOwned::to_owned, code: ToOwned::to_owned, link: ToOwned::to_owned };

impl Words {
    /// What a schema lets through, in a few words.
    fn kind(&self, schema: &Value) -> String {
        let reference = schema.at("$ref").text();
        if let Some(name) = reference.rsplit('/').next().filter(|name| !name.is_empty()) {
            return (self.link)(name);
        }
        let either = ["oneOf", "anyOf"].into_iter().flat_map(|word| schema.at(word).items());
        let either = either.map(|schema| self.kind(schema)).filter(|kind| !kind.is_empty());
        let either: Vec<String> = either.collect();
        if !either.is_empty() && !schema.has("properties") {
            return either.join(" or ");
        }
        if schema.has("const") {
            return match schema.at("const") {
                Value::String(text) => (self.code)(text),
                other => (self.code)(&other.to_string()),
            };
        }
        if schema.has("enum") {
            let words = schema.at("enum").items().iter();
            return words.map(|word| (self.code)(word.text())).collect::<Vec<_>>().join(" | ");
        }
        if schema.has("items") {
            return format!("list of {}", self.kind(schema.at("items")));
        }
        if schema.has("properties") {
            return self.members(schema);
        }
        let mut types: Vec<&str> =
            schema.at("type").items().iter().map(super::openapi::Node::text).collect();
        types.push(schema.at("type").text());
        types.retain(|word| !word.is_empty());
        let text = match schema.at("format").text() {
            "" => (self.plain)(&types.join(" or ")),
            format => (self.plain)(format),
        };
        if schema.has("maximum") {
            return format!("{text}, {} to {}", schema.at("minimum"), schema.at("maximum"));
        }
        text
    }

    /// `{needed: kind, further?: kind}`
    fn members(&self, schema: &Value) -> String {
        let required = schema.at("required").items();
        let member = |(key, property): (&String, &Value)| {
            let mark = if required.iter().any(|name| name.text() == key) { "" } else { "?" };
            let key = (self.plain)(key);
            match &*self.kind(property) {
                "" => format!("{key}{mark}"),
                kind => format!("{key}{mark}: {kind}"),
            }
        };
        let members: Vec<String> = schema.at("properties").members().map(member).collect();
        format!("{{{}}}", members.join(", "))
    }

    /// What a body may be: `application/json Call, or text/csv`.
    fn bodies(&self, content: &Value) -> String {
        let body = |(name, media): (&String, &Value)| {
            let schema = media.at("schema");
            let kind = match schema.at("description").text() {
                "" => self.kind(schema),
                says => format!("({})", (self.plain)(says.trim_end_matches('.'))),
            };
            format!("{} {kind}", (self.code)(name)).trim_end().to_owned()
        };
        content.members().map(body).collect::<Vec<_>>().join(", or ")
    }
}

/// The example of a node, if it has one. HTML.
fn example(node: &Value) -> String {
    match node.at("example") {
        Value::Null => String::new(),
        Value::String(text) => format!("<pre>{}</pre>\n", escape(text)),
        json => format!("<pre>{}</pre>\n", lines(json, 0)),
    }
}

/// JSON over several lines, with marks for keys and texts. HTML.
fn lines(node: &Value, depth: usize) -> String {
    let fits = node.to_string().len() + 2 * depth <= EXAMPLE_COLUMNS;
    let indent = |depth| if fits { String::new() } else { format!("\n{}", "  ".repeat(depth)) };
    let (pad, end) = (indent(depth + 1), indent(depth));
    let comma = if fits { ", " } else { "," };
    let within = |parts: Vec<String>| parts.join(&format!("{comma}{pad}"));
    match node {
        Value::String(_) => format!("<i>{}</i>", escape(&node.to_string())),
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().map(|item| lines(item, depth + 1)).collect();
            format!("[{pad}{}{end}]", within(items))
        }
        Value::Object(members) if !members.is_empty() => {
            let members = members.iter().map(|(key, value)| {
                let key = escape(&Value::from(key.as_str()).to_string());
                format!("<b>{key}</b>: {}", lines(value, depth + 1))
            });
            format!("{{{pad}{}{end}}}", within(members.collect()))
        }
        _ => escape(&node.to_string()),
    }
}

/// How the example of a body begins, for the text.
fn excerpt(content: &Value) -> String {
    let media = content.members().next().map(|(_, media)| media);
    let Some(media) = media.filter(|media| media.has("example")) else { return String::new() };
    let whole = match media.at("example") {
        Value::String(text) => text.trim_end().replace('\n', "\n  "),
        json => json.to_string(),
    };
    let shown: String = whole.chars().take(EXAMPLE_CHARS).collect();
    let rest = if shown.len() < whole.len() { "…" } else { "" };
    format!("  Example:\n  {shown}{rest}\n")
}

/// One property of an object, for the text.
fn property_line(key: &str, schema: &Value, required: bool) -> String {
    let kind = TEXT.kind(schema);
    let kind = match (kind.as_str(), required) {
        ("", false) => String::new(),
        ("", true) => " (required)".to_owned(),
        (kind, false) => format!(" ({kind})"),
        (kind, true) => format!(" ({kind}, required)"),
    };
    let line = format!("- {key}{kind}: {}", schema.at("description").text());
    line.trim_end_matches([' ', ':']).to_owned()
}

/// Paragraphs, and headings that begin with `### `. HTML.
fn prose(text: &str) -> String {
    let parts = text.split("\n\n").filter(|part| !part.is_empty());
    let html = parts.map(|part| match part.strip_prefix("### ") {
        Some(title) => format!("<h3 id=\"{}\">{}</h3>\n", anchor(title), escape(title)),
        None => format!("<p>{}</p>\n", inline(part)),
    });
    html.collect()
}

/// Text in which what stands between back-ticks is code. HTML.
fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let html = parts.map(|(n, part)| if n % 2 == 1 { (HTML.code)(part) } else { escape(part) });
    html.collect()
}

fn anchor(title: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    title.chars().map(plain).collect()
}

/// Text as it may stand in HTML, also within an attribute.
fn escape(text: &str) -> String {
    HtmlEscape(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let hostile = "<script>&\"'";
        assert_eq!(escape(hostile), "&lt;script&gt;&amp;&quot;&#x27;");
        assert_eq!(inline("a `<b>` c"), "a <code>&lt;b&gt;</code> c");
        let node = serde_json::json!({ "example": { "<k>": ["<v>", 1] } });
        let key = "{<b>&quot;&lt;k&gt;&quot;</b>: [<i>&quot;&lt;v&gt;&quot;</i>, 1]}";
        assert_eq!(example(&node), format!("<pre>{key}</pre>\n"));
        let text = format!("{hostile} {{{{ 1 }}}}");
        let schemas = serde_json::json!({ &text: { "description": &text, "enum": [&text] } });
        let parameter = serde_json::json!({ "name": &text, "description": &text });
        let operation = serde_json::json!({
            "operationId": &text, "tags": [&text], "summary": &text, "parameters": [parameter],
        });
        let document = serde_json::json!({
            "info": { "title": &text, "version": &text, "summary": &text, "description": &text },
            "tags": [{ "name": &text, "description": &text }],
            "paths": { &text: { "get": operation } },
            "components": {
                "schemas": schemas,
                "securitySchemes": { &text: { "description": &text } },
            },
        });
        for template in ["page.html", "front.html"] {
            let page = render(template, &document).unwrap();
            assert!(!page.contains("<script"), "{template}: {page}");
            assert!(page.matches("&lt;script&gt;").count() > 2, "{template}: {page}");
        }
        let seen = render("page.html", &document).unwrap().matches("&lt;script&gt;").count();
        assert!(seen > 15, "only {seen}");
    }

    #[test]
    fn every_anchor_that_is_linked_to_is_there() {
        let page = render("page.html", super::super::description()).unwrap();
        let links: Vec<&str> = page.split("href=\"#").skip(1).collect();
        for link in &links {
            let id = link.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
        assert!(links.len() > 100, "only {} links", links.len());
    }
}
