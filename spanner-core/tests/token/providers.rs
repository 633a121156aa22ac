//! Example tokens of every provider with a preset, and who each says is calling.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use spanner_core::token::{ClaimMapping, IssuerRules, IssuerRulesBuilder, KeySet, Preset};
use spanner_core::token::{TokenVerifier, UnverifiedToken};
use spanner_core::{Caller, Principal, Timestamp, TokenFault};

use crate::support::{TestKeys, encode};

/// Shortly after the tokens were issued.
const NOW: i64 = 1_795_000_100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    name: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    due: Value,
}

type Examples = BTreeMap<String, Vec<Example>>;

fn examples() -> Examples {
    serde_json::from_str(include_str!("../data/claims.json")).unwrap()
}

#[test]
fn every_example_is_who_it_says_or_refused() {
    let keys = TestKeys::read();
    let mut complaints = Vec::new();
    let mut seen = 0;
    for (preset, examples) in examples() {
        let preset: Preset = preset.parse().unwrap();
        for example in examples {
            let found = match read(preset, &example, &keys) {
                Ok(caller) => identity(&caller),
                Err(fault) => json!({ "refused": fault.code() }),
            };
            if found != example.due {
                let (name, due) = (&example.name, &example.due);
                complaints.push(format!("{preset} {name}:\n  {found}\ninstead of\n  {due}"));
            }
            seen += 1;
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(seen, 51);
}

#[test]
fn every_preset_for_signed_tokens_has_an_example() {
    let seen: BTreeSet<String> = examples().into_keys().collect();
    // The one is what presets are laid over, the other is for tokens that are not signed.
    let others = ["hugging_face_whoami", "oidc"];
    let presets = Preset::ALL.iter().map(|preset| preset.to_string());
    let due: BTreeSet<String> = presets.filter(|it| !others.contains(&&**it)).collect();
    let missing: Vec<&String> = due.difference(&seen).collect();
    assert!(
        missing.is_empty(),
        "give tests/data/claims.json example tokens of {missing:?}"
    );
    assert_eq!(seen, due);
}

#[test]
fn what_nobody_sent_a_token_for_is_refused() {
    let keys = TestKeys::read();
    for (preset, examples) in examples() {
        let preset: Preset = preset.parse().unwrap();
        for mut example in examples
            .into_iter()
            .filter(|it| it.due.get("kind").is_some())
        {
            for claim in ["aud", "client_id"] {
                if let Some(value) = example.claims.get_mut(claim) {
                    *value = json!("another-service");
                }
            }
            let built = rules(preset, "models", &example).build().unwrap();
            let fault = verify(vec![built], &example, &keys).err();
            assert_eq!(
                fault,
                Some(TokenFault::Audience),
                "{preset} {}",
                example.name
            );
        }
    }
}

fn read(preset: Preset, example: &Example, keys: &TestKeys) -> Result<Caller, TokenFault> {
    let claims = &example.claims;
    let audience = claims.get("aud").or_else(|| claims.get("client_id"));
    let audience = match audience {
        Some(Value::Array(names)) => names[0].as_str().unwrap(),
        Some(Value::String(name)) => name,
        _ => "models",
    };
    let built = rules(preset, audience, example).build().unwrap();
    verify(vec![built], example, keys)
}

fn rules(preset: Preset, audience: &str, example: &Example) -> IssuerRulesBuilder {
    let stated = example.claims.get("iss").and_then(Value::as_str);
    let issuer = match (preset, stated) {
        (Preset::Spiffe, _) => "spiffe://acme.example",
        (_, Some(issuer)) if issuer.starts_with("https://") => issuer,
        _ => "https://issuer.example",
    };
    let builder = IssuerRules::builder("corp".parse().unwrap(), issuer)
        .preset(preset)
        .audience(audience);
    match preset {
        Preset::Auth0 => builder.mapping(named_by_tenant()),
        _ => builder,
    }
}

/// What a tenant of Auth0 calls its claims.
fn named_by_tenant() -> ClaimMapping {
    toml::from_str(
        r#"groups = [{ at = "/https:~1~1acme.example~1groups" }]
        roles = [{ at = "/https:~1~1acme.example~1roles" }]"#,
    )
    .unwrap()
}

fn verify(
    rules: Vec<IssuerRules>,
    example: &Example,
    keys: &TestKeys,
) -> Result<Caller, TokenFault> {
    let (algorithm, key) = match example.header["alg"].as_str().unwrap() {
        "ES256" => (jsonwebtoken::Algorithm::ES256, "p256"),
        "ES384" => (jsonwebtoken::Algorithm::ES384, "p384"),
        "EdDSA" => (jsonwebtoken::Algorithm::EdDSA, "ed25519"),
        _ => (jsonwebtoken::Algorithm::RS256, "rsa"),
    };
    let mut jwk = keys.jwk(key);
    jwk["kid"] = example.header["kid"].clone();
    if rules.iter().any(|it| it.issuer().starts_with("spiffe://")) {
        jwk["use"] = json!("jwt-svid");
    }
    let set = json!({ "keys": [jwk] }).to_string();
    let set = KeySet::parse(set.as_bytes()).unwrap().keys;
    let part = |members: &Map<String, Value>| encode(Value::Object(members.clone()).to_string());
    let signed = format!("{}.{}", part(&example.header), part(&example.claims));
    let token = format!("{signed}.{}", keys.sign(key, algorithm, &signed));

    let verifier = TokenVerifier::new(rules).unwrap();
    let now = Timestamp::from_second(NOW).unwrap();
    let unverified: UnverifiedToken<'_> = verifier.inspect(&token, now)?;
    verifier.verify(&unverified, &set, now)
}

/// A caller in the words of the examples.
fn identity(caller: &Caller) -> Value {
    let subject = caller.subject();
    let kind = |principal: &Principal| match principal.kind.as_str() {
        "unclassified" => "unknown",
        word => word,
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let groups = subject.groups.iter().map(|it| it.name.to_string());
    let roles = subject.roles.iter().map(|it| it.name.to_string());
    let actor = caller.actor().map(|actor| {
        let chain = std::iter::once(&actor.principal).chain(caller.chain());
        let chain: Vec<_> = chain.map(|it| it.subject.to_string()).collect();
        json!({ "kind": kind(&actor.principal), "chain": chain })
    });
    json!({
        "kind": caller.origin().unwrap_or_else(|| kind(&subject.principal)),
        "subject": subject.principal.subject.to_string(),
        "client": caller.client(),
        "groups": sorted(groups.collect()),
        "roles": sorted(roles.collect()),
        "scopes": sorted(caller.scopes().to_vec()),
        "tenant": caller.tenant(),
        "actor": actor,
        "groups_complete": caller.groups_complete(),
    })
}
