//! The times of a token: its expiry, its age, and when it should be rotated.

use std::time::Duration;

use crate::Timestamp;
use crate::caller::Freshness;
use crate::refusal::TokenFault;
use crate::token::json::Members;
use crate::token::rules::IssuerRules;

/// Tokens with at least this lifetime are assumed to be rotated by hand.
const LONG_LIVED: Duration = Duration::from_secs(24 * 60 * 60);

/// The times that a token states.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) expires: Option<Timestamp>,
    pub(super) issued: Option<Timestamp>,
    /// When the person signed in (OpenID Connect Core 1.0 §2).
    pub(super) signed_in: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

impl Times {
    pub(super) fn read(claims: &Members) -> Result<Self, TokenFault> {
        Ok(Self {
            expires: claims.any_time("exp")?,
            issued: claims.time("iat")?,
            signed_in: claims.time("auth_time")?,
            not_before: claims.time("nbf")?,
        })
    }

    /// The time that is the reason for a fault.
    pub(super) const fn of(&self, fault: TokenFault) -> Option<Timestamp> {
        match fault {
            TokenFault::Expired => self.expires,
            TokenFault::NotYetValid => self.not_before,
            TokenFault::IssuedInFuture => self.issued,
            _ => None,
        }
    }

    /// Checks that the token may be used now. Times are nanoseconds in 128 bits, which cannot
    /// overflow.
    pub(super) fn check(
        &self,
        rules: &IssuerRules,
        now: Timestamp,
    ) -> Result<Freshness, TokenFault> {
        let (now, skew) = (now.as_nanosecond(), nanoseconds(rules.clock_skew));
        let expires = self.expires.map(Timestamp::as_nanosecond);
        if expires.is_some_and(|expires| now >= expires.saturating_add(skew)) {
            return Err(TokenFault::Expired);
        }
        if self
            .not_before
            .is_some_and(|start| now.saturating_add(skew) < start.as_nanosecond())
        {
            return Err(TokenFault::NotYetValid);
        }
        let not_before = self.not_before.map(Timestamp::as_nanosecond);
        if expires
            .zip(not_before)
            .is_some_and(|(end, start)| end < start)
        {
            return Err(TokenFault::ClaimValue);
        }
        // A sign-in in the future would satisfy every demand for a recent one.
        let signed_in = self.signed_in.map(Timestamp::as_nanosecond);
        if signed_in.is_some_and(|time| now.saturating_add(skew) < time) {
            return Err(TokenFault::ClaimValue);
        }
        let Some(issued) = self.issued.map(Timestamp::as_nanosecond) else {
            return if rules.max_token_age.is_some() || rules.max_token_lifetime.is_some() {
                Err(TokenFault::MissingClaim)
            } else {
                Ok(Freshness::Fresh)
            };
        };
        if now.saturating_add(skew) < issued {
            return Err(TokenFault::IssuedInFuture);
        }
        if expires.is_some_and(|expires| expires < issued) {
            return Err(TokenFault::ClaimValue);
        }
        let exceeds = |span: i128, limit: Option<Duration>| {
            limit.is_some_and(|limit| span > nanoseconds(limit))
        };
        let age = now.saturating_sub(issued);
        // Without an expiry, the lifetime is unlimited.
        let lifetime = expires.map_or(i128::MAX, |expires| expires.saturating_sub(issued));
        if exceeds(age, rules.max_token_age) || exceeds(lifetime, rules.max_token_lifetime) {
            return Err(TokenFault::Lifetime);
        }
        let mostly_over = |span: i128| age.saturating_mul(5) >= span.saturating_mul(4);
        // Programs renew tokens that live for hours. People rotate those that live for days, and
        // need a warning.
        let soon = rules
            .max_token_age
            .is_some_and(|limit| mostly_over(nanoseconds(limit)))
            || (lifetime >= nanoseconds(LONG_LIVED) && mostly_over(lifetime));
        Ok(if soon {
            Freshness::RotateSoon
        } else {
            Freshness::Fresh
        })
    }
}

fn nanoseconds(span: Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX)
}
