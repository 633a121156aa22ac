//! What is wrong with an access directory, all of it at once.

use std::fmt;

use crate::alike;

/// One thing that is wrong, where it stands, and what to do about it.
///
/// Displays as `models/acme/sentiment.toml:4:1: what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Problem {
    /// The file, relative to the access directory, with `/` between its parts.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

/// Why an access directory is not put in force: every problem found, by file and line.
///
/// `Debug` is the same text as `Display`, since that is what `main` shows of an error.
#[derive(Clone, PartialEq, Eq)]
pub struct LoadError {
    /// With what.
    subject: &'static str,
    problems: Vec<Problem>,
    more: usize,
}

/// Collects problems while loading goes on.
#[derive(Debug)]
pub(crate) struct Problems {
    subject: &'static str,
    found: Vec<Problem>,
    more: usize,
}

/// One file's name and text: what positions refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'t> {
    pub(crate) name: &'t str,
    pub(crate) text: &'t str,
}

impl LoadError {
    /// The problems, sorted by file, line and column; at most a thousand.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// These problems, found before.
    pub(crate) fn of(found: impl IntoIterator<Item = Problem>) -> Self {
        let mut problems = Problems::default();
        found.into_iter().for_each(|it| problems.push(it));
        problems.into_error()
    }

    /// One problem with a file as a whole.
    pub(crate) fn one(file: &str, what: &str, advice: &str) -> Self {
        let mut problems = Problems::default();
        problems.file(file, what, advice);
        problems.into_error()
    }

    /// How many further problems there are.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.more
    }
}

impl Default for Problems {
    fn default() -> Self {
        Self::of("access")
    }
}

impl Problems {
    /// Problems with something else than the access.
    pub(crate) const fn of(subject: &'static str) -> Self {
        Self {
            subject,
            found: Vec::new(),
            more: 0,
        }
    }

    /// What was read, if nothing is wrong with it.
    pub(crate) fn none_or<T>(self, read: T) -> Result<T, LoadError> {
        match self.is_empty() {
            true => Ok(read),
            false => Err(self.into_error()),
        }
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// A problem with a file or folder as a whole, which stands at no place in it.
    pub(crate) fn file(&mut self, name: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.push(Problem {
            file: plain(name),
            line: 0,
            column: 0,
            what: plain(&what.into()),
            advice: plain(&advice.into()),
        });
    }

    /// A problem at a byte offset of a page.
    pub(crate) fn at(
        &mut self,
        page: Page<'_>,
        offset: usize,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (line, column) = page.position(offset);
        self.push(Problem {
            file: plain(page.name),
            line,
            column,
            what: plain(&what.into()),
            advice: plain(&advice.into()),
        });
    }

    /// Those that were found elsewhere, too.
    pub(crate) fn append(&mut self, other: Self) {
        self.more += other.more;
        other
            .found
            .into_iter()
            .for_each(|problem| self.push(problem));
    }

    /// What was found, in order.
    pub(crate) fn into_found(self) -> Vec<Problem> {
        self.into_error().problems
    }

    /// Notes a character that is not seen, since it would make a text look like another one.
    pub(crate) fn hidden(&mut self, page: Page<'_>, at: usize, c: char) {
        let what = format!("there is a character that is not seen, {}", alike::code(c));
        self.at(page, at, what, "remove it");
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of it, in order.
    pub(crate) fn into_error(self) -> LoadError {
        let mut problems = self.found;
        problems.sort();
        problems.dedup();
        LoadError {
            subject: self.subject,
            problems,
            more: self.more,
        }
    }
}

impl Page<'_> {
    /// Line and column of a byte offset, both from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(start..).map_or(0, |text| text.chars().count()) + 1;
        (line, column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}; {}", self.what, self.advice)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = match self.subject {
            "cases" => "have",
            _ => "has",
        };
        match self.problems.len() + self.more {
            1 => write!(f, "the {} {has} a problem:", self.subject)?,
            count => write!(f, "the {} {has} {count} problems:", self.subject)?,
        }
        for problem in &self.problems {
            write!(f, "\n{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LoadError {}

/// A word of the author's in backticks, cut to what fits a line.
pub(crate) fn quoted(word: &str) -> String {
    let cut: String = word.chars().take(MAX_QUOTED).collect();
    let shown = alike::mark_confusables(&cut);
    if cut.len() < word.len() {
        format!("`{shown}…`")
    } else {
        format!("`{shown}`")
    }
}

/// Advice for a word that is not known: the nearest one that is, or all if they are few.
pub(crate) fn suggestion<'w>(
    word: &str,
    known: impl IntoIterator<Item = &'w str>,
    otherwise: &str,
) -> String {
    let word: String = word.chars().take(MAX_QUOTED).collect();
    let near = known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() * 2 / 5).clamp(1, 3))
        .min();
    match near {
        Some((_, candidate)) => format!("did you mean {}?", quoted(candidate)),
        None => otherwise.to_owned(),
    }
}

/// Words in backticks, with commas between.
pub(crate) fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut quoted_words: Vec<String> = words.into_iter().map(quoted).collect();
    let count = quoted_words.len();
    quoted_words.truncate(MAX_LISTED);
    let mut text = quoted_words.join(", ");
    if count > MAX_LISTED {
        text.push_str(", …");
    }
    text
}

/// One line, without characters that could forge another one.
fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for (count, c) in text.chars().enumerate() {
        if count == MAX_CHARACTERS {
            line.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if !alike::is_seen(c) => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

/// Problems kept: nobody reads more at once, and each takes memory that the author of a
/// broken file would choose.
const MAX_PROBLEMS: usize = 1_000;

/// Characters of an author's word that are repeated: the longest alias and group fit.
const MAX_QUOTED: usize = 80;

/// Characters of what is said about one problem: Cedar repeats types as deep as they are.
const MAX_CHARACTERS: usize = 600;

/// Words listed as what is known.
const MAX_LISTED: usize = 8;
