//! Who gains and who loses what between two accesses.
//!
//! 1. The cells of the matrix are compared by asking both accesses, guardrails included: for
//!    every holder, model and environment that either names, for any other model, for the server,
//!    and for a principal that neither names; for people, services and agents separately if their
//!    answers differ.
//! 2. Each cell is evaluated for the best possible credential: just issued, with a
//!    phishing-resistant sign-in of this moment and no agent in between.
//! 3. A cell cannot show what depends on other circumstances or on several groups at once.
//!    Therefore guardrails and rules of promotion that differ are listed too, and count as wider
//!    unless they can only narrow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use spanner_core::promotion::ChangeEntry;
use spanner_core::{
    Action, Authorize, Caller, CallerKind, Context, Effect, Environment, IssuerAlias, ModelName,
    Principal, Question, Resource, SubjectId, Timestamp,
};

use crate::cedar::Cedar;
use crate::guardrail::{Guardrail, Mode};
use crate::holder::Holder;
use crate::index::Policies;
use crate::promotion::PromotionRule;
use crate::role::ActionSet;
use crate::schema::Schema;
use spanner_toml::lookalike;

/// The difference between two accesses.
///
/// A holder is a party that is in exactly this group, or has exactly this role. A party in several
/// groups has what any of them has, unless a guardrail combines them. "Any other model" is a model
/// that neither access names, unless a guardrail matches names by a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The digest of the access before.
    pub before: Arc<str>,
    /// The digest of the access after.
    pub after: Arc<str>,
    /// The changes, by environment, model and holder.
    pub changes: Vec<Change>,
    /// The guardrails that differ, by id.
    pub guardrails: Vec<RuleChange>,
    /// The rules of promotion that differ, by environment.
    pub promotions: Vec<RuleChange>,
    #[serde(skip)]
    models: usize,
}

/// What changes for one holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The environment.
    #[serde(serialize_with = "shown")]
    pub environment: Environment,
    /// On which model; `None` on any that neither access names, or on the server.
    #[serde(serialize_with = "shown_model")]
    pub model: Option<ModelName>,
    /// Whether it is about the server as a whole, and not about models.
    pub server: bool,
    /// For whom, as manifests write it: `group:corp/support`; `anybody` stands for those who
    /// are named nowhere, `anybody:corp` for those of one issuer of several.
    pub holder: String,
    /// For which kind of party only; `None` for every kind, as far as it may ever do that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<CallerKind>,
    /// The actions that they gain.
    pub gains: Vec<Action>,
    /// The actions that they lose.
    pub loses: Vec<Action>,
}

/// A guardrail or a rule of promotion that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuleChange {
    /// The guardrail's id, or the environment promoted into.
    pub name: String,
    /// The change in words: `forbid removed`, `approvals 2, not 1`.
    pub what: String,
    /// Whether it can allow something that was refused, in some circumstances.
    pub could_widen: bool,
}

impl Difference {
    /// Whether the two are the same for everybody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.guardrails.is_empty() && self.promotions.is_empty()
    }

    /// Whether somebody gains something, or could in some circumstances because a guardrail or a
    /// rule of promotion became weaker.
    #[must_use]
    pub fn widens(&self) -> bool {
        let mut rules = self.guardrails.iter().chain(&self.promotions);
        self.changes.iter().any(|change| !change.gains.is_empty())
            || rules.any(|rule| rule.could_widen)
    }
}

/// One line for each change: `production acme/sentiment group:corp/qa: + generate - delete`.
/// A change that is the same on every model is one line.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut alike: HashMap<_, usize> = HashMap::new();
        for change in self.changes.iter().filter(|change| !change.server) {
            *alike.entry(change.apart_from_model()).or_default() += 1;
        }
        for change in &self.changes {
            let count = alike.get(&change.apart_from_model()).copied();
            let everywhere = !change.server && self.models > 0 && count == Some(self.models + 1);
            match (everywhere, &change.model) {
                (true, Some(_)) => {}
                (true, None) => change.line("(every model)", f)?,
                (false, _) => writeln!(f, "{change}")?,
            }
        }
        for rule in &self.guardrails {
            writeln!(f, "guardrail {rule}")?;
        }
        for rule in &self.promotions {
            writeln!(f, "promotion into {rule}")?;
        }
        Ok(())
    }
}

