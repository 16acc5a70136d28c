//! A thread of the store that has died is an error for every waiter, and never a wait.

use std::sync::mpsc::channel;

use super::*;

/// What somebody is told who waits for something while this thread dies over it.
fn told<T: Send>(
    thread: &'static str,
    wait: impl FnOnce(&Store) -> Result<T, StoreError> + Send,
) -> (String, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    send(&store, id(1, 1), CallStatus::Completed, clock::now());
    *store.shared.health.doomed.lock() = Some(thread);
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(wait(&store).map(|_| ())).unwrap());
        // A thread that still waits then waits for ever.
        let told = told.recv_timeout(DEADLINE);
        let told = told.unwrap_or_else(|_| {
            store.stop();
            panic!("who waits for the {thread} waits for ever");
        });
        if thread != "builder" {
            until("the store knows", || store.failed().borrow().is_some());
        }
        (told.unwrap_err().to_string(), store.failed().borrow().clone())
    })
}

#[test]
fn who_waits_for_a_dead_thread_is_told_which_and_why() {
    type Wait = fn(&Store) -> Result<(), StoreError>;
    let round: Wait = |store| store.collect(Depth::Thorough).map(|_| ());
    let build: Wait = |store| store.compact(&mut |_| {}).map(|_| ());
    let rebuild: Wait = |store| store.rebuild(&mut |_| {}).map(|_| ());
    let change: Wait = |store| {
        let event = event(id(1, 2), CallStatus::Completed, clock::now());
        store.apply(&[Change::Event(Box::new(event))], clock::now(), false).map(|_| ())
    };
    let index: Wait = |store| {
        store.shared.view.set_index(Err("a test says so".to_owned()));
        store.wait_for_index(HOUR, &|_| {});
        // It has died, and this is still answered.
        store.shared.checkpoint_now()
    };
    for (thread, wait) in [
        ("compactor", round),
        ("checkpointer", round),
        ("checkpointer", build),
        ("checkpointer", index),
        ("committer", change),
    ] {
        let (error, failed) = told(thread, wait);
        let says = format!("the {thread} panicked");
        assert!(error.contains(&says), "{thread}: {error}");
        assert_eq!(failed, Some(format!("{says}: {thread} was struck")));
    }
    // A build that dies is nobody's end.
    for wait in [build, rebuild] {
        let (error, failed) = told("builder", wait);
        assert!(error.contains("panicked: builder was struck"), "{error}");
        assert_eq!(failed, None);
    }
}

#[test]
fn all_who_wait_in_the_channel_of_a_thread_that_dies_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    *store.shared.health.doomed.lock() = Some("compactor");
    std::thread::scope(|scope| {
        let round = || store.collect(Depth::Thorough).unwrap_err().to_string();
        let waiting: Vec<_> = (0..5).map(|_| scope.spawn(round)).collect();
        for error in waiting.into_iter().map(|thread| thread.join().unwrap()) {
            assert!(error.contains("the compactor panicked"), "{error}");
        }
    });
}

#[test]
fn what_waits_in_the_queue_of_a_committer_that_has_died_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    *store.shared.health.doomed.lock() = Some("committer");
    let ringing = |n| {
        let event = event(id(1, n), CallStatus::Ringing, clock::now());
        store.submit(vec![Change::Event(Box::new(event))], clock::now())
    };
    let tickets: Vec<_> = (0..50).map_while(|n| ringing(n).ok()).collect();
    assert!(!tickets.is_empty());
    for ticket in tickets {
        let error = ticket.wait().unwrap_err().to_string();
        assert!(error.contains("the committer panicked"), "{error}");
    }
    until("the store has failed", || store.failed().borrow().is_some());
    assert!(matches!(ringing(60), Err(StoreError::Failed(_))));
    assert!(matches!(
        store.collect(Depth::Thorough),
        Err(StoreError::Failed(_) | StoreError::Closing)
    ));
    let closed = store.close().unwrap_err().to_string();
    assert!(closed.contains("the committer panicked: committer was struck"), "{closed}");
}
