//! The policies in force: grants indexed by holder, guardrails by scope.
//!
//! 1. A grant is a link of the template
//!    `permit (principal in ?principal, action in [the role's actions], resource in ?resource)`,
//!    whose resource is a model in an environment, or the environment itself for a grant on
//!    every model. Such a policy has a scope and no condition, so a lookup decides it: it matches
//!    exactly if the principal is, or is in, what it names, and likewise the resource.
//! 2. Every principal, group and role that a grant names has a number. A party is the set of its
//!    numbers. A decision looks at this set or at the numbers named on the model or the
//!    environment, whichever is smaller.
//! 3. A guardrail is filed under the model or the environment that its scope names, or under
//!    neither; there by action and kind of party, and by whom it names. A question evaluates only
//!    the guardrails that it finds there, and those without a condition need no Cedar.
//!
//! The cost of a decision does not depend on how many other models, grants and guardrails there
//! are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use cedar_policy::{Entity, EntityUid};
use spanner_core::{
    Action, CallerKind, Environment, Group, IssuerAlias, ModelName, Party, PromotionId,
};

use crate::documents::Documents;
use crate::grant::RawGrant;
use crate::guardrail::Guardrail;
use crate::holder::{Holder, KINDS};
use crate::names::{Map, NameId, NameIds, Names};
use crate::promotion::{PromotedManifests, PromotionRule, VoidGrant};
use crate::role::{ActionSet, Roles};
use crate::schema::{self, Schema};
use crate::spelling::{Mentions, Spellings};
use spanner_toml::Problem;

/// Everything that decisions depend on. It is replaced as a whole.
#[derive(Debug)]
pub(crate) struct Policies {
    pub(crate) schema: &'static Schema,
    pub(crate) digest: Arc<str>,
    /// The files it was compiled from.
    pub(crate) documents: Arc<Documents>,
    /// The model names in them.
    pub(crate) mentions: Mentions,
    /// How the surfaces read model names.
    pub(crate) spellings: Spellings,
    /// The promoted manifests, for environments with a rule of promotion.
    pub(crate) kept: Arc<PromotedManifests>,
    /// The promotion under which a model is served, for environments with a rule of promotion.
    pub(crate) served: HashMap<Environment, HashMap<ModelName, PromotionId>>,
    /// Grants of promoted manifests that name something which no longer exists.
    pub(crate) void: Vec<VoidGrant>,
    /// The manifests in the files, in force or not.
    pub(crate) claims: HashMap<ModelName, Claim>,
    pub(crate) environments: Vec<Environment>,
    pub(crate) issuers: Vec<IssuerAlias>,
    /// The groups of the directory.
    pub(crate) directory: HashSet<Group>,
    pub(crate) roles: Roles,
    pub(crate) promotions: BTreeMap<Environment, PromotionRule>,
    pub(crate) owners: HashMap<ModelName, Option<Holder>>,
    /// The reason why a manifest grants roles to individuals.
    pub(crate) individuals: HashMap<ModelName, Arc<str>>,
    pub(crate) grants: Grants,
    pub(crate) guardrails: Guardrails,
}

/// The manifest of a model in the files.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The index of its document.
    pub(crate) document: usize,
    /// The environments in which it grants something.
    pub(crate) environments: BTreeSet<Environment>,
}

/// All grants.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    names: Names,
    by_environment: Map<Environment, Ground>,
    count: usize,
}

/// The grants of one environment.
#[derive(Debug, Default)]
struct Ground {
    every: Holders,
    models: Map<ModelName, Holders>,
}

/// The grants on one resource, by holder.
#[derive(Debug, Default)]
struct Holders {
    by_name: Map<NameId, Vec<Grant>>,
    /// The model in this environment as an entity, made when it is first needed.
    entity: OnceLock<Option<Entity>>,
}

/// One role granted to one holder on one resource.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) id: Arc<str>,
    pub(crate) role: Arc<str>,
    pub(crate) actions: ActionSet,
}

/// A grant with its resource and its holder.
pub(crate) struct Given<'g> {
    pub(crate) environment: &'g Environment,
    /// `None` for every model.
    pub(crate) model: Option<&'g ModelName>,
    pub(crate) holder: Holder,
    pub(crate) grant: &'g Grant,
}

/// All guardrails.
#[derive(Debug, Default)]
pub(crate) struct Guardrails {
    names: Names,
    /// The names as entities.
    uids: Vec<Option<EntityUid>>,
    all: Vec<IndexedGuardrail>,
    anywhere: Shelves,
    environments: Map<Environment, Shelves>,
    models: Map<ModelName, Shelves>,
}

/// A guardrail with its names as numbers.
#[derive(Debug)]
pub(crate) struct IndexedGuardrail {
    pub(crate) guardrail: Guardrail,
    /// The holder that its scope names.
    name: Option<NameId>,
    names_a_group: bool,
    /// The groups it mentions.
    groups: Vec<NameId>,
    /// The groups and roles it mentions.
    parents: Vec<NameId>,
}