impl Change {
    fn apart_from_model(&self) -> (&Environment, &str, Option<CallerKind>, &[Action], &[Action]) {
        let Self {
            environment,
            holder,
            kind,
            gains,
            loses,
            ..
        } = self;
        (environment, holder, *kind, gains, loses)
    }

    fn line(&self, place: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.on(place, f)?;
        writeln!(f)
    }

    fn on(&self, place: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            holder,
            gains,
            loses,
            ..
        } = self;
        let entry = ChangeEntry::new(holder.as_str(), gains.clone(), loses.clone());
        let entry = entry.only(self.kind).to_string();
        write!(
            f,
            "{} {place} {}",
            self.environment,
            lookalike::marked(&entry)
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match (&self.model, self.server) {
            (Some(model), _) => model.as_str(),
            (None, true) => "(the server)",
            (None, false) => "(any other model)",
        };
        self.on(place, f)
    }
}

impl fmt::Display for RuleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)?;
        match self.could_widen {
            true => f.write_str(" (may allow more)"),
            false => Ok(()),
        }
    }
}

impl Cedar {
    /// Who gains and loses what if the other access replaces this one.
    #[must_use]
    pub fn diff(&self, after: &Self) -> Difference {
        let (before, after) = (self.current(), after.current());
        let comparison = Comparison::of(&before, &after);
        Difference {
            before: Arc::clone(&before.digest),
            after: Arc::clone(&after.digest),
            changes: comparison.changes(),
            guardrails: comparison.rules,
            promotions: promotions(&before, &after),
            models: comparison.models.len(),
        }
    }
}

impl Cedar {
    /// Who gains and loses what on one model in one environment if the other access replaces this
    /// one: the effect of a promotion.
    #[must_use]
    pub fn diff_on(
        &self,
        after: &Self,
        model: &ModelName,
        environment: &Environment,
    ) -> Vec<Change> {
        let (before, after) = (self.current(), after.current());
        let comparison = Comparison::of(&before, &after);
        comparison.changes_at(environment, Some(model), false)
    }
}

/// The party of one row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Anybody(IssuerAlias),
    Holder(Holder),
}

