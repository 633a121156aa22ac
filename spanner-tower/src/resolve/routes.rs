//! Finds the surface's row for a method and path, and the target of a request.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body::Body;
use spanner_core::{Pair, Refusal, RequestFault, Target, UnknownRoute};

use super::body::RequestBody;
use super::buffer::{Contiguous, Pieces};
use super::decode::Decoder;
use super::evidence::{Content, Evidence};
use super::gather::Reading;
use super::grpc::{Encoding, Framing};
use super::head::{self, Media, Query};
use super::json::JsonScan;
use super::reader::Reader;
use super::{BoxError, Limits, path, stream, watch};
use crate::shares::BodyReservation;
use crate::surface::{
    self, Credential, Dialect, Location, Overlap, Reports, Route, Rule, SlotValue, Surface,
    Touches, Wanted,
};

/// The surfaces of one guard, indexed for look-up.
#[derive(Debug)]
pub(crate) struct Routes {
    methods: HashMap<Method, Rows>,
    /// The surface whose error format is used for an unknown route that resembles no other.
    first: Option<Surface>,
}

/// The rows of one method.
#[derive(Debug, Default)]
struct Rows {
    /// Paths without slots.
    fixed: HashMap<Arc<str>, Row>,
    /// Paths with slots by their first segment, more specific ones first.
    slotted: HashMap<String, Vec<Row>>,
    /// Paths that begin with a slot.
    open: Vec<Row>,
    /// Whether two of them can match the same path and neither is more specific.
    crossing: bool,
}

#[derive(Debug, Clone)]
struct Row {
    surface: Surface,
    /// The position of the surface in the guard's list.
    rank: usize,
    route: Arc<Route>,
}

/// Two surfaces contradict each other about a path.
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
    /// A caller who is allowed everything that the request touches.
    Guarded,
}

/// A request's row.
pub(crate) struct Match {
    row: Row,
    /// What the path's slots hold, decoded.
    slots: Vec<String>,
}

impl Routes {
    /// Joins surfaces that one server offers.
    ///
    /// If two have the same route, the first one named defines its form, and models that the
    /// others would read are read as well. Every model that any of them finds must be allowed.
    /// If their actions differ, both must be allowed.
    ///
    /// # Errors
    /// [`Overlapping`] if a path is public in one surface and guarded in another, or if no
    /// reader can find what both look for.
    pub(crate) fn new(surfaces: Vec<Surface>) -> Result<Self, Overlapping> {
        let methods = HashMap::new();
        let first = surfaces.first().cloned();
        let mut routes = Self { methods, first };
        for (rank, surface) in surfaces.into_iter().enumerate() {
            for route in surface.routes() {
                let (surface, route) = (surface.clone(), Arc::clone(route));
                routes.insert(Row {
                    surface,
                    rank,
                    route,
                })?;
            }
        }
        Ok(routes)
    }

    /// A path that could belong both to one of `some` surfaces and to one of `others`.
    pub(crate) fn common(some: &[Surface], others: &[Surface]) -> Option<Overlapping> {
        let rows = |surfaces: &[Surface]| -> Vec<Row> {
            let routes = |surface: &Surface| {
                let surface = surface.clone();
                let routes = surface.routes().to_vec();
                routes.into_iter().map(move |route| Row {
                    surface: surface.clone(),
                    rank: 0,
                    route,
                })
            };
            surfaces.iter().flat_map(routes).collect()
        };
        let some = rows(some);
        rows(others).iter().find_map(|row| {
            let other = some.iter().find(|other| other.meets(row))?;
            Some(Overlapping::of(row, other))
        })
    }

