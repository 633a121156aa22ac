//! From method and path to a row of a surface, and from there to the target.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body::Body;
use spanner_core::{Outage, Refusal, RequestFault, Target, UnknownRoute};
use tokio::sync::Semaphore;

use super::body::RequestBody;
use super::evidence::Evidence;
use super::gather::{Gathered, Reading};
use super::grpc::{Encoding, Framing};
use super::head::{self, Media, Query};
use super::json::Found;
use super::stream::Watch;
use super::{BoxError, Limits, path};
use crate::surface::{BodyKind, Dialect, Guarded, Held, Location, Overlap, Route, Rule, Surface};

/// The surfaces of one guard, ready to be looked up.
#[derive(Debug)]
pub(crate) struct Routes {
    methods: HashMap<Method, Rows>,
    /// As many large bodies are read at once as there are processors.
    turns: Arc<Semaphore>,
}

/// The rows of one method.
#[derive(Debug, Default)]
struct Rows {
    /// Paths without slots.
    fixed: HashMap<Arc<str>, Row>,
    /// Paths with slots, the more exact before the less.
    slotted: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    surface: Surface,
    route: Arc<Route>,
}

/// Two surfaces that say different things about the same path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{method} {path}` of `{surface}` overlaps with `{other_path}` of `{other}`")]
pub(crate) struct Overlapping {
    method: String,
    path: String,
    surface: String,
    other_path: String,
    other: String,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteClass {
    /// Anybody.
    Public,
    /// Any authenticated caller.
    Whoami,
    /// Whoever is allowed everything that the request touches.
    Guarded,
}

/// A request's row.
pub(crate) struct Match {
    row: Row,
    /// What the path's slots hold, decoded.
    slots: Vec<String>,
    turns: Arc<Semaphore>,
}

impl Routes {
    /// Joins surfaces.
    ///
    /// # Errors
    /// [`Overlapping`] if a path could belong to two of them.
    pub(crate) fn new(surfaces: Vec<Surface>) -> Result<Self, Overlapping> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (methods, turns) = (HashMap::new(), Arc::new(Semaphore::new(processors)));
        let mut routes = Self { methods, turns };
        for surface in surfaces {
            for route in surface.routes() {
                let (surface, route) = (surface.clone(), Arc::clone(route));
                routes.insert(Row { surface, route })?;
            }
        }
        Ok(routes)
    }

    fn insert(&mut self, row: Row) -> Result<(), Overlapping> {
        let rows = self.methods.entry(row.route.method.clone()).or_default();
        let template = &row.route.template;
        let overlap = |other: &Row| other.route.template.overlap(template);
        let mut others = rows.fixed.values().chain(&rows.slotted);
        if let Some(other) = others.find(|other| overlap(other) == Overlap::Both) {
            return Err(Overlapping {
                method: row.route.method.to_string(),
                path: template.to_string(),
                surface: row.surface.name().to_owned(),
                other_path: other.route.template.to_string(),
                other: other.surface.name().to_owned(),
            });
        }
        if template.is_literal() {
            rows.fixed.insert(template.text(), row);
        } else {
            let less_exact = |other: &Row| overlap(other) == Overlap::Second;
            let at = rows.slotted.iter().position(less_exact);
            rows.slotted.insert(at.unwrap_or(rows.slotted.len()), row);
        }
        Ok(())
    }

