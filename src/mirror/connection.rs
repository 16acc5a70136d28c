//! A connection to jambonz's Redis: found, opened, authenticated, and told to report changes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::resp::{RespError, Value, read_value, write_command};
use crate::config::{MirrorRedis, RedisUrl};
use crate::outbound::{ClientTls, Connector, Endpoint, Stream};
use crate::store::chain;
use crate::tls;

/// How long Redis may take to answer, and to take what is sent to it.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What the keys of calls begin with.
pub(super) const PREFIX: &str = "call:";
/// How rollcall is called in `CLIENT LIST`.
const NAME: &str = "rollcall";
const PASSWORD_KEY: &str = "mirror.redis.password_file";
const SENTINEL_PASSWORD_KEY: &str = "mirror.redis.sentinel_password_file";

/// Why Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("cannot read {key} {}: {why}", path.display())]
    Password { key: &'static str, path: PathBuf, why: String },
    #[error("{why}")]
    Tls { why: String },
    #[error("cannot connect to {place}")]
    Unreached { place: String, source: std::io::Error },
    #[error("no sentinel says where {primary} is; {why}")]
    NoPrimary { primary: String, why: String },
    #[error("{place} is a replica, which follows late; a sentinel named it as the primary")]
    Replica { place: String },
    #[error("{place} wants a password; name the file with it in {key}")]
    PasswordWanted { place: String, key: &'static str },
    #[error("{place} refuses the login as {user}: {why}")]
    Login { place: String, user: String, why: String },
    #[error("{place} refuses {command}: {why}")]
    Refused { place: String, command: &'static str, why: String },
    #[error("{place} answers {command} with {found}")]
    Unexpected { place: String, command: &'static str, found: String },
    #[error("{place} does not answer within {}", humantime::format_duration(ANSWER_MAX))]
    Late { place: String },
    #[error("the connection to {place} failed")]
    Lost { place: String, source: std::io::Error },
    #[error("the answer of {place} cannot be read")]
    Protocol { place: String, source: RespError },
}

impl RedisError {
    /// Whether an answer is larger than any may be.
    pub(super) fn is_of_size(&self) -> bool {
        let Self::Protocol { source, .. } = self else { return false };
        matches!(source, RespError::Length { .. } | RespError::TooLarge | RespError::TooDeep)
    }
}

/// How changes are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Following {
    /// Redis reports each change.
    Tracking,
    /// Calls are asked for again and again, for this reason.
    Polling { why: String },
}

/// What is needed for a connection, read from the files that the configuration names.
pub(super) struct Credentials {
    connector: Connector,
    password: Option<String>,
    /// That of the sentinels.
    sentinel_password: Option<String>,
}

impl Credentials {
    pub fn read(settings: &MirrorRedis, url: &RedisUrl) -> Result<Self, RedisError> {
        let password = |key, path: &Option<PathBuf>| {
            path.as_deref().map(|path| password(key, path)).transpose()
        };
        let sentinel_password = password(SENTINEL_PASSWORD_KEY, &settings.sentinel_password_file)?;
        let password = password(PASSWORD_KEY, &settings.password_file)?;
        if !url.tls() {
            return Ok(Self { connector: Connector::plain(), password, sentinel_password });
        }
        let wrong = |why: String| RedisError::Tls { why };
        let given = |path: &Option<PathBuf>| {
            path.as_deref().map(tls::resolve).transpose().map_err(|error| wrong(chain(&error)))
        };
        let (ca, cert, key) = (given(&settings.ca)?, given(&settings.cert)?, given(&settings.key)?);
        let files = ClientTls {
            ca: ca.as_deref(),
            ca_key: "mirror.redis.ca",
            identity: cert.as_deref().zip(key.as_deref()),
            identity_keys: ["mirror.redis.cert", "mirror.redis.key"],
        };
        let connector = Connector::tls(files).map_err(|error| wrong(chain(&error)))?;
        Ok(Self { connector, password, sentinel_password })
    }
}

fn password(key: &'static str, path: &Path) -> Result<String, RedisError> {
    tls::first_line(path).map_err(|why| RedisError::Password { key, path: path.to_owned(), why })
}

/// Where the primary is: at the URL, or where the first sentinel that knows it says.
pub(super) async fn find(
    settings: &MirrorRedis,
    url: &RedisUrl,
    credentials: &Credentials,
) -> Result<Endpoint, RedisError> {
    if settings.sentinels.is_empty() {
        return Ok(url.endpoint().clone());
    }
    let mut why = Vec::new();
    for sentinel in &settings.sentinels {
        let user = settings.sentinel_user.as_ref().map(|user| user.0.as_str());
        match ask_sentinel(&sentinel.0, url.primary(), user, credentials).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {
                why.push(format!("{sentinel} knows no primary of the name {:?}", url.primary()));
            }
            Err(error) => why.push(chain(&error)),
        }
    }
    Err(RedisError::NoPrimary { primary: url.primary().to_owned(), why: why.join("; ") })
}

async fn ask_sentinel(
    sentinel: &Endpoint,
    primary: &str,
    user: Option<&str>,
    credentials: &Credentials,
) -> Result<Option<Endpoint>, RedisError> {
    const COMMAND: &str = "SENTINEL get-master-addr-by-name";
    let mut connection = Connection::open(sentinel, credentials).await?;
    connection.password_key = SENTINEL_PASSWORD_KEY;
    if let Some(password) = &credentials.sentinel_password {
        connection.authenticate(user, password).await?;
    }
    let words = [&b"SENTINEL"[..], b"get-master-addr-by-name", primary.as_bytes()];
    let answer = connection.ask(COMMAND, &words).await?;
    let place = || sentinel.to_string();
    match &answer {
        Value::Null => return Ok(None),
        Value::Error(why) => {
            return Err(RedisError::Refused { place: place(), command: COMMAND, why: why.clone() });
        }
        _ => {}
    }
    let mut texts = answer.texts().into_iter().flatten().map(String::from_utf8_lossy);
    let found = texts.next().zip(texts.next().and_then(|port| port.parse().ok()));
    let found = found.and_then(|(host, port)| Endpoint::of(&host, port));
    let unexpected =
        || RedisError::Unexpected { place: place(), command: COMMAND, found: answer.to_string() };
    found.map(Some).ok_or_else(unexpected)
}

/// A connection that has been opened.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    place: String,
    /// Where the password for it is named.
    password_key: &'static str,
    received: BytesMut,
    /// What is to be sent.
    output: Vec<u8>,
    /// What came without a question while an answer was waited for.
    pushes: VecDeque<Vec<Value>>,
}

