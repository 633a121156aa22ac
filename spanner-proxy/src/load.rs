//! Loads what a configuration names, and reports every problem with it.

use std::io;
use std::path::Path;
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
use crate::config::{Config, Unread, UpstreamConfig, read_text};
use crate::dispatch::{Dispatch, Guarded, Route};
use crate::paths::{missing_directory, problem_file};
use crate::startup_files::{self, StartupFile};
use crate::upstream::Upstream;
use crate::upstream_pool::TlsRoots;
use crate::websocket::WebSocketRelays;
use spanner_core::text::error_chain;

/// A configuration with everything that it names: issuers, access, revocations. Nothing listens and
/// nothing is written yet.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    pub(crate) bearer: Bearer,
    pub(crate) access: Cedar,
    pub(crate) revocations: Revocations,
    /// Watches of the access directory and of the folders of models.
    pub(crate) access_seen: Vec<FileWatch>,
    pub(crate) shadow_seen: Option<FileWatch>,
    pub(crate) revocations_seen: Option<FileWatch>,
    /// Files that are read only at start.
    pub(crate) startup_files: Vec<StartupFile>,
    pub(crate) relays: WebSocketRelays,
    bodies: BodyBudget,
    /// One per upstream whose surfaces do not conflict, built with the first dispatch.
    resolvers: OnceLock<Vec<Option<Resolver>>>,
}

/// What all upstreams share.
struct SharedByUpstreams {
    addresses: Addresses,
    trust: TlsRoots,
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

    /// Reads a configuration as [`read`](Self::read) does, and also reports broken manifests that a
    /// running service would skip.
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

    /// Loads what a configuration names. `problems` are those of reading it.
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
        let startup_files = startup_files::of(&config);
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
            startup_files,
            relays: WebSocketRelays::default(),
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
                // Opening the ledger reports why it cannot be read.
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

    /// The dispatch of a configuration that is only checked: nothing is recorded.
    pub(crate) fn unwritten(&self) -> Result<Dispatch, Problems> {
        self.dispatch(&NoLedger)
    }

