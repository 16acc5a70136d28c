//! Backups of a journal that was packed.

use std::fs;
use std::sync::Arc;

use rollcall::domain::Timestamp;
use rollcall::journal::{self, FrameDecision, FrameKind, JournalError, PackedStamp};

use super::super::harness::{Rollcall, event};
use super::{export, ok, place, restore, run, text};

/// Calls that change once.
const CALLS: u32 = 4000;

/// A store whose first segments are packed. Returns the sequence number up to which it is.
fn packed(forget: bool) -> (Rollcall, u64) {
    let mut rollcall =
        Rollcall::up(&["--store-segment-bytes=1048576", "--store-checkpoint-interval=1day"]);
    for status in ["trying", "busy"] {
        for part in 0..4 {
            let calls = part * CALLS / 4..(part + 1) * CALLS / 4;
            let events: Vec<_> = calls.map(|n| event(n, status)).collect();
            assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
        }
    }
    assert_eq!(rollcall.stop(), Some(0));
    let dir = rollcall.data().join("journal");
    let opened = journal::open(&dir, false, 1 << 20).unwrap();
    let count = opened.segments.len();
    let last = opened.segments.last().unwrap().first_seq;
    let run: Vec<_> = opened.segments.into_iter().take(count - 1).map(Arc::new).collect();
    assert!(run.len() > 1, "{}", run.len());
    let stamp = PackedStamp { as_of: last, erased_until: 0, at: Timestamp::MAX };
    let mut seen = 0;
    let delivery = |frame: &journal::Frame<'_>| {
        seen += u32::from(frame.kind == FrameKind::Record);
        let superseded = forget && frame.kind == FrameKind::Record && seen <= CALLS;
        let gone = superseded || frame.kind == FrameKind::Checkpoint;
        Ok::<_, JournalError>(if gone { FrameDecision::Superseded } else { FrameDecision::Keep })
    };
    journal::pack(&run, stamp, delivery, || Ok(())).unwrap();
    for segment in &run {
        fs::remove_file(&segment.path).unwrap();
    }
    (rollcall, last)
}

#[test]
fn a_packed_journal_is_backed_up_as_it_is_and_says_how_far_back_it_reaches() {
    for forget in [false, true] {
        let (mut rollcall, as_of) = packed(forget);
        let before = rollcall.ok(&["export"]);
        assert_eq!(before.lines().count(), CALLS as usize);
        rollcall.start();
        for name in ["backup", "backup.tar.zst"] {
            let target = place(&rollcall, name);
            super::backup(&rollcall, &target, &[]);
            let verified = ok(&["verify", text(&target)]);
            assert_eq!(verified["history_from"], if forget { as_of } else { 0 }, "{verified}");
            let to = place(&rollcall, &format!("{name}-restored"));
            restore(&target, &to, &[]);
            assert!(export(&to) == before);
            let early = place(&rollcall, &format!("{name}-early"));
            let middle = (CALLS * 3 / 2).to_string();
            let args = ["restore", text(&target), "--data-dir", text(&early), "--until", &middle];
            let printed = run(&args);
            if forget {
                let said = format!("--until {middle} is too early: what had been superseded");
                let said = printed.stderr.contains(&said)
                    && printed.stderr.contains(&format!("restore sequence {as_of} or later"));
                assert!(printed.code == Some(1) && said && !early.exists(), "{printed:?}");
            } else {
                assert_eq!(printed.code, Some(0), "{printed:?}");
                let restored = export(&early);
                let busy = restored.matches("\"busy\"").count();
                assert_eq!(restored.lines().count(), CALLS as usize);
                assert!(busy > 0 && restored != before);
                // It goes on from there, over and over.
                let other = Rollcall::up_in(&early, &[]);
                assert_eq!(other.post_events(&event(CALLS, "busy")).status, 204);
                super::assert_checked(&other);
            }
        }
    }
}
