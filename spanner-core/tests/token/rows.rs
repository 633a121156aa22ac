//! The rows of `data/token.toml`: tokens, and what becomes of each.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use spanner_core::token::{
    GroupOverage, IssuerRules, IssuerRulesBuilder, TokenVerifier, UnverifiedToken,
};
use spanner_core::{Caller, CallerKind, Freshness, Timestamp, TokenFault};

use crate::support::{TestKeys, algorithm_of, encode};

/// When the rows happen: 2027-01-15T08:00:00Z.
const NOW: i64 = 1_800_000_000;

/// A row: how a token is made, and what is due. `token.toml` explains the members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    about: String,
    #[serde(default = "rsa")]
    key: String,
    sign: Option<Algorithm>,
    #[serde(default)]
    header: Overlay,
    #[serde(default)]
    claims: Overlay,
    #[serde(default)]
    without: Vec<String>,
    header_text: Option<String>,
    claims_text: Option<String>,
    signed: Option<String>,
    token: Option<String>,
    keys: Option<Vec<String>>,
    #[serde(default)]
    rules: Rules,
    #[serde(default)]
    seconds_later: i64,
    due: Option<String>,
    caller: Option<String>,
    #[serde(default)]
    says: BTreeMap<String, toml::Value>,
}

/// JSON members, written as text, laid over the usual ones.
#[derive(Default, Deserialize)]
#[serde(from = "String")]
struct Overlay(Map<String, Value>);

impl From<String> for Overlay {
    fn from(text: String) -> Self {
        Self(serde_json::from_str(&expand(&text)).unwrap_or_else(|e| panic!("{text}: {e}")))
    }
}

/// How the issuer's rules differ from the usual ones.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    algorithms: Option<Vec<String>>,
    #[serde(default)]
    any_audience: bool,
    audience_claim: Option<String>,
    authorized_parties: Option<Vec<String>>,
    subject_claim: Option<String>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    flag_overage: bool,
    #[serde(default)]
    kinds: Vec<(String, String, CallerKind)>,
    kind_otherwise: Option<CallerKind>,
    skew: Option<u64>,
    max_age: Option<u64>,
    max_lifetime: Option<u64>,
    #[serde(default)]
    rfc9068: bool,
    #[serde(default)]
    unverified_binding: bool,
}

#[test]
fn every_row_of_the_data_gets_its_due() {
    let keys = TestKeys::read();
    let (mut reached, mut complaints) = (HashSet::new(), Vec::new());
    for row in rows() {
        match check(&row, &keys) {
            Ok(outcome) => reached.extend(outcome.err()),
            Err(complaint) => complaints.push(format!("{}: {}: {complaint}", row.id, row.about)),
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
    // Only the revocation list revokes, and it is not part of this module.
    let missing: Vec<_> = TokenFault::ALL
        .iter()
        .filter(|fault| **fault != TokenFault::Revoked && !reached.contains(fault))
        .collect();
    assert!(missing.is_empty(), "no row reaches {missing:?}");
}

#[test]
fn rows_have_names_of_their_own() {
    let mut seen = HashSet::new();
    for row in rows() {
        assert!(seen.insert(row.id.clone()), "{} stands twice", row.id);
        assert!(!row.about.is_empty());
    }
}

#[test]
fn shows_neither_token_nor_claims_nor_keys() {
    let keys = TestKeys::read();
    let mut row = rows().remove(0);
    row.claims.0.insert("secret".into(), json!("canary"));
    let token = row.token(&keys);
    let verifier = TokenVerifier::new(vec![row.rules.builder().build().unwrap()]).unwrap();
    let unverified = verifier.inspect(&token, row.now()).unwrap();
    let set = keys.set(&["rsa"]);
    let caller = verifier.verify(&unverified, &set, row.now()).unwrap();
    let shown = format!(
        "{unverified:?} {set:?} {verifier:?} {caller:?} {caller} {:?}",
        caller.credential()
    );
    let modulus = keys.jwk("rsa")["n"].as_str().unwrap().to_owned();
    for secret in token.split('.').chain(["canary", &modulus]) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// What becomes of the row's token, or how that is not its due.
fn check(row: &Row, keys: &TestKeys) -> Result<Result<Caller, TokenFault>, String> {
    let token = row.token(keys);
    let named = row.keys.clone().unwrap_or_else(|| {
        ["rsa", "p256", "p384", "ed25519"]
            .map(str::to_owned)
            .to_vec()
    });
    let verifier = TokenVerifier::new(vec![row.rules.builder().build().unwrap()]).unwrap();
    let outcome =
        verifier
            .inspect(&token, row.now())
            .and_then(|unverified: UnverifiedToken<'_>| {
                verifier.verify(&unverified, &keys.set(&named), row.now())
            });
    let due = match (&row.due, &row.caller) {
        (Some(code), None) => Err(code.clone()),
        (None, Some(caller)) => Ok(caller.clone()),
        _ => return Err("either `due` or `caller`".into()),
    };
    let found = match &outcome {
        Ok(caller) => Ok(caller.to_string()),
        Err(fault) => Err(fault.code().to_owned()),
    };
    if found != due {
        return Err(format!("{found:?} instead of {due:?}"));
    }
    match &outcome {
        Ok(caller) => row.check_details(caller)?,
        Err(_) => assert!(row.says.is_empty(), "{}", row.id),
    }
    Ok(outcome)
}

impl Row {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW + self.seconds_later).unwrap()
    }

    fn token(&self, keys: &TestKeys) -> String {
        let algorithm = self.sign.unwrap_or_else(|| algorithm_of(&self.key));
        let mut header = json!({"alg": format!("{algorithm:?}"), "typ": "at+jwt", "kid": self.key});
        lay_over(&mut header, &self.header.0, &self.without);
        let mut claims = json!({
            "iss": "https://id.example.com", "aud": "models", "sub": "alice",
            "iat": NOW - 60, "exp": NOW + 600, "jti": "t-1",
        });
        lay_over(&mut claims, &self.claims.0, &self.without);
        let header = self
            .header_text
            .as_deref()
            .map_or_else(|| header.to_string(), expand);
        let claims = self
            .claims_text
            .as_deref()
            .map_or_else(|| claims.to_string(), expand);
        let (header, claims) = (bytes(&header), bytes(&claims));
        let fill = |template: &str| {
            template
                .replace("{h}", &encode(&header))
                .replace("{c}", &encode(&claims))
                .replace(
                    "{c standard}",
                    &encode(&claims).replace('-', "+").replace('_', "/"),
                )
                .replace("{c loose}", &loosen(&encode(&claims)))
        };
        let signed = fill(self.signed.as_deref().unwrap_or("{h}.{c}"));
        let signature = keys.sign(&self.key, algorithm, &signed);
        expand(&fill(self.token.as_deref().unwrap_or("{signed}.{s}")))
            .replace("{signed}", &signed)
            .replace("{s}", &signature)
            .replace("{s loose}", &loosen(&signature))
    }

    fn check_details(&self, caller: &Caller) -> Result<(), String> {
        let groups = caller.subject().groups.iter();
        let groups: Vec<_> = groups.map(|group| group.name.to_string()).collect();
        let chain: Vec<_> = caller.chain().iter().map(ToString::to_string).collect();
        for (what, due) in &self.says {
            let found = match what.as_str() {
                "groups" => json!(groups),
                "number_of_groups" => json!(groups.len()),
                "groups_complete" => json!(caller.groups_complete()),
                "scopes" => json!(caller.scopes()),
                "client" => json!(caller.client()),
                "assurance" => json!(caller.assurance()),
                "chain" => json!(chain),
                "token_id" => json!(caller.credential().token_id),
                "key_id" => json!(caller.credential().key_id),
                "rotate_soon" => json!(caller.credential().freshness == Freshness::RotateSoon),
                other => return Err(format!("says nothing of {other}")),
            };
            if found != json!(due) {
                return Err(format!("{what}: {found} instead of {due}"));
            }
        }
        Ok(())
    }
}

