//! Cases: expected answers of an access, in files that a team keeps beside it.
//!
//! ```toml
//! # cases/support.toml
//! [[case]]
//! name = "support may call in production"
//! caller = "user:corp/ann"        # the alias may be left out where there is only one issuer
//! groups = ["support"]
//! action = "generate"             # an action, a group of actions such as `infer`, or a list
//! model = "acme/sentiment"        # left out: the server as a whole
//! environment = "production"
//! expect = "allow"
//! policy = "grant/production/acme/sentiment/caller/group:corp/support"   # it took part
//!
//! [[case]]
//! caller = "user:corp/ann"
//! groups = ["support"]
//! actor = "agent:corp/copilot"    # who acts for the caller; a list is a chain
//! action = ["generate", "download"]
//! model = "acme/sentiment"
//! environment = "production"
//! token_age = "8d"                # default: just issued
//! signed_in = "5m"                # default: unknown
//! assurance = 2                   # default: 0
//! scopes = ["models.infer"]       # and roles, tenant, origin, groups_complete, at
//! expect = "deny"
//! reason = "forbidden"            # as records have it, without `authz.`
//! ```

use std::fmt;
use std::path::Path;

use serde::Serialize;
use spanner_core::{Effect, Questions, Timestamp};

use crate::cedar::Cedar;
use crate::documents::Document;
use crate::explain::Explanation;
use crate::index::Policies;
use crate::load::{self, Case, LoadError};

/// The cases of an access directory.
#[derive(Debug, Clone)]
pub struct Cases {
    documents: Vec<Document>,
}

/// The results of all cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Every case, in the order of files and lines.
    pub cases: Vec<Outcome>,
}

/// The result of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The file, relative to the access directory.
    pub file: String,
    /// The line at which the case begins.
    pub line: usize,
    /// Its name, or the question if it has no name.
    pub name: String,
    /// The answers that are not as expected; empty if the case passed.
    pub failures: Vec<Failure>,
}

/// One answer that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// The question.
    pub asked: String,
    /// The expected answer.
    pub expected: String,
    /// The actual answer.
    pub found: String,
    /// The explanations, one for each party.
    pub explanations: Vec<Explanation>,
}

impl Cases {
    /// Reads `cases/**/*.toml` of an access directory. Blocks on the file system.
    ///
    /// # Errors
    /// [`LoadError`] if a file cannot be read. Problems within a case are reported when it is
    /// [run](Self::run).
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let documents = load::cases_from_dir(dir.as_ref())?;
        Ok(Self { documents })
    }

    /// Reads files of cases from memory, each with its name.
    ///
    /// # Errors
    /// [`LoadError`] if there are too many, or one is not UTF-8 text.
    pub fn from_files<N: Into<String>, T: Into<Vec<u8>>>(
        files: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, LoadError> {
        let files = files.into_iter();
        let named = files.map(|(name, text)| (format!("cases/{}", name.into()), text));
        let documents = load::cases_from_memory(named)?;
        Ok(Self { documents })
    }

    /// The questions of the cases, one for each action, regardless of the expected answers.
    ///
    /// # Errors
    /// [`LoadError`] with every problem of the cases.
    pub fn questions(&self, cedar: &Cedar) -> Result<Vec<Questions>, LoadError> {
        let cases = load::cases(&self.documents, &cedar.current(), Timestamp::now())?;
        Ok(cases.into_iter().flat_map(|case| case.asked).collect())
    }

    /// Runs every case against an access. The time of a case without `at` is now.
    ///
    /// # Errors
    /// [`LoadError`] with every problem of the cases: keys, names, groups that
    /// are not in the access's directory.
    pub fn run(&self, cedar: &Cedar) -> Result<Report, LoadError> {
        let access = cedar.current();
        let cases = load::cases(&self.documents, &access, Timestamp::now())?;
        let cases = cases.iter().map(|case| Outcome::of(case, &access));
        Ok(Report {
            cases: cases.collect(),
        })
    }
}

