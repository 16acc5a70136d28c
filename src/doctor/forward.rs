//! Targets that webhooks are passed on to.

use super::Finding;
use super::server::ObservedServer;
use crate::config::{Config, ForwardTarget};
use crate::domain::counted;
use crate::forward;
use crate::ops::TargetFigures;

/// Targets that are connected to at a time.
const AT_ONCE: usize = 16;

/// Whether each target can be reached, and what a running server says of it. A target is connected to, and nothing
/// is sent.
pub(super) fn check(config: &Config, server: &ObservedServer) -> Vec<Finding> {
    let targets = &config.forward.targets.0;
    let mut findings = Vec::new();
    if targets.is_empty() {
        return findings;
    }
    let figures = server.answers().and_then(|answers| answers.figures.forward.as_ref());
    if figures.is_some_and(|figures| figures.paused) {
        findings.push(Finding::warn(
            "forwarding".to_owned(),
            "it is paused: webhooks are kept and not passed on",
            "`rollcall forward resume` sends them",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reached: Vec<_> = match &runtime {
        Ok(runtime) => runtime.block_on(reached(config)),
        Err(error) => targets.iter().map(|_| Err(error.to_string())).collect(),
    };
    for (target, reached) in targets.iter().zip(reached) {
        let object = format!("target {} at {}", target.name, target.url.shown());
        let known = figures.and_then(|f| f.targets.iter().find(|one| one.name == target.name));
        findings.push(match reached {
            Ok(()) => Finding::ok(&object, "it can be reached"),
            Err(error) => Finding::error(
                &object,
                error,
                "webhooks for it are kept for forward.max_age; see whether its url is right and this machine \
                 reaches it, and name its authority in forward.ca",
            ),
        });
        findings.extend(readable(target, &object));
        findings.extend(known.into_iter().flat_map(|known| told(known, &object)));
    }
    findings
}

/// Of each target whether it can be reached; some are tried at a time.
async fn reached(config: &Config) -> Vec<Result<(), String>> {
    let mut reached = Vec::new();
    for targets in config.forward.targets.0.chunks(AT_ONCE) {
        let tries = targets.iter().map(|target| forward::reach(&config.forward, target));
        let tried = futures_util::future::join_all(tries).await.into_iter();
        reached.extend(tried.map(|one| one.map_err(|error| error.to_string())));
    }
    reached
}

fn readable(target: &ForwardTarget, object: &str) -> Option<Finding> {
    target.url.origin().is_readable().then(|| {
        Finding::warn(
            object,
            "webhooks go to another machine without TLS",
            "write https:// if the target has it: numbers and passwords can be read on the way",
        )
    })
}

/// What the server says of a target.
fn told(known: &TargetFigures, object: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let (Some(since), Some(why)) = (&known.down_since, &known.why) {
        let waiting = counted(known.queued, "webhook");
        findings.push(Finding::error(
            object,
            format!("attempts fail since {since}: {why}; {waiting} wait"),
            "what waits is sent once it answers with 2xx; after forward.max_age it is set aside",
        ));
    }
    if known.set_aside > 0 {
        let aside = counted(known.set_aside, "webhook");
        let advice = format!("`rollcall forward retry {}` sends them again", known.name);
        findings.push(Finding::warn(object, format!("{aside} were set aside"), advice));
    }
    if known.unsigned > 0 {
        findings.push(Finding::warn(
            object,
            "its account has no webhook secret: what is sent is not signed",
            format!("rollcall account set {} --webhook-secret -", known.account_sid),
        ));
    }
    findings
}
