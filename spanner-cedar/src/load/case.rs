//! Reads cases: questions with the answers that an access must give.

use std::time::Duration;

use spanner_core::{
    Action, Caller, Credential, Environment, Group, ModelName, Pair, Principal, Questions,
    Resource, Role, Target, Timestamp,
};

use super::principal::Directory;
use super::problem::{Problems, Source, listed, quoted, suggestion};
use crate::holder::Holder;
use crate::index::Policies;
use crate::role::actions_of;
use crate::spelling::unreachable;
use spanner_toml::{Number, Table, Text, Toml};

/// One case, ready to be asked.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: Option<String>,
    pub(crate) file: String,
    pub(crate) line: usize,
    /// One question for each action.
    pub(crate) asked: Vec<Questions>,
    pub(crate) allow: bool,
    pub(crate) reason: Option<String>,
    pub(crate) policies: Vec<String>,
}

/// Reads cases against an access.
pub(crate) struct CaseReader<'a> {
    access: &'a Policies,
    directory: Directory,
    now: Timestamp,
}

impl<'a> CaseReader<'a> {
    pub(crate) fn new(access: &'a Policies, now: Timestamp) -> Self {
        let directory = Directory {
            issuers: access.issuers.clone(),
            groups: access.directory.clone(),
        };
        Self {
            access,
            directory,
            now,
        }
    }

    /// Reads a file of cases.
    pub(crate) fn read(&self, source: Source<'_>, problems: &mut Problems) -> Vec<Case> {
        let Some(toml) = Toml::parse(source, problems) else {
            return Vec::new();
        };
        let fields = toml.table(["case"].as_slice(), problems);
        if !fields.has("case") {
            let advice = "add `[[case]]` with `caller`, `action`, `environment` and `expect`";
            fields.whole("there is no case in this file", advice, problems);
        }
        let tables = fields.tables("case", problems).into_iter();
        tables
            .filter_map(|table| self.case(source, table, problems))
            .collect()
    }

    fn case(&self, source: Source<'_>, case: Table<'_>, problems: &mut Problems) -> Option<Case> {
        let case = case.with(KEYS, problems);
        let name = case.text("name", problems);
        let caller = self.caller(case, problems);
        let actions = actions(case, problems);
        let resource = resource(case, problems);
        let environment = self.environment(case, problems);
        let allow = expect(case, problems);
        let reason = reason(case, problems);
        let policies = case.one_or_more("policy", problems);
        let policies = policies.into_iter().map(|text| text.value.to_owned());
        let policies: Vec<String> = policies.collect();
        let now = moment(case, problems).unwrap_or(self.now);
        let caller = caller?(now, problems)?;
        let (resource, environment) = (resource?, environment?);
        if let Some(model) = resource.name() {
            self.reach(case, model, &environment, problems);
        }
        let ask = |action| {
            let target = Target::of([Pair::new(action, resource.clone())])?;
            Some(Questions::of(
                caller.clone(),
                target,
                environment.clone(),
                now,
            ))
        };
        Some(Case {
            name: name.map(|text| text.value.to_owned()),
            file: source.name.to_owned(),
            line: source.position(case.at()).line,
            asked: actions.into_iter().filter_map(ask).collect(),
            allow: allow?,
            reason,
            policies,
        })
    }

