//! Verification of access tokens: signed JWTs (RFC 7519) of OpenID Connect and OAuth issuers.
//!
//! [`TokenVerifier::inspect`] checks what can be checked without keys, cheapest first:
//!
//! 1. At most 8 KiB; three parts of strict base64url; a header of at most 2 KiB. Header and
//!    claims are JSON objects in which no member stands twice, at any depth.
//! 2. The algorithm is an asymmetric one. `crit`, `b64`, `jku`, `x5u`, `zip` and a nested
//!    token are refused; `jwk`, `x5c` and thumbprints are never used. `typ` is absent, `JWT`
//!    or `at+jwt`.
//! 3. `iss` is a known issuer, byte for byte, and the algorithm is one of its own.
//! 4. It is an access token: without `at+jwt`, `nonce`, `at_hash` and `c_hash` give away an
//!    ID token. One of its audiences is ours. If the issuer has a list of clients, one of
//!    them obtained it.
//! 5. It is in time: `exp`, `nbf`, `iat`, its age and its lifetime.
//!
//! [`TokenVerifier::verify`] then verifies the signature with a key of the issuer, looks at
//! the clock again, and makes the claims a [`Caller`](crate::Caller):
//!
//! 6. A sender-constrained token (`cnf`) is not a bearer token.
//! 7. The kind of caller is what the first of these says: the issuer's own rules
//!    ([`IssuerRulesBuilder::kind_when`]); `sub_profile` (`ai_agent`, `service`, `user`); a
//!    grant of client credentials (`gty`, `grant_type`); a subject that is the client
//!    itself; else [`IssuerRulesBuilder::kind_otherwise`].
//! 8. Groups, scopes and the chain of `act` have the types they must have, and are bounded.
//!    What is malformed is refused, not skipped. `may_act` gives nothing.
//!
//! Nothing here fetches, waits or tells the time: keys come in as a [`KeySet`], which
//! `spanner-tower` fetches, and the time as an argument.
//!
//! # Example
//! ```
//! use spanner_core::token::{IssuerRules, KeySet, TokenVerifier};
//! use spanner_core::{Timestamp, TokenFault};
//!
//! let rules = IssuerRules::builder("corp".parse()?, "https://id.example.com")
//!     .audience("models")
//!     .build()?;
//! let verifier = TokenVerifier::new(vec![rules])?;
//! let keys = KeySet::parse(
//!     br#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1",
//!         "x": "crjwYLDsh0RLm-3r_wAjw-LKuOX6Q8cbDP6FfmxlF74"}]}"#,
//! )?
//! .keys;
//!
//! let token = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsxIn0.\
//!     eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoibW9kZWxzIiwic3ViIjoiYWxpY2\
//!     UiLCJncm91cHMiOlsibmxwIl0sImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAwNjAwfQ.\
//!     keijYybs1-aTWLVJu92vBjkVXeyRDg5CV40yEBiV0VzDLo3LfSW93wlQTJUWBzo-Fl_zrR80L-boW9340GTfBQ";
//! let now = Timestamp::from_second(1_800_000_060)?;
//! let unverified = verifier.inspect(token, now)?;
//! let caller = verifier.verify(&unverified, &keys, now)?;
//! assert_eq!(caller.to_string(), "user:corp/alice");
//!
//! // Ten minutes later it has expired, and no key is needed to see it.
//! let later = Timestamp::from_second(1_800_000_660)?;
//! assert_eq!(verifier.inspect(token, later).err(), Some(TokenFault::Expired));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Caveats
//! - Audience and issuer are the whole protection against tokens made for other services
//!   and by other tenants: whoever opts out of the audience accepts those.
//! - A verified token says what was true when it was issued. Revocation is not part of
//!   this module.
//! - If another crate of the build turns on `serde_json/arbitrary_precision`, times cannot
//!   be read and every token is refused.

mod algorithm;
mod claims;
mod compact;
mod header;
mod identity;
mod json;
mod key;
mod key_set;
mod problem;
mod rules;
mod verifier;
mod weak;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use key::SkippedKeyReason;
pub use key_set::{KeySet, KeySetError, ParsedKeySet, SkippedKey};
pub use problem::{RulesError, RulesProblem};
pub use rules::{GroupOverage, IssuerRules, IssuerRulesBuilder};
pub use verifier::{TokenVerifier, UnverifiedToken};
