//! Checks model names against how the surfaces read them.
//!
//! A surface may normalize a name: Ollama reads `gemma3:latest` as `gemma3`. A policy about the
//! first name then never applies, and a forbid that never applies protects nothing. Therefore:
//!
//! 1. A name that no surface produces, in an environment where the name is used, is a problem.
//! 2. If some surface reads a guardrail's name as another one, the guardrail must name that one too.
//!    A second guardrail that differs only in the name (a twin) also suffices. A permit whose scope
//!    names the model is exempt.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{Effect, Policy};
use serde_json::Value;
use spanner_core::{Environment, ModelName, Spelling};
use spanner_toml::{Problem, Problems, Source, quoted};

use crate::guardrail::Mode;

/// The surfaces' spellings, each with the environment that the surface serves. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spellings(Arc<RwLock<Arc<[Served]>>>);

/// A surface's spelling with the environment that it serves.
pub(crate) type Served = (Environment, Spelling);

/// The model names that an access mentions.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    pub(crate) manifests: Vec<Titled>,
    pub(crate) guardrails: Vec<Ruled>,
}

/// The model that a manifest is about.
#[derive(Debug)]
pub(crate) struct Titled {
    place: FilePosition,
    model: ModelName,
    /// The environments in which the manifest grants something.
    environments: BTreeSet<Environment>,
}

/// A guardrail with the model names in it.
#[derive(Debug)]
pub(crate) struct Ruled {
    effect: Effect,
    mode: Mode,
    /// The policy as JSON, without its annotations.
    body: Value,
    names: Vec<Named>,
}

/// A name in a guardrail.
#[derive(Debug)]
struct Named {
    place: FilePosition,
    name: Pattern,
    environment: Option<Environment>,
    /// Whether more is allowed if the name never matches.
    binds: bool,
}

/// A name, or a pattern of `like`, in which `None` is a wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(ModelName),
    Like(Vec<Option<String>>),
}

/// A position in one of the access's files.
#[derive(Debug, Clone)]
struct FilePosition {
    file: String,
    position: spanner_toml::Position,
}

impl Spellings {
    pub(crate) fn of(served: Vec<Served>) -> Self {
        let spellings = Self::default();
        spellings.set(served);
        spellings
    }

    /// The spellings known now.
    pub(crate) fn known(&self) -> Arc<[Served]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, served: Vec<Served>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = served.into();
    }

    /// These spellings and further ones, without duplicates.
    pub(crate) fn with(&self, environment: &Environment, more: &[Spelling]) -> Vec<Served> {
        let mut served = self.known().to_vec();
        for spelling in more {
            let one = (environment.clone(), spelling.clone());
            if !served.contains(&one) {
                served.push(one);
            }
        }
        served
    }
}

/// What is wrong with a name that no request in an environment can have, and what to write instead.
pub(crate) fn unreachable(
    served: &[Served],
    model: &ModelName,
    environment: Option<&Environment>,
) -> Option<(String, String)> {
    let here = within(served, environment);
    Pattern::Name(model.clone()).is_dead(&here, environment)
}

impl Mentions {
    /// Reports every name that a surface reads as another one.
    pub(crate) fn check(&self, served: &[Served], problems: &mut Problems) {
        for titled in &self.manifests {
            titled.check(served, problems);
        }
        for ruled in &self.guardrails {
            for named in &ruled.names {
                self.check_named(ruled, named, served, problems);
            }
        }
    }

    fn check_named(
        &self,
        ruled: &Ruled,
        named: &Named,
        served: &[Served],
        problems: &mut Problems,
    ) {
        let here = within(served, named.environment.as_ref());
        let dead = named.name.is_dead(&here, named.environment.as_ref());
        let complaint = match (dead, named.astray(ruled, self, &here)) {
            (Some(dead), Some(_)) => Some(dead),
            // The name that it is read as is covered, so only a name that is never read is reported.
            (Some(dead), None) => named.is_never_read(&here).then_some(dead),
            (None, Some((surface, read))) => named.binds.then(|| {
                let (name, read) = (quoted(&named.name.shown()), quoted(read.as_str()));
                let what = format!(
                    "the surface {} reads {name} as {read}, which this guardrail does not name",
                    quoted(&surface)
                );
                let advice =
                    format!("name {read} as well: add a guardrail that says the same of it");
                (what, advice)
            }),
            (None, None) => None,
        };
        if let Some((what, advice)) = complaint {
            problems.push(named.place.problem(what, advice));
        }
    }
}

