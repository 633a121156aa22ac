//! How a model API reads model names.

use std::fmt;
use std::sync::Arc;

use crate::name::ModelName;

/// How one surface reads the name of a model.
///
/// An API may treat different names as the same: Ollama ignores case and reads `gemma3:latest` as
/// `gemma3`. Decisions use the name as the API reads it, so a policy about another spelling never
/// applies. An authorizer compares the names in its policies with [`Spelling::read`].
#[derive(Clone)]
pub struct Spelling {
    surface: Arc<str>,
    rules: Arc<str>,
    read: Arc<Read>,
}

type Read = dyn Fn(&ModelName) -> Vec<ModelName> + Send + Sync;

impl Spelling {
    /// The spelling of a surface. `rules` distinguishes it from another one with the same surface
    /// name; `read` implements [`Spelling::read`].
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

    /// The models that a request with this name concerns; empty if no request can have the name.
    #[must_use]
    pub fn read(&self, name: &ModelName) -> Vec<ModelName> {
        (self.read)(name)
    }

    /// Whether a request with this name concerns a model of exactly this name.
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
