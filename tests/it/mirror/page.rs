//! What `docs/connect.md` says of connecting jambonz, done as it stands there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::harness::{A1, ROLLCALL, Rollcall, print, sid, until};
use super::redis::{Redis, call_with, now, path_in, state_of, states};

const PAGE: &str = include_str!("../../../docs/connect.md");

/// What stands under a heading of the page.
fn section(heading: &str) -> &'static str {
    let begin = format!("\n## {heading}\n");
    let rest = PAGE.split(&begin[..]).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// A `systemctl` that says what it is asked, and ends once that is done.
fn systemctl(dir: &Path) {
    let made = print(Command::new("mkfifo").arg(dir.join("done")), b"");
    assert_eq!(made.code, Some(0), "{made:?}");
    let script =
        "#!/bin/sh\ncd $(dirname $0) && echo \"$*\" > new && mv new asked && read done < done\n";
    let path = dir.join("systemctl");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_mirror_runs_once_the_commands_of_the_page_have_been_entered() {
    let Some(redis) = Redis::up(&[]) else { return };
    let blocks: Vec<_> = section("Connect jambonz").split("```sh\n").skip(1).collect();
    let [block] = blocks.try_into().unwrap();
    let block = block.split("```").next().unwrap();
    let bin = tempfile::tempdir().unwrap();
    systemctl(bin.path());
    symlink(ROLLCALL, bin.path().join("rollcall")).unwrap();

    // As the package leaves it.
    let mut rollcall = Rollcall::down();
    let config = path_in(rollcall.dir.path(), "rollcall.toml");
    let data = rollcall.data().to_str().unwrap().to_owned();
    fs::write(&config, format!("data_dir = \"{data}\"\nlisten = \"127.0.0.1:0\"")).unwrap();
    let serve = || {
        let mut command = Command::new(ROLLCALL);
        command.args(["serve", "--config", &config]);
        command
    };
    rollcall.start_with(serve());
    redis.client().write(&state_of(A1, 1, &states()[0]), now());

    let mut script = block.to_owned();
    for (from, to) in [
        ("/etc/rollcall/rollcall.toml", config.as_str()),
        ("redis://10.0.0.5:6379", redis.url().as_str()),
    ] {
        assert_eq!(script.matches(from).count(), 1, "{from}: {script}");
        script = script.replace(from, to);
    }
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let mut shell = Command::new("bash");
    shell.args(["-euc", &script]).env("PATH", path).env("ROLLCALL_CONFIG", &config);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let asked = until("systemctl is asked", || {
        let asked = fs::read_to_string(bin.path().join("asked")).ok();
        assert!(asked.is_some() || child.try_wait().unwrap().is_none(), "the commands have failed");
        asked
    });
    assert_eq!(asked, "restart rollcall\n");
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start_with(serve());
    call_with(&rollcall, A1, &sid(1), "trying");
    let mut fifo = fs::File::options().write(true).open(bin.path().join("done")).unwrap();
    fifo.write_all(b"yes\n").unwrap();
    drop(fifo);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["ok       follow: tracking", "ok       calls: 1 call of 1 account"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let mirror = format!("\nmirror           {}/0", redis.url());
    assert!(said.contains(&mirror), "{mirror}: {said}");
    let second = said.rsplit("\nmirror ").next().unwrap();
    assert!(second.lines().next().unwrap().contains("tracking"), "{said}");
}

#[test]
fn what_the_page_says_to_watch_is_there() {
    let text = section("Connect jambonz");
    let alerts = include_str!("../../../docs/monitoring/alerts.yml");
    let flags = ["--metrics-listen", "127.0.0.1:0", "--mirror-redis-url", "redis://127.0.0.1:1"];
    let rollcall = Rollcall::up(&flags);
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    let mut seen = 0;
    for word in text.split('`').skip(1).step_by(2) {
        if word.starts_with("rollcall_") {
            assert!(metrics.lines().any(|line| line.starts_with(word)), "{word}");
            seen += 1;
        } else if word.starts_with("Rollcall") {
            assert!(alerts.contains(&format!("- alert: {word}\n")), "{word}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}
