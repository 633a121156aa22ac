//! What is wrong with a configuration: all of it at once, each with its place.

use std::cell::RefCell;
use std::fmt;

use crate::words;

/// One thing that is wrong, where it stands, and what to do about it.
///
/// Displays as `spanner.toml:4:1: what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to do about it; empty where that is said already.
    pub advice: String,
}

/// A place in a file: line and column, both counted from 1, the column in characters. Both are 0
/// where it is about a file as a whole, or about none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Every problem that was found, in the order of files and lines.
///
/// `Debug` is the same text as `Display`, since that is what `main` shows of an error.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// A file's name and text: what places refer to, and where problems with it are collected.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) text: String,
    found: RefCell<Problems>,
}

impl Place {
    /// No place in a file, but the file as a whole.
    pub const WHOLE: Self = Self { line: 0, column: 0 };
}

impl Problems {
    /// The problems.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(
        &mut self,
        file: impl Into<String>,
        place: Place,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) {
        self.0.push(Problem {
            file: line(&file.into()),
            place,
            what: line(&what),
            advice: line(&advice),
        });
    }

    /// Takes over the problems of somebody else.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
        self.0.sort();
        self.0.dedup();
    }
}

impl Page {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            found: RefCell::default(),
        }
    }

    /// Line and column of a byte offset.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before.get(start..).map_or(0, |text| text.chars().count()) + 1,
        }
    }

    /// Notes a problem at a byte offset.
    pub(crate) fn problem(&self, at: usize, what: impl fmt::Display, advice: impl fmt::Display) {
        let place = self.place(at);
        self.found
            .borrow_mut()
            .add(self.name.clone(), place, what, advice);
    }

    /// Takes over the problems of another page.
    pub(crate) fn adopt(&self, other: &Self) {
        self.found.borrow_mut().extend(other.take_problems());
    }

    /// The problems noted so far, which are forgotten here.
    pub(crate) fn take_problems(&self) -> Problems {
        self.found.take()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.place != Place::WHOLE {
            write!(f, ":{}", self.place)?;
        }
        write!(f, ": {}", self.what)?;
        match self.advice.is_empty() {
            true => Ok(()),
            false => write!(f, "; {}", self.advice),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

/// One line, without secrets, and without characters that could forge another one.
fn line(text: &impl fmt::Display) -> String {
    words::line(text.to_string().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_from_one() {
        let page = Page::new("spanner.toml", "a = 1\nü = 2\n");
        for (offset, line, column) in [(0, 1, 1), (4, 1, 5), (6, 2, 1), (9, 2, 3), (99, 3, 1)] {
            assert_eq!(page.place(offset), Place { line, column });
        }
    }

    #[test]
    fn a_problem_is_one_line() {
        let page = Page::new("spanner.toml", "");
        page.problem(0, "no\nsuch \u{1b}[2J thing", "write another");
        assert_eq!(
            page.take_problems().to_string(),
            "the configuration has a problem:\n\
             spanner.toml:1:1: no such \\u{1b}[2J thing; write another"
        );
        assert!(page.take_problems().is_empty());
    }
}
