//! The kinds of requests that the solver is asked about.

use cedar_policy::RequestEnv;
use spanner_core::{Action, CallerKind};

use super::Unproved;
use crate::holder::KINDS;
use crate::schema::Schema;

/// A kind of party, an action, and a kind of resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kindred {
    pub(super) kind: CallerKind,
    pub(super) action: Action,
    pub(super) on_models: bool,
}

impl Kindred {
    /// Every combination that the schema allows.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let schema = Schema::shared();
        KINDS.into_iter().flat_map(move |kind| {
            [true, false].into_iter().flat_map(move |on_models| {
                let applicable = match on_models {
                    true => schema.applicable_to_models(kind),
                    false => schema.applicable_to_servers(kind),
                };
                let actions = Action::ALL.into_iter();
                let actions = actions.filter(move |action| applicable.contains(*action));
                actions.map(move |action| Self {
                    kind,
                    action,
                    on_models,
                })
            })
        })
    }

    pub(super) fn request(self) -> RequestEnv {
        let types = &Schema::shared().types;
        let principal = types.of(self.kind).unwrap_or(&types.user);
        let resource = match self.on_models {
            true => &types.endpoint,
            false => &types.server,
        };
        RequestEnv::new(
            principal.clone(),
            types.action(self.action),
            resource.clone(),
        )
    }

    pub(super) fn unproved(self, why: String) -> Unproved {
        Unproved {
            kind: self.kind,
            action: self.action,
            on_models: self.on_models,
            why,
        }
    }
}
