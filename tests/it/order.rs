//! The order of writing, syncing and answering, seen from the system calls; and what a disk that
//! fails or is full does to it.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::crash::{QUIET, assert_checked, listed, segments, sids, wait};
use super::harness::{A1, Rollcall, event, have, sid, skip, until};
use super::load::{Load, Random, Trial};

/// strace on a running server, until it is told to go or the server ends.
struct Tracer {
    child: Child,
    trace: PathBuf,
}

impl Tracer {
    /// Attaches with these arguments. None where tracing is impossible here.
    fn attach(rollcall: &Rollcall, args: &[&str]) -> Option<Self> {
        if !have("strace") {
            return None;
        }
        let trace = rollcall.dir.path().join("trace");
        let said = rollcall.dir.path().join("strace.log");
        let mut command = Command::new("strace");
        command.args(["-f", "-yy", "-o"]).arg(&trace).args(args);
        command.args(["-p", &rollcall.pid().to_string()]);
        command.stdin(Stdio::null()).stderr(fs::File::create(&said).unwrap());
        let mut child = command.spawn().unwrap();
        let refused = until("strace is attached", || {
            let text = fs::read_to_string(&said).unwrap();
            let refused = child.try_wait().unwrap().map(|_| text.clone());
            if text.contains(" attached") { Some(None) } else { refused.map(Some) }
        });
        match refused {
            None => Some(Self { child, trace }),
            Some(why) => {
                skip(&format!("strace cannot attach: {why}"));
                None
            }
        }
    }

    /// Every call of these names fails so from now on; where there is a path, those on it alone.
    fn fail(rollcall: &Rollcall, call: &str, error: &str, path: Option<PathBuf>) -> Option<Self> {
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:error={error}");
        let path = path.map(|path| path.to_str().unwrap().to_owned());
        let mut args = vec!["-e", &trace, "-e", &inject];
        args.extend(path.iter().flat_map(|path| ["-P", path]));
        Self::attach(rollcall, &args)
    }

    /// Lets go of the server, and returns what was seen.
    fn detach(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap();
        fs::read_to_string(&self.trace).unwrap()
    }

