//! What the bodies that control calls must say. The rules, their order and their words are those of
//! jambonz (`lib/routes/api/accounts.js` of jambonz-api-server); as there, an empty value is none.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::error::ApiError;

type Fields = Map<String, Value>;

/// Of these an update says one. The last seven are of later versions of jambonz than the rules here:
/// its SDKs send them, and the feature server judges them.
const OPTIONS: [&str; 22] = [
    "call_hook",
    "child_call_hook",
    "call_status",
    "listen_status",
    "conf_hold_status",
    "conf_mute_status",
    "mute_status",
    "sip_request",
    "record",
    "tag",
    "dtmf",
    "conferenceParticipantAction",
    "media_path",
    "transcribe_status",
    "boostAudioSignal",
    "dub",
    "agent_update",
    "transfer",
    "noise_isolation_status",
    "llm_status",
    "room_say",
    "room_play",
];

/// Options with few values.
const CHOICES: [(&str, &[&str]); 6] = [
    ("call_status", &["completed", "no-answer"]),
    ("listen_status", &["pause", "silence", "resume"]),
    ("mute_status", &["mute", "unmute"]),
    ("conf_hold_status", &["hold", "unhold"]),
    ("conf_mute_status", &["mute", "unmute"]),
    ("media_path", &["no-media", "partial-media", "full-media"]),
];

const ACTIONS: [&str; 8] = ["tag", "untag", "coach", "uncoach", "mute", "unmute", "hold", "unhold"];

/// What a new call says where it names no application.
const SPEECH: [&str; 5] = [
    "speech_synthesis_vendor",
    "speech_synthesis_language",
    "speech_synthesis_voice",
    "speech_recognizer_vendor",
    "speech_recognizer_language",
];

/// Characters of a value that a message quotes.
const QUOTED_CHARS: usize = 500;

/// Whether the body of an update asks for one thing, and that rightly.
pub(super) fn update(fields: &Fields) -> Result<(), ApiError> {
    let given = OPTIONS.iter().filter(|name| says(fields, name)).count();
    let pair = says(fields, "call_hook") && says(fields, "child_call_hook")
        || says(fields, "conf_hold_status") && says(fields, "waitHook");
    match given {
        0 if !says(fields, "whisper") => {
            return Err(ApiError::bad("no valid options supplied to updateCall"));
        }
        0 | 1 => {}
        2 if pair => {}
        _ => return Err(ApiError::bad("multiple options are not allowed in updateCall")),
    }
    for (name, allowed) in CHOICES {
        let good = |value: &Value| value.as_str().is_some_and(|text| allowed.contains(&text));
        if fields.get(name).is_some_and(|value| truthy(value) && !good(value)) {
            return Err(ApiError::bad(format!("invalid {name}")));
        }
    }
    let lacks = |option: &str, names: &[&str]| {
        let value = fields.get(option).filter(|value| truthy(value));
        value.is_some_and(|value| names.iter().any(|name| !value.get(name).is_some_and(truthy)))
    };
    if lacks("sip_request", &["method", "content_type", "content"]) {
        let msg = "sip_request requires method, content_type and content properties";
        return Err(ApiError::bad(msg));
    }
    if lacks("record", &["action"]) {
        return Err(ApiError::bad("record requires action property"));
    }
    let starts = fields.get("record").and_then(|record| record.get("action")?.as_str());
    if starts == Some("startCallRecording") && lacks("record", &["siprecServerURL"]) {
        let msg = "record requires siprecServerURL property when starting recording";
        return Err(ApiError::bad(msg));
    }
    if lacks("dtmf", &["digit"]) {
        return Err(ApiError::bad("invalid dtmf"));
    }
    if fields.get("tag").is_some_and(|tag| truthy(tag) && !tag.is_object()) {
        return Err(ApiError::bad("invalid tag data"));
    }
    participant(fields)
}

