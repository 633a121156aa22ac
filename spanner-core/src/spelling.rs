//! How a model API reads the names that callers send.

use std::fmt;
use std::sync::Arc;

use crate::name::ModelName;

/// How one surface reads the name of a model.
///
/// An API may not tell names apart: Ollama ignores case and takes `gemma3:latest` for `gemma3`.
/// Decisions are about the name as the API reads it, so a policy about another spelling of it
/// never applies. Whoever loads policies compares the names in them with [`Spelling::read`].
#[derive(Clone)]
pub struct Spelling {
    surface: Arc<str>,
    rules: Arc<str>,
    read: Arc<Read>,
}

type Read = dyn Fn(&ModelName) -> Vec<ModelName> + Send + Sync;

impl Spelling {
    /// The spelling of a surface. `rules` tells it from another one of the same surface's name;
    /// `read` is what [`Spelling::read`] answers.
    pub fn new(
        surface: impl Into<Arc<str>>,
        rules: impl Into<Arc<str>>,
        read: impl Fn(&ModelName) -> Vec<ModelName> + Send + Sync + 'static,
    ) -> Self {
        Self {
            surface: surface.into(),
            rules: rules.into(),
            read: Arc::new(read),
        }
    }

    /// The surface's name.
    #[must_use]
    pub fn surface(&self) -> &str {
        &self.surface
    }

    /// The models that a request with this name is about; none if no request can have it.
    #[must_use]
    pub fn read(&self, name: &ModelName) -> Vec<ModelName> {
        (self.read)(name)
    }

    /// Whether a request with this name is about a model of exactly this name.
    #[must_use]
    pub fn keeps(&self, name: &ModelName) -> bool {
        self.read(name).contains(name)
    }
}

impl PartialEq for Spelling {
    /// Whether the surface and the rules are the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.surface, &self.rules) == (&other.surface, &other.rules)
    }
}

impl Eq for Spelling {}

impl fmt::Debug for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spelling")
            .field("surface", &self.surface)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
