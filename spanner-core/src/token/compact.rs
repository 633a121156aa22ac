//! The compact serialization (RFC 7515 §7.1): three parts of strict base64url.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::refusal::TokenFault;
use crate::token::json::Members;

/// The longest token, in bytes. Real ones have 1 to 4 KiB; servers refuse header lines
/// beyond 8 KiB to 16 KiB anyway, and everything that is spent on a token grows with it.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// The longest header, decoded, in bytes. Real ones have about 100; a certificate chain
/// (`x5c`) is never used.
pub(super) const MAX_HEADER: usize = 2 * 1024;

/// Base64url makes four letters of three bytes.
const MAX_ENCODED_HEADER: usize = (MAX_HEADER * 4).div_ceil(3);

/// The parts of a token, decoded.
pub(super) struct Compact<'t> {
    /// What the signature is over: header, dot, claims, as sent.
    pub(super) signed: &'t str,
    pub(super) header: Vec<u8>,
    pub(super) claims: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl<'t> Compact<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN {
            return Err(TokenFault::TooLong);
        }
        let mut parts = token.splitn(6, '.');
        let (signed, header, claims, signature) = match [(); 6].map(|()| parts.next()) {
            [Some(header), Some(claims), Some(signature), None, ..] => {
                let (signed, _) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
                (signed, header, claims, signature)
            }
            [Some(header), _, _, _, Some(_), None] if is_encrypted(header) => {
                return Err(TokenFault::Encrypted);
            }
            _ => return Err(TokenFault::Malformed),
        };
        if header.len() > MAX_ENCODED_HEADER {
            return Err(TokenFault::HeaderTooLarge);
        }
        Ok(Self {
            signed,
            header: decode(header)?,
            claims: decode(claims)?,
            signature: decode(signature)?,
        })
    }
}

/// Whether five parts are an encrypted token (RFC 7516 §9), rather than parts put before
/// or after those of a signed one.
fn is_encrypted(header: &str) -> bool {
    header.len() <= MAX_ENCODED_HEADER
        && decode(header)
            .ok()
            .and_then(|text| Members::read(&text, |name| name == "enc").ok())
            .is_some_and(|header| header.has("enc"))
}

/// Base64url without padding; trailing bits must be zero, so that each text has one
/// spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_wrong_with_the_shape() {
        let long = "A".repeat(MAX_TOKEN + 1);
        let header = format!("{}.e30.AA", "A".repeat(2_732));
        for (token, due) in [
            ("", Err(TokenFault::Malformed)),
            ("e30.e30", Err(TokenFault::Malformed)),
            ("e30.e30.e30.e30", Err(TokenFault::Malformed)),
            (
                "eyJlbmMiOiJBIn0.e30.e30.e30.e30",
                Err(TokenFault::Encrypted),
            ),
            ("e30.e30.e30.e30.e30", Err(TokenFault::Malformed)),
            ("....", Err(TokenFault::Malformed)),
            (".....", Err(TokenFault::Malformed)),
            ("e30=.e30.AA", Err(TokenFault::Malformed)),
            ("e31.e30.AA", Err(TokenFault::Malformed)),
            ("e30.e+0.AA", Err(TokenFault::Malformed)),
            ("e30.e30.A A", Err(TokenFault::Malformed)),
            (&long, Err(TokenFault::TooLong)),
            (&header, Err(TokenFault::HeaderTooLarge)),
            ("e30.e30.", Ok(())),
            ("e30.e30.AA", Ok(())),
        ] {
            assert_eq!(Compact::parse(token).map(|_| ()), due, "{token:.40}");
        }
    }

    #[test]
    fn signs_over_what_was_sent() {
        let compact = Compact::parse("e30.e30.AA").unwrap();
        assert_eq!(compact.signed, "e30.e30");
        assert_eq!(compact.claims, b"{}");
    }
}
