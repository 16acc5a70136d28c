//! The feature servers: which may be called, whose turn it is, and which are set aside.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::{Base, Network};
use super::client::{Client, Message, UpstreamResponse};
use super::error::RequestError;

/// The configured feature servers.
pub struct Servers {
    networks: Vec<Network>,
    turn: RoundRobin,
}

impl Servers {
    /// Servers that take new calls in turn, and networks in which those of known calls may be. One
    /// that could not be reached, or was late, is set aside for `retry_after`.
    pub fn new(urls: Vec<Base>, networks: Vec<Network>, retry_after: Duration) -> Self {
        Self { networks, turn: RoundRobin::new(urls, retry_after) }
    }

    /// Whether there is none for new calls.
    pub fn is_empty(&self) -> bool {
        self.turn.urls.is_empty()
    }

    /// Sends a message to the server that a call names.
    ///
    /// # Errors
    /// [`RequestError::Denied`] where the configuration does not have that server, and the others.
    pub async fn of_call(
        &self,
        client: &Client,
        service_url: &str,
        message: Message,
    ) -> Result<UpstreamResponse, RequestError> {
        let denied =
            || RequestError::Denied { url: service_url.chars().take(200).collect(), address: None };
        let base: Base = service_url.parse().map_err(|_| denied())?;
        if self.turn.urls.iter().any(|url| url.same_origin(&base)) {
            return client.post(&base, None, message).await;
        }
        if self.networks.is_empty() {
            return Err(denied());
        }
        client.post(&base, Some(&self.networks), message).await
    }

    /// Sends a message to the server whose turn it is. Where none of them can be reached, the last
    /// failure; after any other failure no further one is asked, since the message may have been
    /// received. None where there are no servers.
    pub async fn in_turn(
        &self,
        client: &Client,
        message: &Message,
    ) -> Option<Result<UpstreamResponse, RequestError>> {
        let mut last = None;
        for (n, url) in self.turn.order(Instant::now()) {
            let result = client.post(url, None, message.clone()).await;
            match &result {
                Err(failure @ RequestError::Unreached { .. }) => {
                    tracing::warn!(%failure, "a feature server is set aside");
                    self.turn.set_aside(n, Instant::now());
                    last = Some(result);
                }
                Err(failure @ RequestError::Late { .. }) => {
                    tracing::warn!(%failure, "a feature server is set aside");
                    self.turn.set_aside(n, Instant::now());
                    return Some(result);
                }
                _ => {
                    self.turn.take_back(n);
                    return Some(result);
                }
            }
        }
        last
    }
}

/// Whose turn it is.
struct RoundRobin {
    urls: Vec<Base>,
    retry_after: Duration,
    next: AtomicUsize,
    /// Of each server, until when it is set aside.
    aside: Mutex<Vec<Option<Instant>>>,
}

impl RoundRobin {
    fn new(urls: Vec<Base>, retry_after: Duration) -> Self {
        let aside = Mutex::new(vec![None; urls.len()]);
        Self { urls, retry_after, next: AtomicUsize::new(0), aside }
    }

    /// All servers, those that are well before those that are set aside.
    fn order(&self, now: Instant) -> Vec<(usize, &Base)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.urls.len().max(1);
        let all: Vec<_> = self.urls.iter().enumerate().collect();
        let (before, after) = all.split_at(first.min(all.len()));
        let aside = self.aside.lock();
        let is_aside = |n: usize| aside.get(n).copied().flatten().is_some_and(|until| now < until);
        let turned = after.iter().chain(before).copied();
        let (ill, mut order): (Vec<_>, Vec<_>) = turned.partition(|(n, _)| is_aside(*n));
        order.extend(ill);
        order
    }

    fn set_aside(&self, n: usize, now: Instant) {
        self.mark(n, Some(now + self.retry_after));
    }

    fn take_back(&self, n: usize) {
        self.mark(n, None);
    }

    fn mark(&self, n: usize, until: Option<Instant>) {
        if let Some(place) = self.aside.lock().get_mut(n) {
            *place = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_turns_and_those_set_aside_come_last_until_their_time_is_over() {
        let urls = ["http://a", "http://b", "http://c"].map(|url| url.parse().unwrap());
        let turn = RoundRobin::new(urls.to_vec(), Duration::from_secs(30));
        let now = Instant::now();
        let order = |now| turn.order(now).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!([order(now), order(now), order(now)], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        turn.set_aside(0, now);
        assert_eq!([order(now), order(now)], [[1, 2, 0], [1, 2, 0]]);
        turn.set_aside(1, now);
        turn.set_aside(2, now);
        assert_eq!(order(now), [2, 0, 1]);
        turn.take_back(2);
        assert_eq!(order(now), [2, 0, 1]);
        assert_eq!(order(now + Duration::from_secs(30)), [1, 2, 0]);
        let none = RoundRobin::new(Vec::new(), Duration::from_secs(1));
        assert!(none.order(now).is_empty());
    }
}
