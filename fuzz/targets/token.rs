//! Tokens. An input that starts with `{` stands for the claims of a token that the issuer
//! itself signs; any other is the token.
//!
//! Nothing may panic. A token that the fuzzer writes may be accepted only if what is signed
//! is what a seed says, since nobody here has the issuer's keys; a caller may never carry
//! characters that forge what a record shows.

#![no_main]

use std::sync::LazyLock;

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use spanner_core::token::{GroupOverage, IssuerRules, KeySet, TokenVerifier};
use spanner_core::{Caller, CallerKind, Timestamp};

/// The tokens that the issuer has signed.
const SIGNED: [&str; 4] = [
    include_str!("../seeds/token/rs256"),
    include_str!("../seeds/token/ps256"),
    include_str!("../seeds/token/es256"),
    include_str!("../seeds/token/eddsa"),
];

/// When the seeds are valid: 2027-01-15T08:00:00Z.
const NOW: i64 = 1_800_000_000;

static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let rules = IssuerRules::builder("corp".parse().unwrap(), "https://id.example.com")
        .audience("models")
        .groups(["groups", "/realm_access/roles"])
        .group_overage(GroupOverage::Flag)
        .kind_when("idtyp", "app", CallerKind::Service)
        .danger_allow_unverified_binding()
        .build();
    TokenVerifier::new(vec![rules.unwrap()]).unwrap()
});

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    KeySet::parse(include_bytes!("../keys/set.json"))
        .unwrap()
        .keys
});

static SIGNER: LazyLock<EncodingKey> =
    LazyLock::new(|| EncodingKey::from_ed_pem(include_bytes!("../keys/ed25519.pem")).unwrap());

fuzz_target!(init: {
    // What is never accepted would fuzz nothing beyond the first refusal.
    assert!(SIGNED.iter().all(|token| verify(token).is_some()));
    assert!(verify(&sign(include_bytes!("../seeds/token/claims_full"))).is_some());
}, |input: &[u8]| {
    if input.first() == Some(&b'{') {
        if let Some(caller) = verify(&sign(input)) {
            assert!(!format!("{caller} {:?}", caller.client()).contains(char::is_control));
        }
    } else if let Ok(token) = std::str::from_utf8(input) {
        let what = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
        if verify(token).is_some() {
            assert!(SIGNED.iter().any(|seed| what(seed) == what(token)));
        }
    }
});

fn verify(token: &str) -> Option<Caller> {
    let now = Timestamp::from_second(NOW).unwrap();
    let unverified = VERIFIER.inspect(token, now).ok()?;
    VERIFIER.verify(&unverified, &KEYS, now).ok()
}

fn sign(claims: &[u8]) -> String {
    // {"alg":"EdDSA","kid":"ed25519"}
    const HEADER: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkMjU1MTkifQ";
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::EdDSA, &SIGNER).unwrap();
    let signed = format!("{HEADER}.{}", base64url(claims));
    let signature = signer.try_sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url(&signature))
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(three.get(at).copied().unwrap_or(0))
        });
        for at in 0..=three.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63]));
        }
    }
    text
}
