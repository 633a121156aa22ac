//! From a configuration to the parts of a service, or every problem with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use http::uri::Scheme;
use spanner_admin::operate::FileWatch;
use spanner_admin::{Admin, Promotions, promotions_in};
use spanner_cedar::{Cedar, Existing, PromotedManifests};
use spanner_core::record::Decision;
use spanner_core::{AuditSink, Count, Environment, IssuerAlias, Receipt, SinkFault};
use spanner_ledger::{Ledger, OpenError};
use spanner_toml::{Problem, Problems};
use spanner_tower::bearer::{RevocationError, Revocations};
use spanner_tower::surface::Surface;
use spanner_tower::{
    Bearer, BodyBudget, BuildError, GuardLayer, GuardService, Problem as GuardProblem,
    ProtectedResource, Resolver,
};
use tower_layer::Layer;

use crate::addresses::Addresses;
use crate::client::Trust;
use crate::config::{Config, Unread, UpstreamConfig, read_text};
use crate::dispatch::{Dispatch, Guarded, Route};
use crate::restart::{self, Fixed};
use crate::talk::Talks;
use crate::upstream::Upstream;
use crate::words;
use spanner_core::text::error_chain;

/// A configuration with all that it names: keys can be asked for, the access is in force.
/// Nothing listens and nothing is written yet.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// What the file says.
    pub config: Config,
    pub(crate) bearer: Bearer,
    pub(crate) access: Cedar,
    pub(crate) revocations: Revocations,
    /// The access directory, then the folders of models.
    pub(crate) access_seen: Vec<FileWatch>,
    pub(crate) shadow_seen: Option<FileWatch>,
    pub(crate) revocations_seen: Option<FileWatch>,
    /// Files that are read at start only.
    pub(crate) fixed: Vec<Fixed>,
    pub(crate) talks: Talks,
    bodies: BodyBudget,
    /// One for each upstream whose surfaces go together, made when a dispatch is first built.
    resolvers: OnceLock<Vec<Option<Resolver>>>,
}

/// What all upstreams share.
struct Outside {
    addresses: Addresses,
    trust: Trust,
}

/// The service's name in records.
const SERVICE: &str = "spanner-proxy";

