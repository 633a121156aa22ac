//! The format of a refusal in each dialect, as official clients read it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use spanner_core::{Fault, RecordId, Status};

use super::headers::set;
use crate::surface::Dialect;

/// The headers in which `huggingface_hub` reads the error class and the reason.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
/// The Hub's error class for a repository whose existence the caller may know and which it may
/// not use.
const GATED: &str = "GatedRepo";
/// The header in which AWS clients read the error class.
const AMZN_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The content of a refusal, independent of its format.
pub(super) struct ErrorContent<'a> {
    pub(super) http: u16,
    pub(super) status: Status,
    pub(super) fault: Fault,
    pub(super) code: &'a str,
    pub(super) text: &'a str,
    /// The id of the record, if it is known.
    pub(super) id: Option<RecordId>,
    /// Whether the response answers a `HEAD` request and has no body.
    pub(super) to_head: bool,
    /// Whether the caller sent `Authorization: Bearer`.
    pub(super) bearer: bool,
}

impl Dialect {
    /// Writes the response of a service behind the guard that cannot serve, in the error format
    /// of the API: a stable `code` for programs and a `text` for people. The guard puts the
    /// dialect of the matched route into the request's extensions.
    ///
    /// ```
    /// use http::StatusCode;
    /// use spanner_tower::surface::Dialect;
    ///
    /// let text = "the model's server cannot be reached";
    /// let answer = Dialect::Anthropic.failure(StatusCode::BAD_GATEWAY, "unreachable", text);
    /// assert_eq!(answer.status(), 502);
    /// assert!(String::from_utf8_lossy(answer.body()).contains(text));
    /// ```
    #[must_use]
    pub fn failure(self, status: StatusCode, code: &str, text: &str) -> Response<Bytes> {
        self.failure_to(&Method::GET, status, code, text)
    }

    /// Does the same for a request with this method. Clients of the Hugging Face Hub request a
    /// file with `HEAD` first. The response has no body, and the clients report a connection
    /// problem for any status unless the headers name an error that they know.
    #[must_use]
    pub fn failure_to(
        self,
        method: &Method,
        status: StatusCode,
        code: &str,
        text: &str,
    ) -> Response<Bytes> {
        let (class, fault) = match status {
            StatusCode::GATEWAY_TIMEOUT => (Status::RequestTimeout, Fault::ModelTimeout),
            status if status.is_client_error() => (Status::BadRequest, Fault::AmbiguousRequest),
            _ => (Status::Unavailable, Fault::Model),
        };
        let said = ErrorContent {
            http: status.as_u16(),
            status: class,
            fault,
            code,
            text,
            id: None,
            to_head: method == Method::HEAD,
            bearer: false,
        };
        let mut response = said.in_words_of(self);
        *response.status_mut() = status;
        response
    }
}