/// Guardrails by action and kind of party.
#[derive(Debug, Default)]
struct Shelves(Map<(Action, CallerKind), Shelf>);

/// Guardrails by the holder that they name, as indices into all of them.
#[derive(Debug, Default)]
struct Shelf {
    anybody: Vec<usize>,
    named: Map<NameId, Vec<usize>>,
}

/// What grants and guardrails must know of a party.
#[derive(Debug, Clone)]
pub(crate) struct PartyNames {
    pub(crate) kind: CallerKind,
    grants: NameIds,
    pub(crate) guardrails: NameIds,
}

impl Grants {
    /// Adds a grant on a model, or on every model.
    pub(crate) fn add(&mut self, model: Option<&ModelName>, grant: RawGrant) {
        let RawGrant {
            environment,
            role,
            actions,
            holder,
        } = grant;
        let name = model.map_or("*", ModelName::as_str);
        let id = Arc::from(format!("grant/{environment}/{name}/{role}/{holder}"));
        let ground = self.by_environment.entry(environment).or_default();
        let holders = match model {
            Some(model) => ground.models.entry(model.clone()).or_default(),
            None => &mut ground.every,
        };
        let list = holders
            .by_name
            .entry(self.names.number(&holder))
            .or_default();
        list.push(Grant { id, role, actions });
        self.count += 1;
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// All of them, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Given<'_>> {
        self.by_environment
            .iter()
            .flat_map(move |(environment, ground)| {
                let models = ground.models.iter();
                let models = models.map(|(model, holders)| (Some(model), holders));
                let every = std::iter::once((None, &ground.every));
                every.chain(models).flat_map(move |(model, holders)| {
                    self.each(holders).map(move |(holder, grant)| Given {
                        environment,
                        model,
                        holder: holder.clone(),
                        grant,
                    })
                })
            })
    }

    /// The grants on this model by its own manifest, in no particular order.
    pub(crate) fn given<'g>(
        &'g self,
        environment: &Environment,
        model: &ModelName,
    ) -> impl Iterator<Item = (&'g Holder, &'g Grant)> {
        let ground = self.by_environment.get(environment);
        let own = ground.and_then(|ground| ground.models.get(model));
        own.into_iter().flat_map(|holders| self.each(holders))
    }

    /// The grants that name this party or a group or role of it, on this model or on all.
    pub(crate) fn of<'g>(
        &'g self,
        party: &'g PartyNames,
        environment: &Environment,
        model: Option<&ModelName>,
    ) -> impl Iterator<Item = &'g Grant> {
        self.on(environment, model)
            .flat_map(|holders| party.grants.among(&holders.by_name))
            .flatten()
    }

    /// The holders of a role on this model or on all, as manifests write them, sorted.
    pub(crate) fn holding(
        &self,
        role: &str,
        environment: &Environment,
        model: Option<&ModelName>,
    ) -> Vec<String> {
        let mut found: Vec<String> = self
            .on(environment, model)
            .flat_map(|holders| self.each(holders))
            .filter(|(_, grant)| &*grant.role == role)
            .map(|(holder, _)| holder.to_string())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// The model in the environment as an entity; made once for each that has a grant there.
    pub(crate) fn entity(
        &self,
        schema: &Schema,
        environment: &Environment,
        model: &ModelName,
    ) -> Option<Entity> {
        let make = || schema::endpoint(&schema.types, environment, model);
        let ground = self.by_environment.get(environment);
        match ground.and_then(|ground| ground.models.get(model)) {
            Some(holders) => holders.entity.get_or_init(make).clone(),
            None => make(),
        }
    }

    fn each<'g>(&'g self, holders: &'g Holders) -> impl Iterator<Item = (&'g Holder, &'g Grant)> {
        holders.by_name.iter().flat_map(|(name, grants)| {
            let holder = self.names.holder(*name).into_iter();
            holder.flat_map(move |holder| grants.iter().map(move |grant| (holder, grant)))
        })
    }

    fn on(
        &self,
        environment: &Environment,
        model: Option<&ModelName>,
    ) -> impl Iterator<Item = &Holders> {
        let ground = self.by_environment.get(environment);
        let own = ground
            .zip(model)
            .and_then(|(ground, model)| ground.models.get(model));
        own.into_iter().chain(ground.map(|ground| &ground.every))
    }
}

impl Guardrails {
    pub(crate) fn add(&mut self, guardrail: Guardrail) {
        let place = self.all.len();
        let kept = self.shelve(guardrail);
        let site = &kept.guardrail.site;
        let shelves = match (&site.model, &site.environment) {
            (Some(model), _) => self.models.entry(model.clone()).or_default(),
            (None, Some(environment)) => self.environments.entry(environment.clone()).or_default(),
            (None, None) => &mut self.anywhere,
        };
        for occasion in kept.guardrail.occasions() {
            let shelf = shelves.0.entry(occasion).or_default();
            match kept.name {
                Some(name) => shelf.named.entry(name).or_default().push(place),
                None => shelf.anybody.push(place),
            }
        }
        self.all.push(kept);
    }

