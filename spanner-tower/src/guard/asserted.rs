//! Reads what a client claims about itself without proof, for the record.
//!
//! 1. Forwarding headers (`X-Forwarded-For`, `Forwarded` of RFC 7239): only IP addresses are
//!    kept. Anything else in them is ignored.
//! 2. W3C Baggage: only the members whose keys the operator configured are kept.
//! 3. The amounts read and kept are bounded. No decision depends on these claims.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use spanner_core::record::Asserted;

/// The claims in the headers.
pub(super) fn asserted(headers: &HeaderMap, keys: &[String]) -> Asserted {
    let mut asserted = Asserted::default();
    for text in members(headers, "x-forwarded-for") {
        address(text)
            .into_iter()
            .for_each(|it| asserted.address(it));
    }
    for text in members(headers, "forwarded") {
        let pairs = text
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='));
        let named = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
        named
            .filter_map(|(_, value)| address(value.trim_matches('"')))
            .for_each(|it| asserted.address(it));
    }
    if keys.is_empty() {
        return asserted;
    }
    for text in members(headers, "baggage") {
        // A semicolon separates a member from its properties.
        let member = text.split(';').next().unwrap_or_default();
        if let Some((key, value)) = member.split_once('=')
            && keys.iter().any(|known| known == key.trim())
        {
            asserted.baggage(key.trim(), value.trim());
        }
    }
    asserted
}

/// The members of a list header. Values that are not text and members past the bound are
/// skipped.
fn members<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .take(MAX_MEMBERS)
        .map(str::trim)
}

/// An address in one of the spellings of forwarding headers: alone, with a port, in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().ok();
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()))
}

/// How many members of one header are read: the W3C Baggage specification requires support for
/// 64.
const MAX_MEMBERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_addresses_and_the_baggage_that_was_asked_for_and_nothing_else() {
        let rows: [(&str, &str, &[&str], &[&str]); 11] = [
            (
                "x-forwarded-for",
                "192.0.2.1, 2001:db8::1",
                &["192.0.2.1", "2001:db8::1"],
                &[],
            ),
            (
                "x-forwarded-for",
                "192.0.2.1:443, [2001:db8::1]:80",
                &["192.0.2.1", "2001:db8::1"],
                &[],
            ),
            (
                "x-forwarded-for",
                "unknown, a secret, 192.0.2.1",
                &["192.0.2.1"],
                &[],
            ),
            ("x-forwarded-for", "", &[], &[]),
            (
                "forwarded",
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                &["192.0.2.60"],
                &[],
            ),
            (
                "forwarded",
                "For=\"[2001:db8:cafe::17]:4711\", for=_hidden",
                &["2001:db8:cafe::17"],
                &[],
            ),
            (
                "baggage",
                "tenant=acme,prompt=secret",
                &[],
                &["tenant=acme"],
            ),
            ("baggage", "tenant = acme ;p=1", &[], &["tenant=acme"]),
            ("baggage", "tenant=", &[], &[]),
            ("baggage", "Tenant=acme", &[], &[]),
            ("user-agent", "192.0.2.1", &[], &[]),
        ];
        for (name, value, addresses, baggage) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let found = asserted(&headers, &["tenant".to_owned()]);
            let texts: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(texts, addresses, "{name}: {value}");
            let pairs = found
                .baggage
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            assert_eq!(pairs.collect::<Vec<_>>(), baggage, "{name}: {value}");
            assert!(asserted(&headers, &[]).baggage.is_empty());
        }
    }

    /// AUD-06.
    #[test]
    fn what_is_kept_is_bounded() {
        let mut headers = HeaderMap::new();
        let many = vec!["192.0.2.1"; 1000].join(",");
        headers.insert("x-forwarded-for", many.parse().unwrap());
        let long = format!("tenant={}", "x".repeat(129));
        headers.insert("baggage", long.parse().unwrap());
        let found = asserted(&headers, &["tenant".to_owned()]);
        assert_eq!(found.addresses.len(), Asserted::MAX_ADDRESSES);
        assert!(found.baggage.is_empty());
        // Of the 64 members that are looked at, those past 8; and the value.
        assert_eq!(found.left_out, 56 + 1);
    }
}
