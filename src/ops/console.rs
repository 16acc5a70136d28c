//! Links that sign in at the console: made by an admin at a shell, good once and for a minute.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use parking_lot::Mutex;

use super::certificates::certificates;
use super::settings::apply;
use super::tokens::{self, removal};
use super::{AdminContext, AdminReply, Failure, NewScope, NewToken};
use crate::access::{Role, Secret, TokenHash, TokenScope};
use crate::clock;
use crate::intake::Intake;

/// How long a link is good for.
const LINK_TIME: Duration = Duration::from_mins(1);
/// Links that may be open at a time; one more ends the oldest.
const LINKS_MAX: usize = 32;
/// How long what a link opens lasts, in seconds.
const TOKEN_SECONDS: u64 = 12 * 3600;
const CODE_BYTES: usize = 32;

/// Where an address is looked for that a browser can use.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct NewLink {
    /// Who asks, as the name of the token will say.
    pub user: String,
    /// The browser is on another machine.
    pub is_remote: bool,
    /// The address of the console's server, such as `https://calls.example.com`, where it is known better.
    pub url: Option<String>,
}

/// A link that signs in.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct SignInLink {
    pub url: String,
    pub seconds: u64,
    /// Why a browser may not get there, or will warn.
    pub note: Option<String>,
    /// Of the server's certificate, in hexadecimal digits, where rollcall made it.
    pub certificate_sha256: Option<String>,
    /// The authority that a browser is to trust, where rollcall made it.
    pub authority: Option<std::path::PathBuf>,
}

impl fmt::Debug for SignInLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInLink(***)")
    }
}

/// The codes of links that were not used yet. They live as long as the process.
#[derive(Clone, Default)]
pub struct SignInCodes(Arc<Mutex<Vec<OpenCode>>>);

struct OpenCode {
    hash: TokenHash,
    user: String,
    ends: Instant,
}

impl fmt::Debug for SignInCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInCodes(***)")
    }
}

impl SignInCodes {
    /// A new code of this user.
    fn make(&self, user: &str, now: Instant) -> std::io::Result<String> {
        let mut random = [0; CODE_BYTES];
        crate::random::fill(&mut random)?;
        let code = BASE64URL_NOPAD.encode(&random);
        let mut codes = self.0.lock();
        codes.retain(|open| open.ends > now);
        if codes.len() >= LINKS_MAX {
            codes.remove(0);
        }
        let (hash, user) = (TokenHash::of(&code), user.to_owned());
        codes.push(OpenCode { hash, user, ends: now + LINK_TIME });
        Ok(code)
    }

    /// Whose code it is. It is not good any more afterwards.
    pub fn take(&self, code: &Secret, now: Instant) -> Option<String> {
        let hash = TokenHash::of(code.reveal());
        let mut codes = self.0.lock();
        codes.retain(|open| open.ends > now);
        let at = codes.iter().position(|open| open.hash.matches(&hash))?;
        Some(codes.remove(at).user)
    }
}

/// Makes a link.
pub(super) fn link(context: &AdminContext, new: &NewLink) -> Result<AdminReply, Failure> {
    if context.started_at.is_none() {
        return Err(Failure::new(
            "no server is running, and so there is no console: start `rollcall serve`",
        ));
    }
    let Some(codes) = &context.sign_in_codes else {
        return Err(Failure::new("the console is off: console.enabled is false"));
    };
    let (base, note) = match &new.url {
        Some(url) => (checked_base(url)?, None),
        None => base(context, new.is_remote)?,
    };
    let code = codes.make(&new.user, Instant::now())?;
    let own = certificates(context).certificates;
    let made = own.first().filter(|own| own.made);
    Ok(AdminReply::SignInLink(SignInLink {
        url: format!("{base}/console/sign-in#code={code}"),
        seconds: LINK_TIME.as_secs(),
        note,
        certificate_sha256: made.map(|own| own.sha256.clone()),
        authority: made.and_then(|_| {
            let is_authority = |one: &&super::CertificateInfo| {
                one.made && one.part == super::CertificateRole::Authority
            };
            own.iter().find(is_authority).map(|one| one.file.clone())
        }),
    }))
}

fn checked_base(url: &str) -> Result<String, Failure> {
    let base = url.trim_end_matches('/');
    let host = base.strip_prefix("https://").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(Failure::usage(format!(
            "--url {url:?}: expected https:// and a host, such as https://calls.example.com"
        )));
    }
    Ok(base.to_owned())
}

/// Where a browser reaches the HTTPS listener under a name that the certificate is for, and what is to be said
/// about that.
fn base(context: &AdminContext, is_remote: bool) -> Result<(String, Option<String>), Failure> {
    let mut urls = context.listeners.iter().filter_map(|one| one.url.strip_prefix("https://"));
    let (host, port) = urls
        .find_map(|address| address.rsplit_once(':'))
        .ok_or_else(|| Failure::new("no HTTPS listener is open"))?;
    let own = certificates(context).certificates;
    let names = own.first().map(|own| own.names.clone()).unwrap_or_default();
    let (host, note) = chosen(host, &names, is_remote);
    Ok((format!("https://{host}:{port}"), note))
}

