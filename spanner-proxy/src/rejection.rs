//! Recognises responses in which a model server rejects the proxy's own credential.
//!
//! The caller's credential never reaches a model server, so a response about a credential is about
//! the proxy's own, or about its absence. Callers cannot correct that, and a challenge would make
//! them send theirs again. Some APIs give the reason of a 400 or 403 only in the body, so a short
//! JSON body is read.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use crate::failure::Failure;

/// The body of a response: a stream, or whole if it was read.
pub(crate) type Received = Either<Incoming, Full<Bytes>>;

/// Headers about credentials (RFC 9110 §11).
const CHALLENGES: [HeaderName; 3] = [
    WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("proxy-authentication-info"),
];
/// Error classes of AWS's 403 for a bad credential.
const AMZN_REJECTIONS: [&str; 9] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "UnrecognizedClientException",
];
/// Codes with which the Hugging Face Hub responds 401 to a client without a credential where what it
/// asks for does not exist.
const HUB_NOT_FOUND: [&str; 3] = ["EntryNotFound", "RepoNotFound", "RevisionNotFound"];
/// Its code for a repository whose terms the proxy's account has not accepted.
const HUB_GATED: &str = "GatedRepo";

/// Codes in the bodies of other APIs: Anthropic's types, OpenAI's and Azure's codes, the reasons of
/// `google.api.ErrorReason`.
const REJECTIONS: [&str; 18] = [
    "authentication_error",
    "permission_error",
    "invalid_api_key",
    "account_deactivated",
    "missing_scope",
    "unsupported_country_region_territory",
    "AuthenticationTypeDisabled",
    "API_KEY_INVALID",
    "API_KEY_SERVICE_BLOCKED",
    "API_KEY_HTTP_REFERRER_BLOCKED",
    "API_KEY_IP_ADDRESS_BLOCKED",
    "SERVICE_DISABLED",
    "BILLING_DISABLED",
    "CONSUMER_INVALID",
    "CONSUMER_SUSPENDED",
    "CREDENTIALS_MISSING",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    "IAM_PERMISSION_DENIED",
];
/// Codes that with 403 are about the proxy's account, and with another status about the request.
const FORBIDDEN_TO_ACCOUNT: [&str; 2] = ["insufficient_permissions", "model_not_found"];
/// Members of a body that contain such codes.
const MEMBERS: [&str; 4] = ["__type", "code", "reason", "type"];
/// The longest body that is read, in bytes: an error has a few hundred.
const MAX_READ: u64 = 16 << 10;

/// gRPC `UNAUTHENTICATED`.
const GRPC_UNAUTHENTICATED: &str = "16";

/// Checks a response, and removes challenges from it. If the body is read, it must arrive within
/// `time`.
///
/// # Errors
/// The failure, if the response is about the proxy's credential.
pub(crate) async fn check<B>(
    response: Response<B>,
    configured: bool,
    time: Duration,
) -> Result<Response<Either<B, Full<Bytes>>>, Failure>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = response.into_parts();
    let mut head = Response::from_parts(parts, ());
    check_head(&mut head, configured)?;
    let (parts, ()) = head.into_parts();
    if body.is_end_stream() || !may_say_more(parts.status, &parts.headers) {
        return Ok(Response::from_parts(parts, Either::Left(body)));
    }
    let read = timeout(time, body.collect()).await;
    let read = read.map_err(|_| Failure::TimedOut)?;
    let read = read.map_err(|_| Failure::Broken)?.to_bytes();
    let said = serde_json::from_slice(&read).unwrap_or_default();
    let more = match parts.status {
        StatusCode::FORBIDDEN if configured => &FORBIDDEN_TO_ACCOUNT[..],
        _ => &[],
    };
    match is_rejection(&said, more) {
        true => Err(failure(configured)),
        false => Ok(Response::from_parts(parts, Either::Right(Full::new(read)))),
    }
}

/// Whether the body may be about a credential, and is short enough to be read.
fn may_say_more(status: StatusCode, headers: &HeaderMap) -> bool {
    let length = text(headers, CONTENT_LENGTH.as_str()).and_then(|it| it.parse::<u64>().ok());
    let json = |it: &str| {
        it.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .ends_with("json")
    };
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN)
        && length.is_some_and(|length| (1..=MAX_READ).contains(&length))
        && text(headers, CONTENT_TYPE.as_str()).is_some_and(json)
        && !headers.contains_key(CONTENT_ENCODING)
}

/// Whether an error in JSON has one of the known codes, or of these.
fn is_rejection(said: &Value, more: &[&str]) -> bool {
    match said {
        Value::Object(members) => members.iter().any(|(name, value)| match value {
            Value::String(word) => {
                MEMBERS.contains(&name.as_str())
                    && (REJECTIONS.contains(&word.as_str())
                        || more.contains(&word.as_str())
                        || is_amzn_rejection(word))
            }
            value => is_rejection(value, more),
        }),
        Value::Array(items) => items.iter().any(|item| is_rejection(item, more)),
        _ => false,
    }
}