    fn insert(&mut self, row: Row) -> Result<(), Overlapping> {
        let rows = self.methods.entry(row.route.method.clone()).or_default();
        if let Some(known) = rows.alike(&row) {
            // Naming a surface twice is a mistake.
            let other = known.surface.name() != row.surface.name();
            let joined = other.then(|| known.route.joined(&row.route)).flatten();
            let joined = joined.ok_or_else(|| Overlapping::of(&row, known))?;
            known.route = Arc::new(joined);
            return Ok(());
        }
        let meeting: Vec<&Row> = rows.near(&row).filter(|other| other.meets(&row)).collect();
        let unlike = |other: &&&Row| !other.route.is_as_open_as(&row.route);
        if let Some(other) = meeting.iter().find(unlike) {
            return Err(Overlapping::of(&row, other));
        }
        rows.crossing |= !meeting.is_empty();
        let template = &row.route.template;
        let text = template.text();
        let slotted = match template.first() {
            _ if template.is_literal() => {
                rows.fixed.insert(text, row);
                return Ok(());
            }
            Some(first) => rows.slotted.entry(first.to_owned()).or_default(),
            None => &mut rows.open,
        };
        let key = row.route.template.inexactness();
        let at = slotted.partition_point(|known| known.route.template.inexactness() <= key);
        slotted.insert(at, row);
        Ok(())
    }

    /// The error format for a path that may be unknown: that of the route with the most similar
    /// beginning, here or in a surface that Spanner ships, because that client probably sent it.
    /// A path that resembles none gets the first surface's format.
    pub(crate) fn likeness(&self, path: &str) -> Option<(Dialect, &[Credential])> {
        let rows = self.methods.values().flat_map(Rows::all);
        let own = rows.map(|row| {
            let (surface, route) = (&row.surface, &row.route);
            let dialect = route.dialect.unwrap_or_else(|| surface.dialect());
            let order = (common(&route.template.text(), path), Reverse(dialect));
            (order, surface.credentials())
        });
        let own = own.max_by_key(|(order, _)| *order);
        let shipped = SHIPPED.iter();
        let shipped = shipped.map(|(text, dialect)| (common(text, path), Reverse(*dialect)));
        let shipped = shipped.max().filter(|(score, _)| *score > 0);
        let first = self.first.as_ref();
        let places = first.map_or(&[][..], Surface::credentials);
        match (own, shipped) {
            (Some(((score, Reverse(dialect)), places)), other)
                if score > 0 && other.is_none_or(|(other, _)| other <= score) =>
            {
                Some((dialect, places))
            }
            // Clients of OpenAI also show errors in the generic format.
            (None, Some((_, Reverse(Dialect::OpenAi)))) => None,
            (_, Some((_, Reverse(dialect)))) => Some((dialect, places)),
            (_, None) => first.map(|first| (first.dialect(), places)),
        }
    }

    /// Finds the row of a request. Only its target and `Host` are read.
    ///
    /// # Errors
    /// [`RequestFault::Path`] or [`RequestFault::Target`] if the target is ambiguous,
    /// [`UnknownRoute`] if no surface knows it.
    pub(crate) fn classify(&self, parts: &Parts) -> Result<Match, Refusal> {
        if parts.method == Method::CONNECT {
            // The guard cannot see inside a tunnel.
            return Err(RequestFault::Opaque.into());
        }
        let grpc = head::media(&parts.headers) == Ok(Media::Grpc);
        self.row(parts, grpc).map_err(|refusal| match refusal {
            Refusal::Request(RequestFault::Path) if grpc => RequestFault::Rpc.into(),
            refusal => refusal,
        })
    }

