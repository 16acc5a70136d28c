//! How long calls are kept: said in words, not short by mistake, and done when somebody asks for it.

use std::fs;

use super::super::harness::{A1, Rollcall, event, print};
use super::super::load::Random;

#[test]
fn a_retention_below_a_day_has_to_be_meant_and_is_said_in_words() {
    let mut rollcall = Rollcall::down();
    rollcall.set_args(&["--retention-age=12m"]);
    let refused = rollcall.start_fails();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for said in ["--retention-age: ", "12 minutes", "retention.allow_short = true"] {
        assert!(refused.stderr.contains(said), "{said}: {refused:?}");
    }
    assert!(!rollcall.data().exists());
    // An account's own age is no way around it, with a server and without.
    let keep = ["account", "set", A1, "--keep", "12m"];
    let down = rollcall.run(&keep);
    rollcall.set_args(&[]);
    rollcall.start();
    let up = rollcall.run(&keep);
    for printed in [&down, &up] {
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(2), ""), "{printed:?}");
        assert!(printed.stderr.contains("--keep: the account's calls would go 12 minutes after"));
    }
    assert!(rollcall.log().contains("calls are kept for good"), "{}", rollcall.log());
    let set = rollcall.ok(&["account", "set", A1, "--keep", "36h"]);
    assert!(set.contains("its calls are kept for 1 day 12 hours after they were listed"), "{set}");
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.set_args(&["--retention-age=12m", "--retention-allow-short"]);
    rollcall.start();
    assert!(rollcall.log().contains("calls are kept for 12 minutes after they were listed"));
    let set = rollcall.ok(&keep);
    assert!(set.contains("its calls are kept for 12 minutes"), "{set}");
}

#[test]
fn expire_and_its_dry_run_do_what_the_size_of_the_store_asks_for() {
    let rollcall = Rollcall::down();
    // Texts that do not compress, so that each call takes its share of the disk.
    let mut random = Random::new(7);
    let mut noise = || {
        (0..75).fold(String::new(), |text, _| format!("{text}{:016x}", random.below(usize::MAX)))
    };
    let calls: String = (0..3000)
        .map(|n| event(n, "completed").replace('}', &format!(",\"x\":\"{}\"}}", noise())) + "\n")
        .collect();
    assert_eq!(rollcall.run_with(&["import"], calls.as_bytes()).code, Some(0));
    rollcall.ok(&["compact", "--drop-history"]);
    let figures = || -> (u64, u64) {
        let status: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
        let bytes = ["journal_bytes", "index_bytes"].map(|name| status[name].as_u64().unwrap());
        (status["calls"].as_u64().unwrap(), bytes.iter().sum())
    };
    let (all, whole) = figures();
    assert_eq!(all, 3000);
    let config = rollcall.dir.path().join("c.toml");
    let data_dir = rollcall.data();
    let limit = whole / 4 * 3;
    fs::write(&config, format!("data_dir = {data_dir:?}\n[retention]\nbytes = {limit}\n")).unwrap();
    let expire = |more: &[&str]| {
        let args = [&["expire", "--config", config.to_str().unwrap()], more].concat();
        rollcall.ok(&args)
    };
    let would: serde_json::Value = serde_json::from_str(&expire(&["--dry-run", "--json"])).unwrap();
    let accounts = would.as_array().unwrap();
    assert_eq!(accounts.len(), 1, "{would}");
    assert_eq!(accounts[0]["reason"], "size", "{would}");
    let estimate = accounts[0]["calls"].as_u64().unwrap();
    assert!((300..2000).contains(&estimate), "{would}");
    assert!(expire(&["--dry-run"]).contains("size (about)"));
    assert_eq!(figures().0, 3000, "nothing has gone");
    let done: serde_json::Value = serde_json::from_str(&expire(&["--json"])).unwrap();
    let (left, bytes) = figures();
    assert_eq!(done["expired"].as_u64(), Some(3000 - left), "{done}");
    assert!(left < 2700 && left > 0, "{left} are left of {all}");
    assert!(bytes <= limit, "{bytes} bytes of {limit}");
    assert_eq!(expire(&["--dry-run"]), "nothing would go\n");
    // Without a limit nothing goes for its size.
    let mut free = std::process::Command::new(super::super::harness::ROLLCALL);
    free.args(["expire", "--dry-run", "--data-dir"]).arg(data_dir);
    assert_eq!(print(&mut free, b"").stdout, "nothing would go\n");
}
