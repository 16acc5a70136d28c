//! Tokens of jambonz: what rollcall does not know itself, jambonz's own API is asked about.
//!
//! A token that jambonz accepts for an account reads that account's calls here. Answers are kept for a
//! while, refusals too, so that most requests cost no question. There are no more questions than the
//! configuration says ([`budget`]), and never two at a time about the same token and account. While
//! jambonz cannot be asked, an accepted token may read on for a while; any other is told to come again, and
//! never that it is wrong: that would log people out of jambonz's portal.
//!
//! Architecture invariant: no answer opens more than what was asked about. An acceptance is of one token
//! and one account, or of one token and one service provider; it is only believed of an API that refuses a
//! token that does not exist, and that was seen to tell accounts apart or to know the token as an admin's; and
//! what a token says of itself only narrows it. Tokens are kept as their hashes, and stand in no error and no
//! line of the log.
//!
//! `question.rs` is one question and what its answer means, `claims.rs` what a token says of itself,
//! `answers.rs` what is remembered, `budget.rs` how much may be asked.

mod answers;
mod budget;
mod claims;
mod question;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use answers::{Answers, CheckedToken, Key};
use budget::{Budget, UsedUp};
use claims::Claims;
use question::Verdict;

use crate::access::TokenHash;
use crate::clock;
use crate::config::Upstream;
use crate::meter::{Meter, TokenAnswer, Unasked};
use crate::outbound::{Base, Client, ClientError, RequestError};

pub use question::{QUESTION, QuestionError, Subject};

/// A longer token is none of jambonz's.
const TOKEN_BYTES: usize = 4096;
/// How long nothing is asked after a question without an answer.
const PAUSE: Duration = Duration::from_secs(2);
/// The same for one token, where the answer about it does not count.
const TOKEN_PAUSE: Duration = Duration::from_secs(15);
/// How long it counts for accepted tokens that a made-up one was refused.
const PROOF: Duration = Duration::from_mins(1);
/// Time between two tries while there is no answer.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// Time between two lines of the log that say so.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Asks jambonz's API about tokens, and remembers what it says.
pub struct UpstreamAuth {
    api: Base,
    client: Client,
    timeout: Duration,
    meter: Arc<Meter>,
    state: Mutex<State>,
}

struct State {
    answers: Answers,
    budget: Budget,
    /// Questions that are being asked.
    asking: HashMap<Key, watch::Receiver<Option<Outcome>>>,
    /// Until when nothing is asked, and why.
    pause: Option<Pause>,
    /// The same for single tokens. Each of them has cost a question, so that there are never many.
    token_pauses: HashMap<TokenHash, Pause>,
    proofs: Proofs,
    /// It was seen that a token is good for some accounts and not for others.
    tells_accounts_apart: bool,
    /// When the log said last that there is no answer.
    said: Option<Instant>,
}

/// When a made-up token was sent last that was refused.
#[derive(Default)]
struct Proofs {
    of_account: Option<Instant>,
    of_provider: Option<Instant>,
}

type Outcome = Result<CheckedToken, Unavailable>;
type Pause = (Instant, Unasked);

/// What an accepted token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// A name of the token; it tells nothing of its value.
    pub id: String,
    pub subject: Subject,
    pub is_view_only: bool,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// jambonz does not know it.
    Unknown,
    /// It is not for these calls.
    Forbidden,
    Unavailable(Unavailable),
}

/// jambonz cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    pub why: Unasked,
    pub retry_after: Duration,
}

/// Why a check of the API did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Question(#[from] QuestionError),
}

impl UpstreamAuth {
    /// None where tokens of jambonz are not accepted.
    ///
    /// # Errors
    /// The file with the authorities cannot be read, or has no certificate.
    pub fn new(settings: &Upstream, meter: Arc<Meter>) -> Result<Option<Arc<Self>>, ClientError> {
        let Some(api) = settings.api_url.clone().filter(|_| settings.auth) else {
            return Ok(None);
        };
        meter.upstream.begin(&api.to_string());
        let now = Instant::now();
        let state = State {
            answers: Answers::new(settings.auth_cache, settings.auth_stale),
            budget: Budget::new(settings.auth_questions, settings.auth_address_questions, now),
            asking: HashMap::new(),
            pause: None,
            token_pauses: HashMap::new(),
            proofs: Proofs::default(),
            tells_accounts_apart: false,
            said: None,
        };
        Ok(Some(Arc::new(Self {
            api,
            client: client(settings)?,
            timeout: settings.auth_timeout,
            meter,
            state: Mutex::new(state),
        })))
    }

