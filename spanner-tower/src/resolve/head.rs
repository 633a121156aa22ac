//! Reads what a request's head says about its body and its model.

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode;
use spanner_core::RequestFault;

/// Prefixes of headers by which servers and routers choose another model, method or path than
/// the request names. A request with one that the route does not read is refused.
const RETARGETING: [&str; 8] = [
    "openai-model",
    "x-amzn-sagemaker-adapter-identifier",
    "x-amzn-sagemaker-inference-component",
    "x-amzn-sagemaker-target-",
    "x-gateway-",
    "x-litellm-model",
    "x-model",
    "x-vertex-ai-triton-redirect",
];

/// Prefixes of headers by which some frameworks choose another method or path. They affect no
/// decision and are not forwarded.
const REWRITING: [&str; 6] = [
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-prefix",
];

/// The prefixes of the guard's own headers, and of headers that look like them.
const OURS: [&str; 2] = ["spanner-", "x-spanner-"];

/// Query keys by which some server chooses a model.
const SELECTORS: [&str; 7] = [
    "model",
    "models",
    "model_name",
    "model_id",
    "engine",
    "deployment",
    "adapter_id",
];

/// The media type of a body, as far as it affects how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// JSON in UTF-8.
    Json,
    /// A form, in either encoding.
    Form,
    /// Lines of JSON.
    Lines,
    /// A git push.
    Push,
    /// gRPC with protobuf messages.
    Grpc,
    /// Anything else, or nothing.
    Other,
}

/// Refuses a request whose headers redirect it to another target.
pub(crate) fn refuse_detours(parts: &Parts, read: &[HeaderName]) -> Result<(), RequestFault> {
    refuse_retargeting(parts, read)?;
    // What follows an upgrade is not HTTP and cannot be decided.
    if parts.headers.contains_key(UPGRADE) || parts.method == Method::CONNECT {
        return Err(RequestFault::Opaque);
    }
    Ok(())
}

/// Refuses headers by which some server chooses the model, unless the route reads them.
pub(super) fn refuse_retargeting(parts: &Parts, read: &[HeaderName]) -> Result<(), RequestFault> {
    let unread = |name: &&HeaderName| !read.contains(name);
    match parts.headers.keys().filter(unread).any(retargets) {
        true => Err(RequestFault::SelectorConflict),
        false => Ok(()),
    }
}

/// Whether a request opens a WebSocket (RFC 6455 §4.1).
pub(super) fn is_websocket(parts: &Parts) -> bool {
    let header = |name: &HeaderName| single(&parts.headers, name).ok().flatten();
    let upgrades = header(&UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let connection = header(&CONNECTION).unwrap_or_default();
    let mut options = connection.split(',').map(str::trim);
    parts.method == Method::GET
        && upgrades
        && options.any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// The value of a header that names a model; `None` if it is empty.
pub(super) fn named<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, RequestFault> {
    match single(headers, name) {
        Ok(text) => Ok(text.filter(|text| !text.is_empty())),
        Err(()) => Err(RequestFault::SelectorConflict),
    }
}

/// Removes every header that only the guard may set.
pub(crate) fn remove_ours(headers: &mut HeaderMap) {
    remove(headers, is_ours);
}

/// Removes headers by which some frameworks change the method or path.
pub(crate) fn remove_rewriting(headers: &mut HeaderMap) {
    remove(headers, |name| {
        REWRITING.iter().any(|start| begins(name, start))
    });
}

fn is_ours(name: &HeaderName) -> bool {
    OURS.iter().any(|start| begins(name, start))
}

/// Removes from trailers what must not reach a service: credentials, and fields that would have
/// been refused in the head.
pub(super) fn clean(trailers: &mut HeaderMap) {
    remove(trailers, |name| {
        let rewrites = REWRITING.iter().any(|start| begins(name, start));
        *name == AUTHORIZATION || is_ours(name) || retargets(name) || rewrites
    });
}

fn retargets(name: &HeaderName) -> bool {
    RETARGETING.iter().any(|start| begins(name, start))
}

/// Whether a name has this prefix for a server that treats `_` as `-` (RFC 3875 §4.1.18).
fn begins(name: &HeaderName, start: &str) -> bool {
    let name = name
        .as_str()
        .bytes()
        .map(|b| if b == b'_' { b'-' } else { b });
    name.take(start.len()).eq(start.bytes())
}

fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = headers
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Reads `Content-Type`; there is at most one.
pub(super) fn media(headers: &HeaderMap) -> Result<Media, RequestFault> {
    let Some(text) = single(headers, &CONTENT_TYPE).map_err(|()| RequestFault::ContentType)? else {
        return Ok(Media::Other);
    };
    let mut parts = text.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.split('/').count() == 2 && essence.ends_with("+json"));
    match essence.as_str() {
        _ if is_json => check_charset(parts).map(|()| Media::Json),
        "application/grpc" | "application/grpc+proto" => Ok(Media::Grpc),
        "application/x-www-form-urlencoded" => Ok(Media::Form),
        "multipart/form-data" => Ok(Media::Form),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            check_charset(parts).map(|()| Media::Lines)
        }
        "application/x-git-receive-pack-request" => Ok(Media::Push),
        _ => Ok(Media::Other),
    }
}

