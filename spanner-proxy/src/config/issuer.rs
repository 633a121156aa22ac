//! `[[issuer]]`: one identity provider.
//!
//! The keys are those of [`Issuer::from_toml`](spanner_tower::Issuer::from_toml), which
//! reads them; a few have a shorter name here. So whatever a provider can need is there, and
//! is explained in one place.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use spanner_core::token::RulesProblem;
use spanner_tower::bearer::{IssuerProblem, ProviderProblem, ProvidersError};
use spanner_tower::{Bearer, BearerError, Issuer};
use toml::{Table, Value};

use super::fields::{Fields, plain};
use super::problem::{Place, Problems};
use super::within;
use crate::words;

/// One identity provider, as configured.
#[derive(Clone)]
pub struct IssuerConfig {
    /// The alias in principals and records.
    pub name: String,
    /// Where the table stands.
    pub place: Place,
    file: String,
    members: Table,
    places: HashMap<String, Place>,
}

/// What a key of this file is called in a file of providers.
const RENAMED: [(&str, &str); 3] = [
    ("url", "issuer"),
    ("audiences", "audience"),
    ("algorithms", "algs"),
];

impl IssuerConfig {
    pub(super) fn read(fields: Fields<'_>, base: &Path) -> Option<Self> {
        let name = fields.required(
            "name",
            "`name = \"corp\"`: the alias in principals and records",
        )?;
        let (mut members, mut places) = (Table::new(), HashMap::new());
        for (key, value) in fields.table {
            let key: &str = key.get_ref();
            let place = fields.page.place(value.span().start);
            places.insert(key.to_owned(), place);
            if key == "name" {
                continue;
            }
            let (name, value) = translated(key, plain(value.get_ref()), base);
            members.insert(name, value);
        }
        Some(Self {
            name: name.value.to_owned(),
            place: fields.page.place(fields.at),
            file: fields.page.name.clone(),
            members,
            places,
        })
    }

    /// Takes the tokens of the provider at `url` instead, which may be `http` on the loopback
    /// interface. For a provider that is started together with the proxy.
    pub fn relocate(&mut self, url: &str) {
        for key in ["jwks", "jwks_file", "jwks_url", "preset", "tenants"] {
            self.members.remove(key);
        }
        self.members
            .insert("issuer".to_owned(), Value::String(url.to_owned()));
        self.members
            .insert(LOOPBACK.to_owned(), Value::Boolean(true));
    }

    /// Whether its addresses may be `http` on the loopback interface.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.members.get(LOOPBACK) == Some(&Value::Boolean(true))
    }

    /// The first audience that tokens of this issuer must name.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        match self.members.get("audience")? {
            Value::Array(items) => items.first()?.as_str(),
            one => one.as_str(),
        }
    }

    /// Every problem with it, alone.
    pub(crate) fn problems(&self) -> Problems {
        let (mut rest, mut problems) = (self.clone(), Problems::default());
        let mut read = rest.read_members();
        if let Err(error) = &read {
            problems.extend(self.placed(error));
            // What else is wrong shows without those members.
            for problem in error.problems() {
                rest.members.remove(self.member(problem));
            }
            read = rest.read_members();
        }
        let built = read.map(|issuers| Bearer::builder().issuers(issuers).build());
        if let Ok(Err(error)) = built {
            problems.extend(self.found(&error));
        }
        problems
    }

    /// The issuer that it describes, or every problem with how that is said.
    pub(crate) fn issuer(&self) -> Result<Issuer, Problems> {
        let issuers = self.read_members().map_err(|error| self.placed(&error))?;
        issuers.into_iter().next().ok_or_else(|| self.problems())
    }

    fn read_members(&self) -> Result<Vec<Issuer>, ProvidersError> {
        let one = Table::from_iter([(self.name.clone(), Value::Table(self.members.clone()))]);
        let all = Table::from_iter([("providers".to_owned(), Value::Table(one))]);
        Issuer::from_toml(&all.to_string())
    }

    /// The problems of a file of providers where they stand in this one.
    fn placed(&self, error: &ProvidersError) -> Problems {
        let mut problems = Problems::default();
        for problem in error.problems() {
            self.note(&mut problems, self.member(problem), &problem.problem);
        }
        problems
    }

    /// The member that a problem of a file of providers is about.
    fn member<'p>(&self, problem: &'p ProviderProblem) -> &'p str {
        let path = format!("providers.{}.", self.name);
        let member = problem.place.strip_prefix(&path).unwrap_or_default();
        member.split('.').next().unwrap_or_default()
    }

    /// The problems of an issuer that was read, where they stand.
    fn found(&self, error: &BearerError) -> Problems {
        let mut problems = Problems::default();
        for problem in error.problems() {
            match problem {
                IssuerProblem::Rules(rules) | IssuerProblem::Together(rules) => {
                    for problem in rules.problems() {
                        match problem {
                            RulesProblem::Mapping {
                                member, problem, ..
                            } => {
                                self.note(&mut problems, member, problem);
                            }
                            other => self.note(&mut problems, rules_member(other), other),
                        }
                    }
                }
                IssuerProblem::Alias { .. } => self.note(&mut problems, "name", problem),
                IssuerProblem::Address { error, .. } => {
                    let member = self.member_of_address(&error.to_string());
                    self.note(&mut problems, member, problem);
                }
                IssuerProblem::Keys { .. } | IssuerProblem::KeysFile { .. } => {
                    self.note(&mut problems, "jwks_file", problem)
                }
                other => self.note(&mut problems, "issuer", other),
            }
        }
        problems
    }

    /// The member whose address a problem names.
    fn member_of_address(&self, problem: &str) -> &'static str {
        let address = |member: &str| match self.members.get(member)? {
            Value::Table(table) => table.get("url")?.as_str(),
            value => value.as_str(),
        };
        let names =
            |member: &&str| address(member).is_some_and(|it| problem.contains(&format!("`{it}`")));
        let members = ["jwks_url", "introspection"];
        members.into_iter().find(names).unwrap_or("issuer")
    }

    /// Notes a problem with a member, which is called otherwise in this file.
    fn note(&self, problems: &mut Problems, member: &str, what: impl fmt::Display) {
        let renamed = RENAMED.iter().find(|(_, theirs)| *theirs == member);
        let key = renamed.map_or(member, |(ours, _)| ours);
        let place = self.places.get(key).copied().unwrap_or(self.place);
        let what = words::plain(&what.to_string());
        // It says itself whose it is, by one name or another.
        let what = match what.strip_prefix("issuer `") {
            Some(rest) => rest.split_once("`: ").map_or(rest, |(_, rest)| rest),
            None => &what,
        };
        let what = match self.places.contains_key(key) {
            true => format!("issuer `{}`, `{key}`: {what}", self.name),
            false => format!("issuer `{}`: {what}", self.name),
        };
        problems.add(self.file.clone(), place, what, ADVICE);
    }
}

