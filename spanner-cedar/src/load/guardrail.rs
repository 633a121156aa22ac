//! Reads and checks guardrails: the organization's `.cedar` files.
//!
//! 1. Each policy has a unique `@id`, and each forbid has a `@reason`.
//! 2. Each is valid in Cedar's strict mode at level 1. Warnings count as errors: a policy that can
//!    never apply has no effect.
//! 3. None does arithmetic, so that none can fail at decision time.
//! 4. The groups, issuers and environments that they name exist.
//! 5. Only a forbid may name the credential that would satisfy it. A challenge must be able to carry
//!    the words.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::str::FromStr as _;
use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Expr, UnaryOp};
use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet, ValidationMode};
use miette::Diagnostic;
use spanner_core::{Advice, Environment, IssuerAlias, ModelName};

use super::demand::{self, SCOPE, STEP_UP_ACR, STEP_UP_MAX_AGE};
use super::grants::Vocabulary;
use super::lexer::{self, MAX_NESTING, MAX_OPERATORS, TooDeep};
use super::problem::{Problems, Source, listed, quoted, suggestion};
use crate::guardrail::{Guardrail, Mode};
use crate::spelling::Ruled;
use spanner_toml::lookalike;

/// Reads the guardrails of all files, one after the other.
#[derive(Debug)]
pub(crate) struct GuardrailReader<'v> {
    vocabulary: &'v Vocabulary<'v>,
    seen: HashMap<String, String>,
    count: usize,
    pub(crate) guardrails: Vec<Guardrail>,
    /// The model names in them.
    pub(crate) ruled: Vec<Ruled>,
}

/// One policy and its position.
struct PolicyText<'p> {
    source: Source<'p>,
    at: usize,
    policy: &'p Policy,
}

impl<'v> GuardrailReader<'v> {
    pub(crate) fn new(vocabulary: &'v Vocabulary<'v>) -> Self {
        Self {
            vocabulary,
            seen: HashMap::new(),
            count: 0,
            guardrails: Vec::new(),
            ruled: Vec::new(),
        }
    }

    /// Reads one file.
    pub(crate) fn read(&mut self, source: Source<'_>, problems: &mut Problems) {
        if let Err(too_deep) = lexer::bounded(source.text) {
            let (at, what) = match too_deep {
                TooDeep::Nesting(at) => (
                    at,
                    format!("more than {MAX_NESTING} brackets or `if`s are open"),
                ),
                TooDeep::Operators(at) => (
                    at,
                    format!("the policy has more than {MAX_OPERATORS} operators"),
                ),
            };
            problems.at(source, at, what, "split it into several policies");
            return;
        }
        if let Some((at, c)) = lookalike::hidden(source.text) {
            problems.invisible(source, at, c);
            return;
        }
        let policies = match PolicySet::from_str(source.text) {
            Ok(policies) => policies,
            Err(errors) => {
                for error in errors.iter() {
                    problems.at(
                        source,
                        offset(error).unwrap_or(0),
                        cedar(error),
                        "correct the Cedar",
                    );
                }
                return;
            }
        };
        for template in policies.templates() {
            let text = template.to_cedar();
            let at = source.text.find(&text).unwrap_or(0);
            problems.at(
                source,
                at,
                "the policy has a slot",
                "name the principal or resource; grants stand in manifests",
            );
        }
        let mut from = 0;
        for policy in in_order(&policies) {
            if self.count == MAX_GUARDRAILS {
                let what = format!("there are more than {MAX_GUARDRAILS} guardrails");
                problems.at(source, from, what, "join some of them");
                return;
            }
            self.count += 1;
            let text = policy.to_cedar().unwrap_or_default();
            let found = source.text.get(from..).and_then(|rest| rest.find(&text));
            let at = found.map_or(from, |found| from + found);
            from = found.map_or(from, |_| at + text.len());
            self.policy(&PolicyText { source, at, policy }, problems);
        }
    }