    fn row(&self, parts: &Parts, grpc: bool) -> Result<Match, Refusal> {
        let path = path::checked(parts)?;
        let found = self.find(&parts.method, path).or_else(|| {
            let head = parts.method == Method::HEAD;
            head.then(|| self.find(&Method::GET, path)).flatten()
        });
        let Some((row, held)) = found else {
            return Err(match path::hides_slash(path) {
                true => RequestFault::Path.into(),
                false if grpc && !self.could_be_method(path) => RequestFault::Rpc.into(),
                false => UnknownRoute.into(),
            });
        };
        let hidden = |(slot, held): (usize, &SlotValue<'_>)| {
            let begins = path::begins_with_slash(held.raw) && !row.route.names_model(slot);
            let parts = held.raw.split('/').skip(1);
            begins
                || parts.into_iter().any(path::begins_with_slash)
                || (!held.slashes && path::hides_slash(held.raw))
        };
        if held.iter().enumerate().any(hidden) {
            return Err(RequestFault::Path.into());
        }
        // A gRPC method has no query; some servers route by the whole `:path`.
        if row.route.grpc && parts.uri.query().is_some() {
            return Err(match grpc {
                true => RequestFault::Rpc.into(),
                false => UnknownRoute.into(),
            });
        }
        Ok(Match {
            row: row.clone(),
            slots: held.iter().map(|held| path::decoded(held.raw)).collect(),
        })
    }

    /// Whether an unknown path may be a gRPC method of some server: it has the syntax of one and
    /// is not a case variant of a known one.
    fn could_be_method(&self, path: &str) -> bool {
        let mut parts = path.split('/').skip(1);
        let form = matches!(
            (parts.next(), parts.next(), parts.next()),
            (Some(service), Some(method), None) if !service.is_empty() && !method.is_empty()
        );
        let rows = self.methods.get(&Method::POST);
        let mut fixed = rows.into_iter().flat_map(|rows| rows.fixed.keys());
        form && !fixed.any(|known| known.eq_ignore_ascii_case(path))
    }

    fn find<'p>(&self, method: &Method, path: &'p str) -> Option<(&Row, Vec<SlotValue<'p>>)> {
        let rows = self.methods.get(method)?;
        if let Some(row) = rows.fixed.get(path) {
            return Some((row, Vec::new()));
        }
        let first = path.get(1..).and_then(|path| path.split('/').next());
        let slotted = first.and_then(|first| rows.slotted.get(first));
        let mut candidates = slotted.into_iter().flatten().chain(&rows.open);
        let mut matching = candidates.by_ref().filter_map(|row| {
            let held = row.route.template.matches(path)?;
            Some((row, held))
        });
        let found = matching.next()?;
        if !rows.crossing {
            return Some(found);
        }
        let earlier = |(row, _): &(&Row, _)| row.rank < found.0.rank && row.meets(found.0);
        let first = matching.filter(earlier).min_by_key(|(row, _)| row.rank);
        Some(first.unwrap_or(found))
    }
}

impl Row {
    /// Whether another row can match the same path and neither is more specific.
    fn meets(&self, other: &Self) -> bool {
        let (own, others) = (&self.route, &other.route);
        own.method == others.method && own.template.overlap(&others.template) == Overlap::Both
    }

    /// Whether another row is for the same paths.
    fn is_alike(&self, other: &Self) -> bool {
        self.route.template.is_alike(&other.route.template)
    }
}

impl Overlapping {
    fn of(row: &Row, other: &Row) -> Self {
        Self {
            method: row.route.method.to_string(),
            path: row.route.template.to_string(),
            surface: row.surface.name().to_owned(),
            other_path: other.route.template.to_string(),
            other: other.surface.name().to_owned(),
        }
    }
}

/// The number of leading segments that a template and a path share. A slot matches nothing.
fn common(template: &str, path: &str) -> usize {
    let segments = template.split('/').zip(path.split('/')).skip(1);
    segments.take_while(|(known, asked)| known == asked).count()
}

/// The templates of all surfaces that Spanner ships, each with its dialect.
static SHIPPED: LazyLock<Vec<(Arc<str>, Dialect)>> = LazyLock::new(|| {
    let surfaces: Vec<Surface> = surface::built_in().filter_map(surface::named).collect();
    let rows = surfaces.iter().flat_map(|surface| {
        let routes = surface.routes().iter();
        routes.map(|route| {
            let dialect = route.dialect.unwrap_or_else(|| surface.dialect());
            (route.template.text(), dialect)
        })
    });
    rows.collect()
});