/// The host of a link: `bound` is where the server listens, `names` what its certificate is for.
fn chosen(bound: &str, names: &[String], is_remote: bool) -> (String, Option<String>) {
    let ip: Option<IpAddr> = bound.trim_matches(['[', ']']).parse().ok();
    let is_any = ip.is_some_and(|ip| ip.is_unspecified());
    let is_local =
        |name: &str| name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let is_loopback = is_local(bound.trim_matches(['[', ']']));
    let usable = |name: &&String| {
        let at = name.parse::<IpAddr>().ok();
        let reaches = is_any || at.is_none() || at == ip || is_loopback && is_local(name);
        !name.starts_with('*') && reaches && (!is_local(name) || is_any || is_loopback)
    };
    let mut usable: Vec<&String> = names.iter().filter(usable).collect();
    // A name goes before an address.
    usable.sort_by_key(|name| name.parse::<IpAddr>().is_ok());
    let local = || usable.iter().find(|name| is_local(name));
    let elsewhere = || usable.iter().find(|name| !is_local(name));
    let found = if is_loopback || !is_remote {
        local().or_else(elsewhere)
    } else {
        elsewhere().or_else(local)
    };
    let Some(name) = found else {
        let note = format!(
            "the certificate is for {}, and not for {bound}: a browser will warn; set tls.names, or give \
             --url https://HOST",
            names.join(", ")
        );
        return (bound.to_owned(), Some(note));
    };
    let note = (is_remote && is_local(name)).then(|| {
        "the link is for a browser on this machine; for another one forward the port (ssh -L), or set \
         listen and tls.names"
            .to_owned()
    });
    let is_v6 = name.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6());
    (if is_v6 { format!("[{name}]") } else { (*name).clone() }, note)
}

/// Makes the token that a link opens: that of an admin, for some hours. Those of the same user whose time is
/// over go.
pub fn token_of_link(intake: &Intake, user: &str) -> Result<(String, Secret), Failure> {
    let store = intake.store();
    let name = format!("console of {user}");
    let now = clock::now();
    let over: Vec<String> = store.access(|access| {
        let own = access.tokens().filter(|token| token.name.as_deref() == Some(&*name));
        own.filter(|token| token.expired(now)).map(|token| token.id.clone()).collect()
    });
    if !over.is_empty() {
        let _one_at_a_time = store.settings();
        apply(intake, &over.iter().flat_map(|id| removal(id)).collect::<Vec<_>>())?;
    }
    let new = NewToken {
        scope: NewScope::Known(TokenScope::Admin),
        role: Role::Full,
        name: Some(name),
        expires_in: Some(TOKEN_SECONDS),
        value: None,
    };
    match tokens::create(intake, new, &mut |_| Ok(()))? {
        AdminReply::Token { id, value } => Ok((id, Secret::new(value))),
        _ => Err(Failure::new("no token was made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_and_for_a_minute() {
        let codes = SignInCodes::default();
        let now = Instant::now();
        let [one, two] = ["anna", "ben"].map(|user| codes.make(user, now).unwrap());
        assert!(one != two && one.len() > 40);
        assert_eq!(codes.take(&Secret::new("x"), now), None);
        assert_eq!(codes.take(&Secret::new(two.clone()), now).as_deref(), Some("ben"));
        assert_eq!(codes.take(&Secret::new(two), now), None);
        assert_eq!(codes.take(&Secret::new(one), now + LINK_TIME), None, "its minute is over");
        let first = codes.make("anna", now).unwrap();
        for _ in 0..LINKS_MAX {
            codes.make("anna", now).unwrap();
        }
        assert_eq!(codes.take(&Secret::new(first), now), None);
        assert_eq!(codes.0.lock().len(), LINKS_MAX);
        assert_eq!(format!("{codes:?}"), "SignInCodes(***)");
    }

    #[test]
    fn a_link_has_a_host_that_the_certificate_is_for() {
        let made = ["127.0.0.1", "::1", "localhost"].map(str::to_owned).to_vec();
        let named = [&made[..], &["10.0.0.5".to_owned(), "calls.example.com".to_owned()]].concat();
        let own = vec!["*.example.com".to_owned(), "calls.example.com".to_owned()];
        for (bound, names, is_remote, expected, noted) in [
            ("127.0.0.1", &made, false, "localhost", false),
            ("127.0.0.1", &named, true, "localhost", true),
            ("[::1]", &made, false, "localhost", false),
            ("0.0.0.0", &made, false, "localhost", false),
            ("0.0.0.0", &made, true, "localhost", true),
            ("0.0.0.0", &named, true, "calls.example.com", false),
            ("[::]", &named, false, "localhost", false),
            ("10.0.0.5", &named, false, "calls.example.com", false),
            ("10.0.0.5", &made, false, "10.0.0.5", true),
            ("10.0.0.6", &own, true, "calls.example.com", false),
            ("127.0.0.1", &own, false, "calls.example.com", false),
            ("127.0.0.1", &vec!["::1".to_owned()], false, "[::1]", false),
            ("10.0.0.5", &Vec::new(), false, "10.0.0.5", true),
        ] {
            let (host, note) = chosen(bound, names, is_remote);
            assert_eq!((host.as_str(), note.is_some()), (expected, noted), "{bound} {names:?}");
        }
    }

    #[test]
    fn an_address_of_ones_own_is_one_of_https() {
        assert_eq!(checked_base("https://a.example/").unwrap(), "https://a.example");
        for wrong in
            ["http://a", "a.example", "https://", "https://a/b", "https://a b", "https://a#"]
        {
            assert!(checked_base(wrong).is_err(), "{wrong}");
        }
    }
}
