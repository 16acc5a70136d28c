//! Applications, and the webhooks that they have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::access::Secret;
use crate::domain::{AccountSid, ApplicationSid};
use crate::outbound::Base;

/// Where this program takes events.
const HOOK_PATH: &str = "/v1/hooks/call-status";
/// Has jambonz send an event again: five times, after trouble with the connection and answers of 5xx.
const RETRIES: &str = "rc=5&rp=ct,5xx";
/// What the column in jambonz's database holds.
const URL_BYTES_MAX: usize = 1024;
const FRAGMENT_BYTES_MAX: usize = 100;

/// An application of jambonz, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    pub sid: ApplicationSid,
    pub name: String,
    /// None of an application that a service provider shares among its accounts.
    pub account: Option<AccountSid>,
    /// The row of its call status webhook. The portal makes one without a URL, which does nothing.
    pub(super) row: Option<Hook>,
}

impl Application {
    /// Reads one of an answer.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(super) fn of(value: &Value) -> Result<Self, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let sid = text("application_sid").and_then(|sid| sid.parse().ok());
        let sid = sid.ok_or("an application has no application_sid")?;
        let row = match value.get("call_status_hook") {
            Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(Hook(fields.clone())),
            _ => return Err(format!("application {sid} has no call_status_hook")),
        };
        Ok(Self {
            sid,
            name: text("name").unwrap_or_default().to_owned(),
            account: text("account_sid").and_then(|sid| sid.parse().ok()),
            row,
        })
    }

    /// Its call status webhook.
    pub fn hook(&self) -> Option<&Hook> {
        self.row.as_ref().filter(|hook| hook.does_something())
    }
}

/// A webhook with all its fields, as jambonz has sent it. It may hold a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hook(Map<String, Value>);

impl Hook {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    pub fn url(&self) -> &str {
        self.text("url").unwrap_or_default()
    }

    pub fn username(&self) -> Option<&str> {
        self.text("username").filter(|user| !user.is_empty())
    }

    pub fn password(&self) -> Option<&str> {
        self.text("password").filter(|password| !password.is_empty())
    }

    /// Its password is not shown.
    pub fn is_masked(&self) -> bool {
        self.password().is_some_and(is_masked)
    }

    pub fn is_post(&self) -> bool {
        self.text("method").is_none_or(|method| method == "POST")
    }

    pub fn does_something(&self) -> bool {
        !self.url().is_empty()
    }

    /// The row that it is in jambonz's database.
    pub(super) fn row(&self) -> Option<&str> {
        self.text("webhook_sid")
    }

    pub(super) fn is_row_of(&self, other: &Self) -> bool {
        self.row().is_some() && self.row() == other.row()
    }

    /// The fields that make another row of the same content.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = self.0.clone();
        fields.shift_remove("webhook_sid");
        fields
    }

    /// Whether both do the same, whichever rows they are.
    pub(super) fn does_as(&self, other: &Self) -> bool {
        self.fields() == other.fields()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(self.url()))
    }
}

/// A URL without what may be secret in it: its credentials and its query.
pub fn masked(url: &str) -> String {
    let (place, fragment) = match url.split_once('#') {
        Some((place, fragment)) => (place, Some(fragment)),
        None => (url, None),
    };
    let (place, query) = match place.split_once('?') {
        Some((place, _)) => (place, "?…"),
        None => (place, ""),
    };
    let (scheme, rest) = place.split_once("://").unwrap_or(("", place));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => authority.to_owned(),
    };
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let fragment = match fragment {
        Some(fragment) if is_recipe(fragment) => format!("#{fragment}"),
        Some(_) => "#…".to_owned(),
        None => String::new(),
    };
    format!("{scheme}{authority}{path}{query}{fragment}")
}

/// Whether this stands for a password that is not shown.
pub(super) fn is_masked(password: &str) -> bool {
    password.ends_with("XXXX") || password.ends_with("****")
}

/// Whether this looks like what jambonz reads of a fragment.
fn is_recipe(fragment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=,&-_.".contains(&byte);
    (1..=FRAGMENT_BYTES_MAX).contains(&fragment.len()) && fragment.bytes().all(plain)
}

/// Why a text is not the URL of rollcall's webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookUrlError {
    #[error(
        "\"{0}\" is not where rollcall takes webhooks; write its address as jambonz reaches it, such as \
         https://calls.example.com:8443/v1/hooks/call-status"
    )]
    Url(String),
    #[error(
        "there are credentials in \"{0}\"; jambonz signs its webhooks, or give --hook-user and \
         --hook-password"
    )]
    Credentials(String),
    #[error(
        "jambonz's API takes no webhook at the host of \"{0}\"; write a name of letters, digits, hyphens and \
         dots, or an IPv4 address"
    )]
    Host(String),
    #[error("\"#{0}\" is no recipe for retries; leave it out, or write it as in #{RETRIES}")]
    Retries(String),
}

/// Where rollcall takes webhooks, with the recipe for retries behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookUrl {
    base: Base,
    retries: String,
}

impl HookUrl {
    /// Where that is, without the recipe.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Whether a webhook goes to the same place, whatever its recipe is.
    pub fn is_place_of(&self, url: &str) -> bool {
        same_place(&self.to_string(), url)
    }
}

