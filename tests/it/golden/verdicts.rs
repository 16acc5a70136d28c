//! What rollcall answers to each recorded request: the same as jambonz, or something better.

use Verdict::{Better, Same};

/// How rollcall's answer stands to the recorded one.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// The same status, header fields and body; of calls, the same ones with the same fields.
    Same,
    /// Another answer on purpose: why, and which.
    Better(&'static str, Answer),
}

/// An answer that is not the recorded one.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// The same status and header fields; the body is `{"msg": …}` that begins so.
    Msg(&'static str),
    /// Another status, and such a body.
    Refused(u16, &'static str),
    /// The recorded calls, and these of account one, by the end of their sids.
    More(&'static [&'static str]),
    /// These calls of account one, whatever was recorded.
    Calls(&'static [&'static str]),
    /// Account one's live calls: inbound, outbound.
    Counts(u64, u64),
    /// 202 and an empty JSON object.
    Accepted,
    /// 204 and nothing else.
    Done,
    /// The answer to a preflight, with these methods.
    Methods(&'static str),
}

use Answer::{Calls, Counts, Done, Methods, More, Msg, Refused};

const JSON_ERRORS: &str = "every error body is {\"msg\": string}";
const SAYS_WHICH: &str = "the message says what is wrong, and which sid";
const NO_PAGE: &str = "an unknown path is answered in JSON, not with a page";
const ALLOW: &str = "a known path with another method is 405 with Allow";
const EVERY_CALL: &str = "a call whose first event is not 100 Trying is listed, too";
const ENUMS: &str = "an unknown word is refused instead of matching nothing";
const SEVERAL: &str = "several values are any of them";
const PLUS: &str = "a plus sign before a number need not be encoded";
const PAGING: &str = "limit is a parameter: a page, and a Link to the next";
const EITHER_CASE: &str = "paths and sids are read in either case, for every token alike";
const EXACT_TOKENS: &str = "a token is compared exactly";
const EXPIRY: &str = "an expired token opens nothing";
const HEADER_ONLY: &str = "a token is read from its header alone, so that it stays out of logs";
const READ_ONLY: &str = "a read-only token is told its role";
const ANY_UUID: &str = "a UUID of any version is a sid";
const NO_SEGMENT: &str = "a path with an empty segment is unknown";
const HEALTH: &str = "livez and readyz tell more than that the process runs";
const NO_PATCH: &str = "no path answers PATCH, and none is promised";
const COUNTED: &str = "counts are those of the calls themselves, not of counters that leak";
const UNTIL_IT_ENDS: &str = "a call that is up is listed until it ends, not for an hour";
const NO_GAPS: &str = "a list is whole or an error, never a part that looks whole";

const ALL: &[&str] = &[
    "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23",
];
const INBOUND: &[&str] = &[
    "01", "02", "03", "04", "06", "07", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21",
    "22", "23",
];
/// After the deletions of the recording.
const LEFT: &[&str] = &[
    "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16",
    "17", "19", "20", "23",
];
const ENTITLED: &str = "insufficient permissions";

