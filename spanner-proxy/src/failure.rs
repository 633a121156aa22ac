//! What a caller hears when the model server gives no answer.
//!
//! The guard says whose failure it is (`spanner-fault: model` or `model_timeout`); here it
//! is put into the words of the API, so that official clients show it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;
use spanner_core::{Fault, Share};
use spanner_tower::surface::Dialect;
use spanner_tower::{Exhausted, GuardResponse};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Unreachable,
    /// A connection that ended before the answer began.
    Broken,
    /// No answer in time.
    TimedOut,
    /// As many requests as it may have are under way.
    Busy,
    /// An answer that would lead the caller past the guard.
    Astray,
    /// The caller's body did not arrive whole.
    CallerLeft,
    /// It does not accept the credential that the proxy is configured with.
    Rejected,
    /// It wants a credential of the proxy, and none is configured.
    NoCredential,
    /// The caller's body did not arrive in time.
    CallerLate,
    /// One more than a share allows; the guard says which.
    Share(Share),
}

/// What kept a connection from being made, in a word for the log.
///
/// The libraries below say it in layers of errors of which the outer ones are alike for all; the
/// innermost one knows.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> &'static str {
    let mut cause = Some(error);
    let mut found = None;
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<io::Error>() {
            found = match fault.kind() {
                ErrorKind::ConnectionRefused => Some("connection refused"),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Some("connection reset"),
                ErrorKind::TimedOut => Some("connection timed out"),
                ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
                    Some("network unreachable")
                }
                ErrorKind::UnexpectedEof => Some("connection closed early"),
                _ => found,
            };
        }
        let says = error.to_string();
        if says.starts_with("dns error") {
            return "name not resolved (DNS)";
        }
        let tls = [
            "certificate",
            "corrupt message",
            "peer is incompatible",
            "received fatal alert",
        ];
        if tls.iter().any(|word| says.contains(word)) {
            return "TLS failed";
        }
        cause = error.source();
    }
    found.unwrap_or("no connection")
}

/// Keeps the log of an upstream that is down readable: each reason at once, and then every ten
/// seconds with how often it came in between.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    reasons: Mutex<HashMap<&'static str, (Instant, u64)>>,
    any: AtomicBool,
}

impl Complaints {
    /// How many of these were not told, if this one is to be.
    pub(crate) fn tell(&self, reason: &'static str) -> Option<u64> {
        self.any.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, untold) = match reasons.entry(reason) {
            Entry::Vacant(entry) => {
                entry.insert((now, 0));
                return Some(0);
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        match now.duration_since(*told) >= TOLD_EVERY {
            true => {
                *told = now;
                Some(std::mem::take(untold))
            }
            false => {
                *untold += 1;
                None
            }
        }
    }

    /// How many were not told, if there was any before things went well again.
    pub(crate) fn settle(&self) -> Option<u64> {
        if !self.any.swap(false, Ordering::Relaxed) {
            return None;
        }
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        // Told again soon, so that what comes and goes does not fill the log either.
        Some(
            reasons
                .values_mut()
                .map(|(_, untold)| std::mem::take(untold))
                .sum(),
        )
    }
}

/// Often enough to see that it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// How to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Trailers only, over HTTP 200.
    Grpc,
    /// A JSON body in a surface's dialect, to a request of this method.
    Http(Dialect, Method),
}

