//! Conditions on claims.

use serde::Deserialize;

use super::pointer::Pointer;
use crate::refusal::TokenFault;
use crate::token::claims::words;
use crate::token::json::{Json, Members};

/// The greatest nesting depth of conditions.
const MAX_DEPTH: usize = 16;

/// A condition on claims, as data: `{ exists = "/uid" }`, `{ contains = ["/sub_profile",
/// "ai_agent"] }`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::token) enum Condition {
    /// The value exists and is not `null`.
    Exists(Pointer),
    /// The value is a text, list or object that is not empty.
    Nonempty(Pointer),
    /// The value is equal to this one, and has the same type.
    Equals(Pointer, Scalar),
    /// The value is a text with this word, or a list with this item.
    Contains(Pointer, String),
    /// The same, without regard to case.
    ContainsAnyCase(Pointer, String),
    /// The value is a text with this prefix.
    Prefix(Pointer, String),
    /// The value is a text with this suffix.
    Suffix(Pointer, String),
    /// Both values are texts, and are equal.
    Same(Pointer, Pointer),
    /// The value is a text with this character.
    ContainsChar(Pointer, char),
    /// All of these conditions hold.
    All(Vec<Self>),
    /// One of these holds.
    Any(Vec<Self>),
    /// The condition does not hold.
    Not(Box<Self>),
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(in crate::token) enum Scalar {
    Bool(bool),
    Number(f64),
    String(String),
}

