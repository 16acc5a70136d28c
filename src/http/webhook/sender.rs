//! Who sends events. jambonz signs every webhook and may send a user and a password besides; a proxy
//! may add a token. A request is who any valid credential on it says it is, and one that cannot be
//! checked or does not verify hides no other.
//!
//! What the head tells is known before the body is read: tokens, passwords, and signatures that
//! cannot be right. A sender that cannot be authenticated any more is refused by then. A signature
//! is checked over the body as it came, and before more than the first account in it is looked at.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

use crate::access::TokenScope;
use crate::domain::{AccountSid, StampedEvent, Timestamp};
use crate::http::ApiContext;
use crate::http::auth::{AUTHORIZATION_EXPECTED, Action, Authorization, Principal};
use crate::http::body_budget::BodyOwner;
use crate::http::error::{ApiError, Why};
use crate::http::request::ApiRequest;
use crate::logs;
use crate::meter::Cause;
use crate::wire::first_account;

const SIGNATURE: HeaderName = HeaderName::from_static("jambonz-signature");
/// How far a signature's time may be from this machine's clock, in seconds.
const SIGNATURE_SECONDS: u64 = 5 * 60;
/// Signatures of one request; each costs a look at the whole body.
const SIGNATURES_MAX: usize = 4;
/// Digests of one signature.
const DIGESTS_MAX: usize = 8;
/// Bytes of HMAC-SHA256.
const DIGEST_BYTES: usize = 32;

/// What the credentials of a request come to.
#[derive(Debug, Default)]
pub(super) struct HookSender {
    /// Authenticated by their own users and passwords.
    accounts: Vec<AccountSid>,
    /// Authenticated by tokens.
    tokens: Vec<Principal>,
    /// Authenticated by the signature of the body.
    signer: Option<AccountSid>,
    /// To be checked over the body.
    signatures: Vec<Signature>,
    faults: Vec<CredentialError>,
    /// Whose passwords are wrong.
    users: Vec<String>,
}

/// What is wrong with one credential.
#[derive(Debug, Clone, Copy)]
struct CredentialError {
    cause: Cause,
    account: Option<AccountSid>,
    /// What is expected of a header field that cannot be read at all.
    expected: Option<&'static str>,
}

impl HookSender {
    /// What the head says. An error where no sender can be authenticated any more.
    pub fn of_head(request: &ApiRequest<'_>, now: Timestamp) -> Result<Self, ApiError> {
        let mut sender = Self::default();
        sender.read_signatures(request.context, request.headers, now);
        for authorization in &request.authorizations {
            sender.read_authorization(request.context, authorization);
        }
        if sender.is_authenticated() {
            if sender.signatures.is_empty() {
                sender.may_ingest()?;
            }
        } else if sender.signatures.is_empty() {
            return Err(sender.error());
        }
        Ok(sender)
    }

    /// Whether any credential is valid.
    pub fn is_authenticated(&self) -> bool {
        !self.accounts.is_empty() || !self.tokens.is_empty() || self.signer.is_some()
    }

    /// The account that it is authenticated as, if it is one.
    pub fn account(&self) -> Option<AccountSid> {
        let of_token = self.tokens.first().and_then(|token| match token.scope {
            TokenScope::Account(account) => Some(account),
            _ => None,
        });
        self.accounts.first().copied().or(self.signer).or(of_token)
    }

    /// Whose memory for bodies it takes.
    pub fn owner(&self, network: Option<std::net::IpAddr>) -> BodyOwner {
        match (self.accounts.first(), self.tokens.first()) {
            (Some(account), _) => BodyOwner::Account(*account),
            (None, Some(token)) => match token.scope {
                TokenScope::Account(account) => BodyOwner::Account(account),
                TokenScope::ServiceProvider(provider) => BodyOwner::Provider(provider),
                TokenScope::Admin => BodyOwner::Token(token.id.clone()),
            },
            (None, None) => BodyOwner::Unauthenticated(network),
        }
    }

    fn fault(&mut self, cause: Cause, account: Option<AccountSid>) {
        self.faults.push(CredentialError { cause, account, expected: None });
    }

    fn unreadable(&mut self, cause: Cause, expected: &'static str) {
        self.faults.push(CredentialError { cause, account: None, expected: Some(expected) });
    }

