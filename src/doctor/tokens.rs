//! Tokens: whether an admin can still get in.

use super::Finding;
use super::server::ObservedServer;
use crate::access::Role;
use crate::domain::counted;
use crate::ops::TokenInfo;

const OBJECT: &str = "tokens";

pub(super) fn check(server: &ObservedServer) -> Vec<Finding> {
    if server.is_denied() {
        return vec![Finding::denied(OBJECT, "the server cannot be asked which there are", None)];
    }
    let Some(answers) = server.answers() else {
        let advice = "run this again while the server is running, or `rollcall token list`";
        return vec![Finding::unknown(OBJECT, "no server tells which there are", advice)];
    };
    judge(&answers.tokens)
}

pub(super) fn judge(tokens: &[TokenInfo]) -> Vec<Finding> {
    let admin = |token: &&TokenInfo| token.scope == "admin" && token.role == Role::Full;
    let usable = tokens.iter().filter(admin).filter(|token| !token.expired).count();
    let over = tokens.iter().filter(|token| token.expired).count();
    let mut findings = Vec::new();
    if usable == 0 {
        findings.push(Finding::warn(
            OBJECT,
            "none is an admin token of the role full that has not expired",
            "`rollcall token create --admin --name NAME`",
        ));
    }
    if over > 0 {
        findings.push(Finding::warn(
            OBJECT,
            format!(
                "{over} {} expired: {}",
                if over == 1 { "has" } else { "have" },
                list(tokens.iter().filter(|token| token.expired))
            ),
            "`rollcall token revoke ID`, and a new one for clients that still need it",
        ));
    }
    if findings.is_empty() {
        let what = format!("{}, {usable} of them for everything", counted(tokens.len(), "token"));
        findings.push(Finding::ok(OBJECT, what));
    }
    findings
}

/// The first few by their ids.
fn list<'a>(tokens: impl Iterator<Item = &'a TokenInfo>) -> String {
    let ids: Vec<&str> = tokens.take(5).map(|token| token.id.as_str()).collect();
    ids.join(", ")
}