impl Titled {
    pub(crate) fn new(
        source: Source<'_>,
        at: usize,
        model: ModelName,
        environments: BTreeSet<Environment>,
    ) -> Self {
        Self {
            place: FilePosition::of(source, at),
            model,
            environments,
        }
    }

    /// Checks the name in each environment in which the manifest grants something.
    pub(crate) fn check(&self, served: &[Served], problems: &mut Problems) {
        let all = self.environments.is_empty().then_some(None);
        let places = self.environments.iter().map(Some).chain(all);
        let complaint = places
            .filter_map(|environment| unreachable(served, &self.model, environment))
            .next();
        if let Some((what, advice)) = complaint {
            problems.push(self.place.problem(what, advice));
        }
    }
}

impl Ruled {
    /// The model names in a policy; `None` if there are none.
    pub(crate) fn of(source: Source<'_>, at: usize, policy: &Policy, mode: Mode) -> Option<Self> {
        let mut body = policy.to_json().ok()?;
        body.as_object_mut()?.remove("annotations");
        let mut found = Vec::new();
        for (key, part) in body.as_object()? {
            let scope = matches!(key.as_str(), "principal" | "action" | "resource");
            collect(part, !scope, &mut found);
        }
        let forbids = policy.effect() == Effect::Forbid;
        let own = source.text.get(at..).unwrap_or_default();
        let place = |text: &str| {
            own.find(&format!("{text:?}"))
                .map_or(at, |found| at + found)
        };
        let names: Vec<Named> = found
            .into_iter()
            .filter_map(|found| {
                Some(Named {
                    place: FilePosition::of(source, place(&found.text)),
                    name: found.pattern?,
                    environment: found.environment,
                    binds: forbids || found.in_condition,
                })
            })
            .collect();
        (!names.is_empty()).then_some(Self {
            effect: policy.effect(),
            mode,
            body,
            names,
        })
    }

    /// Whether it differs from another guardrail only in the model's name.
    fn is_twin(&self, other: &Self, name: &ModelName, others: &ModelName) -> bool {
        (self.effect, self.mode) == (other.effect, other.mode)
            && self.body != other.body
            && self.body == renamed(&other.body, others.as_str(), name.as_str())
    }
}

impl Named {
    /// Whether no surface accepts a request with this name.
    fn is_never_read(&self, here: &[(&Environment, &Spelling)]) -> bool {
        let samples = self.name.samples();
        let mut read = samples
            .iter()
            .flat_map(|name| here.iter().flat_map(|(_, it)| it.read(name)));
        read.next().is_none()
    }

    /// A surface that reads the name as one that neither the guardrail nor a twin mentions.
    fn astray(
        &self,
        ruled: &Ruled,
        all: &Mentions,
        here: &[(&Environment, &Spelling)],
    ) -> Option<(String, ModelName)> {
        for sample in self.name.samples() {
            for (environment, spelling) in here {
                let read = spelling.read(&sample);
                if read.iter().any(|name| self.name.takes(name)) {
                    continue;
                }
                let provided = |name: &ModelName| {
                    let itself = ruled.names.iter().any(|other| {
                        let here = other.environment.as_ref();
                        other.name.takes(name) && here.is_none_or(|own| own == *environment)
                    });
                    itself
                        || all
                            .guardrails
                            .iter()
                            .any(|twin| twin.is_twin(ruled, name, &sample))
                };
                if let Some(name) = read.iter().find(|name| !provided(name)) {
                    return Some((spelling.surface().to_owned(), name.clone()));
                }
            }
        }
        None
    }
}

