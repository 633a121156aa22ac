//! Reads a table key by key, so that all problems of a file are found and each has its position.
//!
//! A derived deserializer stops at the first value of a wrong type. Here such a value becomes a
//! problem, and reading continues.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use spanner_core::units;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::key::Known;
use crate::lookalike;
use crate::problem::{Problems, Source};
use crate::suggest::{listed, quoted, suggestion};

/// A parsed file.
#[derive(Debug)]
pub struct Toml<'t> {
    source: Source<'t>,
    root: Spanned<DeTable<'t>>,
}

/// A table of a file.
#[derive(Debug, Clone, Copy)]
pub struct Table<'f> {
    source: Source<'f>,
    pub(crate) table: &'f DeTable<'f>,
    known: Known,
    at: usize,
}

/// A text and its byte offset.
#[derive(Debug, Clone, Copy)]
pub struct Text<'f> {
    /// The text.
    pub value: &'f str,
    /// Where it begins in the file.
    pub at: usize,
}

/// A list of texts.
#[derive(Debug)]
pub struct TextList<'f> {
    /// The texts; items of another type are left out.
    pub items: Vec<Text<'f>>,
    /// Whether the file's list is empty.
    pub is_empty: bool,
    /// Where it begins in the file.
    pub at: usize,
}

/// A number and its byte offset.
#[derive(Debug, Clone, Copy)]
pub struct Number<T> {
    /// The number.
    pub value: T,
    /// Where it begins in the file.
    pub at: usize,
}

/// A value that may be written as a text for short.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Item<'f> {
    /// The short form.
    Text(Text<'f>),
    /// The long form, with any keys.
    Table(Table<'f>),
}

impl<'t> Toml<'t> {
    /// Parses a file. Each syntax error is a problem; with one, there is no document.
    pub fn parse(source: Source<'t>, problems: &mut Problems) -> Option<Self> {
        if source.visible_only
            && let Some((at, c)) = lookalike::hidden(source.text)
        {
            problems.invisible(source, at, c);
        }
        let (root, errors) = DeTable::parse_recoverable(source.text);
        for error in &errors {
            let start = error.span().unwrap_or_default().start;
            problems.at(source, start, error.message(), "correct the TOML");
        }
        errors.is_empty().then_some(Self { source, root })
    }

    /// The table of the whole file; unknown keys are problems.
    pub fn table(&self, known: impl Into<Known>, problems: &mut Problems) -> Table<'_> {
        let root = Table {
            source: self.source,
            table: self.root.get_ref(),
            known: Known::Any,
            at: 0,
        };
        root.with(known, problems)
    }
}

impl<'f> Table<'f> {
    /// The same table with these keys. Every other key is a problem, an old name a hint.
    #[must_use]
    pub fn with(self, known: impl Into<Known>, problems: &mut Problems) -> Self {
        let known = known.into();
        for key in self.table.keys() {
            let (name, at): (&str, _) = (key.get_ref(), key.span().start);
            match known.current(name) {
                Some(current) if current == name => {}
                Some(current) if self.table.contains_key(current) => problems.at(
                    self.source,
                    at,
                    format!("{} is the old name of {}", quoted(name), quoted(current)),
                    "remove one of the two",
                ),
                Some(current) => problems.hint(
                    self.source,
                    at,
                    format!("{} is called {} now", quoted(name), quoted(current)),
                    "rename it; the old name still works",
                ),
                None => {
                    let otherwise = format!("the keys here are {}", listed(known.names()));
                    let advice = suggestion(name, known.names(), &otherwise);
                    problems.at(
                        self.source,
                        at,
                        format!("unknown key {}", quoted(name)),
                        advice,
                    );
                }
            }
        }
        Self { known, ..self }
    }

