//! More than can be taken: all of it is refused, and can be sent again.

use super::super::api::api_error;
use super::super::harness::{A1, Rollcall, send, until};
use super::{HOOK, known, post_lines};

/// A batch of calls that are over, numbered from `first` on.
fn batch(first: usize, length: usize) -> String {
    let one = |n| {
        format!(
            "{{\"account_sid\":\"{A1}\",\"call_sid\":\"c0000000-0000-4000-8000-{n:012x}\",\
             \"direction\":\"inbound\",\"call_status\":\"busy\",\"call_id\":\"{first}\"}}"
        )
    };
    (first..first + length).map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_batch_has_a_limit() {
    let rollcall = Rollcall::up(&["--limits-batch-events", "10"]);
    assert_eq!(post_lines(&rollcall, &batch(0, 10)).status, 204);
    let msg = api_error(&post_lines(&rollcall, &batch(100, 11)), 413);
    assert!(msg.contains("11") && msg.contains("10"), "{msg}");
    assert_eq!(known(&rollcall), 10);
}

/// Senders that bring more than the queue holds: each batch is taken whole or refused whole, with
/// the time to come again; and in the end all of it is there.
#[test]
fn a_full_queue_takes_nothing_of_what_it_refuses() {
    const SENDERS: usize = 12;
    const BATCHES: usize = 8;
    const BATCH: usize = 400;
    let size = BATCH.to_string();
    let flags = ["--limits-batch-events", &size, "--limits-queue-events", &size];
    let mut rollcall = Rollcall::up(&flags);
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", &*bearer), ("content-type", "application/x-ndjson")];
    let agent = rollcall.new_agent();
    let url = rollcall.url(HOOK);
    let post = |first: usize| send(&agent, "POST", &url, &headers, batch(first, BATCH).as_bytes());
    let taken = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let post = &post;
                scope.spawn(move || {
                    let first = |batch| (sender * BATCHES + batch) * BATCH;
                    let outcome = |batch| {
                        let answer = post(first(batch)).unwrap();
                        if answer.status == 503 {
                            api_error(&answer, 503);
                            let seconds = answer.header("retry-after").unwrap();
                            assert!(seconds.parse::<u32>().unwrap() >= 1, "{seconds}");
                        } else {
                            assert_eq!(answer.status, 204, "{answer:?}");
                        }
                        (first(batch), answer.status == 204)
                    };
                    (0..BATCHES).map(outcome).collect::<Vec<_>>()
                })
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });
    let refused: Vec<_> =
        taken.iter().filter(|(_, taken)| !taken).map(|(first, _)| *first).collect();
    assert!(!refused.is_empty(), "nothing was ever refused");
    assert!(refused.len() < taken.len(), "nothing was ever taken");
    // What is there now, call by call: whole batches, and exactly those that were acknowledged.
    rollcall.kill();
    rollcall.start();
    let listed = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
    let mut of_batch = std::collections::BTreeMap::new();
    for call in listed.json().as_array().unwrap() {
        let first: usize = call["call_id"].as_str().unwrap().parse().unwrap();
        *of_batch.entry(first).or_insert(0) += 1;
    }
    let acknowledged = taken.iter().filter(|(_, taken)| *taken).map(|(first, _)| (*first, BATCH));
    assert_eq!(of_batch, acknowledged.collect());
    for first in refused {
        until("there is room", || {
            let answer = post_lines(&rollcall, &batch(first, BATCH));
            assert!([204, 503].contains(&answer.status), "{answer:?}");
            (answer.status == 204).then_some(())
        });
    }
    assert_eq!(known(&rollcall), SENDERS * BATCHES * BATCH);
}

#[test]
fn a_sender_that_is_refused_reads_why_even_with_a_large_body() {
    let rollcall = Rollcall::up(&[]);
    let body = vec![b' '; 3_000_000];
    let bearer = format!("Bearer {}", rollcall.admin());
    for _ in 0..5 {
        for (path, token, length, status) in [
            ("/v1/nope", None, 400_000, 404),
            (HOOK, None, 1_000_000, 401),
            (HOOK, Some(bearer.as_str()), 3_000_000, 413),
        ] {
            let agent = rollcall.new_agent();
            let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
            let answer =
                send(&agent, "POST", &rollcall.url(path), &headers, &body[..length]).unwrap();
            api_error(&answer, status);
        }
    }
}
