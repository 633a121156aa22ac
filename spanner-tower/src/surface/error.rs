//! Problems of a surface file.

use std::fmt;
use std::sync::Arc;

use spanner_toml::{Position, Problems, Source};

/// Why a text is not a surface: every problem, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurfaceError {
    surface: Arc<str>,
    problems: Vec<(Position, SurfaceProblem)>,
}

/// One problem of a surface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SurfaceProblem {
    /// Not TOML, or not of the shape of a surface.
    #[error("{0}")]
    Shape(String),
    /// No such dialect.
    #[error("`{0}` is no dialect: write one of {all}", all = super::Dialect::all())]
    Dialect(String),
    /// No such place for a credential.
    #[error("`{0}` is no place for a credential: write one of {all}", all = super::Credential::all())]
    Credential(String),
    /// No such rule for names.
    #[error(
        "`{0}` is no rule for names: `suffix` is `none`, `provider` or `adapter`, `normalizer` is `ollama`, `version_suffix` and `list` are one sign"
    )]
    Names(String),
    /// No HTTP method in capitals, or not `POST` where gRPC demands it.
    #[error("`{0}` is no method for this route")]
    Method(String),
    /// Not a path template.
    #[error("`{path}` is no path template: {reason}")]
    Path {
        /// The text.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No such action.
    #[error("`{0}` is no action of a surface")]
    Action(String),
    /// Not a location, or one that this route cannot have.
    #[error("`{location}` is no location for this route: {reason}")]
    Location {
        /// The text.
        location: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A route lacks the location of its model, or has one that it does not need.
    #[error("a route has `model` if and only if its action is done to something")]
    Model,
    /// Rows for one method and path that do not go together.
    #[error(
        "of several rows for one method and path all but the last say `when` they hold, and they are all gRPC or none is; `public` and `whoami` stand alone"
    )]
    Conditions,
    /// A body that would have to be read in two ways.
    #[error("a body is JSON or a form, or lines, or a git push")]
    Bodies,
    /// No such `on_missing`.
    #[error(
        "`{0}` is no meaning of a missing model: write `default`, `refuse`, `first`, `nothing` or `server:ACTION`"
    )]
    OnMissing(String),
    /// Not a number of bytes.
    #[error("`{0}` is no number of bytes: write one such as `25 MiB` (or `KiB`, `GiB`)")]
    Hold(String),
    /// No such API in the table of reports.
    #[error("`{0}` names no API whose reports are known: write some of {all}", all = super::reports::all())]
    Reports(String),
    /// A place in a surface's own table of reports that is none.
    #[error(
        "a place of `report` is `/pointer`, `/pointer=text`, `header:name`, `event:name` or `pb:1.2`"
    )]
    ReportPlace,
    /// Two routes match the same path, and neither is more exact.
    #[error("`{path}` overlaps with `{other}` of line {line}")]
    Overlap {
        /// The later route.
        path: String,
        /// The earlier route.
        other: String,
        /// The position of the earlier route.
        line: usize,
    },
}

impl SurfaceError {
    /// Problems with their byte offsets.
    pub(super) fn new(source: Source<'_>, mut problems: Vec<(usize, SurfaceProblem)>) -> Self {
        problems.sort_by_key(|(at, _)| *at);
        problems.dedup();
        let problems = problems.into_iter();
        let problems = problems.map(|(at, problem)| (source.position(at), problem));
        Self {
            surface: source.name.into(),
            problems: problems.collect(),
        }
    }

    /// A text that does not have the shape of a surface.
    pub(super) fn shape(source: Source<'_>, problems: &Problems) -> Self {
        let problems = problems.all().iter();
        let problems = problems.map(|problem| {
            let position = problem.position.unwrap_or_else(|| source.position(0));
            let text = format!("{}; {}", problem.what, problem.advice);
            (position, SurfaceProblem::Shape(text))
        });
        Self {
            surface: source.name.into(),
            problems: problems.collect(),
        }
    }

    /// The name that was given to the surface.
    #[must_use]
    pub fn surface(&self) -> &str {
        &self.surface
    }

    /// The problems in the order of the text, each with its position.
    #[must_use]
    pub fn problems(&self) -> &[(Position, SurfaceProblem)] {
        &self.problems
    }
}

impl fmt::Display for SurfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the surface `{}` cannot be used", self.surface)?;
        self.problems
            .iter()
            .try_for_each(|(position, problem)| write!(f, "; {position}: {problem}"))
    }
}

impl std::error::Error for SurfaceError {}
