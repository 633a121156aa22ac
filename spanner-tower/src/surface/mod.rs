//! Model APIs: which method and path does which action on which model.
//!
//! A surface is data. The ones that Spanner ships ([`built_in`]) are TOML
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
//! At the top stand
//!
//! 1. `dialect`: how refusals are written ([`Dialect`]).
//! 2. `credentials`: where callers of this API put their token besides `Authorization:
//!    Bearer` ([`Credential`]).
//! 3. `names`: what the API does with a name: `suffix = "provider"` (who serves it stands
//!    behind a colon and is no part of the name) or `"adapter"` (a further model stands
//!    there), `version_suffix = "@"`, `list = ","` (several names), `strip = ["models/"]`,
//!    `default = ["tgi"]` (texts that mean the server's own), and `normalizer`: `"ollama"` (no
//!    case, `:latest` and the library are the default, `:local` is no part of the name, a name
//!    in the cloud names the model, too, and a digest is refused), `"bedrock"` (an ARN of a
//!    foundation model is its id; an inference profile names its model, too) or `"vertex"` (the
//!    path of a resource). `kinds = { datasets = 1 }` and `path_end = ".git"` are what only paths
//!    put around a name (before one of at least so many parts, and behind it), and what the
//!    routes cut: policies are told to leave it out, and a name that has it still is refused. What a
//!    name is read as, [`Surface::spelling`] tells.
//! 4. `one_model = true`: the server runs one model whatever a request names. Where a
//!    [default model](Surface::default_model) is bound, it is decided too whenever one is
//!    run.
//! 5. `reserved`: `words` that no slot of `slots` can hold, or begin with if it stands for
//!    several segments.
//! 6. `secondary`: as below, for every route that runs a model and looks for its name in a
//!    JSON body.
//! 7. `free`: places in JSON (`json:`, `ws:`, `jsonl:`, `ndjson:`) that the API leaves to its
//!    users, such as a tool's schema or metadata. Places of any depth (`**`) end before them,
//!    whatever the members there are called. `x/*` are all members of `x`: what stands in `x`
//!    itself is still found.
//! 8. `hold`: how much of a body may stand in front of the model's name, where the API takes
//!    more than the guard keeps otherwise ([`Limits::body`](crate::Limits::body)): `"25 MiB"`.
//!    So much is kept of a body that has not named its model yet, bounded by
//!    [`Limits::hold`](crate::Limits::hold); one that has is forwarded.
//! 9. `paths`: texts that `$name` stands for in paths and in `free`, each one of its own.
//! 10. `reports`: the APIs whose answers say what they used and that they failed, by their
//!     names in the table that Spanner ships (`surfaces/reports.toml`), and `report`, a table
//!     of the surface's own. Without either, usage is read wherever a known API says it, and
//!     failures where the dialect's own API does.
//!
//! Then `routes`, each with
//!
//! 1. `method` and `path`, one or several. `{x}` stands for one segment, `{x:enc}` for one
//!    in which `%2F` is a slash of the name, `{x*}` and `{x:enc*}` for one or more; only
//!    literal segments follow these. A slot can have an end: `{x}:predict`. Paths are
//!    compared as they are sent. Where two routes match, the one that is more exact in every
//!    segment rules; where neither is, the surface is refused. `HEAD` takes the row of `GET`.
//! 2. `action`: one of Spanner's actions, or `public` (nobody is asked, only counted) or
//!    `whoami` (every authenticated caller may).
//! 3. `model`: where the name stands; `|` separates alternatives, the first that is there
//!    counts, and the others must not say otherwise. `path:x`, `path:x+y` (joined by `/`),
//!    `path:x~::` (what follows `::`), `query:x`, `header:x`, `json:/pointer` (RFC 6901; `[]`
//!    is every element, `**` any depth, of which only strings count, `x*` every member that
//!    begins so), `json:/a+/b` and `path:x+json:/a` (joined by `/`), `ndjson:/pointer` (in
//!    each line of the body), `form:x` (multipart or URL-encoded), `jsonl:/pointer` (in each
//!    line of the form's `file`), `pb:1` (protobuf field number; nested as `pb:1.2`, repeated
//!    as `pb:1[].2`), `pb-stream:1` (each message of a stream), `ws:/pointer` (each text frame
//!    of a WebSocket), `refs` (what a git push changes), `server` (the one model that the
//!    server has), `none` (the server as a whole), `opaque:kind` (nowhere that can be read:
//!    refused).
//! 4. `version`: where the model's revision stands.
//! 5. `secondary`: further places that name models; all named must be allowed. With
//!    `opaque:json:/pointer` (or `ws:`, `jsonl:`) a member that leads to something unknown is
//!    refused.
//! 6. `same`: places that repeat the model, and are refused if they name another.
//! 7. `also`: further pairs, each with `action`, and `model` and `version` if they are others;
//!    with `when` (any of several) only where it holds; with `foreign = true` something that
//!    is no model's name stands for the server as a whole.
//! 8. `when`: several rows can have the same method and path; the first whose conditions hold
//!    counts. A condition is a place (there and not empty), `!place`, `place=text`,
//!    `place=begin*` or `place==0` (a number or a duration of nothing), several joined by
//!    ` & `. A row without conditions stands last, and does not take requests whose query says
//!    something else where a condition asks it.
//! 9. `on_missing`: what a request without a name means: `default` (the surface's default
//!    model, otherwise refused), `refuse`, `first` (the model of the stream's first
//!    message), `nothing`, or `server:ACTION` (that action on the server as a whole).
//! 10. `dialect`, `reports` and `hold`, where a route's are others than the surface's.
//! 11. `grpc = true` for a gRPC method, `POST /package.Service/Method`.
//!
//! A table of reports (`[report]`) lists places for each of: `tokens_in`, `tokens_out`,
//! `tokens_total`, `tokens_cached`, `tokens_cache_written`, `tokens_reasoning`,
//! `tokens_tools`, `search_units` (the members of a record's outcome; the first place that
//! holds a number counts), `served` (the model that answered), `failed` (a failure if there
//! is anything but null, false, zero or an empty value), `stream_failed` (the same, but only
//! in a message of a stream) and `error_type` (what the failure is called). A place is
//! `/pointer` into each JSON document of the answer (`[]` is every element), `/pointer=text`,
//! `header:name`, `event:name` (of `text/event-stream`) or `pb:1.2` (a field of each gRPC
//! message).
//!
//! # Several surfaces of one server
//! A server that serves several APIs has several surfaces, in an order: that of the server
//! itself first. Where two have the same route, the first says what it does and how names are
//! read, and what the others would read there is read as well: every model that any of them
//! finds must be allowed, and where they do different things, both must be. Where two routes
//! match a path and neither is more exact, the first counts. A path that is open in one and
//! guarded in another keeps them apart.