    /// The row of a request. Only its target and `Host` are looked at.
    ///
    /// # Errors
    /// [`RequestFault::Path`] or [`RequestFault::Target`] if the target could be read in
    /// two ways, [`UnknownRoute`] if no surface has it.
    pub(crate) fn classify(&self, parts: &Parts) -> Result<Match, Refusal> {
        let path = path::checked(parts)?;
        let found = self.find(&parts.method, path).or_else(|| {
            let head = parts.method == Method::HEAD;
            head.then(|| self.find(&Method::GET, path)).flatten()
        });
        let Some((row, held)) = found else {
            return Err(match path::hides_slash(path) {
                true => RequestFault::Path.into(),
                false => UnknownRoute.into(),
            });
        };
        if held
            .iter()
            .any(|held| !held.slashes && path::hides_slash(held.raw))
        {
            return Err(RequestFault::Path.into());
        }
        // A gRPC method has no query; some servers route by the whole `:path`.
        if row.route.grpc && parts.uri.query().is_some() {
            return Err(UnknownRoute.into());
        }
        Ok(Match {
            row: row.clone(),
            slots: held.iter().map(|held| path::decoded(held.raw)).collect(),
            turns: Arc::clone(&self.turns),
        })
    }

    fn find<'p>(&self, method: &Method, path: &'p str) -> Option<(&Row, Vec<Held<'p>>)> {
        let rows = self.methods.get(method)?;
        if let Some(row) = rows.fixed.get(path) {
            return Some((row, Vec::new()));
        }
        rows.slotted
            .iter()
            .find_map(|row| Some((row, row.route.template.matches(path)?)))
    }
}

impl Match {
    /// The surface's name.
    pub(crate) fn surface(&self) -> Arc<str> {
        self.row.surface.shared_name()
    }

    /// The path template.
    pub(crate) fn template(&self) -> Arc<str> {
        self.row.route.template.text()
    }

    /// Who may use the route.
    pub(crate) fn class(&self) -> RouteClass {
        match self.row.route.rule {
            Rule::Public => RouteClass::Public,
            Rule::Whoami => RouteClass::Whoami,
            Rule::Guarded(_) => RouteClass::Guarded,
        }
    }

    /// Whether it is a gRPC method.
    pub(crate) fn is_grpc(&self) -> bool {
        self.row.route.grpc
    }

    /// How refusals are written.
    pub(crate) fn dialect(&self) -> Dialect {
        self.row.surface.dialect()
    }

    /// Everything that the request touches, and its body as it is to be forwarded.
    ///
    /// # Errors
    /// A [`RequestFault`] if that cannot be told, or not in one way.
    pub(crate) async fn target<B>(
        &self,
        parts: &Parts,
        body: B,
        limits: &Limits,
    ) -> Result<(Target, RequestBody<B>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Rule::Guarded(guarded) = &self.row.route.rule else {
            return Err(UnknownRoute.into());
        };
        head::refuse_detours(parts)?;
        let media = head::media(&parts.headers)?;
        if self.row.route.grpc && media != Media::Grpc {
            return Err(RequestFault::ContentType.into());
        }
        if media == Media::Form && needs_form(guarded) || is_opaque(guarded) {
            return Err(RequestFault::Opaque.into());
        }
        let query = Query::read(parts.uri.query(), &declared(guarded))?;
        let reading = |body| Reading::new(body, limits.body_wait);
        match guarded.body {
            BodyKind::Unread => {
                let target = self.evidence(&query).target(guarded)?;
                Ok((target, RequestBody::unread(body)))
            }
            BodyKind::Json => {
                if media != Media::Json {
                    return Err(RequestFault::ContentType.into());
                }
                head::refuse_encodings(&parts.headers)?;
                let (bytes, trailers) = reading(body).whole(limits.json_body).await?;
                let found = self.scan(&bytes).await?;
                let evidence = Evidence {
                    json: Some(&found),
                    ..self.evidence(&query)
                };
                Ok((
                    evidence.target(guarded)?,
                    RequestBody::read(bytes, trailers),
                ))
            }
            BodyKind::Message | BodyKind::Stream => {
                head::refuse_encodings(&parts.headers)?;
                let framing = Framing {
                    encoding: Encoding::of(&parts.headers)?,
                    limit: limits.grpc_message,
                };
                self.framed(reading(body), framing, guarded.body).await
            }
        }
    }

