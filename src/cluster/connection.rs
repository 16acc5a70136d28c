//! The connection to one of the servers, kept up by the client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event};
use futures_util::future::join_all;
use tokio::sync::watch;

use super::settings::Settings;

/// How long one attempt at one server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that does not answer two of these is left: one that hangs is noticed after some five seconds.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// The longest pause between attempts.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The shortest one.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Messages that wait for their reader: all of a batch of direct gets.
const SUBSCRIPTION_CAPACITY: usize = 16 * 1024;
/// How long there is no connection before each server is asked why, and the same again.
const LASTS: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// None, and what was said last about why.
    Down(Option<String>),
    Up,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0} cannot be read")]
    File(String, #[source] std::io::Error),
    #[error("no server of cluster.servers can be used: {0}")]
    Refused(String),
    #[error("no server of cluster.servers has answered within {} s: {why}", after.as_secs())]
    Silent { after: Duration, why: String },
}

/// What was said last about why something does not work.
type Complaint = Arc<Mutex<Option<String>>>;

/// A connection that comes back by itself.
#[derive(Clone)]
pub struct Connection {
    pub(super) client: Client,
    link: watch::Receiver<Link>,
    complaint: Complaint,
    /// Why no server lets this one in, as was found out last.
    refusal: Complaint,
    pub(super) settings: Arc<Settings>,
}

impl Connection {
    /// Begins to connect, and keeps trying: whether there is a connection says [`Self::link`].
    ///
    /// # Errors
    /// A file cannot be read. Servers that are not there are no error.
    pub async fn begin(settings: Settings) -> Result<Self, ConnectError> {
        let (say, link) = watch::channel(Link::Down(None));
        let complaint = Complaint::default();
        let options = options(&settings, say, complaint.clone())?.retry_on_initial_connect();
        let client = options.connect(settings.servers.as_slice()).await;
        let client = client.map_err(|error| ConnectError::Refused(chain(&error)))?;
        Ok(Self::new(client, link, complaint, settings))
    }

    fn new(
        client: Client,
        link: watch::Receiver<Link>,
        complaint: Complaint,
        settings: Settings,
    ) -> Self {
        let (refusal, settings) = (Complaint::default(), Arc::new(settings));
        Self { client, link, complaint, refusal, settings }
    }

