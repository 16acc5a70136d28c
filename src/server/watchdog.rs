//! Whether an accept loop still turns: it is asked, and only the loop itself can answer.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Where an accept loop is asked from.
pub struct Watchdog(mpsc::Sender<oneshot::Sender<()>>);

/// Where the loop hears it.
pub struct Asked(mpsc::Receiver<oneshot::Sender<()>>);

pub fn watchdog() -> (Watchdog, Asked) {
    let (ask, asked) = mpsc::channel(1);
    (Watchdog(ask), Asked(asked))
}

impl Watchdog {
    /// Whether the loop has come around within this time. A loop that has ended never does.
    pub async fn beats(&self, within: Duration) -> bool {
        let (answer, answered) = oneshot::channel();
        let beat = async { self.0.send(answer).await.is_ok() && answered.await.is_ok() };
        tokio::time::timeout(within, beat).await.unwrap_or(false)
    }
}

impl Asked {
    /// Answers the next question. Never ready once no caller is left.
    pub async fn answer(&mut self) {
        match self.0.recv().await {
            // The caller may have stopped waiting.
            Some(answer) => drop(answer.send(())),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_loop_that_turns_has_a_watchdog() {
        const WITHIN: Duration = Duration::from_secs(10);
        let (watchdog, mut asked) = watchdog();
        assert!(!watchdog.beats(Duration::from_millis(10)).await, "nobody answers");
        let turning = tokio::spawn(async move {
            loop {
                asked.answer().await;
            }
        });
        assert!(watchdog.beats(WITHIN).await && watchdog.beats(WITHIN).await);
        turning.abort();
        assert!(!watchdog.beats(WITHIN).await, "it has ended");
    }
}