/// What a server said of itself at the login.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeting {
    /// Empty where it did not say.
    pub version: String,
    pub role: String,
    /// Why it does not speak RESP3; none where it does.
    pub no_resp3: Option<String>,
}

impl Connection {
    pub async fn open(place: &Endpoint, credentials: &Credentials) -> Result<Self, RedisError> {
        let stream = credentials.connector.connect(place).await;
        let place = place.to_string();
        match stream {
            Ok(stream) => Ok(Self {
                stream,
                place,
                password_key: PASSWORD_KEY,
                received: BytesMut::new(),
                output: Vec::new(),
                pushes: VecDeque::new(),
            }),
            Err(source) => Err(RedisError::Unreached { place, source }),
        }
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    /// Logs in, by RESP3 where the server speaks it, and selects the database.
    pub async fn log_in(
        &mut self,
        url: &RedisUrl,
        credentials: &Credentials,
    ) -> Result<Greeting, RedisError> {
        let user = url.user().unwrap_or("default");
        let mut hello = vec![&b"HELLO"[..], b"3"];
        if let Some(password) = &credentials.password {
            hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
        }
        let greeting = match self.ask("HELLO", &hello).await? {
            Value::Error(why) if is_login(&why) => return Err(self.login_error(user, why)),
            // A server of before Redis 6, or one that does not allow it.
            Value::Error(why) => {
                self.log_in_by_resp2(url, credentials).await?;
                Greeting { no_resp3: Some(why), ..Greeting::default() }
            }
            answer => {
                let said = |key: &str| {
                    let text = answer.member(key).and_then(Value::text).unwrap_or_default();
                    String::from_utf8_lossy(text).chars().take(40).collect()
                };
                Greeting { version: said("version"), role: said("role"), no_resp3: None }
            }
        };
        if url.database() > 0 {
            let database = url.database().to_string();
            self.done("SELECT", &[b"SELECT", database.as_bytes()]).await?;
        }
        // It helps who looks at CLIENT LIST, and is no reason to give up.
        self.ask("CLIENT SETNAME", &[b"CLIENT", b"SETNAME", NAME.as_bytes()]).await?;
        Ok(greeting)
    }

    async fn log_in_by_resp2(
        &mut self,
        url: &RedisUrl,
        credentials: &Credentials,
    ) -> Result<(), RedisError> {
        let Some(password) = &credentials.password else {
            // Whether a password is wanted is said by the first command that needs one.
            return self.done("PING", &[b"PING"]).await;
        };
        self.authenticate(url.user(), password).await
    }

    /// Logs in by the command that every version knows.
    async fn authenticate(&mut self, user: Option<&str>, password: &str) -> Result<(), RedisError> {
        let mut auth = vec![&b"AUTH"[..]];
        auth.extend(user.map(str::as_bytes));
        auth.push(password.as_bytes());
        match self.ask("AUTH", &auth).await? {
            Value::Error(why) => Err(self.login_error(user.unwrap_or("default"), why)),
            _ => Ok(()),
        }
    }

    fn login_error(&self, user: &str, why: String) -> RedisError {
        let place = self.place.clone();
        if why.starts_with("NOAUTH") {
            return RedisError::PasswordWanted { place, key: self.password_key };
        }
        RedisError::Login { place, user: user.to_owned(), why }
    }

    /// Asks for a report of each change, where that is possible.
    pub async fn follow(&mut self, greeting: &Greeting) -> Result<Following, RedisError> {
        if let Some(why) = &greeting.no_resp3 {
            return Ok(Following::Polling { why: format!("HELLO 3: {why}") });
        }
        let words: [&[u8]; 7] =
            [b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", PREFIX.as_bytes(), b"NOLOOP"];
        Ok(match self.ask("CLIENT TRACKING", &words).await? {
            Value::Error(why) => Following::Polling { why: format!("CLIENT TRACKING: {why}") },
            _ => Following::Tracking,
        })
    }

    /// The answer to a command.
    pub async fn ask(
        &mut self,
        command: &'static str,
        words: &[&[u8]],
    ) -> Result<Value, RedisError> {
        self.put(words);
        self.flush().await?;
        let late = RedisError::Late { place: self.place.clone() };
        let answer = async {
            loop {
                match self.next().await? {
                    Value::Push(push) => self.pushes.push_back(push),
                    Value::Error(why) if why.starts_with("NOAUTH") => {
                        return Err(self.login_error("", why));
                    }
                    value => return Ok(value),
                }
            }
        };
        let answer = tokio::time::timeout(ANSWER_MAX, answer).await.unwrap_or(Err(late));
        tracing::trace!(command, "Redis was asked");
        answer
    }

    /// The same where the answer is that it was done.
    pub async fn done(&mut self, command: &'static str, words: &[&[u8]]) -> Result<(), RedisError> {
        match self.ask(command, words).await? {
            Value::Error(why) => {
                Err(RedisError::Refused { place: self.place.clone(), command, why })
            }
            _ => Ok(()),
        }
    }

    /// Adds a command to what is sent next.
    pub fn put(&mut self, words: &[&[u8]]) {
        write_command(&mut self.output, words);
    }

    /// Sends what was added.
    pub async fn flush(&mut self) -> Result<(), RedisError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sending = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let sent = tokio::time::timeout(ANSWER_MAX, sending).await;
        self.output.clear();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(RedisError::Lost { place: self.place.clone(), source }),
            Err(_) => Err(RedisError::Late { place: self.place.clone() }),
        }
    }

