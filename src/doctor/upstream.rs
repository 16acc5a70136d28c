//! Tokens of jambonz: whether its API can be asked about them.

use super::Finding;
use super::server::{Answers, ObservedServer};
use crate::config::Config;
use crate::domain::counted;
use crate::store::chain;
use crate::upstream;

/// Asks the API about a token that does not exist, as the server does, and says what a running server has
/// seen of it.
pub(super) fn check(config: &Config, server: &ObservedServer) -> Vec<Finding> {
    let settings = &config.upstream;
    let Some(api) = settings.api_url.as_ref().filter(|_| settings.auth) else { return Vec::new() };
    let object = format!("tokens of jambonz, asked for at {api}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checked = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(upstream::check(settings, api)).map_err(|error| chain(&error))
    });
    let mut findings = Vec::new();
    match checked {
        Ok(()) => {
            let how = if api.secure() { "with TLS" } else { "without TLS" };
            let what = format!("it answers, {how}, and refuses a token that does not exist");
            findings.push(Finding::ok(&object, what));
        }
        Err(problem) => {
            let advice = "see whether upstream.api_url is jambonz's API, without /v1, and whether this \
                          machine reaches it; until then these tokens are answered 503";
            findings.push(Finding::error(&object, problem, advice));
        }
    }
    findings.extend(server.answers().and_then(|answers| budget(&object, answers)));
    findings
}

/// Whether a running server had to refuse requests since it may not ask more.
fn budget(object: &str, answers: &Answers) -> Option<Finding> {
    let upstream = answers.figures.upstream_auth.as_ref()?;
    let of = |reason: &str| upstream.unavailable.get(reason).copied().unwrap_or_default();
    let refused = of("budget") + of("address_budget") + of("limited");
    (refused > 0).then(|| {
        let problem = format!(
            "{} answered 503 since no more questions could be asked",
            if refused == 1 { "1 request was".to_owned() } else {
                format!("{} were", counted(refused, "request"))
            }
        );
        let advice = "raise upstream.auth_questions, or upstream.auth_address_questions for clients behind \
                      one address (or name their proxy in http.trusted_proxies), and \
                      RATE_LIMIT_MAX_PER_WINDOW of jambonz's API with them";
        Finding::warn(object, problem, advice)
    })
}
