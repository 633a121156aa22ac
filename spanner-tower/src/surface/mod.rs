//! Model APIs: which method and path does which action on which model.
//!
//! A surface is data. Those that Spanner ships ([`built_in`]) are TOML files in the format that a
//! team uses for an API of its own ([`Surface::from_toml`]):
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
//! Top-level keys:
//!
//! 1. `dialect`: how refusals are written ([`Dialect`]).
//! 2. `credentials`: where callers of this API put their token, besides `Authorization: Bearer`
//!    ([`Credential`]).
//! 3. `names`: how the API reads a model's name.
//!    - `suffix`: what follows a colon. `"provider"` is the server of the model and not part of
//!      its name; `"adapter"` is a second model.
//!    - `version_suffix = "@"`: what separates a name from a version.
//!    - `list = ","`: what separates several names.
//!    - `strip = ["models/"]`: prefixes that are not part of the name.
//!    - `default = ["tgi"]`: texts that mean the server's own model.
//!    - `normalizer`: `"ollama"` (case, `:latest`, `:local` and the default library do not
//!      distinguish names; a name in the cloud also names the model; a digest is refused),
//!      `"bedrock"` (the ARN of a foundation model is its id; an inference profile also names its
//!      model) or `"vertex"` (names are resource paths).
//!    - `kinds = { datasets = 1 }` and `path_end = ".git"`: a prefix and a suffix that only paths
//!      have, which routes remove. The number is how many parts the name has at least. A policy
//!      that contains them is a problem, and so is a request whose name still has them.
//!
//!    [`Surface::spelling`] tells how a given name is read.
//! 4. `one_model = true`: the server runs one model, whatever a request names. If a
//!    [default model](Surface::default_model) is set, it is also decided whenever a model runs.
//! 5. `reserved`: the `words` that no slot of `slots` can match. A slot for several segments
//!    cannot begin with them.
//! 6. `secondary`: as in a route, for every route that runs a model and reads its name from a
//!    JSON body.
//! 7. `free`: places in JSON (`json:`, `ws:`, `jsonl:`, `ndjson:`) that the API leaves to its
//!    users, such as a tool's schema or metadata. Places of any depth (`**`) do not look into
//!    them. `x/*` means all members of `x`, but not `x` itself.
//! 8. `hold`: how much of a body may precede the model's name, where the API needs more than
//!    [`Limits::body`](crate::Limits::body): `"25 MiB"`. The guard buffers that much until the
//!    model is named, at most [`Limits::hold`](crate::Limits::hold), and then forwards.
//! 9. `paths`: texts that replace `$name` in paths and in `free`. Each text gives a path of its
//!    own.
//! 10. `reports`: the APIs, by their names in `surfaces/reports.toml`, whose responses report usage
//!     and failures in the way of this API. `report` is a table of the surface's own. Without
//!     either, usage is read wherever a known API reports it, and failures where the API of the
//!     dialect does.
//!
//! Each entry of `routes` has:
//!
//! 1. `method` and `path`, one or several. `{x}` matches one segment, `{x:enc}` one in which `%2F`
//!    is a slash of the name, `{x*}` and `{x:enc*}` one or more segments; only literal segments
//!    can follow these. A slot can have a fixed end: `{x}:predict`. Paths are compared as they were
//!    sent. If two routes match, the one that is more exact in every segment counts; if neither is,
//!    the surface is refused. `HEAD` takes the route of `GET`.
//! 2. `action`: an action of Spanner, or `public` (nobody is asked, requests are only counted), or
//!    `whoami` (every authenticated caller may).
//! 3. `model`: where the name is. `|` separates alternatives: the first that is present counts,
//!    and the others must agree. The kinds of places are:
//!    `path:x`, `path:x+y` (joined by `/`), `path:x~::` (what follows `::`), `query:x`, `header:x`,
//!    `json:/pointer` (RFC 6901; `[]` is every element, `**` any depth, of which only strings
//!    count, `x*` every member that begins with `x`), `json:/a+/b` and `path:x+json:/a` (joined by
//!    `/`), `ndjson:/pointer` (in each line of the body), `form:x` (multipart or URL-encoded),
//!    `jsonl:/pointer` (in each line of the form's `file`), `pb:1` (protobuf field number; nested
//!    as `pb:1.2`, repeated as `pb:1[].2`), `pb-stream:1` (each message of a stream), `ws:/pointer`
//!    (each text frame of a WebSocket), `refs` (the references that a git push updates), `server`
//!    (the only model of the server), `none` (the server as a whole), `opaque:kind` (it cannot be
//!    read: refused).
//! 4. `version`: where the model's revision is.
//! 5. `secondary`: further places that name models; all of them must be allowed. With
//!    `opaque:json:/pointer` (or `ws:`, `jsonl:`), a request that has the member is refused.
//! 6. `same`: places that repeat the model; a request that names another model there is refused.
//! 7. `also`: further pairs, each with an `action`, and with `model` and `version` if they differ
//!    from the route's. With `when`, only if one of the conditions holds. With `foreign = true`, a
//!    text that is not a model's name means the server as a whole.
//! 8. `when`: several routes can have the same method and path; the first whose conditions hold
//!    counts. A condition is a place (present and not empty), `!place`, `place=text`,
//!    `place=begin*` or `place==0` (a number or duration of zero); ` & ` joins several. The route
//!    without conditions comes last. It does not take a request whose query contradicts a
//!    condition.
//! 9. `on_missing`: what a request without a name means: `default` (the surface's default model,
//!    otherwise refused), `refuse`, `first` (the model of the stream's first message), `nothing`,
//!    or `server:ACTION` (that action on the server as a whole).
//! 10. `dialect`, `reports` and `hold`, if they differ from the surface's.
//! 11. `grpc = true` for a gRPC method, `POST /package.Service/Method`.
//!
//! A table of reports (`[report]`) lists places for each of `tokens_in`, `tokens_out`,
//! `tokens_total`, `tokens_cached`, `tokens_cache_written`, `tokens_reasoning`, `tokens_tools` and
//! `search_units` (members of the outcome in the record; the first place that holds a number
//! counts), `served` (the model that answered), `failed` (the request failed, unless the value is
//! null, false, zero or empty), `stream_failed` (the same, in messages of a stream only) and
//! `error_type` (the name of the failure). A place is `/pointer` into each JSON document of the
//! response (`[]` is every element), `/pointer=text`, `header:name`, `event:name` (of
//! `text/event-stream`) or `pb:1.2` (a field of each gRPC message).
//!
//! # Several surfaces of one server
//! A server that speaks several APIs has several surfaces, its own API first. If two surfaces have
//! the same route, the first defines the action and how names are read. What the other would read
//! is read as well: every model that either finds must be allowed, and if their actions differ,
//! both actions. If two routes match a path and neither is more exact, the route of the first
//! surface counts. Two surfaces cannot be combined if a path is open in one and guarded in the
//! other.

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
mod row;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use spanner_core::{ModelName, Spelling};

pub(crate) use compile::is_run;
pub use credential::Credential;
pub use dialect::Dialect;
pub use error::{SurfaceError, SurfaceProblem};
pub(crate) use location::{Condition, FieldPath, FieldStep, JsonPath, Location, Step, Test, Want};
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

    /// Sets the model of requests that name none, as on a server that has only one model.
    /// Default: such requests are refused with `request.no_model`.
    ///
    /// # Security
    /// The decision is about this name. It must be the model that the server runs.
    #[must_use]
    pub fn default_model(mut self, model: ModelName) -> Self {
        self.default_model = Some(model);
        self
    }

    /// How the surface reads models' names; `None` if none of its routes has one. A policy about a
    /// name that the surface reads as another name would never apply.
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

    /// The routes of several surfaces under one name. Everything else is taken from the first.
    pub(crate) fn join(name: &str, first: &Self, others: &[Self]) -> Self {
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
