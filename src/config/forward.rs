//! Targets that hooks are passed on to.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use toml::Value;

use super::value::{Form, Problem, Setting, one_line};
use crate::domain::{AccountSid, ApplicationSid};
use crate::outbound::Base;

const URL_BYTES_MAX: usize = 2048;
const NAME_BYTES_MAX: usize = 64;
const USER_BYTES_MAX: usize = 256;
const APPLICATIONS_MAX: usize = 1000;
/// What a target has, in the order in which it is written.
const FIELDS: [&str; 6] =
    ["name", "url", "account_sid", "application_sids", "user", "password_file"];
const EXAMPLE: &str =
    "{ name = \"acme\", url = \"https://acme.example.com/status\", account_sid = \"…\" }";

/// Why a text is no URL of a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetUrlError {
    #[error(
        "`{0}` is not the URL of a webhook; write http or https, a host, and a path, such as \
         https://acme.example.com/status"
    )]
    Url(String),
    #[error(
        "there are credentials in the URL, and the configuration is printed; write the user as `user`, and \
         put the password into a file that `password_file` names"
    )]
    Credentials,
}

/// The URL of a webhook: `http[s]://host[:port][/path][?query]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetUrl {
    /// Without a path.
    origin: Base,
    /// Begins with a slash.
    path: String,
}

impl TargetUrl {
    /// Scheme, host and port.
    pub fn origin(&self) -> &Base {
        &self.origin
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Without its query, which may be secret.
    pub fn shown(&self) -> String {
        match self.path.split_once('?') {
            Some((path, _)) => format!("{}{path}?…", self.origin),
            None => self.to_string(),
        }
    }
}

impl FromStr for TargetUrl {
    type Err = TargetUrlError;

    fn from_str(text: &str) -> Result<Self, TargetUrlError> {
        // jambonz reads a recipe for retries there, and does not send it.
        let (place, _) = text.split_once('#').unwrap_or((text, ""));
        let begin = place.find("://").map_or(0, |at| at + 3);
        let end = place.get(begin..).and_then(|rest| rest.find(['/', '?']));
        let (origin, path) = place.split_at(end.map_or(place.len(), |end| begin + end));
        if origin.contains('@') {
            return Err(TargetUrlError::Credentials);
        }
        let wrong = || TargetUrlError::Url(one_line(&without_secrets(text)));
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if place.len() > URL_BYTES_MAX || !path.bytes().all(plain) {
            return Err(wrong());
        }
        let origin: Base = origin.parse().map_err(|_| wrong())?;
        let path = match path.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        Ok(Self { origin, path })
    }
}

/// A URL as an error quotes it: without what may be secret.
fn without_secrets(text: &str) -> String {
    let place = text.find(['?', '#']).and_then(|end| text.get(..end));
    let quoted = place.map_or_else(|| text.to_owned(), |place| format!("{place}?…"));
    quoted.rsplit_once('@').map_or(quoted.clone(), |(_, rest)| format!("…@{rest}"))
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

/// Where hooks of an account are passed on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardTarget {
    /// Under which its progress is kept.
    pub name: String,
    pub url: TargetUrl,
    pub account: AccountSid,
    /// Empty: all.
    pub applications: Vec<ApplicationSid>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}

/// All targets; each has a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardTargets(pub Vec<ForwardTarget>);

impl Setting for ForwardTargets {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        let (Form::Tables(most), Value::Array(items)) = (form, value) else {
            return Err(form.wrong(value));
        };
        if items.len() > *most {
            let found = items.len();
            return Err(format!("found {found} tables, expected at most {most}").into());
        }
        let mut names = BTreeSet::new();
        let mut targets = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let target = target(item).and_then(|target| {
                if names.insert(target.name.clone()) {
                    return Ok(target);
                }
                Err(format!("two targets have the name `{}`; each needs its own", target.name))
            });
            targets.push(target.map_err(|text| Problem { text, item: Some(n) })?);
        }
        Ok(Self(targets))
    }

    fn write(&self) -> Value {
        Value::Array(self.0.iter().map(written).collect())
    }
}

