//! The problems of files, reported all at once, each with its position.

use std::fmt;

use crate::{escape, lookalike};

/// One thing that is wrong with a file, its position, and what to do about it.
///
/// Displays as `spanner.toml:4:1: what is wrong; what to do`. The texts are escaped and are one
/// line each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Problem {
    /// The file's name.
    pub file: String,
    /// The position in the file; `None` if the problem is with the file as a whole.
    pub position: Option<Position>,
    /// What is wrong.
    pub what: String,
    /// What to do about it; empty if `what` says it already.
    pub advice: String,
}

/// A position in a file. Displays as `4:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

/// The problems of one or several files, sorted by file and position, each once.
///
/// At most a thousand are kept; the rest are counted ([`Problems::more`]). `Debug` is the same text
/// as `Display`, since that is what `main` prints for an error.
#[derive(Clone, PartialEq, Eq)]
pub struct Problems {
    head: &'static str,
    found: Vec<Problem>,
    more: usize,
    hints: Vec<Problem>,
}

/// The name and the text of a file: what positions refer to.
#[derive(Debug, Clone, Copy)]
pub struct Source<'t> {
    /// The name that problems begin with.
    pub name: &'t str,
    /// The text.
    pub text: &'t str,
    /// Whether invisible characters are a problem, since they make one name look like another.
    pub(crate) visible_only: bool,
}

impl<'t> Source<'t> {
    /// A file.
    #[must_use]
    pub const fn new(name: &'t str, text: &'t str) -> Self {
        Self {
            name,
            text,
            visible_only: false,
        }
    }

    /// Reports invisible characters as problems.
    #[must_use]
    pub const fn visible_only(mut self) -> Self {
        self.visible_only = true;
        self
    }

    /// The position of a byte offset.
    #[must_use]
    pub fn position(self, offset: usize) -> Position {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before.get(start..).map_or(0, |text| text.chars().count()) + 1,
        }
    }
}

impl Problem {
    /// A problem; the texts are escaped.
    #[must_use]
    pub fn new(
        file: &str,
        position: Option<Position>,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        Self {
            file: escape::cut_line(file),
            position,
            what: escape::cut_line(&what.to_string()),
            advice: escape::cut_line(&advice.to_string()),
        }
    }
}

impl Default for Problems {
    fn default() -> Self {
        Self::new("the configuration has")
    }
}

impl Problems {
    /// No problems yet. `head` begins the list when it is displayed: `the configuration has`.
    #[must_use]
    pub const fn new(head: &'static str) -> Self {
        Self {
            head,
            found: Vec::new(),
            more: 0,
            hints: Vec::new(),
        }
    }

    /// The problems, sorted by file and position.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.found
    }

    /// The number of further problems, which are not kept.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.more
    }

    /// Hints about what is accepted but should be changed, such as a key's old name.
    #[must_use]
    pub fn hints(&self) -> &[Problem] {
        &self.hints
    }

    /// Whether there are no problems. Hints do not count.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        match insert(&mut self.found, problem) {
            Inserted::Full => self.more += 1,
            Inserted::New | Inserted::Known => {}
        }
    }

    /// Adds a problem with a file or folder as a whole.
    pub fn file(&mut self, name: &str, what: impl fmt::Display, advice: impl fmt::Display) {
        self.push(Problem::new(name, None, what, advice));
    }

    /// Adds a problem at a byte offset.
    pub fn at(
        &mut self,
        source: Source<'_>,
        offset: usize,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) {
        let position = source.position(offset);
        self.push(Problem::new(source.name, Some(position), what, advice));
    }

    /// Adds a hint at a byte offset.
    pub fn hint(
        &mut self,
        source: Source<'_>,
        offset: usize,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) {
        let position = source.position(offset);
        let hint = Problem::new(source.name, Some(position), what, advice);
        insert(&mut self.hints, hint);
    }

    /// Adds the problem that there is an invisible character.
    pub fn invisible(&mut self, source: Source<'_>, offset: usize, c: char) {
        let what = format!("there is an invisible character, {}", lookalike::code(c));
        self.at(source, offset, what, "remove it");
    }

    /// Adds the problems and hints of another list.
    pub fn extend(&mut self, other: Self) {
        self.more += other.more;
        other.found.into_iter().for_each(|it| self.push(it));
        for hint in other.hints {
            insert(&mut self.hints, hint);
        }
    }

    /// What was read, or the problems if there are any.
    ///
    /// # Errors
    /// The problems.
    pub fn none_or<T>(self, read: T) -> Result<T, Self> {
        match self.is_empty() {
            true => Ok(read),
            false => Err(self),
        }
    }
}

enum Inserted {
    New,
    Known,
    Full,
}

/// Inserts a problem in order, once.
fn insert(problems: &mut Vec<Problem>, problem: Problem) -> Inserted {
    match problems.binary_search(&problem) {
        Ok(_) => Inserted::Known,
        Err(_) if problems.len() >= MAX_PROBLEMS => Inserted::Full,
        Err(at) => {
            problems.insert(at, problem);
            Inserted::New
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(position) = self.position {
            write!(f, ":{position}")?;
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
        match self.found.len() + self.more {
            1 => write!(f, "{} a problem:", self.head)?,
            count => write!(f, "{} {count} problems:", self.head)?,
        }
        for problem in &self.found {
            write!(f, "\n{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

/// Problems kept: nobody reads more at once, and the author of a broken file would otherwise choose
/// how much memory they take.
const MAX_PROBLEMS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_from_one() {
        let source = Source::new("spanner.toml", "a = 1\nü = 2\n");
        for (offset, line, column) in [
            (0, 1, 1),
            (4, 1, 5),
            (6, 2, 1),
            (7, 2, 1),
            (9, 2, 3),
            (99, 3, 1),
        ] {
            assert_eq!(source.position(offset), Position { line, column });
        }
    }

    #[test]
    fn a_problem_is_one_line() {
        let source = Source::new("spanner.toml", "");
        let mut problems = Problems::default();
        problems.at(source, 0, "no\nsuch \u{1b}[2J thing", "write another");
        assert_eq!(
            problems.to_string(),
            "the configuration has a problem:\n\
             spanner.toml:1:1: no such \\u{1b}[2J thing; write another"
        );
    }

    #[test]
    fn keeps_a_bounded_number_in_order_and_each_once() {
        let text = "\n".repeat(3_000);
        let source = Source::new("f", &text);
        let mut problems = Problems::default();
        for offset in (0..2_000).rev() {
            problems.at(source, offset, "wrong", "");
            problems.at(source, offset, "wrong", "");
        }
        assert_eq!(problems.all().len(), MAX_PROBLEMS);
        assert!(problems.all().is_sorted());
        assert!(problems.more() >= 1_000);
        assert!(problems.to_string().ends_with(" more"));
    }
}