    fn read_signatures(&mut self, context: &ApiContext, headers: &HeaderMap, now: Timestamp) {
        let checkable = context.store.access(crate::access::Access::any_webhook_secret);
        let values = headers.get_all(SIGNATURE).iter().take(SIGNATURES_MAX);
        let values =
            values.flat_map(|value| value.to_str().map_or(vec![None], Signature::separate));
        for value in values.take(SIGNATURES_MAX) {
            let Some(signature) = value.as_deref().and_then(Signature::parse) else {
                self.unreadable(Cause::SignatureMalformed, Signature::EXPECTED);
                continue;
            };
            if signature.seconds.abs_diff(now.millis() / 1000) > SIGNATURE_SECONDS {
                self.fault(Cause::SignatureTime, None);
            } else if signature.digests.iter().all(|digest| digest.len() != DIGEST_BYTES) {
                self.fault(Cause::SignatureWrong, None);
            } else if !checkable {
                self.fault(Cause::NoSecret, None);
            } else {
                self.signatures.push(signature);
            }
        }
    }

    fn read_authorization(&mut self, context: &ApiContext, authorization: &Authorization<'_>) {
        match authorization {
            Authorization::Empty => {}
            Authorization::Malformed => {
                self.unreadable(Cause::AuthorizationMalformed, AUTHORIZATION_EXPECTED);
            }
            Authorization::Basic(credentials) => self.read_basic(context, credentials),
            Authorization::Bearer(_, Some(token)) => {
                logs::note_token(&token.id);
                self.tokens.push(token.clone());
            }
            Authorization::Bearer(_, None) => self.fault(Cause::UnknownToken, None),
            Authorization::Other => self.fault(Cause::OtherScheme, None),
        }
    }

    /// The account whose hook user and password these are (RFC 7617).
    fn read_basic(&mut self, context: &ApiContext, value: &str) {
        let decoded = BASE64.decode(value.as_bytes()).ok();
        let text = decoded.and_then(|decoded| String::from_utf8(decoded).ok());
        let Some((user, password)) = text.as_deref().and_then(|text| text.split_once(':')) else {
            return self.fault(Cause::AuthorizationMalformed, None);
        };
        let (account, right) = context.store.access(|access| {
            let account = access.account_by_hook_user(user);
            let right = account.and_then(|account| account.hook_password.as_ref());
            let right = right.is_some_and(|right| right.matches(password));
            (account.map(|account| account.account_sid), right)
        });
        if let Some(account) = account.filter(|_| right) {
            return self.accounts.push(account);
        }
        let cause = if account.is_some() { Cause::WrongPassword } else { Cause::UnknownUser };
        self.fault(cause, account);
        self.users.push(user.to_owned());
    }

    /// Checks the signatures over the body as it came. 401 where no sender is valid then.
    pub fn check_body(&mut self, context: &ApiContext, body: &[u8]) -> Result<(), ApiError> {
        if !self.signatures.is_empty() {
            match first_account(body) {
                Some(account) => self.check_signatures(context, account, body),
                None => self.fault(Cause::NoAccount, None),
            }
        }
        if !self.is_authenticated() {
            return Err(self.error());
        }
        if self.signer.is_none() && self.accounts.is_empty() {
            self.may_ingest()?;
        }
        Ok(())
    }

    fn check_signatures(&mut self, context: &ApiContext, account: AccountSid, body: &[u8]) {
        let secret = context
            .store
            .access(|access| access.account(account).map(|known| known.webhook_secret.clone()));
        let secret = match secret {
            None => return self.fault(Cause::NotRegistered, Some(account)),
            Some(None) => return self.fault(Cause::NoSecret, Some(account)),
            Some(Some(secret)) => secret,
        };
        let right = |signature: &Signature| {
            secret.signs(&[signature.time.as_bytes(), b".", body], &signature.digests)
        };
        if self.signatures.iter().any(right) {
            self.signer = Some(account);
        } else {
            self.fault(Cause::SignatureWrong, Some(account));
        }
    }

    fn may_ingest(&self) -> Result<(), ApiError> {
        let why = |_| Why::of(self.account(), Cause::Role);
        let mut refused = Ok(());
        for token in &self.tokens {
            match token.may(Action::Ingest) {
                Ok(()) => return Ok(()),
                Err(error) => refused = Err(error.or_because(why)),
            }
        }
        refused
    }

    /// Whether every credential that is valid may bring all of these.
    pub fn may_bring(&self, context: &ApiContext, events: &[StampedEvent]) -> Result<(), ApiError> {
        let names: Vec<_> = self.accounts.iter().copied().chain(self.signer).collect();
        let two = "insufficient permissions: the request's credentials name different accounts";
        let differ = names.windows(2).any(|pair| pair.first() != pair.last());
        let reached = |account: &AccountSid| {
            self.tokens.iter().all(|token| token.reaches(context, *account).is_ok())
        };
        if differ || !names.iter().all(reached) {
            return Err(
                ApiError::forbidden(two).because(Why::of(self.account(), Cause::TwoAccounts))
            );
        }
        let other = |error: ApiError| error.because(Why::of(self.account(), Cause::OtherAccount));
        for event in events {
            let account = event.id.account;
            if names.iter().any(|own| *own != account) {
                return Err(other(ApiError::forbidden(
                    "insufficient permissions: these credentials bring events of one account alone",
                )));
            }
            for token in &self.tokens {
                token.reaches(context, account).map_err(other)?;
            }
        }
        Ok(())
    }

