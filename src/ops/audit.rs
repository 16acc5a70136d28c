//! What the audit log says of a command: its name and its object, and nothing secret.

use std::net::SocketAddr;

use super::{AdminReply, AdminRequest, Failure, is_whole};
use crate::clock;
use crate::logs::{AuditEvent, AuditLog, AuditOutcome};

/// What is written of a command once it is answered.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    what: String,
    object: Option<String>,
    /// Programs ask for figures all the time: that is not audited.
    is_audited: bool,
}

impl AuditEntry {
    pub fn of(request: &AdminRequest) -> Self {
        let is_audited = !matches!(
            request,
            AdminRequest::Status
                | AdminRequest::Configuration
                | AdminRequest::Health
                | AdminRequest::CertShow
                | AdminRequest::ForwardStatus
                | AdminRequest::BackupMade(_)
        );
        Self { what: name(request), object: object(request), is_audited }
    }

    /// Writes that the caller gave this command, from `peer` where it came over the network, and how it ended.
    pub fn write(
        self,
        audit: &AuditLog,
        who: &str,
        peer: Option<SocketAddr>,
        result: &Result<AdminReply, Failure>,
    ) {
        if !self.is_audited {
            return;
        }
        let object = match result {
            Ok(AdminReply::Token { id, .. }) => {
                Some(format!("token {id}, {}", self.object.unwrap_or_default()))
            }
            // It may have been given by its name.
            Ok(AdminReply::Revoked { id, .. }) => Some(format!("token {id}")),
            _ => self.object,
        };
        let outcome = if result.is_ok() { AuditOutcome::Done } else { AuditOutcome::Failed };
        let (what, object) = (self.what.as_str(), object.as_deref());
        audit.write(&AuditEvent { at: clock::now(), who, what, object, outcome, peer });
    }
}

/// A command's name in words, such as `token create`.
fn name(request: &AdminRequest) -> String {
    let name = match serde_json::to_value(request) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(fields)) => {
            fields.into_iter().next().map(|(name, _)| name).unwrap_or_default()
        }
        _ => String::new(),
    };
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

fn object(request: &AdminRequest) -> Option<String> {
    match request {
        AdminRequest::TokenCreate(new) => {
            Some(format!("{}, role {}", new.scope, new.role.as_str()))
        }
        AdminRequest::ConsoleOpen(new) => Some(format!("a link for {}", new.user)),
        AdminRequest::TokenRevoke { token: id, .. } => Some(shown_id(id)),
        AdminRequest::AccountSet(settings) => Some(account(&settings.account)),
        AdminRequest::AccountRemove { account: removed } => Some(account(removed)),
        AdminRequest::Expire { dry_run } => dry_run.then(dry),
        // Not the number that is to be forgotten.
        AdminRequest::Purge(purge) => purge.dry_run.then(dry),
        AdminRequest::Import(import) => import.dry_run.then(dry),
        AdminRequest::Export(selection)
        | AdminRequest::ExportCsv { selection, .. }
        | AdminRequest::List { selection, .. }
        | AdminRequest::Follow { selection, .. } => accounts(&selection.accounts),
        AdminRequest::CertRenew { authority } => authority.then(|| "the authority too".to_owned()),
        AdminRequest::Compact { drop_history } => drop_history.then(|| "history goes".to_owned()),
        AdminRequest::ForwardRetry { target } => {
            target.as_ref().map(|target| format!("target {target}"))
        }
        AdminRequest::ClusterForget { node } => Some(format!("node {node}")),
        AdminRequest::ClusterLevel { raise } => raise.then(|| "raised".to_owned()),
        AdminRequest::ForwardPause { paused } => {
            Some(if *paused { "paused" } else { "resumed" }.to_owned())
        }
        AdminRequest::Show { call } if is_whole(call) => Some(format!("call {call}")),
        AdminRequest::Show { .. } => Some("a call by a part of its sid".to_owned()),
        _ => None,
    }
}

fn dry() -> String {
    "dry run".to_owned()
}

/// Those that were chosen; none where all are meant.
fn accounts(given: &[String]) -> Option<String> {
    let named: Vec<String> = given.iter().map(|one| account(one)).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// A sid, or a name, which is no secret.
fn account(given: &str) -> String {
    format!("account {given}")
}

/// The caller may have given the token itself in place of its id.
fn shown_id(id: &str) -> String {
    if id.len() <= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return format!("token {id}");
    }
    "what is no id of a token".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_named_without_their_secrets() {
        let id = "rc_abcdefghijklmnopqrstuvwxyz".to_owned();
        let revoke = AuditEntry::of(&AdminRequest::TokenRevoke { token: id, wait: None });
        assert_eq!(revoke.what, "token revoke");
        assert_eq!(revoke.object.unwrap(), "what is no id of a token");
        let token = "0123456789ab".to_owned();
        let revoke = AuditEntry::of(&AdminRequest::TokenRevoke { token, wait: None });
        assert_eq!(revoke.object.unwrap(), "token 0123456789ab");
        let purge = |dry_run| {
            AuditEntry::of(&AdminRequest::Purge(super::super::Purge {
                number: "+15551230001".to_owned(),
                mentions: true,
                calls: Vec::new(),
                wait: std::time::Duration::ZERO,
                dry_run,
                now: false,
            }))
        };
        assert_eq!((purge(false).what.as_str(), purge(false).object), ("purge", None));
        assert_eq!(purge(true).object.unwrap(), "dry run");
        let check = AuditEntry::of(&AdminRequest::Check);
        assert_eq!((check.what.as_str(), check.object, check.is_audited), ("check", None, true));
        assert!(!AuditEntry::of(&AdminRequest::Status).is_audited);
    }
}
