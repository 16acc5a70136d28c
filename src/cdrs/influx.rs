//! An `InfluxDB` 1.x that is asked: for CDRs that it has, and to send on what comes.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::access::Secret;
use crate::outbound::{Base, Client, ClientError, Message, RequestError};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const CONNECT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_mins(2);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How much of a message of `InfluxDB` is shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// Why `InfluxDB` did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum InfluxError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("InfluxDB answered {}{}{}", .status.as_u16(), said(.error), advice(*.status))]
    Refused { status: StatusCode, error: String },
    #[error("InfluxDB refuses the query{}", said(.0))]
    Query(String),
    #[error(
        "what InfluxDB answered is not understood: {0}; expected the address of an InfluxDB 1.x"
    )]
    Answer(String),
}

fn said(error: &str) -> String {
    if error.is_empty() { String::new() } else { format!(": {error}") }
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "; give --user and --password-file",
        403 => "; the user may not do that",
        _ => "",
    }
}

/// Rows of one measurement, or what a command lists.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Series {
    #[serde(default)]
    pub name: String,
    pub columns: Vec<String>,
    #[serde(default)]
    pub values: Vec<Vec<Json>>,
    /// There are more rows than `InfluxDB` gives in one answer (its `max-row-limit`).
    #[serde(default)]
    pub partial: bool,
}

impl Series {
    /// The place of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Statement>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(default)]
    series: Vec<Series>,
    error: Option<String>,
}

/// An `InfluxDB`, and who asks it.
pub struct Influx {
    client: Client,
    base: Base,
    authorization: Option<HeaderValue>,
}

impl Influx {
    /// One that is not asked yet. It trusts the authorities in the file `ca`, else those of the system.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate.
    pub fn new(
        base: Base,
        login: Option<(&str, &Secret)>,
        ca: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let client = Client::new(ca, "--ca", CONNECT, TIMEOUT)?;
        let authorization = login.and_then(|(user, password)| {
            let text = BASE64.encode(format!("{user}:{}", password.reveal()).as_bytes());
            let mut value = HeaderValue::try_from(format!("Basic {text}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Ok(Self { client, base, authorization })
    }

    pub fn base(&self) -> &Base {
        &self.base
    }

    /// What a query of one statement finds in a database. Times are nanoseconds since 1970.
    ///
    /// # Errors
    /// Those of [`InfluxError`].
    pub async fn find(&self, database: &str, query: &str) -> Result<Vec<Series>, InfluxError> {
        self.ask(Method::GET, &[("db", database), ("epoch", "ns"), ("q", query)]).await
    }

    /// Does what a statement says.
    ///
    /// # Errors
    /// Those of [`InfluxError`].
    pub async fn run(&self, statement: &str) -> Result<Vec<Series>, InfluxError> {
        self.ask(Method::POST, &[("q", statement)]).await
    }

    async fn ask(
        &self,
        method: Method,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<Series>, InfluxError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let (query, mut headers) = (query.finish(), HeaderMap::new());
        // A statement may hold a password, and paths are logged on the way.
        let is_form = method == Method::POST;
        let (path, body) = if is_form {
            headers.insert(CONTENT_TYPE, FORM);
            ("/query".to_owned(), Bytes::from(query))
        } else {
            (format!("/query?{query}"), Bytes::new())
        };
        let message = Message { path, authorization: self.authorization.clone(), headers, body };
        let answer = self.client.request(&self.base, method, message, ANSWER_BYTES_MAX).await?;
        let read: Result<Answer, _> = serde_json::from_slice(&answer.body);
        let short = |text: String| text.chars().take(MESSAGE_CHARS_MAX).collect::<String>();
        if !answer.status.is_success() {
            // What is no InfluxDB, or does not get to it, may say why in a line of text.
            let line = || {
                let text = std::str::from_utf8(&answer.body).ok()?.trim();
                let plain = !text.contains(['<', '\n']) && !text.contains(char::is_control);
                Some(text.to_owned()).filter(|_| plain)
            };
            let error = match read {
                Ok(read) => read.error,
                Err(_) => line(),
            };
            let error = error.map(short).unwrap_or_default();
            return Err(InfluxError::Refused { status: answer.status, error });
        }
        let read = read.map_err(|error| InfluxError::Answer(error.to_string()))?;
        let mut series = Vec::new();
        for statement in read.results {
            if let Some(error) = statement.error {
                return Err(InfluxError::Query(short(error)));
            }
            series.extend(statement.series);
        }
        Ok(series)
    }
}

/// A name within a statement.
pub fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text within a statement.
pub fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