impl Cedar {
    /// Runs the cases of the directory that the access came from. In a team's own tests:
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let report = spanner_cedar::Cedar::from_dir("access")?.test_cases()?;
    /// assert!(report.is_good(), "{report}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`LoadError`] with every problem of the cases; also if the access came
    /// from memory.
    pub fn test_cases(&self) -> Result<Report, LoadError> {
        let dir = self.source().ok_or_else(load::no_directory)?;
        Cases::from_dir(dir)?.run(self)
    }
}

impl Report {
    /// Whether there is at least one case, and each is answered as expected.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.cases.is_empty() && self.failed().next().is_none()
    }

    /// The cases that are not answered as expected.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.cases.iter().filter(|case| !case.failures.is_empty())
    }
}

impl Outcome {
    fn of(case: &Case, access: &Policies) -> Self {
        let asked = case.asked.first().map(asked).unwrap_or_default();
        let each = case.asked.iter();
        let failures = each.filter_map(|questions| Failure::of(case, questions, access));
        Self {
            file: case.file.clone(),
            line: case.line,
            name: case.name.clone().unwrap_or(asked),
            failures: failures.collect(),
        }
    }
}

impl Failure {
    fn of(case: &Case, questions: &Questions, access: &Policies) -> Option<Self> {
        let answer = questions.put_to(access);
        let allow = answer.effect == Effect::Allow;
        let policies = &case.policies;
        let by = |list: &[String]| match list.is_empty() {
            true => String::new(),
            false => format!(" by {}", list.join(", ")),
        };
        let fits = case.allow == allow
            && case.reason.as_deref().is_none_or(|it| it == answer.reason)
            && policies.iter().all(|it| answer.policies.contains(it));
        if fits {
            return None;
        }
        let word = |allow| if allow { "allow" } else { "deny" };
        let reason = case.reason.as_deref();
        let reason = reason.map_or_else(String::new, |it| format!(" ({it})"));
        let each = questions.each();
        Some(Self {
            asked: asked(questions),
            expected: format!("{}{reason}{}", word(case.allow), by(policies)),
            found: format!(
                "{} ({}){}",
                word(allow),
                answer.reason,
                by(&answer.policies)
            ),
            explanations: each.iter().map(|it| access.explain(it)).collect(),
        })
    }
}

/// The question in one line.
fn asked(questions: &Questions) -> String {
    let caller = questions.caller();
    let pairs = questions.target().pairs().iter();
    let pairs: Vec<String> = pairs.map(ToString::to_string).collect();
    let subject = caller.subject();
    let groups = subject.groups.iter().map(ToString::to_string);
    let groups: Vec<String> = groups
        .chain(subject.roles.iter().map(ToString::to_string))
        .collect();
    let within = match groups.is_empty() {
        true => String::new(),
        false => format!(" ({})", groups.join(", ")),
    };
    let environment = questions.environment();
    format!("{caller}{within}: {} in {environment}", pairs.join(", "))
}

/// The failures with their explanations, then the number of cases.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut failed = 0;
        for case in self.failed() {
            failed += 1;
            writeln!(f, "{case}")?;
        }
        match (self.cases.len(), failed) {
            (0, _) => f.write_str("there is no case"),
            (1, 0) => f.write_str("1 case, as expected"),
            (1, _) => f.write_str("1 case, not as expected"),
            (count, 0) => write!(f, "{count} cases, all as expected"),
            (count, failed) => write!(f, "{count} cases, {failed} not as expected"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.failures.is_empty() {
            true => "as expected",
            false => "FAILED",
        };
        write!(f, "{}:{}: {}: {word}", self.file, self.line, self.name)?;
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  asked     {}\n  expected  {}\n  found     {}",
            self.asked, self.expected, self.found
        )?;
        for explanation in &self.explanations {
            for line in explanation.to_string().lines() {
                write!(f, "\n    {line}")?;
            }
        }
        Ok(())
    }
}