/// Whether both URLs lead to the same place, whatever their fragments are.
pub(super) fn same_place(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let place = url.split('#').next().unwrap_or_default();
        let begin = place.find("://").map_or(0, |at| at + 3);
        let end = place.get(begin..).and_then(|rest| rest.find(['/', '?']));
        let end = end.map_or(place.len(), |end| begin + end);
        // Paths of others are compared as they are.
        let whole = place.parse::<Base>().map(|base| base.to_string());
        whole.unwrap_or_else(|_| {
            let (origin, path) = place.split_at(end);
            let origin = origin.parse::<Base>();
            origin.map_or_else(|_| place.to_owned(), |base| format!("{base}{path}"))
        })
    };
    place(one) == place(other)
}

impl FromStr for HookUrl {
    type Err = HookUrlError;

    fn from_str(text: &str) -> Result<Self, HookUrlError> {
        let (place, retries) = text.split_once('#').unwrap_or((text, RETRIES));
        let authority = place.split("://").nth(1).and_then(|rest| rest.split('/').next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err(HookUrlError::Credentials(masked(place)));
        }
        if !is_recipe(retries) {
            return Err(HookUrlError::Retries(retries.to_owned()));
        }
        let wrong = || HookUrlError::Url(masked(place));
        let base: Base = place.parse().map_err(|_| wrong())?;
        let url = Self { base, retries: retries.to_owned() };
        let whole = url.base.to_string();
        let after = whole.split_once("://").map_or("", |(_, rest)| rest);
        let (host, path) = after.find('/').map_or((after, ""), |at| after.split_at(at));
        if !path.ends_with(HOOK_PATH) || url.to_string().len() > URL_BYTES_MAX {
            return Err(wrong());
        }
        // The portal could not save the application any more.
        if host.contains(['[', '_']) {
            return Err(HookUrlError::Host(place.to_owned()));
        }
        Ok(url)
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.base, self.retries)
    }
}

/// The webhook that is to be made.
#[derive(Debug, Clone)]
pub struct NewHook {
    pub url: String,
    pub credentials: Option<(String, Secret)>,
}

impl NewHook {
    pub(super) fn fields(&self) -> Value {
        let (user, password) = match &self.credentials {
            Some((user, password)) => (Value::from(user.as_str()), password.reveal().into()),
            None => (Value::Null, Value::Null),
        };
        serde_json::json!({
            "url": self.url, "method": "POST", "username": user, "password": password,
        })
    }

    /// Whether a webhook is this one.
    pub(super) fn is(&self, hook: &Hook) -> bool {
        let same = match (&self.credentials, hook.username(), hook.password()) {
            (None, None, None) => true,
            // It cannot be set again, and so it stays.
            (None, Some(_), Some(its_password)) => is_masked(its_password),
            (Some((user, password)), Some(its_user), Some(its_password)) => {
                user == its_user && (password.matches(its_password) || is_masked(its_password))
            }
            _ => false,
        };
        same && hook.url() == self.url && hook.is_post()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://a.example/status", "https://a.example/status"),
            ("https://u:hunter2@a.example/x?key=hunter2", "https://…@a.example/x?…"),
            ("https://a.example?key=hunter2#hunter2!", "https://a.example?…#…"),
            ("https://a.example/x#rc=5&rp=ct,5xx", "https://a.example/x#rc=5&rp=ct,5xx"),
            ("u:hunter2@a/x", "…@a/x"),
            ("", ""),
        ] {
            assert_eq!(masked(url), shown);
        }
        let hook: Hook = serde_json::from_value(serde_json::json!({
            "url": "https://a.example/?hunter2", "username": "u", "password": "hunter2",
        }))
        .unwrap();
        assert!(!format!("{hook:?}").contains("hunter2"));
    }

    #[test]
    fn the_url_of_the_webhook_gets_its_retries() {
        for (text, url) in [
            (
                "https://H.example:8443/v1/hooks/call-status",
                "https://h.example:8443/v1/hooks/call-status#rc=5&rp=ct,5xx",
            ),
            (
                "https://h:443/x/v1/hooks/call-status/",
                "https://h/x/v1/hooks/call-status#rc=5&rp=ct,5xx",
            ),
            (
                "http://10.0.0.5:8080/v1/hooks/call-status#rc=2",
                "http://10.0.0.5:8080/v1/hooks/call-status#rc=2",
            ),
        ] {
            let parsed: HookUrl = text.parse().unwrap();
            assert_eq!(parsed.to_string(), url);
            assert!(parsed.is_place_of(text) && parsed.is_place_of(url));
            assert!(!parsed.is_place_of("https://other.example/v1/hooks/call-status"));
        }
        for text in [
            "",
            "https://h",
            "h/v1/hooks/call-status",
            "https://h/v1/hooks/call-status?x",
            "https://v1/hooks/call-status",
        ] {
            assert!(matches!(text.parse::<HookUrl>(), Err(HookUrlError::Url(_))), "{text}");
        }
        for text in
            ["https://[2001:db8::1]:8443/v1/hooks/call-status", "https://a_b/v1/hooks/call-status"]
        {
            assert!(matches!(text.parse::<HookUrl>(), Err(HookUrlError::Host(_))), "{text}");
        }
        let long = format!("https://h/{}/v1/hooks/call-status", "x".repeat(1000));
        assert!(long.parse::<HookUrl>().is_err());
        let error = "https://u:hunter2@h/v1/hooks/call-status".parse::<HookUrl>().unwrap_err();
        assert!(
            !error.to_string().contains("hunter2") && error.to_string().contains("--hook-user")
        );
        let error = "https://h/v1/hooks/call-status#r c".parse::<HookUrl>().unwrap_err();
        assert!(matches!(error, HookUrlError::Retries(_)));
    }
}
