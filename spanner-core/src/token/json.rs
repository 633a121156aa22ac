//! JSON for tokens and key sets. Duplicate members are refused at any depth, because two readers
//! could use different ones (RFC 8259 §4).
//!
//! A text is read in one pass. Unwanted members are skipped and not stored. Stored values are
//! bounded by [`MAX_ITEMS`] and by the length of the text. Depth is bounded by `serde_json` (128).

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The most items of a stored array, and so the most entries of a list in a token (groups). A small
/// text cannot become a large tree.
pub(super) const MAX_ITEMS: usize = 1_000;

/// A stored JSON value.
#[derive(Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Self>),
    Object(Members),
}

/// The members of an object, each once.
#[derive(Clone, PartialEq)]
pub(super) struct Members(Vec<(String, Json)>);

/// Why a text is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    /// Not one JSON object in UTF-8, or too deep.
    Syntax,
    /// A member occurs twice.
    Duplicate,
    /// An array is longer than [`MAX_ITEMS`].
    Items,
}

impl Json {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

impl Members {
    /// Reads one object, keeping the members of its top level that `keep` names.
    pub(super) fn read(text: &[u8], keep: impl Fn(&str) -> bool) -> Result<Self, Defect> {
        let defect = Cell::new(Defect::Syntax);
        let mut reader = serde_json::Deserializer::from_slice(text);
        let object = Object {
            keep: &keep,
            defect: &defect,
        };
        reader
            .deserialize_map(object)
            .and_then(|members| reader.end().map(|()| members))
            .map_err(|_| defect.get())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        let (_, value) = self.0.iter().find(|(member, _)| member == name)?;
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Reads an object, and stores the wanted members.
struct Object<'c, K> {
    keep: &'c K,
    defect: &'c Cell<Defect>,
}

impl<'de, K: Fn(&str) -> bool> Visitor<'de> for Object<'_, K> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut names = Names::default();
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if (self.keep)(&name) {
                let value = map.next_value_seed(Tree(self.defect))?;
                members.push((name.clone().into_owned(), value));
            } else {
                map.next_value_seed(Walk(self.defect))?;
            }
            names.0.push(name);
        }
        names.once(self.defect)?;
        Ok(Members(members))
    }
}

/// Stores a value.
#[derive(Clone, Copy)]
struct Tree<'c>(&'c Cell<Defect>);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            if array.len() == MAX_ITEMS {
                self.0.set(Defect::Items);
                return Err(A::Error::custom("too many items"));
            }
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Json, A::Error> {
        let object = Object {
            keep: &|_: &str| true,
            defect: self.0,
        };
        object.visit_map(map).map(Json::Object)
    }
}

/// Skips a value.
#[derive(Clone, Copy)]
struct Walk<'c>(&'c Cell<Defect>);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = map.next_key_seed(Name)? {
            map.next_value_seed(self)?;
            names.0.push(name);
        }
        names.once(self.0)
    }
}

/// Reads a member's name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The names in one object.
#[derive(Default)]
struct Names<'de>(Vec<Cow<'de, str>>);

impl Names<'_> {
    /// Sorted, since comparing each with each would cost an attacker's 1,000 names 500,000
    /// comparisons.
    fn once<E: Error>(mut self, defect: &Cell<Defect>) -> Result<(), E> {
        self.0.sort_unstable();
        if self
            .0
            .iter()
            .zip(self.0.iter().skip(1))
            .any(|(a, b)| a == b)
        {
            defect.set(Defect::Duplicate);
            return Err(E::custom("a member stands twice"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Members, Defect> {
        Members::read(text.as_bytes(), |name| name == "kept")
    }

    #[test]
    fn refuses_a_member_that_stands_twice_at_any_depth_kept_or_not() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"kept":{"b":[{"c":1,"c":2}]}}"#,
            r#"{"other":{"b":[{"c":1,"c":2}]}}"#,
            r#"{"z":1,"kept":1,"b":2,"kept":1}"#,
        ] {
            assert_eq!(read(text).err(), Some(Defect::Duplicate), "{text}");
        }
        assert!(read(r#"{"a":{"c":1},"b":{"c":1},"kept":[{"c":1},{"c":1}]}"#).is_ok());
    }

    #[test]
    fn refuses_what_is_not_one_object() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for text in [
            "",
            "[]",
            "null",
            "1",
            "\"kept\"",
            "{}{}",
            "{}x",
            "\u{feff}{}",
            r#"{"a":"\ud800"}"#,
            r#"{"a":1,}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e400}"#,
            &deep,
        ] {
            assert_eq!(read(text).err(), Some(Defect::Syntax), "{text}");
        }
        assert_eq!(
            Members::read(b"{\"a\":\"\xff\"}", |_| false).err(),
            Some(Defect::Syntax)
        );
        assert!(read("{}\n\n").is_ok());
    }

    #[test]
    fn bounds_the_arrays_that_it_keeps() {
        let array = |count| format!("[{}0]", "0,".repeat(count - 1));
        let kept = |count| read(&format!(r#"{{"kept":{}}}"#, array(count))).err();
        assert_eq!(kept(MAX_ITEMS), None);
        assert_eq!(kept(MAX_ITEMS + 1), Some(Defect::Items));
        assert!(read(&format!(r#"{{"other":{}}}"#, array(5_000))).is_ok());
    }
}
