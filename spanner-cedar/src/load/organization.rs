//! `organization.toml`: environments, issuers, groups, roles, default grants, promotions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use spanner_core::{Action, CallerKind, Environment, IssuerAlias, NameError};

use super::grants::{Individuals, Vocabulary};
use super::principal::Directory;
use super::problem::{Problems, Source, listed, quoted, suggestion};
use super::roles::roles;
use crate::grant::RawGrant;
use crate::holder::Holder;
use crate::promotion::{Existing, PromotionRule};
use crate::role::Roles;
use crate::schema::Schema;
use spanner_toml::lookalike;
use spanner_toml::{Number, Table, Text, Toml};

/// The organization. The manifests can be read against it even if it has problems.
#[derive(Debug)]
pub(crate) struct Organization {
    pub(crate) environments: Vec<Environment>,
    pub(crate) roles: Roles,
    pub(crate) directory: Directory,
    pub(crate) grants: Vec<RawGrant>,
    pub(crate) promotions: BTreeMap<Environment, PromotionRule>,
}

/// Reads the organization's file.
pub(crate) fn read(
    source: Source<'_>,
    issuers: &[IssuerAlias],
    schema: &Schema,
    problems: &mut Problems,
) -> Option<Organization> {
    let toml = Toml::parse(source, problems)?;
    let fields = toml.table(KEYS, problems);
    let environments = environments(fields, problems);
    let mut directory = Directory {
        issuers: self::issuers(fields, issuers, problems),
        groups: HashSet::new(),
    };
    groups(fields, &mut directory, problems);
    let roles = roles(fields, problems);
    let vocabulary = Vocabulary {
        only: None,
        environments: &environments,
        roles: &roles,
        directory: &directory,
        schema,
    };
    let mut grants = fields
        .table("grants", problems)
        .map(|table| vocabulary.grants(table, Individuals::Never, problems))
        .unwrap_or_default();
    let promotions = promotions(fields, &vocabulary, problems);
    let conferred = promotions.values().flat_map(|rule| conferred(rule, &roles));
    for grant in conferred {
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    Some(Organization {
        environments,
        roles,
        directory,
        grants,
        promotions,
    })
}

fn environments(fields: Table<'_>, problems: &mut Problems) -> Vec<Environment> {
    let Some(list) = fields.texts("environments", problems) else {
        if !fields.has("environments") {
            fields.whole(
                "the key `environments` is missing",
                "list the environments in order, for instance `environments = [\"staging\", \"production\"]`",
                problems,
            );
        }
        return Vec::new();
    };
    if list.is_empty {
        fields.problem(
            list.at,
            "there is no environment",
            "name at least one",
            problems,
        );
    }
    if list.items.len() > MAX_ENVIRONMENTS {
        let what = format!("there are more than {MAX_ENVIRONMENTS} environments");
        fields.problem(list.at, what, "name fewer", problems);
    }
    let mut found = names(fields, list.items, Environment::new, problems);
    found.truncate(MAX_ENVIRONMENTS);
    found
}

fn issuers(
    fields: Table<'_>,
    configured: &[IssuerAlias],
    problems: &mut Problems,
) -> Vec<IssuerAlias> {
    let Some(list) = fields.texts("issuers", problems) else {
        if configured.is_empty() && !fields.has("issuers") {
            fields.whole(
                "no issuer is configured",
                "add the aliases of the issuers, for instance `issuers = [\"corp\"]`",
                problems,
            );
        }
        return configured.to_vec();
    };
    if list.is_empty {
        fields.problem(list.at, "there is no issuer", "name at least one", problems);
    }
    if !configured.is_empty() {
        for text in &list.items {
            if !configured.iter().any(|alias| alias.as_str() == text.value) {
                let what = format!("the program configures no issuer {}", quoted(text.value));
                let known = configured.iter().map(IssuerAlias::as_str);
                let advice = suggestion(
                    text.value,
                    known.clone(),
                    &format!("the issuers are {}", listed(known)),
                );
                fields.problem(text.at, what, advice, problems);
            }
        }
    }
    names(fields, list.items, IssuerAlias::new, problems)
}

fn groups(fields: Table<'_>, directory: &mut Directory, problems: &mut Problems) {
    let Some(list) = fields.texts("groups", problems) else {
        return;
    };
    if directory.issuers.is_empty() {
        return;
    }
    let mut looks = HashMap::new();
    for text in list.items {
        match directory.group(text.value) {
            Ok(group) => {
                let look = (
                    group.issuer.clone(),
                    lookalike::skeleton_of(group.name.as_str()),
                );
                if directory.groups.contains(&group) {
                    twice(fields, text, problems);
                } else if let Some(other) = looks.insert(look, text)
                    && !(other.value.is_ascii() && text.value.is_ascii())
                {
                    resembles(fields, text, other, problems);
                }
                directory.groups.insert(group);
            }
            Err((what, advice)) => fields.problem(text.at, what, advice, problems),
        }
    }
}

/// Reports two groups that look alike: a reviewer would mistake one for the other.
fn resembles(fields: Table<'_>, text: Text<'_>, other: Text<'_>, problems: &mut Problems) {
    let points = |text: Text<'_>| {
        let beyond = text.value.chars().filter(|c| !c.is_ascii());
        let points: Vec<String> = beyond.map(lookalike::code).collect();
        match points.is_empty() {
            true => "in ASCII".to_owned(),
            false => format!("with {}", points.join(" ")),
        }
    };
    let line = fields.source().position(other.at).line;
    let what = format!(
        "{}, written {}, looks like the group of line {line}, written {}",
        quoted(text.value),
        points(text),
        points(other)
    );
    fields.problem(text.at, what, "remove the one that is not meant", problems);
}