    /// The file.
    #[must_use]
    pub const fn source(self) -> Source<'f> {
        self.source
    }

    /// The byte offset of the table.
    #[must_use]
    pub const fn at(self) -> usize {
        self.at
    }

    /// The byte offset of a key's value, or of the table if the key is left out.
    #[must_use]
    pub fn at_key(self, key: &str) -> usize {
        self.value(key).map_or(self.at, |value| value.span().start)
    }

    /// Whether the key is there, whatever its type.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// The keys of the table, as they are written.
    pub fn keys(self) -> impl Iterator<Item = Text<'f>> {
        self.table.keys().map(name)
    }

    /// Adds a problem at a byte offset of this file.
    pub fn problem(
        self,
        at: usize,
        what: impl Display,
        advice: impl Display,
        problems: &mut Problems,
    ) {
        problems.at(self.source, at, what, advice);
    }

    /// Adds a problem with this table as a whole.
    pub fn whole(self, what: impl Display, advice: impl Display, problems: &mut Problems) {
        problems.at(self.source, self.at, what, advice);
    }

    /// Reports a key that is missing. `what_for` completes "add …".
    pub fn require(self, key: &str, what_for: &str, problems: &mut Problems) {
        if !self.has(key) {
            let what = format!("the key {} is missing", quoted(key));
            self.whole(what, format!("add {what_for}"), problems);
        }
    }

    /// A text that must be there.
    pub fn required_text(
        self,
        key: &str,
        what_for: &str,
        problems: &mut Problems,
    ) -> Option<Text<'f>> {
        self.require(key, what_for, problems);
        self.text(key, problems)
    }

    /// A text, if it is there.
    pub fn text(self, key: &str, problems: &mut Problems) -> Option<Text<'f>> {
        let value = self.value(key)?;
        self.expect_text(&quoted(key), value, problems)
    }

    /// A text that is parsed, if it is there. `advice` says what can be written.
    pub fn parsed<T: FromStr<Err: Display>>(
        self,
        key: &str,
        advice: &str,
        problems: &mut Problems,
    ) -> Option<T> {
        let text = self.text(key, problems)?;
        let read = text.value.parse().map_err(|error| {
            self.problem(
                text.at,
                format!("{}: {error}", quoted(key)),
                advice,
                problems,
            );
        });
        read.ok()
    }

    /// One of these words, if the key is there.
    pub fn choice<T: Copy>(
        self,
        key: &str,
        words: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let text = self.text(key, problems)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word);
            let otherwise = format!("write one of {}", listed(known.clone()));
            let what = format!("{} cannot be {}", quoted(key), quoted(text.value));
            let advice = suggestion(text.value, known, &otherwise);
            self.problem(text.at, what, advice, problems);
        }
        found.map(|(_, choice)| *choice)
    }

    /// An integer, if the key is there.
    pub fn integer(self, key: &str, problems: &mut Problems) -> Option<Number<i64>> {
        let value = self.value(key)?;
        let number = value.get_ref().as_integer().and_then(number);
        if number.is_none() {
            self.mistyped(&quoted(key), "a number", value, problems);
        }
        let at = value.span().start;
        number.map(|value| Number { value, at })
    }

    /// A number from 1, if the key is there.
    pub fn count(self, key: &str, problems: &mut Problems) -> Option<Number<usize>> {
        let value = self.value(key)?;
        let at = value.span().start;
        let count = value.get_ref().as_integer().and_then(number);
        let count = count.and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count > 0);
        if count.is_none() {
            let what = format!("{} must be a number from 1", quoted(key));
            self.problem(
                at,
                what,
                "write a whole number from 1, without quotes",
                problems,
            );
        }
        count.map(|value| Number { value, at })
    }

    /// A size in bytes from 1, if the key is there: a number, or a text with a unit.
    pub fn size(self, key: &str, problems: &mut Problems) -> Option<Number<u64>> {
        let value = self.value(key)?;
        let at = value.span().start;
        let bytes = match value.get_ref() {
            DeValue::Integer(integer) => number(integer).and_then(|it| u64::try_from(it).ok()),
            DeValue::String(text) => units::parse_size(text).ok(),
            _ => None,
        };
        let bytes = bytes.filter(|bytes| *bytes > 0);
        if bytes.is_none() {
            let what = format!("{} must be a size", quoted(key));
            self.problem(at, what, units::SIZE_ADVICE, problems);
        }
        bytes.map(|value| Number { value, at })
    }

    /// A duration, if the key is there.
    pub fn duration(self, key: &str, problems: &mut Problems) -> Option<Number<Duration>> {
        let text = self.duration_text(key, problems)?;
        self.duration_of(key, text, problems)
    }

    /// A positive duration, if the key is there.
    pub fn timeout(self, key: &str, problems: &mut Problems) -> Option<Duration> {
        let duration = self.duration(key, problems)?;
        if duration.value.is_zero() {
            let what = format!("{} must be longer than nothing", quoted(key));
            self.problem(duration.at, what, units::DURATION_ADVICE, problems);
            return None;
        }
        Some(duration.value)
    }

    /// A duration or `none`, if the key is there.
    pub fn duration_or_none(self, key: &str, problems: &mut Problems) -> Option<Option<Duration>> {
        let text = self.duration_text(key, problems)?;
        match text.value {
            "none" => Some(None),
            _ => self
                .duration_of(key, text, problems)
                .map(|it| Some(it.value)),
        }
    }

    fn duration_text(self, key: &str, problems: &mut Problems) -> Option<Text<'f>> {
        let value = self.value(key)?;
        let (at, found) = (value.span().start, value.get_ref().type_str());
        let text = value.get_ref().as_str().map(|value| Text { value, at });
        if text.is_none() {
            let what = format!(
                "{} must be a duration, not a value of type {found}",
                quoted(key)
            );
            self.problem(at, what, units::DURATION_ADVICE, problems);
        }
        text
    }

    fn duration_of(
        self,
        key: &str,
        text: Text<'_>,
        problems: &mut Problems,
    ) -> Option<Number<Duration>> {
        let at = text.at;
        let read = units::parse_duration(text.value).map_err(|_| {
            let what = format!("{}: {} is not a duration", quoted(key), quoted(text.value));
            self.problem(at, what, units::DURATION_ADVICE, problems);
        });
        read.ok().map(|value| Number { value, at })
    }

    /// `true` or `false`, if the key is there.
    pub fn flag(self, key: &str, problems: &mut Problems) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistyped(&quoted(key), "`true` or `false`", value, problems);
        }
        flag
    }

    /// A list of texts, if the key is there. Items of another type are problems.
    pub fn texts(self, key: &str, problems: &mut Problems) -> Option<TextList<'f>> {
        let value = self.value(key)?;
        self.expect_texts(key, value, problems)
    }

    /// A text, or a list of texts; empty if the key is not there.
    pub fn one_or_more(self, key: &str, problems: &mut Problems) -> Vec<Text<'f>> {
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

    /// A text or a table, or a list of both; empty if the key is not there.
    pub fn items(self, key: &str, problems: &mut Problems) -> Vec<Item<'f>> {
        let mut item = |value: &'f Spanned<DeValue<'f>>| match value.get_ref() {
            DeValue::Table(table) => Some(Item::Table(self.inner(table, value.span().start))),
            _ => self
                .expect_text(&quoted(key), value, problems)
                .map(Item::Text),
        };
        match self.value(key) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => items.iter().filter_map(item).collect(),
                _ => item(value).into_iter().collect(),
            },
        }
    }

    /// A table with any keys, if the key is there.
    pub fn table(self, key: &str, problems: &mut Problems) -> Option<Self> {
        let value = self.value(key)?;
        self.expect_table(key, value, problems)
    }

    /// A table with these keys, if the key is there.
    pub fn section(
        self,
        key: &str,
        known: impl Into<Known>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let table = self.table(key, problems)?;
        Some(table.with(known, problems))
    }

    /// The tables of a list (`[[key]]`), with any keys.
    pub fn tables(self, key: &str, problems: &mut Problems) -> Vec<Self> {
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

    /// Every key with its list of texts.
    pub fn all_texts(self, problems: &mut Problems) -> Vec<(Text<'f>, TextList<'f>)> {
        self.table
            .iter()
            .filter_map(|(key, value)| {
                let texts = self.expect_texts(key.get_ref(), value, problems)?;
                Some((name(key), texts))
            })
            .collect()
    }

    /// Every key with its table, which begins at the key.
    pub fn all_tables(self, problems: &mut Problems) -> Vec<(Text<'f>, Self)> {
        self.table
            .iter()
            .filter_map(|(key, value)| {
                let table = self.expect_table(key.get_ref(), value, problems)?;
                let at = key.span().start;
                Some((name(key), Self { at, ..table }))
            })
            .collect()
    }

    /// The value of a key, under its name or its old one.
    pub(crate) fn value(self, key: &str) -> Option<&'f Spanned<DeValue<'f>>> {
        let old = || self.table.get(self.known.old(key)?);
        self.table.get(key).or_else(old)
    }

    const fn inner(self, table: &'f DeTable<'f>, at: usize) -> Self {
        Self {
            source: self.source,
            table,
            known: Known::Any,
            at,
        }
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
        // Unescaped invisible characters are found in the file as a whole.
        if self.source.visible_only
            && let Some(text) = text
            && let Some((_, c)) = lookalike::hidden(text.value)
            && lookalike::hidden(self.source.text).is_none()
        {
            problems.invisible(self.source, at, c);
        }
        text
    }

    fn expect_texts(
        self,
        key: &str,
        value: &'f Spanned<DeValue<'f>>,
        problems: &mut Problems,
    ) -> Option<TextList<'f>> {
        let Some(array) = value.get_ref().as_array() else {
            self.mistyped(&quoted(key), "a list of strings", value, problems);
            return None;
        };
        let item = format!("each item of {}", quoted(key));
        let items = array
            .iter()
            .filter_map(|value| self.expect_text(&item, value, problems))
            .collect();
        Some(TextList {
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
        table.map(|table| self.inner(table, value.span().start))
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

fn name<'f>(key: &'f Spanned<Cow<'f, str>>) -> Text<'f> {
    Text {
        value: key.get_ref(),
        at: key.span().start,
    }
}

fn number(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
