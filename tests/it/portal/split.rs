//! One address for two: what lists calls goes to rollcall, everything else to jambonz's API.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::super::appliance::proxies::peers;
use super::super::appliance::real_proxies::{
    Proxy, adapted, ask, certificate, chunks, configurations, free_port, haproxy, head, length,
    nginx, program,
};
use super::super::harness::{A1, ROLLCALL, Rollcall, event, sid, until};
use super::super::peer::Received;
use super::jambonz::{JambonzApi, PORTAL_TOKEN, recorded, token_of};

const PAGE: &str = include_str!("../../../docs/portal.md");
/// What jambonz answers, column by column.
const RECENT: &str = include_str!("../../fixtures/golden-recent.json");
const PROVIDER: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";

/// How one of the proxies is started: with which authority of rollcall, and which ports.
type Start = fn(&Path, &Places) -> Proxy;

struct Places {
    dir: PathBuf,
    /// The proxy's own certificate and key.
    front: (PathBuf, PathBuf),
    /// The authority of rollcall.
    ca: PathBuf,
    rollcall: u16,
    jambonz: u16,
    /// Pages at the same name.
    pages: Option<u16>,
}

impl Places {
    fn ca(&self) -> &str {
        self.ca.to_str().unwrap()
    }
}

fn start_nginx(program: &Path, places: &Places) -> Proxy {
    let port = free_port();
    let [block] = configurations(PAGE, "nginx").try_into().unwrap();
    let (cert, key) = &places.front;
    let block = adapted(
        &block,
        &[
            ("server 10.0.0.5:8443;", &format!("server 127.0.0.1:{};", places.rollcall)),
            ("server 127.0.0.1:3000;", &format!("server 127.0.0.1:{};", places.jambonz)),
            ("listen 443 ssl;", &format!("listen 127.0.0.1:{port} ssl;")),
            ("/etc/ssl/api.pem", cert.to_str().unwrap()),
            ("/etc/ssl/api.key", key.to_str().unwrap()),
            ("/etc/nginx/rollcall-ca.pem", places.ca()),
        ],
    );
    let block = places.pages.map_or(block.clone(), |pages| {
        let both =
            format!("location / {{ proxy_pass http://127.0.0.1:{pages}; }}\n    location /api/ {{");
        adapted(&block, &[("location / {", &both)])
    });
    nginx(program, &places.dir, port, &block)
}

fn start_haproxy(program: &Path, places: &Places) -> Proxy {
    let port = free_port();
    let [text] = configurations(PAGE, "haproxy").try_into().unwrap();
    let (cert, key) = &places.front;
    let both = places.dir.join("both.pem");
    fs::write(&both, [fs::read(cert).unwrap(), fs::read(key).unwrap()].concat()).unwrap();
    let text = adapted(
        &text,
        &[
            ("bind :443", &format!("bind 127.0.0.1:{port}")),
            ("/etc/haproxy/api.pem", both.to_str().unwrap()),
            ("10.0.0.5:8443", &format!("127.0.0.1:{}", places.rollcall)),
            ("127.0.0.1:3000", &format!("127.0.0.1:{}", places.jambonz)),
            ("/etc/haproxy/rollcall-ca.pem", places.ca()),
        ],
    );
    let text = places.pages.map_or(text.clone(), |pages| {
        let pages = format!(
            "backend pages\n    mode http\n    timeout connect 5s\n    timeout server 60s\n    \
             server pages 127.0.0.1:{pages}\n\nbackend rollcall-calls\n"
        );
        adapted(&text, &[("#use_backend", "use_backend"), ("backend rollcall-calls\n", &pages)])
    });
    haproxy(program, &places.dir, &format!("{text}\n"), port, true)
}

