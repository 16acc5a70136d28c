//! Sessions of the console: begun, found, signed out.

use super::Failure;
use super::tokens::apply;
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
    let mut rows = Vec::new();
    let key = if let Some(key) = store.access(|access| access.session_key().cloned()) {
        key
    } else {
        let key = SessionKey::new()?;
        rows.push(SettingRow { name: SESSION_KEY.to_owned(), json: json(&key)? });
        key
    };
    let cookie = SessionCookie { id: session.id.clone(), seen: now, token: token.clone() };
    let sealed = key.seal(&cookie)?;
    let sealed = sealed.ok_or_else(|| Failure::usage("the token is too long for a session"))?;
    let ended = store.access(|access| ended_by(access, token_id, now));
    rows.extend(ended.iter().map(String::as_str).chain(instead_of).map(removal));
    rows.push(SettingRow { name: row_name(&session.id), json: json(&session)? });
    apply(intake, rows)?;
    Ok((session, sealed))
}

/// Ends a session. True where there was one.
pub fn sign_out(intake: &Intake, id: &str) -> Result<bool, Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let there = store.access(|access| access.session(id, clock::now()).is_some());
    if there {
        apply(intake, vec![removal(id)])?;
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

fn removal(id: &str) -> SettingRow {
    SettingRow { name: row_name(id), json: Vec::new() }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::new(error.to_string()))
}