impl Rows {
    /// The row for the same paths.
    fn alike(&mut self, row: &Row) -> Option<&mut Row> {
        let template = &row.route.template;
        let rows = match template.first() {
            _ if template.is_literal() => return self.fixed.get_mut(&template.text()),
            Some(first) => self.slotted.get_mut(first)?,
            None => &mut self.open,
        };
        rows.iter_mut().find(|known| known.is_alike(row))
    }

    /// The rows that can match a path of another row and are as specific. A path without slots
    /// is more specific than any path with slots.
    fn near(&self, row: &Row) -> impl Iterator<Item = &Row> + use<'_> {
        let template = &row.route.template;
        let (slotted, all): (_, &[Row]) = match template.first() {
            _ if template.is_literal() => (None, &[]),
            Some(first) => (self.slotted.get(first).map(Vec::as_slice), &self.open),
            None => (None, &self.open),
        };
        let begins_open = !template.is_literal() && template.first().is_none();
        let others = begins_open.then(|| self.slotted.values().flatten());
        slotted
            .into_iter()
            .flatten()
            .chain(others.into_iter().flatten())
            .chain(all)
    }

    fn all(&self) -> impl Iterator<Item = &Row> {
        let slotted = self.slotted.values().flatten();
        self.fixed.values().chain(slotted).chain(&self.open)
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

    /// The format of refusals.
    pub(crate) fn dialect(&self) -> Dialect {
        self.row
            .route
            .dialect
            .unwrap_or_else(|| self.row.surface.dialect())
    }

    /// What the responses report.
    pub(crate) fn reports(&self) -> Arc<Reports> {
        Arc::clone(&self.row.route.reports)
    }

    /// The places where clients put their token.
    pub(crate) fn credentials(&self) -> &[Credential] {
        self.row.surface.credentials()
    }

    /// Resolves everything that the request touches, and returns its body for forwarding.
    ///
    /// # Errors
    /// A [`RequestFault`] if the request is ambiguous or its models cannot be found.
    pub(crate) async fn target<B>(
        &self,
        parts: &Parts,
        body: B,
        limits: &Limits,
        room: BodyReservation,
    ) -> Result<(Target, RequestBody<B>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Rule::Guarded(guarded) = &self.row.route.rule else {
            return Err(UnknownRoute.into());
        };
        let wanted = &guarded.wanted;
        head::refuse_detours(parts, &wanted.headers)?;
        let media = head::media(&parts.headers)?;
        if self.row.route.grpc && media != Media::Grpc {
            return Err(RequestFault::ContentType.into());
        }
        let opaque = |rule: &Touches| rule.main.model == [Location::Opaque];
        if guarded.rules.iter().all(opaque) {
            return Err(RequestFault::Opaque.into());
        }
        let query = Query::read(parts.uri.query(), &wanted.query)?;
        let headers = &parts.headers;
        let hold = self.row.route.hold.min(limits.hold);
        if !wanted.fields.is_empty() {
            Decoder::of(headers).and_then(Decoder::none)?;
            let framing = Framing {
                encoding: Encoding::of(headers)?,
                limit: match wanted.stream {
                    true => limits.grpc_message,
                    false => limits.grpc_message.max(hold),
                },
            };
            let reading = Reading::new(body, limits, room);
            return self.framed(reading, framing, wanted.stream).await;
        }
        let request = RequestHead {
            row: self.row.clone(),
            slots: self.slots.clone(),
            query,
            headers: kept(headers, wanted),
        };
        if !wanted.reads_body() || is_empty(&body) {
            let target = request.target(&Content::default())?;
            return Ok((target, RequestBody::unread(body)));
        }
        if !headers.contains_key(CONTENT_TYPE) {
            let mut reading = Reading::new(body, limits, room);
            let trailers = reading.nothing().await?;
            let target = request.target(&Content::default())?;
            return Ok((target, RequestBody::read(Pieces::default(), trailers)));
        }
        // No server reads a form without its content type, so it cannot name anything.
        if media == Media::Other && wanted.reads_only_forms() {
            let target = request.target(&Content::default());
            let target = target.map_err(|_| RequestFault::ContentType)?;
            return Ok((target, RequestBody::unread(body)));
        }
        let reader = Reader::new(headers, media, wanted, limits.decoded)?;
        let reading = Reading::new(body, limits, room);
        let kept = (limits.body, limits.body.max(hold));
        request.scanned(reading, reader, kept).await
    }

    /// Whether a request opens a WebSocket whose messages name models.
    pub(crate) fn opens_conversation(&self, parts: &Parts) -> bool {
        match &self.row.route.rule {
            Rule::Guarded(guarded) => {
                !guarded.wanted.frames.is_empty() && head::is_websocket(parts)
            }
            Rule::Public | Rule::Whoami => false,
        }
    }

    /// Returns the resolver for the messages of a WebSocket, and what its request touches before
    /// the first message.
    ///
    /// # Errors
    /// As for [`target`](Self::target).
    pub(crate) fn conversation(
        &self,
        parts: &Parts,
    ) -> Result<(MessageResolver, Option<Target>), Refusal> {
        let Rule::Guarded(guarded) = &self.row.route.rule else {
            return Err(UnknownRoute.into());
        };
        let wanted = &guarded.wanted;
        head::refuse_retargeting(parts, &wanted.headers)?;
        let messages = MessageResolver(RequestHead {
            row: self.row.clone(),
            slots: self.slots.clone(),
            query: Query::read(parts.uri.query(), &wanted.query)?,
            headers: kept(&parts.headers, wanted),
        });
        let target = match messages.0.target(&Content::default()) {
            Err(RequestFault::NoModel) => None,
            target => Some(target?),
        };
        Ok((messages, target))
    }

    /// The target of a call whose first message decides it.
    async fn framed<B>(
        &self,
        mut reading: Reading<B>,
        framing: Framing,
        stream: bool,
    ) -> Result<(Target, RequestBody<B>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut arrived = Contiguous::default();
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
        let pairs = message_pairs(&self.row, framing, &first, false)?;
        let target = Target::of(pairs).ok_or(RequestFault::TooManyModels)?;
        if stream {
            let row = self.row.clone();
            let read = Arc::new(move |framing, message: &[u8]| {
                message_pairs(&row, framing, message, true)
            });
            let watch = stream::Watch::new(reading.body, arrived, framing, read, &target);
            let body = RequestBody::stream(first, watch);
            return Ok((target, body.holding(reading.room)));
        }
        if arrived.len() > 0 {
            return Err(RequestFault::Message.into());
        }
        let body = RequestBody::one_message(first, reading.body);
        Ok((target, body.holding(reading.room)))
    }
}

