//! Sessions of the console: begun, found, signed out.

use super::settings::{apply, new_row, removed};
use super::{Failure, FailureKind};
use crate::access::{
    Access, SESSION_KEY, Secret, Session, SessionCookie, SessionKey, SettingRow, TokenScope,
    new_session_id,
};
use crate::clock;
use crate::domain::Timestamp;
use crate::intake::Intake;

/// Sessions of one token, and of all. Where there is one more, the oldest ends.
const SESSIONS_OF_TOKEN_MAX: usize = 100;
const SESSIONS_MAX: usize = 10_000;

/// Begins a session of a token.
///
/// Returns it with the value of its cookie, once it is on disk. A session whose place it takes (`instead_of`,
/// by id) ends.
pub fn sign_in(
    intake: &Intake,
    token: &Secret,
    token_id: &str,
    of_jambonz: Option<TokenScope>,
    ends_at: u64,
    instead_of: Option<&str>,
) -> Result<(Session, String), Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let now = clock::now();
    let session = Session {
        id: new_session_id()?,
        token_id: token_id.to_owned(),
        of_jambonz,
        created_at: now.millis(),
        ends_at,
    };
    let cookie = SessionCookie { id: session.id.clone(), seen: now, token: token.clone() };
    let sealed = session_key(intake)?.seal(&cookie)?;
    let sealed = sealed.ok_or_else(|| Failure::usage("the token is too long for a session"))?;
    let ended = store.access(|access| ended_by(access, token_id, now));
    let ended = ended.iter().map(String::as_str).chain(instead_of);
    let mut changes: Vec<_> = ended.map(|id| removed(row_name(id))).collect();
    changes.push(new_row(SettingRow { name: row_name(&session.id), json: json(&session)? }));
    apply(intake, &changes)?;
    Ok((session, sealed))
}

/// The key of sessions, which is made for the first one. Of two nodes that make one at a time the first counts.
fn session_key(intake: &Intake) -> Result<SessionKey, Failure> {
    let present = || intake.store().access(|access| access.session_key().cloned());
    if let Some(key) = present() {
        return Ok(key);
    }
    let key = SessionKey::new()?;
    let row = SettingRow { name: SESSION_KEY.to_owned(), json: json(&key)? };
    match apply(intake, &[new_row(row)]) {
        Err(failure) if failure.kind == FailureKind::Conflict => present().ok_or(failure),
        made => made.map(|()| key),
    }
}

/// Ends a session. True where there was one.
pub fn sign_out(intake: &Intake, id: &str) -> Result<bool, Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let there = store.access(|access| access.session(id, clock::now()).is_some());
    if there {
        apply(intake, &[removed(row_name(id))])?;
    }
    Ok(there)
}

/// The sessions that end with a new one of this token: those that open nothing any more, and the oldest
/// where there are too many.
fn ended_by(access: &Access, token_id: &str, now: Timestamp) -> Vec<String> {
    let (mut live, over): (Vec<&Session>, Vec<&Session>) =
        access.sessions().partition(|session| access.is_live(session, now));
    let mut ended: Vec<String> = over.into_iter().map(|session| session.id.clone()).collect();
    live.sort_by_key(|session| session.created_at);
    let own: Vec<&Session> =
        live.iter().copied().filter(|session| session.token_id == token_id).collect();
    let too_many = |count: usize, most: usize| (count + 1).saturating_sub(most);
    let oldest_own = own.iter().take(too_many(own.len(), SESSIONS_OF_TOKEN_MAX));
    let oldest = live.iter().take(too_many(live.len(), SESSIONS_MAX));
    ended.extend(oldest_own.chain(oldest).map(|session| session.id.clone()));
    ended.sort_unstable();
    ended.dedup();
    ended
}

fn row_name(id: &str) -> String {
    format!("session/{id}")
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::new(error.to_string()))
}
