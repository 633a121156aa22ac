//! Reads TOML by hand, so that a file's problems are all found and each has its place.
//!
//! A derived deserializer stops at the first value of a wrong type. What is asked for here
//! and is not as it should be becomes a [`Problem`](super::Problem), and reading goes on.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Page, Problems, listed, quoted, suggestion};
use crate::alike;

/// A table of a file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'f> {
    pub(crate) page: Page<'f>,
    table: &'f DeTable<'f>,
    at: usize,
}

/// A text and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'f> {
    pub(crate) value: &'f str,
    pub(crate) at: usize,
}

/// A list of texts and where it begins.
pub(crate) struct Texts<'f> {
    pub(crate) items: Vec<Text<'f>>,
    pub(crate) is_empty: bool,
    pub(crate) at: usize,
}

/// Parses a page; each syntax error is a problem.
pub(crate) fn parse<'p>(page: Page<'p>, problems: &mut Problems) -> Option<Spanned<DeTable<'p>>> {
    if let Some((at, c)) = alike::hidden(page.text) {
        problems.hidden(page, at, c);
    }
    let (table, errors) = DeTable::parse_recoverable(page.text);
    for error in &errors {
        let Range { start, .. } = error.span().unwrap_or_default();
        problems.at(page, start, error.message(), "correct the TOML");
    }
    errors.is_empty().then_some(table)
}

impl<'f> Fields<'f> {
    /// The fields of a whole file; unknown ones are problems.
    pub(crate) fn of(
        page: Page<'f>,
        table: &'f Spanned<DeTable<'f>>,
        known: &[&str],
        problems: &mut Problems,
    ) -> Self {
        let fields = Self {
            page,
            table: table.get_ref(),
            at: 0,
        };
        fields.refuse_unknown(known, problems);
        fields
    }

