//! Every algorithm, every bit, and keys that change.

use jsonwebtoken::Algorithm;
use serde_json::json;
use spanner_core::token::{IssuerRules, KeySet, TokenVerifier};
use spanner_core::{Caller, Timestamp, TokenFault};

use crate::support::{TestKeys, encode};

const NOW: i64 = 1_800_000_000;

const ALGORITHMS: &[(Algorithm, &str)] = &[
    (Algorithm::RS256, "rsa"),
    (Algorithm::RS384, "rsa"),
    (Algorithm::RS512, "rsa"),
    (Algorithm::PS256, "rsa"),
    (Algorithm::PS384, "rsa"),
    (Algorithm::PS512, "rsa"),
    (Algorithm::ES256, "p256"),
    (Algorithm::ES384, "p384"),
    (Algorithm::EdDSA, "ed25519"),
];

#[test]
fn verifies_every_algorithm_and_no_other_under_its_name() {
    let keys = TestKeys::read();
    let set = keys.set(&["rsa", "p256", "p384", "ed25519"]);
    for &(named, key) in ALGORITHMS {
        for &(signing, with) in ALGORITHMS {
            let token = token_named(&keys, with, signing, named, key, "https://a.example");
            let due = if named == signing {
                Ok("user:a/alice".to_owned())
            } else {
                Err(TokenFault::BadSignature)
            };
            let found = verify(&token, &set).map(|caller| caller.to_string());
            assert_eq!(found, due, "{signing:?} called {named:?}");
        }
    }
}