/// The member that a problem of its rules is about.
const fn rules_member(problem: &RulesProblem) -> &'static str {
    match problem {
        RulesProblem::Issuer { .. } => "issuer",
        RulesProblem::NoAudience { .. }
        | RulesProblem::EmptyAudience { .. }
        | RulesProblem::AnyAudience { .. } => "audience",
        RulesProblem::ClockSkew { .. } => "clock_skew",
        _ => "",
    }
}

impl fmt::Debug for IssuerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its members may hold a secret.
        f.debug_struct("IssuerConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A key and its value as a file of providers has them.
fn translated(key: &str, value: Value, base: &Path) -> (String, Value) {
    let theirs = RENAMED.iter().find(|(ours, _)| *ours == key);
    let name = theirs.map_or(key, |(_, theirs)| theirs).to_owned();
    let value = match (key, value) {
        ("jwks_file", Value::String(path)) => Value::String(absolute(base, &path)),
        ("introspection", Value::Table(mut table)) => {
            if let Some(Value::String(path)) = table.get_mut("client_secret_file") {
                *path = absolute(base, path);
            }
            Value::Table(table)
        }
        ("groups", Value::Array(items)) => Value::Array(items.into_iter().map(selector).collect()),
        (_, value) => value,
    };
    (name, value)
}

fn absolute(base: &Path, path: &str) -> String {
    within(base, path).to_string_lossy().into_owned()
}

/// A list of names (`["realm_access", "roles"]`) is the pointer that leads there
/// (RFC 6901); a name or a selector stays what it is.
fn selector(item: Value) -> Value {
    let pointer = match &item {
        Value::Array(steps) => steps
            .iter()
            .map(|step| step.as_str().map(|step| format!("/{}", escaped(step))))
            .collect::<Option<String>>(),
        Value::String(name) => Some(name.clone()),
        _ => None,
    };
    match pointer {
        Some(pointer) => Value::Table(Table::from_iter([(
            "at".to_owned(),
            Value::String(pointer),
        )])),
        None => item,
    }
}

/// A name as a step of a pointer: `~` and `/` escaped, `*` meant literally.
fn escaped(step: &str) -> String {
    let step = step.replace('~', "~0").replace('/', "~1");
    match step.as_str() {
        "*" => "~2".to_owned(),
        _ => step,
    }
}

const LOOPBACK: &str = "danger_allow_http_loopback";
const ADVICE: &str = "correct it; the keys of `[[issuer]]` are in the example `spanner.toml`";
