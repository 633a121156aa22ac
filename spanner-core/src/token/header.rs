//! The header (RFC 7515 §4). Only the key, the algorithm and the type are used.

use std::cell::RefCell;

use crate::refusal::TokenFault;
use crate::token::algorithm::Algorithm;
use crate::token::json::{Json, Members};
use crate::token::media_type::plain_type;

/// Parameters that point to a key elsewhere, or say that the claims are compressed.
/// Following them would let a token choose the key that verifies it, or how much memory it needs.
const REFUSED: &[&str] = &["jku", "x5u", "zip"];

const KEPT: &[&str] = &[
    "alg", "kid", "typ", "cty", "crit", "b64", "jku", "x5u", "zip",
];

/// Types of tokens that are never access tokens, even if an issuer's mapping lists them: tokens for
/// an authorization server (ID-JAG, client authentication), for another protocol (logout, security
/// events, introspection), for use within one trust domain (transaction tokens), for presentation
/// with a proof (WIT, AAT, SD-JWT), and proofs themselves.
const FORBIDDEN_TYPES: &[&str] = &[
    "oauth-id-jag+jwt",
    "txntoken+jwt",
    "wit+jwt",
    "aat+jwt",
    "aat-pop+jwt",
    "dpop+jwt",
    "logout+jwt",
    "secevent+jwt",
    "client-authentication+jwt",
    "token-introspection+jwt",
    "global-token-revocation+jwt",
    "entity-statement+jwt",
    "kb+jwt",
    "dc+sd-jwt",
    "refresh+jwt",
];

/// A checked header. `jwk`, `x5c` and thumbprints are ignored, because keys come only from the
/// issuer's key set.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    pub(super) typ: Option<String>,
    /// The names of all parameters.
    names: Vec<String>,
}

impl Header {
    pub(super) fn parse(text: &[u8]) -> Result<Self, TokenFault> {
        let names = RefCell::new(Vec::new());
        let members = Members::read(text, |name| {
            names.borrow_mut().push(name.to_owned());
            KEPT.contains(&name)
        })?;
        let algorithm = text_of(&members, "alg")?.ok_or(TokenFault::Malformed)?;
        let algorithm = Algorithm::named(algorithm).ok_or(TokenFault::AlgorithmNotAllowed)?;
        if members.has("crit") || members.has("b64") {
            return Err(TokenFault::Critical);
        }
        if REFUSED.iter().any(|name| members.has(name)) {
            return Err(TokenFault::HeaderParameter);
        }
        if text_of(&members, "cty")?.is_some_and(is_jwt) {
            return Err(TokenFault::Nested);
        }
        Ok(Self {
            algorithm,
            key_id: match text_of(&members, "kid")? {
                Some("") => return Err(TokenFault::Malformed),
                key_id => key_id.map(str::to_owned),
            },
            typ: match text_of(&members, "typ")? {
                Some(typ) if is_forbidden(typ) => return Err(TokenFault::Type),
                typ => typ.map(str::to_owned),
            },
            names: names.into_inner(),
        })
    }

    /// Whether `typ` is that of an access token (RFC 9068 §2.1).
    pub(super) fn is_access_token(&self) -> bool {
        let typ = self.typ.as_deref().map(plain_type);
        typ.is_some_and(|typ| typ.eq_ignore_ascii_case("at+jwt"))
    }

    /// Whether it has no other parameters than these.
    pub(super) fn has_only(&self, accepted: &[String]) -> bool {
        self.names.iter().all(|name| accepted.contains(name))
    }
}

fn text_of<'m>(members: &'m Members, name: &str) -> Result<Option<&'m str>, TokenFault> {
    members
        .get(name)
        .map(|value| Json::as_str(value).ok_or(TokenFault::Malformed))
        .transpose()
}

/// Media types are compared without regard to case, and `application/` may be left out (RFC 7515
/// §4.1.9, §4.1.10).
fn is_jwt(kind: &str) -> bool {
    plain_type(kind).eq_ignore_ascii_case("JWT")
}

fn is_forbidden(typ: &str) -> bool {
    let typ = plain_type(typ);
    FORBIDDEN_TYPES
        .iter()
        .any(|it| it.eq_ignore_ascii_case(typ))
}
