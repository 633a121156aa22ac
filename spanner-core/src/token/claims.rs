//! Claims as values of the types that they must have.

use std::time::Duration;

use crate::Timestamp;
use crate::caller::Freshness;
use crate::refusal::TokenFault;
use crate::token::json::{Defect, Json, Members};
use crate::token::rules::IssuerRules;

/// A token that lives at least this long has to be replaced by hand.
const LONG_LIVED: Duration = Duration::from_secs(24 * 60 * 60);

/// How many audiences a token may name. More is a token for everybody; real ones have one
/// to three.
const MAX_AUDIENCES: usize = 16;

/// The claims that are read for every issuer. All others are walked past unless an
/// issuer's rules name them.
pub(super) const READ: &[&str] = &[
    "acr",
    "act",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "c_hash",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "nonce",
    "purpose",
    "sid",
    "sub",
    "tokenName",
    "token_type",
    "token_use",
    "typ",
    "type",
];

impl From<Defect> for TokenFault {
    fn from(defect: Defect) -> Self {
        match defect {
            Defect::Syntax => Self::Malformed,
            Defect::Duplicate => Self::DuplicateMember,
            Defect::Items => Self::ClaimLimit,
        }
    }
}

impl Members {
    /// A claim that is a string if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, TokenFault> {
        self.get(name)
            .map(|value| value.as_str().ok_or(TokenFault::ClaimType))
            .transpose()
    }

    /// A `NumericDate` (RFC 7519 §2): seconds since 1970, with or without a fraction. No token
    /// was made before 1970: a negative time is a mistake of its issuer, or a probe.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, TokenFault> {
        match self.any_time(name)? {
            Some(time) if time < Timestamp::UNIX_EPOCH => Err(TokenFault::ClaimValue),
            time => Ok(time),
        }
    }

    /// The same where a time before 1970 is as good as any other: an expiry that is over.
    fn any_time(&self, name: &str) -> Result<Option<Timestamp>, TokenFault> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(seconds)) => time(*seconds).map(Some),
            Some(_) => Err(TokenFault::ClaimType),
        }
    }
}

/// An array of strings.
pub(super) fn strings(value: &Json) -> Result<Vec<&str>, TokenFault> {
    let Json::Array(items) = value else {
        return Err(TokenFault::ClaimType);
    };
    items
        .iter()
        .map(|item| item.as_str().ok_or(TokenFault::ClaimType))
        .collect()
}

/// A string with one value, or an array of strings (RFC 7519 §4.1.3).
pub(super) fn one_or_more(value: &Json) -> Result<Vec<&str>, TokenFault> {
    match value.as_str() {
        Some(text) => Ok(vec![text]),
        None => strings(value),
    }
}

/// The words of a text between spaces, or of an array of strings.
pub(super) fn words(value: &Json) -> Result<impl Iterator<Item = &str>, TokenFault> {
    Ok(one_or_more(value)?
        .into_iter()
        .flat_map(|text| text.split(' ')))
}

/// Whether the token is for us: at least one of its audiences is one of the issuer's,
/// byte for byte.
pub(super) fn check_audience(claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
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

/// When a token may be used.
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

    /// The time that a token is refused for.
    pub(super) const fn of(&self, fault: TokenFault) -> Option<Timestamp> {
        match fault {
            TokenFault::Expired => self.expires,
            TokenFault::NotYetValid => self.not_before,
            TokenFault::IssuedInFuture => self.issued,
            _ => None,
        }
    }

    /// Whether it may be used now. In nanoseconds of 128 bits, where nothing overflows.
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
        // A sign-in that is still to come would satisfy every demand for a recent one.
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
        // Without an expiry it lives for ever.
        let lifetime = expires.map_or(i128::MAX, |expires| expires.saturating_sub(issued));
        if exceeds(age, rules.max_token_age) || exceeds(lifetime, rules.max_token_lifetime) {
            return Err(TokenFault::Lifetime);
        }
        let mostly_over = |span: i128| age.saturating_mul(5) >= span.saturating_mul(4);
        // What lives for hours is renewed by programs all the time; what lives for days, by
        // somebody who should hear of it.
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

/// Seconds, split before they are scaled, since a double does not hold nanoseconds since
/// 1970. Casts saturate, and what is out of range is refused.
fn time(seconds: f64) -> Result<Timestamp, TokenFault> {
    let whole = seconds.trunc() as i64;
    let fraction = ((seconds - seconds.trunc()) * 1e9) as i32;
    Timestamp::new(whole, fraction).map_err(|_| TokenFault::ClaimValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_with_fractions_and_refuses_what_is_no_time() {
        for (seconds, due) in [
            (0.0, Some("1970-01-01T00:00:00Z")),
            (-0.0, Some("1970-01-01T00:00:00Z")),
            (1.5, Some("1970-01-01T00:00:01.5Z")),
            (-1.5, Some("1969-12-31T23:59:58.5Z")),
            (1_795_000_000.25, Some("2026-11-18T11:06:40.25Z")),
            (253_402_207_200.0, Some("9999-12-30T22:00:00Z")),
            // Milliseconds, which some issuers write.
            (1_795_000_000_000.0, None),
            (1e300, None),
            (-1e300, None),
            (f64::INFINITY, None),
        ] {
            let due = due.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(time(seconds).ok(), due, "{seconds}");
        }
    }
}
