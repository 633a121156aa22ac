//! The audience of a token.

use crate::refusal::TokenFault;
use crate::token::claims::one_or_more;
use crate::token::json::Members;
use crate::token::rules::IssuerRules;

/// The most audiences of a token. Real tokens have one to three; one with more is meant for
/// everybody.
const MAX_AUDIENCES: usize = 16;

/// Checks that the token is for this service: at least one of its audiences must be one that the
/// issuer's rules accept, byte for byte.
pub(super) fn check(claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
    let value = match &rules.mapping.audience_from {
        Some(at) => at.find(claims),
        None => claims.get("aud"),
    };
    let Some(value) = value else {
        return if rules.any_audience {
            Ok(())
        } else {
            Err(TokenFault::MissingClaim)
        };
    };
    let named = one_or_more(value)?;
    if named.len() > MAX_AUDIENCES {
        return Err(TokenFault::ClaimLimit);
    }
    let ours = |name: &&str| rules.audiences.iter().any(|audience| audience == name);
    if rules.any_audience || named.iter().any(ours) {
        Ok(())
    } else {
        Err(TokenFault::Audience)
    }
}
