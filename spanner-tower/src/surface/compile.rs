//! From the rows of one method and path to a route.

use std::sync::Arc;

use http::{HeaderName, Method};
use spanner_core::Action;

use super::dialect::Dialect;
use super::error::SurfaceProblem;
use super::location::{
    Condition, Document, FieldPath, FieldStep, Free, JsonPath, Location, LocationText, Step, Test,
    Want,
};
use super::reports::Reports;
use super::route::{Guarded, OnMissing, Route, Rule, Touch, Touches, Wanted};
use super::row::{Also, Group, OneOrMore, Row, Shared, bytes};
use super::template::{Reserved, Template};

/// Compiles one route and collects what is wrong with it.
pub(super) struct Compiler<'f> {
    pub(super) problems: Vec<(usize, SurfaceProblem)>,
    reserved: &'f Reserved,
    reports: &'f Arc<Reports>,
    wanted: Wanted,
    /// The byte offset of the row that is being compiled.
    offset: usize,
    grpc: bool,
}

impl<'f> Compiler<'f> {
    pub(super) fn new(reserved: &'f Reserved, reports: &'f Arc<Reports>) -> Self {
        Self {
            problems: Vec::new(),
            reserved,
            reports,
            wanted: Wanted::default(),
            offset: 0,
            grpc: false,
        }
    }

    /// The route, unless a row has a problem.
    pub(super) fn route(&mut self, group: &Group<'_>, shared: &Shared) -> Option<Route> {
        let (offset, first) = group.rows.first()?;
        self.offset = *offset;
        self.grpc = first.grpc;
        let method = self.method(group.method);
        let template = Template::parse(&group.path, self.reserved).map_err(|reason| {
            let path = group.path.clone();
            self.tell(SurfaceProblem::Path { path, reason });
        });
        let dialect = first.dialect.as_deref().and_then(|word| {
            let dialect = Dialect::named(word);
            if dialect.is_none() {
                self.tell(SurfaceProblem::Dialect(word.to_owned()));
            }
            dialect
        });
        let own = group.rows.iter().filter_map(|(_, row)| row.hold.as_deref());
        let own: Vec<_> = own.map(|text| (text, bytes(text))).collect();
        for (text, _) in own.iter().filter(|(_, bytes)| bytes.is_none()) {
            self.tell(SurfaceProblem::Hold((*text).to_owned()));
        }
        let own = own.into_iter().filter_map(|(_, bytes)| bytes).max();
        let reports = self.reports(first);
        let (method, template) = (method?, template.ok()?);
        let rule = match first.action.as_str() {
            "public" => self.unguarded(group, Rule::Public),
            "whoami" => self.unguarded(group, Rule::Whoami),
            _ => self.guarded(group, shared, &template),
        }?;
        self.problems.is_empty().then_some(Route {
            method,
            template,
            grpc: self.grpc,
            dialect,
            hold: own.unwrap_or(shared.hold),
            reports,
            rule,
        })
    }

    /// A route's own reports, or the surface's.
    fn reports(&mut self, row: &Row) -> Arc<Reports> {
        let Some(names) = &row.reports else {
            return Arc::clone(self.reports);
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Reports::of(&names, None).map_or_else(
            |_| {
                self.tell(SurfaceProblem::Reports(names.join(", ")));
                Arc::default()
            },
            Arc::new,
        )
    }

    fn tell(&mut self, problem: SurfaceProblem) {
        self.problems.push((self.offset, problem));
    }

    fn method(&mut self, text: &str) -> Option<Method> {
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ];
        let mut known = known.into_iter();
        let method =
            known.find(|method| method.as_str() == text && (!self.grpc || *method == Method::POST));
        if method.is_none() {
            self.tell(SurfaceProblem::Method(text.to_owned()));
        }
        method
    }

