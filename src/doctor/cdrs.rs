//! The listener for CDRs.

use super::Finding;
use super::server::ObservedServer;
use crate::cdrs::Credentials;
use crate::config::Config;
use crate::domain::counted;

/// The password file, and what a running server says of what came.
pub(super) fn check(config: &Config, server: &ObservedServer) -> Vec<Finding> {
    let Some(listen) = &config.cdrs.listen else { return Vec::new() };
    let object = format!("CDRs at {listen}");
    let mut findings = Vec::new();
    if let Err(error) = Credentials::read(&config.cdrs) {
        let advice = "write the password into that file, readable by the server's user alone; the same \
                      password is in the subscription, or in jambonz's own setting";
        findings.push(Finding::error(&object, error.to_string(), advice));
    }
    let Some(cdrs) = server.answers().and_then(|answers| answers.figures.cdrs.as_ref()) else {
        let advice = "start the server, or restart it where cdrs.listen is new";
        findings.push(Finding::unknown(object, "a running server would know", advice));
        return findings;
    };
    match (&cdrs.last_cdr_at, &cdrs.last_request_at) {
        (Some(at), _) => {
            let how = if cdrs.by_subscription { ", by a subscription of InfluxDB" } else { "" };
            findings.push(Finding::ok(&object, format!("the last CDR came at {at}{how}")));
        }
        (None, Some(at)) => findings.push(Finding::ok(
            &object,
            format!("no CDR has come since the start; the last request came at {at}"),
        )),
        (None, None) => findings.push(Finding::warn(
            &object,
            "nothing has come since the start",
            "`rollcall cdrs subscribe --influx URL` has jambonz's InfluxDB send CDRs here; or set the address \
             of the time series in jambonz's SBCs to this one (docs/connect.md, \"CDRs\")",
        )),
    }
    if let (Some(at), Some(why)) = (&cdrs.refused_at, &cdrs.refused) {
        let lines = cdrs.lines.get("refused").copied().unwrap_or_default();
        let problem = format!("{} refused, the last at {at}: {why}", counted(lines, "line"));
        let advice = "the log has the lines, and why each was refused; what InfluxDB has rightly \
                      `rollcall cdrs backfill` brings";
        findings.push(Finding::warn(&object, problem, advice));
    }
    let again = "nobody sends them again; what InfluxDB has `rollcall cdrs backfill` brings";
    if let (Some(at), Some(why)) = (&cdrs.last_unread_at, &cdrs.last_unread) {
        let requests = counted(cdrs.unread, "request");
        let problem = format!("{requests} with CDRs not read, the last at {at}: {why}");
        findings.push(Finding::warn(&object, problem, again));
    }
    if cdrs.unavailable > 0 {
        let requests = counted(cdrs.unavailable, "request");
        let problem = format!("{requests} with CDRs answered 503, so that these CDRs are missing");
        findings.push(Finding::warn(&object, problem, again));
    }
    if cdrs.unauthorised > 0 {
        let requests = counted(cdrs.unauthorised, "request");
        let problem = format!("{requests} had a wrong user or password, or none");
        let advice = "compare cdrs.user and the password file with what writes there";
        findings.push(Finding::warn(&object, problem, advice));
    }
    findings
}