impl Loaded {
    /// Reads a configuration and loads what it names.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn read(file: &Path) -> Result<Self, Problems> {
        let (config, problems) = Config::read(file);
        match config {
            Some(config) => Self::of(config, problems),
            None => Err(problems),
        }
    }

    /// The same, and looks at manifests that would fail alone as well.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn check(file: &Path) -> Result<Self, Problems> {
        let loaded = Self::read(file)?;
        let mut problems = Problems::default();
        let dir = &loaded.config.access;
        for problem in loaded.access.status().broken {
            note(&loaded.config, dir, &problem, &mut problems);
        }
        match problems.is_empty() {
            true => Ok(loaded),
            false => Err(problems),
        }
    }

    /// Loads what a configuration names. `problems` are those that were found when it was read.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn of(config: Config, mut problems: Problems) -> Result<Self, Problems> {
        let revocations = Revocations::new();
        let models = config.models.iter();
        let models = models.map(|dir| FileWatch::before_reading_models(dir));
        let access_seen = std::iter::once(FileWatch::before_reading(&config.access));
        let access_seen = access_seen.chain(models).collect();
        let shadow_seen = config.shadow.as_deref().map(FileWatch::before_reading);
        let fixed = restart::fixed(&config);
        let list = config.revocations.as_deref();
        let revocations_seen = list.map(FileWatch::before_reading);
        let bearer = bearer(&config, &revocations, &mut problems);
        read_revocations(&config, &revocations, &mut problems);
        let access = access(&config, &mut problems);
        check_environments(&config, access.as_ref(), &mut problems);
        check_ledger(&config, &mut problems);
        let (Some(bearer), Some(access)) = (bearer, access) else {
            return Err(problems);
        };
        let loaded = Self {
            bodies: BodyBudget::new(config.limits.held_bytes),
            config,
            bearer,
            access,
            revocations,
            access_seen,
            shadow_seen,
            revocations_seen,
            fixed,
            talks: Talks::default(),
            resolvers: OnceLock::new(),
        };
        if let Err(found) = loaded.unwritten() {
            problems.extend(found);
        }
        check_neighbours(&loaded.config, &mut problems);
        match problems.is_empty() {
            true => Ok(loaded),
            false => Err(problems),
        }
    }

    /// Notes that do not prevent a start: old spellings in the configuration, manifests that nobody
    /// approved and that the ledger would put in force, and names in promoted manifests that no
    /// longer exist.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let hints = self.config.hints.iter().map(ToString::to_string);
        hints.chain(self.promoted()).collect()
    }

    fn promoted(&self) -> Vec<String> {
        let is_new = !self.config.ledger.is_dir();
        let kept = match is_new {
            true => PromotedManifests::default(),
            false => match promotions_read(&self.config.ledger) {
                Ok(kept) => kept,
                // Why the ledger cannot be read is told where it is opened.
                Err(error) => return vec![format!("the promotions cannot be read: {error}")],
            },
        };
        let rules = self.access.promotions().into_iter();
        let new = rules.filter(|rule| {
            rule.existing == Existing::Adopt && !kept.environments.contains(&rule.environment)
        });
        let mut notes: Vec<String> = new
            .map(|rule| {
                let count = self.access.claiming(&rule.environment).len();
                format!(
                    "the ledger has no promotions into `{}`: {count} manifests will be adopted, which nobody approved (`existing = \"refuse\"` puts none in force)",
                    rule.environment
                )
            })
            .collect();
        if let Ok(preview) = self.access.preview(kept) {
            notes.extend(preview.status().void.iter().map(ToString::to_string));
        }
        notes
    }

    /// Where requests would go, as long as nothing is recorded.
    pub(crate) fn unwritten(&self) -> Result<Dispatch, Problems> {
        self.dispatch(&Unwritten)
    }

    /// One guard for each upstream, and one for what is for nobody; all record to one sink.
    pub(crate) fn dispatch<S>(&self, sink: &S) -> Result<Dispatch, Problems>
    where
        S: AuditSink + Clone,
    {
        let mut problems = Problems::default();
        let resolvers = self.resolvers.get_or_init(|| {
            let upstreams = self.config.upstreams.iter();
            let resolvers = upstreams.map(|config| Resolver::new(config.surfaces.clone()).ok());
            resolvers.collect()
        });
        let upstreams = self.config.upstreams.iter().zip(resolvers.iter().cloned());
        let upstreams: Vec<(&UpstreamConfig, Option<Resolver>)> = upstreams.collect();
        let Some(outside) = self.outside(&upstreams, &mut problems) else {
            return Err(problems);
        };
        let doors: Vec<(Route, Guarded)> = upstreams
            .into_iter()
            .filter_map(|(config, resolver)| {
                self.door(config, resolver, &outside, sink, &mut problems)
            })
            .collect();
        let otherwise = doors.first().map(|(_, guarded)| guarded.clone());
        let otherwise = self.otherwise(&outside, sink, &mut problems).or(otherwise);
        match otherwise {
            Some(otherwise) if problems.is_empty() => Ok(Dispatch::new(doors, otherwise)),
            _ => Err(problems),
        }
    }

    /// The administration behind a guard of its own, which records to the same sink.
    pub(crate) fn administration<S>(
        &self,
        promotions: Promotions,
        sink: &S,
    ) -> Result<GuardService<Admin>, Problems>
    where
        S: AuditSink + Clone,
    {
        let mut problems = Problems::default();
        let Some(upstream) = self.config.upstreams.first() else {
            return Err(problems);
        };
        let environment = self.config.environment.as_ref();
        let environment = environment.unwrap_or(&upstream.environment);
        let guard = self.guard(environment, &[spanner_admin::surface()], sink);
        let guarded = guard.map(|guard| guard.layer(Admin::new(promotions)));
        guarded.map_err(|error| {
            self.note(&error, upstream, &mut problems);
            problems
        })
    }

    /// What all upstreams share.
    fn outside(
        &self,
        upstreams: &[(&UpstreamConfig, Option<Resolver>)],
        problems: &mut Problems,
    ) -> Option<Outside> {
        let addresses = Addresses::new(upstreams, self.config.public_origin.as_deref());
        let over_tls = |config: &&UpstreamConfig| config.origin.scheme == Scheme::HTTPS;
        let trust = match self.config.upstreams.iter().find(over_tls) {
            Some(config) => Trust::platform().map_err(|error| {
                let advice = "install the system's certificates (`ca-certificates`)";
                self.config
                    .problem(problems, config.position, error, advice);
            }),
            None => Ok(Trust::nobody()),
        };
        let trust = trust.ok()?;
        Some(Outside { addresses, trust })
    }

    fn door<S>(
        &self,
        config: &UpstreamConfig,
        resolver: Option<Resolver>,
        outside: &Outside,
        sink: &S,
        problems: &mut Problems,
    ) -> Option<(Route, Guarded)>
    where
        S: AuditSink + Clone,
    {
        // What speaks no surface was told of already.
        if config.surfaces.is_empty() {
            return None;
        }
        let guard = self
            .guard(&config.environment, &config.surfaces, sink)
            .map_err(|error| self.note(&error, config, problems));
        let route = Route::new(config, resolver?);
        Some((route, guard.ok()?.layer(self.upstream(config, outside))))
    }

    /// A guard that knows no route: nothing comes through it.
    fn otherwise<S>(&self, outside: &Outside, sink: &S, problems: &mut Problems) -> Option<Guarded>
    where
        S: AuditSink + Clone,
    {
        let config = self.config.upstreams.first()?;
        let environment = self.config.environment.as_ref();
        let environment = environment.unwrap_or(&config.environment);
        let nothing = Surface::from_toml("none", "dialect = \"problem\"\nroutes = []").ok()?;
        let guard = self
            .guard(environment, &[nothing], sink)
            .map_err(|error| self.note(&error, config, problems));
        Some(guard.ok()?.layer(self.upstream(config, outside)))
    }

    fn upstream(&self, config: &UpstreamConfig, outside: &Outside) -> Upstream {
        Upstream::new(
            config.clone(),
            &self.config.limits,
            self.talks.clone(),
            outside.addresses.clone(),
            &outside.trust,
        )
    }

    fn guard<S>(
        &self,
        environment: &Environment,
        surfaces: &[Surface],
        sink: &S,
    ) -> Result<GuardLayer, BuildError>
    where
        S: AuditSink + Clone,
    {
        let mut guard = GuardLayer::builder(self.bearer.clone(), self.access.clone(), sink.clone())
            .service(SERVICE)
            .environment(environment.clone())
            .limits(self.config.limits.of_guard())
            .body_budget(self.bodies.clone())
            .websockets();
        if let Some(instance) = &self.config.instance {
            guard = guard.instance(instance);
        }
        for key in &self.config.asserted_baggage {
            guard = guard.asserted_baggage(key);
        }
        for surface in surfaces {
            guard = guard.surface(surface.clone());
        }
        if let Some(resource) = self.resource() {
            guard = guard.protected_resource(resource);
        }
        guard.build()
    }

    /// What is public of the service, for clients that look for a token (RFC 9728).
    fn resource(&self) -> Option<ProtectedResource> {
        let mut resource = ProtectedResource::new(self.config.public_origin.as_deref()?);
        let mut issuers: Vec<String> = self
            .bearer
            .readiness()
            .into_iter()
            .map(|it| it.url)
            .collect();
        // Who asks about opaque tokens, or vouches for workloads, gives nobody a token here.
        issuers.retain(|url| url.starts_with("http"));
        issuers.dedup();
        for issuer in issuers {
            resource = resource.authorization_server(issuer);
        }
        match self
            .config
            .issuers
            .iter()
            .any(|it| it.allows_http_loopback())
        {
            true => Some(resource.danger_allow_http_loopback()),
            false => Some(resource),
        }
    }

    /// Notes why a guard cannot be built, where that stands.
    fn note(&self, error: &BuildError, config: &UpstreamConfig, problems: &mut Problems) {
        for problem in error.problems() {
            let (place, advice) = match problem {
                GuardProblem::Surfaces(_) => (
                    config.surfaces_at,
                    "give each an upstream of its own, apart by `host` or `path_prefix`",
                ),
                GuardProblem::ProtectedResource(_) => (
                    self.config.positions.public_origin,
                    "write the `https` address that callers know the proxy by",
                ),
                _ => (config.position, "correct the upstream"),
            };
            self.config.problem(problems, place, problem, advice);
        }
    }
}