/// Resolves what the messages of one WebSocket touch.
#[derive(Clone)]
pub(crate) struct MessageResolver(RequestHead);

impl MessageResolver {
    /// What the server's frames report.
    pub(crate) fn reports(&self) -> &Arc<Reports> {
        &self.0.row.route.reports
    }

    /// Resolves what a frame touches; empty for a later frame that names no model.
    ///
    /// # Errors
    /// A [`RequestFault`] if the frame is ambiguous or its models cannot be found.
    pub(crate) fn pairs(&self, frame: &[u8], later: bool) -> Result<Vec<Pair>, RequestFault> {
        let Rule::Guarded(guarded) = &self.0.row.route.rule else {
            return Err(RequestFault::NoModel);
        };
        let mut scan = JsonScan::new(Arc::clone(&guarded.wanted.sealed.frames));
        scan.feed(frame)?;
        scan.end()?;
        let body = Content {
            frames: scan.found().clone(),
            later,
            ..Content::default()
        };
        self.0.pairs(&body)
    }
}

/// The parts of a request other than its body.
#[derive(Clone)]
struct RequestHead {
    row: Row,
    slots: Vec<String>,
    query: Query,
    /// Those that name models.
    headers: HeaderMap,
}

impl RequestHead {
    fn pairs(&self, body: &Content) -> Result<Vec<Pair>, RequestFault> {
        let Rule::Guarded(guarded) = &self.row.route.rule else {
            return Err(RequestFault::NoModel);
        };
        let evidence = Evidence {
            slots: &self.slots,
            query: &self.query,
            headers: &self.headers,
            body,
            surface: &self.row.surface,
            wanted: &guarded.wanted,
        };
        evidence.pairs(guarded)
    }

