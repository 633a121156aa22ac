//! What any provider could say of a token, read by every preset: no panic, and nobody who
//! is named twice or without end.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spanner_core::token::{IssuerRules, Preset, TokenVerifier};
use spanner_core::{Caller, Timestamp};

/// A verifier for one issuer of each preset, whose alias is the preset's word.
static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let rules = Preset::ALL.iter().map(|preset| {
        let issuer = match preset {
            Preset::Spiffe => "spiffe://acme.example".to_owned(),
            _ => format!("https://{}.example", preset.as_str().replace('_', "-")),
        };
        IssuerRules::builder(preset.as_str().parse().unwrap(), &issuer)
            .preset(*preset)
            .danger_any_audience()
            .max_token_age(None)
            .build()
            .unwrap()
    });
    TokenVerifier::new(rules.collect()).unwrap()
});

fuzz_target!(|claims: &[u8]| {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for preset in Preset::ALL {
        let alias = preset.as_str().parse().unwrap();
        let attested = VERIFIER.attested(&alias, claims, "a-token-of-sixteen", now);
        let Ok(caller) = attested.and_then(|token| token.caller(now)) else {
            continue;
        };
        assert!(caller.depth() <= Caller::MAX_DEPTH);
        let subject = caller.subject();
        assert!(!subject.principal.subject.as_str().is_empty());
        for names in [
            subject.groups.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
            subject.roles.iter().map(|it| it.name.as_str()).collect(),
        ] {
            assert!(names.len() <= 1_000);
            let mut once = names.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), names.len());
        }
    }
});
