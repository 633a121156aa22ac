//! Writes refusals in the error format of the API that was called.
//!
//! Official clients read the reason only where their API puts it, so each dialect has a format
//! of its own. Classes, codes and advice are the same in all of them.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use spanner_core::{Notice, Obstacle, RecordId, Refusal, Status, TokenFault};

use super::dialect::ErrorContent;
use super::headers::{DECISION, FAULT, ORIGIN, fault, set};
use super::voice::Voice;
use crate::surface::Dialect;

/// Carries the record id for clients of model APIs, which show this header.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The characters to percent-encode in a `grpc-message` (gRPC over HTTP/2, "Percent-Encoded").
const GRPC_ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The parameters of a challenge other than the error.
#[derive(Debug, Clone, Default)]
pub(super) struct Realm {
    pub(super) name: String,
    pub(super) metadata: Option<String>,
    /// The accepted algorithms of `DPoP` proofs; `None` if `DPoP` is not accepted.
    pub(super) proof_algorithms: Option<String>,
}

/// Writes the response for a refusal.
pub(super) fn answer(
    refusal: &Refusal,
    id: Option<RecordId>,
    voice: Voice,
    realm: &Realm,
) -> Response<Bytes> {
    let notice = refusal.notice();
    let mut response = match voice {
        Voice::Grpc => grpc(&notice, id),
        Voice::Http {
            dialect,
            head,
            bearer,
            ..
        } => http(&notice, dialect, (head, bearer), id),
    };
    let headers = response.headers_mut();
    challenge(headers, realm, refusal, &notice, id);
    if matches!(voice, Voice::Http { basic: true, .. }) && notice.status == Status::Unauthorized {
        let text = format!("Basic realm={}", quoted(&realm.name));
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    if let Some(seconds) = notice.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ORIGIN, HeaderValue::from_static("guard"));
    headers.insert(FAULT, fault(notice.fault));
    if let Some(id) = id {
        let id = id.to_string();
        set(headers, DECISION, &id);
        set(headers, REQUEST_ID, &id);
        for name in voice.request_ids() {
            set(headers, HeaderName::from_static(name), &id);
        }
    }
    response
}

/// The body of the response for a refusal.
pub(super) fn text(refusal: &Refusal, dialect: Dialect, id: Option<RecordId>) -> Bytes {
    http(&refusal.notice(), dialect, (false, false), id).into_body()
}

/// The trailers that end a gRPC stream because a later message was refused or the stream may not
/// continue.
pub(super) fn trailers(refusal: &Refusal, id: Option<RecordId>, realm: &Realm) -> HeaderMap {
    let notice = refusal.notice();
    let mut trailers = HeaderMap::new();
    grpc_status(&mut trailers, &notice, id);
    challenge(&mut trailers, realm, refusal, &notice, id);
    trailers.insert(FAULT, fault(notice.fault));
    trailers
}

fn grpc(notice: &Notice, id: Option<RecordId>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    grpc_status(headers, notice, id);
    response
}

fn grpc_status(headers: &mut HeaderMap, notice: &Notice, id: Option<RecordId>) {
    headers.insert(
        GRPC_STATUS,
        HeaderValue::from(u16::from(notice.status.grpc())),
    );
    let text = sentence(notice, id);
    set(
        headers,
        GRPC_MESSAGE,
        &utf8_percent_encode(&text, GRPC_ESCAPED).to_string(),
    );
}

fn http(
    notice: &Notice,
    dialect: Dialect,
    (to_head, bearer): (bool, bool),
    id: Option<RecordId>,
) -> Response<Bytes> {
    let text = sentence(notice, id);
    let said = ErrorContent {
        http: notice.status.http(),
        status: notice.status,
        fault: notice.fault,
        code: notice.code,
        text: &text,
        id,
        to_head,
        bearer,
    };
    let mut response = said.in_words_of(dialect);
    *response.status_mut() =
        StatusCode::from_u16(said.status_in(dialect)).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    response
}

/// The message, the advice and the record id in one sentence. Many clients show nothing else.
fn sentence(notice: &Notice, id: Option<RecordId>) -> String {
    let Notice {
        message, advice, ..
    } = notice;
    match id {
        Some(id) => format!("{message}; {advice} (decision {id})"),
        None => format!("{message}; {advice}"),
    }
}

/// Adds the challenge of RFC 6750 §3, if the refusal has one, with the step-up parameters of RFC
/// 9470 §3 and the `resource_metadata` of RFC 9728 §5.1.
fn challenge(
    headers: &mut HeaderMap,
    realm: &Realm,
    refusal: &Refusal,
    notice: &Notice,
    id: Option<RecordId>,
) {
    let Some(asked) = &notice.challenge else {
        return;
    };
    let mut text = format!("Bearer realm={}", quoted(&realm.name));
    let mut add = |name: &str, value: &str| text.push_str(&format!(", {name}={}", quoted(value)));
    if let Some(error) = asked.error {
        add("error", error);
        let message = &notice.message;
        let description = match id {
            Some(id) => format!("{message} (decision {id})"),
            None => message.clone(),
        };
        add("error_description", &description);
    }
    if !asked.scopes.is_empty() {
        add("scope", &asked.scopes.join(" "));
    }
    if let Some(step_up) = &asked.step_up {
        if !step_up.acr_values.is_empty() {
            add("acr_values", &step_up.acr_values.join(" "));
        }
        if let Some(max_age) = step_up.max_age {
            add("max_age", &max_age.as_secs().to_string());
        }
    }
    if let Some(metadata) = &realm.metadata {
        add("resource_metadata", metadata);
    }
    set(headers, WWW_AUTHENTICATE, &text);
    let missing_scope = !asked.scopes.is_empty();
    if let Some(algorithms) = &realm.proof_algorithms
        && asked.step_up.is_none()
        && !missing_scope
    {
        let text = proof_challenge(realm, algorithms, refusal, asked.error);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
}

/// The challenge of RFC 9449 §7.1, beside the one for bearer tokens.
fn proof_challenge(
    realm: &Realm,
    algorithms: &str,
    refusal: &Refusal,
    error: Option<&str>,
) -> String {
    let about_proof = matches!(
        refusal,
        Refusal::Credential(
            Obstacle::Token(fault) | Obstacle::Genuine { fault, .. }
        ) if matches!(fault, TokenFault::ProofInvalid | TokenFault::ProofReplayed)
    );
    let error = if about_proof {
        Some("invalid_dpop_proof")
    } else {
        error
    };
    let mut text = format!("DPoP realm={}", quoted(&realm.name));
    let error = error.map(|error| ("error", error));
    let metadata = realm.metadata.as_deref();
    let metadata = metadata.map(|metadata| ("resource_metadata", metadata));
    let parts = error
        .into_iter()
        .chain([("algs", algorithms)])
        .chain(metadata);
    parts.for_each(|(name, value)| text.push_str(&format!(", {name}={}", quoted(value))));
    text
}

/// A quoted-string (RFC 9110 §5.6.4). Characters that are not allowed in one become `'`.
fn quoted(text: &str) -> String {
    let inside: String = text
        .chars()
        .map(|c| {
            if matches!(c, '"' | '\\') || c.is_control() || !c.is_ascii() {
                '\''
            } else {
                c
            }
        })
        .collect();
    format!("\"{inside}\"")
}
