//! `rollcall mirror check`: everything that the mirror needs, tried step by step.

use serde::Serialize;

use super::calls::{call_of, is_wanted, key_of};
use super::connection::{Connection, Credentials, Following, PREFIX, RedisError, find};
use super::follow::NEW_CALLS;
use super::resp::Value;
use crate::config::{MirrorRedis, RedisUrl};
use crate::domain::{AccountSid, CallId, CallSid, counted};
use crate::store::chain;

/// Commands of the count of calls: it is cut off there.
const SCANS_MAX: usize = 1000;

/// One thing that was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `reach`, `login`, `rights`, `follow`, `calls`.
    pub name: &'static str,
    pub ok: bool,
    pub text: String,
}

/// What was tried, up to the first thing that fails.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub steps: Vec<Step>,
    /// The line for the ACL file of Redis, or for `ACL SETUSER`.
    pub acl: String,
}

impl Check {
    pub fn is_ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    fn note(&mut self, name: &'static str, text: impl Into<String>) {
        self.steps.push(Step { name, ok: true, text: text.into() });
    }
}

/// Reads the files that are named for it.
///
/// # Errors
/// One cannot be read, or holds something else.
pub fn check_files(settings: &MirrorRedis, url: &RedisUrl) -> Result<(), RedisError> {
    Credentials::read(settings, url).map(|_| ())
}

/// Tries it.
pub async fn check(settings: &MirrorRedis, url: &RedisUrl) -> Check {
    let mut check = Check { steps: Vec::new(), acl: acl(url) };
    if let Err((name, text)) = steps(settings, url, &mut check).await {
        check.steps.push(Step { name, ok: false, text });
    }
    check
}

async fn steps(
    settings: &MirrorRedis,
    url: &RedisUrl,
    check: &mut Check,
) -> Result<(), (&'static str, String)> {
    let at = |step: &'static str| move |error: RedisError| (step, chain(&error));
    let credentials = Credentials::read(settings, url).map_err(at("files"))?;
    let place = find(settings, url, &credentials).await.map_err(at("sentinels"))?;
    if !settings.sentinels.is_empty() {
        check.note("sentinels", format!("{} is at {place}", url.primary()));
    }
    let mut connection = Connection::open(&place, &credentials).await.map_err(at("reach"))?;
    let how = if url.tls() { "with TLS" } else { "without TLS" };
    check.note("reach", format!("{place} is connected, {how}"));
    let greeting = connection.log_in(url, &credentials).await.map_err(at("login"))?;
    let user = url.user().unwrap_or("the default user");
    let version = match &greeting.version {
        version if version.is_empty() => "of a version that it does not say".to_owned(),
        version => format!("Redis {version}"),
    };
    check.note("login", format!("as {user}, {version}"));
    rights(&mut connection).await.map_err(at("rights"))?;
    check.note("rights", "HGETALL, SCAN and ZRANGEBYSCORE are allowed");
    match connection.follow(&greeting).await.map_err(at("follow"))? {
        Following::Tracking => check.note("follow", "tracking: Redis reports each change"),
        Following::Polling { why } => check.note(
            "follow",
            format!("polling each second, since Redis does not report changes: {why}"),
        ),
    }
    let calls = count(&mut connection, settings).await.map_err(at("calls"))?;
    check.note("calls", calls);
    Ok(())
}

async fn rights(connection: &mut Connection) -> Result<(), RedisError> {
    let (account, sid) = (AccountSid::from_bytes([0; 16]), CallSid::from_bytes([0; 16]));
    let nobody = CallId { account, sid };
    let key = key_of(nobody);
    connection.done("HGETALL", &[b"HGETALL", key.as_bytes()]).await?;
    connection.done("SCAN", &[b"SCAN", b"0", b"MATCH", key.as_bytes(), b"COUNT", b"1"]).await?;
    let words: [&[u8]; 7] =
        [b"ZRANGEBYSCORE", NEW_CALLS.as_bytes(), b"(1", b"0", b"LIMIT", b"0", b"1"];
    connection.done("ZRANGEBYSCORE", &words).await
}

/// How many calls there are, and of how many accounts.
async fn count(connection: &mut Connection, settings: &MirrorRedis) -> Result<String, RedisError> {
    let pattern = format!("{PREFIX}*");
    let mut cursor = b"0".to_vec();
    let (mut wanted, mut others) = (0_u64, 0_u64);
    let mut accounts = std::collections::BTreeSet::new();
    let mut whole = false;
    for _ in 0..SCANS_MAX {
        let words: [&[u8]; 6] = [b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", b"100"];
        let answer = connection.ask("SCAN", &words).await?;
        let Value::Array(parts) = &answer else { break };
        let [next, keys] = &parts[..] else { break };
        for call in keys.texts().into_iter().flatten().filter_map(call_of) {
            if is_wanted(&settings.accounts, call.account) {
                wanted += 1;
                accounts.insert(call.account);
            } else {
                others += 1;
            }
        }
        cursor = next.text().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            whole = true;
            break;
        }
    }
    let least = if whole { "" } else { "at least " };
    let others = match others {
        0 => String::new(),
        others => format!("; {} of accounts that are not wanted", counted(others, "more call")),
    };
    Ok(format!(
        "{least}{} of {}{others}",
        counted(wanted, "call"),
        counted(accounts.len(), "account")
    ))
}

/// What a user of Redis may do that can do this and nothing else.
fn acl(url: &RedisUrl) -> String {
    let user = url.user().unwrap_or("mirror");
    let select = if url.database() > 0 { " +select" } else { "" };
    format!(
        "user {user} on >PASSWORD ~{PREFIX}* ~{NEW_CALLS} -@all +hello +auth +ping +client|tracking \
         +client|setname +hgetall +zrangebyscore +scan{select}"
    )
}
