//! The vocabulary of policies, and the Cedar entities of the types of core.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use cedar_policy::{
    Entity, EntityId, EntityTypeName, EntityUid, RequestEnv, RestrictedExpression, Validator,
};
use spanner_core::{
    Action, ActionGroup, CallerKind, Environment, Group, GroupName, IssuerAlias, ModelName,
    Principal, Role, SubjectId,
};

use crate::holder::{Holder, KINDS};
use crate::role::ActionSet;

/// The schema, with the entities and types that every decision needs.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) validator: Validator,
    pub(crate) types: Types,
    actions: HashMap<Action, Entity>,
    on_models: HashMap<CallerKind, ActionSet>,
    on_servers: HashMap<CallerKind, ActionSet>,
}

/// The types of entities.
#[derive(Debug)]
pub(crate) struct Types {
    pub(crate) user: EntityTypeName,
    pub(crate) service: EntityTypeName,
    pub(crate) agent: EntityTypeName,
    pub(crate) group: EntityTypeName,
    pub(crate) role: EntityTypeName,
    pub(crate) environment: EntityTypeName,
    pub(crate) model: EntityTypeName,
    pub(crate) endpoint: EntityTypeName,
    pub(crate) server: EntityTypeName,
    pub(crate) action: EntityTypeName,
}

/// The text of the schema.
pub(crate) const TEXT: &str = include_str!("schema.cedarschema");

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::read);

impl Schema {
    /// The only schema, parsed once.
    pub(crate) fn shared() -> &'static Self {
        &SCHEMA
    }

    #[expect(
        clippy::expect_used,
        reason = "the schema is part of the program, and a test reads it"
    )]
    fn read() -> Self {
        let (schema, _) =
            cedar_policy::Schema::from_cedarschema_str(TEXT).expect("the schema is valid");
        let entities = schema.action_entities().expect("the actions are valid");
        let types = Types::read();
        let entity_of = |action: Action| {
            let uid = types.uid(&types.action, action.as_str());
            entities.get(&uid).map(|entity| (action, entity.clone()))
        };
        let actions = Action::ALL.into_iter().filter_map(entity_of).collect();
        let applicable = |resource: &EntityTypeName| {
            let on = |kind: CallerKind| {
                let fits = |request: &RequestEnv| {
                    types.of(kind) == Some(request.principal()) && request.resource() == resource
                };
                let requests = schema.request_envs().filter(fits);
                let actions = requests
                    .filter_map(|request| request.action().id().unescaped().parse::<Action>().ok());
                (kind, actions.collect())
            };
            KINDS.into_iter().map(on).collect()
        };
        let (on_models, on_servers) = (applicable(&types.endpoint), applicable(&types.server));
        Self {
            validator: Validator::new(schema),
            types,
            actions,
            on_models,
            on_servers,
        }
    }

    /// The entity of an action. Its parents are its groups of actions.
    pub(crate) fn action(&self, action: Action) -> Option<&Entity> {
        self.actions.get(&action)
    }

    /// The actions that the schema allows a kind of party on a model.
    pub(crate) fn applicable_to_models(&self, kind: CallerKind) -> ActionSet {
        self.on_models.get(&kind).copied().unwrap_or_default()
    }

    /// The actions that the schema allows a kind of party on a server.
    pub(crate) fn applicable_to_servers(&self, kind: CallerKind) -> ActionSet {
        self.on_servers.get(&kind).copied().unwrap_or_default()
    }

    /// The actions that the schema allows a kind of party on a model, or on the server.
    pub(crate) fn applicable_to(&self, kind: CallerKind, server: bool) -> ActionSet {
        match server {
            true => self.applicable_to_servers(kind),
            false => self.applicable_to_models(kind),
        }
    }

    /// The actions of an action or group of actions in a policy's scope.
    pub(crate) fn actions_in(&self, uid: &EntityUid) -> ActionSet {
        let word = uid.id().unescaped();
        match ActionGroup::ALL
            .into_iter()
            .find(|group| group.as_str() == word)
        {
            Some(group) => group.actions().collect(),
            None => word.parse::<Action>().into_iter().collect(),
        }
    }
}