    fn unguarded(&mut self, group: &Group<'_>, rule: Rule) -> Option<Rule> {
        let bare = |row: &Row| {
            row.model.is_none()
                && row.version.is_none()
                && row.on_missing.is_none()
                && row.hold.is_none()
                && row.when.is_none()
                && row.secondary.is_empty()
                && row.same.is_empty()
                && row.also.is_empty()
        };
        let [(_, row)] = group.rows.as_slice() else {
            self.tell(SurfaceProblem::Conditions);
            return None;
        };
        if !bare(row) {
            self.tell(SurfaceProblem::Model);
            return None;
        }
        Some(rule)
    }

    fn guarded(&mut self, group: &Group<'_>, shared: &Shared, at: &Template) -> Option<Rule> {
        let mut rules = Vec::new();
        let last = group.rows.len() - 1;
        for (index, (offset, row)) in group.rows.iter().enumerate() {
            self.offset = *offset;
            // A row without conditions would hide those behind it.
            if (row.when.is_none() && index < last) || row.grpc != self.grpc {
                self.tell(SurfaceProblem::Conditions);
            }
            rules.extend(self.touches(row, shared, at));
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.keep_out(&shared.free);
        wanted.seal();
        if !wanted.reads_in_one_way() {
            self.tell(SurfaceProblem::Bodies);
        }
        let guarded = Guarded { rules, wanted };
        Some(Rule::Guarded(Box::new(guarded)))
    }

    fn touches(&mut self, row: &Row, shared: &Shared, at: &Template) -> Option<Touches> {
        let Some(model) = &row.model else {
            self.tell(SurfaceProblem::Model);
            return None;
        };
        let when = row.when.iter().flat_map(|when| self.conditions(when, at));
        let when = when.collect();
        let mut main = self.touch(&row.action, model, row.on_missing.as_deref(), at);
        let version = self.locations(row.version.as_deref(), at, Want::Value);
        if let Some(main) = &mut main {
            main.version.clone_from(&version);
        }
        let also = row
            .also
            .iter()
            .filter_map(|also| self.also(also, model, &version, at));
        let also = also.collect();
        let same = row
            .same
            .iter()
            .flat_map(|text| self.locations(Some(text), at, Want::Further));
        let same = same.collect();
        // What a router or a server with adapters reads besides, it reads to run a model.
        let runs = main.as_ref().is_some_and(|main| is_run(main.action));
        let reads = runs && !self.wanted.json.is_empty();
        let shared = shared.secondary.iter().map(String::as_str);
        let shared = shared.filter(|_| reads);
        let secondary = row.secondary.iter().map(String::as_str).chain(shared);
        let secondary = secondary
            .flat_map(|text| self.locations(Some(text), at, Want::Further))
            .collect();
        Some(Touches {
            when,
            main: main?,
            also,
            secondary,
            same,
        })
    }

    fn also(
        &mut self,
        also: &Also,
        model: &str,
        version: &[Location],
        at: &Template,
    ) -> Option<Touch> {
        let when = also.when.as_ref().map_or(&[][..], OneOrMore::as_slice);
        let when = when.iter().map(|when| self.conditions(when, at)).collect();
        let own = also.model.as_deref();
        let on_missing = also.on_missing.as_deref();
        let mut touch = self.touch(&also.action, own.unwrap_or(model), on_missing, at)?;
        touch.when = when;
        touch.foreign = also.foreign;
        touch.version = match (&also.version, own) {
            (Some(text), _) => self.locations(Some(text), at, Want::Value),
            (None, None) => version.to_vec(),
            (None, Some(_)) => Vec::new(),
        };
        Some(touch)
    }

    fn touch(
        &mut self,
        action: &str,
        model: &str,
        on_missing: Option<&str>,
        at: &Template,
    ) -> Option<Touch> {
        let action = self.action(action);
        let on_missing = self.on_missing(on_missing);
        let model = self.locations(Some(model), at, Want::Name);
        Some(Touch {
            when: Vec::new(),
            action: action?,
            model,
            version: Vec::new(),
            on_missing: on_missing?,
            foreign: false,
        })
    }

    /// `approve` is Spanner's own and no API's.
    fn action(&mut self, text: &str) -> Option<Action> {
        let action = text
            .parse()
            .ok()
            .filter(|action| *action != Action::Approve);
        if action.is_none() {
            self.tell(SurfaceProblem::Action(text.to_owned()));
        }
        action
    }

    fn on_missing(&mut self, text: Option<&str>) -> Option<OnMissing> {
        match text {
            None | Some("default") => Some(OnMissing::Default),
            Some("refuse") => Some(OnMissing::Refuse),
            Some("nothing") => Some(OnMissing::Nothing),
            Some("first") => Some(OnMissing::First),
            Some(other) => match other.strip_prefix("server:") {
                Some(action) => self.action(action).map(OnMissing::Server),
                None => {
                    self.tell(SurfaceProblem::OnMissing(other.to_owned()));
                    None
                }
            },
        }
    }

    fn conditions(&mut self, text: &str, at: &Template) -> Vec<Condition> {
        let texts = text.split(" & ");
        texts.filter_map(|text| self.condition(text, at)).collect()
    }

    fn condition(&mut self, text: &str, at: &Template) -> Option<Condition> {
        let (place, test) = Test::split(text);
        let subject = LocationText::parse(place).and_then(|written| match written {
            LocationText::DeletedRefs => {
                self.wanted.refs = true;
                Ok(Location::DeletedRefs)
            }
            LocationText::Opaque | LocationText::OnlyModel | LocationText::Server => {
                Err("a condition is about a place that can be read")
            }
            written => self.place(written, at, Want::Value),
        });
        match subject {
            Ok(subject) => Some(Condition { subject, test }),
            Err(reason) => {
                let location = text.to_owned();
                self.tell(SurfaceProblem::Location { location, reason });
                None
            }
        }
    }

    /// Alternatives, separated by `|`.
    fn locations(&mut self, text: Option<&str>, at: &Template, want: Want) -> Vec<Location> {
        let texts = text.into_iter().flat_map(|text| text.split('|'));
        texts
            .filter_map(|text| self.location(text, at, want))
            .collect()
    }

    fn location(&mut self, text: &str, at: &Template, want: Want) -> Option<Location> {
        let placed = LocationText::parse(text).and_then(|written| self.place(written, at, want));
        placed
            .map_err(|reason| {
                let location = text.to_owned();
                self.tell(SurfaceProblem::Location { location, reason });
            })
            .ok()
    }

    /// Puts a location where the reader of its kind finds it.
    fn place(
        &mut self,
        written: LocationText<'_>,
        at: &Template,
        want: Want,
    ) -> Result<Location, &'static str> {
        let in_message = matches!(
            written,
            LocationText::Field(_) | LocationText::StreamField(_)
        );
        let anywhere = matches!(
            written,
            LocationText::OnlyModel | LocationText::Server | LocationText::Opaque
        );
        if !anywhere && in_message != self.grpc {
            return Err("gRPC routes name models in protobuf fields, others do not");
        }
        let slot = |name: &str| at.slot(name).ok_or("the path has no such slot");
        let slots = |names: Vec<&str>| names.into_iter().map(slot).collect::<Result<_, _>>();
        match written {
            LocationText::OnlyModel => Ok(Location::OnlyModel),
            LocationText::Server => Ok(Location::Server),
            LocationText::Opaque => Ok(Location::Opaque),
            LocationText::Path(names) => slots(names).map(Location::Path),
            LocationText::PathAfter(name, mark) => {
                Ok(Location::PathAfter(slot(name)?, mark.to_owned()))
            }
            LocationText::Query(name) => {
                noted(&mut self.wanted.query, name.to_owned());
                Ok(Location::Query(name.to_owned()))
            }
            LocationText::Header(name) => {
                let name = HeaderName::try_from(name).map_err(|_| "this is no header's name")?;
                Ok(Location::Header(noted(&mut self.wanted.headers, name)))
            }
            LocationText::Json(steps) => Ok(Location::Json(self.json(steps, want))),
            LocationText::Joined(names, members) => {
                // One of several that is null is not there.
                let members = members.into_iter();
                let members = members
                    .map(|steps| self.json(steps, Want::Further))
                    .collect();
                Ok(Location::Joined(slots(names)?, members))
            }
            LocationText::OpaqueJson(steps) if want == Want::Further => {
                Ok(Location::Json(self.json(steps, Want::Nothing)))
            }
            LocationText::OpaqueForm(name) => {
                let form = (name.to_owned(), Want::Nothing);
                Ok(Location::Form(noted(&mut self.wanted.form, form)))
            }
            LocationText::OpaqueQuery(name) => {
                noted(&mut self.wanted.query, name.to_owned());
                Ok(Location::Opaque)
            }
            LocationText::OpaqueJson(_) => Ok(Location::Opaque),
            LocationText::Line(steps) => self.line(steps, want, false),
            LocationText::FileLine(steps) => self.line(steps, want, true),
            LocationText::Form(name) => {
                let form = (name.to_owned(), want);
                Ok(Location::Form(noted(&mut self.wanted.form, form)))
            }
            LocationText::Field(steps) => self.field(steps, want, false),
            LocationText::StreamField(steps) => self.field(steps, want, true),
            LocationText::Refs => {
                self.wanted.refs = true;
                Ok(Location::Refs)
            }
            LocationText::DeletedRefs => Err("it can only be a condition"),
            // A frame of a conversation that says null leaves its model as it is.
            LocationText::Frame(steps) if want == Want::Name => {
                Ok(self.frame(steps, Want::Further))
            }
            LocationText::Frame(steps) => Ok(self.frame(steps, want)),
            LocationText::OpaqueFrame(steps) => Ok(self.frame(steps, Want::Nothing)),
            LocationText::OpaqueFileLine(steps) => self.line(steps, Want::Nothing, true),
        }
    }

