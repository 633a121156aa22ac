//! Builds a guard.

use std::fmt;
use std::sync::Arc;

use spanner_core::record::Enforcement;
use spanner_core::{AuditSink, Authorize, Environment, Gate, Host, ModelName};

use super::answer::Realm;
use super::exempt::Exempt;
use super::layer::GuardLayer;
use super::resource::{ProtectedResource, Published};
use super::service::Guard;
use super::shared::Shared;
use crate::authenticate::Authenticate;
use crate::host::SystemHost;
use crate::resolve::{Limits, Routes};
use crate::shares::{BodyBudget, Shares};
use crate::surface::Surface;

/// Collects what a [`GuardLayer`] needs; see [`GuardLayer::builder`].
#[must_use = "a builder is nothing until it is built"]
pub struct GuardBuilder {
    callers: Box<dyn Authenticate>,
    access: Arc<dyn Authorize>,
    ledger: Arc<dyn AuditSink>,
    host: Arc<dyn Host>,
    service: String,
    instance: Option<String>,
    baggage: Vec<String>,
    environment: Option<Environment>,
    surfaces: Vec<Surface>,
    exempt: Vec<String>,
    limits: Limits,
    budget: Option<BodyBudget>,
    realm: Realm,
    unaudited: bool,
    websockets: bool,
    resource: Option<ProtectedResource>,
}

impl GuardBuilder {
    pub(super) fn new(
        callers: impl Authenticate,
        access: impl Authorize,
        ledger: impl AuditSink,
    ) -> Self {
        Self {
            callers: Box::new(callers),
            access: Arc::new(access),
            ledger: Arc::new(ledger),
            host: Arc::new(SystemHost),
            service: "spanner".to_owned(),
            instance: None,
            baggage: Vec::new(),
            environment: None,
            surfaces: Vec::new(),
            exempt: Vec::new(),
            limits: Limits::default(),
            budget: None,
            realm: Realm {
                name: "spanner".to_owned(),
                metadata: None,
                proof_algorithms: None,
            },
            unaudited: false,
            websockets: false,
            resource: None,
        }
    }

    /// The environment whose access applies. Required.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Adds a model API that the service offers. At least one is required. A method and path
    /// that no surface knows is refused.
    pub fn surface(mut self, surface: Surface) -> Self {
        self.surfaces.push(surface);
        self
    }

    /// The service's name in records. Default: `spanner`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// The name of this process in records, such as a host or pod name. Default: none.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Keeps the W3C Baggage member with this key in records as *asserted*: it is the client's
    /// unverified claim and affects no decision. Default: no member, because clients can put
    /// anything into baggage.
    pub fn asserted_baggage(mut self, key: impl Into<String>) -> Self {
        self.baggage.push(key.into());
        self
    }

