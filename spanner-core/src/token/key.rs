//! One JSON Web Key (RFC 7517 §4), and whether it can be used.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use crate::refusal::TokenFault;
use crate::text::is_displayable;
use crate::token::algorithm::{Algorithm, KeyKind};
use crate::token::json::{Json, Members};
use crate::token::weak;

/// The permitted bits of an RSA modulus. A shorter one can be factored. A longer one is too
/// expensive to verify with (8,192 bits cost 13 times as much as 2,048).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// The greatest RSA exponent. All that are in use are 3, 17 or this one; the cost of a
/// verification grows with its bits.
const MAX_RSA_EXPONENT: u64 = 65_537;

/// The longest key identifier, in bytes. It goes into records; thumbprints have 43.
const MAX_KEY_ID: usize = 256;

/// The members that only private or symmetric keys have (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// What a key signs (`use`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Tokens; also where `use` is absent.
    Signature,
    /// JWT-SVIDs, in the bundle of a trust domain (SPIFFE Trust Domain and Bundle §4.2.2).
    JwtSvid,
}

impl Purpose {
    /// The purpose of this word, if keys with it are used here.
    pub(super) fn named(word: &str) -> Option<Self> {
        match word {
            "sig" => Some(Self::Signature),
            "jwt-svid" => Some(Self::JwtSvid),
            _ => None,
        }
    }
}

/// A public key that can be used. `Debug` is not derived: it would print the key.
pub(super) struct Key {
    pub(super) purpose: Purpose,
    pub(super) id: Option<String>,
    pub(super) kind: KeyKind,
    /// The only algorithm that it may be used with, if it says so.
    algorithm: Option<Algorithm>,
    material: DecodingKey,
}

/// Why a key of a key set is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkippedKeyReason {
    /// Not a JSON object.
    #[error("it is no JSON object")]
    NotAnObject,
    /// A member is missing or has another type or form than RFC 7517 and RFC 7518 say.
    #[error("its `{member}` is missing or malformed")]
    Member {
        /// The member.
        member: &'static str,
    },
    /// A type of key that signs nothing here.
    #[error("its type is not RSA, EC or OKP")]
    Type,
    /// A shared secret, with which every reader of the key set could forge tokens.
    #[error("it is a symmetric key, which must never be in a published set")]
    Symmetric,
    /// The private half of the key has been published.
    #[error(
        "it has the private member `{member}`: replace this key, its private half is published"
    )]
    Private {
        /// The member.
        member: &'static str,
    },
    /// Its `use` is neither `sig` nor `jwt-svid`.
    #[error("its `use` is neither `sig` nor `jwt-svid`")]
    Use,
    /// Its `key_ops` do not have `verify`.
    #[error("its `key_ops` do not have `verify`")]
    Operations,
    /// A curve that is not P-256, P-384 or Ed25519.
    #[error("its curve is not P-256, P-384 or Ed25519")]
    Curve,
    /// An `alg` that is not accepted, or not one of this type of key.
    #[error("its `alg` is not a signature algorithm for this type of key")]
    Algorithm,
    /// An RSA modulus of a size that is not accepted.
    #[error("its modulus has {bits} bits, not {} to {}", RSA_BITS.start(), RSA_BITS.end())]
    ModulusSize {
        /// Its bits.
        bits: usize,
    },
    /// An even RSA modulus, or an exponent that is even, below 3 or above 65537.
    #[error(
        "its modulus is even, or its exponent is not an odd number from 3 to {MAX_RSA_EXPONENT}"
    )]
    Parameters,
    /// A key that can be broken: the RSA modulus of a faulty generator (ROCA), or an
    /// Ed25519 point of small order.
    #[error("it is a known weak key (ROCA, or a point of small order)")]
    Weak,
    /// Coordinates that are not those of a point of the curve.
    #[error("its coordinates are no point of the curve")]
    Point,
    /// Another key of the set has the same identifier and type.
    #[error("another key has the same `kid` and type, so neither can be told")]
    Ambiguous,
}

impl Key {
    pub(super) fn parse(value: &Json) -> Result<Self, SkippedKeyReason> {
        let Json::Object(jwk) = value else {
            return Err(SkippedKeyReason::NotAnObject);
        };
        let kty = text(jwk, "kty")?.ok_or(SkippedKeyReason::Member { member: "kty" })?;
        if kty == "oct" {
            return Err(SkippedKeyReason::Symmetric);
        }
        if let Some(member) = PRIVATE.iter().find(|member| jwk.has(member)) {
            return Err(SkippedKeyReason::Private { member });
        }
        let purpose = purpose(jwk)?;
        let (kind, material) = match kty {
            "RSA" => rsa(jwk)?,
            "EC" => elliptic(jwk)?,
            "OKP" => edwards(jwk)?,
            _ => return Err(SkippedKeyReason::Type),
        };
        Ok(Self {
            purpose,
            id: key_id(jwk)?,
            kind,
            algorithm: algorithm(jwk, kind)?,
            material,
        })
    }

    /// Whether it may be used with an algorithm: its type and its own `alg` decide, never
    /// the token's header alone.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.key_kind() && self.algorithm.is_none_or(|only| only == algorithm)
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    /// Whether a token that names one of the keys could mean the other. A key that is listed twice
    /// (once for each algorithm) is not ambiguous.
    pub(super) fn is_ambiguous_with(&self, other: &Self) -> bool {
        self.id.is_some()
            && self.id == other.id
            && self.purpose == other.purpose
            && self.kind == other.kind
            && !self.same_material(other)
    }