    fn policy(&mut self, place: &PolicyText<'_>, problems: &mut Problems) {
        let id = self.id(place, problems);
        let reason = place.annotation("reason");
        if reason.is_none() && place.policy.effect() == Effect::Forbid {
            place.problem(
                "the forbid has no `@reason`",
                "say why as `@reason(\"…\")`; it reaches whoever is refused",
                problems,
            );
        }
        let mode = place.mode(problems);
        let advice = advice(place, problems);
        place.refuse_hidden(problems);
        place.refuse_misspelt(problems);
        place.refuse_arithmetic(problems);
        self.refuse_unknown_entities(place, problems);
        let Some(id) = id else {
            return;
        };
        let policy = place.policy.new_id(PolicyId::new(&id));
        let alone = PolicySet::from_policies([policy.clone()]);
        let Ok(alone) = alone else {
            place.problem(
                "the policy cannot stand alone",
                "name the principal and resource",
                problems,
            );
            return;
        };
        self.validate(place, &alone, problems);
        self.ruled
            .extend(Ruled::of(place.source, place.at, &policy, mode));
        self.guardrails.push(Guardrail::new(
            Arc::from(id),
            mode,
            self.vocabulary.schema,
            &policy,
            alone,
            advice,
        ));
    }

    /// The policy's id, if it is valid and unique.
    fn id(&mut self, place: &PolicyText<'_>, problems: &mut Problems) -> Option<String> {
        let Some(id) = place.annotation("id") else {
            place.problem(
                "the policy has no `@id`",
                "name it as `@id(\"…\")`; records refer to it",
                problems,
            );
            return None;
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if id.len() > MAX_ID_BYTES || !id.chars().all(fits) || id.starts_with("grant/") {
            let what = format!("{} is no id for a guardrail", quoted(&id));
            let advice = "use letters, digits, `-`, `_`, `.` and `/`, at most 128, and not `grant/` in front";
            place.problem(what, advice, problems);
            return None;
        }
        let line = place.source.position(place.at).line;
        let here = format!("{}:{line}", place.source.name);
        if let Some(first) = self.seen.get(&id) {
            let what = format!("the id {} is already taken at {first}", quoted(&id));
            place.problem(what, "choose another id", problems);
            return None;
        }
        self.seen.insert(id.clone(), here);
        Some(id)
    }

    /// Runs Cedar's validator. Warnings are reported if there is no error.
    fn validate(&self, place: &PolicyText<'_>, alone: &PolicySet, problems: &mut Problems) {
        let validator = &self.vocabulary.schema.validator;
        let result = validator.validate_with_level(alone, ValidationMode::Strict, LEVEL);
        let errors = first_of_each(result.validation_errors());
        let (complaints, advice) = if errors.is_empty() {
            let warnings = first_of_each(result.validation_warnings());
            (warnings, WARNING_ADVICE)
        } else {
            (errors, ERROR_ADVICE)
        };
        for (at, what) in complaints {
            problems.at(place.source, at.unwrap_or(place.at), what, advice);
        }
    }

    /// Reports names that do not exist: a guardrail about them would never apply.
    fn refuse_unknown_entities(&self, place: &PolicyText<'_>, problems: &mut Problems) {
        let mut literals = place.policy.entity_literals();
        literals.sort();
        literals.dedup();
        for uid in &literals {
            if let Err((what, advice)) = self.known(uid) {
                let at = place.find(uid);
                problems.at(place.source, at, what, advice);
            }
        }
    }

    fn known(&self, uid: &EntityUid) -> Result<(), (String, String)> {
        let Vocabulary {
            environments,
            schema,
            ..
        } = self.vocabulary;
        let types = &schema.types;
        let id = uid.id().unescaped();
        let environment = |name: &str| {
            if environments.is_empty() || environments.iter().any(|known| known.as_str() == name) {
                return Ok(());
            }
            let known = environments.iter().map(Environment::as_str);
            let otherwise = format!("the environments are {}", listed(known.clone()));
            Err((
                format!("unknown environment {}", quoted(name)),
                suggestion(name, known, &otherwise),
            ))
        };
        let model = |name: &str| {
            ModelName::new(name).map(|_| ()).map_err(|error| {
                (
                    error.to_string(),
                    "write the name as the model's API spells it".to_owned(),
                )
            })
        };
        let kind = uid.type_name();
        if *kind == types.environment || *kind == types.server {
            environment(id)
        } else if *kind == types.model {
            model(id)
        } else if *kind == types.endpoint {
            let (place, name) = id.split_once('/').unwrap_or((id, ""));
            environment(place).and_then(|()| model(name))
        } else if [
            &types.group,
            &types.role,
            &types.user,
            &types.service,
            &types.agent,
        ]
        .contains(&kind)
        {
            self.known_principal(uid)
        } else {
            Ok(())
        }
    }

    fn known_principal(&self, uid: &EntityUid) -> Result<(), (String, String)> {
        let directory = self.vocabulary.directory;
        let id = uid.id().unescaped();
        let aliases = directory.issuers.iter().map(IssuerAlias::as_str);
        let alias = id.split_once('/').map_or("", |(alias, _)| alias);
        if directory.issuers.is_empty() {
            return Ok(());
        }
        if !aliases.clone().any(|known| known == alias) {
            let what = format!("{} does not begin with the alias of an issuer", quoted(id));
            let advice = format!(
                "write one of {} and a slash before the name",
                listed(aliases)
            );
            return Err((what, advice));
        }
        let types = &self.vocabulary.schema.types;
        if *uid.type_name() == types.group {
            directory.holder(&format!("group:{id}")).map(|_| ())
        } else if *uid.type_name() == types.role {
            directory.holder(&format!("role:{id}")).map(|_| ())
        } else {
            Ok(())
        }
    }
}

impl PolicyText<'_> {
    fn annotation(&self, key: &str) -> Option<String> {
        self.policy
            .annotation(key)
            .filter(|text| lookalike::is_readable(text))
            .map(ToOwned::to_owned)
    }