    /// Connects within so long, and keeps the connection up from then on.
    ///
    /// # Errors
    /// None of the servers lets it in, with what the last one of them said: for commands.
    pub async fn open(settings: Settings, longest: Duration) -> Result<Self, ConnectError> {
        let begun = Instant::now();
        loop {
            let (say, link) = watch::channel(Link::Down(None));
            let complaint = Complaint::default();
            let options = options(&settings, say, complaint.clone())?;
            let why = match options.connect(settings.servers.as_slice()).await {
                Ok(client) => {
                    // The client says so in a moment, where it has not said yet that it is gone again.
                    let mut said = link.clone();
                    let up = said.wait_for(|link| *link == Link::Up);
                    let _or_not = tokio::time::timeout(RETRY_MAX, up).await;
                    return Ok(Self::new(client, link, complaint, settings));
                }
                Err(error) => chain(&error),
            };
            if begun.elapsed() >= longest {
                let why = match settings.servers.as_slice() {
                    [_] => format!("{why}{}", advice(&why)),
                    _ => match reasons(&settings).await {
                        Some(reasons) => reasons,
                        None => continue,
                    },
                };
                return Err(ConnectError::Silent { after: longest, why });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Whether there is a connection; says when that changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Asked before anything is sent: the client would keep it and send it once it is connected again, when nobody
    /// waits for it any more.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The server that is spoken to: its name and version. None before the first connection.
    pub fn server(&self) -> Option<(String, String)> {
        let info = self.client.try_server_info()?;
        Some((info.server_name, info.version))
    }

    /// What a server has said last against what this one did, since it is connected: that it may not use a subject, say.
    pub fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same where it is that this one may not do something.
    pub fn denial(&self) -> Option<String> {
        self.complaint().filter(|says| says.to_lowercase().contains("permissions violation"))
    }

    /// Why no server lets this one in, as far as [`Self::explain`] has found out; none while there is a connection.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says when there is a connection and when there is none, and why, for as long as it runs. Of a refusal the client says
    /// too little, and that each second.
    pub async fn explain(self) {
        let mut link = self.link();
        loop {
            if *link.borrow_and_update() == Link::Up {
                self.note_refusal(None);
                let (server, version) = self.server().unwrap_or_default();
                tracing::info!(server, version, "connected to a nats-server");
                if link.wait_for(|link| *link != Link::Up).await.is_err() {
                    return;
                }
                tracing::info!(server, "the connection to the nats-server has ended");
            }
            let mut pause = LASTS;
            loop {
                let back = tokio::time::timeout(pause, link.wait_for(|link| *link == Link::Up));
                match back.await.map(|link| link.map(drop)) {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
                self.note_refusal(reasons(&self.settings).await);
                pause = ASK_AGAIN;
            }
        }
    }

    fn note_refusal(&self, why: Option<String>) {
        let mut known = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &why
            && known.as_ref() != Some(why)
        {
            tracing::warn!(why, "there is no connection to a nats-server");
        }
        *known = why;
    }

    /// Bytes of the largest message that the server takes, headers included.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }
}

/// Why no server lets this one in, of which those with the same reason are named together; none where one does.
async fn reasons(settings: &Settings) -> Option<String> {
    let tries = settings.each().into_iter().map(|one| async move { attempt(&one).await.err() });
    let said: Option<Vec<String>> = join_all(tries).await.into_iter().collect();
    let mut reasons: Vec<(String, String)> = Vec::new();
    for (server, why) in settings.servers.iter().zip(said?) {
        let server = server.as_url_str();
        match reasons.iter_mut().find(|(_, known)| *known == why) {
            Some((servers, _)) => {
                servers.push_str(", ");
                servers.push_str(server);
            }
            None => reasons.push((server.to_owned(), why)),
        }
    }
    let reasons = reasons.iter().map(|(servers, why)| format!("{servers}: {why}{}", advice(why)));
    Some(reasons.collect::<Vec<_>>().join("; "))
}

/// Connects once, and gives it up again.
async fn attempt(settings: &Settings) -> Result<(), String> {
    let (say, _link) = watch::channel(Link::Down(None));
    let options = options(settings, say, Complaint::default());
    let options = options.map_err(|error| chain(&error))?;
    let connected = options.connect(settings.servers.as_slice()).await;
    connected.map(drop).map_err(|error| chain(&error))
}

/// Which settings a refusal is about, for the end of its message; empty where it is not known.
fn advice(why: &str) -> &'static str {
    let about = [
        ("authorization violation", "; see cluster.user and cluster.password_file"),
        ("UnknownIssuer", "; see cluster.ca: it has not signed the server's certificate"),
        ("not valid for name", "; see cluster.servers: the certificate has to name that address"),
        (
            "could not add certificate or key",
            "; see cluster.key: it has to be that of cluster.cert",
        ),
        ("CertificateRequired", "; set cluster.cert and cluster.key"),
        ("failed to lookup", "; see cluster.servers: the name has no address here"),
        (
            "Connection refused",
            "; see whether nats-server runs there, and `listen` in its nats.conf",
        ),
        ("UnknownCA", "; see cluster.cert: ca_file in nats.conf has not signed it"),
    ];
    about.iter().find(|(part, _)| why.contains(part)).map_or("", |(_, advice)| advice)
}

fn options(
    settings: &Settings,
    say: watch::Sender<Link>,
    why: Complaint,
) -> Result<ConnectOptions, ConnectError> {
    let on_event = move |event: Event| {
        let mut why = why.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected => {
                *why = None;
                say.send_replace(Link::Up);
            }
            Event::ServerError(error) => *why = Some(error.to_string()),
            Event::ClientError(error) => *why = Some(error.to_string()),
            Event::LameDuckMode => *why = Some("the server is about to stop".to_owned()),
            Event::Disconnected | Event::Closed => {
                say.send_replace(Link::Down(None));
            }
            Event::Draining | Event::SlowConsumer(_) => {}
        }
        say.send_if_modified(|link| match link {
            Link::Down(said) if *said != *why => {
                said.clone_from(&why);
                true
            }
            _ => false,
        });
        std::future::ready(())
    };
    let mut options = ConnectOptions::new()
        .name(format!("rollcall {}", settings.node))
        .ignore_discovered_servers()
        .retain_servers_order()
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(|attempts| {
            let attempts = u32::try_from(attempts.max(1)).unwrap_or(u32::MAX);
            RETRY_PAUSE.saturating_mul(attempts).min(RETRY_MAX)
        })
        .event_callback(on_event);
    if let Some((user, password)) = &settings.user {
        options = options.user_and_password(user.clone(), password.reveal().to_owned());
    }
    // The client reads them at each attempt, and then says only that it could not connect.
    let readable = |path: &std::path::PathBuf| {
        let opened = std::fs::File::open(path).map(drop);
        opened.map_err(|error| ConnectError::File(path.display().to_string(), error))
    };
    if let Some(path) = &settings.ca_file {
        readable(path)?;
        options = options.add_root_certificates(path.clone());
    }
    if let Some(identity) = &settings.identity {
        readable(&identity.cert_file)?;
        readable(&identity.key_file)?;
        options =
            options.add_client_certificate(identity.cert_file.clone(), identity.key_file.clone());
    }
    Ok(options)
}

/// An error with its causes; the client repeats some of them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
