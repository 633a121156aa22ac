//! Finds tokens where the clients of an API put them, and moves them to `Authorization`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use spanner_core::{Obstacle, Refusal};

use crate::surface::Credential;

/// The dedicated headers in which clients send tokens.
const HEADERS: [(Credential, &str); 3] = [
    (Credential::XApiKey, "x-api-key"),
    (Credential::ApiKey, "api-key"),
    (Credential::XGoogApiKey, "x-goog-api-key"),
];
/// All headers in which model APIs accept keys, for any surface. A gateway must not forward
/// them.
pub(super) const KEY_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// The prefix of the token in a WebSocket's protocols.
const IN_PROTOCOL: &str = "openai-insecure-api-key.";
/// The prefix of tokens for the Hugging Face Hub.
const HF_PREFIX: &str = "hf_";

/// Moves the token from where clients of this API put it to `Authorization: Bearer`.
///
/// # Errors
/// [`Obstacle::Several`] if there are several different tokens, [`Obstacle::Malformed`] if a
/// credential cannot be read.
pub(super) fn present(headers: &mut HeaderMap, places: &[Credential]) -> Result<(), Refusal> {
    let mut token: Option<(&'static str, HeaderValue)> = None;
    for (place, name) in HEADERS.iter().filter(|(place, _)| places.contains(place)) {
        let mut values = headers.get_all(*name).iter();
        let Some(value) = values.next() else {
            continue;
        };
        let other = token.as_ref().filter(|(_, token)| token != value);
        if let Some((other, _)) = other {
            return Err(Obstacle::Several(other, name).into());
        }
        if values.next().is_some() {
            tracing::debug!(?place, "several tokens");
            return Err(Obstacle::Malformed.into());
        }
        token = Some((name, value.clone()));
    }
    if places.contains(&Credential::WebSocketProtocol) && token.is_none() {
        token = in_protocol(headers).map(|token| ("sec-websocket-protocol", token));
    }
    if let Some((name, token)) = token {
        let bearer = bearer(token.as_bytes())?;
        // Some clients send the same token in both places.
        match headers.get(AUTHORIZATION) {
            Some(sent) if *sent != bearer => {
                return Err(Obstacle::Several("authorization", name).into());
            }
            _ => headers.insert(AUTHORIZATION, bearer),
        };
    }
    if places.contains(&Credential::Basic) {
        unwrap_basic(headers)?;
    }
    if places.contains(&Credential::HfPrefix) {
        unwrap_hf(headers)?;
    }
    Ok(())
}

/// Does the same for a request that no surface knows, so that the record names its sender
/// whatever API the client targets. If there is an `Authorization` header, tokens elsewhere
/// count only if they are the same.
///
/// # Errors
/// As for [`present`], if there are several tokens and none is in `Authorization`.
pub(super) fn present_anywhere(headers: &mut HeaderMap) -> Result<(), Refusal> {
    match headers.contains_key(AUTHORIZATION) {
        true => present(headers, &[Credential::Basic, Credential::HfPrefix]),
        false => present(headers, Credential::ALL),
    }
}

/// Removes every token before a request is forwarded.
pub(super) fn remove(headers: &mut HeaderMap, places: &[Credential]) {
    headers.remove(AUTHORIZATION);
    headers.remove("proxy-authorization");
    headers.remove("dpop");
    for (place, name) in HEADERS {
        if places.contains(&place) {
            headers.remove(name);
        }
    }
    if places.contains(&Credential::HfPrefix) {
        headers.remove(COOKIE);
    }
    if places.contains(&Credential::WebSocketProtocol) {
        let name = SEC_WEBSOCKET_PROTOCOL;
        let protocols: Vec<String> = protocols(headers, &name)
            .filter(|protocol| !protocol.starts_with(IN_PROTOCOL))
            .map(str::to_owned)
            .collect();
        headers.remove(&name);
        if let Ok(value) = HeaderValue::try_from(protocols.join(", "))
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    }
}

fn protocols<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

fn in_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = protocols(headers, &SEC_WEBSOCKET_PROTOCOL);
    let token = all.find_map(|protocol| protocol.strip_prefix(IN_PROTOCOL))?;
    HeaderValue::from_str(token).ok()
}

