//! Which headers are forwarded.
//!
//! 1. Hop-by-hop fields (RFC 9110 §7.6.1) are removed, in both directions. Fields that `Connection`
//!    names are removed *before* the guard examines the request, so that what it checks is what is
//!    forwarded. Fields that the guard decides by, or that delimit the body, cannot be removed so.
//! 2. The caller's credentials are never forwarded, in headers, in the query or in cookies.
//! 3. The caller's claims about earlier hops are replaced by what this hop knows.
//! 4. Only the guard tells the model server who is calling.

use std::net::IpAddr;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Uri, Version};
use percent_encoding::percent_decode_str;

/// The hop-by-hop fields, besides those that `Connection` names.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Fields that `Connection` cannot remove.
const END_TO_END: [HeaderName; 8] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers in which model APIs accept keys.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "api-key",
    "dpop",
    "x-api-key",
    "x-goog-api-key",
];

/// Query parameters in which model APIs accept keys.
const QUERY_CREDENTIALS: [&str; 2] = ["access_token", "key"];

/// The cookie in which notebooks and their hubs accept tokens.
const TOKEN_COOKIE: &str = "token";

/// The encodings in which the guard can read a response.
const READABLE: [&str; 6] = ["gzip", "x-gzip", "deflate", "zstd", "br", "identity"];

/// The connection that a request came in on.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    pub(crate) peer: IpAddr,
    /// The scheme that callers use, wherever TLS is terminated.
    pub(crate) scheme: &'static str,
    /// The `Host` that the caller sent.
    pub(crate) host: Option<HeaderValue>,
}

/// Prepares a request's head for the guard: fields that `Connection` names are removed, and a request
/// over HTTP/1.1 without `Host` (RFC 9112 §3.2) loses its target, so that every guard refuses it.
pub(crate) fn received(parts: &mut Parts) {
    remove_nominated(&mut parts.headers);
    if parts.version == Version::HTTP_11 && !parts.headers.contains_key(HOST) {
        parts.uri = Uri::from_static("*");
    }
}

/// Removes the fields that `Connection` names.
pub(crate) fn remove_nominated(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        if !END_TO_END.contains(&name) {
            headers.remove(name);
        }
    }
}

/// Turns the caller's headers into those of a request to a model server.
pub(crate) fn to_upstream(headers: &mut HeaderMap, hop: Option<&Hop>, grpc: bool) {
    remove_all(headers, &HOP_BY_HOP);
    remove_all(headers, &CREDENTIALS);
    // `Expect: 100-continue` was handled on the caller's connection.
    headers.remove(EXPECT);
    headers.remove(HOST);
    headers.remove(TE);
    if grpc {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    remove_token_cookie(headers);
    offer_readable(headers);
    replace_forwarded(headers, hop);
}

/// Turns a model server's headers into those of a response to the caller.
pub(crate) fn to_caller(headers: &mut HeaderMap) {
    remove_nominated(headers);
    remove_all(headers, &HOP_BY_HOP);
}

/// A path and query without the parameters in which callers send keys.
pub(crate) fn without_keys(path: &str, query: Option<&str>) -> String {
    let is_key = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy();
        QUERY_CREDENTIALS
            .iter()
            .any(|key| name.trim().eq_ignore_ascii_case(key))
    };
    let Some(query) = query else {
        return path.to_owned();
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    }
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let words = values.filter_map(|value| value.to_str().ok());
    words
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

/// Removes headers of these names, also with `_` for `-`, which CGI servers do not tell apart
/// (RFC 3875 §4.1.18).
fn remove_all(headers: &mut HeaderMap, names: &[&str]) {
    let is_one = |name: &&HeaderName| names.contains(&name.as_str().replace('_', "-").as_str());
    let found: Vec<HeaderName> = headers.keys().filter(is_one).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Removes the cookie with a token. The other cookies become one field: HTTP/2 may split it, and
/// HTTP/1.1 may not (RFC 9113 §8.2.3).
fn remove_token_cookie(headers: &mut HeaderMap) {
    let is_token = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(TOKEN_COOKIE)
    };
    // A value that is not text is dropped, since it cannot be searched for tokens.
    let texts = headers.get_all(COOKIE).iter();
    let texts = texts.filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';').filter(|pair| !is_token(pair)));
    let pairs = pairs.map(str::trim).filter(|pair| !pair.is_empty());
    let kept = pairs.collect::<Vec<_>>().join("; ");
    headers.remove(COOKIE);
    if let (false, Ok(value)) = (kept.is_empty(), kept.parse()) {
        headers.insert(COOKIE, value);
    }
}