fn promotions(
    fields: Table<'_>,
    vocabulary: &Vocabulary<'_>,
    problems: &mut Problems,
) -> BTreeMap<Environment, PromotionRule> {
    let mut rules = BTreeMap::new();
    let Some(table) = fields.table("promotion", problems) else {
        return rules;
    };
    for (name, rule) in table.all_tables(problems) {
        let rule = rule.with(PROMOTION_KEYS, problems);
        let environment = vocabulary.environment(rule, name, problems);
        let from = origin(rule, environment.as_ref(), vocabulary, problems);
        let approvals = approvals(rule, problems);
        let approvers = approvers(rule, approvals, vocabulary, problems);
        let existing = existing(rule, problems);
        if let (Some(environment), Some(from)) = (environment, from) {
            let rule = PromotionRule {
                environment: environment.clone(),
                from,
                approvals,
                existing,
                approvers,
            };
            rules.insert(environment, rule);
        }
    }
    rules
}

fn origin(
    rule: Table<'_>,
    to: Option<&Environment>,
    vocabulary: &Vocabulary<'_>,
    problems: &mut Problems,
) -> Option<Environment> {
    let text = rule.required_text(
        "from",
        "the environment that comes before, as `from`",
        problems,
    )?;
    let from = vocabulary.environment(rule, text, problems)?;
    let place = |wanted: &Environment| vocabulary.environments.iter().position(|e| e == wanted);
    if let Some(to) = to
        && place(&from) >= place(to)
    {
        let what = format!("`{from}` does not come before `{to}`");
        let advice = "name an environment that stands earlier in `environments`";
        rule.problem(text.at, what, advice, problems);
    }
    Some(from)
}

fn approvals(rule: Table<'_>, problems: &mut Problems) -> u8 {
    let Some(Number { value: number, at }) = rule.integer("approvals", problems) else {
        return DEFAULT_APPROVALS;
    };
    match u8::try_from(number) {
        Ok(approvals) if approvals <= MAX_APPROVALS => approvals,
        _ => {
            let what = format!("{number} approvals cannot be asked for");
            let advice = format!("write a number from 0 to {MAX_APPROVALS}");
            rule.problem(at, what, advice, problems);
            DEFAULT_APPROVALS
        }
    }
}

