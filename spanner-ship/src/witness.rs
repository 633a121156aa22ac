//! Ships checkpoints over HTTP.

use std::fmt;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Response;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use crate::endpoint::{Endpoint, refused};
use spanner_ledger::{Checkpoint, CheckpointError, CheckpointSink};

/// Sends each checkpoint to a server that another party operates: a witness.
///
/// 1. The body is the signed note (`text/plain; charset=utf-8`). A 2xx status accepts it. Any
///    other status, including redirects, causes a retry.
/// 2. Opening the ledger requests the newest note from the same URL by GET. The statuses 404 and
///    410 and an empty body mean that the server has none. A ledger that is shorter than the note
///    or contradicts it is not opened.
/// 3. If the server fails to answer, the ledger opens without this comparison, and a warning is
///    logged. [`required`](Self::required) makes this an error.
///
/// # Security
/// The server should retain every note, or reject a note that is smaller than its newest one. An
/// attacker on this machine also has the credential, and could replace the newest note. An
/// attacker who can block the server while the ledger opens avoids the comparison, unless it is
/// required.
pub struct CheckpointHttp {
    endpoint: Endpoint,
    method: Method,
    required: bool,
}

impl CheckpointHttp {
    /// Sends checkpoints by POST.
    pub fn post(endpoint: impl Into<Endpoint>) -> Self {
        Self::of(endpoint.into(), Method::POST)
    }

    /// Sends checkpoints by PUT, for a store with object versions.
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

    /// Makes opening the ledger fail if the server does not answer. Default: the ledger opens
    /// without the comparison.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn query(&mut self) -> io::Result<Option<String>> {
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

    /// The URL without its query, which may contain a secret.
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
        // The client blocks, which is not allowed on an async runtime's thread, so it runs on its
        // own thread.
        let answer = thread::scope(|scope| scope.spawn(|| self.query()).join());
        let answer = answer.unwrap_or_else(|_| Err(io::Error::other("the client panicked")));
        answer.or_else(|fault| {
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

/// Reads a body of the size of a note, with a deadline.
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

/// The start of a service waits for this. A server that needs longer is treated as unavailable.
const TIMEOUT: Duration = Duration::from_secs(5);
