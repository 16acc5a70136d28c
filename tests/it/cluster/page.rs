//! Three machines as docs/cluster.md sets them up: its certificates, nats.conf, rollcall.toml, commands and `HAProxy`, with
//! nothing changed but addresses, paths and names.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::appliance::real_proxies::{
    Proxy, adapted, certificate, configurations, free_port, haproxy, program,
};
use super::super::harness::{
    A1, ROLLCALL, Rollcall, TIMEOUT, event, have, print, send, sid, until,
};
use super::super::load::Random;
use super::nats;

const PAGE: &str = include_str!("../../../docs/cluster.md");

/// The page with this network in place of 10.0.0.0/24: ports are free there.
struct Page {
    dir: tempfile::TempDir,
    network: String,
    servers: Vec<Child>,
}

impl Drop for Page {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _gone = server.kill();
            let _gone = server.wait();
        }
    }
}

impl Page {
    fn new() -> Self {
        let pid = std::process::id() as usize;
        let mut random = Random::new(pid as u64);
        let network = format!("127.{}.{}.", 64 + random.below(128), random.below(256));
        Self { dir: tempfile::tempdir().unwrap(), network, servers: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A text of the page with the addresses of this test.
    fn here(&self, text: &str) -> String {
        text.replace("10.0.0.", &self.network)
    }

    /// The same for one machine, whose own files and addresses stand there.
    fn of(&self, n: usize, text: &str) -> String {
        let dir = self.dir.path().display();
        let text = text
            .replace("node1", &format!("node{n}"))
            .replace("listen: \"10.0.0.1:", &format!("listen: \"10.0.0.{n}:"))
            .replace("listen = \"10.0.0.1:", &format!("listen = \"10.0.0.{n}:"))
            .replace("http: \"10.0.0.1:", &format!("http: \"10.0.0.{n}:"));
        let mut text = self.here(&text);
        for etc in ["/etc/nats/", "/etc/rollcall/"] {
            text = text.replace(&format!("{etc}node."), &format!("{dir}/node{n}."));
            text = text.replace(etc, &format!("{dir}/"));
        }
        text.replace("/var/lib/", &format!("{dir}/machine{n}/"))
    }

    /// Makes a node of a backup of the first one, with the page's commands: the second one through a pipe, the third one of a
    /// file. What speaks to another machine or to another user does so here.
    fn seed(&self, n: usize, first: &Path, own: &Path) {
        let backups = self.path(&format!("backups{n}"));
        fs::create_dir(&backups).unwrap();
        let all = commands();
        let mut blocks = all.iter().filter(|block| block.contains("cluster seed"));
        let block = blocks.nth(n - 2).unwrap();
        assert_eq!(block.contains("seed - "), n == 2, "{block}");
        let block = self.of(n, block).replace("/var/backups/rollcall", backups.to_str().unwrap());
        let here = format!(
            "config={own}\nrollcall() {{ {ROLLCALL} \"$@\" --config \"$config\"; }}\n\
             ssh() {{ shift; config={first}; \"$@\"; config={own}; }}\n\
             sudo() {{ shift 2; \"$@\"; }}\nscp() {{ :; }}\nchown() {{ :; }}\nsystemctl() {{ :; }}\n",
            own = own.display(),
            first = first.display(),
        );
        shell(self.dir.path(), &(here + &block));
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// The commands of the page's blocks for a shell.
fn commands() -> Vec<String> {
    configurations(PAGE, "sh")
}

fn shell(dir: &Path, text: &str) {
    let mut command = Command::new("bash");
    let printed = print(command.args(["-euo", "pipefail", "-c", text]).current_dir(dir), b"");
    assert_eq!(printed.code, Some(0), "{text}\n{printed:?}");
}

#[test]
fn three_machines_as_the_page_says_take_events_while_one_of_them_is_dead() {
    if !nats::here() || !have("openssl") || !have("bash") {
        return;
    }
    let Some(balancer) = program("haproxy") else { return };
    let mut page = Page::new();
    shell(page.dir.path(), &page.here(&commands()[0]));
    let password = fs::read_to_string(page.path("password")).unwrap();
    let conf = configurations(PAGE, "nats").remove(0).replace("PASSWORD", password.trim());
    let toml = configurations(PAGE, "toml").remove(0);
    let mut nodes = Vec::new();
    for n in 1..=3 {
        fs::create_dir(page.path(&format!("machine{n}"))).unwrap();
        let key = page.path(&format!("node{n}.key"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        let conf = page.write(&format!("nats{n}.conf"), &page.of(n, &conf));
        page.servers.push(start_server(&conf));
        let config = page.write(&format!("rollcall{n}.toml"), &page.of(n, &toml));
        let mut node = Rollcall::down_in(&page.path(&format!("machine{n}/rollcall")));
        node.trust(&page.path("ca.pem"));
        node.set_args(&["--config", config.to_str().unwrap()]);
        nodes.push((node, config));
    }
    let create = commands().concat();
    assert!(
        create.contains("\nrollcall cluster create\n")
            || create.contains("rollcall cluster create\n")
    );
    // The first node is a server that was by itself until now, and has calls.
    let alone = fs::read_to_string(&nodes[0].1).unwrap();
    let alone = page.write("alone.toml", alone.split("[cluster]").next().unwrap());
    serve(&mut nodes[0].0, &alone);
    let agent = nodes[0].0.new_agent();
    let bearer = format!("Bearer {}", nodes[0].0.admin());
    let headers = [("authorization", &*bearer), ("content-type", "application/x-ndjson")];
    for n in 61..=65 {
        let url = format!("https://{}1:8443/v1/hooks/call-status", page.network);
        let answer = send(&agent, "POST", &url, &headers, event(n, "busy").as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    assert_eq!(nodes[0].0.stop(), Some(0));
    until("the log is made", || {
        let mut command = Command::new(ROLLCALL);
        command.args(["cluster", "create", "--config"]).arg(&nodes[0].1);
        (print(&mut command, b"").code == Some(0)).then_some(())
    });
    for n in 1..=3 {
        if n > 1 {
            page.seed(n, &nodes[0].1, &nodes[n - 1].1);
        }
        let (node, config) = &mut nodes[n - 1];
        serve(node, config);
        let url = format!("https://{}{n}:8443/readyz", page.network);
        let agent = node.new_agent();
        until("a node is ready", || {
            let answer = send(&agent, "GET", &url, &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
    }
    let doctor = |config: &Path| {
        let mut command = Command::new(ROLLCALL);
        print(command.args(["doctor", "--config"]).arg(config), b"")
    };
    for (_, config) in &nodes {
        let printed = doctor(config);
        assert!(!printed.stdout.contains("sync"), "{printed:?}");
    }

    let front = balance(&page, &balancer);
    let agent = front_agent(&page.path("front.pem"));
    let url = |path: &str| format!("https://localhost:{}{path}", front.port);
    let post = |n: u32| {
        let body = event(n, "busy");
        until("an event is taken", || {
            let answer =
                send(&agent, "POST", &url("/v1/hooks/call-status"), &headers, body.as_bytes());
            answer.ok().filter(|answer| answer.status == 204)
        });
    };
    let mut next = 0;
    let mut some = |count: u32| {
        for _ in 0..count {
            next += 1;
            post(next);
        }
    };
    some(20);
    // A machine dies with all that is on it, and comes back.
    page.servers[1].kill().unwrap();
    page.servers[1].wait().unwrap();
    nodes[1].0.kill();
    some(20);
    page.servers[1] = start_server(&page.path("nats2.conf"));
    let mut command = Command::new(ROLLCALL);
    command.args(["serve", "--config"]).arg(&nodes[1].1);
    nodes[1].0.start_with(command);
    some(20);
    for n in 1..=3 {
        let path = format!("https://{}{n}:8443/v1/Accounts/{A1}/Calls/", page.network);
        let agent = nodes[n - 1].0.new_agent();
        for call in 1..=65 {
            until("each node has each call", || {
                let url = format!("{path}{}", sid(call));
                let answer = send(&agent, "GET", &url, &headers[..1], b"").ok()?;
                (answer.status == 200).then_some(())
            });
        }
    }
    let answer = send(&agent, "GET", &url(&format!("/v1/Accounts/{A1}/Calls")), &headers[..1], b"");
    assert_eq!(answer.unwrap().json().as_array().unwrap().len(), 65);
    // The servers let rollcall do what it takes to forget somebody, and nobody is missing.
    let mut purge = Command::new(ROLLCALL);
    purge.args(["purge", "--number", "+15550000005", "--now", "--config"]).arg(&nodes[1].1);
    let purged = print(&mut purge, b"");
    assert_eq!(purged.code, Some(0), "{purged:?}");
}

/// Starts a node with this configuration.
fn serve(node: &mut Rollcall, config: &Path) {
    let mut command = Command::new(ROLLCALL);
    command.args(["serve", "--config"]).arg(config);
    node.start_with(command);
}

fn start_server(conf: &Path) -> Child {
    let log = fs::File::create(conf.with_extension("log")).unwrap();
    let mut command = Command::new(nats::program(&nats::Options::default().version));
    command.arg("-c").arg(conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap()
}

fn balance(page: &Page, balancer: &Path) -> Proxy {
    let (cert, key) = certificate(page.dir.path());
    let both = page.path("both.pem");
    fs::write(&both, [fs::read(&cert).unwrap(), fs::read(&key).unwrap()].concat()).unwrap();
    let port = free_port();
    let text = adapted(
        &configurations(PAGE, "haproxy")[0],
        &[
            ("bind :443", &format!("bind 127.0.0.1:{port}")),
            ("/etc/haproxy/calls.pem", both.to_str().unwrap()),
        ],
    );
    let ca = page.path("ca.pem");
    let text = page.here(&text.replace("/etc/haproxy/rollcall-ca.pem", ca.to_str().unwrap()));
    haproxy(balancer, page.dir.path(), &format!("{text}\n"), port, true)
}

/// A client that trusts the balancer.
fn front_agent(certificate: &Path) -> ureq::Agent {
    let mut front = Rollcall::down();
    front.trust(certificate);
    front.agent_within(TIMEOUT)
}

#[test]
fn the_unit_of_the_page_is_one() {
    if !have("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = configurations(PAGE, "ini").remove(0);
    // systemd looks for the program and the user.
    let unit =
        adapted(&unit, &[("/usr/bin/nats-server", ROLLCALL), ("User=nats\n", "User=root\n")]);
    let unit = adapted(&unit, &[("Group=nats\n", "Group=root\n")]);
    let path = dir.path().join("nats-server.service");
    fs::write(&path, unit).unwrap();
    let printed = print(Command::new("systemd-analyze").arg("verify").arg(&path), b"");
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{printed:?}");
}