#[test]
fn refuses_a_token_of_which_any_bit_is_flipped() {
    let keys = TestKeys::read();
    let set = keys.set(&["rsa", "p256", "p384", "ed25519"]);
    for &(algorithm, key) in ALGORITHMS {
        // One of each family; the others differ in their hash alone.
        if matches!(
            algorithm,
            Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS384 | Algorithm::PS512
        ) {
            continue;
        }
        let token = token(&keys, key, algorithm);
        assert!(verify(&token, &set).is_ok());
        let mut flipped = token.clone().into_bytes();
        for bit in 0..flipped.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = std::str::from_utf8(&flipped) {
                assert!(verify(text, &set).is_err(), "{algorithm:?}: bit {bit}");
            }
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn refuses_an_rsa_key_for_an_algorithm_that_it_excludes() {
    let keys = TestKeys::read();
    let mut jwk = keys.jwk("rsa");
    jwk["alg"] = json!("RS256");
    let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let verified = |algorithm| verify(&token(&keys, "rsa", algorithm), &set.keys).map(|_| ());
    assert_eq!(verified(Algorithm::RS256), Ok(()));
    assert_eq!(verified(Algorithm::PS256), Err(TokenFault::KeyMismatch));
    assert_eq!(verified(Algorithm::RS512), Err(TokenFault::KeyMismatch));
}

#[test]
fn follows_keys_that_come_and_go() {
    let keys = TestKeys::read();
    let new = token(&keys, "p256", Algorithm::ES256);
    let old = token(&keys, "rsa", Algorithm::RS256);
    let (before, both, after) = (
        keys.set(&["rsa"]),
        keys.set(&["rsa", "p256"]),
        keys.set(&["p256"]),
    );
    for (token, set, due) in [
        (&old, &before, Ok(())),
        (&new, &before, Err(TokenFault::UnknownKey)),
        (&old, &both, Ok(())),
        (&new, &both, Ok(())),
        (&new, &after, Ok(())),
        (&old, &after, Err(TokenFault::UnknownKey)),
    ] {
        assert_eq!(verify(token, set).map(|_| ()), due);
    }
}

#[test]
fn takes_a_new_key_under_an_old_name() {
    let keys = TestKeys::read();
    let mut jwk = keys.jwk("stranger-rsa");
    jwk["kid"] = json!("rsa");
    let changed = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let token = token(&keys, "rsa", Algorithm::RS256);
    assert!(verify(&token, &keys.set(&["rsa"])).is_ok());
    assert_eq!(verify(&token, &changed.keys), Err(TokenFault::BadSignature));
}

#[test]
fn looks_at_the_clock_again_when_the_keys_have_come() {
    let keys = TestKeys::read();
    let token = token(&keys, "p256", Algorithm::ES256);
    let verifier = verifier();
    let unverified = verifier.inspect(&token, at(0)).unwrap();
    let set = keys.set(&["p256"]);
    assert!(verifier.verify(&unverified, &set, at(659)).is_ok());
    let late = verifier.verify(&unverified, &set, at(660));
    assert_eq!(late, Err(TokenFault::Expired));
}

#[test]
fn keeps_issuers_apart() {
    let keys = TestKeys::read();
    let (ours, theirs) = (keys.set(&["p256"]), keys.set(&["p384"]));
    let verifier = verifier();
    let sign = |issuer| {
        token_named(
            &keys,
            "p256",
            Algorithm::ES256,
            Algorithm::ES256,
            "p256",
            issuer,
        )
    };
    let (a, b) = (sign("https://a.example"), sign("https://b.example"));
    let a = verifier.inspect(&a, at(0)).unwrap();
    let b = verifier.inspect(&b, at(0)).unwrap();
    assert_eq!((a.issuer().as_str(), b.issuer().as_str()), ("a", "b"));
    let a = verifier.verify(&a, &ours, at(0)).unwrap();
    assert_eq!(
        verifier.verify(&b, &theirs, at(0)),
        Err(TokenFault::UnknownKey)
    );
    let b = verifier.verify(&b, &ours, at(0)).unwrap();
    assert_ne!(a.subject().principal, b.subject().principal);
}

#[test]
fn refuses_a_token_that_another_verifier_inspected() {
    let keys = TestKeys::read();
    let token = token(&keys, "p256", Algorithm::ES256);
    let (one, other) = (verifier(), verifier());
    let unverified = one.inspect(&token, at(0)).unwrap();
    let verified = other.verify(&unverified, &keys.set(&["p256"]), at(0));
    assert_eq!(verified, Err(TokenFault::Issuer));
}

#[test]
fn survives_any_clock() {
    let keys = TestKeys::read();
    let token = token(&keys, "p256", Algorithm::ES256);
    for now in [
        Timestamp::MIN,
        Timestamp::UNIX_EPOCH,
        at(0),
        at(86_400 * 365),
        Timestamp::MAX,
    ] {
        let inspected = verifier().inspect(&token, now).map(|_| ());
        assert_eq!(inspected.is_ok(), now == at(0), "{now}");
    }
}

fn verifier() -> TokenVerifier {
    let rules = |alias: &str| {
        IssuerRules::builder(alias.parse().unwrap(), &format!("https://{alias}.example"))
            .audience("models")
            .build()
            .unwrap()
    };
    TokenVerifier::new(vec![rules("a"), rules("b")]).unwrap()
}

fn verify(token: &str, set: &KeySet) -> Result<Caller, TokenFault> {
    let verifier = verifier();
    let unverified = verifier.inspect(token, at(0))?;
    verifier.verify(&unverified, set, at(0))
}

fn token(keys: &TestKeys, key: &str, algorithm: Algorithm) -> String {
    token_named(keys, key, algorithm, algorithm, key, "https://a.example")
}

/// A token signed with one key and algorithm, naming perhaps others.
fn token_named(
    keys: &TestKeys,
    key: &str,
    signing: Algorithm,
    named: Algorithm,
    key_id: &str,
    issuer: &str,
) -> String {
    let header = json!({"alg": format!("{named:?}"), "kid": key_id});
    let claims = json!({
        "iss": issuer, "aud": "models", "sub": "alice", "iat": NOW - 60, "exp": NOW + 600,
    });
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = keys.sign(key, signing, &signed);
    format!("{signed}.{signature}")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}
