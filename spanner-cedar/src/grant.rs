//! A grant as the files give it.

use std::sync::Arc;

use spanner_core::Environment;

use crate::holder::Holder;
use crate::role::ActionSet;

/// A role given to somebody in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawGrant {
    pub(crate) environment: Environment,
    pub(crate) role: Arc<str>,
    pub(crate) actions: ActionSet,
    pub(crate) holder: Holder,
}
