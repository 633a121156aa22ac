//! The target of a request.

use std::fmt;

use crate::action::Action;
use crate::name::{ModelName, Revision};

/// The resource of an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Resource {
    /// One model, at a revision if the request names one.
    Model {
        /// Its name.
        name: ModelName,
        /// The requested revision; `None` is the default revision.
        revision: Option<Revision>,
    },
    /// The server or catalogue as a whole: `list` without a name, server settings.
    Server,
}

impl Resource {
    /// A model at its default revision.
    #[must_use]
    pub const fn model(name: ModelName) -> Self {
        Self::Model {
            name,
            revision: None,
        }
    }

    /// The model's name, if this is one.
    #[must_use]
    pub const fn name(&self) -> Option<&ModelName> {
        match self {
            Self::Model { name, .. } => Some(name),
            Self::Server => None,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model {
                name,
                revision: None,
            } => write!(f, "{name}"),
            Self::Model {
                name,
                revision: Some(revision),
            } => write!(f, "{name}@{revision}"),
            Self::Server => f.write_str("the server"),
        }
    }
}

/// One action on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Pair {
    /// The action.
    pub action: Action,
    /// The resource.
    pub resource: Resource,
}

impl Pair {
    /// An action on a resource.
    #[must_use]
    pub const fn new(action: Action, resource: Resource) -> Self {
        Self { action, resource }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.resource)
    }
}

/// Everything that one request concerns: a set of pairs, never empty. All of them must be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pairs: Vec<Pair>,
}

impl Target {
    /// Pairs that one request may have (batches, fallbacks). The reason for the number: a
    /// decision is recorded pair by pair, and no client was seen to send more than a
    /// dozen.
    pub const MAX_PAIRS: usize = 64;

    /// A target of one pair.
    #[must_use]
    pub fn one(action: Action, resource: Resource) -> Self {
        Self {
            pairs: vec![Pair::new(action, resource)],
        }
    }

    /// A target of several pairs; repeated ones count once. `None` if there are none, or
    /// more than [`Target::MAX_PAIRS`].
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = Pair>) -> Option<Self> {
        let mut distinct: Vec<Pair> = Vec::new();
        for pair in pairs {
            if distinct.contains(&pair) {
                continue;
            }
            if distinct.len() == Self::MAX_PAIRS {
                return None;
            }
            distinct.push(pair);
        }
        (!distinct.is_empty()).then_some(Self { pairs: distinct })
    }

    /// The pairs, in the order in which the request names them.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }
}
