//! From TOML to a surface.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use spanner_core::Action;
use toml::Spanned;

use super::error::{Problem, SurfaceError};
use super::location::{Location, Place, Want, Written};
use super::route::{BodyKind, Guarded, OnMissing, Route, Rule, Touch};
use super::template::{Overlap, Template};
use super::{Dialect, Surface};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    dialect: Spanned<String>,
    #[serde(default)]
    secondary: Vec<Spanned<String>>,
    routes: Vec<Spanned<Row>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    method: String,
    path: String,
    #[serde(default)]
    grpc: bool,
    action: String,
    model: Option<String>,
    version: Option<String>,
    #[serde(default)]
    secondary: Vec<String>,
    #[serde(default)]
    also: Vec<Also>,
    on_missing: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Also {
    action: String,
    model: String,
    on_missing: Option<String>,
}

/// Reads a surface, or finds everything that is wrong with it.
pub(super) fn read(name: &str, text: &str) -> Result<Surface, SurfaceError> {
    let line = |at: usize| text.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(1, |span| line(span.start));
        let message = error.message().lines().collect::<Vec<_>>().join(" ");
        SurfaceError::new(name, vec![(at, Problem::Shape(message))])
    })?;
    let mut problems = Vec::new();
    let dialect = dialect(file.dialect.get_ref())
        .map_err(|problem| problems.push((line(file.dialect.span().start), problem)));
    let shared: Vec<&str> = file
        .secondary
        .iter()
        .map(|s| s.get_ref().as_str())
        .collect();
    for secondary in &file.secondary {
        if let Err(reason) = Written::parse(secondary.get_ref()) {
            let location = secondary.get_ref().clone();
            problems.push((
                line(secondary.span().start),
                Problem::Location { location, reason },
            ));
        }
    }
    let mut routes: Vec<(usize, Arc<Route>)> = Vec::new();
    for row in &file.routes {
        let at = line(row.span().start);
        let mut compiler = Compiler::default();
        let route = compiler.route(row.get_ref(), &shared);
        problems.extend(compiler.problems.into_iter().map(|problem| (at, problem)));
        if let Some(route) = route {
            problems.extend(overlaps(&routes, &route).map(|problem| (at, problem)));
            routes.push((at, Arc::new(route)));
        }
    }
    problems.sort_by_key(|(line, _)| *line);
    match dialect {
        Ok(dialect) if problems.is_empty() => Ok(Surface {
            name: name.into(),
            dialect,
            routes: routes.into_iter().map(|(_, route)| route).collect(),
            default_model: None,
        }),
        _ => Err(SurfaceError::new(name, problems)),
    }
}

fn dialect(text: &str) -> Result<Dialect, Problem> {
    match text {
        "openai" => Ok(Dialect::OpenAi),
        "open-inference" => Ok(Dialect::OpenInference),
        "problem" => Ok(Dialect::Problem),
        other => Err(Problem::Dialect(other.to_owned())),
    }
}

fn overlaps<'r>(
    earlier: &'r [(usize, Arc<Route>)],
    route: &'r Route,
) -> impl Iterator<Item = Problem> + 'r {
    earlier
        .iter()
        .filter(|(_, other)| other.method == route.method)
        .filter(|(_, other)| other.template.overlap(&route.template) == Overlap::Both)
        .map(|(line, other)| Problem::Overlap {
            path: route.template.to_string(),
            other: other.template.to_string(),
            line: *line,
        })
}

/// Compiles one row and collects what is wrong with it.
#[derive(Default)]
struct Compiler {
    problems: Vec<Problem>,
    places: Vec<Place>,
    fields: Vec<Vec<u32>>,
    streams: bool,
    grpc: bool,
}

impl Compiler {
    /// The route, unless the row has a problem.
    fn route(&mut self, row: &Row, shared: &[&str]) -> Option<Route> {
        self.grpc = row.grpc;
        let method = self.method(row);
        let template = Template::parse(&row.path).map_err(|reason| {
            let path = row.path.clone();
            self.problems.push(Problem::Path { path, reason });
        });
        let (method, template) = (method?, template.ok()?);
        let rule = match row.action.as_str() {
            "public" => self.unguarded(row, Rule::Public),
            "whoami" => self.unguarded(row, Rule::Whoami),
            _ => self.guarded(row, shared, &template).map(Rule::Guarded),
        }?;
        self.problems.is_empty().then_some(Route {
            method,
            template,
            grpc: row.grpc,
            rule,
        })
    }