mod compile;
mod credential;
mod dialect;
mod error;
mod file;
mod join;
mod location;
mod names;
mod registry;
mod reports;
mod route;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use spanner_core::{ModelName, Spelling};

pub(crate) use compile::is_run;
pub use credential::Credential;
pub use dialect::Dialect;
pub use error::{Problem, SurfaceError};
pub(crate) use location::{Condition, FieldPath, FieldStep, Location, Place, Step, Test, Want};
pub(crate) use names::Names;
pub use registry::{built_in, named, open_inference, openai};
pub(crate) use reports::{Reports, Source, Topic};
pub(crate) use route::{Guarded, OnMissing, Route, Rule, Touch, Touches, Wanted};
pub(crate) use template::{Overlap, SlotValue};

/// One model API. Cheap to clone.
#[derive(Clone)]
pub struct Surface {
    name: Arc<str>,
    dialect: Dialect,
    credentials: Arc<[Credential]>,
    names: Arc<Names>,
    one_model: bool,
    routes: Arc<[Arc<Route>]>,
    default_model: Option<ModelName>,
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

    /// How it reads models' names; `None` if none of its routes has one. Policies about a name
    /// that it reads as another would not hold.
    #[must_use]
    pub fn spelling(&self) -> Option<Spelling> {
        let names_a_model = |route: &Arc<Route>| match &route.rule {
            Rule::Guarded(guarded) => guarded.rules.iter().any(|rule| {
                let places = rule.main.model.iter();
                let mut places = places.chain(rule.also.iter().flat_map(|also| &also.model));
                places.any(|place| !matches!(place, Location::Server))
            }),
            Rule::Public | Rule::Whoami => false,
        };
        if !self.routes.iter().any(names_a_model) {
            return None;
        }
        let (names, bound) = (Arc::clone(&self.names), self.default_model.clone());
        let rules = format!("{names:?} {bound:?}");
        let read = move |name: &ModelName| names.spelled(name, bound.as_ref());
        Some(Spelling::new(Arc::clone(&self.name), rules, read))
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

    /// Where callers put their token besides `Authorization: Bearer`.
    #[must_use]
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) const fn has_one_model(&self) -> bool {
        self.one_model
    }

    /// The routes of several surfaces under one name; what else a surface says is the
    /// first's.
    pub(crate) fn join(name: &str, first: &Self, others: &[&Self]) -> Self {
        let others = others.iter().flat_map(|other| other.routes.iter());
        Self {
            name: name.into(),
            routes: first.routes.iter().chain(others).cloned().collect(),
            ..first.clone()
        }
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
