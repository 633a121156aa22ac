//! What would the guard see in this request? The answer without a guard: nobody is asked,
//! nothing is recorded or forwarded.

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

/// Tells what requests touch, as a [`GuardLayer`](crate::GuardLayer) with the same surfaces
/// would find it.
///
/// For code that routes requests before the guard, and for people who ask what Spanner sees in
/// a call. Cheap to clone.
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

/// What a request turned out to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resolved {
    /// The surface that knows it.
    pub surface: Arc<str>,
    /// The route's template.
    pub route: Arc<str>,
    /// Everything that it touches; `None` where nothing is decided: on public routes, and on
    /// those for every authenticated caller.
    pub target: Option<Target>,
}

/// The surfaces do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolverError(String);

impl Resolver {
    /// Joins surfaces that a server serves together: where two have the same route, the
    /// first says what it does, and what the others would read there is read as well.
    ///
    /// # Errors
    /// [`ResolverError`] if two of them do things with a path that do not go together.
    pub fn new(surfaces: Vec<Surface>) -> Result<Self, ResolverError> {
        let routes = Routes::new(surfaces).map_err(|error| ResolverError(error.to_string()))?;
        Ok(Self {
            routes: Arc::new(routes),
            limits: Limits::default(),
        })
    }

    /// Why requests to some surfaces cannot be told from requests to others by their method
    /// and path; `None` if they can.
    #[must_use]
    pub fn common(some: &[Surface], others: &[Surface]) -> Option<ResolverError> {
        Routes::common(some, others).map(|error| ResolverError(error.to_string()))
    }

    /// How much of a body may be read. Default: [`Limits::default`].
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The name of the surface that knows a request by its method and path; `None` if none
    /// does, or if the path could be read in two ways.
    #[must_use]
    pub fn surface_of(&self, parts: &Parts) -> Option<Arc<str>> {
        let route = self.routes.classify(parts).ok()?;
        Some(route.surface())
    }

    /// What a request touches. Its body is read as far as the guard would read it before it
    /// decides.
    ///
    /// # Errors
    /// The [`Refusal`] that the guard would give: an unknown route, or a request that could
    /// be read in two ways.
    pub async fn resolve<B>(&self, request: Request<B>) -> Result<Resolved, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let route = self.routes.classify(&parts)?;
        let target = match route.class() {
            // The address may name a model; the messages come later.
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
