//! Verification of access tokens: JWTs of OpenID Connect and OAuth issuers.

mod algorithm;
mod claims;
mod compact;
mod header;
mod identity;
mod json;
mod key;
mod key_set;
mod rules;
mod verifier;
mod weak;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use key::SkippedKeyReason;
pub use key_set::{KeySet, KeySetError, ParsedKeySet, SkippedKey};
pub use rules::{GroupOverage, IssuerRules, IssuerRulesBuilder, RulesError, RulesProblem};
pub use verifier::{TokenVerifier, UnverifiedToken};
