//! Values that serde reads, each on its own, so that errors have a position.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::problem::Problems;
use crate::suggest::{quoted, suggestion};
use crate::table::Table;

impl Table<'_> {
    /// A value of a type that serde reads, if the key is there. The first problem in it is reported
    /// at its position.
    pub fn read<T: DeserializeOwned>(self, key: &str, problems: &mut Problems) -> Option<T> {
        let value = self.value(key)?;
        let read = T::deserialize(ValueDeserializer::from(value.clone()));
        self.or_problem(key, value.span().start, read, problems)
    }

    /// A value that serde reads as the field `field` of a type, if the key is there.
    pub fn read_as<T: DeserializeOwned>(
        self,
        key: &str,
        field: &str,
        problems: &mut Problems,
    ) -> Option<T> {
        let value = self.value(key)?;
        let span = value.span();
        let mut table = DeTable::new();
        table.insert(
            Spanned::new(span.clone(), field.to_owned().into()),
            value.clone(),
        );
        let table = Spanned::new(span.clone(), DeValue::Table(table));
        let read = T::deserialize(ValueDeserializer::from(table));
        self.or_problem(key, span.start, read, problems)
    }

    /// The items of a list, of a type that serde reads, each with its byte offset. Every item
    /// with a problem is reported and left out. Empty if the key is not there.
    pub fn read_list<T: DeserializeOwned>(
        self,
        key: &str,
        problems: &mut Problems,
    ) -> Vec<(usize, T)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            // It is not a list; serde reports that.
            let list: Option<Vec<T>> = self.read(key, problems);
            let at = value.span().start;
            return list.into_iter().flatten().map(|it| (at, it)).collect();
        };
        items
            .iter()
            .filter_map(|item| {
                let at = item.span().start;
                let read = T::deserialize(ValueDeserializer::from(item.clone()));
                Some((at, self.or_problem(key, at, read, problems)?))
            })
            .collect()
    }

    fn or_problem<T>(
        self,
        key: &str,
        at: usize,
        read: Result<T, toml::de::Error>,
        problems: &mut Problems,
    ) -> Option<T> {
        let read = read.map_err(|error| {
            let at = error.span().map_or(at, |span| span.start);
            let (what, advice) = serde_words(error.message());
            self.problem(at, format!("{}: {what}", quoted(key)), advice, problems);
        });
        read.ok()
    }
}

/// The message of a serde error in the terms of the file instead of the program's types, and what
/// to do about it.
#[must_use]
pub fn serde_words(message: &str) -> (String, String) {
    let mut what = message.lines().collect::<Vec<_>>().join(" ");
    for (theirs, ours) in [
        ("unknown field ", "unknown key "),
        ("missing field ", "missing key "),
        ("duplicate field ", "duplicate key "),
        ("unknown variant ", "unknown word "),
        ("invalid type: ", "wrong type: "),
        ("a sequence", "a list"),
        ("a map", "a table"),
    ] {
        what = what.replace(theirs, ours);
    }
    for word in [
        "expected struct ",
        "expected enum ",
        "expected tuple struct ",
        "expected newtype struct ",
    ] {
        while let Some((before, after)) = what.split_once(word) {
            let end = after
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(after.len());
            let rest = after.get(end..).unwrap_or_default();
            what = format!("{before}expected a table{rest}");
        }
    }
    let advice = advice(&what);
    (what, advice)
}

/// The nearest of the words that serde lists: "unknown key `x`, expected one of `a`, `b`".
fn advice(what: &str) -> String {
    const OTHERWISE: &str = "correct it";
    let unknown = what
        .strip_prefix("unknown key `")
        .or_else(|| what.strip_prefix("unknown word `"));
    let Some((word, rest)) = unknown.and_then(|rest| rest.split_once('`')) else {
        return OTHERWISE.to_owned();
    };
    // Between the backticks are the words, and commas between those.
    suggestion(word, rest.split('`').skip(1).step_by(2), OTHERWISE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_of_the_file() {
        for (message, what, advice) in [
            (
                "invalid type: integer `7`, expected struct Asked",
                "wrong type: integer `7`, expected a table",
                "correct it",
            ),
            (
                "unknown field `x`, expected one of `at`, `as`",
                "unknown key `x`, expected one of `at`, `as`",
                "correct it",
            ),
            (
                "unknown field `prefx`, expected one of `at`, `prefix`",
                "unknown key `prefx`, expected one of `at`, `prefix`",
                "did you mean `prefix`?",
            ),
            (
                "unknown variant `servise`, expected `user` or `service`",
                "unknown word `servise`, expected `user` or `service`",
                "did you mean `service`?",
            ),
        ] {
            assert_eq!(serde_words(message), (what.to_owned(), advice.to_owned()));
        }
    }
}
