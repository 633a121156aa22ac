//! An access in force: grants by whom they name, guardrails by what they are about.
//!
//! A grant is a link of the template
//! `permit (principal in ?principal, action in [the role's actions], resource in ?resource)`,
//! whose resource is a model in an environment, or the environment itself for a grant on
//! every model. Such a policy is all scope, so it is decided by looking it up: it matches
//! exactly if the principal is, or is in, what it names, and so for the resource.
//! A question about one model looks at the grants of that model and of the environment,
//! and at the guardrails whose scope names the model, the environment or nothing; how many
//! models there are does not matter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use cedar_policy::EntityUid;
use spanner_core::{Environment, Group, IssuerAlias, ModelName, Party, Principal, Role};

use crate::guardrail::{Guardrail, Placed};
use crate::load::{Holder, RawGrant};
use crate::promotion::PromotionRule;
use crate::role::{ActionSet, Roles};
use crate::schema::Schema;

/// Everything that decides, at one moment.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) schema: &'static Schema,
    pub(crate) digest: Arc<str>,
    pub(crate) environments: Vec<Environment>,
    pub(crate) issuers: Vec<IssuerAlias>,
    /// The groups of the directory.
    pub(crate) directory: HashSet<Group>,
    pub(crate) roles: Roles,
    pub(crate) promotions: BTreeMap<Environment, PromotionRule>,
    pub(crate) owners: HashMap<ModelName, Option<Holder>>,
    /// Why a manifest grants something to individuals.
    pub(crate) individuals: HashMap<ModelName, Arc<str>>,
    pub(crate) grants: Grants,
    pub(crate) guardrails: Guardrails,
    /// What guardrails ask of parties.
    pub(crate) mentioned: Mentioned,
}

/// The groups and issuers' roles that guardrails mention: the only ones Cedar needs to know
/// of.
#[derive(Debug, Default)]
pub(crate) struct Mentioned {
    pub(crate) groups: HashMap<Group, EntityUid>,
    pub(crate) roles: HashMap<Role, EntityUid>,
}

/// All grants.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    by_environment: HashMap<Environment, Ground>,
    count: usize,
}

/// The grants of one environment.
#[derive(Debug, Default)]
struct Ground {
    every: Holders,
    models: HashMap<ModelName, Holders>,
}

/// The grants on one resource, by whom they name.
#[derive(Debug, Default)]
struct Holders {
    groups: HashMap<Group, Vec<Grant>>,
    roles: HashMap<Role, Vec<Grant>>,
    parties: HashMap<Principal, Vec<Grant>>,
}

/// One role given to one holder on one resource.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) id: Arc<str>,
    pub(crate) role: Arc<str>,
    pub(crate) actions: ActionSet,
}

/// A grant with what it is on and whom it names.
pub(crate) struct Given<'g> {
    pub(crate) environment: &'g Environment,
    /// `None`: on every model.
    pub(crate) model: Option<&'g ModelName>,
    pub(crate) holder: Holder,
    pub(crate) grant: &'g Grant,
}

