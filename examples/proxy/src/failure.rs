//! What a caller hears when the model server gives no answer.
//!
//! The guard says whose failure it is (`spanner-fault: model` or `model_timeout`); here it
//! is put into the words of the API, so that official clients show it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use spanner_tower::surface::Dialect;

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
}

/// How to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Trailers only, over HTTP 200.
    Grpc,
    /// A JSON body in a surface's dialect.
    Http(Dialect),
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
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
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
            | Self::NoCredential => "14",
            Self::TimedOut => "4",
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
        }
    }

    /// The answer.
    pub(crate) fn answer(self, voice: Voice) -> Response<Full<Bytes>> {
        let mut response = match voice {
            Voice::Grpc => self.grpc_answer(),
            Voice::Http(dialect) => self.http_answer(dialect),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::Busy {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
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

    fn http_answer(self, dialect: Dialect) -> Response<Full<Bytes>> {
        let answer = dialect.failure(self.status(), self.as_str(), self.sentence());
        answer.map(Full::new)
    }
}
