//! A grant as it is read from a file, before it is indexed.

use std::sync::Arc;

use spanner_core::Environment;

use crate::holder::Holder;
use crate::role::ActionSet;

/// A role granted to a holder in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawGrant {
    pub(crate) environment: Environment,
    pub(crate) role: Arc<str>,
    pub(crate) actions: ActionSet,
    pub(crate) holder: Holder,
}
