//! Which upstream a request is for.
//!
//! 1. By `Host`: exactly, in any letters; its port counts only where the configuration names
//!    one. An upstream without a host takes any, after those that name it.
//! 2. Then by the longest `path_prefix`, segment by segment. It is taken away before the
//!    guard looks at the path.
//! 3. Where several have the same host and prefix, by the surface that knows the route.
//! 4. What is for nobody goes to a guard that knows no route: it is refused and recorded
//!    like any unknown route.

use std::sync::Arc;

use http::Uri;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use spanner_tower::{GuardService, Resolver};

use crate::upstream::Upstream;

/// An upstream behind its guard.
pub(crate) type Guarded = GuardService<Upstream>;

/// All upstreams. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    doors: Arc<[Door]>,
    otherwise: Guarded,
}

/// One upstream and what is asked of a request that it gets.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) host: Option<Authority>,
    pub(crate) prefix: String,
    /// What its surfaces see in a request.
    pub(crate) resolver: Resolver,
    pub(crate) guarded: Guarded,
}

impl Dispatch {
    pub(crate) fn new(doors: Vec<Door>, otherwise: Guarded) -> Self {
        let doors = doors.into();
        Self { doors, otherwise }
    }

    /// The upstream of a request, from whose path its prefix is taken away.
    pub(crate) fn choose(&self, parts: &mut Parts) -> &Guarded {
        self.door(parts)
            .map_or(&self.otherwise, |door| &door.guarded)
    }

    /// The same before its guard, `None` if it is for nobody.
    pub(crate) fn door(&self, parts: &mut Parts) -> Option<&Door> {
        let host = host_of(parts);
        let path = parts.uri.path();
        let fits = |door: &&Door| door.takes(host.as_ref()) && rest(path, &door.prefix).is_some();
        let rank = |door: &&Door| (door.host.is_some(), door.prefix.len());
        let best = self
            .doors
            .iter()
            .filter(fits)
            .map(|door| rank(&door))
            .max()?;
        let fitting = self.doors.iter().filter(fits);
        let candidates: Vec<&Door> = fitting.filter(|door| rank(door) == best).collect();
        let prefix = candidates.first().map_or("", |door| &door.prefix);
        parts.uri = without(&parts.uri, prefix)?;
        knowing(&candidates, parts)
    }
}

impl Door {
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

/// The one of several whose surface knows the route; where none does, any of them refuses
/// it.
fn knowing<'d>(candidates: &[&'d Door], parts: &Parts) -> Option<&'d Door> {
    let knows = |door: &&&Door| door.resolver.surface_of(parts).is_some();
    let knowing = candidates.iter().find(knows);
    knowing.or_else(|| candidates.first()).copied()
}

/// The host that the caller named. One that is named in two ways is refused by any guard.
fn host_of(parts: &Parts) -> Option<Authority> {
    let named = parts.headers.get(HOST);
    let named = named.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    named.or_else(|| parts.uri.authority().cloned())
}

/// What is left of a path behind a prefix of whole segments.
fn rest<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (prefix.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The same address without a prefix of its path.
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
    fn a_prefix_is_whole_segments() {
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
    fn what_is_left_is_exactly_what_was_sent() {
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