/// Every recorded exchange, in the order of the recording.
pub const VERDICTS: [(&str, Verdict); 120] = [
    ("list: no filter", Better(EVERY_CALL, More(&["20"]))),
    ("list: direction=inbound", Better(EVERY_CALL, More(&["20"]))),
    ("list: direction=outbound", Same),
    ("list: direction=Inbound", Better(ENUMS, Refused(400, "direction \"Inbound\""))),
    ("list: direction=(empty)", Better(EVERY_CALL, More(&["20"]))),
    ("list: callStatus=trying", Same),
    ("list: callStatus=early-media", Same),
    ("list: callStatus=in-progress", Same),
    ("list: callStatus=failed", Same),
    ("list: callStatus=bogus", Better(ENUMS, Refused(400, "callStatus \"bogus\""))),
    ("list: callStatus=(empty)", Better(EVERY_CALL, More(&["20"]))),
    ("list: from url-encoded +", Same),
    ("list: from user part of a sip uri", Same),
    ("list: to url-encoded +", Same),
    ("list: to raw +", Better(PLUS, Calls(&["04"]))),
    ("list: to wildcard is literal", Same),
    ("list: direction+callStatus", Same),
    ("list: repeated callStatus", Better(SEVERAL, Calls(&["07", "08"]))),
    ("list: repeated equal direction", Better(SEVERAL, Calls(INBOUND))),
    ("list: bracket array of one", Better(SEVERAL, Calls(INBOUND))),
    ("list: comma list", Better(SEVERAL, Calls(&["07", "08"]))),
    ("list: unknown parameters ignored", Better(PAGING, Calls(&["23"]))),
    ("list: malformed percent in query", Same),
    ("list: double slash", Better(NO_PAGE, Refused(404, "no such path"))),
    ("list: lower-case path", Better(EITHER_CASE, Calls(ALL))),
    ("list: lower-case calls only", Better(EVERY_CALL, More(&["20"]))),
    ("list: lower-case path admin", Better(EITHER_CASE, Calls(ALL))),
    ("list: /V1 upper", Better(EVERY_CALL, More(&["20"]))),
    ("list: no /v1 prefix", Better(NO_PAGE, Refused(404, "no such path"))),
    ("list: v2 prefix", Better(NO_PAGE, Refused(404, "no such path"))),
    ("auth: no Authorization", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("auth: Basic scheme", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("auth: unknown token", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("auth: lower-case scheme", Better(EVERY_CALL, More(&["20"]))),
    ("auth: scheme only", Better(JSON_ERRORS, Msg("Authorization: "))),
    ("auth: scheme + space only", Better(JSON_ERRORS, Msg("Authorization: "))),
    ("auth: token with extra part", Better(JSON_ERRORS, Msg("Authorization: "))),
    ("auth: two spaces", Better(JSON_ERRORS, Msg("Authorization: "))),
    ("auth: bare token", Better(JSON_ERRORS, Msg("Authorization: "))),
    ("auth: Token scheme", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("auth: empty Authorization", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("auth: upper-case token (collation)", Better(EXACT_TOKENS, Refused(401, "Unauthorized"))),
    (
        "auth: expired api key (expires_at in the past)",
        Better(EXPIRY, Refused(401, "Unauthorized")),
    ),
    ("auth: access_token query bad", Better(HEADER_ONLY, Refused(401, "Unauthorized"))),
    (
        "auth: access_token query with trailing space",
        Better(HEADER_ONLY, Refused(401, "Unauthorized")),
    ),
    ("auth: header and query both", Better(HEADER_ONLY, Calls(ALL))),
    ("auth: empty access_token", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("auth: access_token json body on GET", Better(HEADER_ONLY, Refused(401, "Unauthorized"))),
    ("auth: header and body both", Better(HEADER_ONLY, Calls(ALL))),
    ("auth: access_token form body on PUT", Better(HEADER_ONLY, Refused(401, "Unauthorized"))),
    ("auth: access_token json body on PUT", Better(HEADER_ONLY, Refused(401, "Unauthorized"))),
    ("auth: service provider token, other provider's account", Same),
    ("auth: admin token", Same),
    ("auth: admin token account two", Same),
    ("auth: admin token unknown account", Same),
    ("auth: jwt expired", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("auth: jwt view-only user DELETE", Better(READ_ONLY, Msg(ENTITLED))),
    ("auth: jwt view-only user GET", Same),
    ("unknown path under /v1 with token", Better(NO_PAGE, Refused(404, "no such path"))),
    ("unknown sub-resource", Better(NO_PAGE, Refused(404, "no such path"))),
    ("health", Better(HEALTH, Refused(404, "no such path"))),
    ("account sid not a uuid, account token", Better(SAYS_WHICH, Msg("account sid \"xyz\""))),
    ("account sid not a uuid, admin token", Better(SAYS_WHICH, Msg("account sid \"xyz\""))),
    (
        "account sid not a uuid, service provider token",
        Better(SAYS_WHICH, Msg("account sid \"xyz\"")),
    ),
    ("account sid upper-case, account token", Better(EITHER_CASE, Calls(ALL))),
    ("account sid upper-case, service provider token", Better(EITHER_CASE, Calls(ALL))),
    ("account sid uuid v7, account token", Better(ANY_UUID, Refused(403, ENTITLED))),
    ("account sid no dashes, account token", Better(SAYS_WHICH, Msg("account sid \"9351f46a67"))),
    (
        "account sid percent-encoded, admin token",
        Better(SAYS_WHICH, Msg("account sid \"%39351f46a")),
    ),
    ("account sid glob *, account token", Better(SAYS_WHICH, Msg("account sid \"*\""))),
    ("account sid glob *, admin token", Better(SAYS_WHICH, Msg("account sid \"*\""))),
    ("account sid with braces, account token", Better(SAYS_WHICH, Msg("account sid \"%7B9351"))),
    ("account sid empty", Better(NO_SEGMENT, Refused(404, "no such path"))),
    ("malformed account sid without token", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("HEAD list", Same),
    ("HEAD one", Same),
    ("HEAD one not found", Better(JSON_ERRORS, Msg(""))),
    ("OPTIONS list no auth", Better(NO_PATCH, Methods("GET,HEAD,POST,PUT,DELETE"))),
    ("OPTIONS preflight", Better(NO_PATCH, Methods("GET,HEAD,POST,PUT,DELETE"))),
    ("OPTIONS on unknown path", Better(NO_PATCH, Methods("GET,HEAD,POST,PUT,DELETE"))),
    ("401 with Origin", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("PUT on collection", Better(ALLOW, Refused(405, "this path answers"))),
    ("DELETE on collection with trailing slash", Better(ALLOW, Refused(405, "this path answers"))),
    ("PATCH one", Better(ALLOW, Refused(405, "this path answers"))),
    ("PROPFIND list", Better(ALLOW, Refused(405, "this path answers"))),
    ("get: no serviceUrl", Same),
    ("get: value over 64 bytes", Same),
    ("get: first status was 180 (not in the active set)", Same),
    ("get: not found", Better(JSON_ERRORS, Msg("no such call"))),
    ("get: malformed", Better(SAYS_WHICH, Msg("call sid \"xyz\""))),
    ("get: uuid v7 call sid", Better(ANY_UUID, Refused(404, "no such call"))),
    ("get: other account's call under own account", Better(JSON_ERRORS, Msg("no such call"))),
    ("get: own token, other account path", Same),
    ("get: sp other", Same),
    ("get: sp own", Same),
    ("get: malformed account and call", Better(SAYS_WHICH, Msg("account sid \"x\""))),
    ("get: malformed call, other account", Same),
    ("etag: first", Same),
    ("etag: If-None-Match other", Same),
    ("accept: application/xml", Same),
    ("count: keys set", Better(COUNTED, Counts(16, 2))),
    ("count: other account", Same),
    ("count: malformed account", Better(SAYS_WHICH, Msg("account sid \"zzz\""))),
    ("count: query string ignored", Better(COUNTED, Counts(16, 2))),
    ("count: redis type error", Better(COUNTED, Counts(16, 2))),
    ("expired: list with filter", Better(UNTIL_IT_ENDS, More(&["21"]))),
    ("expired: get by sid", Better(UNTIL_IT_ENDS, Calls(&["21"]))),
    ("expired: delete by sid", Better(UNTIL_IT_ENDS, Done)),
    ("expired: list no filter after that delete", Better(EVERY_CALL, More(&["20"]))),
    ("delete: malformed", Better(SAYS_WHICH, Msg("call sid \"xyz\""))),
    ("delete: other account path", Same),
    ("delete: other account's call under own path", Better(JSON_ERRORS, Msg("no such call"))),
    ("delete: no auth", Better(JSON_ERRORS, Msg("Unauthorized"))),
    ("delete: get after", Better(JSON_ERRORS, Msg("no such call"))),
    ("delete: sp token other account", Same),
    ("delete: trailing slash", Same),
    ("get: hash has the wrong type", Better(JSON_ERRORS, Msg("no such call"))),
    ("list: one foreign-typed key ends the scan early", Better(NO_GAPS, Calls(LEFT))),
    ("ratelimit: default configuration (600 per 5 min)", Same),
    (
        "ratelimit: max 2, second (OPTIONS counts too)",
        Better(NO_PATCH, Methods("GET,HEAD,POST,PUT,DELETE")),
    ),
];
