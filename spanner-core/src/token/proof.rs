//! Proof of possession: evidence that the sender of a token is the client to which it was issued.
//!
//! A token may be bound to a key (`DPoP`, RFC 9449) or to a client certificate (RFC 8705 §3). It is
//! then accepted only with a proof that was made with this key for this request, or over a
//! connection with this certificate. An unknown binding is refused, and a token with two bindings
//! needs both proofs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::Timestamp;
use crate::refusal::TokenFault;
use crate::token::algorithm::Algorithm;
use crate::token::claims::shown;
use crate::token::compact::Compact;
use crate::token::json::{Json, Members};
use crate::token::key::Key;
use crate::token::media_type::plain_type;

/// How old a proof may be, in seconds: a client makes one for each request.
const MAX_AGE: i64 = 60;
/// How far the client's clock may be from ours, in seconds.
const SKEW: i64 = 30;

/// What a token is bound to (`cnf`, RFC 7800 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    /// The thumbprint of a key (`jkt`, RFC 9449 §6.1).
    key: Option<String>,
    /// The thumbprint of a certificate (`x5t#S256`, RFC 8705 §3.1).
    certificate: Option<String>,
}

impl Binding {
    /// Reads the claim. An unknown confirmation method cannot be checked.
    pub(super) fn of(claims: &Members) -> Result<Option<Self>, TokenFault> {
        let confirmation = match claims.get("cnf") {
            None => return Ok(None),
            Some(Json::Object(members)) => members,
            Some(_) => return Err(TokenFault::ClaimType),
        };
        let known = |name: &str| matches!(name, "jkt" | "x5t#S256");
        if confirmation.iter().any(|(name, _)| !known(name)) {
            return Err(TokenFault::ProofRequired);
        }
        let text = |name| Ok::<_, TokenFault>(confirmation.text(name)?.map(str::to_owned));
        let binding = Self {
            key: text("jkt")?,
            certificate: text("x5t#S256")?,
        };
        if binding.key.is_none() && binding.certificate.is_none() {
            return Err(TokenFault::ProofRequired);
        }
        Ok(Some(binding))
    }

    /// Checks that the request proves possession.
    pub(super) fn check(
        binding: Option<&Self>,
        presented: &Presented<'_>,
    ) -> Result<(), TokenFault> {
        let key = binding.and_then(|binding| binding.key.as_deref());
        let certificate = binding.and_then(|binding| binding.certificate.as_deref());
        match (key, presented.dpop) {
            (None, false) => {}
            // A bound token without its proof is a stolen one (RFC 9449 §7.1).
            (Some(_), false) => return Err(TokenFault::ProofRequired),
            // A proof with a key to which the token is not bound proves nothing.
            (None, true) => return Err(TokenFault::ProofInvalid),
            (Some(due), true) => match presented.proof {
                Some(proof) if proof.thumbprint == due => {}
                Some(_) => return Err(TokenFault::ProofInvalid),
                None => return Err(TokenFault::ProofRequired),
            },
        }
        match (certificate, presented.certificate) {
            (None, _) => Ok(()),
            (Some(due), Some(hash)) if URL_SAFE_NO_PAD.encode(hash) == due => Ok(()),
            (Some(_), Some(_)) => Err(TokenFault::ProofInvalid),
            (Some(_), None) => Err(TokenFault::ProofRequired),
        }
    }
}

/// The evidence that came with a token.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Presented<'r> {
    /// Whether it came with the scheme `DPoP` rather than `Bearer`.
    pub dpop: bool,
    /// The verified proof that came with the token.
    pub proof: Option<&'r DpopProof>,
    /// The SHA-256 of the client's certificate (DER), as the TLS connection has it.
    pub certificate: Option<[u8; 32]>,
}

/// A `DPoP` proof whose signature, times and target were verified (RFC 9449 §4.3).
///
/// A proof is for one use: after accepting it, remember [`DpopProof::once`] and refuse it the second
/// time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpopProof {
    thumbprint: String,
    id: String,
}

