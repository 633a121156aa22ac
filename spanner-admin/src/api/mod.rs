//! The HTTP API: a tower service behind a guard.

mod caller;
mod explain;
mod models;
mod openapi;
mod promotions;
mod reply;
mod request;
mod routes;
mod view;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use spanner_core::Fault;
use spanner_tower::BoxError;
use tokio::time::timeout;
use tower_service::Service;

use crate::promotions::Promotions;
use reply::Reply;
use request::Call;

pub use openapi::openapi;
pub use routes::surface;

/// Serves the requests of [`surface`]. Cheap to clone.
///
/// It must run behind a guard that has this surface: the guard authenticates the caller, and the
/// service authorizes and records each step through it. A request that did not pass a guard
/// receives status 500.
#[derive(Clone)]
pub struct Admin {
    promotions: Promotions,
}

/// The maximum size of a request body, in bytes. A body contains a few names and a reason.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The timeout for receiving a body, the same as the guard's own.
const MAX_BODY_TIME: Duration = Duration::from_secs(30);

impl Admin {
    /// Creates the API for these promotions and their access configuration.
    #[must_use]
    pub const fn new(promotions: Promotions) -> Self {
        Self { promotions }
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let answered = match routes::read(&parts.method, parts.uri.path()) {
            Ok(asked) => match collect(body).await {
                Ok(body) => Call::of(&self.promotions, &parts, body).answer(asked).await,
                Err(reply) => Err(reply),
            },
            Err(reply) => Err(reply),
        };
        answered.unwrap_or_else(|reply| reply).into_response()
    }
}

/// Reads a body of at most `MAX_BODY_BYTES` bytes.
async fn collect<B>(body: B) -> Result<Bytes, Reply>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let collecting = Limited::new(body, MAX_BODY_BYTES).collect();
    let Ok(collected) = timeout(MAX_BODY_TIME, collecting).await else {
        let what = "the body did not arrive in time";
        let advice = "send it at once";
        let late = Reply::failure(408, Fault::AmbiguousRequest, "body", &what, advice);
        return Err(late);
    };
    let collected = collected.map_err(|error| {
        let limit = format!("the body cannot be read: {error}");
        let advice = "send at most 64 KiB of JSON";
        Reply::failure(413, Fault::AmbiguousRequest, "body", &limit, advice)
    })?;
    Ok(collected.to_bytes())
}

impl<B> Service<Request<B>> for Admin
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let admin = self.clone();
        Box::pin(async move { Ok(admin.answer(request).await) })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("promotions", &self.promotions)
            .finish()
    }
}