    /// The caller. Its credential's ages are relative to the time of the case, which is read later.
    fn caller<'f>(
        &self,
        case: Table<'f>,
        problems: &mut Problems,
    ) -> Option<impl FnOnce(Timestamp, &mut Problems) -> Option<Caller> + use<'f>> {
        let what_for = "who asks, for instance `caller = \"user:corp/ann\"`";
        let text = case.required_text("caller", what_for, problems);
        let subject = text.and_then(|text| self.party(case, text, problems));
        let groups = case.one_or_more("groups", problems).into_iter();
        let groups: Vec<Group> = groups
            .filter_map(|text| self.group(case, text, problems))
            .collect();
        let roles = case.one_or_more("roles", problems).into_iter();
        let roles: Vec<Role> = roles
            .filter_map(|text| self.role(case, text, problems))
            .collect();
        let actors = case.one_or_more("actor", problems).into_iter();
        let actors: Vec<Principal> = actors
            .filter_map(|text| self.party(case, text, problems))
            .collect();
        let scopes = case.one_or_more("scopes", problems).into_iter();
        let scopes: Vec<String> = scopes.map(|text| text.value.to_owned()).collect();
        let assurance = assurance(case, problems);
        let age = ago(case, "token_age", problems);
        let signed_in = ago(case, "signed_in", problems);
        let tenant = case.text("tenant", problems);
        let origin = case.text("origin", problems);
        let complete = case.flag("groups_complete", problems).unwrap_or(true);
        let subject = subject?;
        Some(move |now: Timestamp, problems: &mut Problems| {
            let ago = |span: Duration| now.checked_sub(span).ok();
            let mut credential = Credential::unknown();
            credential.issued_at = ago(age.unwrap_or_default());
            let mut caller = Caller::assertion(subject)
                .groups(groups)
                .roles(roles)
                .actors(actors)
                .scopes(scopes)
                .assurance(assurance)
                .credential(credential);
            if let Some(time) = signed_in.and_then(ago) {
                caller = caller.authenticated_at(time);
            }
            if let Some(tenant) = tenant {
                caller = caller.tenant(tenant.value);
            }
            if let Some(origin) = origin {
                caller = caller.origin(origin.value.to_owned());
            }
            if !complete {
                caller = caller.groups_incomplete();
            }
            let caller = caller.caller();
            if let Err(error) = &caller {
                case.whole(error.to_string(), "name fewer or other actors", problems);
            }
            caller.ok()
        })
    }

    fn party(&self, case: Table<'_>, text: Text<'_>, problems: &mut Problems) -> Option<Principal> {
        let (what, advice) = match self.directory.holder(text.value) {
            Ok(Holder::Party(principal)) => return Some(principal),
            Ok(_) => (
                format!("{} is no party", quoted(text.value)),
                "name a `user:`, a `service:` or an `agent:`".to_owned(),
            ),
            Err(complaint) => complaint,
        };
        case.problem(text.at, what, advice, problems);
        None
    }

    /// A group of the directory, with or without the prefix `group:`.
    fn group(&self, case: Table<'_>, text: Text<'_>, problems: &mut Problems) -> Option<Group> {
        let bare = text.value.strip_prefix("group:").unwrap_or(text.value);
        match self.directory.holder(&format!("group:{bare}")) {
            Ok(Holder::Group(group)) => Some(group),
            Ok(_) => None,
            Err((what, advice)) => {
                case.problem(text.at, what, advice, problems);
                None
            }
        }
    }

    /// A role of an issuer, with or without the prefix `role:`.
    fn role(&self, case: Table<'_>, text: Text<'_>, problems: &mut Problems) -> Option<Role> {
        let bare = text.value.strip_prefix("role:").unwrap_or(text.value);
        match self.directory.holder(&format!("role:{bare}")) {
            Ok(Holder::Role(role)) => Some(role),
            Ok(_) => None,
            Err((what, advice)) => {
                case.problem(text.at, what, advice, problems);
                None
            }
        }
    }

    /// Reports a name that no request can have: the case would test nothing.
    fn reach(
        &self,
        case: Table<'_>,
        model: &ModelName,
        environment: &Environment,
        problems: &mut Problems,
    ) {
        let served = self.access.spellings.known();
        if let Some((what, advice)) = unreachable(&served, model, Some(environment)) {
            let text = case.text("model", problems);
            let at = text.map_or_else(|| case.at(), |text| text.at);
            case.problem(at, what, advice, problems);
        }
    }

    fn environment(&self, case: Table<'_>, problems: &mut Problems) -> Option<Environment> {
        let what_for = "where, for instance `environment = \"production\"`";
        let text = case.required_text("environment", what_for, problems)?;
        let known = self.access.environments.iter();
        let found = known.clone().find(|it| it.as_str() == text.value);
        if found.is_none() {
            let known = known.map(Environment::as_str);
            let otherwise = format!("the environments are {}", listed(known.clone()));
            let what = format!("unknown environment {}", quoted(text.value));
            let advice = suggestion(text.value, known, &otherwise);
            case.problem(text.at, what, advice, problems);
        }
        found.cloned()
    }
}