impl Pattern {
    /// What is wrong and what to write instead, if no request can have such a name.
    fn is_dead(
        &self,
        here: &[(&Environment, &Spelling)],
        environment: Option<&Environment>,
    ) -> Option<(String, String)> {
        let samples = self.samples();
        let sample = samples.first()?;
        let kept = here.iter().any(|(_, spelling)| {
            let read = samples.iter().flat_map(|sample| spelling.read(sample));
            read.into_iter().any(|name| self.takes(&name))
        });
        if kept || here.is_empty() {
            return None;
        }
        let surfaces: BTreeSet<&str> = here.iter().map(|(_, it)| it.surface()).collect();
        let surfaces: Vec<String> = surfaces.into_iter().map(quoted).collect();
        let through = match surfaces.as_slice() {
            [one] => format!("the surface {one}"),
            several => format!("the surfaces {}", several.join(", ")),
        };
        let place = environment
            .map(|it| format!(" in `{it}`"))
            .unwrap_or_default();
        let (name, like) = (self.shown(), matches!(self, Self::Like(_)));
        let what = match like {
            true => format!(
                "no request through {through}{place} is ever about a name like {}",
                quoted(&name)
            ),
            false => format!(
                "no request through {through}{place} is ever about {}",
                quoted(&name)
            ),
        };
        let read: BTreeSet<ModelName> = here
            .iter()
            .flat_map(|(_, spelling)| spelling.read(sample))
            .collect();
        let read: Vec<String> = read.iter().map(|name| quoted(name.as_str())).collect();
        let advice = match (like, read.as_slice()) {
            (_, []) => "write the name of the model that the server runs".to_owned(),
            (true, [one, ..]) => format!("{} is read as {one} there", quoted(sample.as_str())),
            (false, [one]) => format!("write {one}"),
            (false, several) => format!("write {}, each on its own", several.join(" and ")),
        };
        Some((what, advice))
    }

    /// Example names that match it.
    fn samples(&self) -> Vec<ModelName> {
        let parts = match self {
            Self::Name(name) => return vec![name.clone()],
            Self::Like(parts) => parts,
        };
        let filled = ["x", "x/x", "0"].into_iter().map(|fill| {
            let parts = parts.iter().map(|part| part.as_deref().unwrap_or(fill));
            parts.collect::<String>()
        });
        let first = filled.filter_map(|text| ModelName::new(&text).ok()).next();
        first.into_iter().collect()
    }

    fn takes(&self, name: &ModelName) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Like(parts) => is_like(parts, name.as_str()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Like(parts) => {
                let parts = parts.iter().map(|part| part.as_deref().unwrap_or("*"));
                parts.collect()
            }
        }
    }
}

impl FilePosition {
    fn of(source: Source<'_>, at: usize) -> Self {
        Self {
            file: source.name.to_owned(),
            position: source.position(at),
        }
    }

    fn problem(&self, what: String, advice: String) -> Problem {
        Problem::new(&self.file, Some(self.position), what, advice)
    }
}

/// The spellings of one environment, or of all.
fn within<'s>(
    served: &'s [Served],
    environment: Option<&Environment>,
) -> Vec<(&'s Environment, &'s Spelling)> {
    let served = served.iter().map(|(place, spelling)| (place, spelling));
    served
        .filter(|(place, _)| environment.is_none_or(|wanted| wanted == *place))
        .collect()
}

/// A mention of a model in the JSON of a policy.
struct Found {
    text: String,
    pattern: Option<Pattern>,
    environment: Option<Environment>,
    in_condition: bool,
}