/// Refuses a charset other than UTF-8, because servers follow it. JSON is always UTF-8 (RFC 8259
/// §8.1).
fn check_charset<'h>(parameters: impl Iterator<Item = &'h str>) -> Result<(), RequestFault> {
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = name.trim().to_ascii_lowercase();
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        let utf8 = name == "charset" && matches!(value.as_str(), "utf-8" | "utf8");
        if name.starts_with("charset") && !utf8 {
            return Err(RequestFault::Charset);
        }
    }
    Ok(())
}

/// The one value of a header; an error if there are several or it is not text.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (values.next(), value.to_str()) {
        (None, Ok(text)) => Ok(Some(text)),
        _ => Err(()),
    }
}

/// The values of the declared keys of a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pairs: Vec<(String, Option<String>)>,
}

impl Query {
    /// Reads the declared keys of a query. It refuses a repeated key and any other key by which
    /// some server chooses a model.
    pub(super) fn read(raw: Option<&str>, declared: &[String]) -> Result<Self, RequestFault> {
        let mut query = Self::default();
        let raw = raw.unwrap_or_default();
        // Some servers also split the query at `;`.
        if raw.contains(';') && !declared.is_empty() {
            return Err(RequestFault::SelectorConflict);
        }
        for pair in raw.split(['&', ';']) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = text(key).unwrap_or_default();
            if declared.contains(&key) {
                if query.pairs.iter().any(|(known, _)| *known == key) {
                    return Err(RequestFault::SelectorConflict);
                }
                query.pairs.push((key, text(value)));
            } else if selects(&key, declared) {
                return Err(RequestFault::SelectorConflict);
            }
        }
        Ok(query)
    }

    /// Whether a declared key is present, with or without a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == key)
    }

    /// The value of a declared key; `None` if it is empty.
    pub(super) fn value(&self, key: &str) -> Result<Option<&str>, RequestFault> {
        match self.pairs.iter().find(|(known, _)| known == key) {
            None => Ok(None),
            Some((_, None)) => Err(RequestFault::Model),
            Some((_, Some(value))) => Ok(Some(value.as_str()).filter(|value| !value.is_empty())),
        }
    }
}

/// Whether some server takes this key for a selector, ignoring case or list brackets.
fn selects(key: &str, declared: &[String]) -> bool {
    let key = key.split('[').next().unwrap_or_default().trim();
    let declared = declared.iter().map(String::as_str);
    SELECTORS
        .into_iter()
        .chain(declared)
        .any(|selector| key.eq_ignore_ascii_case(selector))
}

/// Decodes a part of a query as a form field; `None` if it is not UTF-8.
fn text(raw: &str) -> Option<String> {
    let spaced = raw.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8().ok()?;
    Some(decoded.into_owned())
}
