//! A guardrail ready to be asked: its scope as data, its conditions left to Cedar.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};
use spanner_core::{Advice, ModelName};

use crate::load::Holder;
use crate::role::ActionSet;
use crate::schema::Schema;

/// Whether a guardrail decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It does.
    Live,
    /// It is asked, and what it would have changed is recorded.
    Shadow,
}

/// One policy of the organization.
#[derive(Debug)]
pub(crate) struct Guardrail {
    pub(crate) id: Arc<str>,
    pub(crate) effect: Effect,
    pub(crate) mode: Mode,
    /// What its annotations say to whoever is refused.
    pub(crate) advice: Advice,
    /// The groups it mentions: what it says of a party depends on these.
    pub(crate) groups: BTreeSet<EntityUid>,
    /// The issuers' roles it mentions.
    pub(crate) roles: BTreeSet<EntityUid>,
    /// Whether it speaks of models by name; who may not know of a model does not learn of
    /// such a guardrail either.
    pub(crate) names_models: bool,
    /// The policy alone, for Cedar.
    pub(crate) policy: PolicySet,
    principal: Scope,
    actions: ActionSet,
    resource: Scope,
}

/// What a policy's scope says of its principal or of its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Any,
    Is(EntityTypeName),
    Eq(EntityUid),
    In(EntityUid),
    IsIn(EntityTypeName, EntityUid),
}

/// An entity with everything that it is in.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) uid: EntityUid,
    pub(crate) parents: Vec<EntityUid>,
}

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
            principal: policy.principal_constraint().into(),
            actions: actions(schema, &policy.action_constraint()),
            resource: policy.resource_constraint().into(),
        }
    }

    /// Whether the scope takes in this principal, action and resource.
    pub(crate) fn is_about(
        &self,
        principal: &Placed,
        action: spanner_core::Action,
        resource: &Placed,
    ) -> bool {
        self.actions.contains(action)
            && self.resource.takes(resource)
            && self.principal.takes(principal)
    }

    /// Whether it could be about a principal some of whose groups are not known.
    pub(crate) fn could_be_about(
        &self,
        principal: &Placed,
        action: spanner_core::Action,
        resource: &Placed,
    ) -> bool {
        self.actions.contains(action)
            && self.resource.takes(resource)
            && self.principal.could_take(principal, &self.groups)
    }

    /// Whether it could be about a resource, whoever asks for whatever.
    pub(crate) fn can_be_about(&self, resource: &Placed) -> bool {
        self.resource.takes(resource)
    }

    /// Whether it decides as another one does; what it says to whoever is refused may differ.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let text = |guardrail: &Self| {
            let policy = guardrail.policy.policies().next()?.to_pst().ok()?;
            let bare = policy.body().clone().with_annotations(BTreeMap::new());
            Some(format!("{bare:?}"))
        };
        (self.effect, self.mode) == (other.effect, other.mode) && text(self) == text(other)
    }

    /// The principals and the models that it names.
    pub(crate) fn named(&self, schema: &Schema) -> (Vec<Holder>, Vec<ModelName>) {
        let policies = self.policy.policies();
        let literals: Vec<EntityUid> = policies.flat_map(Policy::entity_literals).collect();
        let holders = literals.iter().filter_map(|uid| schema.types.holder(uid));
        let models = literals.iter().filter_map(|uid| schema.types.model_of(uid));
        (holders.collect(), models.collect())
    }

    /// The entity in whose bucket it belongs: what each resource that it is about is in.
    pub(crate) const fn bucket(&self) -> Option<&EntityUid> {
        self.resource.anchor()
    }
}

impl Scope {
    pub(crate) fn takes(&self, entity: &Placed) -> bool {
        let within = |uid: &EntityUid| entity.uid == *uid || entity.parents.contains(uid);
        match self {
            Self::Any => true,
            Self::Is(kind) => entity.uid.type_name() == kind,
            Self::Eq(uid) => entity.uid == *uid,
            Self::In(uid) => within(uid),
            Self::IsIn(kind, uid) => entity.uid.type_name() == kind && within(uid),
        }
    }

    /// Like [`takes`](Self::takes), for an entity that may be in any of these groups.
    fn could_take(&self, entity: &Placed, groups: &BTreeSet<EntityUid>) -> bool {
        match self {
            Self::In(uid) => groups.contains(uid) || self.takes(entity),
            Self::IsIn(kind, uid) => {
                (entity.uid.type_name() == kind && groups.contains(uid)) || self.takes(entity)
            }
            Self::Any | Self::Is(_) | Self::Eq(_) => self.takes(entity),
        }
    }

    const fn anchor(&self) -> Option<&EntityUid> {
        match self {
            Self::Any | Self::Is(_) => None,
            Self::Eq(uid) | Self::In(uid) | Self::IsIn(_, uid) => Some(uid),
        }
    }
}

impl From<PrincipalConstraint> for Scope {
    fn from(constraint: PrincipalConstraint) -> Self {
        match constraint {
            PrincipalConstraint::Any => Self::Any,
            PrincipalConstraint::In(uid) => Self::In(uid),
            PrincipalConstraint::Eq(uid) => Self::Eq(uid),
            PrincipalConstraint::Is(kind) => Self::Is(kind),
            PrincipalConstraint::IsIn(kind, uid) => Self::IsIn(kind, uid),
        }
    }
}

impl From<ResourceConstraint> for Scope {
    fn from(constraint: ResourceConstraint) -> Self {
        match constraint {
            ResourceConstraint::Any => Self::Any,
            ResourceConstraint::In(uid) => Self::In(uid),
            ResourceConstraint::Eq(uid) => Self::Eq(uid),
            ResourceConstraint::Is(kind) => Self::Is(kind),
            ResourceConstraint::IsIn(kind, uid) => Self::IsIn(kind, uid),
        }
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
