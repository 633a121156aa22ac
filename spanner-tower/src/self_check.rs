//! Checks that a service is guarded at all, in a test of the service that embeds the guard.
//!
//! A layer guards only what is behind it. A route that is added after the layer, another router
//! that is merged later, and a layer in front that responds by itself are not guarded. The type
//! system does not show that.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use tower_service::Service;

/// Sends a request without credentials to each route (`POST /v1/embeddings`), and returns a
/// description of each route that something other than the guard answered.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// # use spanner_core::testing::{MemorySink, Rules};
/// # use spanner_tower::mock_idp::MockIdp;
/// # use spanner_tower::{Bearer, GuardLayer, surface};
/// use axum::{Router, routing::post};
/// use spanner_tower::self_check::unguarded;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let idp = MockIdp::new();
/// # let callers = Bearer::builder().issuer(idp.issuer_config().audience("m")).build().unwrap();
/// # let guard = GuardLayer::builder(callers, Rules::allow(|_| true), MemorySink::new())
/// #     .environment("test".parse().unwrap()).surface(surface::openai()).build().unwrap();
/// let app = Router::new()
///     .route("/v1/embeddings", post(async || "[]"))
///     .layer(guard)
///     .route("/v1/completions", post(async || "anybody may")); // after the layer
/// let found = unguarded(app, ["POST /v1/embeddings", "POST /v1/completions"]).await;
/// assert_eq!(found, ["POST /v1/completions: answered with 200 OK, not by the guard"]);
/// # }
/// # main();
/// # }
/// ```
///
/// # Panics
/// If a text is not a method and path, so that the test fails.
#[expect(clippy::expect_used, reason = "a test that cannot go on should fail")]
pub async fn unguarded<S, R>(
    mut service: S,
    routes: impl IntoIterator<Item = impl AsRef<str>>,
) -> Vec<String>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>>,
{
    let mut found = Vec::new();
    for route in routes {
        let route = route.as_ref();
        let (method, path) = route.split_once(' ').expect("a method and a path");
        let request = Request::builder()
            .method(method.parse::<Method>().expect("a method"))
            .uri(path)
            .header("content-type", "application/json")
            .body(Full::from("{}"))
            .expect("a path");
        let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
        let answered = match ready {
            Ok(()) => service.call(request).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(response) => {
                let headers = response.headers();
                let by_guard = headers
                    .get("spanner-origin")
                    .is_some_and(|it| it == "guard");
                if !by_guard {
                    let status = response.status();
                    found.push(format!("{route}: answered with {status}, not by the guard"));
                }
            }
            Err(_) => found.push(format!("{route}: the service failed")),
        }
    }
    found
}