fn bearer(config: &Config, revocations: &Revocations, problems: &mut Problems) -> Option<Bearer> {
    let mut good = Vec::new();
    for issuer in &config.issuers {
        // Each alone, so that its problems have its position.
        good.extend(issuer.check(problems));
    }
    if good.is_empty() || good.len() < config.issuers.len() {
        return None;
    }
    let built = Bearer::builder()
        .issuers(good)
        .revocations(revocations.clone())
        .build();
    let first = config.issuers.first()?;
    if !problems.is_empty() {
        return built.ok();
    }
    let noted = built.map_err(|error| {
        for problem in error.problems() {
            let advice = "the issuers must be told apart by `url` and `name`";
            config.problem(problems, first.position(), problem, advice);
        }
    });
    noted.ok()
}

/// Reads the list of revocations, if one is configured.
fn read_revocations(config: &Config, revocations: &Revocations, problems: &mut Problems) {
    let Some(file) = &config.revocations else {
        return;
    };
    let text = match read_text(file) {
        Ok(text) => text,
        Err(Unread { what, advice, .. }) => {
            config.problem(problems, config.positions.revocations, what, advice);
            return;
        }
    };
    if let Err(error) = revocations.replace_toml(&text) {
        for problem in revocation_problems(file, &error) {
            problems.push(problem);
        }
    }
}

