//! Which path may be meant by one that is not answered. Only templates are named: nothing of what there is.

use super::router::templates_of_routes;

/// Paths that are longer, or have more segments, are not looked at.
const PATH_BYTES_MAX: usize = 300;
const SEGMENTS_MAX: usize = 12;
/// What may be wrong in all. A letter counts one.
const COST_MAX: usize = 3;
/// What a segment costs that is missing or is too much.
const SEGMENT: usize = 3;

/// The template of a path that is nearly this one.
pub(super) fn near(path: &str) -> Option<&'static str> {
    let path = path.trim_matches('/').to_ascii_lowercase();
    let found: Vec<&str> = path.split('/').collect();
    // The version alone names nothing.
    if path.len() > PATH_BYTES_MAX || found.len() > SEGMENTS_MAX || path == "v1" {
        return None;
    }
    let others = templates_of_routes().filter(|(template, _)| *template != "/");
    let costs = others.filter_map(|(template, segments)| {
        let cost = cost(&found, segments);
        (cost <= COST_MAX).then_some((cost, template))
    });
    costs.min_by_key(|(cost, _)| *cost).map(|(_, template)| template)
}

/// The least that is to be changed to make one of the other.
fn cost(found: &[&str], wanted: &[&str]) -> usize {
    let mut before: Vec<usize> = sums(wanted.iter().map(|segment| missing(segment)));
    for have in found {
        let surplus = if matches!(*have, "" | "v1") { 1 } else { SEGMENT };
        let mut row = vec![before.first().map_or(0, |cost| cost + surplus)];
        for ((want, left), above) in wanted.iter().zip(&before).zip(before.iter().skip(1)) {
            let replaced = replaced(have, want).map_or(usize::MAX, |cost| left + cost);
            let inserted = row.last().map_or(usize::MAX, |cost| cost + missing(want));
            row.push(replaced.min(inserted).min(above + surplus));
        }
        before = row;
    }
    before.last().copied().unwrap_or(usize::MAX)
}

fn sums(costs: impl Iterator<Item = usize>) -> Vec<usize> {
    let sums = costs.scan(0, |sum, cost| {
        *sum += cost;
        Some(*sum)
    });
    std::iter::once(0).chain(sums).collect()
}

/// What it costs where a segment is left out; that calls are of an account is easily forgotten.
fn missing(segment: &str) -> usize {
    if matches!(segment, "v1" | "Accounts" | "{AccountSid}") { 1 } else { SEGMENT }
}

/// What it costs that a word stands for another, where it may be meant.
fn replaced(have: &str, want: &str) -> Option<usize> {
    if matches!(want, "{AccountSid}" | "{ServiceProviderSid}") {
        return (!have.is_empty()).then_some(0);
    }
    if want == "{CallSid}" {
        // A word is rather the name of something that there is not.
        return have.bytes().any(|byte| byte.is_ascii_digit()).then_some(0);
    }
    let want = want.to_ascii_lowercase();
    let letters = strsim::levenshtein(have, &want);
    let most = (want.len() / 3).max(1);
    let contains = have.len() >= 3 && (want.contains(have) || have.contains(&want));
    match letters {
        letters if letters <= most => Some(letters),
        _ if contains => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_told_what_is_meant() {
        const CALLS: &str = "/v1/Accounts/{AccountSid}/Calls";
        const CALL: &str = "/v1/Accounts/{AccountSid}/Calls/{CallSid}";
        for (path, meant) in [
            ("/v1/Account/a/Calls", CALLS),
            ("/v1/acounts/a/calls", CALLS),
            ("/v1/Accounts/a/Call", CALLS),
            ("/v1/Accounts/a/Calls/b1/c", CALL),
            ("/v1/Account/a/Call/b1", CALL),
            ("/Accounts/a/Calls", CALLS),
            ("/accounts/a/calls/", CALLS),
            ("/v2/Accounts/a/Calls", CALLS),
            ("/api/v1/Accounts/a/Calls", CALLS),
            ("/v1//Accounts/a/Calls", CALLS),
            ("/v1/Accounts//Calls", CALLS),
            ("/v1/Accounts/a", CALLS),
            ("/v1/Call", "/v1/Calls"),
            ("/Calls", "/v1/Calls"),
            ("/v1/Calls/b1", CALL),
            ("/v1/ServiceProvider/a/Calls", "/v1/ServiceProviders/{ServiceProviderSid}/Calls"),
            ("/v1/a/Calls", CALLS),
            ("/v1/Accounts/a/Calls/b1/event", "/v1/Accounts/{AccountSid}/Calls/{CallSid}/events"),
            ("/v1/Accounts/a/Callcounts", "/v1/Accounts/{AccountSid}/CallCount"),
            ("/v1/Accounts/a/Call-Stats", "/v1/Accounts/{AccountSid}/CallStats"),
            ("/v1/hook/call-status", "/v1/hooks/call-status"),
            ("/v1/webhooks/call-status", "/v1/hooks/call-status"),
            ("/v1/hooks/callstatus", "/v1/hooks/call-status"),
            ("/v1/hooks/call_status", "/v1/hooks/call-status"),
            ("/v1/hooks/status", "/v1/hooks/call-status"),
            ("/hooks/call-status", "/v1/hooks/call-status"),
            ("/v1/hooks", "/v1/hooks/call-status"),
            ("/ready", "/readyz"),
            ("/v1/readyz", "/readyz"),
            ("/metric", "/metrics"),
            ("/openapi", "/openapi.json"),
            ("/doc", "/docs"),
        ] {
            assert_eq!(near(path), Some(meant), "{path}");
        }
        let long = format!("/v1/Account/{}/Calls", "a".repeat(PATH_BYTES_MAX));
        let deep = "/v1/Accounts".to_owned() + &"/a".repeat(100);
        for path in [
            "/favicon.ico",
            "/v1",
            "/v1/Accounts/a/Applications",
            "/v1/Users",
            "/wp-login.php",
            "*",
            "",
            "//",
            &long,
            &deep,
        ] {
            assert_eq!(near(path), None, "{path}");
        }
    }
}
