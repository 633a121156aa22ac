//! The header (RFC 7515 §4): which key and algorithm, and nothing else that a token could
//! ask for.

use crate::refusal::TokenFault;
use crate::token::algorithm::Algorithm;
use crate::token::json::{Json, Members};

/// Parameters that point to a key elsewhere, or say that the claims are compressed.
/// Following them would let a token choose what it is verified with, or how much memory
/// it takes.
const REFUSED: &[&str] = &["jku", "x5u", "zip"];

const KEPT: &[&str] = &[
    "alg", "kid", "typ", "cty", "crit", "b64", "jku", "x5u", "zip",
];

/// What a header says, checked. `jwk`, `x5c` and thumbprints are walked past: keys come
/// from the issuer's key set only.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// Whether `typ` says access token (RFC 9068 §2.1), rather than nothing or `JWT`.
    pub(super) access_token: bool,
}

impl Header {
    pub(super) fn parse(text: &[u8]) -> Result<Self, TokenFault> {
        let members = Members::read(text, |name| KEPT.contains(&name))?;
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
            access_token: is_access_token(text_of(&members, "typ")?)?,
        })
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
    kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("application/jwt")
}

fn is_access_token(kind: Option<&str>) -> Result<bool, TokenFault> {
    match kind {
        None => Ok(false),
        Some(kind) if kind.eq_ignore_ascii_case("JWT") => Ok(false),
        Some(kind)
            if kind.eq_ignore_ascii_case("at+jwt")
                || kind.eq_ignore_ascii_case("application/at+jwt") =>
        {
            Ok(true)
        }
        Some(_) => Err(TokenFault::Type),
    }
}