fn participant(fields: &Fields) -> Result<(), ApiError> {
    let name = "conferenceParticipantAction";
    let Some(value) = fields.get(name).filter(|value| truthy(value)) else { return Ok(()) };
    let action = value.get("action");
    let Some(action) = action.and_then(Value::as_str).filter(|word| ACTIONS.contains(word)) else {
        let shown = action.map_or_else(|| "undefined".to_owned(), shown);
        return Err(ApiError::bad(format!("{name} invalid action property {shown}")));
    };
    if matches!(action, "tag" | "coach") && !value.get("tag").is_some_and(truthy) {
        let msg = format!("{name} requires tag property when action is '{action}'");
        return Err(ApiError::bad(msg));
    }
    Ok(())
}

/// Checks the body of a new call that names no application, and writes its hooks out as the feature
/// server wants them. `body` is the text that the fields came from.
pub(super) fn create(fields: &mut Fields, body: &[u8]) -> Result<(), ApiError> {
    dialled(fields, body)?;
    if !SPEECH.iter().all(|name| says(fields, name)) {
        let needed = SPEECH.join(", ");
        return Err(ApiError::bad(format!("either application_sid or set of {needed} required")));
    }
    fields.remove("application_sid");
    if !says(fields, "call_hook") {
        return Err(ApiError::bad("either call_hook or application_sid required"));
    }
    let hooks = ["call_hook", "call_status_hook"];
    for name in hooks {
        if let Some(Value::String(url)) = fields.get(name) {
            let hook = json!({ "url": url, "method": "POST" });
            fields.insert(name.to_owned(), hook);
        }
    }
    let url = |name: &str| fields.get(name).and_then(|hook| hook.get("url")?.as_str());
    for name in hooks {
        let composed =
            matches!(fields.get(name), Some(Value::Object(_) | Value::Array(_) | Value::Null));
        if composed && url(name).is_none() {
            let msg = format!("{name} must be string or an object containing a url property");
            return Err(ApiError::bad(msg));
        }
    }
    let schemes = ["http:", "https:", "ws:", "wss:"];
    for name in hooks {
        let absolute = |url: &str| schemes.iter().any(|scheme| url.starts_with(scheme));
        if says(fields, name) && !url(name).is_some_and(absolute) {
            return Err(ApiError::bad(format!("{name} url be an absolute url")));
        }
    }
    Ok(())
}

/// Whether a new call says from whom and to whom it is.
pub(super) fn dialled(fields: &Fields, body: &[u8]) -> Result<(), ApiError> {
    if !says(fields, "from") {
        return Err(ApiError::bad("missing from parameter"));
    }
    let to = fields.get("to");
    let text = |name: &str| to.and_then(|to| to.get(name)?.as_str());
    let good = match text("type") {
        Some("phone" | "teams") => text("number").is_some(),
        Some("user") => text("name").is_some(),
        Some("sip") => text("sipUri").is_some(),
        _ => false,
    };
    if good {
        return Ok(());
    }
    let written = as_written(body).or_else(|| to.map(Value::to_string));
    let written = written.unwrap_or_else(|| "undefined".to_owned());
    let shown: String = written.chars().take(QUOTED_CHARS).collect();
    Err(ApiError::bad(format!("missing or invalid to property: {shown}")))
}

/// The application that a new call names.
pub(super) fn application(fields: &Fields) -> Option<&Value> {
    fields.get("application_sid").filter(|value| truthy(value))
}

/// `to` with its keys in their order, and without spaces.
fn as_written(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct ValidationBody<'a> {
        #[serde(borrow)]
        to: &'a RawValue,
    }
    let written: ValidationBody<'_> = serde_json::from_slice(body).ok()?;
    let (mut text, mut quoted, mut escaped) = (String::new(), false, false);
    for c in written.to.get().chars() {
        if quoted || !c.is_ascii_whitespace() {
            text.push(c);
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
    }
    Some(text)
}

fn says(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(truthy)
}

/// Whether JavaScript takes the value for true.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    text.chars().take(QUOTED_CHARS).collect()
}