impl Failure {
    /// The word in metrics and bodies.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "model_unreachable",
            Self::Broken => "model_broke_off",
            Self::TimedOut => "model_timeout",
            Self::Busy => "model_busy",
            Self::Astray => "model_address",
            Self::CallerLeft => "request_incomplete",
            Self::Rejected => "upstream_credential_rejected",
            Self::NoCredential => "upstream_credential_missing",
            Self::CallerLate => "request_slow",
            Self::Share(share) => share.code(),
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Unreachable
            | Self::Broken
            | Self::Astray
            | Self::Rejected
            | Self::NoCredential => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy | Self::Share(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::CallerLate => StatusCode::REQUEST_TIMEOUT,
            Self::CallerLeft => StatusCode::BAD_REQUEST,
        }
    }

    /// A gRPC status code: unavailable, deadline exceeded, cancelled.
    const fn grpc(self) -> &'static str {
        match self {
            Self::Unreachable
            | Self::Broken
            | Self::Busy
            | Self::Astray
            | Self::Rejected
            | Self::NoCredential
            | Self::Share(_) => "14",
            Self::TimedOut | Self::CallerLate => "4",
            Self::CallerLeft => "1",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "the call is permitted and the model's server cannot be reached; tell its operator"
            }
            Self::Broken => {
                "the call is permitted and the model's server broke off; tell its operator"
            }
            Self::TimedOut => {
                "the call is permitted and the model's server does not answer in time; try again, or tell its operator"
            }
            Self::Busy => {
                "the call is permitted and the model's server has as many requests as it may; try again"
            }
            Self::Astray => {
                "the call is permitted and the model's server answered with an address of its own, past Spanner, so the answer is withheld; tell its operator"
            }
            Self::CallerLeft => "the request's body ended early; send it again",
            Self::Rejected => {
                "the call is permitted and the model's server rejects this proxy's own credential, not yours; tell its operator, who must mend the credential of the upstream"
            }
            Self::NoCredential => {
                "the call is permitted and the model's server asks this proxy for a credential, not you; tell its operator, who must configure one for the upstream"
            }
            Self::CallerLate => "the request's body did not arrive in time; send it without pauses",
            Self::Share(share) => share.sentence(),
        }
    }

    /// The answer.
    pub(crate) fn answer(self, voice: Voice) -> Response<Full<Bytes>> {
        let mut response = match voice {
            Voice::Grpc => self.grpc_answer(),
            Voice::Http(dialect, method) => self.http_answer(dialect, &method),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::Busy {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        match self {
            Self::Share(share) => response.extensions_mut().insert(Exhausted(share)).map(drop),
            Self::CallerLate => {
                let callers = GuardResponse::failed(Fault::AmbiguousRequest);
                response.extensions_mut().insert(callers).map(drop)
            }
            _ => None,
        };
        response
    }

    fn grpc_answer(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        self.say_in(headers);
        response
    }

    /// Makes headers or trailers those of a gRPC answer that says so.
    pub(crate) fn say_in(self, headers: &mut HeaderMap) {
        headers.insert("grpc-status", HeaderValue::from_static(self.grpc()));
        headers.insert("grpc-message", HeaderValue::from_static(self.sentence()));
        // Whatever was said in its place.
        headers.remove("grpc-status-details-bin");
    }

    fn http_answer(self, dialect: Dialect, method: &Method) -> Response<Full<Bytes>> {
        let (status, code) = (self.status(), self.as_str());
        let answer = dialect.failure_to(method, status, code, self.sentence());
        answer.map(Full::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn each_cause_has_its_word() {
        let rows: [(Box<dyn Error + Send + Sync>, &str); 6] = [
            (
                Box::new(io::Error::from(ErrorKind::ConnectionRefused)),
                "connection refused",
            ),
            (
                Box::new(io::Error::from(ErrorKind::TimedOut)),
                "connection timed out",
            ),
            ("dns error".into(), "name not resolved (DNS)"),
            (
                Box::new(io::Error::new(
                    ErrorKind::InvalidData,
                    "invalid peer certificate: UnknownIssuer",
                )),
                "TLS failed",
            ),
            (
                Box::new(io::Error::new(
                    ErrorKind::InvalidData,
                    "received corrupt message of type InvalidContentType",
                )),
                "TLS failed",
            ),
            ("something else".into(), "no connection"),
        ];
        for (inner, expected) in rows {
            assert_eq!(cause(&Outer(inner)), expected);
        }
    }

    #[test]
    fn the_same_is_told_once_in_a_while_and_another_at_once() {
        let complaints = Complaints::default();
        assert_eq!(complaints.settle(), None);
        assert_eq!(complaints.tell("one"), Some(0));
        assert_eq!(complaints.tell("one"), None);
        assert_eq!(complaints.tell("one"), None);
        assert_eq!(complaints.tell("two"), Some(0));
        assert_eq!(complaints.settle(), Some(2));
        assert_eq!(complaints.settle(), None);
    }
}