fn start_caddy(program: &Path, places: &Places) -> Proxy {
    let port = free_port();
    let [text] = configurations(PAGE, "caddyfile").try_into().unwrap();
    let (cert, key) = &places.front;
    let own = format!(
        "https://localhost:{port} {{\n    bind 127.0.0.1\n    tls {} {}",
        cert.display(),
        key.display()
    );
    let text = adapted(
        &text,
        &[
            ("api.example.com {", &own),
            ("10.0.0.5:8443", &format!("127.0.0.1:{}", places.rollcall)),
            ("127.0.0.1:3000", &format!("127.0.0.1:{}", places.jambonz)),
            ("/etc/caddy/rollcall-ca.pem", places.ca()),
        ],
    );
    let text = places.pages.map_or(text.clone(), |pages| {
        let handle =
            format!("reverse_proxy 127.0.0.1:{pages}\n    handle /api/* {{\n    @calls {{");
        adapted(&text, &[("@calls {", &handle), ("handle_errors {", "}\n    handle_errors {")])
    });
    let file = places.dir.join("Caddyfile");
    let global = "{\n    admin off\n    auto_https disable_redirects\n}\n";
    fs::write(&file, format!("{global}{text}\n")).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(variable, &places.dir);
    }
    Proxy::run(command, &places.dir.join("caddy.log"), port, true)
}

