//! The configuration and state of a guard.

use std::sync::Arc;

use spanner_core::Gate;

use super::answer::Realm;
use super::exempt::Exempt;
use super::resource::Published;
use crate::authenticate::Authenticate;
use crate::resolve::{Limits, Routes};
use crate::shares::Shares;

/// The state that all clones of a guard share. The builder makes it.
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) callers: Box<dyn Authenticate>,
    pub(super) routes: Routes,
    pub(super) exempt: Vec<Exempt>,
    pub(super) limits: Limits,
    pub(super) shares: Arc<Shares>,
    pub(super) realm: Arc<Realm>,
    pub(super) published: Option<Published>,
    /// Whether WebSockets may be opened: the service behind the guard has each message examined.
    pub(super) websockets: bool,
    /// The keys of the baggage members that records keep.
    pub(super) baggage: Vec<String>,
}
