//! The layer: what is added to a service.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::service::{Guard, GuardService};

/// Guards the service it is added to. Cheap to clone; clones share everything.
///
/// Use it unchanged with `axum::Router::layer` and `tonic::transport::Server::layer`, or
/// wrap any `tower::Service` of HTTP requests.
#[derive(Clone)]
pub struct GuardLayer {
    pub(super) guard: Arc<Guard>,
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService::new(Arc::clone(&self.guard), inner)
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer")
            .field("guard", &self.guard)
            .finish()
    }
}
