//! PostgreSQL: the same calls in one table with the indexes that the questions call for, JSON made in
//! SQL, and a client that is no more than its protocol.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Daemon, TIMEOUT, find, free_port, run};
use crate::harness::Outcome;

/// The table: a column for each field of a call, and the rest as JSON.
const TABLE: &str = "\
CREATE TABLE calls (
  account_sid uuid NOT NULL, call_id text, call_sid uuid NOT NULL, call_status text NOT NULL,
  direction text NOT NULL, \"from\" text, service_url text, sip_status int, \"to\" text,
  application_sid uuid, duration int, originating_sip_trunk_name text,
  attempted_at timestamptz, answered_at timestamptz, terminated_at timestamptz,
  extra jsonb, PRIMARY KEY (account_sid, call_sid));
CREATE INDEX ON calls (account_sid, attempted_at DESC, call_sid);
CREATE INDEX ON calls (account_sid, call_status, direction, attempted_at DESC, call_sid);
CREATE INDEX ON calls (account_sid, \"from\", attempted_at DESC);
CREATE INDEX ON calls (account_sid, \"to\", attempted_at DESC);";

/// Its columns in order, `extra` apart, which comes last.
pub const COLUMNS: [&str; 15] = [
    "account_sid",
    "call_id",
    "call_sid",
    "call_status",
    "direction",
    "from",
    "service_url",
    "sip_status",
    "to",
    "application_sid",
    "duration",
    "originating_sip_trunk_name",
    "attempted_at",
    "answered_at",
    "terminated_at",
];
/// What finds a part of a number.
const TRIGRAMS: &str = "\
CREATE EXTENSION pg_trgm;
CREATE INDEX ON calls USING gin (\"from\" gin_trgm_ops, \"to\" gin_trgm_ops);";

/// What finds other parts of a call, and what statistics count.
const SEARCH: &str = "\
CREATE INDEX ON calls (account_sid, call_id);
CREATE INDEX ON calls (account_sid, application_sid, originating_sip_trunk_name,
  attempted_at DESC, call_sid);
CREATE INDEX ON calls (account_sid, attempted_at) INCLUDE (call_status, answered_at, duration);";

/// What a list shows of a row.
pub const SHOWN: &str = "account_sid, call_id, call_sid, call_status, direction, \"from\", service_url, \
  sip_status, \"to\", duration, attempted_at, answered_at, terminated_at, \
  extra->>'trace_id' AS trace_id";

/// A cluster of its own.
pub struct Postgres {
    pub server: Daemon,
    sockets: PathBuf,
}

impl Postgres {
    /// Makes the cluster and starts it, with an empty table. Durable as PostgreSQL is by itself:
    /// `fsync` and `synchronous_commit` are on.
    pub async fn start(dir: &Path) -> Outcome<Self> {
        let directories: Vec<String> = std::fs::read_dir("/usr/lib/postgresql")
            .map(|found| found.flatten().map(|e| format!("{}/bin", e.path().display())).collect())
            .unwrap_or_default();
        let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
        let initdb = find("initdb", &directories)?;
        let program = find("postgres", &directories)?;
        let data = dir.join("cluster");
        // It refuses to be root.
        let root = rustix::process::geteuid().is_root();
        if root {
            run(Command::new("chown").arg("postgres").arg(dir))?;
        }
        let by = |program: &str| {
            if !root {
                return Command::new(program);
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
            command
        };
        let mut init = by(&initdb);
        init.args(["--auth=trust", "-U", "bench", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
        run(init.current_dir(dir))?;
        let port = free_port()?;
        let mut command = by(&program);
        command.arg("-D").arg(&data).arg("-k").arg(dir).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "shared_buffers=256MB",
            "max_wal_size=4GB",
            "timezone=UTC",
        ] {
            command.args(["-c", setting]);
        }
        let mut server = Daemon::start(command.current_dir(dir), port)?;
        // On the usual one it waits for its clients.
        server.signal = "-INT";
        let postgres = Self { server, sockets: dir.to_owned() };
        postgres.ready().await?;
        Ok(postgres)
    }

    /// Waits until sessions are let in: the port is open before that.
    async fn ready(&self) -> Outcome<()> {
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while let Err(error) = self.connect().await {
            if begun.elapsed() > TIMEOUT {
                return Err(error);
            }
            ticks.tick().await;
        }
        Ok(())
    }

    /// A connection, over the socket of its machine and without TLS.
    pub async fn connect(&self) -> Outcome<Session> {
        let path = self.sockets.join(format!(".s.PGSQL.{}", self.server.port));
        let mut session = Session { stream: BufReader::new(UnixStream::connect(path).await?) };
        let words = b"user\0bench\0database\0postgres\0\0";
        let length = u32::try_from(words.len() + 8)?;
        let head = [length.to_be_bytes(), 196_608_u32.to_be_bytes()].concat();
        session.stream.write_all(&[&head, &words[..]].concat()).await?;
        session.answer().await?;
        Ok(session)
    }

    /// Makes the empty table. Whether it finds parts of numbers too.
    pub async fn make_table(&self, session: &mut Session) -> Outcome<bool> {
        session.ask(TABLE).await?;
        Ok(session.ask(TRIGRAMS).await.is_ok())
    }

    /// Makes the indexes of searches and statistics. Whether there is one of parts of numbers, too.
    pub async fn index_search(&self, session: &mut Session) -> Outcome<bool> {
        session.ask(SEARCH).await?;
        let trigrams = session.ask(TRIGRAMS).await.is_ok();
        session.ask("VACUUM ANALYZE calls").await?;
        session.ask("CHECKPOINT").await?;
        Ok(trigrams)
    }

    /// Makes the table and takes the calls of a file, one JSON object a line.
    pub async fn fill(&self, file: Option<&Path>) -> Outcome<()> {
        let mut session = self.connect().await?;
        session.ask(TABLE).await?;
        let Some(file) = file else { return Ok(()) };
        let copy = format!(
            "CREATE UNLOGGED TABLE lines (line jsonb); \
             COPY lines FROM '{}' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');",
            file.display()
        );
        session.ask(&copy).await?;
        session
            .ask(
                "INSERT INTO calls SELECT r.*, jsonb_build_object('trace_id', line->>'trace_id') \
                 FROM lines, jsonb_to_record(line) AS r(account_sid uuid, call_id text, \
                 call_sid uuid, call_status text, direction text, \"from\" text, \
                 service_url text, sip_status int, \"to\" text, application_sid uuid, \
                 duration int, originating_sip_trunk_name text, attempted_at timestamptz, \
                 answered_at timestamptz, terminated_at timestamptz); DROP TABLE lines",
            )
            .await?;
        session.ask("VACUUM ANALYZE calls").await?;
        session.ask("CHECKPOINT").await?;
        Ok(())
    }
}

/// A kept connection.
pub struct Session {
    stream: BufReader<UnixStream>,
}

impl Session {
    /// Prepares a list of the newest that `filter` leaves.
    pub async fn prepare(&mut self, name: &str, filter: &str, limit: usize) -> Outcome<()> {
        self.ask(&format!(
            "PREPARE {name}(uuid) AS SELECT json_agg(r) FROM (SELECT {SHOWN} FROM calls \
             WHERE account_sid = $1{filter} ORDER BY attempted_at DESC, call_sid LIMIT {limit}) r"
        ))
        .await?;
        Ok(())
    }

    /// Prepares what takes an event, given as JSON.
    pub async fn prepare_event(&mut self) -> Outcome<()> {
        self.ask(
            "PREPARE event(jsonb) AS INSERT INTO calls (account_sid, call_id, call_sid, \
             call_status, direction, \"from\", service_url, sip_status, \"to\", application_sid, \
             duration, originating_sip_trunk_name, attempted_at, extra) \
             SELECT r.*, now(), $1 - '{account_sid,call_id,call_sid,call_status,direction,from,to,\
             sip_status,duration,application_sid,originating_sip_trunk_name}'::text[] \
             FROM jsonb_to_record($1) AS r(account_sid uuid, call_id text, call_sid uuid, \
             call_status text, direction text, \"from\" text, service_url text, sip_status int, \
             \"to\" text, application_sid uuid, duration int, originating_sip_trunk_name text) \
             ON CONFLICT (account_sid, call_sid) DO UPDATE SET call_status = excluded.call_status, \
             sip_status = excluded.sip_status, extra = calls.extra || excluded.extra, \
             duration = coalesce(excluded.duration, calls.duration), \
             answered_at = CASE excluded.call_status WHEN 'in-progress' THEN now() \
             ELSE calls.answered_at END, terminated_at = CASE excluded.call_status \
             WHEN 'completed' THEN now() ELSE calls.terminated_at END",
        )
        .await?;
        Ok(())
    }

    /// Runs SQL; the bytes of what it answers.
    pub async fn ask(&mut self, sql: &str) -> Outcome<Vec<u8>> {
        let mut message = vec![b'Q'];
        message.extend(u32::try_from(sql.len() + 5)?.to_be_bytes());
        message.extend(sql.as_bytes());
        message.push(0);
        self.stream.write_all(&message).await?;
        self.answer().await
    }

    /// Reads until the server is ready again.
    async fn answer(&mut self) -> Outcome<Vec<u8>> {
        let (mut rows, mut error) = (Vec::new(), None);
        loop {
            let kind = self.stream.read_u8().await?;
            let length = self.stream.read_u32().await?.saturating_sub(4);
            let mut body = vec![0; usize::try_from(length)?];
            self.stream.read_exact(&mut body).await?;
            match kind {
                // One row of one column: its count and its length stand before it.
                b'D' => rows.extend_from_slice(body.get(6..).unwrap_or_default()),
                b'E' => error = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'Z' => return error.map_or(Ok(rows), |error| Err(error.into())),
                _ => {}
            }
        }
    }
}
