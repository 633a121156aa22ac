//! The tower layer that adds a guard to a service.

use std::fmt;

use tower_layer::Layer;

use super::service::{Guard, GuardService};

/// Guards the service that it wraps. Cheap to clone; clones share all state.
///
/// Use it unchanged with `axum::Router::layer` and `tonic::transport::Server::layer`, or
/// wrap any `tower::Service` of HTTP requests.
#[derive(Clone)]
pub struct GuardLayer {
    pub(super) guard: Guard,
}

impl GuardLayer {
    /// The guard itself, for a front door that is not a tower service.
    #[must_use]
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService::new(self.guard.clone(), inner)
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer")
            .field("guard", &self.guard)
            .finish()
    }
}
