//! What jambonz has said of tokens, for as long as it counts.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::claims::Claims;
use super::question::{Subject, Verdict};
use crate::access::TokenHash;
use crate::domain::Timestamp;

/// Answers that are remembered, and as many tokens that jambonz does not know.
const REMEMBERED_MAX: usize = 10_000;

/// A token, and whose calls it was asked about.
pub(super) type Key = (TokenHash, Subject);

/// What is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckedToken {
    pub verdict: Verdict,
    pub claims: Claims,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    known: CheckedToken,
    at: Instant,
}

/// Answers by token and account. That jambonz does not know a token is known by the token alone.
#[derive(Debug)]
pub(super) struct Answers {
    cache: Duration,
    stale: Duration,
    most: usize,
    by_account: HashMap<Key, Answer>,
    unknown: HashMap<TokenHash, Answer>,
}

impl Answers {
    /// Those that count for `cache`, and accepted ones for `stale` longer where there is no other.
    pub fn new(cache: Duration, stale: Duration) -> Self {
        let most = REMEMBERED_MAX;
        Self { cache, stale, most, by_account: HashMap::new(), unknown: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.by_account.len() + self.unknown.len()
    }

    /// What counts now without a question.
    pub fn fresh(&self, key: &Key, now: Instant, clock: Timestamp) -> Option<CheckedToken> {
        let answer = self.unknown.get(&key.0).or_else(|| self.by_account.get(key))?;
        let is_over = answer.known.claims.expired(clock) && answer.is_accepted();
        (answer.at + self.cache > now && !is_over).then_some(answer.known)
    }

    /// What a token that was accepted says of itself, where that has to do without a question.
    pub fn stale(&self, key: &Key, now: Instant, clock: Timestamp) -> Option<Claims> {
        let answer = self.by_account.get(key).filter(|answer| answer.is_accepted())?;
        let claims = answer.known.claims;
        let is_young = answer.at + self.cache + self.stale > now;
        (is_young && !claims.expired(clock)).then_some(claims)
    }

    /// Whether a token was accepted last, as far as that is remembered.
    pub fn was_accepted(&self, key: &Key) -> bool {
        self.by_account.get(key).is_some_and(Answer::is_accepted)
    }

    /// Remembers an answer.
    pub fn learn(&mut self, key: Key, known: CheckedToken, now: Instant) {
        let (cache, both) = (self.cache, self.cache + self.stale);
        let counts =
            |answer: &Answer| answer.at + if answer.is_accepted() { both } else { cache } > now;
        self.by_account.retain(|_, answer| counts(answer));
        self.unknown.retain(|_, answer| counts(answer));
        let answer = Answer { known, at: now };
        if known.verdict == Verdict::Unknown {
            self.by_account.retain(|(hash, _), _| *hash != key.0);
            put(&mut self.unknown, self.most, key.0, answer);
        } else {
            self.unknown.remove(&key.0);
            put(&mut self.by_account, self.most, key, answer);
        }
    }
}

impl Answer {
    fn is_accepted(&self) -> bool {
        self.known.verdict == Verdict::Accepted
    }
}

/// Puts an answer into the place of the one that is missed least where there is no room: a refusal, or else
/// the oldest.
fn put<K: Copy + Eq + std::hash::Hash>(
    answers: &mut HashMap<K, Answer>,
    most: usize,
    key: K,
    answer: Answer,
) {
    if answers.len() >= most && !answers.contains_key(&key) {
        let least = answers.iter().min_by_key(|(_, answer)| (answer.is_accepted(), answer.at));
        if let Some(least) = least.map(|(key, _)| *key) {
            answers.remove(&least);
        }
    }
    answers.insert(key, answer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AccountSid;

    const CACHE: Duration = Duration::from_mins(1);
    const STALE: Duration = Duration::from_mins(5);
    const KEY: Claims = Claims { expires_at: None, is_view_only: false };
    const ACCEPTED: CheckedToken = CheckedToken { verdict: Verdict::Accepted, claims: KEY };
    const FORBIDDEN: CheckedToken = CheckedToken { verdict: Verdict::Forbidden, claims: KEY };
    const UNKNOWN: CheckedToken = CheckedToken { verdict: Verdict::Unknown, claims: KEY };

    fn key(token: &str, account: u8) -> Key {
        (TokenHash::of(token), Subject::Account(AccountSid::from_bytes([account; 16])))
    }

    fn second() -> Duration {
        Duration::from_secs(1)
    }

    #[test]
    fn an_answer_is_of_one_token_and_one_account_and_counts_for_its_time() {
        let (now, clock) = (Instant::now(), Timestamp::default());
        let mut answers = Answers::new(CACHE, STALE);
        answers.learn(key("a", 1), ACCEPTED, now);
        answers.learn(key("a", 2), FORBIDDEN, now);
        let fresh = |key, at| answers.fresh(&key, at, clock);
        let last = now + CACHE - second();
        assert_eq!(fresh(key("a", 1), last), Some(ACCEPTED));
        assert_eq!(fresh(key("a", 2), last), Some(FORBIDDEN));
        assert_eq!(fresh(key("a", 3), now), None);
        assert_eq!(fresh(key("b", 1), now), None);
        assert_eq!(fresh(key("a", 1), now + CACHE), None);
        assert_eq!(fresh(key("a", 2), now + CACHE), None);
        let stale = |key, at| answers.stale(&key, at, clock);
        let last = now + CACHE + STALE - second();
        assert_eq!(stale(key("a", 1), last), Some(KEY));
        assert_eq!(stale(key("a", 1), now + CACHE + STALE), None);
        assert_eq!(stale(key("a", 2), now), None, "a refusal opens nothing");
    }

    #[test]
    fn a_token_that_jambonz_does_not_know_any_more_is_unknown_for_every_account() {
        let (now, clock) = (Instant::now(), Timestamp::default());
        let mut answers = Answers::new(CACHE, STALE);
        answers.learn(key("a", 1), ACCEPTED, now);
        answers.learn(key("b", 1), ACCEPTED, now);
        answers.learn(key("a", 2), UNKNOWN, now);
        for account in [1, 2, 3] {
            assert_eq!(answers.fresh(&key("a", account), now, clock), Some(UNKNOWN));
            assert_eq!(answers.stale(&key("a", account), now, clock), None);
        }
        assert_eq!(answers.fresh(&key("b", 1), now, clock), Some(ACCEPTED));
        answers.learn(key("a", 1), ACCEPTED, now);
        assert_eq!(answers.fresh(&key("a", 1), now, clock), Some(ACCEPTED));
    }

    #[test]
    fn no_answer_counts_beyond_the_end_of_its_token() {
        let now = Instant::now();
        let end = Timestamp::from_millis(5000).unwrap();
        let claims = Claims { expires_at: Some(end), is_view_only: false };
        let mut answers = Answers::new(CACHE, STALE);
        answers.learn(key("a", 1), CheckedToken { claims, ..ACCEPTED }, now);
        let before = end.minus_millis(1);
        assert!(answers.fresh(&key("a", 1), now, before).is_some());
        assert!(answers.stale(&key("a", 1), now, before).is_some());
        assert_eq!(answers.fresh(&key("a", 1), now, end), None);
        assert_eq!(answers.stale(&key("a", 1), now, end), None);
    }

    #[test]
    fn there_are_never_more_than_so_many_and_accepted_tokens_stay_longest() {
        let now = Instant::now();
        let mut answers = Answers { most: 20, ..Answers::new(CACHE, STALE) };
        answers.learn(key("good", 1), ACCEPTED, now);
        for n in 0..25 {
            answers.learn(key(&n.to_string(), 1), FORBIDDEN, now);
        }
        assert_eq!(answers.by_account.len(), 20);
        assert!(answers.was_accepted(&key("good", 1)));
        for n in 0..25 {
            answers.learn(key(&n.to_string(), 2), UNKNOWN, now);
        }
        assert_eq!(answers.len(), 21);
        answers.learn(key("last", 1), FORBIDDEN, now + CACHE);
        assert_eq!(answers.len(), 2, "what does not count any more is forgotten");
    }
}
