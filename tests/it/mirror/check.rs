//! `rollcall mirror check`.

use std::process::Command;

use serde_json::Value;

use super::super::harness::{A1, A2, Printed, ROLLCALL, Rollcall, print};
use super::redis::{Redis, free_port, mirror_is, mirroring, now, path_in, state_of, states};

fn check(flags: &[(&str, &str)]) -> Printed {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(ROLLCALL);
    command.args(["mirror", "check", "--data-dir"]).arg(dir.path().join("none"));
    for (key, value) in flags {
        command.env(format!("ROLLCALL_MIRROR_REDIS_{key}"), value);
    }
    let printed = print(&mut command, b"");
    assert!(!dir.path().join("none").exists(), "it makes no store");
    printed
}

#[test]
fn it_tries_everything_and_its_acl_line_is_enough() {
    let Some(redis) = Redis::up(&[]) else { return };
    let mut client = redis.client();
    for n in 0..3 {
        client.write(&state_of(A1, n, &states()[0]), now());
    }
    client.write(&state_of(A2, 9, &states()[0]), now());
    let url = redis.url();
    let good = check(&[("URL", &url), ("ACCOUNTS", A1)]);
    assert_eq!(good.code, Some(0), "{good:?}");
    for says in [
        "ok       reach: 127.0.0.1:",
        "ok       login: as the default user, Redis ",
        "ok       rights: ",
        "ok       follow: tracking",
        "ok       calls: 3 calls of 1 account; 1 more call of accounts that are not wanted",
    ] {
        assert!(good.stdout.contains(says), "{good:?}");
    }
    // The line as it is printed, and nothing else: it is enough for the check and for a server.
    let acl = good.stdout.lines().find(|line| line.starts_with("user ")).unwrap();
    let words: Vec<_> = acl.split(' ').skip(1).collect();
    let words: Vec<_> = words.iter().map(|word| word.replace("PASSWORD", "s3cret")).collect();
    let words: Vec<_> =
        ["ACL", "SETUSER"].into_iter().chain(words.iter().map(String::as_str)).collect();
    client.ok(&words);
    client.ok(&["ACL", "SETUSER", "default", "off"]);
    let password = path_in(redis.dir.path(), "password");
    std::fs::write(&password, "s3cret\n").unwrap();
    let url = format!("redis://mirror@127.0.0.1:{}", redis.port);
    let limited = check(&[("URL", &url), ("PASSWORD_FILE", &password)]);
    assert_eq!(limited.code, Some(0), "{limited:?}");
    assert!(limited.stdout.contains("follow: tracking"), "{limited:?}");
    assert!(limited.stdout.contains("calls: 4 calls of 2 accounts"), "{limited:?}");
    assert!(!limited.stdout.contains("s3cret"), "{limited:?}");
    let flags = ["--mirror-redis-url", &url, "--mirror-redis-password-file", &password];
    let rollcall = Rollcall::up(&flags);
    let mirror =
        mirror_is(&rollcall, "all is looked through", |mirror| mirror["reconciled_at"].is_string());
    assert_eq!(mirror["mode"], "tracking");
    assert!(!rollcall.log().contains("s3cret"));
    // A wrong password, and none.
    std::fs::write(&password, "wrong\n").unwrap();
    let wrong = check(&[("URL", &url), ("PASSWORD_FILE", &password)]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stdout.contains("error    login: "), "{wrong:?}");
    assert!(wrong.stdout.contains("as mirror: WRONGPASS"), "{wrong:?}");
    let none = check(&[("URL", &redis.url())]);
    assert!(none.stdout.contains("mirror.redis.password_file"), "{none:?}");
    // Without a right that is needed.
    std::fs::write(&password, "s3cret\n").unwrap();
    client.ok(&["ACL", "SETUSER", "mirror", "-hgetall"]);
    let short = check(&[("URL", &url), ("PASSWORD_FILE", &password)]);
    assert_eq!(short.code, Some(1), "{short:?}");
    assert!(short.stdout.contains("error    rights: 127.0.0.1:"), "{short:?}");
    assert!(short.stdout.contains("refuses HGETALL: NOPERM"), "{short:?}");
}

#[test]
fn it_says_what_is_wrong_and_exits_1() {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let unreached = check(&[("URL", &nobody)]);
    assert_eq!(unreached.code, Some(1), "{unreached:?}");
    assert!(
        unreached.stdout.contains("error    reach: cannot connect to 127.0.0.1:"),
        "{unreached:?}"
    );
    assert_eq!(unreached.stdout.matches("refused").count(), 1, "{unreached:?}");
    assert!(unreached.stdout.contains("\nuser mirror on >PASSWORD "), "{unreached:?}");
    let unset = check(&[]);
    assert_eq!(unset.code, Some(2), "{unset:?}");
    assert!(unset.stderr.contains("mirror.redis.url is not set"), "{unset:?}");
    // Something else listens there.
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    let url = format!("redis://127.0.0.1:{}", rollcall.plain_port);
    let other = check(&[("URL", &url)]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stdout.contains("does not speak the protocol of Redis"), "{other:?}");
}

#[test]
fn its_answer_is_json_for_programs() {
    let Some(redis) = Redis::up(&["--rename-command", "CLIENT", ""]) else { return };
    let rollcall = mirroring(&redis, &[]);
    let url = redis.url();
    let mut command = Command::new(ROLLCALL);
    command.args(["mirror", "check", "--json"]).env("ROLLCALL_MIRROR_REDIS_URL", &url);
    let printed = print(&mut command, b"");
    let check: Value = serde_json::from_str(&printed.stdout).unwrap();
    let steps = check["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["ok"] == true), "{check}");
    let follow = steps.iter().find(|step| step["name"] == "follow").unwrap();
    assert!(follow["text"].as_str().unwrap().starts_with("polling each second"), "{check}");
    assert!(check["acl"].as_str().unwrap().starts_with("user mirror on "), "{check}");
    drop(rollcall);
}

#[test]
fn three_lines_of_the_page_are_enough() {
    let page = include_str!("../../../docs/connect.md");
    let block = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(block.lines().count(), 3, "{block}");
    let Some(redis) = Redis::up(&[]) else { return };
    let address = "redis://10.0.0.5:6379";
    assert_eq!(block.matches(address).count(), 1, "{block}");
    let file = path_in(redis.dir.path(), "rollcall.toml");
    std::fs::write(&file, block.replace(address, &redis.url())).unwrap();
    let printed = print(Command::new(ROLLCALL).args(["mirror", "check", "--config", &file]), b"");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    // The ACL line of the page is that of the command.
    let acl = printed.stdout.lines().find(|line| line.starts_with("user ")).unwrap();
    assert!(page.contains(&format!("\n{acl}\n")), "{acl}");
    let rollcall = Rollcall::up(&["--config", &file]);
    redis.client().write(&state_of(A2, 1, &states()[0]), now());
    super::redis::call_with(&rollcall, A2, &super::super::harness::sid(1), "trying");
    assert!(
        rollcall.status().contains("\nmirror           redis://127.0.0.1:"),
        "{}",
        rollcall.status()
    );
    let table = page.split("**Where jambonz's variables go:**").nth(1).unwrap();
    for key in ["password_file", "sentinels", "ca", "cert", "key"] {
        assert!(table.contains(key), "{key}");
    }
}
