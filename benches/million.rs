//! What a store of a million calls costs, measured on the real binary.
//!
//! ```sh
//! cargo bench --bench million               # 1 000 000 calls
//! cargo bench --bench million -- 100000     # as many as one likes
//! ```
//!
//! Everything happens in a temporary directory (`TMPDIR` says where; a RAM disk flatters). Each line
//! of the table names the command that it measures.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROLLCALL: &str = env!("CARGO_BIN_EXE_rollcall");
/// The account that has a good part of all calls.
const LARGE: &str = "a0000000-0000-4000-8000-000000000000";
const LARGE_CALLS: u64 = 100_000;
const OTHER_ACCOUNTS: u64 = 49;
/// Requests of which each latency is taken.
const REQUESTS: usize = 1000;
/// Requests that are counted.
const COUNTS: u32 = 20;
/// Calls that are told by webhook before the kill.
const EVENTS: u64 = 10_000;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = args.iter().find_map(|arg| arg.replace('_', "").parse().ok());
    // `cargo test --all-targets` runs this too, and does not mean it.
    if number.is_none() && !args.iter().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let bench = Bench { dir: dir.path().to_owned(), calls: number.unwrap_or(1_000_000) };
    let mut table = Table::default();
    bench.run(&mut table)?;
    table.print()
}

/// Lines of what was measured, figure, command.
#[derive(Default)]
struct Table(Vec<[String; 3]>);

impl Table {
    fn line(&mut self, what: &str, figure: String, command: &str) {
        // A person who waits sees that it goes on.
        let _nobody_looks = writeln!(io::stderr(), "{what}: {figure}");
        self.0.push([what.to_owned(), figure, command.to_owned()]);
    }

    fn print(&self) -> Outcome<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n| what | figure | command |\n|---|---|---|")?;
        for [what, figure, command] in &self.0 {
            writeln!(out, "| {what} | {figure} | `{command}` |")?;
        }
        Ok(())
    }
}

struct Bench {
    dir: PathBuf,
    calls: u64,
}

