//! Selectors, which read groups, roles and scopes from claims.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::condition::Condition;
use super::pointer::Pointer;
use super::template::{Source, Template};
use crate::refusal::TokenFault;
use crate::token::claims::{strings, words};
use crate::token::json::{Json, MAX_ITEMS, Members};

/// Reads names from the place of a pointer, each with a prefix. A missing claim gives no names. If
/// a claim does not have the type of `as`, the token is refused.
///
/// The short form is the name of a claim (`"teams"`) or a list of nested names (`["realm_access",
/// "roles"]`).
#[derive(Debug, Clone, PartialEq)]
pub(in crate::token) struct Selector {
    pub(super) at: Pointer,
    pub(super) shape: Shape,
    pub(super) object_key: Option<String>,
    pub(super) template: Option<Template>,
    pub(super) unless: Option<Condition>,
    pub(super) nested: Option<Pointer>,
    pub(super) prefix: Option<Template>,
}

/// The long form of a selector.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    at: Pointer,
    #[serde(rename = "as", default)]
    shape: Shape,
    object_key: Option<String>,
    template: Option<Template>,
    unless: Option<Condition>,
    nested: Option<Pointer>,
    prefix: Option<Template>,
}

/// The form of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::token) enum Shape {
    /// One name.
    String,
    /// An array of names. With `object_key`, also an array of objects with the name in this member
    /// (SCIM's `{"value": …}`, RFC 9068 §2.2.3.1).
    #[default]
    Strings,
    /// Space-separated names.
    Split,
    /// Space-separated names, or an array of them.
    Words,
    /// An object whose keys are the names.
    Keys,
    /// An object. Each member fills the template: `{key}`, `{value}`.
    Entries,
    /// An array of objects. Each fills the template with its members, unless the condition `unless`
    /// holds. An object that lacks a member gives no name. With `nested`, the objects of that list
    /// in each of them fill it instead.
    Each,
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Selector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a claim, a list of names, or a table with `at`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Selector, E> {
                Ok(Selector::strings(name.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Selector, A::Error> {
                let mut pointer = String::new();
                while let Some(name) = names.next_element::<String>()? {
                    pointer.push('/');
                    pointer.push_str(&step(&name));
                }
                Ok(Selector::strings(pointer.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Selector, A::Error> {
                let Long {
                    at,
                    shape,
                    object_key,
                    template,
                    unless,
                    nested,
                    prefix,
                } = Long::deserialize(MapAccessDeserializer::new(members))?;
                Ok(Selector {
                    at,
                    shape,
                    object_key,
                    template,
                    unless,
                    nested,
                    prefix,
                })
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

/// A name as a step of a pointer: `~` and `/` escaped, `*` taken literally.
fn step(name: &str) -> String {
    match name {
        "*" => "~2".to_owned(),
        name => name.replace('~', "~0").replace('/', "~1"),
    }
}

impl Selector {
    /// A selector of an array of names.
    pub(in crate::token) const fn strings(at: Pointer) -> Self {
        Self {
            at,
            shape: Shape::Strings,
            object_key: None,
            template: None,
            unless: None,
            nested: None,
            prefix: None,
        }
    }

    /// Reads all names. `literal` has the fixed prefixes of the same list of selectors.
    pub(super) fn read(
        &self,
        claims: &Members,
        literal: &[&str],
        names: &mut Vec<String>,
    ) -> Result<(), TokenFault> {
        for (captured, value) in self.at.find_all(claims) {
            let source = Source {
                claims,
                captured: &captured,
                entry: None,
                outer: None,
            };
            let prefix = match &self.prefix {
                None => String::new(),
                Some(prefix) => match prefix.fill(source, true)? {
                    None => continue,
                    Some(text) if prefix.literal().is_none() && literal.contains(&&*text) => {
                        disguise(&text)
                    }
                    Some(text) => text,
                },
            };
            let from = names.len();
            self.values(source, value, names)?;
            if names.len() > MAX_ITEMS {
                return Err(TokenFault::ClaimLimit);
            }
            if !prefix.is_empty() {
                let new = names.iter_mut().skip(from);
                new.for_each(|name| name.insert_str(0, &prefix));
            }
        }
        Ok(())
    }

    fn values(
        &self,
        source: Source<'_>,
        value: &Json,
        names: &mut Vec<String>,
    ) -> Result<(), TokenFault> {
        match self.shape {
            Shape::String => names.push(value.as_str().ok_or(TokenFault::ClaimType)?.to_owned()),
            Shape::Split => {
                let text = value.as_str().ok_or(TokenFault::ClaimType)?;
                names.extend(nonempty(text.split(' ')));
            }
            Shape::Words => names.extend(nonempty(words(value)?)),
            Shape::Strings => match &self.object_key {
                None => names.extend(strings(value)?.into_iter().map(str::to_owned)),
                Some(key) => names.extend(values_of(value, key)?),
            },
            Shape::Keys => names.extend(object(value)?.iter().map(|(name, _)| name.to_owned())),
            Shape::Entries => {
                for (key, value) in object(value)?.iter() {
                    let value = value.as_str().ok_or(TokenFault::ClaimType)?;
                    let entry = Some((key, value));
                    names.extend(self.filled(Source { entry, ..source })?);
                }
            }
            Shape::Each => {
                for claims in objects(value)? {
                    if let Some(unless) = &self.unless
                        && unless.holds(claims)?
                    {
                        continue;
                    }
                    let source = Source { claims, ..source };
                    match &self.nested {
                        None => names.extend(self.filled(source)?),
                        Some(nested) => self.nested(nested, source, names)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn nested(
        &self,
        list: &Pointer,
        source: Source<'_>,
        names: &mut Vec<String>,
    ) -> Result<(), TokenFault> {
        let Some(value) = list.find(source.claims) else {
            return Ok(());
        };
        for claims in objects(value)? {
            let outer = Some(source.claims);
            names.extend(self.filled(Source {
                claims,
                outer,
                ..source
            })?);
        }
        Ok(())
    }

    fn filled(&self, source: Source<'_>) -> Result<Option<String>, TokenFault> {
        let template = self.template.as_ref();
        template.map_or(Ok(None), |template| template.fill(source, false))
    }
}

/// Escapes the first letter of a prefix from a token that equals a fixed prefix (a Keycloak client
/// called `realm`), so that the two cannot be confused.
fn disguise(prefix: &str) -> String {
    let mut letters = prefix.chars();
    let mut bytes = [0; 4];
    let first = letters
        .next()
        .map_or("", |first| first.encode_utf8(&mut bytes));
    let escaped: String = first.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("{escaped}{}", letters.as_str())
}

fn nonempty<'t>(words: impl Iterator<Item = &'t str>) -> impl Iterator<Item = String> {
    words.filter(|word| !word.is_empty()).map(str::to_owned)
}

fn values_of(value: &Json, key: &str) -> Result<Vec<String>, TokenFault> {
    let Json::Array(items) = value else {
        return Err(TokenFault::ClaimType);
    };
    let name = |item: &Json| match item {
        Json::String(name) => Ok(name.clone()),
        Json::Object(members) => {
            let name = members.get(key).and_then(Json::as_str);
            name.map(str::to_owned).ok_or(TokenFault::ClaimType)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => Err(TokenFault::ClaimType),
    };
    items.iter().map(name).collect()
}

fn objects(value: &Json) -> Result<Vec<&Members>, TokenFault> {
    match value {
        Json::Array(items) => items.iter().map(object).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => {
            Err(TokenFault::ClaimType)
        }
    }
}

fn object(value: &Json) -> Result<&Members, TokenFault> {
    match value {
        Json::Object(members) => Ok(members),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err(TokenFault::ClaimType)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(selectors: &str, claims: &str) -> Result<Vec<String>, TokenFault> {
        #[derive(Deserialize)]
        struct Listed {
            list: Vec<Selector>,
        }
        let Listed { list } = toml::from_str(&format!("list = {selectors}")).unwrap();
        super::super::claim_mapping::read_all(
            &list,
            &Members::read(claims.as_bytes(), |_| true).unwrap(),
        )
    }

    #[test]
    fn reads_every_shape() {
        for (selectors, claims, due) in [
            (
                r#"[{ at = "/g", as = "string" }]"#,
                r#"{"g": "a b"}"#,
                vec!["a b"],
            ),
            (r#"[{ at = "/g" }]"#, r#"{"g": ["a", "b"]}"#, vec!["a", "b"]),
            (
                r#"["g", ["h", "a/b", "*"]]"#,
                r#"{"g": ["a"], "h": {"a/b": {"*": ["b"], "c": ["d"]}}}"#,
                vec!["a", "b"],
            ),
            (
                r#"[{ at = "/g", object_key = "value" }]"#,
                r#"{"g": [{"value": "a", "display": "A"}, "b"]}"#,
                vec!["a", "b"],
            ),
            (
                r#"[{ at = "/g", as = "split" }]"#,
                r#"{"g": " a  b"}"#,
                vec!["a", "b"],
            ),
            (
                r#"[{ at = "/g", as = "words" }]"#,
                r#"{"g": ["a", "b c"]}"#,
                vec!["a", "b", "c"],
            ),
            (
                r#"[{ at = "/g", as = "keys" }]"#,
                r#"{"g": {"a": {}, "b": 1}}"#,
                vec!["a", "b"],
            ),
            (
                r#"[{ at = "/g", as = "entries", template = "tag:{key}={value}" }]"#,
                r#"{"g": {"t=x": "y", "t": "x=y"}}"#,
                vec!["tag:t%3Dx=y", "tag:t=x=y"],
            ),
            (
                r#"[{ at = "/g", as = "each", template = "{/n}:{/r}", unless = { nonempty = "/s" } }]"#,
                r#"{"g": [{"n": "a:b", "r": "x:y"}, {"n": "c"}, {"n": "d", "r": "e", "s": ["sso"]}]}"#,
                vec!["a%3Ab:x:y"],
            ),
            (
                r#"[{ at = "/g", as = "each", nested = "/in", template = "{^/n}/{/n}:{/r}", unless = { nonempty = "/s" } }]"#,
                r#"{"g": [{"n": "a/b", "in": [{"n": "c", "r": "d"}, {"n": "e"}]}, {"n": "f"},
                    {"n": "g", "s": [1], "in": [{"n": "c", "r": "d"}]}]}"#,
                vec!["a%2Fb/c:d"],
            ),
            (r#"[{ at = "/nothing" }]"#, r#"{"g": 1}"#, vec![]),
        ] {
            let due: Vec<String> = due.into_iter().map(str::to_owned).collect();
            assert_eq!(read(selectors, claims), Ok(due), "{selectors}");
        }
    }

    #[test]
    fn gives_no_two_inputs_one_name() {
        let selectors = r#"[{ at = "/realm/roles", prefix = "realm:" },
            { at = "/clients/*/roles", prefix = "{1}:" }]"#;
        let claims = r#"{"realm": {"roles": ["admin", "x:admin"]}, "clients": {
            "realm": {"roles": ["admin"]}, "realm:x": {"roles": ["admin"]},
            "%72ealm": {"roles": ["admin"]}}}"#;
        let mut names = read(selectors, claims).unwrap();
        assert_eq!(
            names,
            [
                "realm:admin",
                "realm:x:admin",
                "%72ealm:admin",
                "realm%3Ax:admin",
                "%2572ealm:admin"
            ]
        );
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn refuses_other_types() {
        for (selectors, claims) in [
            (r#"[{ at = "/g", as = "string" }]"#, r#"{"g": ["a"]}"#),
            (r#"[{ at = "/g" }]"#, r#"{"g": "a"}"#),
            (r#"[{ at = "/g" }]"#, r#"{"g": ["a", 1]}"#),
            (r#"[{ at = "/g" }]"#, r#"{"g": null}"#),
            (
                r#"[{ at = "/g", object_key = "value" }]"#,
                r#"{"g": [{"id": "a"}]}"#,
            ),
            (r#"[{ at = "/g", as = "split" }]"#, r#"{"g": ["a"]}"#),
            (r#"[{ at = "/g", as = "words" }]"#, r#"{"g": 1}"#),
            (r#"[{ at = "/g", as = "keys" }]"#, r#"{"g": ["a"]}"#),
            (
                r#"[{ at = "/g", as = "entries", template = "{key}" }]"#,
                r#"{"g": {"a": 1}}"#,
            ),
            (
                r#"[{ at = "/g", as = "each", template = "{/n}" }]"#,
                r#"{"g": ["a"]}"#,
            ),
            (
                r#"[{ at = "/g", as = "each", template = "{/n}" }]"#,
                r#"{"g": {"n": "a"}}"#,
            ),
        ] {
            assert_eq!(
                read(selectors, claims),
                Err(TokenFault::ClaimType),
                "{selectors} {claims}"
            );
        }
    }
}