    /// The realm of challenges (RFC 9110 §11.5). Default: `spanner`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm.name = realm.into();
        self
    }

    /// Publishes the service's protected resource metadata (RFC 9728) at
    /// `/.well-known/oauth-protected-resource`. Anybody may read it, and challenges name its
    /// address. Default: none.
    pub fn protected_resource(mut self, resource: ProtectedResource) -> Self {
        self.resource = Some(resource);
        self
    }

    /// The address of the protected resource metadata (RFC 9728) in challenges, if another
    /// server publishes it. Default: the address of
    /// [`protected_resource`](Self::protected_resource), if that is set.
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.realm.metadata = Some(url.into());
        self
    }

    /// Limits how much of a body is read to find the model's name, and for how long. Default:
    /// [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Limits how many bytes of all bodies may be held for a decision at a time. Give all guards
    /// of one process the same budget. Default: a budget of [`Limits::bytes`] for this guard
    /// alone.
    pub fn body_budget(mut self, budget: BodyBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Allows WebSockets on routes whose frames name models, because the service behind the
    /// guard has each message [examined](crate::Conversation::examine). Default: every upgrade
    /// is refused, because the guard does not see the frames that follow.
    ///
    /// # Security
    /// A service that forwards a frame without having it examined lets its caller use any model.
    pub fn websockets(mut self) -> Self {
        self.websockets = true;
        self
    }

    /// The clock and the source of record ids. Default: [`SystemHost`].
    pub fn host(mut self, host: impl Host) -> Self {
        self.host = Arc::new(host);
        self
    }

    /// Options that weaken the guard.
    pub fn danger(self) -> Danger {
        Danger { builder: self }
    }

    /// Builds the layer. [`GuardLayer::guard`] returns the guard itself.
    ///
    /// # Errors
    /// [`BuildError`] with every problem: no environment, no surface, overlapping surfaces, an
    /// invalid exempted route, a protected resource that is invalid or published elsewhere as
    /// well, or a name in the access that a surface reads differently.
    pub fn build(mut self) -> Result<GuardLayer, BuildError> {
        let mut problems = Vec::new();
        if self.environment.is_none() {
            problems.push(Problem::NoEnvironment);
        }
        if self.surfaces.is_empty() {
            problems.push(Problem::NoSurface);
        }
        if !is_accountable(&*self.ledger, self.unaudited, !cfg!(debug_assertions)) {
            problems.push(Problem::Unaudited);
        }
        #[cfg(feature = "metrics")]
        let ledger: Arc<dyn AuditSink> = Arc::new(crate::metered::Metered::new(self.ledger));
        #[cfg(not(feature = "metrics"))]
        let ledger = self.ledger;
        let mut spellings = Vec::new();
        for surface in &self.surfaces {
            let Some(spelling) = surface.spelling() else {
                continue;
            };
            if let Some(model) = surface.bound_model()
                && !spelling.keeps(model)
            {
                problems.push(Problem::DefaultModel {
                    surface: surface.name().to_owned(),
                    model: model.to_string(),
                    read: spelled(&spelling.read(model)),
                });
            }
            spellings.push(spelling);
        }
        if let Some(environment) = &self.environment
            && problems.is_empty()
            && let Err(found) = self.access.learn_spellings(environment, &spellings)
        {
            problems.extend(found.into_iter().map(Problem::Name));
        }
        let routes = Routes::new(self.surfaces)
            .map_err(|error| problems.push(Problem::Surfaces(error.to_string())));
        let exempt: Vec<Exempt> = self
            .exempt
            .iter()
            .filter_map(|route| {
                Exempt::parse(route).or_else(|| {
                    problems.push(Problem::Exempt(route.clone()));
                    None
                })
            })
            .collect();
        let published = publish(self.resource, &mut self.realm, &exempt, &mut problems);
        match (self.environment, routes) {
            (Some(environment), Ok(routes)) if problems.is_empty() => {
                let (service, access, host) = (self.service, self.access, self.host);
                let gate = match self.instance {
                    Some(instance) => {
                        Gate::of_instance((service, instance), environment, access, ledger, host)
                    }
                    None => Gate::new(service, environment, access, ledger, host),
                };
                let (callers, limits, mut realm) = (self.callers, self.limits, self.realm);
                realm.proof_algorithms = callers.proof_algorithms().map(str::to_owned);
                let budget = self.budget.unwrap_or_else(|| BodyBudget::new(limits.bytes));
                let shared = Shared {
                    gate,
                    callers,
                    routes,
                    exempt,
                    shares: Shares::new(&limits, budget),
                    limits,
                    realm: Arc::new(realm),
                    published,
                    websockets: self.websockets,
                    baggage: self.baggage,
                };
                Ok(GuardLayer {
                    guard: Guard {
                        shared: Arc::new(shared),
                        enforcement: Enforcement::Inline,
                    },
                })
            }
            _ => Err(BuildError { problems }),
        }
    }
}

impl fmt::Debug for GuardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardBuilder")
            .field("service", &self.service)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// Options that weaken the guard. Search for this word in a review.
#[must_use = "name what to open"]
pub struct Danger {
    builder: GuardBuilder,
}

impl Danger {
    /// Exempts one route from authentication: `grpc.health.v1.Health/Check` for a gRPC method,
    /// `GET /healthz` for an HTTP route. The route must match exactly; there are no patterns.
    /// Such requests are counted and not recorded.
    ///
    /// # Security
    /// Anyone who can reach the service can use this route.
    pub fn exempt(mut self, route: impl Into<String>) -> GuardBuilder {
        self.builder.exempt.push(route.into());
        self.builder
    }

