//! What a promotion into an environment asks for, and what promotions keep in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use spanner_core::promotion::History;
use spanner_core::{Environment, ModelName, RecordId};

/// The rule of one `[promotion.<environment>]` table. Decisions do not read it; whoever keeps
/// promotions does ([`Kept`]).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromotionRule {
    /// The environment promoted into.
    pub environment: Environment,
    /// The environment a revision must come from.
    pub from: Environment,
    /// Signatures asked for; 1 unless the table says otherwise.
    pub approvals: u8,
    /// Who may sign, as `group:corp/ml-governance` or `user:corp/alice`.
    pub approvers: Vec<String>,
}

/// What promotions keep in force, for [`Cedar::keep`](crate::Cedar::keep). By default nothing:
/// the folder is in force as it is.
///
/// In an environment that is kept, and that the organization has a rule for, a model has the
/// grants of its manifest as promoted, whatever its file says by now. Grants on every model, in
/// `organization.toml`, and guardrails are not of a model, and count as they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Where only promoted manifests count.
    pub environments: BTreeSet<Environment>,
    /// What was promoted there.
    pub promoted: Vec<Promoted>,
}

/// One model's manifest, as promoted into an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promoted {
    /// The promotion, which records of requests name.
    pub promotion: RecordId,
    /// The model.
    pub model: ModelName,
    /// Where it is in force.
    pub environment: Environment,
    /// The manifest, whole.
    pub manifest: Arc<str>,
}

impl Kept {
    /// What a history says is in force, in these environments.
    #[must_use]
    pub fn of(history: &History, environments: BTreeSet<Environment>) -> Self {
        let mut promoted: Vec<Promoted> = history
            .in_force()
            .map(|promotion| Promoted {
                promotion: promotion.id(),
                model: promotion.candidate().model.clone(),
                environment: promotion.plan().into.clone(),
                manifest: Arc::clone(promotion.manifest()),
            })
            .collect();
        promoted.sort_by(|a, b| (&a.environment, &a.model).cmp(&(&b.environment, &b.model)));
        Self {
            environments,
            promoted,
        }
    }

    /// The same with another manifest for a model in an environment, or with none.
    #[must_use]
    pub fn with(
        &self,
        model: &ModelName,
        environment: &Environment,
        one: Option<Promoted>,
    ) -> Self {
        let other =
            |promoted: &&Promoted| (&promoted.model, &promoted.environment) != (model, environment);
        let others = self.promoted.iter().filter(other).cloned();
        Self {
            environments: self.environments.clone(),
            promoted: others.chain(one).collect(),
        }
    }
}

impl Promoted {
    /// A manifest that a promotion is to put in force.
    pub fn new(
        promotion: RecordId,
        model: ModelName,
        environment: Environment,
        manifest: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            promotion,
            model,
            environment,
            manifest: manifest.into(),
        }
    }
}
