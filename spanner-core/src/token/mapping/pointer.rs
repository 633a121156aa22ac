//! Pointers to values among the claims (RFC 6901).

use serde::Deserialize;

use crate::token::json::{Json, Members};

/// The longest pointer, in bytes; a claim's name is often a URL.
const MAX_BYTES: usize = 256;

/// The most steps, and therefore the most captures.
const MAX_STEPS: usize = 8;

/// A pointer: a claim's name as tokens spell it (`groups`), or an RFC 6901 pointer to a nested
/// value (`/realm_access/roles`). Claim names contain dots, colons and slashes, so there is no
/// other separator. There is one extension: the step `*` matches every member or item, and a
/// template can substitute what it matched (`{1}`). `~2` is a literal `*`.
///
/// An invalid text is stored, finds nothing, and is reported when the rules are built.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(in crate::token) struct Pointer {
    pub(super) text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Any,
}

impl From<String> for Pointer {
    fn from(text: String) -> Self {
        let steps = steps(&text).unwrap_or_default();
        Self { text, steps }
    }
}

impl From<&str> for Pointer {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl Pointer {
    pub(super) const fn is_valid(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether it can match several values.
    pub(super) fn is_wild(&self) -> bool {
        self.stars() > 0
    }

    /// The number of its `*`s.
    pub(super) fn stars(&self) -> usize {
        self.steps.iter().filter(|step| **step == Step::Any).count()
    }

    /// The top-level claim; empty if the pointer is invalid.
    pub(in crate::token) fn top(&self) -> &str {
        match self.steps.first() {
            Some(Step::Name(name)) => name,
            Some(Step::Any) | None => "",
        }
    }

    /// The value, if there is one. A pointer with a `*` finds none.
    pub(in crate::token) fn find<'c>(&self, claims: &'c Members) -> Option<&'c Json> {
        let mut steps = self.steps.iter();
        let Some(Step::Name(top)) = steps.next() else {
            return None;
        };
        steps.try_fold(claims.get(top)?, |value, step| match step {
            Step::Name(name) => member(value, name),
            Step::Any => None,
        })
    }

    /// Every value that it matches, each with what its `*`s matched.
    pub(super) fn find_all<'c>(&self, claims: &'c Members) -> Vec<(Vec<String>, &'c Json)> {
        let Some((Step::Name(top), rest)) = self.steps.split_first() else {
            return Vec::new();
        };
        let mut found: Vec<(Vec<String>, &Json)> = claims
            .get(top)
            .map(|value| (Vec::new(), value))
            .into_iter()
            .collect();
        for step in rest {
            found = found
                .into_iter()
                .flat_map(|(captured, value)| match step {
                    Step::Name(name) => member(value, name)
                        .map(|below| (captured, below))
                        .into_iter()
                        .collect(),
                    Step::Any => members(value, &captured),
                })
                .collect();
        }
        found
    }
}

fn member<'c>(value: &'c Json, name: &str) -> Option<&'c Json> {
    match value {
        Json::Object(members) => members.get(name),
        Json::Array(items) => {
            let canonical = name == "0" || !name.starts_with(['0', '+']);
            items.get(name.parse::<usize>().ok().filter(|_| canonical)?)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}

fn members<'c>(value: &'c Json, captured: &[String]) -> Vec<(Vec<String>, &'c Json)> {
    let with = |name: String| [captured, &[name]].concat();
    match value {
        Json::Object(members) => members
            .iter()
            .map(|(name, below)| (with(name.to_owned()), below))
            .collect(),
        Json::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, below)| (with(at.to_string()), below))
            .collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Vec::new(),
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    if text.is_empty() || text.len() > MAX_BYTES {
        return None;
    }
    let Some(pointer) = text.strip_prefix('/') else {
        return Some(vec![Step::Name(text.to_owned())]);
    };
    let steps: Vec<Step> = pointer.split('/').map(step).collect::<Option<_>>()?;
    let starts_at_a_claim = matches!(steps.first(), Some(Step::Name(top)) if !top.is_empty());
    (starts_at_a_claim && steps.len() <= MAX_STEPS).then_some(steps)
}

fn step(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Any);
    }
    let mut name = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        name.push(match letter {
            '~' => match letters.next()? {
                '0' => '~',
                '1' => '/',
                '2' => '*',
                _ => return None,
            },
            other => other,
        });
    }
    Some(Step::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &[u8] = br#"{"a.b": "1", "https://x/y": "2", "r": {"a/b": {"~": "3"}, "*": "4"},
        "access": {"one": {"roles": ["5"]}, "two": {"roles": ["6"]}, "three": {}},
        "list": ["7", "8"]}"#;

    #[test]
    fn finds_claims_by_name_or_by_pointer() {
        let claims = Members::read(CLAIMS, |_| true).unwrap();
        for (path, due) in [
            ("a.b", Some("1")),
            ("https://x/y", Some("2")),
            ("/https:~1~1x~1y", Some("2")),
            ("/r/a~1b/~0", Some("3")),
            ("/r/~2", Some("4")),
            ("/r/*", None),
            ("/list/1", Some("8")),
            ("/list/01", None),
            ("/list/+1", None),
            ("/list/2", None),
            ("/r/a", None),
            ("/a.b/c", None),
            ("r", None),
        ] {
            let pointer = Pointer::from(path);
            assert!(pointer.is_valid(), "{path}");
            assert_eq!(pointer.find(&claims).and_then(Json::as_str), due, "{path}");
        }
    }

    #[test]
    fn finds_all_that_a_star_stands_for() {
        let claims = Members::read(CLAIMS, |_| true).unwrap();
        let pointer = Pointer::from("/access/*/roles/*");
        let found: Vec<_> = pointer
            .find_all(&claims)
            .into_iter()
            .map(|(captured, value)| (captured, value.as_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                (vec!["one".to_owned(), "0".to_owned()], "5"),
                (vec!["two".to_owned(), "0".to_owned()], "6"),
            ]
        );
    }

    #[test]
    fn knows_what_is_no_pointer() {
        let long = format!("/{}", "a/".repeat(MAX_STEPS));
        for text in ["", "/", "//a", "/*", "/*/a", "/a~", "/a~3", &long] {
            assert!(!Pointer::from(text).is_valid(), "{text}");
        }
    }
}