    /// What was wrong with credentials beside the valid one; none where nothing was. A signature
    /// that cannot be checked is no fault there.
    pub fn beside(&self) -> Option<Why> {
        let harmless = [Cause::NoSecret, Cause::NoAccount, Cause::NotRegistered];
        let mut causes: Vec<_> = self.faults.iter().map(|fault| fault.cause).collect();
        causes.retain(|cause| !harmless.contains(cause));
        causes.sort_unstable();
        let account = self.account();
        let users = self.users.clone();
        let why = Why { causes, account, users, ..Why::default() };
        (!why.causes.is_empty()).then_some(why)
    }

    /// Why no sender is authenticated.
    pub fn why(&self) -> Why {
        let mut faults = self.faults.clone();
        faults.sort_by_key(|fault| fault.cause);
        let mut causes: Vec<_> = faults.iter().map(|fault| fault.cause).collect();
        causes.dedup();
        if causes.is_empty() {
            causes.push(Cause::NoCredentials);
        }
        let account = faults.iter().find_map(|fault| fault.account);
        let mut unregistered = faults.iter().filter(|fault| fault.cause == Cause::NotRegistered);
        let unregistered = unregistered.next().and_then(|fault| fault.account);
        let users = self.users.clone();
        Why { causes, account, unregistered, users, unauthenticated: true, detail: None }
    }

    /// 400 where no credential can be read, else 401.
    fn error(&self) -> ApiError {
        let expected: Option<Vec<_>> = self.faults.iter().map(|fault| fault.expected).collect();
        let error = if let Some([first, ..]) = expected.as_deref() {
            ApiError::bad(*first)
        } else {
            let plain = [Cause::WrongPassword, Cause::UnknownUser, Cause::OtherScheme];
            ApiError::unauthorized(self.faults.iter().any(|one| !plain.contains(&one.cause)))
        };
        error.because(self.why())
    }
}

/// Names the account of a signed request that was refused before its body, where no account has a secret.
/// `begin` is what came of the body after all; it is for the log and the figures, and decides nothing.
pub(in crate::http) fn name_account(context: &ApiContext, error: &mut ApiError, begin: &[u8]) {
    let Some(why) = error.why_mut() else { return };
    let Some(cause) = why.causes.iter_mut().find(|cause| **cause == Cause::NoSecret) else {
        return;
    };
    if why.account.is_some() {
        return;
    }
    let Some(account) = first_account(begin) else { return };
    why.account = Some(account);
    if context.store.access(|access| access.account(account).is_none()) {
        *cause = Cause::NotRegistered;
        why.unregistered = Some(account);
        why.causes.sort_unstable();
    }
}

/// Whether a request brings any credentials.
pub(in crate::http) fn presented(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key(SIGNATURE)
}

/// `t=<unix seconds>,v1=<hex>[,v1=<hex>…]`
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct Signature {
    pub seconds: u64,
    /// As it was sent: it is part of what is signed.
    pub time: String,
    pub digests: Vec<Vec<u8>>,
}

impl Signature {
    const EXPECTED: &str =
        "Jambonz-Signature: expected t=<unix seconds>,v1=<64 hexadecimal digits>";

    /// The signatures of a header field: a program on the way may have joined two fields by a comma. Each
    /// begins with its time.
    fn separate(field: &str) -> Vec<Option<String>> {
        let is_time = |part: &&str| part.starts_with("t=");
        let mut all: Vec<Vec<&str>> = Vec::new();
        for part in field.split(',').map(str::trim) {
            match all.last_mut() {
                Some(last) if !is_time(&part) || !last.iter().any(is_time) => last.push(part),
                _ => all.push(vec![part]),
            }
        }
        all.into_iter().map(|parts| Some(parts.join(","))).collect()
    }

    /// None where it has no time or no digest. A digest that cannot be read hides no other.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut time, mut digests) = (None, Vec::new());
        for part in text.split(',') {
            match part.trim().split_once('=')? {
                ("t", value) => time = Some(value.to_owned()),
                ("v1", value) => digests.extend(HEXLOWER_PERMISSIVE.decode(value.as_bytes())),
                _ => {}
            }
        }
        let time = time?;
        let seconds = time.parse().ok()?;
        let within = (1..=DIGESTS_MAX).contains(&digests.len());
        within.then_some(Self { seconds, time, digests })
    }
}