impl DpopProof {
    /// How long a proof could be replayed, in seconds: from the earliest that it is accepted
    /// to the latest.
    pub const LIFE_SECONDS: u64 = (MAX_AGE + SKEW + SKEW) as u64;

    /// The algorithms of proofs that are accepted, as challenges name them (RFC 9449 §5.1).
    pub const ALGORITHMS: &'static str = "ES256 ES384 EdDSA Ed25519 PS256 PS384 PS512 RS256";

    /// Verifies a proof for a request with this method, and a token. `is_target` decides whether
    /// the proof's URL (`htu`) is that of the request, without query and fragment (RFC 9449 §4.3).
    ///
    /// # Errors
    /// [`TokenFault::ProofInvalid`] for every kind of invalid proof.
    pub fn verify(
        proof: &str,
        method: &str,
        is_target: impl FnOnce(&str) -> bool,
        token: &str,
        now: Timestamp,
    ) -> Result<Self, TokenFault> {
        Self::read(proof, token, now)
            .ok()
            .filter(|(_, claims)| {
                let text = |name| claims.text(name).ok().flatten();
                text("htm") == Some(method) && text("htu").is_some_and(is_target)
            })
            .map(|(proof, _)| proof)
            .ok_or(TokenFault::ProofInvalid)
    }

    /// The proof and its claims. The method and the URL are not compared yet.
    fn read(proof: &str, token: &str, now: Timestamp) -> Result<(Self, Members), TokenFault> {
        const FAULT: TokenFault = TokenFault::ProofInvalid;
        let compact = Compact::parse(proof)?;
        let header = Members::read(&compact.header, |_| true)?;
        let typ = header.text("typ")?.map(plain_type).ok_or(FAULT)?;
        let known = |name: &str| matches!(name, "typ" | "alg" | "jwk" | "kid");
        if !typ.eq_ignore_ascii_case("dpop+jwt") || header.iter().any(|(name, _)| !known(name)) {
            return Err(FAULT);
        }
        let algorithm = header
            .text("alg")?
            .and_then(Algorithm::named)
            .ok_or(FAULT)?;
        let accepted = Self::ALGORITHMS.split(' ');
        if !accepted
            .into_iter()
            .any(|name| header.text("alg") == Ok(Some(name)))
        {
            return Err(FAULT);
        }
        let jwk = header.get("jwk").ok_or(FAULT)?;
        let key = Key::parse(jwk).map_err(|_| FAULT)?;
        if !key.fits(algorithm) {
            return Err(FAULT);
        }
        let claims = Members::read(&compact.claims, |_| true)?;
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
        let right = claims.text("ath")? == Some(&hash);
        let issued = claims.time("iat")?.ok_or(FAULT)?.as_second();
        let age = now.as_second().saturating_sub(issued);
        if !right || !(-SKEW..=MAX_AGE + SKEW).contains(&age) {
            return Err(FAULT);
        }
        let id = shown(claims.text("jti")?.ok_or(FAULT)?)?.to_owned();
        key.verify(algorithm, compact.signed, &compact.signature)?;
        let thumbprint = thumbprint(jwk).ok_or(FAULT)?;
        Ok((Self { thumbprint, id }, claims))
    }

    /// The value that must not be accepted twice while the proof is valid: a hash of its key and its
    /// identifier.
    #[must_use]
    pub fn once(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // A thumbprint has one length, so that the two do not run into one another.
        hash.update(&self.thumbprint);
        hash.update(&self.id);
        hash.finalize().into()
    }
}

