//! `/openapi.json`: whether it is whole, whether its examples are right, and whether paths and
//! methods are those of the binary.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::harness::{A1, Rollcall, event, sid};
use super::api_error;
use super::description::Description;

/// Every node of a document.
fn walk<'a>(node: &'a Value, see: &mut dyn FnMut(&'a Value)) {
    see(node);
    match node {
        Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
        Value::Object(members) => members.values().for_each(|member| walk(member, see)),
        _ => {}
    }
}

#[test]
fn the_description_is_whole() {
    let rollcall = Rollcall::up(&[]);
    let description = Description::of(&rollcall);
    let document = &description.0;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["info"]["license"]["identifier"], env!("CARGO_PKG_LICENSE"));
    let mut references = BTreeSet::new();
    walk(document, &mut |node| {
        if let Some(reference) = node["$ref"].as_str() {
            references.insert(reference);
            description.resolve(node);
        }
    });
    assert!(references.len() > 50, "only {} references", references.len());
    for room in ["parameters", "headers", "responses"] {
        for name in document["components"][room].as_object().unwrap().keys() {
            let reference = format!("#/components/{room}/{name}");
            assert!(references.contains(&*reference), "nothing refers to {reference}");
        }
    }
    let tags = document["tags"].as_array().unwrap();
    let tags: Vec<&Value> = tags.iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for operation in description.operations() {
        let id = operation.id();
        assert!(ids.insert(id.to_owned()), "{id} is there twice");
        assert!(operation.node["summary"].is_string(), "{id}");
        let own = operation.node["tags"].as_array().unwrap();
        assert!(own.len() == 1 && tags.contains(&&own[0]), "{id}: {own:?}");
        let named: BTreeSet<&str> = operation.path.split(['{', '}']).skip(1).step_by(2).collect();
        let mut described = BTreeSet::new();
        for parameter in &operation.parameters {
            assert!(parameter["description"].is_string(), "{id}: {parameter}");
            if parameter["in"] == "path" {
                assert_eq!(parameter["required"], true, "{id}");
                described.insert(parameter["name"].as_str().unwrap());
            }
        }
        assert_eq!(named, described, "{id}");
        for (status, answer) in operation.node["responses"].as_object().unwrap() {
            let answer = description.resolve(answer);
            assert!(answer["description"].is_string(), "{id} {status}");
            let fields = description.fields(answer);
            let has = |name: &str| fields.iter().any(|(field, _)| field == name);
            assert!(has("x-request-id"), "{id} {status}");
            assert_eq!(has("www-authenticate"), status == "401", "{id} {status}");
            assert_eq!(has("retry-after"), status == "429" || status == "503", "{id} {status}");
        }
        for status in ["401", "429"] {
            let has = operation.node["responses"].get(status).is_some();
            assert_eq!(has, !operation.is_open(), "{id} {status}");
        }
    }
    assert!(ids.len() > 25, "only {} operations", ids.len());
}

