//! One row of a surface.

use std::sync::Arc;

use http::{HeaderName, Method};
use spanner_core::Action;

use super::dialect::Dialect;
use super::location::{Condition, FieldPath, JsonPath, Location, Want};
use super::reports::Reports;
use super::template::Template;

/// What one method and path does.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) template: Template,
    pub(crate) grpc: bool,
    /// Where it is another than the surface's.
    pub(crate) dialect: Option<Dialect>,
    /// How many bytes of a body may stand before the model's name.
    pub(crate) hold: usize,
    /// What its answers report.
    pub(crate) reports: Arc<Reports>,
    pub(crate) rule: Rule,
}

impl Route {
    /// Whether a slot of the path holds the whole name of a model. A route without a decision
    /// says nothing of its slots; what serves it reads them.
    pub(crate) fn names_model(&self, slot: usize) -> bool {
        match &self.rule {
            Rule::Public => false,
            Rule::Whoami => true,
            Rule::Guarded(guarded) => guarded.rules.iter().any(|rule| {
                let mut places = rule.main.model.iter();
                places.any(|place| matches!(place, Location::Path(slots) if *slots == [slot]))
            }),
        }
    }
}

/// Who may use a route.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    /// Anybody.
    Public,
    /// Any authenticated caller.
    Whoami,
    /// Callers that are allowed everything that the request touches.
    Guarded(Box<Guarded>),
}

/// What a request touches, and where it says so.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    /// The first whose conditions hold counts.
    pub(crate) rules: Vec<Touches>,
    pub(crate) wanted: Wanted,
}

/// What a request touches under some conditions.
#[derive(Debug, Clone)]
pub(crate) struct Touches {
    /// All must hold.
    pub(crate) when: Vec<Condition>,
    pub(crate) main: Touch,
    pub(crate) also: Vec<Touch>,
    /// Further models for the main action.
    pub(crate) secondary: Vec<Location>,
    /// Places that repeat the main model, if they say anything.
    pub(crate) same: Vec<Location>,
}

/// One action and the location of its model's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touch {
    /// Any of them must hold, with all its parts; none: always.
    pub(crate) when: Vec<Vec<Condition>>,
    pub(crate) action: Action,
    /// The first that is there counts, and the others must not say otherwise.
    pub(crate) model: Vec<Location>,
    /// The first that is there counts.
    pub(crate) version: Vec<Location>,
    pub(crate) on_missing: OnMissing,
    /// Whether something that is no model's name stands for the server as a whole.
    pub(crate) foreign: bool,
}

/// What is searched for in a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) query: Vec<String>,
    pub(crate) headers: Vec<HeaderName>,
    /// In the JSON body.
    pub(crate) json: Vec<JsonPath>,
    /// In each line of JSON: of the body, or of an uploaded file.
    pub(crate) lines: Vec<JsonPath>,
    /// Whether the lines are those of the form's field `file`.
    pub(crate) in_file: bool,
    pub(crate) form: Vec<(String, Want)>,
    /// Whether the body is a git push.
    pub(crate) refs: bool,
    /// In a protobuf message.
    pub(crate) fields: Vec<FieldPath>,
    /// Whether each message of a stream is read.
    pub(crate) stream: bool,
    /// In the text frames of a WebSocket.
    pub(crate) frames: Vec<JsonPath>,
    /// The same for those who read, once all is known.
    pub(crate) sealed: Sealed,
}

/// What readers of bodies share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sealed {
    pub(crate) json: Arc<[JsonPath]>,
    pub(crate) lines: Arc<[JsonPath]>,
    pub(crate) form: Arc<[(String, Want)]>,
    pub(crate) frames: Arc<[JsonPath]>,
}

impl Wanted {
    /// All that is wanted is known.
    pub(super) fn seal(&mut self) {
        self.sealed = Sealed {
            json: self.json.as_slice().into(),
            lines: self.lines.as_slice().into(),
            form: self.form.as_slice().into(),
            frames: self.frames.as_slice().into(),
        };
    }

    /// Whether a body is JSON or a form, or lines, or a git push.
    pub(super) fn reads_in_one_way(&self) -> bool {
        let kinds = [
            !self.json.is_empty() || !self.form.is_empty() || self.in_file,
            !self.lines.is_empty() && !self.in_file,
            self.refs,
        ];
        kinds.into_iter().filter(|kind| *kind).count() <= 1
    }

    /// Whether there is something to find in the body of an HTTP request.
    pub(crate) const fn reads_body(&self) -> bool {
        !self.json.is_empty() || !self.lines.is_empty() || !self.form.is_empty() || self.refs
    }

    /// Whether that is in forms only.
    pub(crate) const fn reads_only_forms(&self) -> bool {
        let others = !self.json.is_empty() || (!self.lines.is_empty() && !self.in_file);
        !others && !self.refs
    }
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
    /// That nothing is touched.
    Nothing,
    /// The model of the stream's first message, which must name one.
    First,
}