    fn mode(&self, problems: &mut Problems) -> Mode {
        match self.policy.annotation("mode") {
            None => Mode::Live,
            Some("shadow") => Mode::Shadow,
            Some(other) => {
                let what = format!("`@mode` cannot be {}", quoted(other));
                self.problem(what, "write `@mode(\"shadow\")`, or leave it out", problems);
                Mode::Live
            }
        }
    }

    /// Reports invisible characters in annotations.
    fn refuse_hidden(&self, problems: &mut Problems) {
        let mut annotations: Vec<_> = self.policy.annotations().collect();
        annotations.sort_unstable();
        for (key, text) in annotations {
            if let Some((_, c)) = lookalike::hidden(text) {
                let what = format!(
                    "there is an invisible character in `@{key}`, {}",
                    lookalike::code(c)
                );
                self.problem(what, "remove it", problems);
            }
        }
    }

    /// Reports annotations that are nearly a known one. Others are the author's own.
    fn refuse_misspelt(&self, problems: &mut Problems) {
        let mut keys: Vec<&str> = self.policy.annotations().map(|(key, _)| key).collect();
        keys.sort_unstable();
        for key in keys {
            if ANNOTATIONS.contains(&key) {
                continue;
            }
            let advice = suggestion(key, ANNOTATIONS.iter().copied(), "");
            if !advice.is_empty() {
                self.problem(
                    format!("unknown annotation {}", quoted(key)),
                    advice,
                    problems,
                );
            }
        }
    }

