//! What is configured wrongly is said at once, all of it.

use spanner_tower::{Bearer, Issuer};

fn problems(issuers: impl IntoIterator<Item = Issuer>) -> String {
    let builder = issuers
        .into_iter()
        .fold(Bearer::builder(), |builder, issuer| builder.issuer(issuer));
    builder
        .build()
        .map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

fn good(url: &str) -> Issuer {
    Issuer::oidc(url).audience("models")
}

#[test]
fn an_issuer_needs_no_more_than_its_address_and_an_audience() {
    for url in [
        "https://id.example.com",
        "https://id.example.com/",
        "https://id.example.com/realms/a",
        "https://id.example.com:8443/",
    ] {
        assert_eq!(problems([good(url)]), "none", "{url}");
    }
    let loopback = good("http://127.0.0.1:8080").danger_allow_http_loopback();
    assert_eq!(problems([loopback]), "none");
}

#[test]
fn every_problem_is_named_with_what_to_do() {
    for (issuer, says) in [
        (Issuer::oidc("https://id.example.com"), "audience"),
        (good("http://id.example.com"), "must be https"),
        (
            good("http://id.example.com").danger_allow_http_loopback(),
            "must be https",
        ),
        (good("http://127.0.0.1:8080"), "danger_allow_http_loopback"),
        (good("ftp://id.example.com"), "must be https"),
        (good("id.example.com"), "not an absolute URL"),
        (good(""), "not an absolute URL"),
        (
            good("https://id.example.com?x=1"),
            "no user, query or fragment",
        ),
        (
            good("https://id.example.com#x"),
            "no user, query or fragment",
        ),
        (
            good("https://me:secret@id.example.com"),
            "no user, query or fragment",
        ),
        (
            good("https://id.example.com").alias("Not An Alias"),
            "a short name of its own",
        ),
        (
            good("https://id.example.com").jwks_url("http://id.example.com/k"),
            "must be https",
        ),
        (
            good("https://id.example.com").static_jwks("{}"),
            "an array `keys`",
        ),
        (
            good("https://id.example.com").static_jwks("{\"keys\": []}"),
            "no key",
        ),
    ] {
        let text = problems([issuer]);
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn problems_of_all_issuers_come_together() {
    let text = problems([
        Issuer::oidc("http://one.example.com").alias("One"),
        good("https://two.example.com").static_jwks("[]"),
    ]);
    for says in [
        "audience",
        "must be https",
        "a short name of its own",
        "https://two.example.com",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn issuers_that_cannot_be_told_apart_are_refused() {
    let same = problems([
        good("https://id.example.com").alias("one"),
        good("https://id.example.com").alias("two"),
    ]);
    assert!(same.contains("https://id.example.com"), "{same}");
    let alias = problems([
        good("https://one.example.com").alias("corp"),
        good("https://two.example.com").alias("corp"),
    ]);
    assert!(alias.contains("`corp`"), "{alias}");
    assert_ne!(problems([]), "none", "no issuer accepts nobody");
}