/// The problems of a list of revocations with the name of its file.
pub(crate) fn revocation_problems(file: &Path, error: &RevocationError) -> Vec<Problem> {
    let file = file.display().to_string();
    match error {
        RevocationError::File(problems) => {
            let problems = problems.all().iter();
            let named = |it: &Problem| Problem::new(&file, it.position, &it.what, &it.advice);
            problems.map(named).collect()
        }
        other => vec![Problem::new(&file, None, other, "correct the list")],
    }
}

/// The access, and beside it the one that is tried out.
fn access(config: &Config, problems: &mut Problems) -> Option<Cedar> {
    let mut is_there = |dir: &Path, place, advice| {
        let missing = no_directory(dir);
        if let Some(what) = &missing {
            config.problem(problems, place, what, advice);
        }
        missing.is_none()
    };
    let advice = "name the access directory with `[access]` and `dir`";
    let is_access = is_there(&config.access, config.positions.access, advice);
    let advice = "name the access directory to try out, or leave `shadow` out";
    let shadow = config.shadow.as_deref();
    let shadow = shadow.filter(|dir| is_there(dir, config.positions.shadow, advice));
    let access = match is_access {
        true => access_in(config, &config.access, problems),
        false => None,
    };
    if let Some(dir) = shadow {
        let candidate = access_in(config, dir, problems);
        if let Some(access) = &access {
            access.shadow(candidate);
        }
    }
    access
}

/// Why there is no directory at a path, if there is none.
#[must_use]
pub fn no_directory(path: &Path) -> Option<String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("`{shown}` is no directory")),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            Some(format!("there is no directory `{shown}`"))
        }
        Err(fault) => Some(format!("the directory `{shown}` cannot be read: {fault}")),
    }
}

/// The file of a problem with an access, as whoever corrects it finds it: those in folders of
/// models carry that folder's name already.
#[must_use]
pub fn file_of(dir: &Path, models: &[PathBuf], file: &str) -> String {
    let is_whole = file == "."
        || Path::new(file) == dir
        || models
            .iter()
            .any(|models| Path::new(file).starts_with(models));
    match (is_whole, file) {
        (true, ".") => dir.display().to_string(),
        (true, _) => file.to_owned(),
        (false, _) => dir.join(file).display().to_string(),
    }
}

fn access_in(config: &Config, dir: &Path, problems: &mut Problems) -> Option<Cedar> {
    let aliases = config.issuers.iter();
    let aliases = aliases.filter_map(|issuer| IssuerAlias::new(issuer.alias()).ok());
    let mut builder = Cedar::builder()
        .issuers(aliases)
        .broken_manifests(config.broken_manifests);
    for models in &config.models {
        builder = builder.models_dir(models);
    }
    for (environment, spelling) in config.spellings() {
        builder = builder.spelling(environment, spelling);
    }
    let loaded = builder.from_dir(dir).map_err(|error| {
        for problem in error.problems() {
            note(config, dir, problem, problems);
        }
    });
    loaded.ok()
}

