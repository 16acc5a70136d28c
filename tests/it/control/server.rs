//! A feature server that answers as the recorded one did, by the first part of the path.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// The new call of the recording.
pub const CREATED: &str =
    "{\"sid\":\"f1e2d3c4-0000-4000-8000-00000000000a\",\"callId\":\"new-call-id@10.0.0.5\"}";

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub method: String,
    pub url: String,
    /// Whole lines.
    pub headers: Vec<String>,
    pub body: Value,
}

/// It runs until the process ends.
pub struct FeatureServer {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl FeatureServer {
    pub fn up() -> Self {
        Self::up_at("127.0.0.1:0")
    }

    pub fn up_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept) = (stream.unwrap(), kept.clone());
                // A client that goes away is not the test's concern.
                std::thread::spawn(move || serve(stream, &kept).unwrap_or_default());
            }
        });
        Self { address, received }
    }

    /// Its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What has arrived since the last time.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

fn serve(stream: TcpStream, received: &Mutex<Vec<Received>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut words = line.split(' ');
    let (method, url) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end() {
            "" => break,
            header => headers.push(header.to_ascii_lowercase()),
        }
    }
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap();
    let kind = url.split('/').nth(1).unwrap().to_owned();
    let sid = url.rsplit('/').next().unwrap().to_owned();
    received.lock().unwrap().push(Received { method, url, headers, body });
    let (status, kind, body) = match kind.as_str() {
        "s200" => ("200 OK", "application/json", "{\"status\":200,\"reason\":\"OK\"}".to_owned()),
        "s200notjson" => ("200 OK", "text/plain", "hello".to_owned()),
        "s202" => ("202 Accepted", "text/plain", "Accepted".to_owned()),
        "s204" => ("204 No Content", "text/plain", String::new()),
        "s302" => ("302 Found\r\nlocation: /s202/v1/x", "text/plain", String::new()),
        "s400json" | "c400" => {
            ("400 Bad Request", "application/json", "{\"msg\":\"not so\"}".to_owned())
        }
        "s401" => ("401 Unauthorized", "text/plain", "Unauthorized".to_owned()),
        "s404empty" => ("404 Not Found", "text/plain", String::new()),
        "s422text" => {
            let text = "call session is gone for call_sid x".to_owned();
            ("422 Unprocessable Entity", "text/html", text)
        }
        "gone" => {
            let text = format!("call session is gone for call_sid {sid}");
            ("422 Unprocessable Entity", "text/html", text)
        }
        "s500text" => ("500 Internal Server Error", "text/html", "<b>boom</b>".to_owned()),
        "huge" => ("200 OK", "application/json", format!("\"{}\"", "x".repeat(2 << 20))),
        "c200" => ("200 OK", "application/json", CREATED.to_owned()),
        "c201notjson" => ("201 Created", "application/json", "nope".to_owned()),
        "hang" => {
            // Until the client gives up.
            reader.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        "cut" => return Ok(()),
        _ => ("201 Created", "application/json", CREATED.to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