fn check_head<B>(response: &mut Response<B>, configured: bool) -> Result<(), Failure> {
    let (status, headers) = (response.status(), response.headers());
    let code = text(headers, "x-error-code");
    let missing = code.is_some_and(|code| HUB_NOT_FOUND.contains(&code));
    let rejected = match status {
        StatusCode::UNAUTHORIZED => !missing,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => true,
        // The account that has to pay is the proxy's if it has one.
        StatusCode::PAYMENT_REQUIRED => configured,
        StatusCode::FORBIDDEN => {
            headers.contains_key(WWW_AUTHENTICATE)
                || code == Some(HUB_GATED)
                || text(headers, "x-amzn-errortype").is_some_and(is_amzn_rejection)
        }
        _ => is_unauthenticated(headers),
    };
    if rejected {
        return Err(failure(configured));
    }
    if status == StatusCode::UNAUTHORIZED {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    remove_challenges(response.headers_mut());
    Ok(())
}

/// Checks the trailers of a gRPC response, and rewrites them if they are about the proxy's
/// credential.
pub(crate) fn check_trailers(trailers: &mut HeaderMap, configured: bool) {
    if is_unauthenticated(trailers) {
        failure(configured).set_grpc_status(trailers);
    }
    remove_challenges(trailers);
}

const fn failure(configured: bool) -> Failure {
    match configured {
        true => Failure::Rejected,
        false => Failure::NoCredential,
    }
}

fn is_unauthenticated(headers: &HeaderMap) -> bool {
    text(headers, "grpc-status") == Some(GRPC_UNAUTHENTICATED)
}

/// A class may have a namespace before a `#`, and an address after a colon.
fn is_amzn_rejection(class: &str) -> bool {
    let class = class.split(':').next().unwrap_or_default();
    let class = class.rsplit('#').next().unwrap_or_default();
    AMZN_REJECTIONS.contains(&class.trim())
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(HeaderValue::to_str)?.ok()
}

fn remove_challenges(headers: &mut HeaderMap) {
    for name in CHALLENGES {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Response<()> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    }

    #[test]
    fn a_rejection_of_the_proxys_credential_is_recognised() {
        let rejected = Err(Failure::Rejected);
        let bearer = ("www-authenticate", "Bearer realm=\"upstream\"");
        for (status, headers, due) in [
            (200, &[][..], Ok(200)),
            (401, &[], rejected),
            (401, &[bearer], rejected),
            (407, &[("proxy-authenticate", "Basic")], rejected),
            (402, &[], rejected),
            (403, &[], Ok(403)),
            (403, &[bearer], rejected),
            (403, &[("x-error-code", "GatedRepo")], rejected),
            (401, &[("x-error-code", "GatedRepo")], rejected),
            (401, &[("x-error-code", "RepoNotFound"), bearer], Ok(404)),
            (404, &[("x-error-code", "RepoNotFound")], Ok(404)),
            (
                403,
                &[("x-amzn-errortype", "UnrecognizedClientException:http://x/")],
                rejected,
            ),
            (403, &[("x-amzn-errortype", "ThrottlingException")], Ok(403)),
            (200, &[("grpc-status", "16"), bearer], rejected),
            (200, &[("grpc-status", "7")], Ok(200)),
            (200, &[bearer], Ok(200)),
        ] {
            let mut response = answer(status, headers);
            let found = check_head(&mut response, true).map(|()| response.status().as_u16());
            assert_eq!(found, due, "{status} {headers:?}");
            let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
            assert!(found.is_err() || !challenged, "{status} {headers:?}");
        }
        let mut response = answer(401, &[]);
        let found = check_head(&mut response, false);
        assert_eq!(found, Err(Failure::NoCredential));
        assert_eq!(check_head(&mut answer(402, &[]), false), Ok(()));
    }

    #[tokio::test]
    async fn a_short_body_is_read_and_any_other_is_passed_on() {
        let rejected = Err(Failure::Rejected);
        let anthropic = r#"{"type":"error","error":{"type":"permission_error","message":"no"}}"#;
        let google = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        let content =
            r#"{"error":{"code":"content_policy_violation","message":"invalid_api_key"}}"#;
        let bedrock = r#"{"__type":"com.amazon.coral#UnrecognizedClientException"}"#;
        let no_access = r#"{"error":{"type":"invalid_request_error","code":"model_not_found"}}"#;
        for (status, media_type, body, due) in [
            (403, "application/json", anthropic, rejected),
            (403, "application/json", no_access, rejected),
            (400, "application/json", no_access, Ok(no_access)),
            (404, "application/json", no_access, Ok(no_access)),
            (400, "application/json; charset=UTF-8", google, rejected),
            (403, "application/json", bedrock, rejected),
            (403, "application/json", content, Ok(content)),
            (404, "application/json", anthropic, Ok(anthropic)),
            (403, "text/plain", anthropic, Ok(anthropic)),
            (403, "application/json", "no JSON", Ok("no JSON")),
        ] {
            let response = Response::builder()
                .status(status)
                .header("content-type", media_type)
                .header("content-length", body.len())
                .body(Full::new(Bytes::from_static(body.as_bytes())))
                .unwrap();
            let found = match check(response, true, Duration::from_secs(5)).await {
                Ok(passed) => Ok(passed.into_body().collect().await.unwrap().to_bytes()),
                Err(failure) => Err(failure),
            };
            assert_eq!(found, due.map(Bytes::from), "{status} {body}");
        }
    }

    #[test]
    fn the_trailers_of_a_rejection_are_rewritten() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("16"));
        trailers.insert("grpc-message", HeaderValue::from_static("bad token"));
        trailers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        check_trailers(&mut trailers, true);
        assert_eq!(trailers["grpc-status"], "14");
        let message = trailers["grpc-message"].to_str().unwrap();
        assert!(message.contains("operator"), "{message}");
        assert!(!trailers.contains_key(WWW_AUTHENTICATE));
        trailers.insert("grpc-status", HeaderValue::from_static("7"));
        check_trailers(&mut trailers, true);
        assert_eq!(trailers["grpc-status"], "7");
    }
}
