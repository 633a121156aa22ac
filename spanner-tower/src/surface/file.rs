//! From TOML to a surface.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use spanner_toml::{Problems, Source, Toml};
use toml::Spanned;

use super::compile::Compiler;
use super::error::{SurfaceError, SurfaceProblem};
use super::location::{Free, LocationText};
use super::names::{NameFile, Names};
use super::reports::{ApiFile, Reports};
use super::route::Route;
use super::row::{Group, Row, Shared, bytes};
use super::template::{Overlap, Reserved};
use super::{Credential, Dialect, Surface};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    dialect: Spanned<String>,
    #[serde(default)]
    credentials: Vec<Spanned<String>>,
    #[serde(default)]
    one_model: bool,
    #[serde(default)]
    names: NameFile,
    reports: Option<Spanned<Vec<String>>>,
    report: Option<Spanned<ApiFile>>,
    #[serde(default)]
    reserved: ReservedFile,
    #[serde(default)]
    secondary: Vec<Spanned<String>>,
    #[serde(default)]
    free: Vec<Spanned<String>>,
    hold: Option<Spanned<String>>,
    #[serde(default)]
    paths: BTreeMap<String, Vec<String>>,
    routes: Vec<Spanned<Row>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservedFile {
    slots: Vec<String>,
    words: Vec<String>,
}

/// Reads a surface, or finds everything that is wrong with it.
pub(super) fn read(name: &str, text: &str) -> Result<Surface, SurfaceError> {
    let source = Source::new(name, text);
    let file: File =
        toml::from_str(text).map_err(|_| SurfaceError::shape(source, &shape(source)))?;
    let mut problems = Vec::new();
    let mut told = |spanned: &Spanned<String>, problem| {
        problems.push((spanned.span().start, problem));
    };
    let dialect = Dialect::named(file.dialect.get_ref());
    if dialect.is_none() {
        told(
            &file.dialect,
            SurfaceProblem::Dialect(file.dialect.get_ref().clone()),
        );
    }
    let mut credentials = Vec::new();
    for place in &file.credentials {
        match Credential::named(place.get_ref()) {
            Some(credential) => credentials.push(credential),
            None => told(place, SurfaceProblem::Credential(place.get_ref().clone())),
        }
    }
    for secondary in &file.secondary {
        if let Err(reason) = LocationText::parse(secondary.get_ref()) {
            let location = secondary.get_ref().clone();
            told(secondary, SurfaceProblem::Location { location, reason });
        }
    }
    let mut free = Vec::new();
    for spanned in &file.free {
        for text in spelled(spanned.get_ref(), &file.paths) {
            match Free::parse(&text) {
                Ok(place) if free.contains(&place) => {}
                Ok(place) => free.push(place),
                Err(reason) => told(
                    spanned,
                    SurfaceProblem::Location {
                        location: text,
                        reason,
                    },
                ),
            }
        }
    }
    let hold = file.hold.as_ref().map_or(Some(0), |text| {
        let hold = bytes(text.get_ref());
        if hold.is_none() {
            told(text, SurfaceProblem::Hold(text.get_ref().clone()));
        }
        hold
    });
    let reports = match reports(dialect, file.reports.as_ref(), file.report.as_ref()) {
        Ok(reports) => Arc::new(reports),
        Err((at, problem)) => {
            problems.push((at, problem));
            Arc::default()
        }
    };
    let names = Names::of(file.names).map_err(|problem| problems.push((0, problem)));
    let secondary = file.secondary.iter();
    let shared = Shared {
        secondary: secondary.map(|text| text.get_ref().clone()).collect(),
        free,
        hold: hold.unwrap_or_default(),
    };
    let reserved = Reserved {
        slots: file.reserved.slots,
        words: file.reserved.words.into(),
    };
    let mut routes: Vec<(usize, Arc<Route>)> = Vec::new();
    for group in groups(&file.routes, &file.paths) {
        let mut compiler = Compiler::new(&reserved, &reports);
        let route = compiler.route(&group, &shared);
        problems.append(&mut compiler.problems);
        if let (Some(route), Some((at, _))) = (route, group.rows.first()) {
            problems.extend(overlaps(source, &routes, &route).map(|problem| (*at, problem)));
            routes.push((*at, Arc::new(route)));
        }
    }
    match (dialect, names) {
        (Some(dialect), Ok(names)) if problems.is_empty() => Ok(Surface {
            name: name.into(),
            dialect,
            credentials: credentials.into(),
            names: Arc::new(names),
            one_model: file.one_model,
            routes: routes.into_iter().map(|(_, route)| route).collect(),
            default_model: None,
        }),
        _ => Err(SurfaceError::new(source, problems)),
    }
}