impl Bench {
    fn run(&self, table: &mut Table) -> Outcome<()> {
        self.import(table)?;
        self.restart(table)?;
        self.lists(table)?;
        self.export(table)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ROLLCALL);
        command.args(args).arg("--data-dir").arg(self.data()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end: seconds, and its peak of memory.
    fn timed(&self, args: &[&str]) -> Outcome<(f64, u64)> {
        let begun = Instant::now();
        let mut child = self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut peak = 0;
        let status = loop {
            peak = peak_kb(child.id()).unwrap_or(peak);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        };
        if !status.success() {
            return Err(format!("rollcall {} ended with {status}", args.join(" ")).into());
        }
        Ok((begun.elapsed().as_secs_f64(), peak))
    }

    fn import(&self, table: &mut Table) -> Outcome<()> {
        let path = self.dir.join("calls.ndjson");
        let mut file = BufWriter::new(File::create(&path)?);
        for n in 0..self.calls {
            write_call(&mut file, n, self.calls)?;
        }
        file.into_inner()?.sync_all()?;
        let bytes = fs::metadata(&path)?.len();
        let each = bytes / self.calls;
        table.line("input", format!("{} calls, {each} B each", self.calls), "calls.ndjson");
        let (seconds, peak) = self.timed(&["import", text(&path)?])?;
        let command = "rollcall import calls.ndjson";
        table.line("import", rate(self.calls, seconds), command);
        table.line("memory peak of the import", mib(peak * 1024), command);
        let journal = size(&self.data().join("journal"))?;
        let index = size(&self.data())?.saturating_sub(journal);
        let per_call = |bytes: u64| format!("{}, {} B a call", mib(bytes), bytes / self.calls);
        table.line("journal", per_call(journal), "du data/journal");
        table.line("index", per_call(index), "du data/index-*");
        let (seconds, _) = self.timed(&["check"])?;
        table.line("check of journal and index", rate(self.calls, seconds), "rollcall check");
        fs::remove_file(path)?;
        Ok(())
    }

    fn restart(&self, table: &mut Table) -> Outcome<()> {
        let server = Server::start(self)?;
        let until = "rollcall serve, until `listening on`".replace('`', "");
        table.line("start after a clean stop", seconds(server.started), &until);
        let events: Vec<String> = (0..EVENTS).map(event).collect();
        let begun = Instant::now();
        for batch in events.chunks(1000) {
            server.post(&batch.join("\n"))?;
        }
        let took = begun.elapsed().as_secs_f64();
        let hook = "POST /v1/hooks/call-status, 1000 a request";
        table.line("events by webhook, one connection", rate(EVENTS, took), hook);
        table.line("memory peak of the server so far", mib(server.peak()?), "serve");
        server.kill()?;
        let server = Server::start(self)?;
        table.line("start after kill -9", seconds(server.started), &until);
        server.stop()
    }

    fn lists(&self, table: &mut Table) -> Outcome<()> {
        let server = Server::start(self)?;
        let calls = format!("/v1/Accounts/{LARGE}/Calls");
        for (what, query) in [
            ("newest", ""),
            ("by status", "&callStatus=no-answer"),
            ("by two statuses and direction", "&callStatus=busy,failed&direction=inbound"),
            ("live", "&callStatus=in-progress"),
            ("by number", "&from=%2B15550000042"),
            ("by number and status", "&to=%2B15551000007&callStatus=completed"),
            ("by prefix", "&from_prefix=%2B155500012"),
            ("of one day", "&start=2026-01-11&end=2026-01-12"),
            ("oldest", "&order=asc"),
        ] {
            let path = format!("{calls}?limit=50{query}");
            let (rows, times) = latencies(&server, &path, REQUESTS)?;
            let figure = format!("{rows} rows: {}", percentiles(times));
            table.line(&format!("list of 50, {what}"), figure, &format!("GET {path}"));
        }
        Self::counts(&server, &calls, table)?;
        let begun = Instant::now();
        let body = server.get(&calls)?;
        let took = begun.elapsed().as_secs_f64();
        let rows = count(&body) as u64;
        let figure = format!("{}, {}", rate(rows, took), mib(body.len() as u64));
        table.line("list without limit", figure, &format!("GET {calls}"));
        table.line("memory peak of the server", mib(server.peak()?), "serve");
        server.stop()
    }

    /// What it costs to count, beside the page alone, in turn.
    fn counts(server: &Server, calls: &str, table: &mut Table) -> Outcome<()> {
        for (what, query) in [
            ("all", ""),
            ("by status", "&callStatus=no-answer"),
            ("by number", "&from=%2B15550000042"),
        ] {
            let alone = format!("{calls}?limit=50{query}");
            let counted = format!("{alone}&count=true");
            let mut sums = [Duration::ZERO; 2];
            for _ in 0..COUNTS {
                for (sum, path) in sums.iter_mut().zip([&alone, &counted]) {
                    *sum += latencies(server, path, 1)?.1.iter().sum::<Duration>();
                }
            }
            let [alone, with] = sums.map(|sum| sum.as_secs_f64());
            let mean = with / f64::from(COUNTS) * 1000.0;
            let figure = format!("{:.1} times the page alone, {mean:.1} ms", with / alone);
            table.line(
                &format!("list of 50 with a count, {what}"),
                figure,
                &format!("GET {counted}"),
            );
        }
        Ok(())
    }

    fn export(&self, table: &mut Table) -> Outcome<()> {
        let path = self.dir.join("export.ndjson");
        let (seconds, peak) = self.timed(&["export", "-o", text(&path)?])?;
        let command = "rollcall export -o export.ndjson";
        table.line("export", rate(self.calls + EVENTS, seconds), command);
        table.line("memory peak of the export", mib(peak * 1024), command);
        let (seconds, peak) = self.timed(&["rebuild"])?;
        table.line("rebuild", rate(self.calls + EVENTS, seconds), "rollcall rebuild");
        table.line("memory peak of the rebuild", mib(peak * 1024), "rollcall rebuild");
        Ok(())
    }
}

struct Server {
    child: Child,
    started: Duration,
    base: String,
    bearer: String,
    agent: ureq::Agent,
}

impl Server {
    fn start(bench: &Bench) -> Outcome<Self> {
        let begun = Instant::now();
        let mut command = bench.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().ok_or("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let started = begun.elapsed();
        let port = line.trim().rsplit(':').next().ok_or("a port")?;
        let port: u16 = port.parse().map_err(|_| format!("it did not start: {line}"))?;
        let token = fs::read_to_string(bench.data().join("admin.token"))?;
        let ca = fs::read(bench.data().join("tls/ca.pem"))?;
        let ca = ureq::tls::Certificate::from_pem(&ca)?;
        let roots = ureq::tls::RootCerts::Specific(Arc::new(vec![ca]));
        let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
        let agent = ureq::Agent::config_builder().tls_config(tls).build().new_agent();
        Ok(Self {
            child,
            started,
            base: format!("https://localhost:{port}"),
            bearer: format!("Bearer {}", token.trim()),
            agent,
        })
    }

    fn get(&self, path: &str) -> Outcome<String> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let mut answer = request.header("authorization", &self.bearer).call()?;
        let mut body = String::new();
        answer.body_mut().with_config().limit(1 << 32).reader().read_to_string(&mut body)?;
        Ok(body)
    }