/// Two accesses, and everything that either of them names.
struct Comparison<'c> {
    both: [&'c Policies; 2],
    environments: Vec<&'c Environment>,
    models: BTreeSet<ModelName>,
    rows: BTreeSet<Row>,
    /// For each access, the grants by resource and holder.
    granted: [HashMap<(&'c Environment, Option<&'c ModelName>), Given>; 2],
    /// For each access, the live guardrails that the other lacks.
    differing: [Vec<&'c Guardrail>; 2],
    rules: Vec<RuleChange>,
    /// A subject and a model that neither names.
    somebody: Option<SubjectId>,
    other: Option<ModelName>,
    issuers: usize,
}

type Given = BTreeMap<Holder, ActionSet>;

/// The actions that somebody gains and loses.
type Delta = (ActionSet, ActionSet);

impl<'c> Comparison<'c> {
    fn of(before: &'c Policies, after: &'c Policies) -> Self {
        let both = [before, after];
        let mut environments: Vec<&Environment> = Vec::new();
        for environment in both.iter().flat_map(|access| &access.environments) {
            if !environments.contains(&environment) {
                environments.push(environment);
            }
        }
        let (rules, differing) = guardrails(both);
        let (mut models, mut rows) = (BTreeSet::new(), BTreeSet::new());
        let issuers: BTreeSet<&IssuerAlias> = both.iter().flat_map(|it| &it.issuers).collect();
        rows.extend(issuers.iter().map(|alias| Row::Anybody((*alias).clone())));
        for access in both {
            models.extend(access.owners.keys().cloned());
            for given in access.grants.iter() {
                models.extend(given.model.cloned());
                rows.insert(Row::Holder(given.holder));
            }
            let named = access.guardrails.iter().map(|it| it.named(access.schema));
            for (named, about) in named {
                models.extend(about);
                rows.extend(named.into_iter().map(Row::Holder));
            }
        }
        let taken = |subject: &SubjectId| {
            rows.iter().any(|row| match row {
                Row::Holder(Holder::Party(principal)) => principal.subject == *subject,
                _ => false,
            })
        };
        Self {
            both,
            environments,
            somebody: unnamed("somebody", |name| SubjectId::new(name).ok(), taken),
            other: unnamed(
                "any-other-model",
                |name| ModelName::new(name).ok(),
                |name| models.contains(name),
            ),
            granted: both.map(granted),
            models,
            rows,
            differing,
            rules,
            issuers: issuers.len(),
        }
    }

    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for environment in &self.environments {
            let named = self.models.iter().map(|model| (Some(model), false));
            for (model, server) in named.chain([(None, false), (None, true)]) {
                changes.extend(self.changes_at(environment, model, server));
            }
        }
        changes
    }

    fn changes_at(
        &self,
        environment: &Environment,
        model: Option<&ModelName>,
        server: bool,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for row in self.rows_at(environment, model, server) {
            let found = self.compare(&row, environment, model, server);
            changes.extend(found.into_iter().map(|(kind, (gains, loses))| Change {
                environment: environment.clone(),
                model: model.cloned(),
                server,
                holder: self.name(&row),
                kind,
                gains: gains.iter().collect(),
                loses: loses.iter().collect(),
            }));
        }
        changes
    }

    fn name(&self, row: &Row) -> String {
        match row {
            Row::Holder(holder) => holder.to_string(),
            Row::Anybody(_) if self.issuers == 1 => "anybody".to_owned(),
            Row::Anybody(issuer) => format!("anybody:{issuer}"),
        }
    }

    /// The rows whose cells can differ there. Only guardrails permit what is not granted. If both
    /// accesses have the same guardrails, a cell differs only if the granted actions differ.
    fn rows_at(
        &self,
        environment: &Environment,
        model: Option<&ModelName>,
        server: bool,
    ) -> BTreeSet<Row> {
        let name = match server {
            true => None,
            false => model.or(self.other.as_ref()),
        };
        let known = self
            .both
            .map(|access| access.environments.contains(environment));
        let takes = |guardrail: &&Guardrail| guardrail.site.takes(environment, name);
        let mut differing = self.differing.iter().flatten().copied();
        let alike = known == [true, true] && !differing.any(|it| takes(&it));
        let live =
            |it: &&Guardrail| it.mode == Mode::Live && it.effect == cedar_policy::Effect::Permit;
        let all = self.both.iter().flat_map(|access| access.guardrails.iter());
        let mut permits = all.filter(live).filter(takes);
        if !alike && permits.next().is_some() {
            return self.rows.clone();
        }
        let [before, after] = &self.granted;
        let (before, after) = (
            here(before, environment, model),
            here(after, environment, model),
        );
        let holders = before.keys().chain(after.keys());
        let can_differ = |holder: &&Holder| !alike || before.get(*holder) != after.get(*holder);
        let holders = holders.filter(can_differ).cloned();
        holders.map(Row::Holder).collect()
    }

    /// The changes of a row. It is one change for all kinds of parties if their results differ only
    /// in what the schema allows a kind to do.
    fn compare(
        &self,
        row: &Row,
        environment: &Environment,
        model: Option<&ModelName>,
        server: bool,
    ) -> Vec<(Option<CallerKind>, Delta)> {
        let resource = match model.or(self.other.as_ref()).cloned() {
            Some(name) if !server => Resource::model(name),
            _ => Resource::Server,
        };
        let delta = |kind| {
            self.delta(row, kind, &resource, environment)
                .unwrap_or_default()
        };
        if let Row::Holder(Holder::Party(principal)) = row {
            let delta = delta(principal.kind);
            return nonempty(None, delta).into_iter().collect();
        }
        let deltas = KINDS.map(|kind| (kind, delta(kind)));
        let [(_, (gains, loses)), ..] = deltas;
        let schema = Schema::shared();
        let as_people = deltas.iter().all(|(kind, found)| {
            let may = schema.applicable_to(*kind, server);
            *found == (gains.within(may), loses.within(may))
        });
        match as_people {
            true => nonempty(None, (gains, loses)).into_iter().collect(),
            false => deltas
                .into_iter()
                .filter_map(|(kind, delta)| nonempty(Some(kind), delta))
                .collect(),
        }
    }

    fn delta(
        &self,
        row: &Row,
        kind: CallerKind,
        resource: &Resource,
        environment: &Environment,
    ) -> Option<Delta> {
        let caller = in_good_standing(row, kind, self.somebody.as_ref()?)?;
        let context = Context::of(&caller, Timestamp::UNIX_EPOCH);
        let question = |action| {
            Question::new(
                &caller,
                caller.subject(),
                action,
                resource,
                environment,
                &context,
            )
        };
        let questions = Action::ALL.map(question);
        let [before, after] = self.both.map(|access| {
            let verdicts = access.authorize(&questions).verdicts;
            let answers = Action::ALL.into_iter().zip(verdicts);
            let allowed = answers.filter(|(_, verdict)| verdict.effect == Effect::Allow);
            allowed.map(|(action, _)| action).collect::<ActionSet>()
        });
        Some((after.without(before), before.without(after)))
    }
}

