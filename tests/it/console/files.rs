//! The pages and what they load.

use super::super::api::api_error;
use super::super::harness::Rollcall;

#[test]
fn every_page_is_one_document_that_loads_nothing_from_elsewhere() {
    let rollcall = Rollcall::up(&[]);
    let call =
        "/console/calls/9351f46a-678c-43f5-b8a6-d4eb58d131af/c0000000-0000-4000-8000-000000000001";
    let pages = ["", "live", "history", "statistics", "operation", "sign-in"];
    let pages = pages.map(|page| format!("/console/{page}"));
    let mut bodies = Vec::new();
    for page in pages.iter().map(String::as_str).chain([call]) {
        let answer = rollcall.send("GET", page, &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                 connect-src 'self'; font-src 'none'; frame-ancestors 'none'; base-uri 'none'; \
                 form-action 'self'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{page}: {answer:?}");
        }
        assert!(answer.header("permissions-policy").unwrap().contains("microphone=()"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        let tag = answer.header("etag").unwrap();
        let again = rollcall.send("GET", page, &[("if-none-match", tag)], b"").unwrap();
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        let head = rollcall.send("HEAD", page, &[], b"").unwrap();
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("etag"), Some(tag));
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    // What the page loads is there, for good, compressed where that is wanted.
    for part in bodies[0].split("\"/console/assets/").skip(1) {
        let path = format!("/console/assets/{}", part.split('"').next().unwrap());
        let plain = rollcall.send("GET", &path, &[("accept-encoding", "identity")], b"").unwrap();
        assert_eq!(plain.status, 200, "{path}: {plain:?}");
        assert_eq!(plain.header("content-encoding"), None);
        let kept = plain.header("cache-control").unwrap();
        assert!(kept.contains("immutable") && kept.contains("max-age=31536000"), "{kept}");
        assert_eq!(plain.header("x-content-type-options"), Some("nosniff"));
        let head = [("accept-encoding", "gzip")];
        let zipped = rollcall.send("HEAD", &path, &head, b"").unwrap();
        assert_eq!(zipped.header("content-encoding"), Some("gzip"), "{path}");
        let old = path.replacen("/assets/", "/assets/0", 1);
        assert_eq!(rollcall.send("GET", &old, &[], b"").unwrap().status, 404, "{old}");
    }
}

#[test]
fn what_is_no_page_is_404_and_other_methods_are_405() {
    let rollcall = Rollcall::up(&[]);
    for path in [
        "/console/none",
        "/console/assets/",
        "/console/assets/x",
        "/console/assets/0/../../x",
        "/console/assets//js/main.js",
        "/console/calls/a",
        "/console/api",
        "/console/api/none",
        "/consoles",
    ] {
        let answer = rollcall.send("GET", path, &[], b"").unwrap();
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        api_error(&answer, 404);
    }
    let answer = rollcall.send("POST", "/console/live", &[], b"{}").unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{answer:?}");
    let answer = rollcall.send("PUT", "/console/api/session", &[], b"{}").unwrap();
    let allow = Some("GET, HEAD, POST, DELETE");
    assert_eq!((answer.status, answer.header("allow")), (405, allow), "{answer:?}");
}

#[test]
fn a_browser_is_led_from_the_front_to_the_console_and_no_other_client() {
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    let accept = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let agent = rollcall.new_agent();
    let agent: ureq::Agent = {
        let config = agent.config().clone();
        let tls = config.tls_config().clone();
        let builder = ureq::Agent::config_builder().tls_config(tls).max_redirects(0);
        builder.http_status_as_error(false).build().new_agent()
    };
    let ask = |url: &str, headers: &[(&str, &str)]| {
        super::super::harness::send(&agent, "GET", url, headers, b"").unwrap()
    };
    let led = ask(&rollcall.url("/"), &[accept]);
    assert_eq!((led.status, led.header("location")), (302, Some("/console/")), "{led:?}");
    let led = ask(&rollcall.url("/console"), &[]);
    assert_eq!((led.status, led.header("location")), (302, Some("/console/")), "{led:?}");
    for header in [("accept", "*/*"), ("accept", "application/json"), ("accept", "text/html;q=0")] {
        let front = ask(&rollcall.url("/"), &[header]);
        assert_eq!(front.status, 200, "{header:?}");
    }
    // Nobody's session goes over plain HTTP.
    let plain = format!("http://127.0.0.1:{}", rollcall.plain_port);
    assert_eq!(ask(&format!("{plain}/"), &[accept]).status, 200);
    let page = ask(&format!("{plain}/console/"), &[accept]);
    assert!(api_error(&page, 403).contains("HTTPS"), "{page:?}");
    assert!(api_error(&page, 403).contains("http.trusted_proxies"), "{page:?}");
}

#[test]
fn one_key_turns_the_console_off() {
    let rollcall = Rollcall::up(&["--console-enabled=false"]);
    for path in ["/console/", "/console/api/session", "/console/assets/x/y"] {
        let answer = rollcall.send("GET", path, &[], b"").unwrap();
        assert!(api_error(&answer, 404).contains("console.enabled"), "{path}: {answer:?}");
    }
    let front = rollcall.send("GET", "/", &[("accept", "text/html")], b"").unwrap();
    assert_eq!(front.status, 200, "{front:?}");
}

#[test]
fn the_libraries_are_those_that_their_table_names() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets/vendor");
    let text = std::fs::read_to_string(dir.join("README.md")).unwrap();
    let mut named = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let quoted: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let (file, sum) = (quoted[0], quoted.last().unwrap());
        let bytes = std::fs::read(dir.join(file)).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        assert_eq!(data_encoding::HEXLOWER.encode(digest.as_ref()), **sum, "{file}");
        named.push(file.to_owned());
    }
    let scripts = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
    for script in scripts.filter_map(|name| name.into_string().ok()) {
        let is_script = script.rsplit('.').next() == Some("js");
        assert!(!is_script || named.contains(&script), "{script} is not in the table");
    }
    assert!(named.len() > 1);
}
