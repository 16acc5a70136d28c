//! Who is asked: one kept connection, and the processes that work for it.

use std::time::Instant;

use crate::baselines::postgres::Session;
use crate::comparisons::cost::{Sum, TURN, cpu};
use crate::harness::Outcome;
use crate::harness::client::Connection;

pub struct Side {
    link: Link,
    /// Their processor time counts, and that of all below them.
    pids: Vec<u32>,
    /// Requests that were made.
    asked: usize,
}

enum Link {
    Http(Connection),
    Sql(Session),
}

/// What was answered: JSON, and `X-Total-Count` where there is one.
pub struct Answer {
    pub body: Vec<u8>,
    pub total: Option<u64>,
}

impl Side {
    /// A server that is asked by paths.
    pub fn http(connection: Connection, pids: Vec<u32>) -> Self {
        Self { link: Link::Http(connection), pids, asked: 0 }
    }

    /// A server that is asked in SQL.
    pub fn sql(session: Session, pid: u32) -> Self {
        Self { link: Link::Sql(session), pids: vec![pid], asked: 0 }
    }

    pub async fn ask(&mut self, request: &str) -> Outcome<Answer> {
        match &mut self.link {
            Link::Http(connection) => {
                let body = connection.get(request).await?.to_vec();
                let total = connection.header("x-total-count").map(str::parse).transpose()?;
                Ok(Answer { body, total })
            }
            Link::Sql(session) => Ok(Answer { body: session.ask(request).await?, total: None }),
        }
    }

    /// Asks one after another for a turn, at least once, from where the last turn has ended.
    pub async fn turn(&mut self, requests: &[String], sum: &mut Sum) -> Outcome<()> {
        let (before, begun) = (self.cpu()?, Instant::now());
        while sum.times.is_empty() || begun.elapsed() < TURN {
            let request = requests.get(self.asked % requests.len()).ok_or("no request")?;
            self.asked += 1;
            let sent = Instant::now();
            self.ask(request).await?;
            sum.times.push(sent.elapsed());
        }
        sum.cpu += self.cpu()?.saturating_sub(before);
        Ok(())
    }

    fn cpu(&self) -> Outcome<std::time::Duration> {
        self.pids.iter().map(|pid| cpu(*pid)).sum()
    }
}