    /// One guard per upstream, and one for requests without an upstream. All record to one sink.
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
        let Some(shared) = self.shared(&upstreams, &mut problems) else {
            return Err(problems);
        };
        let routes: Vec<(Route, Guarded)> = upstreams
            .into_iter()
            .filter_map(|(config, resolver)| {
                self.guarded(config, resolver, &shared, sink, &mut problems)
            })
            .collect();
        let otherwise = routes.first().map(|(_, guarded)| guarded.clone());
        let otherwise = self.otherwise(&shared, sink, &mut problems).or(otherwise);
        match otherwise {
            Some(otherwise) if problems.is_empty() => Ok(Dispatch::new(routes, otherwise)),
            _ => Err(problems),
        }
    }

    /// The administration API behind a guard of its own, which records to the same sink.
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
            self.report(&error, upstream, &mut problems);
            problems
        })
    }

    /// What all upstreams share.
    fn shared(
        &self,
        upstreams: &[(&UpstreamConfig, Option<Resolver>)],
        problems: &mut Problems,
    ) -> Option<SharedByUpstreams> {
        let addresses = Addresses::new(upstreams, self.config.public_origin.as_deref());
        let over_tls = |config: &&UpstreamConfig| config.origin.scheme == Scheme::HTTPS;
        let trust = match self.config.upstreams.iter().find(over_tls) {
            Some(config) => TlsRoots::platform().map_err(|error| {
                let advice = "install the system's certificates (`ca-certificates`)";
                self.config
                    .problem(problems, config.position, error, advice);
            }),
            None => Ok(TlsRoots::none()),
        };
        let trust = trust.ok()?;
        Some(SharedByUpstreams { addresses, trust })
    }

    /// An upstream behind its guard, with its route.
    fn guarded<S>(
        &self,
        config: &UpstreamConfig,
        resolver: Option<Resolver>,
        shared: &SharedByUpstreams,
        sink: &S,
        problems: &mut Problems,
    ) -> Option<(Route, Guarded)>
    where
        S: AuditSink + Clone,
    {
        // An upstream without a surface was reported when the configuration was read.
        if config.surfaces.is_empty() {
            return None;
        }
        let guard = self
            .guard(&config.environment, &config.surfaces, sink)
            .map_err(|error| self.report(&error, config, problems));
        let route = Route::new(config, resolver?);
        Some((route, guard.ok()?.layer(self.upstream(config, shared))))
    }

    /// A guard without routes, for requests without an upstream: it refuses every request.
    fn otherwise<S>(
        &self,
        shared: &SharedByUpstreams,
        sink: &S,
        problems: &mut Problems,
    ) -> Option<Guarded>
    where
        S: AuditSink + Clone,
    {
        let config = self.config.upstreams.first()?;
        let environment = self.config.environment.as_ref();
        let environment = environment.unwrap_or(&config.environment);
        let nothing = Surface::from_toml("none", "dialect = \"problem\"\nroutes = []").ok()?;
        let guard = self
            .guard(environment, &[nothing], sink)
            .map_err(|error| self.report(&error, config, problems));
        Some(guard.ok()?.layer(self.upstream(config, shared)))
    }

    fn upstream(&self, config: &UpstreamConfig, shared: &SharedByUpstreams) -> Upstream {
        Upstream::new(
            config.clone(),
            &self.config.limits,
            self.relays.clone(),
            shared.addresses.clone(),
            &shared.trust,
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

    /// The protected resource metadata (RFC 9728), which tells clients where to get a token.
    fn resource(&self) -> Option<ProtectedResource> {
        let mut resource = ProtectedResource::new(self.config.public_origin.as_deref()?);
        let mut issuers: Vec<String> = self
            .bearer
            .readiness()
            .into_iter()
            .map(|it| it.url)
            .collect();
        // Introspection endpoints and trust domains issue no tokens to clients.
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

    /// Reports why a guard cannot be built, at its position in the file.
    fn report(&self, error: &BuildError, config: &UpstreamConfig, problems: &mut Problems) {
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
        // Each issuer is checked alone, so that its problems have its position.
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

/// The problems of a list of revocations, with the path of its file.
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

/// The access, with the candidate beside it.
fn access(config: &Config, problems: &mut Problems) -> Option<Cedar> {
    let mut is_there = |dir: &Path, place, advice| {
        let missing = missing_directory(dir);
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

/// Reports a problem of the access with the complete path of its file.
fn note(config: &Config, dir: &Path, problem: &Problem, problems: &mut Problems) {
    let file = problem_file(dir, &config.models, &problem.file);
    let (what, advice) = (&problem.what, &problem.advice);
    problems.push(Problem::new(&file, problem.position, what, advice));
}

/// Reports environments that the access does not know: they would refuse every caller.
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

/// Reports upstreams with the same host and prefix that have a route in common.
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

/// Reports what would prevent the ledger from being opened. It is not opened, since a service may be
/// writing it.
fn check_ledger(config: &Config, problems: &mut Problems) {
    if let Err(error) = Ledger::check(&config.ledger) {
        let (what, advice) = ledger_problem(&error);
        config.problem(problems, config.positions.ledger, what, advice);
    }
}

/// The promoted manifests of a ledger. Blocks.
fn promotions_read(dir: &Path) -> Result<PromotedManifests, String> {
    let reader = Ledger::read(dir).map_err(|error| error.to_string())?;
    let read = futures_executor::block_on(promotions_in(reader));
    read.map(|(_, kept)| kept)
        .map_err(|error| error.to_string())
}

/// Why a ledger cannot be opened, and what to do about it.
pub(crate) fn ledger_problem(error: &OpenError) -> (String, String) {
    let advice = match error {
        OpenError::Damaged { dir, source } => {
            let what = format!(
                "the ledger in `{}` is damaged: {}",
                dir.display(),
                error_chain(source)
            );
            let dir = spanner_toml::line(&dir.display().to_string());
            let advice = format!(
                "examine it with `spanner ledger verify {dir}` and restore it from a copy; to continue without the lost entries, `spanner ledger acknowledge {dir} --reason …`"
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
            // The error has its own advice.
            io::ErrorKind::InvalidInput => "",
            _ => "correct that, or name another directory with `[ledger]` and `dir`",
        },
        _ => "name its directory with `[ledger]` and `dir`",
    };
    (error_chain(error), advice.to_owned())
}

/// Replaces the ledger while a configuration is only checked.
#[derive(Clone)]
struct NoLedger;

impl AuditSink for NoLedger {
    fn record(&self, _: Decision) -> Result<Receipt, SinkFault> {
        Err(SinkFault::Closed)
    }

    fn count(&self, _: Count) {}
}