    fn same_material(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
        match (self.material.kind(), other.material.kind()) {
            (SecretOrDer(one), SecretOrDer(two)) => one == two,
            (RsaModulusExponent { n, e }, RsaModulusExponent { n: n2, e: e2 }) => {
                n == n2 && e == e2
            }
            (SecretOrDer(_), RsaModulusExponent { .. })
            | (RsaModulusExponent { .. }, SecretOrDer(_)) => false,
        }
    }

    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        signed: &str,
        signature: &Vec<u8>,
    ) -> Result<(), TokenFault> {
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm.primitive(), &self.material)
            .map_err(|_| TokenFault::KeyMismatch)?
            .verify(signed.as_bytes(), signature)
            .map_err(|_| TokenFault::BadSignature)
    }
}

pub(super) fn key_id(jwk: &Members) -> Result<Option<String>, SkippedKeyReason> {
    let accepted =
        |id: &str| !id.is_empty() && id.len() <= MAX_KEY_ID && id.chars().all(is_displayable);
    match text(jwk, "kid")? {
        Some(id) if !accepted(id) => Err(SkippedKeyReason::Member { member: "kid" }),
        id => Ok(id.map(str::to_owned)),
    }
}

fn purpose(jwk: &Members) -> Result<Purpose, SkippedKeyReason> {
    let word = text(jwk, "use")?.unwrap_or("sig");
    let purpose = Purpose::named(word).ok_or(SkippedKeyReason::Use)?;
    match jwk.get("key_ops") {
        None => Ok(purpose),
        Some(Json::Array(names)) if names.iter().any(|name| name.as_str() == Some("verify")) => {
            Ok(purpose)
        }
        Some(_) => Err(SkippedKeyReason::Operations),
    }
}

fn algorithm(jwk: &Members, kind: KeyKind) -> Result<Option<Algorithm>, SkippedKeyReason> {
    text(jwk, "alg")?
        .map(|name| {
            Algorithm::named(name)
                .filter(|algorithm| algorithm.key_kind() == kind)
                .ok_or(SkippedKeyReason::Algorithm)
        })
        .transpose()
}

/// RFC 7518 §6.3.1. Numbers are written in the fewest bytes.
fn rsa(jwk: &Members) -> Result<(KeyKind, DecodingKey), SkippedKeyReason> {
    let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
    let zeros = n.first().map_or(0, |first| first.leading_zeros());
    let bits = n.len() * 8 - zeros as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(SkippedKeyReason::ModulusSize { bits });
    }
    let exponent = e.iter().fold(0_u64, |value, &byte| {
        value.saturating_mul(256).saturating_add(byte.into())
    });
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    if !odd(&n) || !odd(&e) || !(3..=MAX_RSA_EXPONENT).contains(&exponent) {
        return Err(SkippedKeyReason::Parameters);
    }
    if weak::is_roca(&n) {
        return Err(SkippedKeyReason::Weak);
    }
    Ok((KeyKind::Rsa, DecodingKey::from_rsa_raw_components(&n, &e)))
}

/// RFC 7518 §6.2.1. Coordinates have exactly the curve's length.
fn elliptic(jwk: &Members) -> Result<(KeyKind, DecodingKey), SkippedKeyReason> {
    let (kind, length, curve): (_, _, &'static dyn VerificationAlgorithm) = match text(jwk, "crv")?
    {
        Some("P-256") => (KeyKind::P256, 32, &ECDSA_P256_SHA256_FIXED),
        Some("P-384") => (KeyKind::P384, 48, &ECDSA_P384_SHA384_FIXED),
        Some(_) | None => return Err(SkippedKeyReason::Curve),
    };
    let mut point = vec![0x04];
    for member in ["x", "y"] {
        let coordinate = bytes(jwk, member)?;
        if coordinate.len() != length {
            return Err(SkippedKeyReason::Member { member });
        }
        point.extend(coordinate);
    }
    ParsedPublicKey::new(curve, &point).map_err(|_| SkippedKeyReason::Point)?;
    Ok((kind, DecodingKey::from_ec_der(&point)))
}

/// RFC 8037 §2.
fn edwards(jwk: &Members) -> Result<(KeyKind, DecodingKey), SkippedKeyReason> {
    if text(jwk, "crv")? != Some("Ed25519") {
        return Err(SkippedKeyReason::Curve);
    }
    let point = <[u8; 32]>::try_from(bytes(jwk, "x")?)
        .map_err(|_| SkippedKeyReason::Member { member: "x" })?;
    if weak::is_small_order(&point) {
        return Err(SkippedKeyReason::Weak);
    }
    Ok((KeyKind::Ed25519, DecodingKey::from_ed_der(&point)))
}

fn text<'m>(jwk: &'m Members, member: &'static str) -> Result<Option<&'m str>, SkippedKeyReason> {
    jwk.get(member)
        .map(|value| value.as_str().ok_or(SkippedKeyReason::Member { member }))
        .transpose()
}

fn bytes(jwk: &Members, member: &'static str) -> Result<Vec<u8>, SkippedKeyReason> {
    text(jwk, member)?
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(SkippedKeyReason::Member { member })
}

fn number(jwk: &Members, member: &'static str) -> Result<Vec<u8>, SkippedKeyReason> {
    bytes(jwk, member).and_then(|bytes| match bytes.first() {
        None | Some(0) => Err(SkippedKeyReason::Member { member }),
        Some(_) => Ok(bytes),
    })
}
