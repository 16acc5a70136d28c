//! The mirror of jambonz's Redis.

use super::Finding;
use super::server::ObservedServer;
use crate::config::Config;
use crate::domain::counted;

/// What a running server says of it. Nothing is connected to: `rollcall mirror check` does that.
pub(super) fn check(config: &Config, server: &ObservedServer) -> Vec<Finding> {
    let Some(url) = &config.mirror_redis.url else { return Vec::new() };
    let object = format!("mirror of {url}");
    let advice = "`rollcall mirror check` tries everything that it needs, step by step";
    let Some(mirror) = server.answers().and_then(|answers| answers.figures.mirror.as_ref()) else {
        return vec![Finding::unknown(object, "a running server would know", advice)];
    };
    let why = mirror.why.as_deref().unwrap_or("it has just been started");
    let mut findings = Vec::new();
    match mirror.mode.as_str() {
        "tracking" => {
            let what = format!("Redis reports each change, since {}", mirror.since);
            findings.push(Finding::ok(&object, what));
        }
        "polling" => findings.push(Finding::warn(
            &object,
            format!("calls are asked for each second, since Redis does not report changes: {why}"),
            "allow CLIENT TRACKING (Redis 6 or later); states that pass within a second are missed \
             otherwise, and no call and no final state is",
        )),
        "elsewhere" => findings.push(Finding::ok(&object, "another node mirrors it")),
        _ => findings.push(Finding::error(&object, format!("not connected: {why}"), advice)),
    }
    if mirror.unreadable > 0 {
        let problem = format!("{} could not be read", counted(mirror.unreadable, "call"));
        let advice = "log.level = \"debug\" names each with the reason";
        findings.push(Finding::warn(&object, problem, advice));
    }
    findings
}