impl Types {
    #[expect(
        clippy::expect_used,
        reason = "the names are part of the program, and a test reads them"
    )]
    fn read() -> Self {
        let name = |word: &str| {
            format!("Spanner::{word}")
                .parse()
                .expect("the names of the types are valid")
        };
        Self {
            user: name("User"),
            service: name("Service"),
            agent: name("Agent"),
            group: name("Group"),
            role: name("Role"),
            environment: name("Environment"),
            model: name("Model"),
            endpoint: name("Endpoint"),
            server: name("Server"),
            action: name("Action"),
        }
    }

    /// The type of a kind of party; an unclassified one has none.
    pub(crate) const fn of(&self, kind: CallerKind) -> Option<&EntityTypeName> {
        match kind {
            CallerKind::User => Some(&self.user),
            CallerKind::Service => Some(&self.service),
            CallerKind::Agent => Some(&self.agent),
            _ => None,
        }
    }

    pub(crate) fn principal(&self, principal: &Principal) -> Option<EntityUid> {
        let id = format!("{}/{}", principal.issuer, principal.subject);
        self.of(principal.kind).map(|kind| self.uid(kind, &id))
    }

    pub(crate) fn group(&self, group: &Group) -> EntityUid {
        self.uid(&self.group, &format!("{}/{}", group.issuer, group.name))
    }

    pub(crate) fn role(&self, role: &Role) -> EntityUid {
        self.uid(&self.role, &format!("{}/{}", role.issuer, role.name))
    }

    /// The entity that a grant or guardrail names. An unclassified party has none.
    pub(crate) fn entity(&self, holder: &Holder) -> Option<EntityUid> {
        match holder {
            Holder::Group(group) => Some(self.group(group)),
            Holder::Role(role) => Some(self.role(role)),
            Holder::Party(party) => self.principal(party),
        }
    }

    #[cfg(feature = "prove")]
    pub(crate) fn named(&self, kind: &EntityTypeName, id: &str) -> EntityUid {
        self.uid(kind, id)
    }

    #[cfg(feature = "prove")]
    pub(crate) fn action(&self, action: Action) -> EntityUid {
        self.uid(&self.action, action.as_str())
    }

    #[cfg(feature = "prove")]
    pub(crate) fn environment_named(&self, name: &str) -> EntityUid {
        self.uid(&self.environment, name)
    }

    #[cfg(feature = "prove")]
    pub(crate) fn model_named(&self, name: &str) -> EntityUid {
        self.uid(&self.model, name)
    }

    /// The principal, group or role of an entity.
    pub(crate) fn holder(&self, uid: &EntityUid) -> Option<Holder> {
        let (issuer, name) = uid.id().unescaped().split_once('/')?;
        let issuer = IssuerAlias::new(issuer).ok()?;
        let kind = uid.type_name();
        if *kind == self.group {
            return Some(Holder::Group(Group::new(
                issuer,
                GroupName::new(name).ok()?,
            )));
        }
        if *kind == self.role {
            return Some(Holder::Role(Role::new(issuer, GroupName::new(name).ok()?)));
        }
        let found = KINDS.into_iter().find(|it| self.of(*it) == Some(kind))?;
        let subject = SubjectId::new(name).ok()?;
        Some(Holder::Party(Principal::new(issuer, found, subject)))
    }

    /// The model of an entity that is a model or an endpoint.
    pub(crate) fn model_of(&self, uid: &EntityUid) -> Option<ModelName> {
        let id = uid.id().unescaped();
        if *uid.type_name() == self.endpoint {
            return ModelName::new(id.split_once('/')?.1).ok();
        }
        (*uid.type_name() == self.model).then(|| ModelName::new(id).ok())?
    }

    pub(crate) fn environment(&self, environment: &Environment) -> EntityUid {
        self.uid(&self.environment, environment.as_str())
    }

    pub(crate) fn model(&self, model: &ModelName) -> EntityUid {
        self.uid(&self.model, model.as_str())
    }

    pub(crate) fn endpoint(&self, environment: &Environment, model: &ModelName) -> EntityUid {
        self.uid(&self.endpoint, &format!("{environment}/{model}"))
    }

    pub(crate) fn server(&self, environment: &Environment) -> EntityUid {
        self.uid(&self.server, environment.as_str())
    }

    fn uid(&self, kind: &EntityTypeName, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
    }
}

/// A model in an environment, as an entity.
pub(crate) fn endpoint(
    types: &Types,
    environment: &Environment,
    model: &ModelName,
) -> Option<Entity> {
    let name = RestrictedExpression::new_string(model.as_str().to_owned());
    let attributes = HashMap::from([("name".to_owned(), name)]);
    let parents = HashSet::from([types.model(model), types.environment(environment)]);
    Entity::new(types.endpoint(environment, model), attributes, parents).ok()
}

/// The server of an environment, as an entity.
pub(crate) fn server(types: &Types, environment: &Environment) -> Entity {
    let parents = HashSet::from([types.environment(environment)]);
    Entity::new_no_attrs(types.server(environment), parents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_every_action_of_core_in_its_group() {
        let schema = Schema::shared();
        for action in Action::ALL {
            let entity = schema.action(action).unwrap();
            let uid = entity.uid();
            assert_eq!(schema.actions_in(&uid).iter().collect::<Vec<_>>(), [action]);
        }
        let (plain, warnings) = cedar_policy::Schema::from_cedarschema_str(TEXT).unwrap();
        assert_eq!(warnings.count(), 0);
        assert_eq!(
            plain.actions().count(),
            Action::ALL.len() + ActionGroup::ALL.len()
        );
        let entities = plain.action_entities().unwrap();
        for action in Action::ALL {
            let uid = schema.action(action).unwrap().uid();
            let parents: Vec<_> = entities
                .ancestors(&uid)
                .unwrap()
                .map(ToString::to_string)
                .collect();
            let expected = action
                .group()
                .map(|group| format!("Spanner::Action::\"{group}\""));
            assert_eq!(parents, Vec::from_iter(expected), "{action}");
        }
    }

    #[test]
    fn lets_only_people_approve_and_no_agent_promote() {
        let schema = Schema::shared();
        let lacks = |kind| {
            let set = schema.applicable_to_models(kind);
            Action::ALL
                .into_iter()
                .filter(|a| !set.contains(*a))
                .collect::<Vec<_>>()
        };
        assert_eq!(lacks(CallerKind::User), []);
        assert_eq!(lacks(CallerKind::Service), [Action::Approve]);
        assert_eq!(lacks(CallerKind::Agent), [Action::Promote, Action::Approve]);
        assert_eq!(lacks(CallerKind::Unclassified).len(), Action::ALL.len());
    }
}