impl ErrorContent<'_> {
    /// The headers and the body in which clients of the API read the reason. The status is not
    /// set.
    pub(super) fn in_words_of(&self, dialect: Dialect) -> Response<Bytes> {
        let mut headers = HeaderMap::new();
        let (media_type, body) = self.write(dialect, &mut headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let mut response = Response::new(Bytes::from(body));
        *response.headers_mut() = headers;
        response
    }

    /// Returns the media type and the body, and sets the headers of the dialect.
    fn write(&self, dialect: Dialect, headers: &mut HeaderMap) -> (&'static str, String) {
        let Self { status, text, .. } = *self;
        let mut body = match dialect {
            Dialect::OpenAi => {
                set(headers, ERROR_MESSAGE, text);
                json!({"error": self.openai()})
            }
            Dialect::HuggingFaceRouter => {
                set(headers, ERROR_MESSAGE, text);
                self.router()
            }
            Dialect::HuggingFace | Dialect::HuggingFaceCreate => {
                set(headers, ERROR_MESSAGE, text);
                if dialect == Dialect::HuggingFace && self.is_shown_as_gated() {
                    set(headers, ERROR_CODE, GATED);
                }
                json!({"error": text})
            }
            Dialect::Tgi => {
                set(headers, ERROR_MESSAGE, text);
                json!({"error": text, "error_type": self.fault.as_str()})
            }
            Dialect::OpenInference => json!({"error": text}),
            Dialect::TorchServe => {
                json!({"code": self.http, "type": aws(status), "message": text})
            }
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic(status), "message": text},
            }),
            Dialect::Cohere => json!({"message": text}),
            Dialect::Google => json!({"error": {
                "code": self.http,
                "message": text,
                "status": google(status),
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": self.code.to_ascii_uppercase(),
                    "domain": "spanner",
                }],
            }}),
            Dialect::Aws => {
                set(headers, AMZN_ERROR, aws(status));
                json!({"message": text})
            }
            Dialect::Mlflow => json!({"error_code": mlflow(status), "message": text}),
            Dialect::Git => return ("text/plain; charset=utf-8", format!("{text}\n")),
            Dialect::Problem => {
                set(headers, ERROR_MESSAGE, text);
                self.problem()
            }
        };
        let id = match dialect {
            Dialect::Anthropic => Some("request_id"),
            Dialect::Cohere => Some("id"),
            Dialect::Problem => Some("decision"),
            _ => None,
        };
        if let (Some(name), Some(id), Some(members)) = (id, self.id, body.as_object_mut()) {
            members.insert(name.to_owned(), json!(id));
        }
        let media_type = match dialect {
            Dialect::Problem => "application/problem+json",
            _ => "application/json",
        };
        (media_type, body.to_string())
    }

    /// The HTTP status in a dialect.
    pub(super) const fn status_in(&self, dialect: Dialect) -> u16 {
        const FORBIDDEN: u16 = 403;
        const HIDDEN: u16 = 404;
        match (dialect, self.status) {
            (Dialect::HuggingFaceCreate, Status::Forbidden) => HIDDEN,
            // On a 401, git asks for a user name and password and hides the reason. It sends
            // configured headers with every request anyway, so a challenge would gain nothing.
            (Dialect::Git, Status::Unauthorized) if self.bearer => FORBIDDEN,
            _ => self.http,
        }
    }

    /// Whether `huggingface_hub` is told that the repository is gated: the caller may know of it
    /// and may not use it. For `HEAD`, clients show no other error except a credential's.
    const fn is_shown_as_gated(&self) -> bool {
        match self.fault {
            Fault::Permission | Fault::PolicyError => true,
            Fault::Credential => false,
            _ => self.to_head,
        }
    }

    /// `@huggingface/inference` shows `error` if it is a string, or else a top-level `message`;
    /// for statuses that it takes for the provider's, it shows all of `error`. `openai` shows
    /// the `message` of `error`, or a top-level one.
    fn router(&self) -> Value {
        let error = self.openai();
        match self.http {
            400 | 404 | 422 | 500 => json!({"error": error}),
            _ => error,
        }
    }

    fn openai(&self) -> Value {
        json!({
            "message": self.text,
            "type": openai(self.fault, self.status),
            "param": null,
            "code": self.code,
        })
    }

    /// Problem details (RFC 9457 §3). `message` is for clients that do not know the format: any
    /// client may call a route that no surface knows.
    fn problem(&self) -> Value {
        json!({
            "type": "about:blank",
            "title": self.code,
            "status": self.http,
            "detail": self.text,
            "fault": self.fault.as_str(),
            "message": self.text,
        })
    }
}

/// The `type` that the OpenAI API uses for errors of this class.
const fn openai(fault: Fault, status: Status) -> &'static str {
    match fault {
        _ if matches!(status, Status::TooMany) => "rate_limit_error",
        Fault::Credential => "authentication_error",
        Fault::Permission | Fault::PolicyError => "permission_error",
        Fault::UnknownRoute | Fault::AmbiguousRequest => "invalid_request_error",
        Fault::Model | Fault::ModelTimeout | Fault::GuardUnavailable => "server_error",
        _ => "server_error",
    }
}

const fn anthropic(status: Status) -> &'static str {
    match status {
        Status::BadRequest
        | Status::BadCredentials
        | Status::UnsupportedMedia
        | Status::Unimplemented => "invalid_request_error",
        Status::Unauthorized => "authentication_error",
        Status::Forbidden => "permission_error",
        Status::TooLarge => "request_too_large",
        Status::TooMany => "rate_limit_error",
        Status::RequestTimeout => "timeout_error",
        Status::Unavailable => "api_error",
        _ => "api_error",
    }
}

/// The names of `google.rpc.Code`.
const fn google(status: Status) -> &'static str {
    match status {
        Status::BadRequest | Status::UnsupportedMedia | Status::TooLarge => "INVALID_ARGUMENT",
        Status::BadCredentials | Status::Unauthorized => "UNAUTHENTICATED",
        Status::Forbidden => "PERMISSION_DENIED",
        Status::RequestTimeout => "DEADLINE_EXCEEDED",
        Status::Unimplemented => "UNIMPLEMENTED",
        Status::TooMany => "RESOURCE_EXHAUSTED",
        Status::Unavailable => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

const fn aws(status: Status) -> &'static str {
    match status {
        Status::Unauthorized | Status::BadCredentials => "UnrecognizedClientException",
        Status::Forbidden => "AccessDeniedException",
        Status::RequestTimeout => "RequestTimeoutException",
        Status::TooLarge => "RequestEntityTooLargeException",
        Status::TooMany => "ThrottlingException",
        Status::Unavailable => "ServiceUnavailableException",
        _ => "ValidationException",
    }
}

/// The names of MLflow's `ErrorCode`.
const fn mlflow(status: Status) -> &'static str {
    match status {
        Status::Unauthorized | Status::BadCredentials => "UNAUTHENTICATED",
        Status::Forbidden => "PERMISSION_DENIED",
        Status::TooMany => "REQUEST_LIMIT_EXCEEDED",
        Status::RequestTimeout | Status::Unavailable => "TEMPORARILY_UNAVAILABLE",
        _ => "INVALID_PARAMETER_VALUE",
    }
}