impl Condition {
    /// Whether the condition holds.
    ///
    /// # Errors
    /// [`TokenFault::ClaimType`] if a claim is not a text where the condition needs one. Whether
    /// the condition holds is then unknown and must not be guessed.
    pub(super) fn holds(&self, claims: &Members) -> Result<bool, TokenFault> {
        Ok(match self {
            Self::Exists(at) => at.find(claims).is_some_and(|value| *value != Json::Null),
            Self::Nonempty(at) => at.find(claims).is_some_and(is_nonempty),
            Self::Equals(at, due) => at.find(claims).is_some_and(|value| due.is(value)),
            Self::Contains(at, word) => Self::has_word(at, claims, |it| it == word)?,
            Self::ContainsAnyCase(at, word) => {
                Self::has_word(at, claims, |it| it.eq_ignore_ascii_case(word))?
            }
            Self::Prefix(at, start) => text(at, claims)?.is_some_and(|it| it.starts_with(start)),
            Self::Suffix(at, end) => text(at, claims)?.is_some_and(|it| it.ends_with(end)),
            Self::Same(one, other) => {
                let (one, other) = (text(one, claims)?, text(other, claims)?);
                one.is_some() && one == other
            }
            Self::ContainsChar(at, letter) => {
                text(at, claims)?.is_some_and(|it| it.contains(*letter))
            }
            Self::All(conditions) => {
                for condition in conditions {
                    if !condition.holds(claims)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Any(conditions) => any(conditions, claims)?,
            Self::Not(condition) => !condition.holds(claims)?,
        })
    }

    fn has_word(
        at: &Pointer,
        claims: &Members,
        is: impl Fn(&str) -> bool,
    ) -> Result<bool, TokenFault> {
        match at.find(claims) {
            None => Ok(false),
            Some(value) => Ok(words(value)?.any(is)),
        }
    }

    /// Calls `see` with every pointer, and with `None` where conditions are nested too deeply.
    pub(super) fn visit(&self, depth: usize, see: &mut dyn FnMut(Option<&Pointer>)) {
        if depth == MAX_DEPTH {
            return see(None);
        }
        match self {
            Self::Exists(at)
            | Self::Nonempty(at)
            | Self::Equals(at, _)
            | Self::Contains(at, _)
            | Self::ContainsAnyCase(at, _)
            | Self::Prefix(at, _)
            | Self::Suffix(at, _)
            | Self::ContainsChar(at, _) => see(Some(at)),
            Self::Same(one, other) => {
                see(Some(one));
                see(Some(other));
            }
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().for_each(|it| it.visit(depth + 1, see));
            }
            Self::Not(condition) => condition.visit(depth + 1, see),
        }
    }
}

impl Scalar {
    fn is(&self, value: &Json) -> bool {
        match (self, value) {
            (Self::Bool(due), Json::Bool(is)) => due == is,
            (Self::Number(due), Json::Number(is)) => due == is,
            (Self::String(due), Json::String(is)) => due == is,
            _ => false,
        }
    }
}

/// Whether one of these holds.
pub(super) fn any(conditions: &[Condition], claims: &Members) -> Result<bool, TokenFault> {
    for condition in conditions {
        if condition.holds(claims)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn text<'c>(at: &Pointer, claims: &'c Members) -> Result<Option<&'c str>, TokenFault> {
    at.find(claims)
        .map(|value| value.as_str().ok_or(TokenFault::ClaimType))
        .transpose()
}

fn is_nonempty(value: &Json) -> bool {
    match value {
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(members) => members.iter().next().is_some(),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &[u8] = br#"{"text": "one two", "list": ["one", "two"], "empty": "", "none": [],
        "null": null, "yes": true, "word": "true", "number": 7, "same": "one two",
        "object": {"a": 1}, "mixed": ["one", 2]}"#;

    fn holds(condition: &str) -> Result<bool, TokenFault> {
        #[derive(Deserialize)]
        struct Asked {
            when: Condition,
        }
        let asked: Asked = toml::from_str(&format!("when = {condition}")).unwrap();
        asked.when.holds(&Members::read(CLAIMS, |_| true).unwrap())
    }

    #[test]
    fn answers() {
        for (condition, due) in [
            (r#"{ exists = "/text" }"#, true),
            (r#"{ exists = "/empty" }"#, true),
            (r#"{ exists = "/null" }"#, false),
            (r#"{ exists = "/nothing" }"#, false),
            (r#"{ nonempty = "/text" }"#, true),
            (r#"{ nonempty = "/object" }"#, true),
            (r#"{ nonempty = "/empty" }"#, false),
            (r#"{ nonempty = "/none" }"#, false),
            (r#"{ nonempty = "/null" }"#, false),
            (r#"{ equals = ["/yes", true] }"#, true),
            (r#"{ equals = ["/word", true] }"#, false),
            (r#"{ equals = ["/yes", "true"] }"#, false),
            (r#"{ equals = ["/number", 7] }"#, true),
            (r#"{ equals = ["/number", "7"] }"#, false),
            (r#"{ equals = ["/text", "one two"] }"#, true),
            (r#"{ contains = ["/text", "two"] }"#, true),
            (r#"{ contains = ["/text", "tw"] }"#, false),
            (r#"{ contains = ["/text", "Two"] }"#, false),
            (r#"{ contains = ["/list", "two"] }"#, true),
            (r#"{ contains = ["/nothing", "two"] }"#, false),
            (r#"{ contains_any_case = ["/text", "TWO"] }"#, true),
            (r#"{ prefix = ["/text", "one"] }"#, true),
            (r#"{ prefix = ["/text", "two"] }"#, false),
            (r#"{ suffix = ["/text", "two"] }"#, true),
            (r#"{ suffix = ["/nothing", "two"] }"#, false),
            (r#"{ same = ["/text", "/same"] }"#, true),
            (r#"{ same = ["/text", "/word"] }"#, false),
            (r#"{ same = ["/nothing", "/nowhere"] }"#, false),
            (r#"{ contains_char = ["/text", " "] }"#, true),
            (r#"{ contains_char = ["/text", "|"] }"#, false),
            (
                r#"{ all = [{ exists = "/text" }, { exists = "/list" }] }"#,
                true,
            ),
            (
                r#"{ all = [{ exists = "/text" }, { exists = "/null" }] }"#,
                false,
            ),
            (
                r#"{ any = [{ exists = "/null" }, { exists = "/list" }] }"#,
                true,
            ),
            (r#"{ any = [] }"#, false),
            (r#"{ not = { exists = "/text" } }"#, false),
        ] {
            assert_eq!(holds(condition), Ok(due), "{condition}");
        }
    }

    #[test]
    fn does_not_guess_about_a_claim_of_another_type() {
        for condition in [
            r#"{ contains = ["/number", "7"] }"#,
            r#"{ contains = ["/mixed", "one"] }"#,
            r#"{ prefix = ["/list", "one"] }"#,
            r#"{ not = { suffix = ["/object", "one"] } }"#,
            r#"{ same = ["/text", "/number"] }"#,
            r#"{ contains_char = ["/yes", "t"] }"#,
        ] {
            assert_eq!(holds(condition), Err(TokenFault::ClaimType), "{condition}");
        }
    }
}
