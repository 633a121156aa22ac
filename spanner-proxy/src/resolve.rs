//! Resolves one raw request offline, as a guard would.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use spanner_core::record::PairEntry;
use spanner_core::{Refusal, UnknownRoute};
use spanner_toml::Problems;
use spanner_tower::Resolved;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::config::Config;
use crate::dispatch::Routes;
use crate::headers;
use crate::load::check_neighbours;

impl Config {
    /// Reads one raw HTTP/1.1 request as the server would, and returns what a guard resolves it to:
    /// the pairs of action and model, the surface and the route, or why it is refused. Nothing is
    /// sent and nothing is recorded. It needs no secrets: see [`Config::read_without_secrets`].
    ///
    /// # Errors
    /// [`Problems`] if the surfaces of an upstream conflict, or those of upstreams with the same host
    /// and prefix.
    pub async fn resolve(&self, request: Vec<u8>) -> Result<Value, Problems> {
        let mut problems = Problems::default();
        let routes = Routes::of(self, &mut problems);
        check_neighbours(self, &mut problems);
        problems.none_or(())?;
        Ok(resolve(routes, request).await)
    }
}

/// Resolves a raw request, which the server's own parser reads.
async fn resolve(routes: Routes, request: Vec<u8>) -> Value {
    let resolved: Arc<Mutex<Option<Value>>> = Arc::default();
    let result = Arc::clone(&resolved);
    let service = service_fn(move |request: Request<Incoming>| {
        let (routes, result) = (routes.clone(), Arc::clone(&result));
        async move {
            let answer = resolve_one(&routes, request).await;
            // Only the first request on the connection counts.
            let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
            result.get_or_insert(answer);
            Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
        }
    });
    let (client, server) = duplex(64 * 1024);
    let (mut from, mut to) = tokio::io::split(client);
    let mut http = http1::Builder::new();
    http.keep_alive(false).half_close(true);
    let served = http.serve_connection(TokioIo::new(server), service);
    let send = async move {
        // A server that responds early may not read everything.
        let _: io::Result<()> = to.write_all(&request).await;
        let _: io::Result<()> = to.shutdown().await;
    };
    let drain = async move {
        let mut answer = Vec::new();
        let _: io::Result<usize> = from.read_to_end(&mut answer).await;
        answer
    };
    let (_, (), answer) = tokio::join!(served, send, drain);
    let resolved = resolved
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    resolved.unwrap_or_else(|| {
        // The HTTP library refuses malformed requests before any guard.
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        json!({"refused": "ambiguous_request", "reason": "no HTTP/1.1 request", "status": status.unwrap_or(400)})
    })
}

async fn resolve_one(routes: &Routes, request: Request<Incoming>) -> Value {
    let (mut parts, body) = request.into_parts();
    // A request written by hand may lack `Host`; then it goes to an upstream without one.
    headers::remove_nominated(&mut parts.headers);
    let resolved = match routes.find(&mut parts) {
        Some((_, route)) => {
            route
                .resolver
                .resolve(Request::from_parts(parts, body))
                .await
        }
        None => Err(Refusal::from(UnknownRoute)),
    };
    match resolved {
        Ok(resolved) => found(&resolved),
        Err(refusal) => {
            let notice = refusal.notice();
            json!({
                "refused": notice.fault.as_str(),
                "reason": refusal.code(),
                "status": notice.status.http(),
            })
        }
    }
}

fn found(resolved: &Resolved) -> Value {
    let pairs = resolved
        .target
        .as_ref()
        .map_or(&[][..], |target| target.pairs());
    let pair = |entry: PairEntry| json!({"action": entry.action, "model": entry.model, "revision": entry.revision});
    let pairs: Vec<Value> = pairs.iter().map(PairEntry::from).map(pair).collect();
    let mut found = json!({
        "pairs": pairs,
        "surface": &*resolved.surface,
        "route": &*resolved.route,
    });
    if resolved.target.is_none()
        && let Some(found) = found.as_object_mut()
    {
        found.insert("decided".to_owned(), false.into());
    }
    found
}
