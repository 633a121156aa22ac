//! In which words a caller is answered: which API its client speaks, as far as the head of its
//! request says.

use http::Method;
use http::request::Parts;

use super::credentials;
use crate::media::is_grpc;
use crate::resolve::{Match, Routes};
use crate::surface::{Credential, Dialect};

/// How a refusal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Trailers only, over HTTP 200.
    Grpc,
    /// A body in a surface's dialect.
    Http {
        dialect: Dialect,
        /// Whether clients of the API wait for a `Basic` challenge before they send a token.
        basic: bool,
        /// Whether the answer is to a `HEAD`.
        head: bool,
        /// Whether the caller sent `Authorization: Bearer`.
        bearer: bool,
        /// Whether it is Azure's, whose clients show identifiers of their own.
        azure: bool,
    },
}

impl Voice {
    /// How to answer a request to a known route. A route that is no gRPC method answers with an
    /// HTTP status, whatever the request says of itself.
    pub(super) fn of(parts: &Parts, route: &Match) -> Self {
        if route.is_grpc() && is_grpc(&parts.headers) {
            return Self::Grpc;
        }
        Self::http(parts, route.dialect(), route.credentials())
    }

    /// How to answer a request to an unknown route.
    pub(super) fn of_stranger(parts: &Parts, routes: &Routes) -> Self {
        if is_grpc(&parts.headers) {
            return Self::Grpc;
        }
        let likeness = routes.likeness(parts.uri.path());
        let (dialect, places) = likeness.unwrap_or((Dialect::Problem, &[]));
        Self::http(parts, dialect, places)
    }

    fn http(parts: &Parts, dialect: Dialect, places: &[Credential]) -> Self {
        Self::Http {
            dialect,
            basic: places.contains(&Credential::Basic),
            head: parts.method == Method::HEAD,
            bearer: credentials::is_bearer(&parts.headers),
            azure: places.contains(&Credential::ApiKey),
        }
    }

    /// The headers besides `x-request-id` in which clients of the API look for the identifier
    /// that they show.
    pub(super) const fn request_ids(self) -> &'static [&'static str] {
        match self {
            Self::Http { azure: true, .. } => &["apim-request-id", "x-ms-request-id"],
            Self::Http {
                dialect: Dialect::Anthropic,
                ..
            } => &["request-id"],
            Self::Http {
                dialect: Dialect::Aws,
                ..
            } => &["x-amzn-requestid"],
            Self::Http { .. } | Self::Grpc => &[],
        }
    }
}
