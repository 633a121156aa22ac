//! Why an access directory cannot be loaded.

use std::fmt;

pub use spanner_toml::Problem;
pub(crate) use spanner_toml::{Problems, Source, listed, quoted, suggestion};

/// Why an access directory is not put in force: every problem found, by file and position. File
/// names are relative to the access directory and use `/` as the separator.
///
/// `Debug` is the same text as `Display`, since that is what `main` shows of an error.
#[derive(Clone, PartialEq, Eq)]
pub struct LoadError(Problems);

impl LoadError {
    /// The problems, sorted by file and position; at most a thousand.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.0.all()
    }

    /// The number of further problems, which are not listed.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.0.more()
    }

    pub(crate) const fn new(problems: Problems) -> Self {
        Self(problems)
    }

    /// An error with these problems.
    pub(crate) fn of(found: impl IntoIterator<Item = Problem>) -> Self {
        let mut problems = no_problems();
        found.into_iter().for_each(|it| problems.push(it));
        Self(problems)
    }

    /// One problem with a file as a whole.
    pub(crate) fn one(file: &str, what: &str, advice: &str) -> Self {
        Self::of([Problem::new(file, None, what, advice)])
    }
}

/// An empty list of the problems of an access.
pub(crate) const fn no_problems() -> Problems {
    Problems::new("the access has")
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for LoadError {}
