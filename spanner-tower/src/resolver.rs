//! Resolves requests as a guard would, without a guard: nothing is authenticated, recorded or
//! forwarded.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body::Body;
use spanner_core::{Refusal, Target};

use crate::resolve::{BoxError, Limits, RouteClass, Routes, refuse_detours};
use crate::shares::BodyReservation;
use crate::surface::Surface;

/// Resolves what requests touch, exactly as a [`GuardLayer`](crate::GuardLayer) with the same
/// surfaces does.
///
/// Use it in code that routes requests before the guard, and to explain what Spanner sees in a
/// call. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http_body_util::Full;
/// use spanner_tower::{Resolver, surface};
///
/// let resolver = Resolver::new(vec![surface::openai()])?;
/// let request = http::Request::post("/v1/embeddings")
///     .header("content-type", "application/json")
///     .body(Full::from(r#"{"model": "acme/e5", "input": "hi"}"#))?;
/// let resolved = resolver.resolve(request).await?;
/// assert_eq!(resolved.target.unwrap().pairs()[0].to_string(), "embed on acme/e5");
///
/// let twice = http::Request::post("/v1/embeddings")
///     .header("content-type", "application/json")
///     .body(Full::from(r#"{"model": "acme/e5", "model": "acme/other"}"#))?;
/// assert_eq!(resolver.resolve(twice).await.unwrap_err().code(), "request.duplicate_member");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Resolver {
    routes: Arc<Routes>,
    limits: Limits,
}

/// The result of resolving a request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resolved {
    /// The name of the surface that knows the request.
    pub surface: Arc<str>,
    /// The route's template.
    pub route: Arc<str>,
    /// Everything that the request touches; `None` on routes without a decision, which are
    /// public or open to every authenticated caller.
    pub target: Option<Target>,
}

/// The surfaces contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolverError(String);

impl Resolver {
    /// Joins surfaces that one server offers. If two have the same route, the first defines it,
    /// and models that the others would read are read as well.
    ///
    /// # Errors
    /// [`ResolverError`] if two of them contradict each other about a path.
    pub fn new(surfaces: Vec<Surface>) -> Result<Self, ResolverError> {
        let routes = Routes::new(surfaces).map_err(|error| ResolverError(error.to_string()))?;
        Ok(Self {
            routes: Arc::new(routes),
            limits: Limits::default(),
        })
    }

    /// Why method and path do not distinguish requests to some surfaces from requests to others;
    /// `None` if they do.
    #[must_use]
    pub fn common(some: &[Surface], others: &[Surface]) -> Option<ResolverError> {
        Routes::common(some, others).map(|error| ResolverError(error.to_string()))
    }

    /// Limits how much of a body is read. Default: [`Limits::default`].
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The name of the surface that knows a request's method and path; `None` if there is none,
    /// or if the path is ambiguous.
    #[must_use]
    pub fn surface_of(&self, parts: &Parts) -> Option<Arc<str>> {
        let route = self.routes.classify(parts).ok()?;
        Some(route.surface())
    }

    /// Resolves what a request touches. Its body is read as far as the guard would read it
    /// before the decision.
    ///
    /// # Errors
    /// The [`Refusal`] that the guard would give: an unknown route, or an ambiguous request.
    pub async fn resolve<B>(&self, request: Request<B>) -> Result<Resolved, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let route = self.routes.classify(&parts)?;
        let target = match route.class() {
            // The path may name a model; messages come later.
            RouteClass::Guarded if route.opens_conversation(&parts) => {
                route.conversation(&parts)?.1
            }
            RouteClass::Guarded => Some(
                route
                    .target(&parts, body, &self.limits, BodyReservation::default())
                    .await?
                    .0,
            ),
            RouteClass::Public | RouteClass::Whoami => {
                refuse_detours(&parts, &[])?;
                None
            }
        };
        Ok(Resolved {
            surface: route.surface(),
            route: route.template(),
            target,
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
