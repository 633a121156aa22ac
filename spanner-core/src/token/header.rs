//! The header (RFC 7515 §4): which key and algorithm, and nothing else that a token could
//! ask for.

use std::cell::RefCell;

use crate::refusal::TokenFault;
use crate::token::algorithm::Algorithm;
use crate::token::json::{Json, Members};
use crate::token::media_type::plain_type;

/// Parameters that point to a key elsewhere, or say that the claims are compressed.
/// Following them would let a token choose what it is verified with, or how much memory
/// it takes.
const REFUSED: &[&str] = &["jku", "x5u", "zip"];

const KEPT: &[&str] = &[
    "alg", "kid", "typ", "cty", "crit", "b64", "jku", "x5u", "zip",
];

/// Types of tokens that are never access tokens, whatever an issuer's mapping says: what is
/// made for an authorization server (ID-JAG, client authentication), for another protocol
/// (logout, security events, introspection), for use within one trust domain (transaction
/// tokens), to be presented with a proof (WIT, AAT, SD-JWT), or is itself a proof.
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

/// What a header says, checked. `jwk`, `x5c` and thumbprints are walked past: keys come
/// from the issuer's key set only.
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

    /// Whether `typ` says access token (RFC 9068 §2.1).
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

/// Media types are compared in any case, and `application/` may be left out (RFC 7515
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
