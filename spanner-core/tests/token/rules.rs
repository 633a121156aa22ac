//! What rules of issuers can be built, and that all problems are told at once.

use std::time::Duration;

use spanner_core::token::{IssuerRules, IssuerRulesBuilder, RulesProblem, TokenVerifier};

fn rules(issuer: &str) -> IssuerRulesBuilder {
    IssuerRules::builder("corp".parse().unwrap(), issuer)
}

#[test]
fn accepts_issuers_as_providers_write_them() {
    for issuer in [
        "https://id.example.com",
        "https://acme.eu.auth0.com/",
        "https://login.microsoftonline.com/1111/v2.0",
        "https://kc.example.com:8443/realms/ml",
        "https://token.actions.githubusercontent.com",
        "http://localhost:8080",
        "http://127.0.0.1",
        "http://[::1]:9000/realms/ml",
    ] {
        let built = rules(issuer).audience("models").build();
        assert_eq!(
            built.map(|rules| rules.issuer().to_owned()),
            Ok(issuer.to_owned())
        );
    }
}

#[test]
fn refuses_what_is_no_issuer() {
    for issuer in [
        "",
        "id.example.com",
        "https://",
        "https:///path",
        "http://id.example.com",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "https://user@id.example.com",
        "https://id.example.com?x",
        "https://id.example.com#x",
        "https://id.example.com ",
        " https://id.example.com",
        "https://id.\u{435}xample.com",
        "ftp://id.example.com",
    ] {
        let built = rules(issuer).audience("models").build();
        let problems = built.map(|_| ()).unwrap_err().problems().to_vec();
        let issuer = issuer.to_owned();
        let due = RulesProblem::Issuer {
            alias: "corp".parse().unwrap(),
            issuer,
        };
        assert_eq!(problems, [due]);
    }
}

#[test]
fn tells_all_problems_at_once() {
    let error = rules("id.example.com")
        .audience_claim("")
        .authorized_parties(Vec::<String>::new())
        .algorithms([])
        .groups(["/"])
        .clock_skew(Duration::from_secs(301))
        .max_token_age(Some(Duration::ZERO))
        .max_token_lifetime(Some(Duration::ZERO))
        .build()
        .unwrap_err();
    let mut words: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    words.sort_unstable();
    assert_eq!(
        words,
        [
            "issuer `corp`: \"id.example.com\" is no `https` URL without user, query and fragment (`http` is for loopback)",
            "issuer `corp`: `audience_from`: \"\" neither names a claim nor points to one",
            "issuer `corp`: `groups`: \"/\" neither names a claim nor points to one",
            "issuer `corp`: a clock skew of 301 s is more than 300 s",
            "issuer `corp`: no audience is configured, so tokens for any service would be accepted",
            "issuer `corp`: the list of algorithms is empty, so no token would be accepted",
            "issuer `corp`: the list of authorized parties is empty, so no token would be accepted",
            "issuer `corp`: the maximal age is zero, so no token would be accepted",
            "issuer `corp`: the maximal lifetime is zero, so no token would be accepted",
        ]
    );
    assert_eq!(error.to_string().split("; ").count(), 9);
}

#[test]
fn refuses_audiences_that_contradict_each_other() {
    let problems = |rules: IssuerRulesBuilder| rules.build().unwrap_err().problems().to_vec();
    let alias = || "corp".parse().unwrap();
    let issuer = "https://id.example.com";
    assert_eq!(
        problems(rules(issuer).audience("a").danger_any_audience()),
        [RulesProblem::AnyAudience { alias: alias() }]
    );
    assert_eq!(
        problems(rules(issuer).audience("")),
        [RulesProblem::EmptyAudience { alias: alias() }]
    );
}

#[test]
fn refuses_issuers_that_cannot_be_told_apart() {
    let problems = |rules| TokenVerifier::new(rules).unwrap_err().problems().to_vec();
    let rules = |alias: &str, issuer: &str| {
        let rules = IssuerRules::builder(alias.parse().unwrap(), issuer);
        rules.audience("models").build().unwrap()
    };
    assert_eq!(problems(vec![]), [RulesProblem::NoIssuer]);
    let (one, other) = ("https://a.example", "https://b.example");
    assert_eq!(
        problems(vec![rules("a", one), rules("b", one)]),
        [RulesProblem::DuplicateIssuer { issuer: one.into() }]
    );
    assert_eq!(
        problems(vec![rules("a", one), rules("a", other)]),
        [RulesProblem::DuplicateAlias {
            alias: "a".parse().unwrap()
        }]
    );
    // Only bytes are compared, so a slash makes another issuer.
    assert!(TokenVerifier::new(vec![rules("a", one), rules("b", "https://a.example/")]).is_ok());
}