    fn json(&mut self, steps: Arc<[Step]>, want: Want) -> usize {
        noted(&mut self.wanted.json, JsonPath { steps, want })
    }

    fn frame(&mut self, steps: Arc<[Step]>, want: Want) -> Location {
        Location::Frame(noted(&mut self.wanted.frames, JsonPath { steps, want }))
    }

    fn line(
        &mut self,
        steps: Arc<[Step]>,
        want: Want,
        file: bool,
    ) -> Result<Location, &'static str> {
        if !self.wanted.lines.is_empty() && self.wanted.in_file != file {
            return Err("a route reads lines of its body or of a file, not both");
        }
        self.wanted.in_file = file;
        let place = JsonPath { steps, want };
        Ok(Location::Line(noted(&mut self.wanted.lines, place)))
    }

    fn field(
        &mut self,
        steps: Vec<FieldStep>,
        want: Want,
        stream: bool,
    ) -> Result<Location, &'static str> {
        if !self.wanted.fields.is_empty() && self.wanted.stream != stream {
            return Err("a route reads one message or each, not both");
        }
        self.wanted.stream = stream;
        let number = want == Want::Value;
        let path = FieldPath { steps, number };
        Ok(Location::Field(noted(&mut self.wanted.fields, path)))
    }
}

impl Wanted {
    /// Ends places of any depth (`**`) before the places that the API leaves to its users.
    fn keep_out(&mut self, free: &[Free]) {
        for Free { document, steps } in free {
            let places = match document {
                Document::Body => &mut self.json,
                Document::Frame => &mut self.frames,
                Document::Line if !self.in_file => &mut self.lines,
                Document::FileLine if self.in_file => &mut self.lines,
                Document::Line | Document::FileLine => continue,
            };
            if places.iter().any(|place| place.steps.contains(&Step::Any)) {
                let (steps, want) = (Arc::clone(steps), Want::Free);
                places.push(JsonPath { want, steps });
            }
        }
    }
}

/// Whether an action runs a model.
pub(crate) const fn is_run(action: Action) -> bool {
    matches!(action, Action::Embed | Action::Generate | Action::Predict)
}

/// The position of something that is wanted.
pub(super) fn noted<T: PartialEq>(known: &mut Vec<T>, wanted: T) -> usize {
    known
        .iter()
        .position(|known| *known == wanted)
        .unwrap_or_else(|| {
            known.push(wanted);
            known.len() - 1
        })
}
