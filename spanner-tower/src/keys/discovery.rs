//! Discovers where an issuer's keys are (OpenID Connect Discovery 1.0 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use serde::Deserialize;

use super::source::FetchError;

/// The members that are used. All others are ignored, including the issuer's supported
/// algorithms. `serde` refuses duplicates of these.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
    introspection_endpoint: Option<String>,
}

/// The address of an issuer's metadata: the well-known path appended to the issuer's own.
pub(super) fn metadata_url(issuer: &Url) -> Result<Url, FetchError> {
    let issuer = issuer.as_str().trim_end_matches('/');
    Url::parse(&format!("{issuer}/.well-known/openid-configuration"))
        .map_err(|_| FetchError::new("the issuer cannot have metadata"))
}

/// The address of the keys, from the metadata.
pub(super) fn jwks_uri(text: &[u8], issuer: &Url, exact: &str) -> Result<Url, FetchError> {
    let metadata = read(text, exact)?;
    endpoint("jwks_uri", &metadata.jwks_uri, issuer)
}

/// The introspection endpoint, from the metadata (RFC 8414 §2).
pub(super) fn introspection(text: &[u8], issuer: &Url, exact: &str) -> Result<Url, FetchError> {
    const MEMBER: &str = "introspection_endpoint";
    let metadata = read(text, exact)?;
    let address = metadata.introspection_endpoint.as_deref();
    let address =
        address.ok_or_else(|| FetchError::new(format!("the metadata has no `{MEMBER}`")))?;
    endpoint(MEMBER, address, issuer)
}

/// Reads the metadata. Its `issuer` must be this issuer.
fn read(text: &[u8], exact: &str) -> Result<Metadata, FetchError> {
    let metadata: Metadata = serde_json::from_slice(text)
        .map_err(|error| FetchError::new(format!("the metadata cannot be read: {error}")))?;
    if metadata.issuer != exact {
        return Err(FetchError::new(format!(
            "the metadata is of another issuer, `{}`, than `{exact}`: they must agree to the letter",
            metadata.issuer.escape_debug()
        )));
    }
    Ok(metadata)
}

/// An address from the metadata, if the guard may connect to it.
fn endpoint(member: &str, address: &str, issuer: &Url) -> Result<Url, FetchError> {
    let refused = |why| {
        let uri = address.escape_debug();
        Err(FetchError::new(format!(
            "the metadata's `{member}`, `{uri}`, {why}"
        )))
    };
    let Ok(url) = Url::parse(address) else {
        return refused("is no URL");
    };
    // Only an issuer that is itself on loopback http may name such an address.
    let plain = issuer.scheme() == "http" && url.scheme() == "http" && is_loopback(&url);
    if url.scheme() != "https" && !plain {
        return refused("is not https");
    }
    let own = url.host() == issuer.host();
    if !own && literal(&url).is_some_and(|address| !is_public(address)) {
        return refused("is not a public address; if that is meant, configure it");
    }
    Ok(url)
}

/// Whether a URL's host is a loopback address, or a name that always resolves to one (RFC 6761
/// §6.3).
pub(super) fn is_loopback(url: &Url) -> bool {
    literal(url).is_some_and(|address| address.is_loopback()) || url.host_str() == Some("localhost")
}

fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Whether an address is public (IANA special-purpose registries, RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0xdb8, ..] => false,
        // Global unicast is 2000::/3.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_stands_below_the_issuers_path() {
        for (issuer, due) in [
            (
                "https://id.example.com",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "https://id.example.com/",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "https://h/t1",
                "https://h/t1/.well-known/openid-configuration",
            ),
            (
                "https://h/t1/",
                "https://h/t1/.well-known/openid-configuration",
            ),
        ] {
            let url = metadata_url(&Url::parse(issuer).unwrap()).unwrap();
            assert_eq!(url.as_str(), due);
        }
    }

    #[test]
    fn an_address_near_the_guard_is_not_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "172.15.0.1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn metadata_is_taken_at_its_word_only_where_it_may_speak() {
        let document = |issuer: &str, uri: &str| {
            format!(
                "{{\"issuer\": \"{issuer}\", \"jwks_uri\": \"{uri}\", \"id_token_signing_alg_values_supported\": [\"none\"]}}"
            )
        };
        let check = |text: &str| {
            let issuer = "https://id.example.com";
            jwks_uri(text.as_bytes(), &Url::parse(issuer).unwrap(), issuer)
        };
        let own = "https://id.example.com";
        for uri in [
            "https://id.example.com/keys",
            "https://keys.example.net/k",
            "https://8.8.8.8/k",
        ] {
            assert_eq!(check(&document(own, uri)).unwrap().as_str(), uri);
        }
        for (issuer, uri, says) in [
            (
                "https://id.example.com/",
                "https://id.example.com/keys",
                "another issuer",
            ),
            (
                "https://ID.example.com",
                "https://id.example.com/keys",
                "another issuer",
            ),
            (own, "http://id.example.com/keys", "not https"),
            (own, "file:///etc/passwd", "not https"),
            (own, "keys", "no URL"),
            (own, "https://127.0.0.1/keys", "not a public address"),
            (own, "https://169.254.169.254/keys", "not a public address"),
            (own, "https://2130706433/keys", "not a public address"),
            (own, "https://0x7f.1/keys", "not a public address"),
            (own, "https://0.0.0.0/keys", "not a public address"),
            (
                own,
                "https://[::ffff:10.0.0.1]/keys",
                "not a public address",
            ),
            (own, "https://[fe80::1]/keys", "not a public address"),
        ] {
            let error = check(&document(issuer, uri)).unwrap_err();
            assert!(error.reason.contains(says), "{uri}: {error}");
        }
        for text in ["", "[]", "{}", "\u{feff}{}", "{\"issuer\": 1}"] {
            assert!(check(text).is_err(), "{text}");
        }
        let twice = document(own, own).replace("{\"issuer\"", "{\"issuer\": \"x\", \"issuer\"");
        assert!(
            check(&twice).unwrap_err().reason.contains("duplicate"),
            "{twice}"
        );
    }
}
