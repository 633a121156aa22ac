//! Claims as values of the types that they must have.

use std::time::Duration;

use crate::Timestamp;
use crate::caller::Freshness;
use crate::refusal::TokenFault;
use crate::token::json::{Defect, Json, Members};
use crate::token::rules::IssuerRules;

/// How many audiences a token may name. More is a token for everybody; real ones have one
/// to three.
const MAX_AUDIENCES: usize = 16;

/// The claims that are read for every issuer. All others are walked past unless an
/// issuer's rules name them.
pub(super) const READ: &[&str] = &[
    "_claim_names",
    "acr",
    "act",
    "amr",
    "appid",
    "at_hash",
    "aud",
    "azp",
    "c_hash",
    "cid",
    "client_id",
    "cnf",
    "exp",
    "grant_type",
    "gty",
    "hasgroups",
    "iat",
    "iss",
    "jti",
    "nbf",
    "nonce",
    "scope",
    "scp",
    "sid",
    "sub",
    "sub_profile",
];

/// The claims that name the OAuth client, in the order of preference.
const CLIENT: &[&str] = &["client_id", "azp", "appid", "cid"];

impl From<Defect> for TokenFault {
    fn from(defect: Defect) -> Self {
        match defect {
            Defect::Syntax => Self::Malformed,
            Defect::Duplicate => Self::DuplicateMember,
            Defect::Items => Self::ClaimLimit,
        }
    }
}

/// Where a claim stands: its name at the top level, or an RFC 6901 pointer. Names hold
/// dots, colons and slashes, so nothing else separates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClaimPath {
    top: String,
    below: Vec<String>,
}

impl ClaimPath {
    /// The longest path, in bytes; a claim's name is often a URL.
    const MAX_BYTES: usize = 256;

    pub(super) fn parse(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        match text.strip_prefix('/') {
            _ if !valid => None,
            None => Some(Self {
                top: text.to_owned(),
                below: Vec::new(),
            }),
            Some(pointer) => {
                let mut names = pointer
                    .split('/')
                    .map(|name| name.replace("~1", "/").replace("~0", "~"));
                let top = names.next().filter(|name| !name.is_empty())?;
                Some(Self {
                    top,
                    below: names.collect(),
                })
            }
        }
    }

    /// The member of the top level that has to be kept.
    pub(super) fn top(&self) -> &str {
        &self.top
    }

    pub(super) fn find<'c>(&self, claims: &'c Members) -> Option<&'c Json> {
        self.below
            .iter()
            .try_fold(claims.get(&self.top)?, |value, name| match value {
                Json::Object(members) => members.get(name),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                    None
                }
            })
    }
}

impl Members {
    /// A claim that is a string if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, TokenFault> {
        self.get(name)
            .map(|value| value.as_str().ok_or(TokenFault::ClaimType))
            .transpose()
    }

    /// A `NumericDate` (RFC 7519 §2): seconds since 1970, with or without a fraction.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, TokenFault> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(seconds)) => time(*seconds).map(Some),
            Some(_) => Err(TokenFault::ClaimType),
        }
    }

    /// The OAuth client. Claims that name different ones are refused: two readers would
    /// take different ones.
    pub(super) fn client(&self) -> Result<Option<&str>, TokenFault> {
        let mut client = None;
        for name in CLIENT {
            match (client, self.text(name)?) {
                (_, None) => {}
                (_, Some("")) => return Err(TokenFault::ClaimValue),
                (Some(one), Some(other)) if one != other => return Err(TokenFault::ClaimValue),
                (_, found) => client = found,
            }
        }
        Ok(client)
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

/// Whether the token is for us: at least one of its audiences is one of the issuer's,
/// byte for byte.
pub(super) fn check_audience(claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
    let Some(value) = rules.audience_claim.find(claims) else {
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
pub(super) struct Times {
    pub(super) expires: Timestamp,
    pub(super) issued: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

impl Times {
    pub(super) fn read(claims: &Members) -> Result<Self, TokenFault> {
        Ok(Self {
            expires: claims.time("exp")?.ok_or(TokenFault::MissingClaim)?,
            issued: claims.time("iat")?,
            not_before: claims.time("nbf")?,
        })
    }

    /// Whether it may be used now. In nanoseconds of 128 bits, where nothing overflows.
    pub(super) fn check(
        &self,
        rules: &IssuerRules,
        now: Timestamp,
    ) -> Result<Freshness, TokenFault> {
        let (now, skew) = (now.as_nanosecond(), nanoseconds(rules.clock_skew));
        let expires = self.expires.as_nanosecond();
        if now >= expires.saturating_add(skew) {
            return Err(TokenFault::Expired);
        }
        if self
            .not_before
            .is_some_and(|start| now.saturating_add(skew) < start.as_nanosecond())
        {
            return Err(TokenFault::NotYetValid);
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
        if expires < issued {
            return Err(TokenFault::ClaimValue);
        }
        let exceeds = |span: i128, limit: Option<Duration>| {
            limit.is_some_and(|limit| span > nanoseconds(limit))
        };
        let age = now.saturating_sub(issued);
        if exceeds(age, rules.max_token_age)
            || exceeds(expires.saturating_sub(issued), rules.max_token_lifetime)
        {
            return Err(TokenFault::Lifetime);
        }
        let soon = rules
            .max_token_age
            .is_some_and(|limit| age.saturating_mul(5) >= nanoseconds(limit).saturating_mul(4));
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
            (1e300, None),
            (-1e300, None),
            (f64::INFINITY, None),
        ] {
            let due = due.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(time(seconds).ok(), due, "{seconds}");
        }
    }

    #[test]
    fn finds_claims_by_name_or_by_pointer() {
        let text = br#"{"a.b":"1","https://x/y":"2","r":{"a/b":{"~":"3"}}}"#;
        let claims = Members::read(text, |_| true).unwrap();
        for (path, due) in [
            ("a.b", Some("1")),
            ("https://x/y", Some("2")),
            ("/https:~1~1x~1y", Some("2")),
            ("/r/a~1b/~0", Some("3")),
            ("/r/a", None),
            ("/a.b/c", None),
            ("r", None),
        ] {
            let found = ClaimPath::parse(path).unwrap();
            assert_eq!(found.find(&claims).and_then(Json::as_str), due, "{path}");
        }
        assert_eq!(ClaimPath::parse(""), None);
        assert_eq!(ClaimPath::parse("/"), None);
    }
}
