//! Writers, and a server that is killed under them again and again.

use super::super::harness::Rollcall;
use super::super::load::{Load, Random, Trial};
use super::{RESTLESS, assert_checked, segments, wait};

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let trial = Trial::new("CRASH_ROUNDS", 25);
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&RESTLESS);
    let mut load = Load::new(trial.seed, 4);
    for round in 0..trial.rounds {
        load.during(&mut rollcall, |rollcall| {
            wait(&mut random, 500);
            rollcall.kill();
        });
        if round % 5 == 4 {
            // A command that finds no server opens the store itself.
            assert_checked(&rollcall);
        }
        rollcall.start();
        load.compare(&rollcall);
        assert_checked(&rollcall);
    }
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start();
    load.compare(&rollcall);
    let status: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert!(load.acknowledged() > 10 * trial.rounds, "{} acknowledged", load.acknowledged());
    // What the flags are to bring about has happened.
    assert!(status["checkpoint_sequence"].as_u64() > Some(0), "{status}");
    // Each start may begin one; a full one begins another. A slow machine fills few.
    assert!(segments(&rollcall).len() >= trial.rounds, "{status}");
    eprintln!(
        "{} rounds, {} events and deletions acknowledged, {} requests refused, 0 lost; {status}",
        trial.rounds,
        load.acknowledged(),
        load.refused
    );
}
