//! The rows of `data/key_set.toml`: key sets, and what is used of each.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use spanner_core::token::{KeySet, KeySetError};

use crate::support::TestKeys;

/// A row; `key_set.toml` explains the members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    about: String,
    key: Option<String>,
    #[serde(default)]
    with: String,
    #[serde(default)]
    without: Vec<String>,
    set: Option<String>,
    used: Option<Vec<String>>,
    skipped: Option<String>,
    due: Option<String>,
}

#[derive(Deserialize)]
struct Rows {
    row: Vec<Row>,
}

#[test]
fn every_row_of_the_data_gets_its_due() {
    let keys = TestKeys::read();
    let rows: Rows = toml::from_str(include_str!("../data/key_set.toml")).unwrap();
    let complaints: Vec<String> = rows.row.iter().filter_map(|row| row.check(&keys)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn bounds_the_set_in_bytes_and_keys() {
    let keys = TestKeys::read();
    let many = |count: usize| {
        let keys: Vec<Value> = (0..count)
            .map(|at| {
                let mut jwk = keys.jwk("ed25519");
                jwk["kid"] = json!(at.to_string());
                jwk
            })
            .collect();
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).map(|set| set.keys.len())
    };
    assert_eq!(many(KeySet::MAX_KEYS), Ok(KeySet::MAX_KEYS));
    assert_eq!(many(KeySet::MAX_KEYS + 1), Err(KeySetError::TooManyKeys));
    assert_eq!(many(1_001), Err(KeySetError::TooManyKeys));

    let padded = |bytes: usize| {
        let mut text = json!({ "keys": [keys.jwk("ed25519")] }).to_string();
        text.push_str(&" ".repeat(bytes - text.len()));
        KeySet::parse(text.as_bytes()).map(|set| set.keys.len())
    };
    assert_eq!(padded(KeySet::MAX_BYTES), Ok(1));
    let bytes = KeySet::MAX_BYTES + 1;
    assert_eq!(padded(bytes), Err(KeySetError::TooLarge { bytes }));
}

#[test]
fn shows_no_key_material() {
    let keys = TestKeys::read();
    let mut published = keys.jwk("rsa");
    published["d"] = json!("canary-private");
    let modulus = published["n"].as_str().unwrap().to_owned();
    let set = json!({ "keys": [published, keys.jwk("p256")] }).to_string();
    let parsed = KeySet::parse(set.as_bytes()).unwrap();
    let shown = format!("{parsed:?} {}", parsed.skipped[0]);
    assert!(shown.contains("p256"), "{shown}");
    for secret in ["canary", &modulus] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

impl Row {
    /// How what became of the set is not its due.
    fn check(&self, keys: &TestKeys) -> Option<String> {
        let found = match KeySet::parse(self.text(keys).as_bytes()) {
            Ok(parsed) => {
                let used = ["rsa", "p256", "p384", "ed25519", "plain"]
                    .into_iter()
                    .filter(|id| parsed.keys.contains_key_id(id));
                let skipped: Vec<_> = parsed.skipped.iter().map(ToString::to_string).collect();
                json!({"used": used.collect::<Vec<_>>(), "skipped": skipped})
            }
            Err(error) => json!({ "error": error.to_string() }),
        };
        let agrees = match (&self.due, &self.used, &self.skipped) {
            (Some(due), None, None) => found["error"] == json!(due),
            (None, Some(used), None) => {
                found["used"] == json!(used) && found["skipped"] == json!([])
            }
            // The usual P-384 key stands beside what is skipped.
            (None, used, Some(reason)) => {
                let used = used.clone().unwrap_or_else(|| vec!["p384".to_owned()]);
                let reasons = found["skipped"].as_array().cloned().unwrap_or_default();
                let says = |said: &Value| said.as_str().is_some_and(|said| said.ends_with(reason));
                found["used"] == json!(used) && !reasons.is_empty() && reasons.iter().all(says)
            }
            _ => false,
        };
        (!agrees).then(|| format!("{}: {}: {found}", self.id, self.about))
    }

    fn text(&self, keys: &TestKeys) -> String {
        if let Some(set) = &self.set {
            return [
                "rsa",
                "p256",
                "p384",
                "ed25519",
                "stranger-rsa",
                "stranger-p256",
            ]
            .into_iter()
            .fold(set.clone(), |set, name| {
                set.replace(&format!("<{name}>"), &keys.jwk(name).to_string())
            });
        }
        let mut jwk = keys.jwk(self.key.as_deref().unwrap_or("rsa"));
        let members = jwk.as_object_mut().unwrap();
        if !self.with.is_empty() {
            members.extend(serde_json::from_str::<Map<String, Value>>(&self.with).unwrap());
        }
        members.retain(|name, _| !self.without.contains(name));
        match &self.skipped {
            Some(_) => json!({ "keys": [jwk, keys.jwk("p384")] }),
            None => json!({ "keys": [jwk] }),
        }
        .to_string()
    }
}
