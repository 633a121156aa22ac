//! Responses of the API: JSON, or a problem document (RFC 9457).

use std::fmt::Display;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use spanner_core::{Fault, PromotionId, RecordId};
use spanner_tower::{GuardResponse, ReauthorizationRefused};

use crate::error::StepError;

/// A response before serialization.
#[derive(Debug)]
pub(super) enum Reply {
    /// A result or an error of the API itself.
    Own(Box<OwnReply>),
    /// A refusal by the guard, which also writes the response.
    Refused(Box<ReauthorizationRefused>),
    /// A static document.
    Document(&'static str),
}

/// A result or an error of the API itself.
#[derive(Debug)]
pub(super) struct OwnReply {
    status: u16,
    body: Value,
    fault: Option<Fault>,
    /// A stable code for the record, if it is an error.
    code: Option<&'static str>,
    location: Option<String>,
    /// The decision that authorized it, if it had a decision of its own.
    decision: Option<RecordId>,
}

impl Reply {
    pub(super) const fn document(text: &'static str) -> Self {
        Self::Document(text)
    }

    pub(super) fn ok(body: Value, decision: Option<RecordId>) -> Self {
        Self::own(200, None, body, decision)
    }

    pub(super) fn created(body: Value, id: PromotionId, decision: RecordId) -> Self {
        Self::Own(Box::new(OwnReply {
            status: 201,
            body,
            fault: None,
            code: None,
            location: Some(format!("/spanner/v1/promotions/{id}")),
            decision: Some(decision),
        }))
    }

    /// An error with its status, stable code, description and advice.
    pub(super) fn failure(
        status: u16,
        fault: Fault,
        code: &'static str,
        what: &dyn Display,
        advice: &str,
    ) -> Self {
        Self::problem(status, fault, code, &what.to_string(), advice, None)
    }

    /// An error for an invalid part of the request.
    pub(super) fn malformed(code: &'static str, what: &dyn Display, advice: &str) -> Self {
        Self::failure(400, Fault::AmbiguousRequest, code, what, advice)
    }

    /// An error for a step that was authorized by `decision` and then failed.
    pub(super) fn step(error: &StepError, decision: Option<RecordId>) -> Self {
        let (status, text) = (error.status(), error.to_string());
        let fault = match status {
            400 | 413 => Fault::AmbiguousRequest,
            404 => Fault::UnknownRoute,
            503 => Fault::GuardUnavailable,
            _ => Fault::Permission,
        };
        let advice = error.advice();
        Self::problem(status, fault, error.code(), &text, &advice, decision)
    }

    fn problem(
        status: u16,
        fault: Fault,
        code: &'static str,
        what: &str,
        advice: &str,
        decision: Option<RecordId>,
    ) -> Self {
        let body = json!({
            "type": "about:blank",
            "title": code,
            "status": status,
            "detail": format!("{what}; {advice}"),
            "fault": fault.as_str(),
        });
        Self::own(status, Some((fault, code)), body, decision)
    }

    fn own(
        status: u16,
        failure: Option<(Fault, &'static str)>,
        body: Value,
        decision: Option<RecordId>,
    ) -> Self {
        Self::Own(Box::new(OwnReply {
            status,
            body,
            fault: failure.map(|(fault, _)| fault),
            code: failure.map(|(_, code)| code),
            location: None,
            decision,
        }))
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Refused(refused) => refused.into_response(),
            Self::Own(reply) => reply.into_response(),
            Self::Document(text) => document(text),
        }
    }
}

impl OwnReply {
    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body.to_string())));
        let status = StatusCode::from_u16(self.status);
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (ours, media_type) = match self.fault {
            Some(fault) => (GuardResponse::failed(fault), "application/problem+json"),
            None => (GuardResponse::default(), "application/json"),
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == 503 {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(Ok(location)) = self.location.map(HeaderValue::try_from) {
            headers.insert(LOCATION, location);
        }
        let ours = match self.code {
            Some(code) => ours.because(code),
            None => ours,
        };
        let ours = ours.about(self.decision);
        response.extensions_mut().insert(ours);
        response
    }
}

impl From<ReauthorizationRefused> for Reply {
    fn from(refused: ReauthorizationRefused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

fn document(text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(GuardResponse::default());
    response
}