const KINDS: [CallerKind; 3] = [CallerKind::User, CallerKind::Service, CallerKind::Agent];

fn nonempty(kind: Option<CallerKind>, delta: Delta) -> Option<(Option<CallerKind>, Delta)> {
    let (gains, loses) = delta;
    (!gains.is_empty() || !loses.is_empty()).then_some((kind, delta))
}

fn granted(access: &Policies) -> HashMap<(&Environment, Option<&ModelName>), Given> {
    let mut all: HashMap<_, Given> = HashMap::new();
    for given in access.grants.iter() {
        let place = all.entry((given.environment, given.model)).or_default();
        let actions = place.entry(given.holder).or_default();
        *actions = actions.with(given.grant.actions);
    }
    all
}

/// The grants there, on the model and on every model.
fn here(
    granted: &HashMap<(&Environment, Option<&ModelName>), Given>,
    environment: &Environment,
    model: Option<&ModelName>,
) -> Given {
    let mut all: Given = BTreeMap::new();
    let own = model.and_then(|model| granted.get(&(environment, Some(model))));
    let every = granted.get(&(environment, None));
    for (holder, actions) in own.into_iter().chain(every).flatten() {
        let entry = all.entry(holder.clone()).or_default();
        *entry = entry.with(*actions);
    }
    all
}

/// A name that is not in use.
fn unnamed<N>(
    word: &str,
    name: impl Fn(&str) -> Option<N>,
    taken: impl Fn(&N) -> bool,
) -> Option<N> {
    let mut word = word.to_owned();
    loop {
        let found = name(&word)?;
        if !taken(&found) {
            return Some(found);
        }
        word.push('~');
    }
}

/// A caller that is exactly this holder, with the best possible credential.
fn in_good_standing(row: &Row, kind: CallerKind, somebody: &SubjectId) -> Option<Caller> {
    let (mut groups, mut roles) = (None, None);
    let principal = match row {
        Row::Holder(Holder::Party(principal)) => principal.clone(),
        Row::Holder(Holder::Group(group)) => {
            groups = Some(group.clone());
            Principal::new(group.issuer.clone(), kind, somebody.clone())
        }
        Row::Holder(Holder::Role(role)) => {
            roles = Some(role.clone());
            Principal::new(role.issuer.clone(), kind, somebody.clone())
        }
        Row::Anybody(issuer) => Principal::new(issuer.clone(), kind, somebody.clone()),
    };
    let mut credential = spanner_core::Credential::unknown();
    credential.issued_at = Some(Timestamp::UNIX_EPOCH);
    Caller::assertion(principal)
        .groups(groups)
        .roles(roles)
        .assurance(3)
        .authenticated_at(Timestamp::UNIX_EPOCH)
        .credential(credential)
        .caller()
        .ok()
}

