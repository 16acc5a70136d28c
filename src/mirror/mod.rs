//! The mirror: calls come by themselves from jambonz's Redis.
//!
//! jambonz writes each status of a call into a hash of its Redis, and lists calls from there. The mirror
//! reads these hashes, and what one says that was not known is a status event, which takes the same way as
//! one of a webhook: merge, journal, feed. Nothing is written to Redis, and nothing is changed in jambonz.
//!
//! **Live.** Redis reports each key that changes (`CLIENT TRACKING`, broadcast, prefix `call:`), and the
//! mirror reads it. Where a server refuses that, active calls and new ones are asked for each second.
//!
//! **Found.** After each connection, and now and then, all calls are looked through with SCAN: what was not
//! reported while nobody listened is still there, final states for an hour. When that happened is not known
//! and stays unknown (`MirroredAt::Unknown`): such a state sets no time and loses to any that has one.
//!
//! Architecture invariant: what is not there any more says nothing. A hash that has expired or was deleted
//! ends no call and deletes none.
//!
//! `resp.rs` is the protocol, `connection.rs` one connection, `follow.rs` what is done with it, `calls.rs`
//! the hashes and what of them is remembered, `check.rs` the command that tries all of it.

mod calls;
mod check;
mod connection;
mod follow;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod pace;
#[cfg(test)]
mod properties;
mod resp;

use std::time::Duration;

use tokio::time::Instant;

use calls::Seen;
use connection::{Connection, Greeting, RedisError};
use follow::Follower;

use crate::clock;
use crate::config::{MirrorRedis, RedisUrl};
use crate::intake::Intake;
use crate::meter::MirrorMode;
use crate::store::chain;

pub use check::{Check, check, check_files};
pub use connection::Following;

/// Time before the first and between further attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A connection that has lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);
/// Time between two lines of the log that say the same.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Mirrors for as long as it is polled, whenever this is for this process to do; at once without end where no Redis is
/// configured. One that begins looks through all calls.
pub async fn run(settings: MirrorRedis, service_url: String, intake: Intake) {
    let Some(url) = settings.url.clone() else { return std::future::pending().await };
    loop {
        if !intake.is_mine() {
            let metrics = &intake.store().meter().mirror;
            metrics.turn(&url.to_string(), MirrorMode::Elsewhere, None, clock::now());
            intake.until_mine(true).await;
        }
        // What was read and is not stored yet another node reads, too.
        tokio::select! {
            () = mirror(&settings, &url, &service_url, &intake) => {}
            () = intake.until_mine(false) => {}
        }
    }
}

async fn mirror(settings: &MirrorRedis, url: &RedisUrl, service_url: &str, intake: &Intake) {
    let metrics = &intake.store().meter().mirror;
    let place = url.to_string();
    metrics.turn(&place, MirrorMode::Disconnected, None, clock::now());
    let mut seen = Seen::default();
    let mut pause = RETRY_MIN;
    let mut said: Option<(String, Instant)> = None;
    loop {
        let begun = Instant::now();
        let error = match begin(settings, url).await {
            Err(error) => error,
            Ok((connection, greeting, following)) => {
                say(&connection, &greeting, &following);
                let (mode, why) = match &following {
                    Following::Tracking => (MirrorMode::Tracking, None),
                    Following::Polling { why } => (MirrorMode::Polling, Some(why.clone())),
                };
                metrics.turn(&place, mode, why, clock::now());
                // Calls that began while nobody listened are not known.
                seen.complete = false;
                said = None;
                Follower::new(settings, service_url, intake, &mut seen, connection, &following)
                    .run()
                    .await
            }
        };
        metrics.failures.inc();
        let why = chain(&error);
        metrics.turn(&place, MirrorMode::Disconnected, Some(why.clone()), clock::now());
        if said.as_ref().is_none_or(|(before, at)| *before != why || at.elapsed() >= SAY_AGAIN) {
            tracing::warn!(
                error = why,
                "the mirror is not connected to jambonz's Redis, and tries again"
            );
            said = Some((why, Instant::now()));
        }
        if begun.elapsed() >= GOOD {
            pause = RETRY_MIN;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn begin(
    settings: &MirrorRedis,
    url: &RedisUrl,
) -> Result<(Connection, Greeting, Following), RedisError> {
    let (mut connection, greeting) = connection::connect(settings, url).await?;
    let following = connection.follow(&greeting).await?;
    Ok((connection, greeting, following))
}

fn say(connection: &Connection, greeting: &Greeting, following: &Following) {
    let (place, version) = (connection.place(), &greeting.version);
    match following {
        Following::Tracking => {
            tracing::info!(place, version, "the mirror follows jambonz's Redis");
        }
        Following::Polling { why } => tracing::warn!(
            place,
            version,
            why,
            "jambonz's Redis does not report changes: the mirror asks for them each second, and misses \
             states that pass within one"
        ),
    }
}
