//! Model APIs: which method and path does which action on which model.
//!
//! A surface is data. The ones that Spanner ships ([`openai`], [`open_inference`]) are TOML
//! files in the same format that a team writes for an API of its own
//! ([`Surface::from_toml`]):
//!
//! ```
//! # fn main() -> Result<(), spanner_tower::surface::SurfaceError> {
//! use spanner_tower::surface::Surface;
//!
//! let surface = Surface::from_toml("scores", r#"
//!     dialect = "problem"
//!     [[routes]]
//!     method = "POST"
//!     path = "/score/{model}"
//!     action = "predict"
//!     model = "path:model"
//! "#)?;
//! assert_eq!(surface.name(), "scores");
//!
//! let error = Surface::from_toml("scores", r#"
//!     dialect = "problem"
//!     [[routes]]
//!     method = "POST"
//!     path = "/score/{model}"
//!     action = "run"
//!     model = "path:name"
//! "#).unwrap_err();
//! assert_eq!(error.problems().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # The format
//! At the top: `dialect` (how refusals are written: `openai`, `open-inference` or
//! `problem`) and, if the API has such members everywhere, `secondary` (below), which then
//! holds for every route that looks for its model in a JSON body. Then `routes`, each with
//!
//! 1. `method` and `path`. `{x}` stands for one segment, `{x:enc}` for one in which `%2F`
//!    is a slash of the name, `{x*}` (last) for one or more. Paths are compared as they
//!    are sent. Where two routes match, the one that is more exact in every segment rules;
//!    where neither is, the surface is refused. `HEAD` takes the row of `GET`.
//! 2. `action`: one of Spanner's actions, or `public` (nobody is asked, only counted) or
//!    `whoami` (every authenticated caller may).
//! 3. `model`: where the name stands; `|` separates alternatives, the first that is there
//!    counts. `path:x`, `path:x+y` (joined by `/`), `query:x`, `json:/pointer` (RFC 6901;
//!    `[]` is every element, `**` any depth, of which only strings count), `pb:1` (protobuf
//!    field number, nested as `pb:1.2`), `pb-stream:1` (each message of a stream),
//!    `server` or `none` (no model: the server as a whole).
//!    `form:x`, `header:x`, `ws:…`, `jsonl:…` and `opaque:…` are understood and not read:
//!    a request that would need them is refused with `request.opaque`.
//! 4. `version`: where the model's revision stands.
//! 5. `secondary`: further places that name models; all named must be allowed. With
//!    `opaque:json:/pointer` a member that leads to something unknown is refused.
//! 6. `also`: further pairs, each with `action` and `model`.
//! 7. `on_missing`: what a request without a name means: `default` (the surface's
//!    [default model](Surface::default_model), otherwise refused), `refuse`, or
//!    `server:ACTION` (that action on the server as a whole).
//! 8. `grpc = true` for a gRPC method, `POST /package.Service/Method`.

mod error;
mod file;
mod location;
mod route;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, LazyLock};

use spanner_core::ModelName;

pub use error::{Problem, SurfaceError};
pub(crate) use location::{Location, Place, Step, Want};
pub(crate) use route::{BodyKind, Guarded, OnMissing, Route, Rule, Touch};
pub(crate) use template::{Held, Overlap};

/// One model API. Cheap to clone.
#[derive(Clone)]
pub struct Surface {
    name: Arc<str>,
    dialect: Dialect,
    routes: Arc<[Arc<Route>]>,
    default_model: Option<ModelName>,
}

/// How an API writes its errors, so that its official clients show the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// `{"error": {"message", "type", "code"}}`.
    OpenAi,
    /// `{"error": "…"}`.
    OpenInference,
    /// `application/problem+json` (RFC 9457).
    Problem,
}

impl Surface {
    /// Reads a surface from TOML; the [module](self) describes the format. The name goes
    /// into records.
    ///
    /// # Errors
    /// [`SurfaceError`] with every problem found: overlapping routes, unknown actions,
    /// impossible locations. A text that is no TOML of this shape has one.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, SurfaceError> {
        file::read(name, text)
    }

    /// Binds what a request means that names no model, as on a server that has only one.
    /// Default: such requests are refused with `request.no_model`.
    ///
    /// # Security
    /// The decision is about this name. It must be the model that the server runs.
    #[must_use]
    pub fn default_model(mut self, model: ModelName) -> Self {
        self.default_model = Some(model);
        self
    }

    /// The name, as records carry it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How refusals are written.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(crate) fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    pub(crate) const fn bound_model(&self) -> Option<&ModelName> {
        self.default_model.as_ref()
    }
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surface")
            .field("name", &self.name)
            .field("dialect", &self.dialect)
            .field("routes", &self.routes.len())
            .field("default_model", &self.default_model)
            .finish()
    }
}

/// The OpenAI API, as OpenAI, vLLM and most gateways serve it under `/v1`.
///
/// Routes whose model cannot be told from the request (uploads by form, WebSockets, stored
/// responses, files, batches, jobs) are known and refused.
#[must_use]
pub fn openai() -> Surface {
    OPENAI.clone()
}

/// The Open Inference Protocol v2 (KServe, Triton), REST and gRPC.
///
/// Each message of `ModelStreamInfer` is decided by the model that it names.
#[must_use]
pub fn open_inference() -> Surface {
    OPEN_INFERENCE.clone()
}

static OPENAI: LazyLock<Surface> =
    LazyLock::new(|| embedded("openai", include_str!("../../surfaces/openai.toml")));

static OPEN_INFERENCE: LazyLock<Surface> = LazyLock::new(|| {
    embedded(
        "open-inference",
        include_str!("../../surfaces/open-inference.toml"),
    )
});

#[expect(
    clippy::expect_used,
    reason = "the embedded files are read by this crate's tests"
)]
fn embedded(name: &str, text: &str) -> Surface {
    Surface::from_toml(name, text).expect("an embedded surface is well-formed")
}
