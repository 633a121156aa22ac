//! Templates: texts composed of claims.

use serde::Deserialize;

use super::pointer::Pointer;
use crate::refusal::TokenFault;
use crate::token::json::{Json, Members};

/// The longest text that a template produces, in bytes. Its users have lower limits; this one
/// bounds the work.
const MAX_BYTES: usize = 2_048;

/// The limit up to which a double represents whole numbers exactly.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A text with placeholders: `{/tid}` is a claim, `{/a|/b}` the first of several that exists, `{1}`
/// what the first `*` of a pointer matched, `{key}` and `{value}` those of an entry, `{^/name}` a
/// member of the surrounding object.
///
/// Values are percent-escaped for `% : / =`, except in the last part, so that two different inputs
/// never produce the same text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(in crate::token) struct Template {
    pub(super) text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(Vec<Pointer>),
    Outer(Pointer),
    Capture(usize),
    Key,
    Value,
}

/// The values for a template.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) claims: &'s Members,
    pub(super) captured: &'s [String],
    pub(super) entry: Option<(&'s str, &'s str)>,
    pub(super) outer: Option<&'s Members>,
}

impl From<String> for Template {
    fn from(text: String) -> Self {
        let parts = parts(&text).unwrap_or_default();
        Self { text, parts }
    }
}

impl Template {
    pub(super) fn is_valid(&self) -> bool {
        !self.parts.is_empty() && self.pointers().all(|it| it.is_valid() && !it.is_wild())
    }

    /// Whether every placeholder can be filled, given the number of `*`s of the pointer, and
    /// whether there is an entry and a surrounding object.
    pub(super) fn fits(&self, captures: usize, entry: bool, outer: bool) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Text(_) | Part::Claim(_) => true,
            Part::Capture(number) => *number <= captures,
            Part::Key | Part::Value => entry,
            Part::Outer(_) => outer,
        })
    }

    pub(super) fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.parts.iter().flat_map(|part| match part {
            Part::Claim(pointers) => pointers.as_slice(),
            Part::Outer(pointer) => std::slice::from_ref(pointer),
            Part::Text(_) | Part::Capture(_) | Part::Key | Part::Value => &[],
        })
    }

    /// The text, if there are no placeholders.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it reads this claim.
    pub(super) fn reads(&self, pointer: &Pointer) -> bool {
        self.pointers().any(|it| it == pointer)
    }

    /// The text, unless a part is missing. `more` tells that other text follows it.
    ///
    /// # Errors
    /// [`TokenFault::ClaimType`] for a claim that is neither text nor a whole number,
    /// [`TokenFault::ClaimValue`] for one that is empty, [`TokenFault::ClaimLimit`] for one
    /// that is too long.
    pub(super) fn fill(
        &self,
        source: Source<'_>,
        more: bool,
    ) -> Result<Option<String>, TokenFault> {
        let mut text = String::new();
        let count = self.parts.len();
        for (at, part) in self.parts.iter().enumerate() {
            let filled = match part {
                Part::Text(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Part::Claim(pointers) => {
                    let mut values = pointers.iter().filter_map(|it| it.find(source.claims));
                    values.next().map(text_of).transpose()?
                }
                Part::Outer(pointer) => {
                    let value = source.outer.and_then(|outer| pointer.find(outer));
                    value.map(text_of).transpose()?
                }
                Part::Capture(number) => source.captured.get(number - 1).cloned(),
                Part::Key => source.entry.map(|(key, _)| key.to_owned()),
                Part::Value => source.entry.map(|(_, value)| value.to_owned()),
            };
            let Some(filled) = filled else {
                return Ok(None);
            };
            if filled.is_empty() {
                return Err(TokenFault::ClaimValue);
            }
            if text.len() + filled.len() > MAX_BYTES {
                return Err(TokenFault::ClaimLimit);
            }
            if more || at + 1 < count {
                escape(&filled, &mut text);
            } else {
                text.push_str(&filled);
            }
        }
        Ok(Some(text))
    }
}

