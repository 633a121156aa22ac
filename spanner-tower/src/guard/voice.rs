//! Selects the format of refusals by the API that the client speaks, as far as the request's
//! head shows it.

use http::Method;
use http::request::Parts;

use super::credentials;
use crate::media::is_grpc;
use crate::resolve::{Match, Routes};
use crate::surface::{Credential, Dialect};

/// The format of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Trailers only, over HTTP 200.
    Grpc,
    /// A body in a surface's dialect.
    Http {
        dialect: Dialect,
        /// Whether clients of the API send a token only after a `Basic` challenge.
        basic: bool,
        /// Whether the request is a `HEAD`.
        head: bool,
        /// Whether the caller sent `Authorization: Bearer`.
        bearer: bool,
        /// Whether the API is Azure's, whose clients show request ids of their own headers.
        azure: bool,
    },
}

impl Voice {
    /// The format for a known route. A route that is not a gRPC method answers with an HTTP
    /// status, even if the request has the content type of gRPC.
    pub(super) fn of(parts: &Parts, route: &Match) -> Self {
        if route.is_grpc() && is_grpc(&parts.headers) {
            return Self::Grpc;
        }
        Self::http(parts, route.dialect(), route.credentials())
    }

    /// The format for an unknown route.
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

    /// The headers besides `x-request-id` in which clients of the API look for the request id
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
