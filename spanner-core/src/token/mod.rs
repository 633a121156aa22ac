//! Verification of access tokens: signed JWTs (RFC 7519) of OpenID Connect and OAuth issuers.
//!
//! [`TokenVerifier::inspect`] checks what can be checked without keys, cheapest first:
//!
//! 1. At most 8 KiB; three parts of strict base64url; a header of at most 2 KiB. Header and
//!    claims are JSON objects without duplicate members, at any depth.
//! 2. The algorithm is an asymmetric one. `crit`, `b64`, `jku`, `x5u`, `zip` and a nested
//!    token are refused; `jwk`, `x5c` and thumbprints are never used. Types that are never
//!    access tokens (`dpop+jwt`, `logout+jwt`, `oauth-id-jag+jwt`, …) are refused.
//! 3. `iss` is a configured issuer, byte for byte. The algorithm and `typ` are among those of the
//!    issuer. If a provider has tenants, the issuer is a listed one, and the claim agrees.
//! 4. It is an access token. Without `at+jwt`, `nonce`, `at_hash` and `c_hash` reveal an ID token. If
//!    the claims `token_type`, `token_use` or `typ` are present, they must name an access token;
//!    `tokenName`, `purpose` and `type` must not name another kind. A refresh token is refused even
//!    if its issuer calls it active. No condition under `reject` of the mapping holds, and every
//!    claim under `require` is present. One of the audiences is ours. If the issuer has a list of
//!    clients, one of them obtained the token.
//! 5. Its times are valid: `exp`, `nbf`, `iat`, its age and its lifetime. `auth_time` is not in the
//!    future, and no time is before 1970.
//!
//! [`TokenVerifier::verify`] then verifies the signature with a key of the issuer, checks the times
//! again, and turns the claims into a [`Caller`](crate::Caller):
//!
//! 6. A sender-constrained token (`cnf`) is not a bearer token: it needs a proof
//!    ([`VerifiedToken::caller_with`]). An unknown kind of binding is refused.
//! 7. Subject, client, tenant, kind, groups, roles, scopes and actors are read as the issuer's
//!    [`ClaimMapping`] says. A caller that no rule classifies is `Unclassified`, and no role admits
//!    it.
//! 8. The chain of `act` and all lists are bounded. Malformed values are refused, not skipped.
//!    `may_act` grants nothing.
//!
//! This module does no I/O and has no clock: the keys are an argument (a [`KeySet`], which
//! `spanner-tower` fetches), and so is the time.
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
//! # Claim mappings
//! A [`ClaimMapping`] is data. A member that it leaves out has the value of the preset below it.
//!
//! | member | meaning |
//! |---|---|
//! | `typ`, `algs`, `header_only` | the types accepted (`""` is a header without `typ`), the algorithms, the only header parameters |
//! | `key_use` | what keys must be for: `sig`, or `jwt-svid` |
//! | `id_tokens` | `true` where the provider has no other JWTs than ID tokens |
//! | `issuer_regex` | `[pointer, expression]`: what names the issuer where `iss` does not |
//! | `audience_from` | where the audience is, if not in `aud` |
//! | `reject`, `require` | conditions that refuse a token, then pointers that must find something |
//! | `subject`, or `subject_template`; `subject_fallback` | the first of these claims, or a text; `{ template, when }` for tokens that have none |
//! | `client`, `tenant`, `tenant_regex` | the first of these claims; `[pointer, expression]` |
//! | `kind`, `default_kind` | `{ kind, when }`, of which the first that holds counts: `user`, `service`, `agent`, `workload`, `pipeline`, `unknown` |
//! | `groups`, `roles`, `scopes` | selectors |
//! | `actor` | `{ at, subject, kind, default_kind, max_depth }` of whoever acts for the subject |
//! | `actor_from_client` | `{ when, kind }`: the client acts |
//! | `incomplete_groups`, `group_overage` | conditions for a token that does not list all groups, and whether that is to `flag` or to `refuse` |
//!
//! A pointer is an RFC 6901 pointer (`/realm_access/roles`); `*` in it is every member and
//! can be put into a prefix as `{1}`, `~2` is a literal `*`. A condition is one of `exists`,
//! `nonempty`, `equals`, `contains` (a word, or an item), `contains_any_case`, `prefix`,
//! `suffix`, `same`, `contains_char`, `all`, `any` and `not`. A selector has `at`, and `as`:
//! `string`, `strings` (the default; with `object_key` for lists of objects), `split`,
//! `words`, `keys`, `entries` (with `template = "{key}={value}"`), `each` (with
//! `template = "{/name}"`, and `unless`, `nested`); and `prefix`.
//!
//! Composed texts are percent-escaped for `% : / =` in all parts but the last, so that two tokens
//! never get the same name.
//!
//! ```
//! use spanner_core::token::{ClaimMapping, IssuerRules};
//!
//! let mapping: ClaimMapping = toml::from_str(r#"
//!     subject = ["/employee_id"]
//!     kind = [{ kind = "service", when = { prefix = ["/employee_id", "svc-"] } }]
//!     default_kind = "user"
//!     roles = [{ at = "/apps/*/roles", prefix = "{1}:" }]
//! "#)?;
//! let rules = IssuerRules::builder("corp".parse()?, "https://id.example.com")
//!     .mapping(mapping)
//!     .audience("models")
//!     .build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Caveats
//! - Audience and issuer are the only protection against tokens for other services and of other
//!   tenants. Without an audience, such tokens are accepted.
//! - A verified token states what was true when it was issued. Revocation is not part of this
//!   module.
//! - If another crate of the build turns on `serde_json/arbitrary_precision`, times cannot
//!   be read and every token is refused.

mod algorithm;
mod audience;
mod claims;
mod compact;
mod header;
mod identity;
mod json;
mod key;
mod key_set;
mod kind;
mod mapping;
mod media_type;
mod overage;
mod problem;
mod proof;
mod rules;
mod times;
mod verifier;
mod weak;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use key::SkippedKeyReason;
pub use key_set::{KeySet, KeySetError, ParsedKeySet, SkippedKey};
pub use mapping::{ClaimMapping, Preset, UnknownPreset};
pub use overage::GroupOverage;
pub use problem::{RulesError, RulesProblem};
pub use proof::{DpopProof, Presented};
pub use rules::{IssuerRules, IssuerRulesBuilder};
pub use verifier::{GenuineToken, TokenVerifier, UnverifiedToken, VerifiedToken};