/// Offers the server only those of the caller's encodings that the guard can read, since usage that
/// a response reports is recorded.
fn offer_readable(headers: &mut HeaderMap) {
    let Some(first) = headers.get(ACCEPT_ENCODING) else {
        return;
    };
    let is_readable = |coding: &&str| {
        let name = coding.split(';').next().unwrap_or_default().trim();
        READABLE
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    // A value that is not text offers nothing.
    let texts = headers.get_all(ACCEPT_ENCODING).iter();
    let codings = texts.filter_map(|value| value.to_str().ok());
    let codings = codings.flat_map(|text| text.split(',')).map(str::trim);
    let kept: Vec<&str> = codings.filter(is_readable).collect();
    let kept = match (kept.is_empty(), first.is_empty()) {
        (_, true) => return,
        (true, _) => "identity".to_owned(),
        (false, _) => kept.join(", "),
    };
    if let Ok(value) = HeaderValue::try_from(kept) {
        headers.insert(ACCEPT_ENCODING, value);
    }
}

fn replace_forwarded(headers: &mut HeaderMap, hop: Option<&Hop>) {
    let is_claim = |name: &&HeaderName| {
        let name = name.as_str().replace('_', "-");
        name.starts_with("x-forwarded-") || name == "x-real-ip" || name == FORWARDED.as_str()
    };
    let claims: Vec<HeaderName> = headers.keys().filter(is_claim).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
    let Some(hop) = hop else { return };
    if let Ok(peer) = HeaderValue::try_from(hop.peer.to_string()) {
        headers.insert("x-forwarded-for", peer);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static(hop.scheme));
    if let Some(host) = &hop.host {
        headers.insert("x-forwarded-host", host.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn hop() -> Hop {
        Hop {
            peer: [192, 0, 2, 7].into(),
            scheme: "https",
            host: Some(HeaderValue::from_static("models.example.com")),
        }
    }

    #[test]
    fn connection_cannot_remove_fields_that_are_decided_by() {
        let mut map = headers(&[
            (
                "connection",
                "close, X-Trace, Authorization, content-type, host, te",
            ),
            ("x-trace", "1"),
            ("authorization", "Bearer x"),
            ("content-type", "application/json"),
            ("host", "a"),
        ]);
        remove_nominated(&mut map);
        assert_eq!(
            names(&map),
            ["authorization", "connection", "content-type", "host"]
        );
    }

    #[test]
    fn a_request_without_a_host_has_no_target() {
        for (version, uri, host, expected) in [
            (Version::HTTP_11, "/v1", None, "*"),
            (Version::HTTP_11, "http://a/v1", None, "*"),
            (Version::HTTP_11, "/v1", Some("a"), "/v1"),
            (Version::HTTP_11, "/v1", Some(""), "/v1"),
            (Version::HTTP_10, "/v1", None, "/v1"),
            (Version::HTTP_2, "http://a/v1", None, "http://a/v1"),
        ] {
            let mut request = http::Request::get(uri).version(version);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            received(&mut parts);
            assert_eq!(parts.uri, expected, "{version:?} {uri}");
        }
    }

    #[test]
    fn the_callers_credentials_and_hop_by_hop_fields_are_not_forwarded() {
        let mut map = headers(&[
            ("accept", "*/*"),
            ("api_key", "k"),
            ("authorization", "Bearer x"),
            ("connection", "keep-alive"),
            ("cookie", "a=1; token=secret; b=2"),
            ("cookie", "Token=secret"),
            ("cookie", "c=3;"),
            ("expect", "100-continue"),
            ("forwarded", "for=1.1.1.1"),
            ("host", "a"),
            ("keep-alive", "5"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("x-api-key", "k"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_user", "root"),
            ("x-goog-api-key", "k"),
        ]);
        to_upstream(&mut map, Some(&hop()), false);
        let expected = [
            "accept",
            "cookie",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        ];
        assert_eq!(names(&map), expected);
        assert_eq!(map["cookie"], "a=1; b=2; c=3");
        assert_eq!(map["x-forwarded-for"], "192.0.2.7");
        to_upstream(&mut map, Some(&hop()), true);
        assert_eq!(map["te"], "trailers");
    }

    #[test]
    fn keys_are_removed_from_a_query_and_the_rest_does_not_change() {
        for (query, expected) in [
            (None, "/v1"),
            (Some(""), "/v1?"),
            (Some("key=secret"), "/v1"),
            (Some("alt=sse&key=secret"), "/v1?alt=sse"),
            (Some("a=%20+b&%6Bey=s&c"), "/v1?a=%20+b&c"),
            (Some("Access_Token=s&keys=1"), "/v1?keys=1"),
        ] {
            assert_eq!(without_keys("/v1", query), expected, "{query:?}");
        }
    }

    #[test]
    fn a_server_is_offered_only_readable_encodings() {
        for (offered, expected) in [
            (None, None),
            (Some(""), Some("")),
            (Some("gzip, br"), Some("gzip, br")),
            (
                Some("gzip, deflate, br, zstd, dcb, *;q=0.1"),
                Some("gzip, deflate, br, zstd"),
            ),
            (Some("BR;q=0.5,compress"), Some("BR;q=0.5")),
            (Some("dcz"), Some("identity")),
            (Some("*"), Some("identity")),
        ] {
            let mut map = HeaderMap::new();
            if let Some(offered) = offered {
                map.insert("accept-encoding", offered.parse().unwrap());
            }
            to_upstream(&mut map, None, false);
            let due = expected.map(str::as_bytes);
            let got = map.get("accept-encoding").map(HeaderValue::as_bytes);
            assert_eq!(got, due, "{offered:?}");
        }
    }
}