    /// The next reply or push. Nothing is lost where this is dropped.
    pub async fn next(&mut self) -> Result<Value, RedisError> {
        loop {
            if let Some(value) = self.buffered()? {
                return Ok(value);
            }
            let read = self.stream.read_buf(&mut self.received).await;
            let lost = |source| RedisError::Lost { place: self.place.clone(), source };
            if read.map_err(lost)? == 0 {
                let closed = std::io::Error::other("it closed the connection");
                return Err(lost(closed));
            }
        }
    }

    /// The next reply or push of what has arrived already.
    pub fn buffered(&mut self) -> Result<Option<Value>, RedisError> {
        let wrong = |source| RedisError::Protocol { place: self.place.clone(), source };
        let Some((value, length)) = read_value(&self.received).map_err(wrong)? else {
            return Ok(None);
        };
        self.received.advance(length);
        Ok(Some(value))
    }

    /// Whether what comes next is no answer.
    pub fn has_push(&self) -> bool {
        self.received.first() == Some(&b'>')
    }

    /// What came without a question while an answer was waited for.
    pub fn take_push(&mut self) -> Option<Vec<Value>> {
        self.pushes.pop_front()
    }
}

fn is_login(why: &str) -> bool {
    ["WRONGPASS", "NOAUTH"].iter().any(|kind| why.starts_with(kind))
        || why.contains("AUTH <password> called without any password configured")
}

/// A connection to the primary, logged in.
pub(super) async fn connect(
    settings: &MirrorRedis,
    url: &RedisUrl,
) -> Result<(Connection, Greeting), RedisError> {
    let credentials = Credentials::read(settings, url)?;
    let place = find(settings, url, &credentials).await?;
    let mut connection = Connection::open(&place, &credentials).await?;
    let greeting = connection.log_in(url, &credentials).await?;
    if !settings.sentinels.is_empty() && greeting.role == "slave" {
        return Err(RedisError::Replica { place: place.to_string() });
    }
    Ok((connection, greeting))
}
