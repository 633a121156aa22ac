//! The response to a caller when the model server gives none.
//!
//! The guard adds whose failure it is (`spanner-fault: model` or `model_timeout`). The body is in
//! the format of the API, so that official clients show its message.

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

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection could be opened.
    Unreachable,
    /// The connection ended before the response began.
    Broken,
    /// No response began in time.
    TimedOut,
    /// As many requests as `max_requests` are in progress.
    Busy,
    /// The response would lead the caller past the guard.
    Astray,
    /// The request's body did not arrive completely.
    CallerLeft,
    /// The server rejects the credential that the proxy is configured with.
    Rejected,
    /// The server asks for a credential of the proxy, and none is configured.
    NoCredential,
    /// The request's body did not arrive in time.
    CallerLate,
    /// The caller has its share; the guard adds which one.
    Share(Share),
}

/// Why a connection could not be opened, in a few words for the log.
///
/// The outer errors of the HTTP libraries are the same for every cause; the inner ones differ.
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

/// Limits the log of an upstream that is down: each reason is logged at once, and then at most every
/// [`LOG_EVERY`], with the number of failures that were not logged.
#[derive(Debug, Default)]
pub(crate) struct FailureLog {
    reasons: Mutex<HashMap<&'static str, (Instant, u64)>>,
    any: AtomicBool,
}

impl FailureLog {
    /// Notes a failure. Returns the number of suppressed ones if this one is to be logged.
    pub(crate) fn note(&self, reason: &'static str) -> Option<u64> {
        self.any.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let (logged, suppressed) = match reasons.entry(reason) {
            Entry::Vacant(entry) => {
                entry.insert((now, 0));
                return Some(0);
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        match now.duration_since(*logged) >= LOG_EVERY {
            true => {
                *logged = now;
                Some(std::mem::take(suppressed))
            }
            false => {
                *suppressed += 1;
                None
            }
        }
    }

    /// Notes a success. Returns the number of suppressed failures if there was any failure before.
    pub(crate) fn recovered(&self) -> Option<u64> {
        if !self.any.swap(false, Ordering::Relaxed) {
            return None;
        }
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        // The times stay, so that an upstream that fails now and then does not fill the log.
        Some(
            reasons
                .values_mut()
                .map(|(_, suppressed)| std::mem::take(suppressed))
                .sum(),
        )
    }
}

/// How often a reason is logged: often enough to see that it continues.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The format of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FailureFormat {
    /// gRPC: trailers only, with HTTP 200.
    Grpc,
    /// A JSON body in a surface's dialect, to a request of this method.
    Http(Dialect, Method),
}

impl Failure {
    /// The code in metrics and bodies.
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
                "the call is permitted and the model's server closed the connection early; tell its operator"
            }
            Self::TimedOut => {
                "the call is permitted and the model's server does not respond in time; try again, or tell its operator"
            }
            Self::Busy => {
                "the call is permitted and the model's server is busy with as many requests as its limit allows; try again"
            }
            Self::Astray => {
                "the call is permitted and the model's server responded with an address of its own, past Spanner, so the response is withheld; tell its operator"
            }
            Self::CallerLeft => "the request's body ended early; send it again",
            Self::Rejected => {
                "the call is permitted and the model's server rejects this proxy's own credential, not yours; tell its operator, who must correct the credential of the upstream"
            }
            Self::NoCredential => {
                "the call is permitted and the model's server asks this proxy for a credential, not you; tell its operator, who must configure one for the upstream"
            }
            Self::CallerLate => "the request's body did not arrive in time; send it without pauses",
            Self::Share(share) => share.sentence(),
        }
    }

    /// The response.
    pub(crate) fn answer(self, format: FailureFormat) -> Response<Full<Bytes>> {
        let mut response = match format {
            FailureFormat::Grpc => self.grpc_answer(),
            FailureFormat::Http(dialect, method) => self.http_answer(dialect, &method),
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
        self.set_grpc_status(headers);
        response
    }

    /// Sets the gRPC status in headers or trailers.
    pub(crate) fn set_grpc_status(self, headers: &mut HeaderMap) {
        headers.insert("grpc-status", HeaderValue::from_static(self.grpc()));
        headers.insert("grpc-message", HeaderValue::from_static(self.sentence()));
        // Details of the replaced status.
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
    fn each_cause_has_its_words() {
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
    fn a_reason_is_logged_once_in_a_while_and_another_at_once() {
        let log = FailureLog::default();
        assert_eq!(log.recovered(), None);
        assert_eq!(log.note("one"), Some(0));
        assert_eq!(log.note("one"), None);
        assert_eq!(log.note("one"), None);
        assert_eq!(log.note("two"), Some(0));
        assert_eq!(log.recovered(), Some(2));
        assert_eq!(log.recovered(), None);
    }
}