fn bearer(token: &[u8]) -> Result<HeaderValue, Refusal> {
    let text = [b"Bearer ", token].concat();
    let mut value = HeaderValue::from_bytes(&text).map_err(|_| Obstacle::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the caller put a token into `Authorization: Bearer` itself.
pub(super) fn is_bearer(headers: &HeaderMap) -> bool {
    behind(headers, "bearer").is_some()
}

/// The text after a scheme, if there is exactly one `Authorization` header.
fn behind<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (sent, rest) = value.to_str().ok()?.split_once(' ')?;
    sent.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Takes the password of `user:password` as the token.
fn unwrap_basic(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let Some(encoded) = behind(headers, "Basic") else {
        return Ok(());
    };
    let decoded = STANDARD
        .decode(encoded.trim())
        .map_err(|_| Obstacle::Malformed)?;
    let colon = decoded.iter().position(|byte| *byte == b':');
    let (_, password) = colon
        .and_then(|colon| decoded.split_at_checked(colon + 1))
        .ok_or(Obstacle::Malformed)?;
    if password.is_empty() {
        headers.remove(AUTHORIZATION);
        return Ok(());
    }
    let bearer = bearer(password)?;
    headers.insert(AUTHORIZATION, bearer);
    Ok(())
}

/// Strips the Hub's prefix from a JWT: a token of three parts is not one of the Hub's own.
fn unwrap_hf(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let token = behind(headers, "Bearer").and_then(|token| token.strip_prefix(HF_PREFIX));
    let Some(token) = token.filter(|token| token.split('.').count() == 3) else {
        return Ok(());
    };
    let bearer = bearer(token.as_bytes())?;
    headers.insert(AUTHORIZATION, bearer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(places: &[Credential], sent: &[(&str, &str)], expected: Result<Option<&str>, ()>) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let presented = present(&mut headers, places).map_err(|_| ());
        let value = headers
            .get(AUTHORIZATION)
            .map(|value| value.to_str().unwrap());
        assert_eq!(presented.map(|()| value), expected, "{sent:?}");
        remove(&mut headers, places);
        for (name, value) in sent {
            let left = headers.get(*name).map(|value| value.to_str().unwrap());
            assert_ne!(left, Some(*value), "{name} is forwarded");
        }
    }

    #[test]
    fn finds_the_token_where_clients_put_it() {
        use Credential as C;
        let all = [
            C::Basic,
            C::HfPrefix,
            C::XApiKey,
            C::ApiKey,
            C::WebSocketProtocol,
        ];
        let bearer = Ok(Some("Bearer a.b.c"));
        check(&all, &[("authorization", "Bearer a.b.c")], bearer);
        check(&all, &[("authorization", "Bearer hf_a.b.c")], bearer);
        check(
            &all,
            &[("authorization", "Bearer hf_abc")],
            Ok(Some("Bearer hf_abc")),
        );
        check(&all, &[("authorization", "Basic dXNlcjphLmIuYw==")], bearer);
        check(&all, &[("authorization", "basic dTpoZl9hLmIuYw==")], bearer);
        check(&all, &[("authorization", "Basic dTo=")], Ok(None));
        check(&all, &[("authorization", "Basic ?")], Err(()));
        check(&all, &[("x-api-key", "a.b.c")], bearer);
        check(&all, &[("api-key", "a.b.c")], bearer);
        check(
            &all,
            &[("x-api-key", "a.b.c"), ("api-key", "x.y.z")],
            Err(()),
        );
        check(&all, &[("x-api-key", "a"), ("x-api-key", "b")], Err(()));
        let both = [("x-api-key", "a.b.c"), ("authorization", "Bearer a.b.c")];
        check(&all, &both, bearer);
        let two = [("x-api-key", "a.b.c"), ("authorization", "Bearer x.y.z")];
        check(&all, &two, Err(()));
        let protocols = "realtime, openai-insecure-api-key.a.b.c, openai-beta.realtime-v1";
        check(&all, &[("sec-websocket-protocol", protocols)], bearer);
        check(&[], &[], Ok(None));
    }

    #[test]
    fn names_the_headers_that_carry_different_credentials() {
        use Credential as C;
        for (sent, due) in [
            (
                [("authorization", "Bearer a.b.c"), ("x-api-key", "dummy")],
                "the headers `authorization` and `x-api-key` carry different credentials",
            ),
            (
                [("x-api-key", "a.b.c"), ("api-key", "dummy")],
                "the headers `x-api-key` and `api-key` carry different credentials",
            ),
        ] {
            let sent = sent.map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            let mut headers = HeaderMap::from_iter(sent);
            let refused = present(&mut headers, &[C::XApiKey, C::ApiKey]).unwrap_err();
            assert_eq!(refused.notice().message, due);
            assert_eq!(refused.code(), "auth.malformed");
        }
    }

    #[test]
    fn looks_nowhere_else() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("a.b.c"));
        present(&mut headers, &[Credential::ApiKey]).unwrap();
        assert!(!headers.contains_key(AUTHORIZATION));
    }
}