    /// What this token may do with these calls. `from` is the client's network. Where the request `changes`
    /// calls, an answer that is too old is not enough.
    ///
    /// # Errors
    /// It may nothing, or that cannot be known.
    pub async fn check(
        self: &Arc<Self>,
        token: &str,
        subject: Subject,
        from: Option<IpAddr>,
        changes: bool,
    ) -> Result<Grant, Denial> {
        if token.len() > TOKEN_BYTES {
            return Err(Denial::Unknown);
        }
        let key = (TokenHash::of(&in_one_case(token)), subject);
        let next = self.state.lock().next(key, from, Instant::now());
        let outcome = match next {
            Next::Checked(checked) => {
                self.meter.upstream.cached.inc();
                return checked.grant(key);
            }
            Next::Unavailable(unavailable) => Err(unavailable),
            Next::Wait(asking) => answer_of(asking).await,
            Next::Ask { answer, was_accepted } => {
                let asking = answer.subscribe();
                let question = Question { auth: self.clone(), key, was_accepted, answer };
                // It goes on without the client who has asked: others may wait for it.
                tokio::spawn(question.ask(token.to_owned()));
                answer_of(asking).await
            }
        };
        match outcome {
            Ok(known) => known.grant(key),
            Err(unavailable) => self.without_answer(key, unavailable, changes),
        }
    }

    /// What there is to say while jambonz cannot be asked.
    fn without_answer(
        &self,
        key: Key,
        unavailable: Unavailable,
        changes: bool,
    ) -> Result<Grant, Denial> {
        let now = Instant::now();
        let claims = self.state.lock().answers.stale(&key, now, clock::now());
        let Some(claims) = claims.filter(|_| !changes) else {
            self.meter.upstream.unavailable(unavailable.why);
            return Err(Denial::Unavailable(unavailable));
        };
        self.meter.upstream.stale.inc();
        CheckedToken { verdict: Verdict::Accepted, claims }.grant(key)
    }