    /// Refuses every key that is not known.
    pub(crate) fn refuse_unknown(self, known: &[&str], problems: &mut Problems) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let advice = suggestion(
                    name,
                    known.iter().copied(),
                    &format!("the keys here are {}", listed(known.iter().copied())),
                );
                self.problem(
                    key.span().start,
                    format!("unknown key {}", quoted(name)),
                    advice,
                    problems,
                );
            }
        }
    }

    /// Whether the key is there, of whatever type.
    pub(crate) fn has(self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// A text that must be there.
    pub(crate) fn required_text(
        self,
        key: &str,
        what_for: &str,
        problems: &mut Problems,
    ) -> Option<Text<'f>> {
        if !self.has(key) {
            let advice = format!("add {what_for}");
            self.problem(
                self.at,
                format!("the key {} is missing", quoted(key)),
                advice,
                problems,
            );
        }
        self.text(key, problems)
    }

    /// A text, if it is there.
    pub(crate) fn text(self, key: &str, problems: &mut Problems) -> Option<Text<'f>> {
        self.value(key)
            .and_then(|value| self.expect_text(&quoted(key), value, problems))
    }

    /// An integer, if it is there.
    pub(crate) fn integer(self, key: &str, problems: &mut Problems) -> Option<(i64, usize)> {
        let value = self.value(key)?;
        let at = value.span().start;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok());
        if number.is_none() {
            self.mistyped(&quoted(key), "a number", value, problems);
        }
        number.map(|number| (number, at))
    }

    /// A list of texts, if it is there; items of another type are problems and left out.
    pub(crate) fn texts(self, key: &str, problems: &mut Problems) -> Option<Texts<'f>> {
        let value = self.value(key)?;
        self.expect_texts(key, value, problems)
    }

    /// A text, or a list of texts; none if it is not there.
    pub(crate) fn one_or_more(self, key: &str, problems: &mut Problems) -> Vec<Text<'f>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(_) => self
                .expect_texts(key, value, problems)
                .map(|texts| texts.items)
                .unwrap_or_default(),
            _ => self
                .expect_text(&quoted(key), value, problems)
                .into_iter()
                .collect(),
        }
    }

    /// `true` or `false`, if it is there.
    pub(crate) fn flag(self, key: &str, problems: &mut Problems) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistyped(&quoted(key), "`true` or `false`", value, problems);
        }
        flag
    }

    /// The tables of a list (`[[key]]`).
    pub(crate) fn tables(self, key: &str, problems: &mut Problems) -> Vec<Self> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let expected = format!("a list of tables, each under `[[{key}]]`");
            self.mistyped(&quoted(key), &expected, value, problems);
            return Vec::new();
        };
        let items = items.iter();
        items
            .filter_map(|item| self.expect_table(key, item, problems))
            .collect()
    }

    /// Where the table stands.
    pub(crate) const fn at(self) -> usize {
        self.at
    }

    /// Every key with its list of texts.
    pub(crate) fn all_texts(self, problems: &mut Problems) -> Vec<(Text<'f>, Texts<'f>)> {
        self.table
            .iter()
            .filter_map(|(key, value)| {
                let texts = self.expect_texts(key.get_ref(), value, problems)?;
                Some((name(key), texts))
            })
            .collect()
    }

    /// A table, if it is there.
    pub(crate) fn table(self, key: &str, problems: &mut Problems) -> Option<Self> {
        let value = self.value(key)?;
        self.expect_table(key, value, problems)
    }

    /// Every key with its table.
    pub(crate) fn all_tables(self, problems: &mut Problems) -> Vec<(Text<'f>, Self)> {
        self.table
            .iter()
            .filter_map(|(key, value)| {
                let table = self.expect_table(key.get_ref(), value, problems)?;
                Some((
                    name(key),
                    Self {
                        at: key.span().start,
                        ..table
                    },
                ))
            })
            .collect()
    }

    /// A problem at an offset of this file.
    pub(crate) fn problem(
        self,
        at: usize,
        what: impl Into<String>,
        advice: impl Into<String>,
        problems: &mut Problems,
    ) {
        problems.at(self.page, at, what, advice);
    }

    /// A problem with this table as a whole.
    pub(crate) fn whole(
        self,
        what: impl Into<String>,
        advice: impl Into<String>,
        problems: &mut Problems,
    ) {
        problems.at(self.page, self.at, what, advice);
    }

    fn value(self, key: &str) -> Option<&'f Spanned<DeValue<'f>>> {
        self.table.get(key)
    }

    fn expect_text(
        self,
        what: &str,
        value: &'f Spanned<DeValue<'f>>,
        problems: &mut Problems,
    ) -> Option<Text<'f>> {
        let at = value.span().start;
        let text = value.get_ref().as_str().map(|value| Text { value, at });
        if text.is_none() {
            self.mistyped(what, "a string", value, problems);
        }
        // Escaped; as itself it is found in the file as a whole.
        if let Some(text) = text
            && let Some((_, c)) = alike::hidden(text.value)
            && alike::hidden(self.page.text).is_none()
        {
            problems.hidden(self.page, at, c);
        }
        text
    }

    fn expect_texts(
        self,
        key: &str,
        value: &'f Spanned<DeValue<'f>>,
        problems: &mut Problems,
    ) -> Option<Texts<'f>> {
        let Some(array) = value.get_ref().as_array() else {
            self.mistyped(&quoted(key), "a list of strings", value, problems);
            return None;
        };
        let item = format!("each item of {}", quoted(key));
        let items = array
            .iter()
            .filter_map(|value| self.expect_text(&item, value, problems))
            .collect();
        Some(Texts {
            items,
            is_empty: array.is_empty(),
            at: value.span().start,
        })
    }

    fn expect_table(
        self,
        key: &str,
        value: &'f Spanned<DeValue<'f>>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.mistyped(&quoted(key), "a table", value, problems);
        }
        table.map(|table| Self {
            page: self.page,
            table,
            at: value.span().start,
        })
    }

    fn mistyped(
        self,
        what: &str,
        expected: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Problems,
    ) {
        let found = value.get_ref().type_str();
        let what = format!("{what} must be {expected}, not a value of type {found}");
        self.problem(
            value.span().start,
            what,
            format!("write {expected}"),
            problems,
        );
    }
}

fn name<'f>(key: &'f Spanned<std::borrow::Cow<'f, str>>) -> Text<'f> {
    Text {
        value: key.get_ref(),
        at: key.span().start,
    }
}