impl Rules {
    fn builder(&self) -> IssuerRulesBuilder {
        let mut rules = IssuerRules::builder("corp".parse().unwrap(), "https://id.example.com");
        rules = match self.any_audience {
            true => rules.danger_any_audience(),
            false => rules.audience("models").audience("models-too"),
        };
        if let Some(names) = &self.algorithms {
            rules = rules.algorithms(names.iter().map(|name| name.parse().unwrap()));
        }
        if let Some(claim) = &self.audience_claim {
            rules = rules.audience_claim(claim);
        }
        if let Some(parties) = &self.authorized_parties {
            rules = rules.authorized_parties(parties);
        }
        if let Some(claim) = &self.subject_claim {
            rules = rules.subject_claim(claim);
        }
        if let Some(claims) = &self.groups {
            rules = rules.groups(claims);
        }
        if self.flag_overage {
            rules = rules.group_overage(GroupOverage::Flag);
        }
        for (claim, word, kind) in &self.kinds {
            rules = rules.kind_when(claim, word, *kind);
        }
        if let Some(kind) = self.kind_otherwise {
            rules = rules.kind_otherwise(kind);
        }
        if let Some(skew) = self.skew {
            rules = rules.clock_skew(Duration::from_secs(skew));
        }
        if let Some(age) = self.max_age {
            rules = rules.max_token_age((age > 0).then(|| Duration::from_secs(age)));
        }
        rules = rules.max_token_lifetime(self.max_lifetime.map(Duration::from_secs));
        if self.rfc9068 {
            rules = rules.rfc9068();
        }
        if self.unverified_binding {
            rules = rules.allow_unverified_binding();
        }
        rules
    }
}

fn rows() -> Vec<Row> {
    let sections: BTreeMap<String, Vec<Row>> =
        toml::from_str(include_str!("../data/token.toml")).unwrap();
    sections.into_values().flatten().collect()
}

fn rsa() -> String {
    "rsa".to_owned()
}

fn lay_over(object: &mut Value, members: &Map<String, Value>, without: &[String]) {
    let object = object.as_object_mut().unwrap();
    object.extend(members.clone());
    object.retain(|name, _| !without.contains(name));
}

/// `<<text*3>>` is `texttexttext`, in which `#` is the number of the repetition.
fn expand(text: &str) -> String {
    let Some((before, rest)) = text.split_once("<<") else {
        return text.to_owned();
    };
    let (repeated, after) = rest.split_once(">>").unwrap();
    let (part, count) = repeated.rsplit_once('*').unwrap();
    let numbered = |at: usize| part.replace('#', &at.to_string());
    let repeated: String = (0..count.parse().unwrap()).map(numbered).collect();
    format!("{before}{repeated}{}", expand(after))
}

/// The text's bytes, with `ÿ` for the byte 0xff, which no UTF-8 has.
fn bytes(text: &str) -> Vec<u8> {
    let parts: Vec<&[u8]> = text.split('ÿ').map(str::as_bytes).collect();
    parts.join(&0xff)
}

/// The same bytes in another spelling: a bit of the last letter that should be zero is one.
fn loosen(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = text.split_at(text.len() - 1);
    let at = LETTERS
        .iter()
        .position(|letter| *letter == last.as_bytes()[0])
        .unwrap();
    format!("{rest}{}", char::from(LETTERS[(at + 1) % 64]))
}