/// Notes a problem of the access with the whole name of its file.
fn note(config: &Config, dir: &Path, problem: &Problem, problems: &mut Problems) {
    let file = file_of(dir, &config.models, &problem.file);
    let (what, advice) = (&problem.what, &problem.advice);
    problems.push(Problem::new(&file, problem.position, what, advice));
}

/// An environment that the access does not know would refuse everybody.
fn check_environments(config: &Config, access: Option<&Cedar>, problems: &mut Problems) {
    let Some(access) = access else { return };
    let known = access.status().environments;
    for upstream in &config.upstreams {
        if !known.contains(&upstream.environment) {
            let names: Vec<&str> = known.iter().map(Environment::as_str).collect();
            let what = format!(
                "the access knows no environment `{}`",
                upstream.environment.as_str()
            );
            let advice = format!("write one of {}", names.join(", "));
            config.problem(problems, upstream.environment_at, what, advice);
        }
    }
}

/// Upstreams with the same host and prefix are told apart by their routes, so none may be of
/// two.
pub(crate) fn check_neighbours(config: &Config, problems: &mut Problems) {
    let mut earlier: Vec<&UpstreamConfig> = Vec::new();
    for upstream in &config.upstreams {
        let beside = |other: &&&UpstreamConfig| {
            let same =
                |host: &UpstreamConfig| host.host.as_ref().map(|h| h.as_str().to_lowercase());
            same(other) == same(upstream) && other.path_prefix == upstream.path_prefix
        };
        for other in earlier.iter().filter(beside) {
            if let Some(error) = Resolver::common(&other.surfaces, &upstream.surfaces) {
                let line = other.position.line;
                let what = format!("it cannot be told from the upstream of line {line}: {error}");
                let advice = "give one of them a `host` or a `path_prefix`";
                config.problem(problems, upstream.position, what, advice);
            }
        }
        earlier.push(upstream);
    }
}

/// What would keep the ledger from being opened. It is not opened: a service may be writing it.
fn check_ledger(config: &Config, problems: &mut Problems) {
    if let Err(error) = Ledger::check(&config.ledger) {
        let (what, advice) = ledger_words(&error);
        config.problem(problems, config.positions.ledger, what, advice);
    }
}

/// What the promotions of a ledger keep in force. Blocks.
fn promotions_read(dir: &Path) -> Result<PromotedManifests, String> {
    let reader = Ledger::read(dir).map_err(|error| error.to_string())?;
    let read = futures_executor::block_on(promotions_in(reader));
    read.map(|(_, kept)| kept)
        .map_err(|error| error.to_string())
}

/// What keeps a ledger from being opened, and what to do.
pub(crate) fn ledger_words(error: &OpenError) -> (String, String) {
    let advice = match error {
        OpenError::Damaged { dir, source } => {
            let what = format!(
                "the ledger in `{}` is damaged: {}",
                dir.display(),
                error_chain(source)
            );
            let dir = words::line(&dir.display().to_string());
            let advice = format!(
                "look at it with `spanner ledger verify {dir}` and restore it from a copy; to go on without what is lost, `spanner ledger acknowledge {dir} --reason …`"
            );
            return (what, advice);
        }
        OpenError::Locked { .. } => {
            "stop the other process, or give each a ledger of its own with `[ledger]` and `dir`"
        }
        OpenError::Key { .. } => "restore `key` from a copy, or remove it to have a new one",
        OpenError::Io { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => "let the user of this process write there",
            io::ErrorKind::ReadOnlyFilesystem => {
                "name a directory that can be written with `[ledger]` and `dir`"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk",
            // It says so itself.
            io::ErrorKind::InvalidInput => "",
            _ => "correct that, or name another directory with `[ledger]` and `dir`",
        },
        _ => "name its directory with `[ledger]` and `dir`",
    };
    (error_chain(error), advice.to_owned())
}

/// Stands for the ledger while a configuration is only looked at.
#[derive(Clone)]
struct Unwritten;

impl AuditSink for Unwritten {
    fn record(&self, _: Decision) -> Result<Receipt, SinkFault> {
        Err(SinkFault::Closed)
    }

    fn count(&self, _: Count) {}
}
