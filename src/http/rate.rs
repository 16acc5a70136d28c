//! How many requests a token may send.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::HeaderName;
use http::header::HeaderValue;
use parking_lot::Mutex;

use super::response::Response;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// So many requests in so much time, for each token.
pub(super) struct Rate {
    requests: u64,
    window: Duration,
    /// By the token's id: when its window began, and what it has sent since.
    tokens: Mutex<HashMap<String, (Instant, u64)>>,
}

/// Where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateStanding {
    limit: u64,
    remaining: u64,
    /// Whole seconds until the next window, rounded up.
    pub reset: u64,
    /// This request is one too many.
    pub exceeded: bool,
}

impl Rate {
    /// None where there is no limit.
    pub fn new(requests: u64, window: Duration) -> Option<Self> {
        (requests > 0).then(|| Self { requests, window, tokens: Mutex::default() })
    }

    /// Counts a request of this token.
    pub fn count(&self, token: &str, now: Instant) -> RateStanding {
        let mut tokens = self.tokens.lock();
        if !tokens.contains_key(token) {
            // Tokens come and go; those of before this window count nothing any more.
            tokens.retain(|_, (begun, _)| *begun + self.window > now);
            tokens.insert(token.to_owned(), (now, 0));
        }
        let Some((begun, sent)) = tokens.get_mut(token) else { return self.standing(1, now, now) };
        if *begun + self.window <= now {
            (*begun, *sent) = (now, 0);
        }
        *sent = sent.saturating_add(1);
        self.standing(*sent, *begun, now)
    }

    fn standing(&self, sent: u64, begun: Instant, now: Instant) -> RateStanding {
        let left = (begun + self.window).saturating_duration_since(now);
        RateStanding {
            limit: self.requests,
            remaining: self.requests.saturating_sub(sent),
            reset: left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
            exceeded: sent > self.requests,
        }
    }
}

impl RateStanding {
    /// Says so in the answer (the fields of draft-ietf-httpapi-ratelimit-headers-07, which
    /// jambonz sends too).
    pub fn put(self, reply: &mut Response) {
        let headers = reply.headers_mut();
        for (name, value) in [(LIMIT, self.limit), (REMAINING, self.remaining), (RESET, self.reset)]
        {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_so_many_requests_in_each_window() {
        let rate = Rate::new(2, Duration::from_mins(1)).unwrap();
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_millis(seconds * 1000);
        let first = RateStanding { limit: 2, remaining: 1, reset: 60, exceeded: false };
        assert_eq!(rate.count("a", at(0)), first);
        assert_eq!(rate.count("a", at(10)), RateStanding { remaining: 0, reset: 50, ..first });
        let exceeded = RateStanding { remaining: 0, reset: 1, exceeded: true, ..first };
        assert_eq!(rate.count("a", at(59)), exceeded);
        assert_eq!(rate.count("b", at(59)), first);
        assert_eq!(rate.count("a", at(60)), first);
        assert!(Rate::new(0, Duration::from_secs(1)).is_none());
    }
}