    /// The same where the server has ended.
    fn ended(mut self) -> String {
        until("strace ends", || self.child.try_wait().unwrap());
        fs::read_to_string(&self.trace).unwrap()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Posts one event: the status, or nothing where the connection was cut.
fn post(rollcall: &Rollcall, number: u32) -> Option<u16> {
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = event(number, "busy");
    let answer = rollcall.send("POST", "/v1/hooks/call-status", &headers, body.as_bytes());
    answer.ok().map(|answer| answer.status)
}

/// Answered events, then a failure of this call: no further one is acknowledged, the process
/// ends and says why, and the next one has everything that was acknowledged.
fn nothing_more_after(call: &str, says: &str) {
    let mut rollcall = Rollcall::up(&QUIET);
    for number in 1..=20 {
        assert_eq!(post(&rollcall, number), Some(204));
    }
    let segment = segments(&rollcall).pop();
    let Some(tracer) = Tracer::fail(&rollcall, call, "EIO", segment) else { return };
    for number in 21..=25 {
        assert!(matches!(post(&rollcall, number), None | Some(503)), "event {number}");
    }
    assert_eq!(rollcall.wait(), Some(1));
    let trace = tracer.ended();
    assert_eq!(trace.matches("(INJECTED)").count(), 1, "it is not tried again: {trace}");
    let log = rollcall.log();
    assert!(log.contains("the journal has failed") && log.contains(says), "{log}");
    rollcall.start();
    let listed = listed(&rollcall);
    assert_eq!(listed[..20], sids(20));
    assert!(listed.len() <= 21, "{listed:?}");
    assert_checked(&rollcall);
    assert_eq!(post(&rollcall, 26), Some(204));
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    nothing_more_after("fdatasync", "cannot sync");
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged() {
    nothing_more_after("pwrite64", "cannot write to");
}

#[test]
fn a_disk_that_is_full_at_the_sync_is_a_failed_sync() {
    let mut rollcall = Rollcall::up(&QUIET);
    assert_eq!(post(&rollcall, 1), Some(204));
    let Some(tracer) = Tracer::fail(&rollcall, "fdatasync", "ENOSPC", None) else { return };
    let body = rollcall.post_events(&event(2, "busy"));
    assert_eq!(body.status, 503);
    // The bytes are in the file, and may be there after the next start.
    assert!(!body.body.contains("nothing of this was stored"), "{body:?}");
    assert_eq!(rollcall.wait(), Some(1));
    tracer.ended();
}

#[test]
fn failures_in_mid_load_lose_nothing_that_was_acknowledged() {
    let trial = Trial::new("FAILURE_ROUNDS", 6);
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&QUIET);
    let mut load = Load::new(trial.seed, 3);
    load.refusals_are_final = false;
    for round in 0..trial.rounds {
        let call = ["fdatasync", "pwrite64", "fsync,fdatasync"][round % 3];
        let failed = load.during(&mut rollcall, |rollcall| {
            wait(&mut random, 300);
            let tracer = Tracer::fail(rollcall, call, "EIO", None)?;
            let code = rollcall.wait();
            tracer.ended();
            Some(code)
        });
        let Some(code) = failed else { return };
        assert_eq!(code, Some(1));
        rollcall.start();
        load.compare(&rollcall);
        assert_checked(&rollcall);
    }
    assert!(load.acknowledged() > 10 * trial.rounds, "{}", load.acknowledged());
    eprintln!("{} failures, {} acknowledged, 0 lost", trial.rounds, load.acknowledged());
}

#[test]
fn a_full_disk_takes_nothing_by_half_and_is_survived() {
    let trial = Trial::new("FULL_DISK_ROUNDS", 4);
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&QUIET);
    let mut load = Load::new(trial.seed, 3);
    for round in 1..=trial.rounds {
        // A call that is nobody's of the load.
        let number = u32::try_from(round).unwrap();
        let traced = load.during(&mut rollcall, |rollcall| {
            wait(&mut random, 200);
            let segment = segments(rollcall).pop();
            // Over by itself: a call in flight would feel it if strace went away now.
            let tracer = Tracer::fail(rollcall, "pwrite64", "ENOSPC:when=1..400", segment)?;
            let refused = rollcall.post_events(&event(number, "busy"));
            assert_eq!(refused.status, 503, "{refused:?}");
            assert_eq!(
                refused.json()["msg"],
                "the server is short of disk space; nothing of this was stored"
            );
            assert_eq!(refused.header("retry-after"), Some("30"));
            assert_eq!(rollcall.send("GET", "/readyz", &[], b"").unwrap().status, 200);
            // The same server goes on.
            let answer = || (post(rollcall, number)? == 204).then_some(());
            until("the disk has space", answer);
            wait(&mut random, 200);
            Some(tracer)
        });
        let Some(tracer) = traced else { return };
        assert_eq!(tracer.detach().matches("(INJECTED)").count(), 400);
        let bearer = format!("Bearer {}", rollcall.admin());
        let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(number));
        rollcall.send("DELETE", &path, &[("authorization", &bearer)], b"").unwrap();
        load.compare(&rollcall);
        assert_checked(&rollcall);
    }
    rollcall.kill();
    rollcall.start();
    load.compare(&rollcall);
    assert!(load.refused > trial.rounds, "{}", load.refused);
    eprintln!("{} acknowledged, {} refused, 0 lost", load.acknowledged(), load.refused);
}

#[test]
fn a_frame_is_synced_before_the_answer_is_written() {
    let rollcall = Rollcall::up(&QUIET);
    assert_eq!(post(&rollcall, 1), Some(204));
    let calls = "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg";
    let Some(tracer) = Tracer::attach(&rollcall, &["-e", calls]) else { return };
    for number in 2..=40 {
        assert_eq!(post(&rollcall, number), Some(204));
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let trace = tracer.detach();
    let steps = steps(&trace);
    let mut answered = 0;
    // Whether something was written since the last sync that began after it.
    let (mut written, mut syncing) = (false, false);
    for step in &steps {
        match step {
            Step::WriteBegins => (written, syncing) = (true, false),
            Step::SyncBegins => syncing = true,
            Step::SyncDone => {
                answered += usize::from(written && syncing);
                written &= !syncing;
            }
            Step::AnswerBegins => assert!(!written, "answered before the sync:\n{trace}"),
        }
    }
    assert_eq!(answered, 39, "{trace}");
    let answers = steps.iter().filter(|step| **step == Step::AnswerBegins).count();
    assert!(answers >= 39, "{trace}");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    WriteBegins,
    SyncBegins,
    SyncDone,
    AnswerBegins,
}

/// What matters of a trace, in its order. A call that another thread's interrupts has two lines.
fn steps(trace: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut unfinished = HashMap::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let resumed = call.starts_with("<... ");
        let begun = if resumed { unfinished.remove(thread).unwrap_or_default() } else { call };
        let journal = begun.contains("/journal/");
        let sync = journal && begun.starts_with("fdatasync(");
        if !resumed {
            if journal && begun.starts_with("pwrite64(") {
                steps.push(Step::WriteBegins);
            } else if sync {
                steps.push(Step::SyncBegins);
            } else if begun.contains("<TCP:[") {
                steps.push(Step::AnswerBegins);
            }
        }
        if call.ends_with("<unfinished ...>") {
            unfinished.insert(thread, call);
        } else if sync && call.ends_with("= 0") {
            steps.push(Step::SyncDone);
        }
    }
    steps
}
