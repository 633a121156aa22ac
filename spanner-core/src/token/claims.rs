//! Reads claims as values of the required types.

use crate::Timestamp;
use crate::refusal::TokenFault;
use crate::text::is_displayable;
use crate::token::json::{Defect, Json, Members};

/// The longest scope, client, tenant or `jti`, in bytes. Records have them.
pub(super) const MAX_TEXT: usize = 256;

/// The claims that are read for every issuer. All others are skipped unless an issuer's rules name
/// them.
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
    /// A claim that must be a string, if it is present.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, TokenFault> {
        self.get(name)
            .map(|value| value.as_str().ok_or(TokenFault::ClaimType))
            .transpose()
    }

    /// A `NumericDate` (RFC 7519 §2): seconds since 1970, with or without a fraction. No token was
    /// issued before 1970, so a negative time is refused as a mistake or a probe.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, TokenFault> {
        match self.any_time(name)? {
            Some(time) if time < Timestamp::UNIX_EPOCH => Err(TokenFault::ClaimValue),
            time => Ok(time),
        }
    }

    /// The same, but accepts times before 1970: an expiry then is simply over.
    pub(super) fn any_time(&self, name: &str) -> Result<Option<Timestamp>, TokenFault> {
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

/// The space-separated words of a string, or of each string of an array.
pub(super) fn words(value: &Json) -> Result<impl Iterator<Item = &str>, TokenFault> {
    Ok(one_or_more(value)?
        .into_iter()
        .flat_map(|text| text.split(' ')))
}

/// Checks a text that records have: its length is bounded, and it has no characters that could
/// deceive a reader.
pub(super) fn shown(text: &str) -> Result<&str, TokenFault> {
    match text.len() {
        0 => Err(TokenFault::ClaimValue),
        1..=MAX_TEXT if text.chars().all(is_displayable) => Ok(text),
        1..=MAX_TEXT => Err(TokenFault::ClaimValue),
        _ => Err(TokenFault::ClaimLimit),
    }
}

/// Converts seconds to a time. They are split before they are scaled, because a double cannot hold
/// nanoseconds since 1970. Casts saturate, and times out of range are refused.
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