fn target(value: &Value) -> Result<ForwardTarget, String> {
    let Value::Table(table) = value else {
        return Err(format!("expected a table for each target, such as {EXAMPLE}"));
    };
    if let Some(unknown) = table.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let unknown = one_line(unknown);
        return Err(format!("a target has no `{unknown}`; it has {}", FIELDS.join(", ")));
    }
    let text = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("`{key}`: expected a text in quotes")),
    };
    let needed = |key: &str| {
        text(key)?.ok_or_else(|| format!("a target lacks `{key}`; write it as in {EXAMPLE}"))
    };
    let name = needed("name")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(format!(
            "`name`: `{}` is no name; write at most {NAME_BYTES_MAX} letters, digits, hyphens, dots and \
             underscores",
            one_line(name)
        ));
    }
    let url = needed("url")?.parse().map_err(|error: TargetUrlError| format!("`url`: {error}"))?;
    let sid = |key: &str, text: &str| {
        format!("`{key}`: `{}` is not a sid, a UUID in its hyphenated form", one_line(text))
    };
    let account = needed("account_sid")?;
    let account = account.parse().map_err(|_| sid("account_sid", account))?;
    let mut applications = Vec::new();
    let names = match table.get("application_sids") {
        None => &[][..],
        Some(Value::Array(names)) if names.len() <= APPLICATIONS_MAX => names.as_slice(),
        Some(_) => {
            return Err(format!(
                "`application_sids`: expected a list of at most {APPLICATIONS_MAX} sids"
            ));
        }
    };
    for name in names {
        let name = name.as_str().unwrap_or_default();
        applications.push(name.parse().map_err(|_| sid("application_sids", name))?);
    }
    let user = text("user")?;
    let is_user = |user: &&str| {
        user.len() <= USER_BYTES_MAX && !user.contains(|c: char| c == ':' || c.is_control())
    };
    if let Some(user) = user.filter(|user| !is_user(user)) {
        return Err(format!(
            "`user`: `{}` is no user's name: at most {USER_BYTES_MAX} bytes, and no colon",
            one_line(user)
        ));
    }
    let password_file = text("password_file")?.map(PathBuf::from);
    if user.is_some() != password_file.is_some() {
        return Err("`user` and `password_file` go together: set both, or neither".to_owned());
    }
    let (name, user) = (name.to_owned(), user.map(str::to_owned));
    Ok(ForwardTarget { name, url, account, applications, user, password_file })
}

fn written(target: &ForwardTarget) -> Value {
    let text = |text: &dyn fmt::Display| Value::String(text.to_string());
    let sids = target.applications.iter().map(|sid| text(sid));
    let fields = [
        Some(text(&target.name)),
        Some(text(&target.url)),
        Some(text(&target.account)),
        Some(Value::Array(sids.collect())).filter(|_| !target.applications.is_empty()),
        target.user.as_ref().map(|user| text(user)),
        target.password_file.as_ref().map(|file| text(&file.display())),
    ];
    let named = FIELDS.into_iter().zip(fields);
    Value::Table(named.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "9351f46a-678c-43f5-b8a6-d4eb58d131af";

    fn read(text: &str) -> Result<ForwardTargets, String> {
        let value = Form::Tables(3).value_of(text);
        ForwardTargets::read(&value, &Form::Tables(3)).map_err(|problem| problem.text)
    }

    #[test]
    fn the_url_of_a_target_is_sent_as_it_was_written() {
        for (text, written, path) in [
            ("https://a.example", "https://a.example/", "/"),
            ("https://A.example:443/v1/?x=1&y=/", "https://a.example/v1/?x=1&y=/", "/v1/?x=1&y=/"),
            ("http://10.0.0.5:81/a%20b#rc=5&rp=ct", "http://10.0.0.5:81/a%20b", "/a%20b"),
            ("https://a.example?x", "https://a.example/?x", "/?x"),
        ] {
            let url: TargetUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.path()), (written, path));
            assert_eq!(written.parse::<TargetUrl>().unwrap(), url);
        }
        for text in ["", "a", "ftp://a/", "https://", "https://a/ b", "https://a:x/", "//a/b"] {
            assert!(matches!(text.parse::<TargetUrl>(), Err(TargetUrlError::Url(_))), "{text}");
        }
        let error = "https://u:hunter2@a/x".parse::<TargetUrl>().unwrap_err().to_string();
        assert!(error.contains("password_file") && !error.contains("hunter2"), "{error}");
        for text in [
            "https://a:x/?key=hunter2",
            "https://a:x/#hunter2",
            "https:/u:hunter2@a/x",
            "https://u:hunter2/2@a/x",
        ] {
            let error = text.parse::<TargetUrl>().unwrap_err().to_string();
            assert!(error.contains("not the URL") && !error.contains("hunter2"), "{error}");
        }
        let url: TargetUrl = "https://a/x?key=hunter2".parse().unwrap();
        assert_eq!(url.shown(), "https://a/x?…");
    }

    #[test]
    fn what_is_wrong_with_a_target_is_said() {
        let good = format!("name = \"a\", url = \"https://a/\", account_sid = \"{ACCOUNT}\"");
        let targets = read(&format!("[{{ {good} }}]")).unwrap();
        assert_eq!(targets.0.len(), 1);
        for (text, expected) in [
            ("a,b".to_owned(), "an array of tables"),
            ("[1]".to_owned(), "expected a table for each target"),
            ("[{ name = \"a\" }]".to_owned(), "a target lacks `url`"),
            (format!("[{{ {good} }}, {{ {good} }}]"), "two targets have the name `a`"),
            (format!("[{{ {good}, colour = 1 }}]"), "a target has no `colour`"),
            (format!("[{{ {good}, user = \"u\" }}]"), "go together"),
            (format!("[{{ {good}, user = \"u:x\", password_file = \"f\" }}]"), "no colon"),
            (format!("[{{ {good}, application_sids = [\"x\"] }}]"), "`x` is not a sid"),
            (format!("[{{ {good}, application_sids = \"x\" }}]"), "expected a list"),
            (good.replace(ACCOUNT, "all").replacen("name", "[{ name", 1) + " }]", "`all` is not"),
            (format!("[{{ {} }}]", good.replace("\"a\"", "\"a b\"")), "is no name"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(read(&format!("[{}]", "{}, ".repeat(4))).unwrap_err().contains("at most 3"));
    }
}
