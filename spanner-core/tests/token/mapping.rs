//! Mappings as operators write them: what they read, and what is wrong with them.

use spanner_core::token::{ClaimMapping, IssuerRules, IssuerRulesBuilder, Preset, RulesError};
use spanner_core::token::{RulesProblem, TokenVerifier};

fn rules(issuer: &str) -> IssuerRulesBuilder {
    IssuerRules::builder("corp".parse().unwrap(), issuer).audience("models")
}

fn mapping(text: &str) -> ClaimMapping {
    toml::from_str(text).unwrap()
}

fn problems(error: &RulesError) -> Vec<String> {
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn tells_everything_that_is_wrong_with_a_mapping() {
    let wrong = mapping(
        r#"
        typ = []
        algs = ["HS256", "RS256"]
        key_use = "enc"
        header_only = []
        issuer_regex = ["/sub", "("]
        tenant_regex = ["/sub", "no group"]
        audience_from = "/a/*"
        require = ["/exp", ""]
        subject_template = "{tid}"
        kind = [{ kind = "user", when = { not = { exists = "//" } } }]
        groups = [
          { at = "/a~3" },
          { at = "/a", as = "each" },
          { at = "/a", as = "entries", template = "{1}" },
          { at = "/a", template = "{/a}" },
          { at = "/a", unless = { exists = "/b" } },
          { at = "/a/*", prefix = "{2}:" },
          { at = "/a", as = "keys", object_key = "value" },
        ]
        actor = { at = "/act", subject = [], default_kind = "agent", max_depth = 8 }
        "#,
    );
    let error = rules("https://id.example.com")
        .mapping(wrong)
        .build()
        .unwrap_err();
    let members: Vec<String> = error
        .problems()
        .iter()
        .map(|problem| match problem {
            RulesProblem::Mapping { member, .. } => member.clone(),
            other => other.to_string(),
        })
        .collect();
    let mut sorted = members.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "actor.max_depth",
            "actor.subject",
            "algs",
            "audience_from",
            "groups",
            "groups",
            "groups",
            "groups",
            "groups",
            "groups",
            "groups",
            "header_only",
            "issuer_regex",
            "key_use",
            "kind",
            "require",
            "subject_template",
            "tenant_regex",
            "typ",
        ]
    );
    assert!(problems(&error).contains(
        &"issuer `corp`: `algs`: \"HS256\" is no asymmetric signature algorithm".to_owned()
    ));
}

#[test]
fn what_is_no_member_is_told() {
    let error = toml::from_str::<ClaimMapping>("grups = []").unwrap_err();
    assert!(
        error.to_string().contains("unknown field `grups`"),
        "{error}"
    );
    let error =
        toml::from_str::<ClaimMapping>("kind = [{ kind = \"user\", when = { exist = \"/a\" } }]");
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("unknown variant `exist`")
    );
}

#[test]
fn tenants_of_one_provider_share_an_alias_and_need_subjects_of_their_own() {
    const TEMPLATE: &str = "https://login.example.com/{tid}/v2.0";
    let of = |tenant: &str| {
        rules(&TEMPLATE.replace("{tid}", tenant))
            .preset(Preset::Entra)
            .tenant(TEMPLATE, "/tid", tenant)
    };
    let (one, two) = (of("1").build().unwrap(), of("2").build().unwrap());
    assert!(TokenVerifier::new(vec![one.clone(), two]).is_ok());
    let stranger = rules("https://id.example.com").build().unwrap();
    assert!(TokenVerifier::new(vec![one, stranger]).is_err());

    let error = of("1").subject_claim("sub").build().unwrap_err();
    assert!(matches!(
        error.problems(),
        [RulesProblem::TenantlessSubject { .. }]
    ));
}

#[test]
fn trust_domains_are_issuers_of_svids_only() {
    let svid = |issuer: &str| rules(issuer).preset(Preset::Spiffe).build().is_ok();
    assert!(svid("spiffe://acme.example"));
    for issuer in [
        "spiffe://",
        "spiffe://Acme.example",
        "spiffe://acme.example/",
        "spiffe://a b",
    ] {
        assert!(!svid(issuer), "{issuer}");
    }
    assert!(rules("spiffe://acme.example").build().is_err());
}