/// The actions. A group's name stands for all of its actions.
fn actions(case: Table<'_>, problems: &mut Problems) -> Vec<Action> {
    if !case.has("action") {
        let advice = "add what is to be done, for instance `action = \"generate\"`";
        case.whole("the key `action` is missing", advice, problems);
    }
    let mut found = Vec::new();
    for text in case.one_or_more("action", problems) {
        let Some(actions) = actions_of(text.value) else {
            let what = format!("{} is no action", quoted(text.value));
            let known = crate::role::action_words();
            let otherwise = "name an action such as `read`, or a group such as `infer`";
            let advice = suggestion(text.value, known.map(|word| -> &str { word }), otherwise);
            case.problem(text.at, what, advice, problems);
            continue;
        };
        found.extend(actions.iter());
    }
    found
}

/// The model, or the server if the case names no model.
fn resource(case: Table<'_>, problems: &mut Problems) -> Option<Resource> {
    if !case.has("model") {
        return Some(Resource::Server);
    }
    let text = case.text("model", problems)?;
    match ModelName::new(text.value) {
        Ok(model) => Some(Resource::model(model)),
        Err(error) => {
            let advice = "write the name as the model's API spells it";
            case.problem(text.at, error.to_string(), advice, problems);
            None
        }
    }
}

fn expect(case: Table<'_>, problems: &mut Problems) -> Option<bool> {
    let what_for = "the answer, `expect = \"allow\"` or `expect = \"deny\"`";
    let text = case.required_text("expect", what_for, problems)?;
    match text.value {
        "allow" => Some(true),
        "deny" => Some(false),
        other => {
            let what = format!("`expect` cannot be {}", quoted(other));
            case.problem(text.at, what, "write `allow` or `deny`", problems);
            None
        }
    }
}

/// The reason code as in records, with or without the prefix `authz.`.
fn reason(case: Table<'_>, problems: &mut Problems) -> Option<String> {
    let text = case.text("reason", problems)?;
    let bare = text.value.strip_prefix("authz.").unwrap_or(text.value);
    if !REASONS.contains(&bare) {
        let what = format!("{} is no reason of an answer", quoted(text.value));
        let known = REASONS.iter().copied();
        let otherwise = format!("the reasons are {}", listed(known.clone()));
        case.problem(text.at, what, suggestion(bare, known, &otherwise), problems);
        return None;
    }
    Some(match bare {
        "granted" => bare.to_owned(),
        _ => format!("authz.{bare}"),
    })
}

fn assurance(case: Table<'_>, problems: &mut Problems) -> u8 {
    let Some(Number { value: number, at }) = case.integer("assurance", problems) else {
        return 0;
    };
    match u8::try_from(number) {
        Ok(number) if number <= 3 => number,
        _ => {
            let what = format!("{number} is no assurance");
            case.problem(at, what, "write a number from 0 to 3", problems);
            0
        }
    }
}

fn ago(case: Table<'_>, key: &str, problems: &mut Problems) -> Option<Duration> {
    let ago = case.duration(key, problems)?;
    if ago.value > MAX_AGO {
        let what = format!("{} is too long ago", quoted(key));
        case.problem(ago.at, what, "write `36500d` at most", problems);
        return None;
    }
    Some(ago.value)
}

fn moment(case: Table<'_>, problems: &mut Problems) -> Option<Timestamp> {
    let text = case.text("at", problems)?;
    let found = text.value.parse().ok();
    if found.is_none() {
        let what = format!("{} is no point in time", quoted(text.value));
        let advice = "write one such as `2026-11-24T12:00:00Z`";
        case.problem(text.at, what, advice, problems);
    }
    found
}

/// Every key of a case.
pub(crate) const KEYS: &[&str] = &[
    "name",
    "caller",
    "groups",
    "roles",
    "actor",
    "action",
    "model",
    "environment",
    "at",
    "token_age",
    "signed_in",
    "assurance",
    "scopes",
    "tenant",
    "origin",
    "groups_complete",
    "expect",
    "reason",
    "policy",
];

/// The reasons of a verdict, as in records but without the prefix `authz.`.
pub(crate) const REASONS: &[&str] = &[
    "granted",
    "no_permit",
    "forbidden",
    "step_up",
    "insufficient_scope",
    "policy_error",
    "request_invalid",
];

/// A hundred years. A much longer age would leave the range of timestamps.
const MAX_AGO: Duration = Duration::from_secs(36_500 * 86_400);
