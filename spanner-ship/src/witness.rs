//! Checkpoints over HTTP.

use std::fmt;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Response;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use crate::endpoint::{Endpoint, refused};
use spanner_ledger::{Checkpoint, CheckpointError, CheckpointSink};

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
    endpoint: Endpoint,
    method: Method,
    required: bool,
}

impl CheckpointHttp {
    /// Posts to an address.
    pub fn post(endpoint: impl Into<Endpoint>) -> Self {
        Self::of(endpoint.into(), Method::POST)
    }

    /// Puts to an address: for a store that keeps each version of a file.
    pub fn put(endpoint: impl Into<Endpoint>) -> Self {
        Self::of(endpoint.into(), Method::PUT)
    }

    fn of(endpoint: Endpoint, method: Method) -> Self {
        Self {
            endpoint: endpoint.or_timeout(TIMEOUT),
            method,
            required: false,
        }
    }

    /// Does not let the ledger be opened unless the server says what it holds, or that it
    /// holds nothing. Default: it is opened all the same.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn ask(&mut self) -> io::Result<Option<String>> {
        let until = Instant::now() + self.endpoint.limit().unwrap_or(TIMEOUT);
        let answer = self.endpoint.send(Method::GET, |request| request);
        let answer = answer.map_err(io::Error::other)?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status if status.is_success() => Checkpoint::last_unverified(&text(answer, until)?)
                .map_err(|error| match error {
                    CheckpointError::Malformed => io::Error::other("the answer is no checkpoint"),
                    error => io::Error::other(error),
                }),
            status => Err(io::Error::other(refused(status))),
        }
    }

    /// The address, without a query: that may hold a secret.
    fn place(&self) -> &str {
        self.endpoint.url.split('?').next().unwrap_or_default()
    }
}

impl CheckpointSink for CheckpointHttp {
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let answer = self.endpoint.send(self.method.clone(), |request| {
            let request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8");
            request.body(checkpoint.note().to_owned())
        });
        match answer.map_err(io::Error::other)?.status() {
            status if status.is_success() => Ok(()),
            status => Err(io::Error::other(refused(status))),
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
        if bytes.len() as u64 > Checkpoint::MAX_BYTES {
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

/// A service that starts waits for it; a server that takes longer is no better than one that is
/// away.
const TIMEOUT: Duration = Duration::from_secs(5);
