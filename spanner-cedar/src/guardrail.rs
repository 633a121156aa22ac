//! A compiled guardrail: its scope is data, and Cedar evaluates its conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};
use spanner_core::{Action, Advice, CallerKind, Environment, ModelName};

use crate::holder::{Holder, KINDS};
use crate::role::ActionSet;
use crate::schema::{Schema, Types};

/// Whether a guardrail decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Yes.
    Live,
    /// No; it is evaluated, and records say what it would have changed.
    Shadow,
}

/// One policy of the organization.
#[derive(Debug)]
pub(crate) struct Guardrail {
    pub(crate) id: Arc<str>,
    pub(crate) effect: Effect,
    pub(crate) mode: Mode,
    /// What its annotations tell a refused caller.
    pub(crate) advice: Advice,
    /// The groups that it mentions. Its result depends on whether the party is in them.
    pub(crate) groups: BTreeSet<EntityUid>,
    /// The issuers' roles it mentions.
    pub(crate) roles: BTreeSet<EntityUid>,
    /// Whether it names models. A caller that may not know of a model does not learn of such a
    /// guardrail either.
    pub(crate) names_models: bool,
    /// The policy alone, for Cedar.
    pub(crate) policy: PolicySet,
    /// Whether it has no condition, so that Cedar is not needed.
    pub(crate) scope_only: bool,
    pub(crate) who: Who,
    pub(crate) actions: ActionSet,
    pub(crate) site: Site,
}

/// The principal part of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    kinds: Kinds,
    /// What the principal must be or be in.
    pub(crate) name: Option<Holder>,
}

/// The resource part of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    models: bool,
    server: bool,
    pub(crate) environment: Option<Environment>,
    pub(crate) model: Option<ModelName>,
}

/// A set of kinds of parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kinds(u8);

impl Guardrail {
    pub(crate) fn new(
        id: Arc<str>,
        mode: Mode,
        schema: &Schema,
        policy: &Policy,
        alone: PolicySet,
        advice: Advice,
    ) -> Self {
        let literals = policy.entity_literals();
        let types = &schema.types;
        let of = |kind| literals.iter().filter(move |uid| uid.type_name() == kind);
        Self {
            id,
            effect: policy.effect(),
            mode,
            advice,
            groups: of(&types.group).cloned().collect(),
            roles: of(&types.role).cloned().collect(),
            names_models: of(&types.model).chain(of(&types.endpoint)).count() > 0,
            policy: alone,
            scope_only: !policy.has_non_scope_constraint(),
            who: Who::of(types, policy.principal_constraint()),
            actions: actions(schema, &policy.action_constraint()),
            site: Site::of(types, policy.resource_constraint()),
        }
    }

    /// The actions and kinds of parties that its scope covers.
    pub(crate) fn occasions(&self) -> impl Iterator<Item = (Action, CallerKind)> {
        let kinds = KINDS.into_iter().filter(|kind| self.who.takes(*kind));
        kinds.flat_map(|kind| self.actions.iter().map(move |action| (action, kind)))
    }

    /// Whether it decides exactly as another one. The advice to a refused caller may differ.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        (self.effect, self.mode) == (other.effect, other.mode) && self.body() == other.body()
    }

    /// The part that affects decisions: the policy without its annotations.
    pub(crate) fn body(&self) -> Option<String> {
        let policy = self.policy.policies().next()?.to_pst().ok()?;
        let bare = policy.body().clone().with_annotations(BTreeMap::new());
        Some(format!("{bare:?}"))
    }

    /// The principals and the models that it names.
    pub(crate) fn named(&self, schema: &Schema) -> (Vec<Holder>, Vec<ModelName>) {
        let policies = self.policy.policies();
        let literals: Vec<EntityUid> = policies.flat_map(Policy::entity_literals).collect();
        let holders = literals.iter().filter_map(|uid| schema.types.holder(uid));
        let models = literals.iter().filter_map(|uid| schema.types.model_of(uid));
        (holders.collect(), models.collect())
    }
}

impl Who {
    const NOBODY: Self = Self {
        kinds: Kinds(0),
        name: None,
    };

    const ANYBODY: Self = Self {
        kinds: Kinds(u8::MAX),
        name: None,
    };

