//! Whether a model server rejects the proxy itself.
//!
//! The caller's credential never reaches a model server, so an answer about a credential is
//! about the proxy's own, or about its having none. Callers cannot mend that, and a challenge
//! would make them send theirs again.

use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};

use crate::failure::Failure;

/// Headers in which a server speaks of credentials (RFC 9110 §11).
const CHALLENGES: [HeaderName; 3] = [
    WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("proxy-authentication-info"),
];
/// Classes of errors with which AWS answers 403 to a credential.
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
/// What the Hugging Face Hub answers with 401 to somebody without a credential for which the
/// thing asked for does not exist.
const HUB_NOT_FOUND: [&str; 3] = ["EntryNotFound", "RepoNotFound", "RevisionNotFound"];
/// What it says of a repository whose terms the proxy's account has not accepted.
const HUB_GATED: &str = "GatedRepo";

/// gRPC `UNAUTHENTICATED`.
const GRPC_UNAUTHENTICATED: &str = "16";

/// Takes what concerns the proxy's credential out of an answer.
///
/// # Errors
/// The failure that it is, where the answer is about nothing else.
pub(crate) fn look<B>(response: &mut Response<B>, configured: bool) -> Result<(), Failure> {
    let (status, headers) = (response.status(), response.headers());
    let code = text(headers, "x-error-code");
    let missing = code.is_some_and(|code| HUB_NOT_FOUND.contains(&code));
    let rejected = match status {
        StatusCode::UNAUTHORIZED => !missing,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => true,
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

/// The same for the trailers of a gRPC answer, which are rewritten.
pub(crate) fn look_at_trailers(trailers: &mut HeaderMap, configured: bool) {
    if is_unauthenticated(trailers) {
        failure(configured).say_in(trailers);
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

/// Behind a colon stands where the class is described.
fn is_amzn_rejection(class: &str) -> bool {
    let class = class.split(':').next().unwrap_or_default();
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
    fn tells_what_is_about_the_proxys_credential() {
        let rejected = Err(Failure::Rejected);
        let bearer = ("www-authenticate", "Bearer realm=\"upstream\"");
        for (status, headers, due) in [
            (200, &[][..], Ok(200)),
            (401, &[], rejected),
            (401, &[bearer], rejected),
            (407, &[("proxy-authenticate", "Basic")], rejected),
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
            let found = look(&mut response, true).map(|()| response.status().as_u16());
            assert_eq!(found, due, "{status} {headers:?}");
            let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
            assert!(found.is_err() || !challenged, "{status} {headers:?}");
        }
        let mut response = answer(401, &[]);
        assert_eq!(look(&mut response, false), Err(Failure::NoCredential));
    }

    #[test]
    fn rewrites_the_trailers_of_a_rejection() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("16"));
        trailers.insert("grpc-message", HeaderValue::from_static("bad token"));
        trailers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        look_at_trailers(&mut trailers, true);
        assert_eq!(trailers["grpc-status"], "14");
        let message = trailers["grpc-message"].to_str().unwrap();
        assert!(message.contains("operator"), "{message}");
        assert!(!trailers.contains_key(WWW_AUTHENTICATE));
        trailers.insert("grpc-status", HeaderValue::from_static("7"));
        look_at_trailers(&mut trailers, true);
        assert_eq!(trailers["grpc-status"], "7");
    }
}
