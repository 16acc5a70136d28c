//! The description of the API, and what it says of one answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::harness::{Answer, Rollcall};

/// Header fields that any answer may have: the description leaves them to HTTP and to CORS.
const GENERAL: [&str; 8] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "transfer-encoding",
];
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// What `/openapi.json` answers.
pub struct Description(pub Value);

/// One method of one path.
pub struct Operation<'a> {
    pub path: &'a str,
    /// In upper case.
    pub method: String,
    pub node: &'a Value,
    /// Those of the path and its own.
    pub parameters: Vec<&'a Value>,
}

impl Operation<'_> {
    pub fn id(&self) -> &str {
        self.node["operationId"].as_str().unwrap()
    }

    /// Whether it asks for nobody's token.
    pub fn is_open(&self) -> bool {
        self.node["security"].as_array().is_some_and(Vec::is_empty)
    }
}

impl Description {
    /// That of a running server.
    pub fn of(rollcall: &Rollcall) -> Self {
        let answer = rollcall.send("GET", "/openapi.json", &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        Self(answer.json())
    }

    /// What a reference leads to; anything else is itself.
    pub fn resolve<'a>(&'a self, node: &'a Value) -> &'a Value {
        let Some(reference) = node["$ref"].as_str() else { return node };
        let target = reference.strip_prefix('#').and_then(|path| self.0.pointer(path));
        target.unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// A schema of this name.
    pub fn schema(name: &str) -> Value {
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// All operations.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut found = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for method in METHODS.into_iter().filter(|method| item.get(method).is_some()) {
                let node = &item[method];
                let lists = [item, node].map(|node| node["parameters"].as_array());
                let parameters =
                    lists.into_iter().flatten().flatten().map(|node| self.resolve(node));
                let parameters = parameters.collect();
                found.push(Operation { path, method: method.to_uppercase(), node, parameters });
            }
        }
        found
    }

    /// The operation of this id.
    pub fn operation(&self, id: &str) -> Operation<'_> {
        let found = self.operations().into_iter().find(|operation| operation.id() == id);
        found.unwrap_or_else(|| panic!("no operation {id}"))
    }

    /// What is said of an answer with this status, and under which name.
    pub fn answer<'a>(&'a self, operation: &Operation<'a>, status: u16) -> (String, &'a Value) {
        let names = [status.to_string(), format!("{}XX", status / 100)];
        let found = names.into_iter().find(|name| operation.node["responses"].get(name).is_some());
        let name = found.unwrap_or_else(|| panic!("{} may not be {status}", operation.id()));
        let answer = self.resolve(&operation.node["responses"][&name]);
        (name, answer)
    }

    /// What a schema does not let through of a value.
    pub fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let whole = json!({ "allOf": [schema], "components": self.0["components"] });
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let validator = options.build(&whole).unwrap_or_else(|error| panic!("{schema}: {error}"));
        validator.iter_errors(value).map(|error| error.to_string()).collect()
    }

    /// Fails where a value is not what a schema lets through.
    pub fn check(&self, schema: &Value, value: &Value, what: &str) {
        let errors = self.errors(schema, value);
        assert!(errors.is_empty(), "{what}: {errors:?}\n{value}");
    }

    /// Fails where a text is not what a media type's schema says; lines are looked at one by one.
    pub fn check_text(&self, kind: &str, media: &Value, text: &str, what: &str) {
        let line =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{what}: {e}"));
        match kind {
            "application/json" => self.check(&media["schema"], &line(text), what),
            "application/x-ndjson" => {
                let name =
                    if media["schema"].to_string().contains("Event") { "Event" } else { "Change" };
                assert!(text.ends_with('\n'), "{what}");
                for text in text.lines() {
                    self.check(&Self::schema(name), &line(text), what);
                }
            }
            "text/event-stream" => {
                let data: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
                assert!(!data.is_empty(), "{what}");
                for text in data {
                    self.check(&Self::schema("Change"), &line(text), what);
                }
            }
            _ => self.check(&media["schema"], &text.into(), what),
        }
    }

    /// Fails where an answer is not as it is described. Returns the name of its description and the
    /// header fields that it has.
    pub fn matches(&self, operation: &Operation<'_>, real: &Answer) -> (String, BTreeSet<String>) {
        let (name, described) = self.answer(operation, real.status);
        let what = format!("{} {name}", operation.id());
        let names = real.headers.keys().map(|name| name.as_str().to_owned());
        let fields: BTreeSet<String> = names.filter(|name| !GENERAL.contains(&&**name)).collect();
        let known = self.fields(described);
        for field in &fields {
            let header = known.iter().find(|(name, _)| name == field);
            let (_, header) = header.unwrap_or_else(|| panic!("{what}: {field} is not described"));
            let text = real.header(field).unwrap();
            let number = header["schema"]["type"] == "integer";
            let value = if number { text.parse::<u64>().unwrap().into() } else { text.into() };
            self.check(&header["schema"], &value, &format!("{what}: {field}"));
        }
        let kind = real.header("content-type").map(|kind| kind.split(';').next().unwrap());
        if operation.method == "HEAD" {
            assert!(real.body.is_empty(), "{what}: {real:?}");
            return (name, fields);
        }
        match described["content"].as_object() {
            None => assert!(real.body.is_empty() && kind.is_none(), "{what}: {real:?}"),
            Some(content) => {
                let kind = kind.unwrap();
                let media = content.get(kind);
                let media = media.unwrap_or_else(|| panic!("{what}: {kind} is not described"));
                self.check_text(kind, media, &real.body, &what);
            }
        }
        (name, fields)
    }

    /// The header fields of a described answer, in lower case.
    pub fn fields<'a>(&'a self, described: &'a Value) -> Vec<(String, &'a Value)> {
        let fields = described["headers"].as_object().into_iter().flatten();
        fields.map(|(name, node)| (name.to_lowercase(), self.resolve(node))).collect()
    }
}