    fn method(&mut self, row: &Row) -> Option<Method> {
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ];
        let method = known
            .into_iter()
            .find(|method| method.as_str() == row.method && (!row.grpc || *method == Method::POST));
        if method.is_none() {
            self.problems.push(Problem::Method(row.method.clone()));
        }
        method
    }

    fn unguarded(&mut self, row: &Row, rule: Rule) -> Option<Rule> {
        let bare = row.model.is_none()
            && row.version.is_none()
            && row.on_missing.is_none()
            && row.secondary.is_empty()
            && row.also.is_empty();
        if !bare {
            self.problems.push(Problem::Model);
        }
        bare.then_some(rule)
    }

    fn guarded(&mut self, row: &Row, shared: &[&str], template: &Template) -> Option<Guarded> {
        let Some(model) = &row.model else {
            self.problems.push(Problem::Model);
            return None;
        };
        let main = self.touch(&row.action, model, row.on_missing.as_deref(), template);
        let version = row.version.as_deref();
        let version = version.and_then(|text| self.location(text, template, Want::Further));
        let also: Vec<Touch> = row
            .also
            .iter()
            .filter_map(|also| {
                self.touch(
                    &also.action,
                    &also.model,
                    also.on_missing.as_deref(),
                    template,
                )
            })
            .collect();
        let shared = shared.iter().copied().filter(|_| !self.places.is_empty());
        let texts: Vec<&str> = row
            .secondary
            .iter()
            .map(String::as_str)
            .chain(shared)
            .collect();
        let secondary = texts
            .into_iter()
            .filter_map(|text| self.location(text, template, Want::Further))
            .collect();
        let mut main = main?;
        main.version = version;
        Some(Guarded {
            main,
            also,
            secondary,
            body: self.body(),
            places: std::mem::take(&mut self.places),
            fields: std::mem::take(&mut self.fields),
        })
    }

    fn body(&self) -> BodyKind {
        match (self.fields.is_empty(), self.streams, self.places.is_empty()) {
            (false, true, _) => BodyKind::Stream,
            (false, false, _) => BodyKind::Message,
            (true, _, false) => BodyKind::Json,
            (true, _, true) => BodyKind::Unread,
        }
    }

    fn touch(
        &mut self,
        action: &str,
        model: &str,
        on_missing: Option<&str>,
        template: &Template,
    ) -> Option<Touch> {
        let action = self.action(action);
        let on_missing = self.on_missing(on_missing);
        let model: Vec<Location> = model
            .split('|')
            .filter_map(|text| self.location(text, template, Want::Name))
            .collect();
        Some(Touch {
            action: action?,
            model,
            version: None,
            on_missing: on_missing?,
        })
    }

    /// `approve` is Spanner's own and no API's.
    fn action(&mut self, text: &str) -> Option<Action> {
        let action = text
            .parse()
            .ok()
            .filter(|action| *action != Action::Approve);
        if action.is_none() {
            self.problems.push(Problem::Action(text.to_owned()));
        }
        action
    }

    fn on_missing(&mut self, text: Option<&str>) -> Option<OnMissing> {
        match text {
            None | Some("default") => Some(OnMissing::Default),
            Some("refuse") => Some(OnMissing::Refuse),
            Some(other) => match other.strip_prefix("server:") {
                Some(action) => self.action(action).map(OnMissing::Server),
                None => {
                    self.problems.push(Problem::OnMissing(other.to_owned()));
                    None
                }
            },
        }
    }

    fn location(&mut self, text: &str, template: &Template, want: Want) -> Option<Location> {
        let placed = Written::parse(text).and_then(|written| self.place(written, template, want));
        placed
            .map_err(|reason| {
                let location = text.to_owned();
                self.problems.push(Problem::Location { location, reason });
            })
            .ok()
    }

    /// Puts a location where the reader of its kind finds it.
    fn place(
        &mut self,
        written: Written<'_>,
        template: &Template,
        want: Want,
    ) -> Result<Location, &'static str> {
        let in_message = matches!(written, Written::Field(_) | Written::StreamField(_));
        let in_http = matches!(
            written,
            Written::Query(_) | Written::Json(_) | Written::OpaqueJson(_) | Written::Form
        );
        if (in_message && !self.grpc) || (in_http && self.grpc) {
            return Err("gRPC routes name models in protobuf fields, others do not");
        }
        match written {
            Written::Server => Ok(Location::Server),
            Written::Opaque => Ok(Location::Opaque),
            Written::Query(name) => Ok(Location::Query(name.to_owned())),
            Written::Form => Ok(Location::Form),
            Written::Path(names) => names
                .into_iter()
                .map(|name| template.slot(name).ok_or("the path has no such slot"))
                .collect::<Result<_, _>>()
                .map(Location::Path),
            Written::Json(steps) => Ok(Location::Json(self.json(steps, want))),
            Written::OpaqueJson(steps) if want == Want::Further => {
                Ok(Location::Json(self.json(steps, Want::Nothing)))
            }
            Written::OpaqueJson(_) => Ok(Location::Opaque),
            Written::Field(numbers) => self.field(numbers, false),
            Written::StreamField(numbers) => self.field(numbers, true),
        }
    }

    fn json(&mut self, steps: Vec<super::Step>, want: Want) -> usize {
        let place = Place { steps, want };
        let known = self.places.iter().position(|known| *known == place);
        known.unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }

    fn field(&mut self, numbers: Vec<u32>, stream: bool) -> Result<Location, &'static str> {
        if !self.fields.is_empty() && self.streams != stream {
            return Err("a route reads one message or each, not both");
        }
        self.streams = stream;
        let known = self.fields.iter().position(|known| *known == numbers);
        Ok(Location::Field(known.unwrap_or_else(|| {
            self.fields.push(numbers);
            self.fields.len() - 1
        })))
    }
}
