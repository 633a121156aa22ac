//! The shape of a refusal in each dialect: what official clients look into for the reason.

use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use spanner_core::{Fault, Notice, RecordId, Status};

use super::answer::set;
use crate::surface::Dialect;

/// Where `huggingface_hub` looks for the class and the reason.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
/// Where AWS clients look for the class.
const AMZN_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The media type and the body of a refusal; what stands in headers is set.
pub(super) fn write(
    dialect: Dialect,
    notice: &Notice,
    text: &str,
    id: RecordId,
    headers: &mut HeaderMap,
) -> (&'static str, String) {
    let status = notice.status.http();
    let body = match dialect {
        Dialect::OpenAi => {
            set(headers, ERROR_MESSAGE, text);
            json!({"error": {
                "message": text,
                "type": openai(notice.fault),
                "param": null,
                "code": notice.code,
            }})
        }
        Dialect::HuggingFace => {
            set(headers, ERROR_MESSAGE, text);
            if let Some(code) = hugging_face(notice) {
                set(headers, ERROR_CODE, code);
            }
            json!({"error": text})
        }
        Dialect::Tgi => {
            set(headers, ERROR_MESSAGE, text);
            json!({"error": text, "error_type": notice.fault.as_str()})
        }
        Dialect::OpenInference => json!({"error": text}),
        Dialect::TorchServe => {
            json!({"code": status, "type": aws(notice.status), "message": text})
        }
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": anthropic(notice.status), "message": text},
            "request_id": id,
        }),
        Dialect::Cohere => json!({"id": id, "message": text}),
        Dialect::Google => json!({"error": {
            "code": status,
            "message": text,
            "status": google(notice.status),
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": notice.code.to_ascii_uppercase(),
                "domain": "spanner",
            }],
        }}),
        Dialect::Aws => {
            set(headers, AMZN_ERROR, aws(notice.status));
            json!({"message": text})
        }
        Dialect::Mlflow => json!({"error_code": mlflow(notice.status), "message": text}),
        Dialect::Git => return ("text/plain; charset=utf-8", format!("{text}\n")),
        Dialect::Problem => {
            let problem = problem(notice, text, id);
            return ("application/problem+json", problem.to_string());
        }
    };
    ("application/json", body.to_string())
}

/// RFC 9457 §3.
fn problem(notice: &Notice, text: &str, id: RecordId) -> Value {
    json!({
        "type": "about:blank",
        "title": notice.code,
        "status": notice.status.http(),
        "detail": text,
        "fault": notice.fault.as_str(),
        "decision": id,
    })
}

/// The `type` that the OpenAI API uses for errors of this class.
const fn openai(fault: Fault) -> &'static str {
    match fault {
        Fault::Credential => "authentication_error",
        Fault::Permission | Fault::PolicyError => "permission_error",
        Fault::UnknownRoute | Fault::AmbiguousRequest => "invalid_request_error",
        Fault::Model | Fault::ModelTimeout | Fault::GuardUnavailable => "server_error",
        _ => "server_error",
    }
}

/// `GatedRepo` is what the Hub says of a repository that the caller may know of and not use.
const fn hugging_face(notice: &Notice) -> Option<&'static str> {
    match notice.fault {
        Fault::Permission | Fault::PolicyError => Some("GatedRepo"),
        _ => None,
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
        Status::Unavailable => "ServiceUnavailableException",
        _ => "ValidationException",
    }
}

/// The names of MLflow's `ErrorCode`.
const fn mlflow(status: Status) -> &'static str {
    match status {
        Status::Unauthorized | Status::BadCredentials => "UNAUTHENTICATED",
        Status::Forbidden => "PERMISSION_DENIED",
        Status::RequestTimeout | Status::Unavailable => "TEMPORARILY_UNAVAILABLE",
        _ => "INVALID_PARAMETER_VALUE",
    }
}
