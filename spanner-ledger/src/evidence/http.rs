//! Checkpoints over HTTP.

use std::fmt;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use super::notes::Notes;
use super::{Checkpoint, CheckpointError, CheckpointSink, MAX_NOTE_BYTES};
use crate::web;

/// Sends each checkpoint to a server, which somebody else keeps: a witness.
///
/// 1. The body is the signed note (`text/plain; charset=utf-8`). 2xx takes it; anything else,
///    redirections among them, means that it is tried again.
/// 2. When the ledger is opened, the same address is asked with GET for the newest note that
///    the server holds; 404, 410 and an empty body mean that it holds none. A ledger that
///    contradicts the note, or is shorter, is not opened.
/// 3. A server that does not answer so does not stop the service: the ledger is opened without
///    having been compared, and a warning says so. [`required`](Self::required) makes it strict.
///
/// # Security
/// The server should keep every note, or refuse one of a smaller size than the one that it has:
/// whoever holds the machine has the credential, too, and could replace the newest. Whoever can
/// keep the server from being reached while the ledger is opened gets a ledger opened that was
/// not compared with it, unless it is required.
pub struct CheckpointHttp {
    url: String,
    client: Option<Client>,
    credential: Option<HeaderValue>,
    method: Method,
    patience: Duration,
    required: bool,
}

impl CheckpointHttp {
    /// Posts to an address.
    pub fn post(url: impl Into<String>) -> Self {
        Self::of(url.into(), Method::POST)
    }

    /// Puts to an address: for a store that keeps each version of a file.
    pub fn put(url: impl Into<String>) -> Self {
        Self::of(url.into(), Method::PUT)
    }

    const fn of(url: String, method: Method) -> Self {
        Self {
            url,
            client: None,
            credential: None,
            method,
            patience: PATIENCE,
            required: false,
        }
    }

    /// What is sent as `Authorization`. It is never logged.
    #[must_use]
    pub fn authorization(mut self, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.credential = Some(value);
        self
    }

    /// How long an answer may take. Default: 5 s.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Does not let the ledger be opened unless the server says what it holds, or that it
    /// holds nothing. Default: it is opened all the same.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn send(&mut self, method: Method, note: Option<&str>) -> io::Result<Response> {
        let told = |error: reqwest::Error| io::Error::other(web::told(error));
        let mut request = self.client().map_err(told)?.request(method, &self.url);
        if let Some(note) = note {
            request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8");
            request = request.body(note.to_owned());
        }
        if let Some(credential) = &self.credential {
            request = request.header(AUTHORIZATION, credential.clone());
        }
        request.send().map_err(told)
    }

    fn client(&mut self) -> Result<Client, reqwest::Error> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = web::client(self.patience)?;
        self.client = Some(client.clone());
        Ok(client)
    }

    fn ask(&mut self) -> io::Result<Option<String>> {
        let until = Instant::now() + self.patience;
        let answer = self.send(Method::GET, None)?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status if status.is_success() => note(&text(answer, until)?),
            status => Err(refused(status)),
        }
    }

    /// The address, without a query: that may hold a secret.
    fn place(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }
}

impl CheckpointSink for CheckpointHttp {
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let answer = self.send(self.method.clone(), Some(checkpoint.note()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(refused(status)),
        }
    }

    fn newest(&mut self) -> io::Result<Option<String>> {
        // A thread of its own may block, whatever the one is that opens the ledger.
        let asked = thread::scope(|scope| scope.spawn(|| self.ask()).join());
        let asked = asked.unwrap_or_else(|_| Err(io::Error::other("the client panicked")));
        asked.or_else(|fault| {
            if self.required {
                let what = format!("`{}` does not say which checkpoint it holds: {fault}", self.place());
                return Err(io::Error::new(fault.kind(), what));
            }
            tracing::warn!(
                %fault,
                url = self.place(),
                "it does not say which checkpoint it holds: the ledger is opened without being compared with it"
            );
            Ok(None)
        })
    }
}

impl fmt::Debug for CheckpointHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointHttp")
            .field("url", &self.place())
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A body of the size of a note, which is there in time.
fn text(mut answer: Response, until: Instant) -> io::Result<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = answer.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if bytes.len() as u64 > MAX_NOTE_BYTES {
            return Err(io::Error::other(
                "the answer is larger than a checkpoint can be",
            ));
        }
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The last note in a text; what is no checkpoint at all is no answer.
fn note(text: &str) -> io::Result<Option<String>> {
    let note = Notes::of(text.as_bytes()).last().transpose();
    let note = note.map_err(io::Error::other)?;
    match &note {
        Some(note) if Checkpoint::verify(note, &[]) == Err(CheckpointError::Malformed) => {
            Err(io::Error::other("the answer is no checkpoint"))
        }
        _ => Ok(note),
    }
}

fn refused(status: StatusCode) -> io::Error {
    io::Error::other(format!("it answers {}", status.as_u16()))
}

/// A service that starts waits for it; a server that takes longer is no better than one that is
/// away.
const PATIENCE: Duration = Duration::from_secs(5);