/// All guardrails.
#[derive(Debug, Default)]
pub(crate) struct Guardrails {
    anywhere: Vec<Guardrail>,
    by_anchor: HashMap<EntityUid, Vec<Guardrail>>,
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
        let list = match holder {
            Holder::Group(group) => holders.groups.entry(group).or_default(),
            Holder::Role(role) => holders.roles.entry(role).or_default(),
            Holder::Party(principal) => holders.parties.entry(principal).or_default(),
        };
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
            .flat_map(|(environment, ground)| {
                let models = ground.models.iter();
                let models = models.map(|(model, holders)| (Some(model), holders));
                let every = std::iter::once((None, &ground.every));
                every.chain(models).flat_map(move |(model, holders)| {
                    holders.each().map(move |(holder, grant)| Given {
                        environment,
                        model,
                        holder,
                        grant,
                    })
                })
            })
    }

    /// The grants that name this party or a group or role of it, on this model or on all.
    pub(crate) fn of<'g>(
        &'g self,
        party: &'g Party,
        environment: &Environment,
        model: Option<&ModelName>,
    ) -> impl Iterator<Item = &'g Grant> {
        self.on(environment, model).flat_map(|holders| {
            let own = holders.parties.get(&party.principal);
            let groups = distinct(&party.groups).filter_map(|group| holders.groups.get(group));
            let roles = distinct(&party.roles).filter_map(|role| holders.roles.get(role));
            own.into_iter().chain(groups).chain(roles).flatten()
        })
    }

    /// Whoever holds a role on this model or on all, as manifests write them, sorted.
    pub(crate) fn holding(
        &self,
        role: &str,
        environment: &Environment,
        model: Option<&ModelName>,
    ) -> Vec<String> {
        let mut found: Vec<String> = self
            .on(environment, model)
            .flat_map(|holders| {
                let has = |grants: &[Grant]| grants.iter().any(|grant| &*grant.role == role);
                let groups = holders.groups.iter().filter(move |(_, grants)| has(grants));
                let roles = holders.roles.iter().filter(move |(_, grants)| has(grants));
                let parties = holders
                    .parties
                    .iter()
                    .filter(move |(_, grants)| has(grants));
                groups
                    .map(|(group, _)| group.to_string())
                    .chain(roles.map(|(role, _)| role.to_string()))
                    .chain(parties.map(|(principal, _)| principal.to_string()))
            })
            .collect();
        found.sort();
        found.dedup();
        found
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

impl Holders {
    fn each(&self) -> impl Iterator<Item = (Holder, &Grant)> {
        let groups = self.groups.iter();
        let groups = groups.map(|(group, grants)| (Holder::Group(group.clone()), grants));
        let roles = self.roles.iter();
        let roles = roles.map(|(role, grants)| (Holder::Role(role.clone()), grants));
        let parties = self.parties.iter();
        let parties = parties.map(|(party, grants)| (Holder::Party(party.clone()), grants));
        let all = groups.chain(roles).chain(parties);
        all.flat_map(|(holder, grants)| grants.iter().map(move |grant| (holder.clone(), grant)))
    }
}

impl Guardrails {
    pub(crate) fn add(&mut self, guardrail: Guardrail) {
        match guardrail.bucket().cloned() {
            Some(anchor) => self.by_anchor.entry(anchor).or_default().push(guardrail),
            None => self.anywhere.push(guardrail),
        }
    }

    /// The guardrails that can be about a resource.
    pub(crate) fn near<'g>(&'g self, resource: &Placed) -> impl Iterator<Item = &'g Guardrail> {
        std::iter::once(&resource.uid)
            .chain(&resource.parents)
            .filter_map(|uid| self.by_anchor.get(uid))
            .flatten()
            .chain(&self.anywhere)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Guardrail> {
        self.anywhere
            .iter()
            .chain(self.by_anchor.values().flatten())
    }
}

impl Access {
    /// What guardrails must know of a party: itself and the groups and roles that any of
    /// them names.
    pub(crate) fn place(&self, party: &Party) -> Option<Placed> {
        let uid = self.schema.types.principal(&party.principal)?;
        let Mentioned { groups, roles } = &self.mentioned;
        let groups = party.groups.iter().filter_map(|group| groups.get(group));
        let roles = party.roles.iter().filter_map(|role| roles.get(role));
        let parents: HashSet<&EntityUid> = groups.chain(roles).collect();
        Some(Placed {
            uid,
            parents: parents.into_iter().cloned().collect(),
        })
    }

    /// A resource in an environment.
    pub(crate) fn resource(&self, environment: &Environment, model: Option<&ModelName>) -> Placed {
        let types = &self.schema.types;
        match model {
            Some(model) => Placed {
                uid: types.endpoint(environment, model),
                parents: vec![types.model(model), types.environment(environment)],
            },
            None => Placed {
                uid: types.server(environment),
                parents: vec![types.environment(environment)],
            },
        }
    }
}

/// Each group or role once, however often a token lists it.
fn distinct<T: Eq + Hash>(names: &[T]) -> impl Iterator<Item = &T> {
    let mut seen = HashSet::new();
    names.iter().filter(move |name| seen.insert(*name))
}