    fn post(&self, body: &str) -> Outcome<()> {
        let request = self.agent.post(format!("{}/v1/hooks/call-status", self.base));
        let request = request.header("authorization", &self.bearer);
        request.header("content-type", "application/x-ndjson").send(body)?;
        Ok(())
    }

    fn peak(&self) -> Outcome<u64> {
        Ok(peak_kb(self.child.id()).ok_or("the server is gone")? * 1024)
    }

    fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn stop(mut self) -> Outcome<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.child.wait()?;
        Ok(())
    }
}

/// How many rows a list has, and how long each of so many requests took.
fn latencies(server: &Server, path: &str, requests: usize) -> Outcome<(usize, Vec<Duration>)> {
    let mut times = Vec::with_capacity(requests);
    let mut rows = 0;
    for _ in 0..requests {
        let begun = Instant::now();
        let body = server.get(path)?;
        times.push(begun.elapsed());
        rows = count(&body);
    }
    Ok((rows, times))
}

/// The next of a fixed row of numbers that look random (splitmix64).
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A call as a list of jambonz has it, with its times: all calls of a month, as they came.
fn write_call(out: &mut impl io::Write, n: u64, all: u64) -> io::Result<()> {
    let chance = mixed(n);
    let large = LARGE_CALLS.min(all / 2);
    // Every so many calls one is the large account's.
    let before = |n: u64| n * large / all;
    let account = if before(n + 1) > before(n) {
        LARGE.to_owned()
    } else {
        format!("a0000000-0000-4000-8000-{:012x}", 1 + chance % OTHER_ACCOUNTS)
    };
    let (status, sip) = match chance / 64 % 100 {
        0..70 => ("completed", 200),
        70..85 => ("no-answer", 480),
        85..92 => ("busy", 486),
        _ => ("failed", 503),
    };
    let direction = if (chance / 8192).is_multiple_of(3) { "outbound" } else { "inbound" };
    let seconds = n * 30 * 86_400 / all;
    let at = |more: u64| {
        let time = seconds + more;
        let (day, rest) = (time / 86_400, time % 86_400);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        format!("2026-01-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", day + 1, chance % 1000)
    };
    let lasted = 1 + chance / 1_048_576 % 600;
    write!(
        out,
        "{{\"account_sid\":\"{account}\",\"call_id\":\"{chance:016x}@10.0.0.{}\",\
         \"call_sid\":\"{:08x}-{:04x}-4000-8000-{n:012x}\",\"call_status\":\"{status}\",\
         \"direction\":\"{direction}\",\"from\":\"+1555{:07}\",\
         \"service_url\":\"http://10.0.0.5:3000\",\"sip_status\":{sip},\"to\":\"+1555{:07}\",\
         \"trace_id\":\"{chance:032x}\",\"attempted_at\":\"{}\"",
        chance % 250,
        chance >> 32,
        chance >> 16 & 0xffff,
        chance / 7 % 5000,
        1_000_000 + chance / 11 % 300,
        at(0)
    )?;
    if status == "completed" {
        write!(out, ",\"answered_at\":\"{}\",\"duration\":{lasted}", at(5))?;
    }
    writeln!(out, ",\"terminated_at\":\"{}\"}}", at(5 + lasted))
}

/// A call that is up.
fn event(n: u64) -> String {
    format!(
        "{{\"account_sid\":\"{LARGE}\",\"call_sid\":\"e0000000-0000-4000-8000-{n:012x}\",\
         \"direction\":\"inbound\",\"from\":\"+1555{:07}\",\"to\":\"+15559999999\",\
         \"call_id\":\"live-{n}@10.0.0.9\",\"call_status\":\"in-progress\",\"sip_status\":200}}",
        n % 5000
    )
}

/// Kilobytes that a process has had in memory at most; none when it has ended.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim_end_matches("kB").trim().parse().ok()
}

/// Bytes of all files below a directory.
fn size(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

fn text(path: &Path) -> Outcome<&str> {
    Ok(path.to_str().ok_or("the temporary directory has a name in UTF-8")?)
}

fn count(body: &str) -> usize {
    body.matches("\"call_sid\":").count()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| {
        let time = times.get(times.len() * percent / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1000.0
    };
    format!("p50 {:.2} ms, p99 {:.2} ms", at(50), at(99))
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn rate(count: u64, seconds: f64) -> String {
    format!("{:.0} a second ({seconds:.1} s)", count as f64 / seconds)
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / 1_048_576.0)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
