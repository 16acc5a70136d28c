//! What the page for operators asks and does. Every change is a command of `ops`, and audited as one.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{HOST, HeaderName};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::auth::{Principal, account_of, provider_of};
use super::super::error::{ApiError, Why};
use super::super::query::wrong;
use super::super::request::ApiRequest;
use super::super::response::{Response, empty, json as json_reply};
use super::session::{blocking, read_json};
use super::{signed_in, sole};
use crate::access::{Access, Account, Keep, Role, Secret, Token, TokenScope};
use crate::clock;
use crate::config::Config;
use crate::doctor::{Finding, Level, Surroundings, examine};
use crate::domain::{AccountSid, Timestamp, parse_duration};
use crate::meter::Cause;
use crate::ops::{
    self, AccountSettings, AdminContext, AdminReply, AdminRequest, AuditEntry, Failure, NewKeep,
    NewScope, NewToken, StatusFigures,
};
use crate::store::{Change, Store};
use crate::wire::{parse_event, show_time};

/// How long findings of an examination are shown before there is another one.
const EXAMINED_FOR: Duration = Duration::from_secs(20);
/// Bytes at the end of the audit log that are read.
const AUDIT_BYTES: u64 = 512 * 1024;
/// As many where reads are left out: they are most of it.
const AUDIT_BYTES_WITH_READS: u64 = 8 * 1024 * 1024;
const AUDIT_LINES: usize = 100;
const AUDIT_LINES_MAX: usize = 1000;
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The path of webhooks, and how jambonz tries again.
const HOOK: &str = "/v1/hooks/call-status";
const RETRIES: &str = "#rc=5&rp=ct,5xx";

/// What commands need to know, once the server is running.
#[derive(Default)]
pub struct Operation {
    running: OnceLock<Running>,
    examined: Arc<Mutex<Option<Examination>>>,
}

/// What was found, and when.
type Examination = (Instant, Vec<Finding>);

struct Running {
    admin: AdminContext,
    runtime_dir: Option<PathBuf>,
}

impl Operation {
    /// From now on commands are run.
    pub fn begin(&self, admin: AdminContext, runtime_dir: Option<PathBuf>) {
        let _first_counts = self.running.set(Running { admin, runtime_dir });
    }

    /// What commands need to know; none before they are run.
    pub fn admin_context(&self) -> Option<&AdminContext> {
        self.running.get().map(|running| &running.admin)
    }

    pub(super) fn admin(&self) -> Result<&AdminContext, ApiError> {
        let starting = || ApiError::unavailable("the server is starting", 1);
        self.admin_context().ok_or_else(starting)
    }
}

/// The token of a session that may operate the server.
async fn operator(request: &ApiRequest<'_>) -> Result<Principal, ApiError> {
    let (_, principal) = signed_in(request).await?;
    principal.reaches_all()?;
    if principal.role != Role::Full {
        let role = principal.role.as_str();
        let msg = format!("insufficient permissions: the token's role is {role}");
        return Err(ApiError::forbidden(msg));
    }
    Ok(principal)
}

/// Runs a command as the admin socket does, for this token.
async fn run(
    request: &ApiRequest<'_>,
    principal: &Principal,
    command: AdminRequest,
) -> Result<AdminReply, ApiError> {
    let (context, intake) =
        (request.context.operation.admin()?.clone(), request.context.intake.clone());
    let (audit, who) = (request.context.audit.clone(), format!("token {}", principal.id));
    let peer = request.peer();
    blocking(move || {
        let entry = AuditEntry::of(&command);
        let result = ops::run(&intake, &context, command, &mut std::io::empty(), &mut |_| Ok(()));
        entry.write(&audit, &who, peer, &result);
        result.map_err(in_words_of_the_api)
    })
    .await
}

/// A message that names members of a body in place of options of a command line.
fn in_words_of_the_api(failure: Failure) -> Failure {
    let mut message = failure.message;
    for (option, member) in [
        ("--hook-user", "hook_user"),
        ("--hook-password", "hook_password"),
        ("--webhook-secret", "webhook_secret"),
        ("--expires", "expires_in_seconds"),
        ("--name", "name"),
        ("--keep", "keep"),
        ("--role", "role"),
        ("--account", "account_sid"),
    ] {
        message = message.replace(option, member);
    }
    Failure { message, ..failure }
}