    /// Sees at the start whether jambonz's API answers, and tries again while it does not. Without end.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let is_wanted = {
                let mut state = self.state.lock();
                let failing =
                    self.meter.upstream.state().is_some_and(|state| {
                        state.failing.is_some() || state.answered_at.is_none()
                    });
                let now = Instant::now();
                failing && !state.is_paused(now) && state.budget.take(now).is_ok()
            };
            if is_wanted {
                let proof = self.within_time(self.prove(question::nobody())).await;
                if let Err(error) = proof {
                    self.failed(&error, None);
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Asks; what accepts a token is seen to refuse one that does not exist.
    async fn ask(
        &self,
        token: &str,
        subject: Subject,
        was_accepted: bool,
    ) -> Result<Verdict, QuestionError> {
        let asked_at = Instant::now();
        let verdict = match question::ask(&self.client, &self.api, token, subject).await {
            Err(error) if error.may_be_of_one_token() => {
                // Either it answers everybody so, or it is for this token alone.
                self.state.lock().budget.owe(Instant::now());
                self.prove(subject).await?;
                return Err(error.of_one_token());
            }
            verdict => verdict?,
        };
        if verdict == Verdict::Unknown {
            return Ok(verdict);
        }
        // Of a token that was accepted before, and of a refusal, it is enough to have seen that lately.
        let is_new = verdict == Verdict::Accepted && !was_accepted;
        let since = if is_new { Some(asked_at) } else { asked_at.checked_sub(PROOF) };
        let is_proved = {
            let mut state = self.state.lock();
            let proof = *state.proofs.of(subject);
            let is_proved = proof.zip(since).is_some_and(|(proof, since)| proof >= since);
            if !is_proved {
                state.budget.owe(Instant::now());
            }
            is_proved
        };
        if !is_proved {
            self.prove(subject).await?;
        }
        if let Subject::Account(_) = subject {
            self.tell_accounts_apart(token, verdict, is_new).await?;
        }
        Ok(verdict)
    }

    /// Sees once that not every token opens every account, as in a jambonz before 0.8.3.
    async fn tell_accounts_apart(
        &self,
        token: &str,
        verdict: Verdict,
        is_new: bool,
    ) -> Result<(), QuestionError> {
        {
            let mut state = self.state.lock();
            state.tells_accounts_apart |= verdict == Verdict::Forbidden;
            if state.tells_accounts_apart || !is_new {
                return Ok(());
            }
            state.budget.owe(Instant::now());
        }
        let opens_all = question::opens_all(&self.client, &self.api, token).await?;
        self.meter.upstream.count(TokenAnswer::Proof);
        match opens_all {
            Some(true) => Err(QuestionError::OpensAll),
            Some(false) => {
                self.state.lock().tells_accounts_apart = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn prove(&self, subject: Subject) -> Result<(), QuestionError> {
        let asked_at = Instant::now();
        question::prove(&self.client, &self.api, subject).await?;
        *self.state.lock().proofs.of(subject) = Some(asked_at);
        self.answered(TokenAnswer::Proof);
        Ok(())
    }

    async fn within_time<T>(
        &self,
        question: impl Future<Output = Result<T, QuestionError>>,
    ) -> Result<T, QuestionError> {
        let late = || RequestError::Late { url: self.api.to_string(), time: self.timeout };
        let answer = tokio::time::timeout(self.timeout, question).await;
        answer.unwrap_or_else(|_| Err(late().into()))
    }

    fn answered(&self, answer: TokenAnswer) {
        if self.meter.upstream.answered(answer, clock::now()) {
            tracing::info!(api = %self.api, "jambonz's API answers questions about tokens again");
            self.state.lock().said = None;
        }
    }

    /// Notes that there is no answer about a token, if it was about one. Nothing is asked for a while; where
    /// that is for the token alone, nobody else is kept waiting.
    fn failed(&self, error: &QuestionError, token: Option<TokenHash>) -> Unavailable {
        let (answer, why, retry_after) = match error {
            QuestionError::Limited { retry_after }
            | QuestionError::LimitedToken { retry_after } => {
                (TokenAnswer::Limited, Unasked::Limited, *retry_after)
            }
            error if error.is_of_one_token() => (TokenAnswer::Failed, Unasked::Token, TOKEN_PAUSE),
            _ => (TokenAnswer::Failed, Unasked::Failed, PAUSE),
        };
        let text = error.to_string();
        let token = token.filter(|_| error.is_of_one_token());
        if token.is_some() {
            self.meter.upstream.count(answer);
        } else {
            self.meter.upstream.failed(answer, &text, clock::now());
        }
        let says = {
            let mut state = self.state.lock();
            let now = Instant::now();
            state.pause_until(now, (now + retry_after, why), token);
            let says = state.said.is_none_or(|said| said + SAY_AGAIN <= now);
            if says {
                state.said = Some(now);
            }
            says
        };
        let api = &self.api;
        match (token, says) {
            (None, true) => {
                tracing::warn!(%api, error = text, "jambonz's API cannot be asked about tokens");
            }
            (Some(_), true) => {
                tracing::warn!(%api, error = text, "a token could not be asked about");
            }
            (_, false) => {}
        }
        Unavailable { why, retry_after }
    }
}

impl State {
    fn is_paused(&self, now: Instant) -> bool {
        self.pause.is_some_and(|(until, _)| now < until)
    }

    /// Asks nothing until then, or nothing about this token.
    fn pause_until(&mut self, now: Instant, pause: Pause, token: Option<TokenHash>) {
        self.token_pauses.retain(|_, (until, _)| now < *until);
        match token {
            Some(token) => {
                self.token_pauses.insert(token, pause);
            }
            None => self.pause = self.pause.max(Some(pause)),
        }
    }

    /// Until when this token is not asked about, and why.
    fn paused(&self, token: TokenHash, now: Instant) -> Option<Pause> {
        let mut pauses = self.pause.iter().chain(self.token_pauses.get(&token));
        pauses.find(|(until, _)| now < *until).copied()
    }

    /// How a request comes to an answer.
    fn next(&mut self, key: Key, from: Option<IpAddr>, now: Instant) -> Next {
        if let Some(known) = self.answers.fresh(&key, now, clock::now()) {
            return Next::Checked(known);
        }
        if let Some(asking) = self.asking.get(&key) {
            return Next::Wait(asking.clone());
        }
        if let Some((until, why)) = self.paused(key.0, now) {
            return Next::Unavailable(Unavailable { why, retry_after: until - now });
        }
        let was_accepted = self.answers.was_accepted(&key);
        let taken =
            if was_accepted { self.budget.take(now) } else { self.budget.take_new(from, now) };
        match taken {
            Err(UsedUp::All(retry_after)) => {
                Next::Unavailable(Unavailable { why: Unasked::Budget, retry_after })
            }
            Err(UsedUp::OfAddress(retry_after)) => {
                Next::Unavailable(Unavailable { why: Unasked::AddressBudget, retry_after })
            }
            Ok(()) => {
                let (answer, asking) = watch::channel(None);
                self.asking.insert(key, asking);
                Next::Ask { answer, was_accepted }
            }
        }
    }
}

/// How a request comes to an answer.
enum Next {
    Checked(CheckedToken),
    Unavailable(Unavailable),
    /// Somebody else has asked the same.
    Wait(watch::Receiver<Option<Outcome>>),
    Ask {
        answer: watch::Sender<Option<Outcome>>,
        was_accepted: bool,
    },
}

async fn answer_of(mut asking: watch::Receiver<Option<Outcome>>) -> Outcome {
    let answered = asking.wait_for(Option::is_some).await;
    let failed = Unavailable { why: Unasked::Failed, retry_after: PAUSE };
    answered.ok().and_then(|outcome| *outcome).unwrap_or(Err(failed))
}

impl Proofs {
    fn of(&mut self, subject: Subject) -> &mut Option<Instant> {
        match subject {
            Subject::Account(_) => &mut self.of_account,
            Subject::ServiceProvider(_) => &mut self.of_provider,
        }
    }
}

/// A question on its way. When it ends, whatever ends it, another one may be asked.
struct Question {
    auth: Arc<UpstreamAuth>,
    key: Key,
    was_accepted: bool,
    answer: watch::Sender<Option<Outcome>>,
}

impl Question {
    async fn ask(self, token: String) {
        let (auth, (hash, subject)) = (&self.auth, self.key);
        let answer = auth.within_time(auth.ask(&token, subject, self.was_accepted)).await;
        let known = answer.and_then(|verdict| {
            let claims = Claims::of(&token);
            let is_over = verdict == Verdict::Accepted && claims.expired(clock::now());
            if is_over { Err(QuestionError::Ended) } else { Ok(CheckedToken { verdict, claims }) }
        });
        let outcome = match known {
            Err(error) => Err(auth.failed(&error, Some(hash))),
            Ok(known) => {
                let verdict = known.verdict;
                auth.answered(match verdict {
                    Verdict::Accepted => TokenAnswer::Accepted,
                    Verdict::Forbidden => TokenAnswer::Forbidden,
                    Verdict::Unknown => TokenAnswer::Unknown,
                });
                let remembered = {
                    let mut state = auth.state.lock();
                    state.answers.learn(self.key, known, Instant::now());
                    state.answers.len()
                };
                let remembered = i64::try_from(remembered).unwrap_or(i64::MAX);
                auth.meter.upstream.remembered.set(remembered);
                Ok(known)
            }
        };
        self.answer.send_replace(Some(outcome));
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.auth.state.lock().asking.remove(&self.key);
    }
}

impl CheckedToken {
    fn grant(self, (hash, subject): Key) -> Result<Grant, Denial> {
        match self.verdict {
            Verdict::Unknown => Err(Denial::Unknown),
            Verdict::Forbidden => Err(Denial::Forbidden),
            Verdict::Accepted => Ok(Grant {
                id: format!("jambonz-{}", hash.beginning()),
                subject,
                is_view_only: self.claims.is_view_only,
            }),
        }
    }
}

/// The token as jambonz's database compares keys, in either case: one key is not many tokens.
fn in_one_case(token: &str) -> Cow<'_, str> {
    match Uuid::try_parse(token) {
        Ok(_) => token.to_ascii_lowercase().into(),
        Err(_) => token.into(),
    }
}

fn client(settings: &Upstream) -> Result<Client, ClientError> {
    let time = settings.auth_timeout;
    Client::new(settings.ca.as_deref(), "upstream.ca", time, time)
}

/// Tries whether jambonz's API is there and refuses a token that does not exist.
///
/// # Errors
/// It is not, or does not.
pub async fn check(settings: &Upstream, api: &Base) -> Result<(), CheckError> {
    let client = client(settings)?;
    let time = settings.auth_timeout;
    let proof = tokio::time::timeout(time, question::prove(&client, api, question::nobody())).await;
    let late = || RequestError::Late { url: api.to_string(), time };
    proof.unwrap_or_else(|_| Err(late().into()))?;
    Ok(())
}
