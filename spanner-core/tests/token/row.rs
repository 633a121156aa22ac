//! How a row of `data/token.toml` becomes a token and an issuer's rules.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use spanner_core::token::{GroupOverage, IssuerRules, IssuerRulesBuilder};
use spanner_core::{CallerKind, Timestamp};

use crate::support::{TestKeys, algorithm_of, encode};

/// When the rows happen: 2027-01-15T08:00:00Z.
const NOW: i64 = 1_800_000_000;

/// A row: how a token is made, and what is due. `token.toml` explains the members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) about: String,
    #[serde(default = "rsa")]
    key: String,
    sign: Option<Algorithm>,
    #[serde(default)]
    header: Overlay,
    #[serde(default)]
    pub(crate) claims: Overlay,
    #[serde(default)]
    without: Vec<String>,
    header_text: Option<String>,
    claims_text: Option<String>,
    signed: Option<String>,
    token: Option<String>,
    keys: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) rules: Rules,
    #[serde(default)]
    seconds_later: i64,
    pub(crate) due: Option<String>,
    pub(crate) caller: Option<String>,
    #[serde(default)]
    pub(crate) says: BTreeMap<String, toml::Value>,
}

/// JSON members, written as text, laid over the usual ones.
#[derive(Default, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Overlay(pub(crate) Map<String, Value>);

impl From<String> for Overlay {
    fn from(text: String) -> Self {
        Self(serde_json::from_str(&expand(&text)).unwrap_or_else(|e| panic!("{text}: {e}")))
    }
}

/// How the issuer's rules differ from the usual ones.
#[derive(Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
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
    preset: Option<String>,
    tenant: Option<String>,
    tenants: Option<Vec<String>>,
    #[serde(default)]
    refuse_delegation: bool,
    #[serde(default)]
    ignore_self_act: bool,
}

impl Row {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW + self.seconds_later).unwrap()
    }

    /// The names of the issuer's keys.
    pub(crate) fn key_names(&self) -> Vec<String> {
        let all = || {
            ["rsa", "p256", "p384", "ed25519"]
                .map(str::to_owned)
                .to_vec()
        };
        self.keys.clone().unwrap_or_else(all)
    }

    pub(crate) fn token(&self, keys: &TestKeys) -> String {
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
}

impl Rules {
    pub(crate) fn builder(&self) -> IssuerRulesBuilder {
        let mut rules = IssuerRules::builder("corp".parse().unwrap(), "https://id.example.com");
        if let Some(tenant) = &self.tenant {
            let template = "https://login.example.com/{tid}/v2.0";
            let issuer = template.replace("{tid}", tenant);
            rules = IssuerRules::builder("corp".parse().unwrap(), &issuer);
            rules = rules.tenant(template, "/tid", tenant);
        }
        if let Some(preset) = &self.preset {
            rules = rules.preset(preset.parse().unwrap());
        }
        if let Some(tenants) = &self.tenants {
            rules = rules.tenants(tenants);
        }
        if self.refuse_delegation {
            rules = rules.refuse_delegation();
        }
        if self.ignore_self_act {
            rules = rules.ignore_self_act();
        }
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
            rules = rules.danger_allow_unverified_binding();
        }
        rules
    }
}

pub(crate) fn rows() -> Vec<Row> {
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