fn time(millis: u64) -> Option<String> {
    Timestamp::from_millis(millis).map(|at| show_time(at).to_string())
}

fn token(access: &Access, token: &Token, now: Timestamp, own: &str) -> Value {
    let mut shown = json!({
        "id": token.id,
        "name": token.name,
        "scope": "admin",
        "role": token.role.as_str(),
        "created_at": time(token.created_at),
        "expires_at": token.expires_at.and_then(time),
        "expired": token.expired(now),
        "last_used_at": access.last_used(&token.id).and_then(time),
        "current": token.id == own,
    });
    let of = match token.scope {
        TokenScope::Admin => None,
        TokenScope::Account(sid) => Some(("account", "account_sid", sid.to_string())),
        TokenScope::ServiceProvider(sid) => {
            Some(("service_provider", "service_provider_sid", sid.to_string()))
        }
    };
    if let (Some((scope, key, sid)), Some(members)) = (of, shown.as_object_mut()) {
        members.insert("scope".to_owned(), scope.into());
        members.insert(key.to_owned(), sid.into());
    }
    shown
}

/// `GET /console/api/tokens`.
pub(super) async fn tokens(request: &mut ApiRequest<'_>, _: &str) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let now = clock::now();
    let all: Vec<Value> = request.context.store.access(|access| {
        access.tokens().map(|one| token(access, one, now, &principal.id)).collect()
    });
    Ok(json_reply(StatusCode::OK, Value::from(all).to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    name: Option<String>,
    scope: String,
    account_sid: Option<String>,
    service_provider_sid: Option<String>,
    role: String,
    expires_in_seconds: Option<u64>,
    own_token: Secret,
}

/// `POST /console/api/tokens`. Who makes a token shows once more that the own one is known: a page that was
/// left open is not enough.
pub(super) async fn make_token(
    request: &mut ApiRequest<'_>,
    _: &str,
) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let new: TokenBody = read_json(request).await?;
    let own = Principal::of(request.context, new.own_token.reveal().trim());
    let is_operator = |own: &Principal| {
        own.id == principal.id || own.role == Role::Full && own.scope == TokenScope::Admin
    };
    if !own.is_some_and(|own| is_operator(&own)) {
        let why = Why::unauthenticated(&[Cause::UnknownToken]);
        let msg =
            "own_token: expected the token of this session, or another admin token of role full";
        return Err(ApiError::forbidden(msg).because(why));
    }
    let scope = match (new.scope.as_str(), new.account_sid, new.service_provider_sid) {
        ("admin", None, None) => TokenScope::Admin,
        ("account", Some(sid), None) => TokenScope::Account(account_of(&sid)?),
        ("service_provider", None, Some(sid)) => TokenScope::ServiceProvider(provider_of(&sid)?),
        (scope, ..) => {
            let expected = "expected admin, account with account_sid, or service_provider with \
                            service_provider_sid";
            return Err(wrong("scope", scope, expected));
        }
    };
    let role = Role::ALL.into_iter().find(|role| role.as_str() == new.role).ok_or_else(|| {
        wrong(
            "role",
            &new.role,
            &format!("expected one of {}", Role::ALL.map(Role::as_str).join(", ")),
        )
    })?;
    let command = AdminRequest::TokenCreate(NewToken {
        scope: NewScope::Known(scope),
        role,
        name: new.name.filter(|name| !name.is_empty()),
        expires_in: new.expires_in_seconds,
        value: None,
    });
    let AdminReply::Token { id, value } = run(request, &principal, command).await? else {
        return Err(ApiError::internal("no token was made"));
    };
    let now = clock::now();
    let shown = request.context.store.access(|access| {
        access.token_by_id(&id).map(|made| token(access, made, now, &principal.id))
    });
    let mut shown = shown.unwrap_or_else(|| json!({ "id": id }));
    if let Some(members) = shown.as_object_mut() {
        members.insert("token".to_owned(), value.into());
    }
    Ok(json_reply(StatusCode::CREATED, shown.to_string()))
}

/// `DELETE /console/api/tokens/{id}`.
pub(super) async fn revoke_token(
    request: &mut ApiRequest<'_>,
    id: &str,
) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let is_there = request.context.store.access(|access| access.token_by_id(id).is_some());
    if !is_there {
        return Err(ApiError::not_found("no such token"));
    }
    let command = AdminRequest::TokenRevoke { token: id.to_owned(), wait: None };
    run(request, &principal, command).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn figures(
    request: &ApiRequest<'_>,
    principal: &Principal,
) -> Result<StatusFigures, ApiError> {
    match run(request, principal, AdminRequest::Status).await? {
        AdminReply::Status(figures) => Ok(*figures),
        _ => Err(ApiError::internal("there are no figures")),
    }
}

/// Accounts as they are shown: those with settings, and those whose events came.
fn account_rows(store: &Store, figures: &StatusFigures) -> BTreeMap<AccountSid, Value> {
    let mut rows: BTreeMap<AccountSid, Value> = store.access(|access| {
        let row = |account: &Account| {
            let keep = account.keep.map(|keep| match keep {
                Keep::Forever => "forever".to_owned(),
                Keep::Millis(millis) => {
                    crate::domain::exact_duration(Duration::from_millis(millis)).to_string()
                }
            });
            let row = json!({
                "account_sid": account.account_sid.to_string(),
                "name": account.name,
                "service_provider_sid": account.service_provider_sid.map(|sid| sid.to_string()),
                "hook_user": account.hook_user,
                "has_hook_password": account.hook_password.is_some(),
                "has_webhook_secret": account.webhook_secret.is_some(),
                "keep": keep,
                "registered": true,
            });
            (account.account_sid, row)
        };
        access.accounts().map(row).collect()
    });
    for heard in &figures.hooks.accounts {
        let row = rows.entry(heard.account_sid).or_insert_with(|| {
            json!({
                "account_sid": heard.account_sid.to_string(),
                "name": null,
                "service_provider_sid": null,
                "hook_user": null,
                "has_hook_password": false,
                "has_webhook_secret": false,
                "keep": null,
                "registered": false,
            })
        });
        if let Some(members) = row.as_object_mut() {
            members.insert("last_event_at".to_owned(), json!(heard.last_event_at));
            members.insert("refused".to_owned(), json!(heard.refused));
        }
    }
    rows
}

/// `GET /console/api/accounts`.
pub(super) async fn accounts(request: &mut ApiRequest<'_>, _: &str) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let figures = figures(request, &principal).await?;
    let rows = account_rows(&request.context.store, &figures);
    let rows: Vec<Value> = rows.into_values().collect();
    Ok(json_reply(StatusCode::OK, Value::from(rows).to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    name: Option<String>,
    service_provider_sid: Option<String>,
    hook_user: Option<String>,
    hook_password: Option<Secret>,
    webhook_secret: Option<Secret>,
    /// `forever`, `default` or a duration.
    keep: Option<String>,
}

/// `PUT /console/api/accounts/{sid}`: what is absent stays as it is.
pub(super) async fn set_account(
    request: &mut ApiRequest<'_>,
    sid: &str,
) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let account = account_of(sid)?;
    let new: AccountBody = read_json(request).await?;
    let keep = new.keep.as_deref().map(keep).transpose()?;
    let provider = new.service_provider_sid.as_deref().map(provider_of).transpose()?;
    if let Some(user) = &new.hook_user {
        let by_user =
            |access: &Access| access.account_by_hook_user(user).map(|one| one.account_sid);
        let other = request.context.store.access(by_user).filter(|other| *other != account);
        if let Some(other) = other {
            let why = format!("it belongs to account {other}; webhooks are told apart by it");
            return Err(wrong("hook_user", user, &why));
        }
    }
    let command = AdminRequest::AccountSet(AccountSettings {
        account: account.to_string(),
        name: new.name,
        service_provider_sid: provider,
        webhook_secret: new.webhook_secret,
        hook_user: new.hook_user,
        hook_password: new.hook_password,
        keep,
    });
    run(request, &principal, command).await?;
    let figures = figures(request, &principal).await?;
    let row = account_rows(&request.context.store, &figures).remove(&account);
    Ok(json_reply(StatusCode::OK, row.unwrap_or_default().to_string()))
}

fn keep(text: &str) -> Result<NewKeep, ApiError> {
    match text {
        "default" => Ok(NewKeep::Default),
        "forever" => Ok(NewKeep::Own(Keep::Forever)),
        _ => {
            let age = parse_duration(text).ok().filter(|age| *age >= Duration::from_mins(1));
            let expected = "expected forever, default, or at least 1m, such as 90days";
            let age = age.ok_or_else(|| wrong("keep", text, expected))?;
            Ok(NewKeep::Own(Keep::Millis(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))))
        }
    }
}

/// `DELETE /console/api/accounts/{sid}`: its settings and tokens, not its calls.
pub(super) async fn remove_account(
    request: &mut ApiRequest<'_>,
    sid: &str,
) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let account = account_of(sid)?;
    let is_there = request.context.store.access(|access| {
        let mut tokens = access.tokens();
        access.account(account).is_some()
            || tokens.any(|token| token.scope == TokenScope::Account(account))
    });
    if !is_there {
        return Err(ApiError::not_found("the account has no settings and no tokens"));
    }
    run(request, &principal, AdminRequest::AccountRemove { account: account.to_string() }).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /console/api/operation`.
pub(super) async fn operation(request: &mut ApiRequest<'_>, _: &str) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let figures = figures(request, &principal).await?;
    let checks = checks(request).await?;
    let context = request.context;
    let mut refused: BTreeMap<String, u64> = figures.hooks.others_refused.0.clone();
    for (cause, count) in figures.hooks.accounts.iter().flat_map(|one| &one.refused.0) {
        *refused.entry(cause.clone()).or_default() += count;
    }
    let status = &figures.store;
    let total =
        crate::fsutil::file_system(&context.config.data_dir).ok().map(|disk| disk.size_bytes);
    let backup = &figures.last_backup;
    let advice = backup.is_none().then_some(
        "no backup of this store is known: `rollcall backup DIR` makes one, while the server runs",
    );
    let mut all = serde_json::to_value(&figures).unwrap_or_default();
    if let Some(members) = all.as_object_mut() {
        members.insert("running".to_owned(), true.into());
    }
    let shown = json!({
        "status": all,
        "checks": checks,
        "connect": connect(request, &figures),
        "events": { "last_at": figures.last_event_at, "refused": refused },
        "disk": {
            "free_bytes": status.disk_free_bytes,
            "total_bytes": total,
            "journal_bytes": status.journal_bytes,
            "index_bytes": status.index_bytes,
            "least_bytes": status.disk_least_bytes,
            "low": status.disk_low,
        },
        "certificates": figures.tls.certificates,
        "backup": {
            "last_at": backup.as_ref().map(|made| &made.at),
            "path": backup.as_ref().map(|made| &made.path),
            "advice": advice,
        },
        "console": figures.console,
        "audit_log": context.config.log.audit.as_ref().map(|path| path.display().to_string()),
    });
    Ok(json_reply(StatusCode::OK, shown.to_string()))
}

/// What `rollcall doctor` finds, as the server's own user sees it.
async fn checks(request: &ApiRequest<'_>) -> Result<Vec<Value>, ApiError> {
    let operation = &request.context.operation;
    operation.admin()?;
    let runtime_dir = operation.running.get().and_then(|running| running.runtime_dir.clone());
    let (examined, config) = (operation.examined.clone(), request.context.config.clone());
    blocking(move || {
        // One at a time: who comes meanwhile is shown what the first has found.
        let mut examined = examined.lock();
        let is_fresh = |(at, _): &Examination| at.elapsed() < EXAMINED_FOR;
        if !examined.as_ref().is_some_and(is_fresh) {
            let around =
                Surroundings { runtime_dir, root: PathBuf::from("/"), now: clock::system_time() };
            let absolute: Config = config.absolute();
            *examined = Some((Instant::now(), examine(&absolute, &around)));
        }
        let found = examined.as_ref().map(|(_, found)| found.as_slice()).unwrap_or_default();
        Ok(found.iter().map(check).collect())
    })
    .await
}

fn check(finding: &Finding) -> Value {
    let ok = match finding.level {
        Level::Ok => "ok",
        Level::Unknown => "unknown",
        Level::Warn => "warning",
        Level::Error => "failed",
    };
    let Finding { object, problem, advice, .. } = finding;
    json!({ "name": object, "ok": ok, "text": problem, "advice": advice })
}

/// How jambonz is pointed here: what is configured, and lines to paste.
fn connect(request: &ApiRequest<'_>, figures: &StatusFigures) -> Value {
    let forwarded = request.connection.filter(|at| at.is_proxied).and_then(|_| {
        let last = request.headers.get_all(X_FORWARDED_HOST).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next().map(str::trim)
    });
    let host = forwarded.or_else(|| sole(request.headers, HOST)).unwrap_or("HOST:8443");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let host = if host.chars().all(plain) { host } else { "HOST:8443" };
    let hook = format!("https://{host}{HOOK}");
    let authority = figures
        .tls
        .certificates
        .iter()
        .find(|one| one.made && one.part == ops::CertificateRole::Authority);
    let mut lines = vec![
        json!({
            "title": "The call status webhook of each application in jambonz, by POST",
            "text": format!("{hook}{RETRIES}"),
        }),
        json!({
            "title": "Register an account by its webhook secret, which the portal of jambonz shows",
            "text": "rollcall account set ACCOUNT_SID --webhook-secret -",
        }),
        json!({
            "title": "Or set the webhooks of all applications through jambonz's API",
            "text": format!(
                "rollcall jambonz attach --api https://JAMBONZ/api --token-file FILE --hook {hook}"
            ),
        }),
    ];
    if let Some(authority) = authority {
        let path = authority.file.display();
        lines.push(json!({
            "title": "rollcall made its own certificate: copy its authority to each feature server, and start \
                      jambonz with",
            "text": format!("NODE_EXTRA_CA_CERTS=/path/to/ca.pem   # a copy of {path}"),
        }));
    }
    if figures.mirror.is_none() {
        lines.push(json!({
            "title": "Or mirror jambonz's Redis: in the configuration, then `rollcall mirror check` and a \
                      restart",
            "text": "[mirror.redis]\nurl = \"redis://REDIS_HOST:6379\"",
        }));
    }
    json!({
        "webhook_url": format!("{hook}{RETRIES}"),
        "private_ca": authority.is_some(),
        "mirror": figures.mirror.as_ref().map(|mirror| {
            json!({ "url": mirror.url, "connected": mirror.mode != "disconnected", "mode": mirror.mode })
        }),
        "lines": lines,
    })
}

/// `GET /console/api/audit?limit=100&reads=false`: the newest entries of the audit log first, with those that only read
/// or without them.
pub(super) async fn audit(request: &mut ApiRequest<'_>, _: &str) -> Result<Response, ApiError> {
    operator(request).await?;
    let mut limit = AUDIT_LINES;
    let mut reads = true;
    for (name, value) in form_urlencoded::parse(request.query.as_bytes()) {
        if name == "limit" {
            let given = value.parse().ok().filter(|given| (1..=AUDIT_LINES_MAX).contains(given));
            let expected = format!("expected 1 to {AUDIT_LINES_MAX}");
            limit = given.ok_or_else(|| wrong("limit", &value, &expected))?;
        } else if name == "reads" {
            reads = value.parse().map_err(|_| wrong("reads", &value, "expected true or false"))?;
        }
    }
    let Some(path) = request.context.config.log.audit.clone() else {
        let msg = "audit events go to the log, where they cannot be read from here: set log.audit to a file";
        return Err(ApiError::not_found(msg));
    };
    let read = move || {
        newest_lines(&path, limit, reads).map_err(|error| {
            Failure::new(format!("cannot read log.audit {}: {error}", path.display()))
        })
    };
    let entries = blocking(read).await?;
    Ok(json_reply(StatusCode::OK, Value::from(entries).to_string()))
}

/// The last lines of the log, newest first.
fn newest_lines(path: &Path, limit: usize, reads: bool) -> std::io::Result<Vec<Value>> {
    let mut file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file that can be read back"));
    }
    let length = file.seek(SeekFrom::End(0))?;
    let most = if reads { AUDIT_BYTES } else { AUDIT_BYTES_WITH_READS };
    let begin = length.saturating_sub(most);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be the end of one.
    let lines: Vec<&str> = text.lines().skip(usize::from(begin > 0)).collect();
    let entries = lines.into_iter().rev().filter_map(entry);
    Ok(entries.filter(|entry| reads || !is_read(entry)).take(limit).collect())
}

/// Whether an entry only says that something was looked at.
fn is_read(entry: &Value) -> bool {
    let action = entry.get("action").and_then(Value::as_str).unwrap_or_default();
    action == "read" || action.ends_with(" list")
}

/// A line, with the names that the page has for what was done and where from.
fn entry(line: &str) -> Option<Value> {
    let Value::Object(members) = serde_json::from_str(line).ok()? else { return None };
    let renamed = members.into_iter().map(|(name, value)| match name.as_str() {
        "what" => ("action".to_owned(), value),
        "peer" => ("address".to_owned(), value),
        _ => (name, value),
    });
    Some(Value::Object(renamed.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestBody {
    account_sid: String,
}

/// `POST /console/api/test-event`: a call of the account that says that it is a test.
pub(super) async fn test_event(
    request: &mut ApiRequest<'_>,
    _: &str,
) -> Result<Response, ApiError> {
    let principal = operator(request).await?;
    let new: TestBody = read_json(request).await?;
    let account_sid = account_of(&new.account_sid)?;
    let call_sid = crate::random::uuid();
    let now = clock::now();
    let mut changes = Vec::new();
    for (status, sip_status, seconds_ago) in
        [("trying", 100, 9), ("ringing", 180, 8), ("in-progress", 200, 6), ("completed", 200, 0)]
    {
        let at = show_time(now.minus_millis(seconds_ago * 1000)).to_string();
        let mut event = json!({
            "account_sid": account_sid.to_string(),
            "call_sid": call_sid.to_string(),
            "call_id": format!("test-{call_sid}"),
            "direction": "inbound",
            "from": "+15550100",
            "to": "+15550199",
            "call_status": status,
            "sip_status": sip_status,
            "at": at,
            "customer_data": { "test": true },
        });
        if let (true, Some(members)) = (status == "completed", event.as_object_mut()) {
            members.insert("duration".to_owned(), 6.into());
        }
        let service_url = request.context.config.hooks.service_url();
        let event = parse_event(&event.to_string(), clock::moment(), service_url)?;
        changes.push(Change::Event(Box::new(event)));
    }
    request.context.intake.submit(changes, now).await?;
    request.context.audit.write(&crate::logs::AuditEvent {
        at: now,
        who: &format!("token {}", principal.id),
        what: "test event",
        object: Some(&format!("account {account_sid}, call {call_sid}")),
        outcome: crate::logs::AuditOutcome::Done,
        peer: request.peer(),
    });
    let shown = json!({ "account_sid": account_sid.to_string(), "call_sid": call_sid.to_string() });
    Ok(json_reply(StatusCode::CREATED, shown.to_string()))
}

/// Whether a session may be begun with this code: the token that it makes.
pub(super) async fn token_of_code(
    request: &ApiRequest<'_>,
    code: &Secret,
) -> Result<Option<Secret>, ApiError> {
    let Some(codes) = request.context.operation.admin()?.sign_in_codes.clone() else {
        return Ok(None);
    };
    let Some(user) = codes.take(code, Instant::now()) else { return Ok(None) };
    let intake = request.context.intake.clone();
    let named = user.clone();
    let (id, token) = blocking(move || ops::token_of_link(&intake, &named)).await?;
    request.context.audit.write(&crate::logs::AuditEvent {
        at: clock::now(),
        who: &format!("sign-in link of {user}"),
        what: "token create",
        object: Some(&format!("token {id}, admin, role full")),
        outcome: crate::logs::AuditOutcome::Done,
        peer: request.peer(),
    });
    Ok(Some(token))
}
