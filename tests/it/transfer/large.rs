//! Many calls stream through in bounded memory.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::super::harness::{ROLLCALL, Rollcall, until};
use super::{TIMES, record, status};

const CALLS: u32 = 200_000;
/// Kilobytes.
const MEMORY_MAX: u64 = 640 * 1024;

fn write_calls(path: &Path) {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    for n in 0..CALLS {
        writeln!(file, "{}", record(n, TIMES)).unwrap();
    }
    file.flush().unwrap();
}

/// Kilobytes that a process has had in memory at most; none when it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim_end_matches("kB").trim().parse().ok()
}

/// Runs a command to its end, and returns what it printed and its memory at the last look.
fn watched(command: &mut Command) -> (String, u64) {
    let mut child: Child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = 0;
    let code = until("the command ends", || {
        seen = peak(child.id()).unwrap_or(seen);
        child.try_wait().unwrap()
    });
    assert_eq!(code.code(), Some(0));
    let mut printed = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut printed).unwrap();
    (printed, seen)
}

#[test]
fn two_hundred_thousand_calls_stream_through() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let input = rollcall.dir.path().join("calls.ndjson");
        let output = rollcall.dir.path().join("export.ndjson");
        write_calls(&input);
        let mut command = Command::new(ROLLCALL);
        command.args(["import", "--init"]).arg(&input).arg("--data-dir").arg(rollcall.data());
        let (printed, memory) = watched(&mut command);
        let expected = format!("{CALLS} records: {CALLS} new, 0 changed, 0 unchanged\n");
        assert_eq!(printed, expected);
        let mut peaks = vec![("import", memory)];
        let mut command = Command::new(ROLLCALL);
        command.arg("export").arg("-o").arg(&output).arg("--data-dir").arg(rollcall.data());
        peaks.push(("export", watched(command.stderr(Stdio::null())).1));
        if up {
            peaks.push(("server", peak(rollcall.pid()).unwrap()));
        }
        eprintln!("peak memory, server up: {up}: {peaks:?} kB");
        for (what, peak) in peaks {
            assert!((1..MEMORY_MAX).contains(&peak), "{what}: {peak} kB");
        }
        assert_eq!(status(&rollcall)["calls"], CALLS);
        let lines = std::fs::read_to_string(&output).unwrap().lines().count();
        assert_eq!(lines, usize::try_from(CALLS).unwrap());
    }
}