    fn shelve(&mut self, guardrail: Guardrail) -> IndexedGuardrail {
        let name = guardrail.who.name.clone();
        let groups = self.numbers(&guardrail.groups);
        let mut parents = self.numbers(&guardrail.roles);
        parents.extend(&groups);
        IndexedGuardrail {
            name: name.as_ref().map(|holder| self.number(holder)),
            names_a_group: matches!(name, Some(Holder::Group(_))),
            guardrail,
            groups,
            parents,
        }
    }

    fn numbers(&mut self, uids: &BTreeSet<EntityUid>) -> Vec<NameId> {
        let types = &Schema::shared().types;
        let holders = uids.iter().filter_map(|uid| types.holder(uid));
        holders.map(|holder| self.number(&holder)).collect()
    }

    fn number(&mut self, holder: &Holder) -> NameId {
        let number = self.names.number(holder);
        if self.names.len() > self.uids.len() {
            self.uids.push(Schema::shared().types.entity(holder));
        }
        number
    }

    /// The guardrails whose scope covers this party, action and resource. If not all groups of the
    /// party are known, also those that name a group.
    pub(crate) fn near<'g>(
        &'g self,
        party: &'g PartyNames,
        all_groups: bool,
        action: Action,
        environment: &'g Environment,
        model: Option<&'g ModelName>,
    ) -> impl Iterator<Item = &'g IndexedGuardrail> {
        let model_s = model.and_then(|model| self.models.get(model));
        let environment_s = self.environments.get(environment);
        let shelves = model_s.into_iter().chain(environment_s);
        shelves
            .chain(std::iter::once(&self.anywhere))
            .filter_map(move |shelves| shelves.0.get(&(action, party.kind)))
            .flat_map(move |shelf| {
                let named = all_groups.then(|| party.guardrails.among(&shelf.named));
                let any_named = (!all_groups).then(|| shelf.named.values());
                let named = named.into_iter().flatten();
                let named = named.chain(any_named.into_iter().flatten()).flatten();
                shelf.anybody.iter().chain(named)
            })
            .filter_map(|place| self.all.get(*place))
            .filter(move |kept| kept.guardrail.site.takes(environment, model))
    }

    /// The entities of those names that the party bears.
    pub(crate) fn parents<'g>(
        &'g self,
        party: &'g PartyNames,
        kept: &'g IndexedGuardrail,
    ) -> impl Iterator<Item = &'g EntityUid> {
        let borne = kept
            .parents
            .iter()
            .filter(|name| party.guardrails.bears(**name));
        borne.filter_map(|name| self.uids.get(usize::try_from(*name).ok()?)?.as_ref())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Guardrail> {
        self.all.iter().map(|kept| &kept.guardrail)
    }
}

impl IndexedGuardrail {
    /// Whether its scope covers a party whose groups are all known.
    pub(crate) fn is_about(&self, party: &PartyNames) -> bool {
        self.name.is_none_or(|name| party.guardrails.bears(name))
    }

    /// Whether it could be about a party some of whose groups are not known.
    pub(crate) fn could_be_about(&self, party: &PartyNames) -> bool {
        self.names_a_group || self.is_about(party)
    }

    /// Whether the party is in every group that it mentions.
    pub(crate) fn mentions_only_groups_of(&self, party: &PartyNames) -> bool {
        self.groups.iter().all(|name| party.guardrails.bears(*name))
    }
}

impl Policies {
    /// What grants and guardrails must know of a party: which of their names it bears.
    pub(crate) fn place(&self, party: &Party) -> Option<PartyNames> {
        let kind = party.principal.kind;
        KINDS.contains(&kind).then(|| PartyNames {
            kind,
            grants: self.grants.names.ids_of(party),
            guardrails: self.guardrails.names.ids_of(party),
        })
    }

    /// The promotion under which a model is served in an environment.
    pub(crate) fn promotion(
        &self,
        environment: &Environment,
        model: Option<&ModelName>,
    ) -> Option<PromotionId> {
        self.served.get(environment)?.get(model?).copied()
    }

    /// The text of the manifest that the files have for a model.
    pub(crate) fn file_of(&self, model: &ModelName) -> Option<&str> {
        let claim = self.claims.get(model)?;
        let document = self.documents.manifests.get(claim.document)?;
        Some(&document.text)
    }

    /// The problems of models' own manifests that are not in force as written.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &Problem> {
        let manifests = self.documents.manifests.iter();
        manifests.flat_map(|document| &document.fault)
    }

    /// Whether only promoted manifests count in an environment.
    pub(crate) fn is_kept(&self, environment: &Environment) -> bool {
        self.kept.environments.contains(environment) && self.promotions.contains_key(environment)
    }
}