    /// Accepts a sink that stores nothing durably, such as one in memory. Only optimized builds
    /// require this option, because those are deployed.
    ///
    /// # Security
    /// There will be no evidence of who called what.
    pub fn allow_unaudited(mut self) -> GuardBuilder {
        self.builder.unaudited = true;
        self.builder
    }
}

impl fmt::Debug for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Danger")
    }
}

/// Why a guard cannot be built, with every problem.
///
/// `Debug` prints the same text as `Display`, because `main` prints errors with `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct BuildError {
    problems: Vec<Problem>,
}

impl BuildError {
    /// The problems, in no particular order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guard cannot be built")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "; {problem}"))
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BuildError {}

/// One reason why a guard cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No environment was given.
    #[error("no environment is given: call `.environment(..)`")]
    NoEnvironment,
    /// No surface was given.
    #[error("no surface is given, so every request would be refused: call `.surface(..)`")]
    NoSurface,
    /// The surfaces contradict each other.
    #[error("the surfaces do not go together: {0}")]
    Surfaces(String),
    /// The sink would lose all records when the process ends.
    #[error(
        "the sink keeps no records, so nobody could say who called what: give a ledger, or call `.danger().allow_unaudited()`"
    )]
    Unaudited,
    /// An exempted route is not a valid route.
    #[error("`{0}` is no route to exempt: write `GET /path` or `package.Service/Method`")]
    Exempt(String),
    /// The protected resource cannot be published as configured.
    #[error("the protected resource cannot be published: {0}")]
    ProtectedResource(String),
    /// A surface's default model is one that no request can name.
    #[error(
        "the default model `{model}` of the surface `{surface}` is read as {read} there: write that"
    )]
    DefaultModel {
        /// The surface's name.
        surface: String,
        /// The model as configured.
        model: String,
        /// The names that the surface reads it as.
        read: String,
    },
    /// The access mentions a name that a surface reads as another name.
    #[error("the access mentions a name that a surface reads otherwise: {0}")]
    Name(String),
    /// The metadata is published both by this guard and elsewhere.
    #[error(
        "the protected resource metadata has two addresses: call `.protected_resource(..)` or `.resource_metadata(..)`"
    )]
    TwoMetadata,
}

/// Checks the protected resource to publish and sets its address in challenges.
fn publish(
    resource: Option<ProtectedResource>,
    realm: &mut Realm,
    exempt: &[Exempt],
    problems: &mut Vec<Problem>,
) -> Option<Published> {
    let resource = resource?;
    if realm.metadata.is_some() {
        problems.push(Problem::TwoMetadata);
    }
    let published = resource.publish().map_err(|found| {
        problems.extend(found.into_iter().map(Problem::ProtectedResource));
    });
    let published = published.ok()?;
    for route in exempt.iter().filter(|route| published.is_at(route.path())) {
        let path = route.path();
        let what = format!("`{path}` is exempted as well, and the guard serves it");
        problems.push(Problem::ProtectedResource(what));
    }
    realm.metadata.get_or_insert_with(|| published.url.clone());
    Some(published)
}

/// The names in backticks, or a text that says that no request can have them.
fn spelled(names: &[ModelName]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(" and "),
    }
}

/// Whether a guard may serve requests with this sink.
fn is_accountable(sink: &dyn AuditSink, allowed: bool, deployed: bool) -> bool {
    sink.is_audited() || allowed || !deployed
}

impl GuardLayer {
    /// Starts to build a guard from its authenticator, its access and its audit sink.
    ///
    /// # Errors
    /// None here; [`GuardBuilder::build`] reports all problems.
    pub fn builder(
        callers: impl Authenticate,
        access: impl Authorize,
        ledger: impl AuditSink,
    ) -> GuardBuilder {
        GuardBuilder::new(callers, access, ledger)
    }
}

#[cfg(test)]
mod tests {
    use spanner_core::testing::MemorySink;

    use super::*;

    #[test]
    fn a_deployed_guard_keeps_records_unless_told_otherwise() {
        let sink = MemorySink::new();
        for (allowed, deployed, due) in [
            (false, true, false),
            (true, true, true),
            (false, false, true),
        ] {
            assert_eq!(is_accountable(&sink, allowed, deployed), due);
        }
    }
}
