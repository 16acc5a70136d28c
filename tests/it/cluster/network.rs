//! A network of namespaces: each rollcall and each nats-server has one of its own, and the router between them another one,
//! where the clients are.
//!
//! What goes from one of them to another can be cut off, one way or both. It is lost then and nobody is told, as where a
//! switch is broken. All of it ends with the test.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::harness::{have, print, skip};
use super::three::MACHINES;

/// One that has a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Node(usize),
    Server(usize),
}

impl End {
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..MACHINES).map(Self::Node).chain((0..MACHINES).map(Self::Server))
    }

    /// The rollcall and the nats-server of a machine.
    pub fn of_machine(n: usize) -> [Self; 2] {
        [Self::Node(n), Self::Server(n)]
    }

    fn place(self) -> usize {
        match self {
            Self::Node(n) => n,
            Self::Server(n) => MACHINES + n,
        }
    }

    pub fn address(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 99, u8::try_from(self.place()).unwrap(), 2))
    }
}

/// A network namespace, held by a process that ends with this one.
struct Namespace {
    holder: Child,
}

impl Namespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec cat"]);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.take().unwrap());
        assert_eq!(said.read_line(&mut line).unwrap(), 1, "unshare --net");
        Self { holder }
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// What a command begins with that is to run there.
    fn wrapper(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", self.path())]
    }

    fn run(&self, args: &[&str], input: &str) {
        let wrapper = self.wrapper();
        let printed =
            print(Command::new(&wrapper[0]).arg(&wrapper[1]).args(args), input.as_bytes());
        assert_eq!(printed.code, Some(0), "{args:?} {input}: {printed:?}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _gone = self.holder.wait();
    }
}

/// Six ends and a router.
pub struct Network {
    router: Namespace,
    ends: Vec<Namespace>,
    /// From where to where nothing goes.
    cut: Mutex<BTreeSet<(usize, usize)>>,
}

impl Network {
    /// None where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("namespaces of the network need root");
            return None;
        }
        if !have("unshare") || !have("nsenter") || !have("ip") {
            return None;
        }
        let router = Namespace::new();
        router.run(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], "");
        router.run(&["ip", "link", "set", "lo", "up"], "");
        let ends = End::all().map(|end| {
            let (n, namespace) = (end.place(), Namespace::new());
            let lines = [
                format!(
                    "link add to{n} type veth peer name uplink netns {}",
                    namespace.holder.id()
                ),
                format!("address add 10.99.{n}.1/30 dev to{n}"),
                format!("link set to{n} up"),
            ];
            router.run(&["ip", "-batch", "-"], &lines.join("\n"));
            let lines = [
                "link set lo up".to_owned(),
                format!("address add {}/30 dev uplink", end.address()),
                "link set uplink up".to_owned(),
                format!("route add default via 10.99.{n}.1"),
            ];
            namespace.run(&["ip", "-batch", "-"], &lines.join("\n"));
            namespace
        });
        let ends = ends.collect();
        Some(Self { router, ends, cut: Mutex::default() })
    }

    /// Does this where the clients are.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let done = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(name);
            let run = || {
                let namespace = File::open(self.router.path()).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                act()
            };
            thread.spawn_scoped(scope, run).unwrap().join()
        });
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// What a command begins with that is to run at an end.
    pub fn wrapper(&self, end: End) -> Vec<String> {
        self.ends[end.place()].wrapper()
    }

    /// Nothing goes from here to there any more.
    pub fn cut(&self, from: impl IntoIterator<Item = End>, to: impl IntoIterator<Item = End>) {
        let to: Vec<_> = to.into_iter().collect();
        let mut cut = self.cut.lock().unwrap();
        let mut lines = Vec::new();
        for from in from {
            for to in to.iter().filter(|to| **to != from) {
                let pair = (from.place(), to.place());
                if cut.insert(pair) {
                    lines.push(format!("rule add {}", rule(pair)));
                }
            }
        }
        self.router.run(&["ip", "-batch", "-"], &lines.join("\n"));
    }

    /// Nothing goes between those of these and all others.
    pub fn part(&self, these: &[End]) {
        let others = || End::all().filter(|end| !these.contains(end));
        self.cut(these.iter().copied(), others());
        self.cut(others(), these.iter().copied());
    }

    /// Everything goes everywhere again.
    pub fn mend(&self) {
        let mut cut = self.cut.lock().unwrap();
        let lines: Vec<_> = cut.iter().map(|pair| format!("rule del {}", rule(*pair))).collect();
        self.router.run(&["ip", "-batch", "-"], &lines.join("\n"));
        cut.clear();
    }
}

/// What is not the router's own is lost by a rule of this kind without a word to its sender.
fn rule((from, to): (usize, usize)) -> String {
    format!("iif to{from} to 10.99.{to}.2 pref {} type blackhole", 100 + 10 * from + to)
}