    fn of(types: &Types, constraint: PrincipalConstraint) -> Self {
        match constraint {
            PrincipalConstraint::Any => Self::ANYBODY,
            PrincipalConstraint::Is(kind) => Self::ANYBODY.only(Kinds::of(types, &kind)),
            PrincipalConstraint::In(uid) => Self::within(types, &uid),
            PrincipalConstraint::IsIn(kind, uid) => {
                Self::within(types, &uid).only(Kinds::of(types, &kind))
            }
            // No principal is a group or a role, and only the party itself is in a party.
            PrincipalConstraint::Eq(uid) => {
                Self::within(types, &uid).only(Kinds::of(types, uid.type_name()))
            }
        }
    }

    /// The parties that are this entity, or are in it.
    fn within(types: &Types, uid: &EntityUid) -> Self {
        match types.holder(uid) {
            Some(holder) => Self {
                kinds: holder.kind().map_or(Kinds(u8::MAX), Kinds::one),
                name: Some(holder),
            },
            None => Self::NOBODY,
        }
    }

    fn only(self, kinds: Kinds) -> Self {
        Self {
            kinds: Kinds(self.kinds.0 & kinds.0),
            ..self
        }
    }

    fn takes(&self, kind: CallerKind) -> bool {
        self.kinds.0 & Kinds::one(kind).0 != 0
    }
}

impl Kinds {
    const fn one(kind: CallerKind) -> Self {
        Self(1 << (kind as u8))
    }

    fn of(types: &Types, name: &EntityTypeName) -> Self {
        let kinds = KINDS.into_iter();
        let found = kinds.filter(|kind| types.of(*kind) == Some(name));
        Self(found.fold(0, |set, kind| set | Self::one(kind).0))
    }
}

impl Site {
    const NOWHERE: Self = Self {
        models: false,
        server: false,
        environment: None,
        model: None,
    };

    const ANYWHERE: Self = Self {
        models: true,
        server: true,
        environment: None,
        model: None,
    };

    fn of(types: &Types, constraint: ResourceConstraint) -> Self {
        match constraint {
            ResourceConstraint::Any => Self::ANYWHERE,
            ResourceConstraint::Is(kind) => Self::ANYWHERE.only(types, &kind),
            ResourceConstraint::In(uid) => Self::within(types, &uid).unwrap_or(Self::NOWHERE),
            ResourceConstraint::IsIn(kind, uid) => {
                let within = Self::within(types, &uid).unwrap_or(Self::NOWHERE);
                within.only(types, &kind)
            }
            // No request is about a `Model` or `Environment` entity itself.
            ResourceConstraint::Eq(uid) => {
                let within = Self::within(types, &uid).unwrap_or(Self::NOWHERE);
                within.only(types, uid.type_name())
            }
        }
    }

    /// The resources that are this entity, or are in it.
    fn within(types: &Types, uid: &EntityUid) -> Option<Self> {
        let (kind, id) = (uid.type_name(), uid.id().unescaped());
        if *kind == types.environment {
            let environment = Some(Environment::new(id).ok()?);
            return Some(Self {
                environment,
                ..Self::ANYWHERE
            });
        }
        if *kind == types.server {
            return Some(Self {
                server: true,
                environment: Some(Environment::new(id).ok()?),
                ..Self::NOWHERE
            });
        }
        let (environment, model) = if *kind == types.model {
            (None, id)
        } else if *kind == types.endpoint {
            let (environment, model) = id.split_once('/')?;
            (Some(Environment::new(environment).ok()?), model)
        } else {
            return None;
        };
        Some(Self {
            models: true,
            server: false,
            environment,
            model: Some(ModelName::new(model).ok()?),
        })
    }

    fn only(self, types: &Types, kind: &EntityTypeName) -> Self {
        Self {
            models: self.models && *kind == types.endpoint,
            server: self.server && *kind == types.server,
            ..self
        }
    }

    /// Whether it covers a model in an environment, or the environment's server.
    pub(crate) fn takes(&self, environment: &Environment, model: Option<&ModelName>) -> bool {
        (if model.is_some() {
            self.models
        } else {
            self.server
        }) && self
            .environment
            .as_ref()
            .is_none_or(|own| own == environment)
            && self.model.as_ref().is_none_or(|own| Some(own) == model)
    }
}

fn actions(schema: &Schema, constraint: &ActionConstraint) -> ActionSet {
    match constraint {
        ActionConstraint::Any => ActionSet::all(),
        ActionConstraint::Eq(uid) => uid.id().unescaped().parse().ok().into_iter().collect(),
        ActionConstraint::In(uids) => uids
            .iter()
            .map(|uid| schema.actions_in(uid))
            .fold(ActionSet::EMPTY, ActionSet::with),
    }
}