fn approvers(
    rule: Table<'_>,
    approvals: u8,
    vocabulary: &Vocabulary<'_>,
    problems: &mut Problems,
) -> Vec<Holder> {
    let list = rule.texts("approvers", problems);
    if let (Some(list), Some((_, actions))) = (&list, vocabulary.roles.find(APPROVER))
        && !actions.contains(Action::Approve)
    {
        let what = format!("the role `{APPROVER}`, which these get, does not hold `approve`");
        let advice = "define it with `approve`, or not at all";
        rule.problem(list.at, what, advice, problems);
    }
    if list.is_none() && rule.has("approvers") {
        return Vec::new();
    }
    let texts = list.map(|list| list.items).unwrap_or_default();
    if texts.is_empty() && approvals > 0 {
        let what = format!("{approvals} approvals are asked for, and nobody may give them");
        rule.whole(what, "name who may as `approvers`", problems);
    }
    let mut approvers: Vec<Holder> = Vec::new();
    for text in texts {
        let Some(holder) = vocabulary.party(rule, text, problems) else {
            continue;
        };
        match holder.kind() {
            None | Some(CallerKind::User) if approvers.contains(&holder) => {
                twice(rule, text, problems);
            }
            None | Some(CallerKind::User) => approvers.push(holder),
            Some(_) => {
                let what = format!("{} is no person", quoted(text.value));
                rule.problem(
                    text.at,
                    what,
                    "only people approve: name a group or a user",
                    problems,
                );
            }
        }
    }
    approvers
}

fn existing(rule: Table<'_>, problems: &mut Problems) -> Existing {
    let Some(text) = rule.text("existing", problems) else {
        return Existing::default();
    };
    let known = Existing::ALL.into_iter();
    let found = known.clone().find(|it| it.as_str() == text.value);
    if found.is_none() {
        let words = listed(known.map(Existing::as_str));
        let what = format!("`existing` cannot be {}", quoted(text.value));
        rule.problem(text.at, what, format!("write one of {words}"), problems);
    }
    found.unwrap_or_default()
}

/// The grants of a rule's approvers, on every model: approvers must see what they sign.
fn conferred(rule: &PromotionRule, roles: &Roles) -> Vec<RawGrant> {
    let Some((role, actions)) = roles.find(APPROVER) else {
        return Vec::new();
    };
    let grant = |holder: &Holder| RawGrant {
        environment: rule.environment.clone(),
        role: Arc::clone(role),
        actions,
        holder: holder.clone(),
    };
    rule.approvers.iter().map(grant).collect()
}

/// Reads a list of names. A duplicate is a problem.
fn names<N: PartialEq>(
    fields: Table<'_>,
    texts: Vec<Text<'_>>,
    read: impl Fn(&str) -> Result<N, NameError>,
    problems: &mut Problems,
) -> Vec<N> {
    let mut found = Vec::new();
    for text in texts {
        match read(text.value) {
            Ok(name) if found.contains(&name) => twice(fields, text, problems),
            Ok(name) => found.push(name),
            Err(error) => {
                fields.problem(text.at, error.to_string(), "choose another name", problems)
            }
        }
    }
    found
}

fn twice(fields: Table<'_>, text: Text<'_>, problems: &mut Problems) {
    let what = format!("{} stands twice in this list", quoted(text.value));
    fields.problem(text.at, what, "remove one", problems);
}

pub(crate) const KEYS: &[&str] = &[
    "environments",
    "issuers",
    "groups",
    "roles",
    "grants",
    "promotion",
];

pub(crate) const PROMOTION_KEYS: &[&str] = &["from", "approvals", "approvers", "existing"];

/// The role that approvers hold.
const APPROVER: &str = "approver";

/// The number of approvals if a rule does not state one.
const DEFAULT_APPROVALS: u8 = 1;

/// The largest number of approvals: no committee we know of requires more.
const MAX_APPROVALS: u8 = 16;

/// The number of environments. A refusal checks all of them for what the party may know, so a longer
/// list slows every refusal. No life cycle we know of has ten.
const MAX_ENVIRONMENTS: usize = 32;