    /// What a JSON body says. A large one is read beside the tasks, so that it does not hold
    /// up the requests that share a thread with it.
    async fn scan(&self, body: &Bytes) -> Result<Found, Refusal> {
        /// Read in 0.3 ms, less than a change of threads in a busy moment.
        const MAX_INLINE: usize = 64 * 1024;
        if body.len() <= MAX_INLINE {
            return Ok(scan(&self.row.route, body)?);
        }
        let turn = self.turns.acquire().await;
        let (route, body) = (Arc::clone(&self.row.route), body.clone());
        let scanned = tokio::task::spawn_blocking(move || scan(&route, &body)).await;
        drop(turn);
        Ok(scanned.map_err(|_| Outage::Abandoned)??)
    }

    /// The target of a call whose first message decides it.
    async fn framed<B>(
        &self,
        mut reading: Reading<B>,
        framing: Framing,
        kind: BodyKind,
    ) -> Result<(Target, RequestBody<B>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut arrived = Gathered::default();
        let length = loop {
            match framing.frame_length(arrived.as_slice())? {
                Some(length) if length <= arrived.len() => break length,
                _ => {}
            }
            let frame = reading.frame().await?.map(http_body::Frame::into_data);
            let Some(Ok(data)) = frame else {
                return Err(RequestFault::Incomplete.into());
            };
            arrived.push(data);
        };
        let first = arrived.split_to(length);
        let target = message_target(&self.row, framing, &first)?;
        if kind == BodyKind::Stream {
            let row = self.row.clone();
            let read =
                Arc::new(move |framing, message: &[u8]| message_target(&row, framing, message));
            let watch = Watch::new(reading.body, arrived, framing, read, &target);
            return Ok((target, RequestBody::stream(first, watch)));
        }
        if arrived.len() > 0 {
            return Err(RequestFault::Message.into());
        }
        Ok((target, RequestBody::one_message(first, reading.body)))
    }

    fn evidence<'r>(&'r self, query: &'r Query) -> Evidence<'r> {
        Evidence {
            slots: &self.slots,
            query,
            json: None,
            fields: &[],
            default: self.row.surface.bound_model(),
        }
    }
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Match({} {})",
            self.row.surface.name(),
            self.row.route.template
        )
    }
}

fn scan(route: &Route, body: &[u8]) -> Result<Found, RequestFault> {
    match &route.rule {
        Rule::Guarded(guarded) => Found::scan(body, &guarded.places),
        Rule::Public | Rule::Whoami => Ok(Found::default()),
    }
}

/// What one gRPC message touches.
fn message_target(row: &Row, framing: Framing, message: &[u8]) -> Result<Target, Refusal> {
    let Rule::Guarded(guarded) = &row.route.rule else {
        return Err(UnknownRoute.into());
    };
    let fields = framing.texts(message, &guarded.fields)?;
    let evidence = Evidence {
        slots: &[],
        query: &Query::default(),
        json: None,
        fields: &fields,
        default: row.surface.bound_model(),
    };
    Ok(evidence.target(guarded)?)
}

fn locations(guarded: &Guarded) -> impl Iterator<Item = &Location> {
    let touches = std::iter::once(&guarded.main).chain(&guarded.also);
    touches
        .flat_map(|touch| touch.model.iter().chain(&touch.version))
        .chain(&guarded.secondary)
}

/// Keys of the query that the surface reads.
fn declared(guarded: &Guarded) -> Vec<&str> {
    locations(guarded)
        .filter_map(|location| match location {
            Location::Query(key) => Some(key.as_str()),
            _ => None,
        })
        .collect()
}

fn needs_form(guarded: &Guarded) -> bool {
    locations(guarded).any(|location| *location == Location::Form)
}

/// Whether there is no way to tell the model, whatever the request says.
fn is_opaque(guarded: &Guarded) -> bool {
    let touches = std::iter::once(&guarded.main).chain(&guarded.also);
    touches
        .flat_map(|touch| touch.model.first())
        .any(|location| *location == Location::Opaque)
        || guarded.secondary.contains(&Location::Opaque)
}