#[test]
fn the_examples_are_what_the_schemas_say() {
    let rollcall = Rollcall::up(&[]);
    let description = Description::of(&rollcall);
    let mut checked = 0;
    let components = description.0["components"].as_object().unwrap();
    for (name, schema) in components["schemas"].as_object().unwrap() {
        jsonschema::draft202012::meta::validate(schema).unwrap();
        if let Some(example) = schema.get("example") {
            description.check(schema, example, name);
            checked += 1;
        }
    }
    for room in ["parameters", "headers"] {
        for (name, node) in components[room].as_object().unwrap() {
            if let Some(example) = node.get("example") {
                description.check(&node["schema"], example, name);
                checked += 1;
            }
        }
    }
    for operation in description.operations() {
        let mut bodies = vec![("asks", &operation.node["requestBody"])];
        for (status, answer) in operation.node["responses"].as_object().unwrap() {
            bodies.push((status, description.resolve(answer)));
        }
        for (name, body) in bodies {
            for (kind, media) in body["content"].as_object().into_iter().flatten() {
                let what = format!("{} {name} {kind}", operation.id());
                let Some(example) = media.get("example") else { continue };
                match example {
                    Value::String(text) if kind == "application/x-www-form-urlencoded" => {
                        let text = text.replacen('=', "\":\"", 1);
                        let fields = serde_json::from_str(&format!("{{\"{text}\"}}")).unwrap();
                        description.check(&media["schema"], &fields, &what);
                    }
                    Value::String(text) => description.check_text(kind, media, text, &what),
                    example => description.check(&media["schema"], example, &what),
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} examples");
    // What the schemas are worth: wrong values do not pass.
    for (name, wrong) in [
        ("Call", "{}"),
        ("Error", "{\"msg\":\"\"}"),
        ("Error", "{\"msg\":\"x\",\"code\":1}"),
        ("CallCount", "{\"inbound\":-1,\"outbound\":0}"),
        ("Change", "{\"position\":\"x\",\"type\":\"new\"}"),
        ("Event", "{\"account_sid\":\"x\",\"call_sid\":\"y\",\"direction\":\"inbound\"}"),
    ] {
        let wrong: Value = serde_json::from_str(wrong).unwrap();
        let errors = description.errors(&Description::schema(name), &wrong);
        assert!(!errors.is_empty(), "{name}: {wrong}");
    }
}

#[test]
fn described_methods_answer_and_all_others_are_405() {
    let rollcall = Rollcall::up(&[]);
    let description = Description::of(&rollcall);
    let admin = rollcall.admin();
    for n in [1, 2] {
        assert_eq!(rollcall.post_events(&event(n, "busy")).status, 204);
    }
    let paths: BTreeSet<&str> =
        description.operations().into_iter().map(|operation| operation.path).collect();
    assert!(paths.len() > 10, "{paths:?}");
    for path in paths {
        let mut allowed = BTreeSet::new();
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
            let mut operations = description.operations().into_iter();
            let own =
                operations.find(|operation| (operation.path, &*operation.method) == (path, method));
            let n = if method == "DELETE" { 2 } else { 1 };
            let target = path.replace("{AccountSid}", A1).replace("{CallSid}", &sid(n));
            let target = target.replace("{ServiceProviderSid}", A1);
            let answer = rollcall.ask(method, &admin, &target);
            let Some(operation) = own else {
                assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
                assert!(method == "HEAD" || !api_error(&answer, 405).is_empty());
                continue;
            };
            allowed.insert(method);
            description.answer(&operation, answer.status);
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(!answer.body.contains("no such path"), "{method} {path}: {answer:?}");
        }
        let answer = rollcall.ask("PATCH", &admin, &path.replace("{AccountSid}", A1));
        let said: BTreeSet<&str> = answer.header("allow").unwrap().split(", ").collect();
        assert_eq!(said, allowed, "{path}");
        let preflight = rollcall.send("OPTIONS", path, &[], b"").unwrap();
        assert_eq!(preflight.status, 204, "{path}: {preflight:?}");
    }
}

#[test]
fn the_page_and_the_text_tell_everything_and_bring_nothing_from_elsewhere() {
    let rollcall = Rollcall::up(&[]);
    let description = Description::of(&rollcall);
    let page = rollcall.send("GET", "/docs", &[], b"").unwrap();
    let text = rollcall.send("GET", "/llms.txt", &[], b"").unwrap().body;
    let mut told = 0;
    for operation in description.operations().into_iter().filter(|o| o.method != "HEAD") {
        let head = format!("\n### {} {}", operation.method, operation.path);
        assert!(text.contains(&head), "{head}");
        let place = format!("id=\"{}\"", operation.id());
        assert!(page.body.contains(&place), "{place}");
        told += 1;
    }
    assert!(told > 15, "only {told} operations");
    for name in description.0["components"]["schemas"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("\n### {name}\n")), "{name}");
        assert!(page.body.contains(&format!("id=\"{name}\"")), "{name}");
    }
    let links: Vec<&str> = page.body.split("href=\"").skip(1).collect();
    assert!(links.len() > 100, "only {} links", links.len());
    for link in links {
        assert!(link.starts_with(['#', '/']), "{}", &link[..40]);
    }
    for elsewhere in ["<script", "<link", "<img", " src=", " style=", "@import", "url("] {
        assert!(!page.body.contains(elsewhere), "{elsewhere}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
}