fn text_of(value: &Json) -> Result<String, TokenFault> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Number(number) if number.fract() == 0.0 && number.abs() < MAX_WHOLE => {
            Ok(format!("{number:.0}"))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            Err(TokenFault::ClaimType)
        }
    }
}

fn escape(text: &str, into: &mut String) {
    for letter in text.chars() {
        match letter {
            '%' => into.push_str("%25"),
            ':' => into.push_str("%3A"),
            '/' => into.push_str("%2F"),
            '=' => into.push_str("%3D"),
            other => into.push(other),
        }
    }
}

fn parts(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
        if literal.contains('}') {
            return None;
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.to_owned()));
        }
        if literal.len() == rest.len() {
            break;
        }
        let (place, behind) = after.split_once('}')?;
        parts.push(part(place)?);
        rest = behind;
    }
    Some(parts)
}

fn part(place: &str) -> Option<Part> {
    match place {
        "key" => Some(Part::Key),
        "value" => Some(Part::Value),
        claims if claims.split('|').all(|claim| claim.starts_with('/')) => {
            Some(Part::Claim(claims.split('|').map(Pointer::from).collect()))
        }
        outer if outer.starts_with("^/") => Some(Part::Outer(outer.trim_start_matches('^').into())),
        number => match number.parse::<usize>() {
            Ok(number @ 1..=9) => Some(Part::Capture(number)),
            Ok(_) | Err(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, claims: &str) -> Result<Option<String>, TokenFault> {
        let claims = Members::read(claims.as_bytes(), |_| true).unwrap();
        let source = Source {
            claims: &claims,
            captured: &["https://app".to_owned()],
            entry: Some(("a=b", "c=d")),
            outer: Some(&claims),
        };
        let template = Template::from(template.to_owned());
        assert!(template.is_valid());
        template.fill(source, false)
    }

    #[test]
    fn fills_places_and_escapes_all_but_the_last() {
        for (template, claims, due) in [
            (
                "{/t}/{/o}",
                r#"{"t": "1/2", "o": "3/4"}"#,
                Some("1%2F2/3/4"),
            ),
            ("{/t}/{/o}", r#"{"t": "1", "o": "2/3/4"}"#, Some("1/2/3/4")),
            ("{/a|/b}", r#"{"b": "x:y"}"#, Some("x:y")),
            ("{/a|/b}-", r#"{"a": 7, "b": "x"}"#, Some("7-")),
            ("{/a}", "{}", None),
            (
                "{^/o}/{/t}",
                r#"{"t": "1/2", "o": "3/4"}"#,
                Some("3%2F4/1/2"),
            ),
            ("{1}:", "{}", Some("https%3A%2F%2Fapp:")),
            ("tag:{key}={value}", "{}", Some("tag:a%3Db=c=d")),
        ] {
            assert_eq!(
                fill(template, claims),
                Ok(due.map(str::to_owned)),
                "{template}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_text() {
        for (claims, due) in [
            (r#"{"a": true}"#, TokenFault::ClaimType),
            (r#"{"a": 1.5}"#, TokenFault::ClaimType),
            (r#"{"a": 1e300}"#, TokenFault::ClaimType),
            (r#"{"a": null}"#, TokenFault::ClaimType),
            (r#"{"a": ["x"]}"#, TokenFault::ClaimType),
            (r#"{"a": ""}"#, TokenFault::ClaimValue),
        ] {
            assert_eq!(fill("{/a}", claims), Err(due), "{claims}");
        }
        let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(MAX_BYTES + 1));
        assert_eq!(fill("{/a}", &long), Err(TokenFault::ClaimLimit));
    }

    #[test]
    fn knows_what_is_no_template() {
        for text in [
            "", "{", "a}", "{}", "{0}", "{10}", "{a}", "{/a", "{/a|b~}", "{/a/*}",
        ] {
            assert!(!Template::from(text.to_owned()).is_valid(), "{text}");
        }
    }
}