/// An answer as it came.
struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let begin = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&begin[..]))
    }

    fn of_jambonz(&self) -> bool {
        self.header("x-answered-by") == Some("jambonz")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// The proxy and what is behind it.
struct Split {
    rollcall: Rollcall,
    jambonz: JambonzApi,
    proxy: Proxy,
    places: Places,
    audit: PathBuf,
    token: String,
    _dir: tempfile::TempDir,
}

impl Split {
    fn new(program: &Path, start: Start) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut rollcall = Rollcall::down();
        let audit = rollcall.dir.path().join("audit.log");
        let port = free_port();
        let jambonz = JambonzApi::up();
        serve(&mut rollcall, dir.path(), port, jambonz.port);
        let front = certificate(dir.path());
        let places = Places {
            dir: dir.path().to_owned(),
            front,
            ca: rollcall.ca(),
            rollcall: port,
            jambonz: jambonz.port,
            pages: None,
        };
        let proxy = start(program, &places);
        let ended = |n: u32| event(n, if n.is_multiple_of(2) { "completed" } else { "busy" });
        let events: Vec<_> = (0..30).map(ended).collect();
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
        assert_eq!(rollcall.post_events(&event(99, "in-progress")).status, 204);
        rollcall.ok(&["account", "set", A1, "--service-provider", PROVIDER]);
        let token = rollcall.token(&["--service-provider", PROVIDER]);
        let split = Self { rollcall, jambonz, proxy, places, audit, token, _dir: dir };
        // HAProxy does not believe that a server is there until it was checked.
        until("rollcall is reached", || {
            (split.get(&format!("/v1/Accounts/{A1}/CallCount")).status == 200).then_some(())
        });
        split.jambonz.take();
        split
    }

    /// A request on a connection of its own, as it is given.
    fn send(&self, method: &str, url: &str, lines: &str, body: &str) -> Answer {
        let mut client = BufReader::new(self.proxy.connect(&self.places.front.0));
        let lines = format!("{lines}Connection: close\r\n");
        ask(client.get_mut(), method, url, &lines, body);
        let (status, head) = head(&mut client);
        let body = if method == "HEAD" || status == 204 {
            Vec::new()
        } else if head.contains("transfer-encoding: chunked") {
            chunks(&mut client).unwrap()
        } else {
            let mut body = vec![0; length(&head)];
            client.read_exact(&mut body).unwrap();
            body
        };
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    fn ask(&self, method: &str, url: &str) -> Answer {
        self.ask_with(&self.token, method, url)
    }

    fn ask_with(&self, token: &str, method: &str, url: &str) -> Answer {
        self.send(method, url, &format!("Authorization: Bearer {token}\r\n"), "")
    }

    fn get(&self, url: &str) -> Answer {
        self.ask("GET", url)
    }
}

/// Starts rollcall with what the page says of its configuration.
fn serve(rollcall: &mut Rollcall, dir: &Path, port: u16, jambonz: u16) {
    let [text] = configurations(PAGE, "toml").try_into().unwrap();
    let text = adapted(
        &text,
        &[
            ("10.0.0.5:8443", &format!("127.0.0.1:{port}")),
            ("[\"10.0.0.2\"]", "[\"127.0.0.1\"]"),
            ("10.0.0.2:3000", &format!("127.0.0.1:{jambonz}")),
        ],
    );
    let config = dir.join("rollcall.toml");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(ROLLCALL);
    command.arg("serve").arg("--config").arg(&config).arg("--data-dir").arg(rollcall.data());
    command.arg("--log-audit").arg(rollcall.dir.path().join("audit.log"));
    rollcall.start_with(command);
}

/// A request that is for jambonz arrives as it was sent, and its answer comes back as it is.
fn passes_unchanged(split: &Split, prefix: &str, method: &str, url: &str, body: &str) {
    let token = &split.token;
    let lines = [
        ("authorization", format!("Bearer {token}")),
        ("content-type", "application/json".to_owned()),
        ("accept", "application/json, */*;q=0.1".to_owned()),
        ("accept-encoding", "gzip, deflate, br".to_owned()),
        ("origin", "https://portal.example.com".to_owned()),
        ("user-agent", "portal/1".to_owned()),
        ("x-own", "a: b; c=\"d\"".to_owned()),
    ];
    let text: String = lines.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
    let said = format!("{text}X-Forwarded-For: 192.0.2.9\r\nForwarded: for=192.0.2.8\r\n");
    let answer = split.send(method, &format!("{prefix}{url}"), &said, body);
    let what = format!("{method} {prefix}{url}");
    assert!(answer.of_jambonz(), "{what}: {}{}", answer.head, answer.body);
    let [received]: [Received; 1] = split.jambonz.take().try_into().unwrap();
    let Received { method: had, url: at, .. } = &received;
    let given = received.text();
    assert_eq!((&**had, &**at, given), (method, url, body), "{what}");
    for (name, value) in &lines {
        assert_eq!(received.header(name), Some(value.as_str()), "{what}: {name}");
    }
    assert_eq!(received.header("host"), Some("localhost"), "{what}");
    assert_eq!(received.header("forwarded"), None, "{what}");
    let from = received.header("x-forwarded-for").unwrap_or_default();
    assert!(from.ends_with("127.0.0.2"), "{what}: {from}");
    let same = recorded()
        .into_iter()
        .find(|one| one.method == method && one.url.strip_prefix("/api") == Some(url));
    let (status, kind, body) = same.map_or_else(
        || (207, "text/plain".to_owned(), format!("{method} {url}")),
        |one| (one.status, one.content_type, one.body),
    );
    let body = if method == "HEAD" { String::new() } else { body };
    assert_eq!((answer.status, &answer.body), (status, &body), "{what}");
    assert_eq!(answer.header("content-type"), Some(kind.as_str()), "{what}");
}

/// The columns of a call in *Recent calls*, and what jambonz has in each.
fn columns() -> Vec<(String, Vec<Value>)> {
    let golden: Vec<Value> = serde_json::from_str(RECENT).unwrap();
    let one = golden.iter().find(|one| one["name"] == "recent: page 1 of 25").unwrap();
    let body: Value = serde_json::from_str(one["answer"].as_str().unwrap()).unwrap();
    let calls = body["data"].as_array().unwrap();
    let keys = calls[0].as_object().unwrap().keys().cloned();
    keys.map(|key| {
        let values = calls.iter().map(|call| call[&key].clone()).collect();
        (key, values)
    })
    .collect()
}

/// The body is what the portal reads as a page of calls, of which there are so many in all.
fn is_page(answer: &Answer, total: u64) {
    assert!(answer.status == 200 && !answer.of_jambonz(), "{}{}", answer.head, answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let body = answer.json();
    assert_eq!((&body["total"], &body["page"]), (&total.into(), &"1".into()), "{body}");
    assert_eq!(body["page_size"], "25");
    let calls = body["data"].as_array().unwrap();
    assert_eq!(calls.len() as u64, total.min(25));
    let columns = columns();
    let kind = |value: &Value| std::mem::discriminant(value);
    for call in calls {
        let keys: Vec<_> = call.as_object().unwrap().keys().collect();
        assert_eq!(keys, columns.iter().map(|(key, _)| key).collect::<Vec<_>>());
        for (key, values) in &columns {
            let own = &call[key];
            let same = own.is_null() || values.iter().any(|value| kind(value) == kind(own));
            assert!(same, "{key}: {own}");
        }
    }
}

/// What is below `/api` is the API, and the rest of the name is for pages.
fn shares_a_name(split: &mut Split, program: &Path, start: Start) {
    let pages = JambonzApi::up();
    split.places.pages = Some(pages.port);
    split.proxy = start(program, &split.places);
    let count = format!("/v1/Accounts/{A1}/CallCount");
    until("rollcall is reached", || {
        (split.get(&format!("/api{count}")).status == 200).then_some(())
    });
    passes_unchanged(split, "/api", "GET", "/v1/Lcrs", "");
    for url in ["/", "/internal/recent-calls", "/apis", &count] {
        let answer = split.get(url);
        assert_eq!((answer.status, &*answer.body), (207, &*format!("GET {url}")));
        assert_eq!(pages.take().len(), 1, "{url}");
    }
    assert_eq!(split.jambonz.take(), []);
    split.places.pages = None;
}

/// A WebSocket goes to jambonz; where it is for rollcall, which has none, it is a request like any other.
fn carries_websockets(split: &Split) {
    let lines = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut client = BufReader::new(split.proxy.connect(&split.places.front.0));
    write!(client.get_mut(), "GET /api/record/s3 HTTP/1.1\r\nHost: localhost\r\n{lines}").unwrap();
    client.get_mut().flush().unwrap();
    assert_eq!(head(&mut client).0, 101);
    for word in ["ping", "pong"] {
        client.get_mut().write_all(word.as_bytes()).unwrap();
        client.get_mut().flush().unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, word.as_bytes());
    }
    let mut client = BufReader::new(split.proxy.connect(&split.places.front.0));
    let request = format!("GET /v1/Accounts/{A1}/CallCount HTTP/1.1\r\nHost: localhost\r\n{lines}");
    client.get_mut().write_all(request.as_bytes()).unwrap();
    client.get_mut().flush().unwrap();
    assert_eq!(head(&mut client).0, 401);
}

/// A user of the portal has the token of jambonz, and rollcall asks jambonz's API whose it is.
fn takes_tokens_of_jambonz(program: &Path, start: Start) {
    let split = Split::new(program, start);
    let recent = format!("/api/v1/Accounts/{A1}/RecentCalls?page=1&count=25");
    let call = format!("/api/v1/Accounts/{A1}/Calls/{}", sid(3));
    let [viewer, other] = [true, false].map(|views_only| token_of("one", views_only));
    let nobody = token_of("nobody", false);
    is_page(&split.ask_with(&viewer, "GET", &recent), 30);
    // He may not, and is not logged out for it.
    let refused = split.ask_with(&viewer, "DELETE", &call);
    assert!(refused.status == 403 && !refused.of_jambonz(), "{}{}", refused.head, refused.body);
    assert_eq!(split.ask_with(&nobody, "GET", &recent).status, 401);
    assert_eq!(split.get(&call).status, 200);

    // Without jambonz who is known reads on, and nobody is told that his token is wrong.
    split.jambonz.turns(true);
    is_page(&split.ask_with(&viewer, "GET", &recent), 30);
    is_page(&split.get(&recent), 30);
    for method in ["GET", "DELETE"] {
        let unknown = split.ask_with(&other, method, &call);
        assert!(unknown.status == 503, "{}{}", unknown.head, unknown.body);
        for name in ["x-request-id", "retry-after"] {
            assert!(unknown.header(name).is_some(), "{}", unknown.head);
        }
        assert_eq!(unknown.header("access-control-allow-origin"), Some("*"), "{}", unknown.head);
    }
    // HAProxy says 502 of a server that closes the connection.
    let rest = split.ask_with(&viewer, "GET", "/api/v1/Lcrs");
    assert!([502, 503].contains(&rest.status), "{}", rest.head);
    assert_eq!(rest.header("x-request-id"), None, "{}", rest.head);
    assert_eq!(rest.header("access-control-allow-origin"), Some("*"), "{}", rest.head);
    split.jambonz.turns(false);
    until("jambonz is asked again", || {
        let answer = split.ask_with(&other, "GET", &recent);
        assert!([200, 503].contains(&answer.status), "{}", answer.head);
        (answer.status == 200).then_some(())
    });
    assert_eq!(split.ask_with(&other, "DELETE", &call).status, 204);
    let log = split.rollcall.log();
    assert!([viewer, other, nobody].iter().all(|token| !log.contains(token)), "{log}");
}

/// What has to hold behind any proxy.
fn holds(program: &Path, start: Start) {
    let mut split = Split::new(program, start);
    let now = i64::try_from(rollcall::clock::now().millis()).unwrap();
    let yesterday = jiff::Timestamp::from_millisecond(now - 86_400_000).unwrap().to_string();

    // What the portal asked for when it was recorded, and what comes back.
    let mut pages = 0;
    for one in recorded() {
        let url = one.url.strip_prefix("/api").unwrap();
        for prefix in ["/api", ""] {
            let of_page = url.contains("/RecentCalls?");
            if of_page {
                let url = url.replace("2026-11-28T00:00:00.000Z", &yesterday);
                let answer = split.ask_with(PORTAL_TOKEN, "GET", &format!("{prefix}{url}"));
                is_page(&answer, 30);
                pages += 1;
            } else {
                passes_unchanged(&split, prefix, &one.method, url, "{\"username\":\"ü\"}");
            }
        }
    }
    assert_eq!(pages, 6);

    // Everything that lists calls, however it is written.
    let account = format!("/v1/Accounts/{A1}");
    let provider = format!("/v1/ServiceProviders/{PROVIDER}");
    for prefix in ["/api", "", "/"] {
        let get = |path: &str| {
            let answer = split.get(&format!("{prefix}{path}"));
            let good = answer.status == 200 && !answer.of_jambonz();
            assert!(good, "{prefix}{path}: {}{}", answer.head, answer.body);
            answer
        };
        for query in ["?page=1&count=25", "/?page=1&count=25&direction=inbound&filter=+1555"] {
            is_page(&get(&format!("{account}/RecentCalls{query}")), 30);
            is_page(&get(&format!("{provider}/RecentCalls{query}")), 30);
        }
        is_page(&get(&format!("{account}/recentcalls?page=1&count=25&filter=%2B15550000007")), 1);
        for path in [&account, &provider] {
            let calls = get(&format!("{path}/Calls/?callStatus=completed&from=%2B15550000000"));
            assert_eq!(calls.json().as_array().unwrap().len(), 1);
            assert_eq!(get(&format!("{path}/Calls")).json().as_array().unwrap().len(), 31);
            assert_eq!(get(&format!("{path}/CallCount")).json()["inbound"], 1);
            get(&format!("{path}/CallStats?interval=day"));
        }
        let one = format!("{account}/Calls/{}", sid(3));
        assert_eq!(get(&one).json()["call_sid"], sid(3));
        assert_eq!(get(&format!("{one}/events")).json().as_array().unwrap().len(), 1);
        get(&format!("{account}/Calls/changes?limit=5"));
        let answer = split.ask("HEAD", &format!("{prefix}{account}/Calls"));
        assert!(answer.status == 200 && answer.header("x-request-id").is_some(), "{}", answer.head);
    }
    is_page(
        &split.ask_with(
            PORTAL_TOKEN,
            "GET",
            &format!("/api{provider}/RecentCalls?page=1&count=25"),
        ),
        30,
    );
    let call = format!("/api{account}/Calls/{}", sid(3));
    assert_eq!(split.ask_with(PORTAL_TOKEN, "DELETE", &call).status, 204);
    assert_eq!(split.get(&call).status, 404);
    assert_eq!(split.jambonz.take(), []);

    // What is not a list of calls, and what changes one that is up.
    let sid = sid(99);
    for prefix in ["/api", ""] {
        for (method, path, body) in [
            ("POST", "/Calls", "{\"application_sid\":\"x\",\"to\":{\"type\":\"phone\"}}"),
            ("PUT", &format!("/Calls/{sid}"), "{\"call_status\":\"completed\"}"),
            ("POST", &format!("/Calls/{sid}"), "{\"mute_status\":\"mute\"}"),
            ("PATCH", &format!("/Calls/{sid}"), "{}"),
            ("OPTIONS", "/Calls", ""),
            ("OPTIONS", "/RecentCalls?page=1&count=25", ""),
            ("GET", "/RecentCalls/a%2Fb@10.0.0.9;x=1/invite/pcap", ""),
            ("GET", "/RecentCalls/trace/2a9ca6a32fa82ba876855bc727805182", ""),
            ("GET", "/RecentCalls/a@b", ""),
            ("GET", "/RecentCalls/a@b/logs", ""),
            ("GET", "/RecentCalls/a@b/record/2026/11/28/mp3", ""),
            ("DELETE", "/RecentCalls/a@b/record/2026/11/28/mp3", ""),
            ("GET", "/Calls/x/y", ""),
            ("GET", "/CallsOfOthers", ""),
            ("GET", "/Applications?next=/v1/Accounts/x/Calls", ""),
            ("GET", "/Applications?name=a%20b+c&empty=&x=%25", ""),
            ("HEAD", "/Alerts?page=1&count=10", ""),
        ] {
            passes_unchanged(&split, prefix, method, &format!("{account}{path}"), body);
        }
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(3 << 20));
        passes_unchanged(&split, prefix, "POST", "/v1/SpeechCredentials", &large);
        passes_unchanged(&split, prefix, "GET", "/v1/Sbcs", "");
        passes_unchanged(&split, prefix, "PUT", "/v1/Users/1", "{\"name\":\"é\"}");
    }

    carries_websockets(&split);

    // Who it was: the client, whatever it says itself.
    let lines = "Authorization: Bearer nobody\r\nX-Forwarded-For: 192.0.2.9\r\n\
                 Forwarded: for=192.0.2.8\r\n";
    assert_eq!(split.send("GET", &format!("{account}/CallCount"), lines, "").status, 401);
    let seen = peers(&split.audit);
    assert!(seen.last().unwrap().starts_with("127.0.0.2"), "{seen:?}");

    // Without rollcall nobody is told that a token is wrong, and all else goes on.
    let recent = format!("/api{account}/RecentCalls?page=1&count=25");
    split.rollcall.stop();
    let unreached = |answer: &Answer| {
        assert_eq!(answer.status, 503, "{}", answer.head);
        // Else a browser takes it for a network that is down, and the portal ends the session.
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{}", answer.head);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.json()["msg"].is_string());
    };
    unreached(&split.get(&recent));
    passes_unchanged(&split, "/api", "GET", "/v1/Lcrs", "");
    serve(&mut split.rollcall, &split.places.dir, split.places.rollcall, split.jambonz.port);
    until("it is reached again", || (split.get(&recent).status == 200).then_some(()));

    shares_a_name(&mut split, program, start);

    // Another authority than rollcall's.
    let (strange, _) = &split.places.front;
    split.places.ca = strange.clone();
    split.proxy = start(program, &split.places);
    unreached(&split.get(&recent));
    passes_unchanged(&split, "/api", "GET", "/v1/Lcrs", "");
    // Without jambonz.
    split.places.ca = split.rollcall.ca();
    split.places.jambonz = free_port();
    split.proxy = start(program, &split.places);
    until("rollcall is reached", || (split.get(&recent).status == 200).then_some(()));
    unreached(&split.get("/api/v1/Lcrs"));
    // Of the proxies that did not accept its certificate.
    for line in split.rollcall.log().lines().filter(|line| line.contains("WARN")) {
        let of_tls = line.contains("TLS") || line.contains("does not accept the certificate");
        assert!(of_tls, "{line}");
    }
}

#[test]
fn nginx_splits_as_the_page_says() {
    if let Some(program) = program("nginx") {
        holds(&program, start_nginx);
    }
}

#[test]
fn tokens_of_the_portal_are_taken_behind_nginx() {
    if let Some(program) = program("nginx") {
        takes_tokens_of_jambonz(&program, start_nginx);
    }
}

#[test]
fn tokens_of_the_portal_are_taken_behind_caddy() {
    if let Some(program) = program("caddy") {
        takes_tokens_of_jambonz(&program, start_caddy);
    }
}

#[test]
fn tokens_of_the_portal_are_taken_behind_haproxy() {
    if let Some(program) = program("haproxy") {
        takes_tokens_of_jambonz(&program, start_haproxy);
    }
}

#[test]
fn caddy_splits_as_the_page_says() {
    if let Some(program) = program("caddy") {
        holds(&program, start_caddy);
    }
}

#[test]
fn haproxy_splits_as_the_page_says() {
    if let Some(program) = program("haproxy") {
        holds(&program, start_haproxy);
    }
}