/// Everything that keeps a text from having the shape of a surface, with positions.
fn shape(source: Source<'_>) -> Problems {
    let mut problems = Problems::default();
    let Some(toml) = Toml::parse(source, &mut problems) else {
        return problems;
    };
    let table = toml.table(KEYS, &mut problems);
    table.require("dialect", "`dialect = \"problem\"`", &mut problems);
    table.require("routes", "`[[routes]]`", &mut problems);
    table.text("dialect", &mut problems);
    table.text("hold", &mut problems);
    for key in ["credentials", "reports", "secondary", "free"] {
        table.texts(key, &mut problems);
    }
    table.flag("one_model", &mut problems);
    table.read::<NameFile>("names", &mut problems);
    table.read::<ApiFile>("report", &mut problems);
    table.read::<ReservedFile>("reserved", &mut problems);
    table.read::<BTreeMap<String, Vec<String>>>("paths", &mut problems);
    table.read_list::<Row>("routes", &mut problems);
    problems
}

/// The keys of a surface file.
const KEYS: &[&str] = &[
    "dialect",
    "credentials",
    "one_model",
    "names",
    "reports",
    "report",
    "reserved",
    "secondary",
    "free",
    "hold",
    "paths",
    "routes",
];

/// What the answers of a surface report: what it names, or what its dialect implies. A problem
/// comes with its place in the text.
fn reports(
    dialect: Option<Dialect>,
    names: Option<&Spanned<Vec<String>>>,
    own: Option<&Spanned<ApiFile>>,
) -> Result<Reports, (usize, SurfaceProblem)> {
    if names.is_none() && own.is_none() {
        return Ok(dialect.map(Reports::of_dialect).unwrap_or_default());
    }
    let named = names.map_or(&[][..], |names| names.get_ref());
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let apis = Reports::of(&named, None).map_err(|_| {
        let at = names.map_or(0, |names| names.span().start);
        (at, SurfaceProblem::Reports(named.join(", ")))
    })?;
    let Some(own) = own else {
        return Ok(apis);
    };
    Reports::of(&named, Some(own.get_ref()))
        .map_err(|_| (own.span().start, SurfaceProblem::ReportPlace))
}

/// The rows by method and path, in their order.
fn groups<'f>(rows: &'f [Spanned<Row>], paths: &BTreeMap<String, Vec<String>>) -> Vec<Group<'f>> {
    let mut groups: Vec<Group<'f>> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for spanned in rows {
        let (row, at) = (spanned.get_ref(), spanned.span().start);
        for method in row.method.as_slice() {
            for path in row
                .path
                .as_slice()
                .iter()
                .flat_map(|path| spelled(path, paths))
            {
                let place = *known.entry((method, path.clone())).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some(group) => group.rows.push((at, row)),
                    None => groups.push(Group {
                        method,
                        path,
                        rows: vec![(at, row)],
                    }),
                }
            }
        }
    }
    groups
}

/// Every path that a path stands for whose `$name` is one of several texts.
fn spelled(path: &str, paths: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let used = paths.iter().find_map(|(name, texts)| {
        let mark = format!("${name}");
        path.contains(&mark).then_some((mark, texts))
    });
    let Some((mark, texts)) = used else {
        return vec![path.to_owned()];
    };
    let one = texts.iter().map(|text| path.replacen(&mark, text, 1));
    one.flat_map(|path| spelled(&path, paths)).collect()
}

fn overlaps<'r>(
    source: Source<'r>,
    earlier: &'r [(usize, Arc<Route>)],
    route: &'r Route,
) -> impl Iterator<Item = SurfaceProblem> + 'r {
    // A path without slots is always more exact than one with slots.
    let earlier = earlier.iter().filter(|_| !route.template.is_literal());
    earlier
        .filter(|(_, other)| other.method == route.method && !other.template.is_literal())
        .filter(|(_, other)| other.template.overlap(&route.template) == Overlap::Both)
        .map(move |(at, other)| SurfaceProblem::Overlap {
            path: route.template.to_string(),
            other: other.template.to_string(),
            line: source.position(*at).line,
        })
}