    fn target(&self, body: &Content) -> Result<Target, RequestFault> {
        Target::of(self.pairs(body)?).ok_or(RequestFault::TooManyModels)
    }

    /// Resolves the target from a body that is read whole, or as far as it may be held; more of
    /// it may be held while it names no model.
    async fn scanned<B>(
        self,
        mut reading: Reading<B>,
        mut reader: Reader,
        (least, most): (usize, usize),
    ) -> Result<(Target, RequestBody<B>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut held = Pieces::default();
        let mut trailers = None;
        let mut tried = None;
        while let Some(frame) = reading.frame().await? {
            let mut data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    trailers = frame.into_trailers().ok();
                    continue;
                }
            };
            let unread = data.split_off(data.len().min(most - held.len()));
            // Yields to other tasks between the chunks.
            for piece in data.chunks(MAX_TURN) {
                reader.feed(piece)?;
                if data.len() > MAX_TURN {
                    tokio::task::yield_now().await;
                }
            }
            if held.len().checked_div(least) != (held.len() + data.len()).checked_div(least) {
                reading.wait_again();
            }
            held.push(data);
            let full = !unread.is_empty();
            let over = held.len() > least && tried != Some(reader.count());
            if !reader.is_done() && !full && !over {
                continue;
            }
            tried = Some(reader.count());
            let target = match self.target(&reader.content(!reader.is_done())) {
                Err(RequestFault::NoModel) if !full && !reader.is_done() => continue,
                Err(RequestFault::NoModel) => Err(RequestFault::TooLarge { limit: most }),
                target => target,
            }?;
            if reader.is_done() {
                held.push(unread);
                let body = RequestBody::decided(held, reading.body);
                return Ok((target, body.holding(reading.room)));
            }
            let pairs_of = Arc::new(move |body: &Content| self.pairs(body));
            let watch = watch::Watch::new(reading.body, reader, pairs_of, unread, &target);
            let body = RequestBody::scanned(held, watch);
            return Ok((target, body.holding(reading.room)));
        }
        reader.end()?;
        let target = self.target(&reader.into_content())?;
        let body = RequestBody::read(held, trailers);
        Ok((target, body.holding(reading.room)))
    }
}

/// The bytes of a body that are read without yielding: about 0.2 ms.
const MAX_TURN: usize = 64 * 1024;

/// The headers that the route reads.
fn kept(headers: &HeaderMap, wanted: &Wanted) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in &wanted.headers {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// Whether a body is known to be empty.
fn is_empty<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// What one gRPC message touches.
fn message_pairs(
    row: &Row,
    framing: Framing,
    message: &[u8],
    later: bool,
) -> Result<Vec<Pair>, Refusal> {
    let Rule::Guarded(guarded) = &row.route.rule else {
        return Err(UnknownRoute.into());
    };
    let body = Content {
        fields: framing.texts(message, &guarded.wanted.fields)?,
        later,
        ..Content::default()
    };
    let evidence = Evidence {
        slots: &[],
        query: &Query::default(),
        headers: &HeaderMap::new(),
        body: &body,
        surface: &row.surface,
        wanted: &guarded.wanted,
    };
    Ok(evidence.pairs(guarded)?)
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
