//! Routes a request to its upstream.
//!
//! 1. By `Host`, ignoring case. The port counts only if the configuration has one. An upstream
//!    without a host accepts any, after those with the request's host.
//! 2. Then by the longest `path_prefix`, in whole segments. The prefix is removed before the guard
//!    matches the path.
//! 3. Among several with the same host and prefix, by the surface that has the route.
//! 4. A request without an upstream goes to a guard without routes, which refuses and records it
//!    like any unknown route.

use std::sync::Arc;

use http::Uri;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use spanner_toml::Problems;
use spanner_tower::{GuardService, Resolver};

use crate::config::{Config, UpstreamConfig};
use crate::upstream::Upstream;

/// An upstream behind its guard.
pub(crate) type Guarded = GuardService<Upstream>;

/// All upstreams behind their guards. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    routes: Routes,
    guards: Arc<[Guarded]>,
    otherwise: Guarded,
}

/// The routes to all upstreams. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Arc<[Route]>);

/// The route to an upstream.
#[derive(Debug)]
pub(crate) struct Route {
    host: Option<Authority>,
    prefix: String,
    /// Resolves a request by the upstream's surfaces.
    pub(crate) resolver: Resolver,
}

impl Dispatch {
    pub(crate) fn new(guarded: Vec<(Route, Guarded)>, otherwise: Guarded) -> Self {
        let (routes, guards): (Vec<Route>, Vec<Guarded>) = guarded.into_iter().unzip();
        Self {
            routes: Routes(routes.into()),
            guards: guards.into(),
            otherwise,
        }
    }

    /// The upstream of a request. Its prefix is removed from the path.
    pub(crate) fn choose(&self, parts: &mut Parts) -> &Guarded {
        let guard = self.routes.find(parts).map(|(index, _)| index);
        let guard = guard.and_then(|index| self.guards.get(index));
        guard.unwrap_or(&self.otherwise)
    }
}

impl Routes {
    /// The routes to the upstreams of a configuration. Conflicting surfaces are a problem.
    pub(crate) fn of(config: &Config, problems: &mut Problems) -> Self {
        let route = |upstream: &UpstreamConfig| {
            Resolver::new(upstream.surfaces.clone())
                .map(|resolver| Route::new(upstream, resolver))
                .map_err(|error| {
                    let advice =
                        "give each an upstream of its own, apart by `host` or `path_prefix`";
                    config.problem(problems, upstream.surfaces_at, error, advice);
                })
                .ok()
        };
        Self(config.upstreams.iter().filter_map(route).collect())
    }

    /// The upstream of a request, with its index. Its prefix is removed from the path. `None` if no
    /// upstream matches.
    pub(crate) fn find(&self, parts: &mut Parts) -> Option<(usize, &Route)> {
        let host = host_of(parts);
        let path = parts.uri.path();
        let fits = |(_, route): &(usize, &Route)| {
            route.takes(host.as_ref()) && rest(path, &route.prefix).is_some()
        };
        let rank = |route: &Route| (route.host.is_some(), route.prefix.len());
        let fitting = self.0.iter().enumerate().filter(fits);
        let best = fitting.clone().map(|(_, route)| rank(route)).max()?;
        let candidates: Vec<(usize, &Route)> =
            fitting.filter(|(_, route)| rank(route) == best).collect();
        let prefix = candidates.first().map_or("", |(_, route)| &route.prefix);
        parts.uri = without(&parts.uri, prefix)?;
        knowing(&candidates, parts)
    }
}

impl Route {
    pub(crate) fn new(config: &UpstreamConfig, resolver: Resolver) -> Self {
        Self {
            host: config.host.clone(),
            prefix: config.path_prefix.clone(),
            resolver,
        }
    }

    fn takes(&self, host: Option<&Authority>) -> bool {
        let Some(own) = &self.host else {
            return true;
        };
        host.is_some_and(|host| {
            let port = own.port_u16();
            host.host().eq_ignore_ascii_case(own.host())
                && (port.is_none() || port == host.port_u16())
        })
    }
}

/// The first candidate whose surface has the route, or else the first one, which refuses the request.
fn knowing<'r>(candidates: &[(usize, &'r Route)], parts: &Parts) -> Option<(usize, &'r Route)> {
    let knows = |(_, route): &&(usize, &Route)| route.resolver.surface_of(parts).is_some();
    let knowing = candidates.iter().find(knows);
    knowing.or_else(|| candidates.first()).copied()
}

/// The host of a request. Every guard refuses a request with two different ones.
fn host_of(parts: &Parts) -> Option<Authority> {
    let named = parts.headers.get(HOST);
    let named = named.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    named.or_else(|| parts.uri.authority().cloned())
}

/// The rest of a path after a prefix of whole segments.
fn rest<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (prefix.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// A URI without a prefix of its path.
fn without(uri: &Uri, prefix: &str) -> Option<Uri> {
    if prefix.is_empty() {
        return Some(uri.clone());
    }
    let path = match rest(uri.path(), prefix)? {
        "" => "/",
        rest => rest,
    };
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_whole_segments() {
        for (path, prefix, expected) in [
            ("/v1/models", "", Some("/v1/models")),
            ("/hub/v1", "/hub", Some("/v1")),
            ("/hub", "/hub", Some("")),
            ("/hub/", "/hub", Some("/")),
            ("/hubs/v1", "/hub", None),
            ("/Hub/v1", "/hub", None),
            ("/hub%2Fv1", "/hub", None),
            ("/a/b/c", "/a/b", Some("/c")),
            ("*", "/hub", None),
        ] {
            assert_eq!(rest(path, prefix), expected, "{path} {prefix}");
        }
    }

    #[test]
    fn removing_a_prefix_changes_nothing_else() {
        for (uri, expected) in [
            ("/hub/v1/models?a=%20&b", "/v1/models?a=%20&b"),
            ("/hub", "/"),
            ("/hub?x", "/?x"),
            ("/hub//v1", "//v1"),
            (
                "http://models.example.com/hub/v1",
                "http://models.example.com/v1",
            ),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(without(&uri, "/hub").unwrap().to_string(), expected);
        }
    }
}