/// The guardrails that differ, and for each access the live ones that the other lacks.
fn guardrails(both: [&Policies; 2]) -> (Vec<RuleChange>, [Vec<&Guardrail>; 2]) {
    let [before, after] = both.map(|access| {
        let each = access.guardrails.iter();
        each.map(|it| (&it.id, it)).collect::<BTreeMap<_, _>>()
    });
    let ids: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut rules = Vec::new();
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for id in ids {
        let (old, new) = (before.get(*id).copied(), after.get(*id).copied());
        let Some(what) = told(old, new) else { continue };
        let live = |it: &&Guardrail| it.mode == Mode::Live;
        let (old, new) = (old.filter(live), new.filter(live));
        gone.extend(old);
        come.extend(new);
        let forbade = old.is_some_and(|it| it.effect == cedar_policy::Effect::Forbid);
        let permits = new.is_some_and(|it| it.effect == cedar_policy::Effect::Permit);
        rules.push(RuleChange {
            name: id.to_string(),
            what,
            could_widen: forbade || permits,
        });
    }
    (rules, [gone, come])
}

/// How a guardrail changes; `None` if the change does not affect decisions.
fn told(old: Option<&Guardrail>, new: Option<&Guardrail>) -> Option<String> {
    let word = |it: &Guardrail| {
        let effect = match it.effect {
            cedar_policy::Effect::Permit => "permit",
            cedar_policy::Effect::Forbid => "forbid",
        };
        match it.mode {
            Mode::Live => effect.to_owned(),
            Mode::Shadow => format!("{effect} in shadow mode"),
        }
    };
    match (old, new) {
        (None, None) => None,
        (None, Some(new)) => Some(format!("{} added", word(new))),
        (Some(old), None) => Some(format!("{} removed", word(old))),
        (Some(old), Some(new)) if word(old) != word(new) => {
            Some(format!("{}, not {}", word(new), word(old)))
        }
        (Some(old), Some(new)) if old.says_the_same(new) => None,
        (Some(_), Some(new)) => Some(format!("{} changed", word(new))),
    }
}

/// The rules of promotion that differ.
fn promotions(before: &Policies, after: &Policies) -> Vec<RuleChange> {
    let into: BTreeSet<_> = before
        .promotions
        .keys()
        .chain(after.promotions.keys())
        .collect();
    let change = |environment: &Environment| {
        let rules = [before, after].map(|access| access.promotions.get(environment));
        let (what, could_widen) = match rules {
            [Some(old), Some(new)] => amended(old, new)?,
            [Some(_), None] => ("rule removed".to_owned(), true),
            [None, Some(_)] => ("rule added".to_owned(), false),
            [None, None] => return None,
        };
        let name = environment.to_string();
        Some(RuleChange {
            name,
            what,
            could_widen,
        })
    };
    into.into_iter().filter_map(change).collect()
}

fn amended(old: &PromotionRule, new: &PromotionRule) -> Option<(String, bool)> {
    let mut words = Vec::new();
    let mut note = |same: bool, word: &str, new: &dyn fmt::Display, old: &dyn fmt::Display| {
        if !same {
            words.push(format!("{word} {new}, not {old}"));
        }
    };
    note(old.from == new.from, "from", &new.from, &old.from);
    note(
        old.approvals == new.approvals,
        "approvals",
        &new.approvals,
        &old.approvals,
    );
    note(
        old.existing == new.existing,
        "existing",
        &new.existing,
        &old.existing,
    );
    let only = |one: &PromotionRule, other: &PromotionRule| -> Vec<String> {
        let approvers = one.approvers.iter();
        let missing = approvers.filter(|holder| !other.approvers.contains(holder));
        missing.map(ToString::to_string).collect()
    };
    let (come, gone) = (only(new, old), only(old, new));
    for (sign, holders) in [("+", &come), ("-", &gone)] {
        if !holders.is_empty() {
            words.push(format!("approvers {sign} {}", holders.join(", ")));
        }
    }
    let wider = new.approvals < old.approvals
        || !come.is_empty()
        || old.from != new.from
        || (old.existing != new.existing && new.existing == crate::Existing::Adopt);
    (!words.is_empty()).then(|| (words.join("; "), wider))
}

fn shown<S: serde::Serializer>(name: &impl fmt::Display, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(name)
}

fn shown_model<S: serde::Serializer>(name: &Option<ModelName>, s: S) -> Result<S::Ok, S::Error> {
    match name {
        Some(name) => s.collect_str(name),
        None => s.serialize_none(),
    }
}