/// The thumbprint of a public key (RFC 7638 §3): the hash of its required members, sorted.
fn thumbprint(jwk: &Json) -> Option<String> {
    let Json::Object(members) = jwk else {
        return None;
    };
    let required: &[&str] = match members.get("kty")?.as_str()? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let mut text = String::from("{");
    for (at, name) in required.iter().enumerate() {
        // None of these values has a letter that JSON escapes: they were parsed as base64url
        // or are known words.
        let value = members.get(name)?.as_str()?;
        let comma = if at == 0 { "" } else { "," };
        text.push_str(&format!("{comma}\"{name}\":\"{value}\""));
    }
    text.push('}');
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Json {
        Json::Object(Members::read(text.as_bytes(), |_| true).unwrap())
    }

    /// The example of RFC 7638 §3.1.
    #[test]
    fn makes_the_thumbprint_of_the_specification() {
        let key = r#"{"kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}"#;
        let due = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(thumbprint(&object(key)).as_deref(), Some(due));
    }

    #[test]
    fn a_binding_that_is_not_understood_is_not_proved() {
        for (cnf, due) in [
            (r#"{"jkt": "a"}"#, Ok(())),
            (r#"{"x5t#S256": "a"}"#, Ok(())),
            (r#"{"jkt": "a", "x5t#S256": "b"}"#, Ok(())),
            ("{}", Err(TokenFault::ProofRequired)),
            (r#"{"jwk": {"kty": "OKP"}}"#, Err(TokenFault::ProofRequired)),
            (r#"{"kid": "a"}"#, Err(TokenFault::ProofRequired)),
            (
                r#"{"jkt": "a", "kid": "b"}"#,
                Err(TokenFault::ProofRequired),
            ),
            (r#"{"jkt": 1}"#, Err(TokenFault::ClaimType)),
            (r#""jkt""#, Err(TokenFault::ClaimType)),
            ("null", Err(TokenFault::ClaimType)),
        ] {
            let claims = format!(r#"{{"cnf": {cnf}}}"#);
            let claims = Members::read(claims.as_bytes(), |_| true).unwrap();
            assert_eq!(Binding::of(&claims).map(|_| ()), due, "{cnf}");
        }
    }

    #[test]
    fn every_binding_needs_its_proof() {
        let proof = |thumbprint: &str| DpopProof {
            thumbprint: thumbprint.to_owned(),
            id: "1".to_owned(),
        };
        let hash = [7; 32];
        let print = URL_SAFE_NO_PAD.encode(hash);
        let (mine, other) = (proof("k"), proof("x"));
        let (required, invalid) = (
            Err(TokenFault::ProofRequired),
            Err(TokenFault::ProofInvalid),
        );
        for (key, certificate, dpop, proof, presented, due) in [
            (None, None, false, None, None, Ok(())),
            (None, None, false, None, Some(hash), Ok(())),
            (None, None, true, Some(&mine), None, invalid),
            (None, None, true, None, None, invalid),
            (Some("k"), None, true, Some(&mine), None, Ok(())),
            (Some("k"), None, true, Some(&other), None, invalid),
            (Some("k"), None, true, None, None, required),
            (Some("k"), None, false, None, None, required),
            (Some("k"), None, false, Some(&mine), None, required),
            (None, Some(&*print), false, None, Some(hash), Ok(())),
            (None, Some(&print), false, None, Some([8; 32]), invalid),
            (None, Some(&print), false, None, None, required),
            (None, Some(&print), true, Some(&mine), Some(hash), invalid),
            (
                Some("k"),
                Some(&print),
                true,
                Some(&mine),
                Some(hash),
                Ok(()),
            ),
            (Some("k"), Some(&print), true, Some(&mine), None, required),
            (Some("k"), Some(&print), false, None, Some(hash), required),
        ] {
            let binding = Binding {
                key: key.map(str::to_owned),
                certificate: certificate.map(str::to_owned),
            };
            let bound = key.is_some() || certificate.is_some();
            let presented = Presented {
                dpop,
                proof,
                certificate: presented,
            };
            let found = Binding::check(bound.then_some(&binding), &presented);
            assert_eq!(found, due, "{binding:?} {presented:?}");
        }
    }
}