    fn refuse_arithmetic(&self, problems: &mut Problems) {
        let Ok(policy) = self.policy.to_pst() else {
            self.problem(
                "the policy cannot be read back",
                "write it more simply",
                problems,
            );
            return;
        };
        let calculates = |clause: &Clause| {
            let (Clause::When(expression) | Clause::Unless(expression)) = clause;
            expression.reduce(&arithmetic, &|a, b| a || b, false)
        };
        if policy.body().clauses().iter().any(calculates) {
            self.problem(
                "the policy does arithmetic, which can fail while it decides",
                "compare the attributes of the context as they are",
                problems,
            );
        }
    }

    /// The byte offset at which an entity is named, or the policy's if it is written unusually.
    fn find(&self, uid: &EntityUid) -> usize {
        let text = self.source.text.get(self.at..).unwrap_or_default();
        self.at + text.find(&uid.to_string()).unwrap_or(0)
    }

    fn problem(&self, what: impl Display, advice: impl Display, problems: &mut Problems) {
        problems.at(self.source, self.at, what, advice);
    }
}

/// The advice in the annotations for a refused caller.
fn advice(place: &PolicyText<'_>, problems: &mut Problems) -> Advice {
    let (mut advice, complaints) = demand::read(place.policy);
    for (what, what_to_do) in complaints {
        place.problem(what, what_to_do, problems);
    }
    advice.reason = place.annotation("reason");
    advice.text = place.annotation("advice");
    advice
}

/// `Some(true)` if an expression does arithmetic; `None` continues with its operands.
fn arithmetic(expression: &Expr) -> Option<bool> {
    let calculates = match expression {
        Expr::UnaryOp { op, .. } => matches!(op, UnaryOp::Neg),
        Expr::BinaryOp { op, .. } => matches!(
            op,
            BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Offset
                | BinaryOp::DurationSince
        ),
        _ => false,
    };
    calculates.then_some(true)
}

/// The policies of a file in their order in the text.
fn in_order(policies: &PolicySet) -> Vec<&Policy> {
    let mut policies: Vec<&Policy> = policies.policies().collect();
    let number = |policy: &Policy| {
        let id = policy.id().to_string();
        id.trim_start_matches("policy")
            .parse::<usize>()
            .unwrap_or(usize::MAX)
    };
    policies.sort_by_key(|policy| number(policy));
    policies
}

/// One message for each position. Cedar repeats a message for each action, in no fixed order.
fn first_of_each<'d, D: Diagnostic + 'd>(
    diagnostics: impl Iterator<Item = &'d D>,
) -> BTreeMap<Option<usize>, String> {
    let mut first: BTreeMap<_, String> = BTreeMap::new();
    for diagnostic in diagnostics {
        let what = cedar(diagnostic);
        let entry = first
            .entry(offset(diagnostic))
            .or_insert_with(|| what.clone());
        if what < *entry {
            *entry = what;
        }
    }
    first
}

/// The byte offset of a Cedar diagnostic.
fn offset(diagnostic: &dyn Diagnostic) -> Option<usize> {
    diagnostic.labels()?.map(|label| label.offset()).min()
}

/// The message of a Cedar diagnostic, with its help.
fn cedar(diagnostic: &dyn Diagnostic) -> String {
    match diagnostic.help() {
        Some(help) => format!("{diagnostic} ({help})"),
        None => diagnostic.to_string(),
    }
}

const ERROR_ADVICE: &str = "correct the policy";

const WARNING_ADVICE: &str =
    "correct the policy: warnings count, since it would not guard what it seems to";

/// The annotations that Spanner interprets.
const ANNOTATIONS: &[&str] = &[
    "id",
    "reason",
    "advice",
    "mode",
    STEP_UP_ACR,
    STEP_UP_MAX_AGE,
    SCOPE,
];

/// A decision has the entities of the principal, the action and the resource, but none that their
/// attributes refer to (Cedar RFC 76).
const LEVEL: u32 = 1;

/// The number of guardrails. Those without a resource in their scope are evaluated for every
/// request.
const MAX_GUARDRAILS: usize = 1_000;

/// The length of an id in bytes. It is written to every record of a decision that the guardrail took
/// part in.
const MAX_ID_BYTES: usize = 128;