/// Collects the mentions of models: entities, and values that `resource.name` is compared with.
fn collect(value: &Value, in_condition: bool, found: &mut Vec<Found>) {
    match value {
        Value::Object(members) => {
            let text = |key: &str| members.get(key).and_then(Value::as_str);
            if let (Some(kind), Some(id)) = (text("type"), text("id")) {
                found.extend(entity(kind, id, in_condition));
                return;
            }
            for (operator, operands) in members {
                compared(operator, operands, found);
                collect(operands, in_condition, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(item, in_condition, found);
            }
        }
        _ => {}
    }
}

fn entity(kind: &str, id: &str, in_condition: bool) -> Option<Found> {
    let (environment, name) = match kind {
        "Spanner::Model" => (None, id),
        "Spanner::Endpoint" => {
            let (environment, name) = id.split_once('/')?;
            (Some(Environment::new(environment).ok()?), name)
        }
        _ => return None,
    };
    Some(Found {
        text: id.to_owned(),
        pattern: ModelName::new(name).ok().map(Pattern::Name),
        environment,
        in_condition,
    })
}

/// Collects the values that an operator compares `resource.name` with.
fn compared(operator: &str, operands: &Value, found: &mut Vec<Found>) {
    let side = |key: &str| operands.get(key);
    let is_name = |value: Option<&Value>| {
        let access = value.and_then(|value| value.get("."));
        let attribute = access.and_then(|it| it.get("attr")).and_then(Value::as_str);
        let subject = access.and_then(|it| it.get("left")?.get("Var")?.as_str());
        (attribute, subject) == (Some("name"), Some("resource"))
    };
    if !is_name(side("left")) && !is_name(side("right")) {
        return;
    }
    if operator == "like" {
        let parts = side("pattern").and_then(Value::as_array);
        let parts: Vec<Option<String>> = parts
            .into_iter()
            .flatten()
            .map(|part| Some(part.get("Literal")?.as_str()?.to_owned()))
            .collect();
        let pattern = Pattern::Like(joined(parts));
        found.push(Found {
            text: pattern.shown(),
            pattern: Some(pattern),
            environment: None,
            in_condition: true,
        });
        return;
    }
    for value in [side("left"), side("right")].into_iter().flatten() {
        texts(value, &mut |text| {
            found.push(Found {
                text: text.to_owned(),
                pattern: ModelName::new(text).ok().map(Pattern::Name),
                environment: None,
                in_condition: true,
            });
        });
    }
}

/// Joins adjacent literals of a pattern.
fn joined(parts: Vec<Option<String>>) -> Vec<Option<String>> {
    let mut whole: Vec<Option<String>> = Vec::new();
    for part in parts {
        match (whole.last_mut(), part) {
            (Some(Some(last)), Some(text)) => last.push_str(&text),
            (_, part) => whole.push(part),
        }
    }
    whole
}

/// Visits the strings of a value or of a set.
fn texts(value: &Value, take: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, take)),
        Value::Object(members) => {
            for key in ["Value", "Set"] {
                if let Some(inner) = members.get(key) {
                    texts(inner, take);
                }
            }
        }
        _ => {}
    }
}

/// Whether a text matches a pattern with wildcards.
fn is_like(parts: &[Option<String>], text: &str) -> bool {
    match parts {
        [] => text.is_empty(),
        [Some(literal), rest @ ..] => text
            .strip_prefix(literal.as_str())
            .is_some_and(|text| is_like(rest, text)),
        [None] => true,
        [None, rest @ ..] => {
            let ends = text.char_indices().map(|(at, _)| at);
            let mut ends = ends.chain([text.len()]);
            ends.any(|at| text.get(at..).is_some_and(|text| is_like(rest, text)))
        }
    }
}

/// A policy with one model's name replaced by another.
fn renamed(value: &Value, from: &str, to: &str) -> Value {
    match value {
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| (key.clone(), renamed(value, from, to));
            Value::Object(members.iter().map(member).collect())
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, from, to)).collect(),
        Value::String(text) if text == from => Value::String(to.to_owned()),
        Value::String(text) => match text.strip_suffix(from).and_then(|it| it.strip_suffix('/')) {
            Some(environment) if Environment::new(environment).is_ok() => {
                Value::String(format!("{environment}/{to}"))
            }
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}
