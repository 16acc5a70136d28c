//! Earlier states of a store.

use super::super::harness::{Rollcall, event};
use super::{backup, export, place, restore, run, text};

#[test]
fn a_restore_ends_where_it_is_told_to() {
    let mut rollcall = Rollcall::up(&["--store-checkpoint-interval=1day"]);
    let sequence = |rollcall: &Rollcall| {
        let status = rollcall.figures();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["sequence"].as_u64().unwrap()
    };
    let mut states = Vec::new();
    for n in 0..20 {
        let events: Vec<_> = (n * 10..n * 10 + 15).map(|n| event(n, "busy")).collect();
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
        states.push((sequence(&rollcall), rollcall.ok(&["export"])));
        if n == 10 {
            // A restart begins a new segment.
            assert_eq!(rollcall.stop(), Some(0));
            rollcall.start();
        }
    }
    for name in ["all", "all.tar.zst"] {
        let target = place(&rollcall, name);
        backup(&rollcall, &target, &[]);
        for (number, (sequence, state)) in states.iter().enumerate().step_by(3) {
            let to = place(&rollcall, &format!("{name}-{sequence}"));
            // In the middle of the next commit, which is left out whole.
            let until = (sequence + if number % 2 == 0 { 0 } else { 5 }).to_string();
            let told = restore(&target, &to, &["--until", &until]);
            assert_eq!(told["sequence"], *sequence, "{told}");
            assert!(export(&to) == *state, "{name} {sequence}");
            let time = told["last_change_at"].as_str().unwrap().to_owned();
            let other = place(&rollcall, &format!("{name}-{sequence}-by-time"));
            let told = restore(&target, &other, &["--until", &time]);
            assert_eq!(told["last_change_at"], time);
            // Several commits may be of one millisecond.
            assert!(told["sequence"].as_u64() >= Some(*sequence), "{told}");
        }
        let to = place(&rollcall, &format!("{name}-none"));
        for early in ["2020-01-01", "0"] {
            let args = ["restore", text(&target), "--until", early, "--data-dir", text(&to)];
            let refused = run(&args);
            let said = refused.stderr.contains("is too early: its journal begins");
            assert!(refused.code == Some(1) && said && !to.exists(), "{refused:?}");
        }
        for late in ["2999-01-01", "99999999", "20_261_101"] {
            let to = place(&rollcall, &format!("{name}-{late}"));
            let args = ["restore", text(&target), "--until", late, "--data-dir", text(&to)];
            let told = run(&args);
            assert_eq!(told.code, Some(0), "{told:?}");
            assert!(told.stderr.contains("before what --until asks for"), "{told:?}");
            assert!(export(&to) == states.last().unwrap().1);
        }
    }
}
