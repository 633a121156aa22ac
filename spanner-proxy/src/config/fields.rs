//! Reads TOML by hand, so that a file's problems are all found and each has its place.
//!
//! A derived deserializer stops at the first value of a wrong type. What is asked for here
//! and is not as it should be becomes a problem of the page, and reading goes on.

use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Page;

/// A table of a file.
#[derive(Clone, Copy)]
pub(super) struct Fields<'f> {
    pub(super) page: &'f Page,
    pub(super) table: &'f DeTable<'f>,
    pub(super) at: usize,
}

/// A value and the byte at which it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// A value that is a text for short.
pub(super) enum Item<'f> {
    Text(At<&'f str>),
    /// Of whatever keys.
    Table(Fields<'f>),
}

/// Parses a page; each syntax error is a problem.
pub(super) fn parse(page: &Page) -> Option<Spanned<DeTable<'_>>> {
    let (table, errors) = DeTable::parse_recoverable(&page.text);
    for error in &errors {
        let start = error.span().unwrap_or_default().start;
        page.problem(start, error.message(), "correct the TOML");
    }
    errors.is_empty().then_some(table)
}

impl<'f> Fields<'f> {
    /// A table with these keys and no others.
    pub(super) fn of(page: &'f Page, table: &'f DeTable<'f>, at: usize, known: &[&str]) -> Self {
        let fields = Self { page, table, at };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let what = format!("unknown key `{name}`");
                let advice = format!("the keys here are {}", listed(known));
                page.problem(key.span().start, what, advice);
            }
        }
        fields
    }

    /// A problem with this table as a whole.
    pub(super) fn whole(self, what: impl std::fmt::Display, advice: impl std::fmt::Display) {
        self.page.problem(self.at, what, advice);
    }

    /// Where a key's value stands, or else the table.
    pub(super) fn at(self, key: &str) -> usize {
        self.table
            .get(key)
            .map_or(self.at, |value| value.span().start)
    }

    /// A text, if it is there.
    pub(super) fn text(self, key: &str) -> Option<At<&'f str>> {
        self.expect_text(key, self.table.get(key)?)
    }

    /// A text that must be there.
    pub(super) fn required(self, key: &str, what_for: &str) -> Option<At<&'f str>> {
        if !self.table.contains_key(key) {
            self.whole(
                format!("the key `{key}` is missing"),
                format!("add {what_for}"),
            );
        }
        self.text(key)
    }

    /// A text or a list of them; none if it is not there.
    pub(super) fn one_or_more(self, key: &str) -> Vec<At<&'f str>> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| self.expect_text(key, item))
                .collect(),
            _ => self.expect_text(key, value).into_iter().collect(),
        }
    }

    /// A text or a table, or a list of them; none if it is not there.
    pub(super) fn items(self, key: &str) -> Vec<Item<'f>> {
        let item = |value: &'f Spanned<DeValue<'f>>| match value.get_ref() {
            DeValue::Table(table) => Some(Item::Table(Self {
                page: self.page,
                table,
                at: value.span().start,
            })),
            _ => self.expect_text(key, value).map(Item::Text),
        };
        match self.table.get(key) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => items.iter().filter_map(item).collect(),
                _ => item(value).into_iter().collect(),
            },
        }
    }

    /// A text that is read as something else, with advice where it cannot be.
    pub(super) fn parsed<T: FromStr>(self, key: &str, advice: &str) -> Option<At<T>>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.text(key)?;
        match text.value.parse() {
            Ok(value) => Some(At { value, at: text.at }),
            Err(error) => {
                self.page
                    .problem(text.at, format!("`{key}`: {error}"), advice);
                None
            }
        }
    }

    /// A count from 1, if it is there.
    pub(super) fn count(self, key: &str) -> Option<usize> {
        let value = self.table.get(key)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|it| usize::from_str_radix(it.as_str(), it.radix()).ok());
        let number = number.filter(|number| *number > 0);
        if number.is_none() {
            let at = value.span().start;
            self.page
                .problem(at, format!("`{key}` is no count"), "write a number from 1");
        }
        number
    }

    /// Yes or no, if it is there.
    pub(super) fn flag(self, key: &str) -> Option<bool> {
        let value = self.table.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistyped(key, "`true` or `false`", value);
        }
        flag
    }

    /// A span of time with its unit, if it is there.
    pub(super) fn time(self, key: &str) -> Option<Duration> {
        let text = self.text(key)?;
        let time = duration(text.value).filter(|time| !time.is_zero());
        if time.is_none() {
            let what = format!("`{key}` is no span of time");
            self.page.problem(
                text.at,
                what,
                "write one such as `\"500ms\"`, `\"30s\"`, `\"5m\"`, `\"12h\"` or `\"400d\"`",
            );
        }
        time
    }

    /// A table with these keys, if it is there.
    pub(super) fn table(self, key: &str, known: &[&str]) -> Option<Self> {
        let value = self.table.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::of(self.page, table, value.span().start, known)),
            _ => {
                self.mistyped(key, "a table", value);
                None
            }
        }
    }

    /// The tables of an array (`[[key]]`), of whatever keys.
    pub(super) fn tables(self, key: &str) -> Vec<Self> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.mistyped(
                key,
                &format!("a list of tables, each under `[[{key}]]`"),
                value,
            );
            return Vec::new();
        };
        let table = |item: &'f Spanned<DeValue<'f>>| match item.get_ref() {
            DeValue::Table(table) => Some(Self {
                page: self.page,
                table,
                at: item.span().start,
            }),
            _ => {
                self.mistyped(key, "a table", item);
                None
            }
        };
        items.iter().filter_map(table).collect()
    }

    fn expect_text(self, key: &str, value: &'f Spanned<DeValue<'f>>) -> Option<At<&'f str>> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.mistyped(key, "a string", value);
        }
        let at = value.span().start;
        text.map(|value| At { value, at })
    }

    fn mistyped(self, key: &str, expected: &str, value: &Spanned<DeValue<'_>>) {
        let found = value.get_ref().type_str();
        self.page.problem(
            value.span().start,
            format!("`{key}` must be {expected}, not a value of type {found}"),
            format!("write {expected}"),
        );
    }
}

/// Words in backticks, with commas between.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// The value as the `toml` crate hands it on, without places.
pub(super) fn plain(value: &DeValue<'_>) -> toml::Value {
    use toml::Value;
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| Value::String(number.to_string()), Value::Float),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| plain(item.get_ref())).collect())
        }
        DeValue::Table(members) => Value::Table(
            members
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref())))
                .collect(),
        ),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}
