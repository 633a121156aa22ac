//! One row of a surface.

use http::Method;
use spanner_core::Action;

use super::location::{Location, Place};
use super::template::Template;

/// What one method and path does.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) template: Template,
    pub(crate) grpc: bool,
    pub(crate) rule: Rule,
}

/// Who may use a route.
#[derive(Debug)]
pub(crate) enum Rule {
    /// Anybody.
    Public,
    /// Any authenticated caller.
    Whoami,
    /// Whoever is allowed everything that the request touches.
    Guarded(Guarded),
}

/// What a request touches, and where it says so.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) main: Touch,
    pub(crate) also: Vec<Touch>,
    /// Further models for the main action.
    pub(crate) secondary: Vec<Location>,
    /// What is searched for in a JSON body.
    pub(crate) places: Vec<Place>,
    /// What is searched for in a protobuf message: field numbers, outermost first.
    pub(crate) fields: Vec<Vec<u32>>,
    pub(crate) body: BodyKind,
}

/// One action and where its model's name stands.
#[derive(Debug)]
pub(crate) struct Touch {
    pub(crate) action: Action,
    /// The first that is there counts.
    pub(crate) model: Vec<Location>,
    pub(crate) version: Option<Location>,
    pub(crate) on_missing: OnMissing,
}

/// How much of a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// Nothing.
    Unread,
    /// One JSON document.
    Json,
    /// One gRPC message.
    Message,
    /// Each gRPC message.
    Stream,
}

/// What a request means that names no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnMissing {
    /// The surface's default model, if there is one.
    Default,
    /// Nothing.
    Refuse,
    /// This action on the server as a whole.
    Server(Action),
}
