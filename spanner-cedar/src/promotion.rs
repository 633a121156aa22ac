//! The rule of promotion of an environment, and the manifests that promotions have put in force.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use spanner_core::promotion::HistoryState;
use spanner_core::{Environment, ModelName, Party, PromotionId};
use spanner_toml::Problem;

use crate::holder::Holder;

/// The rule of one `[promotion.<environment>]` table. Decisions do not read it; the service that
/// keeps promotions does ([`PromotedManifests`]).
///
/// Its approvers hold the role `approver` in the environment on every model. Nobody else can sign,
/// whatever a manifest grants; [`names`](Self::names) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromotionRule {
    /// The environment promoted into.
    pub environment: Environment,
    /// The environment a revision must come from.
    pub from: Environment,
    /// How many signatures are required. Default: 1.
    pub approvals: u8,
    /// What happens to manifests that exist when promotions begin.
    pub existing: Existing,
    pub(crate) approvers: Vec<Holder>,
}

/// What happens to the manifests that exist when promotions into an environment begin. Nobody
/// promoted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Existing {
    /// They stay in force, as adopted: the record says that nobody approved them. The default.
    ///
    /// # Security
    /// A new or lost ledger has no promotions, so the files are adopted as they are then. If several
    /// replicas have a ledger each, or if losing a ledger must not put unapproved files in force,
    /// use [`Refuse`](Self::Refuse).
    #[default]
    Adopt,
    /// They are not in force there until they are promoted.
    Refuse,
}

impl PromotionRule {
    /// Whether a party may sign: it, or a group or role of it, is listed.
    #[must_use]
    pub fn names(&self, party: &Party) -> bool {
        self.approvers.iter().any(|holder| holder.is(party))
    }

    /// Who may sign, as manifests write them: `group:corp/ml-governance`,
    /// `user:corp/alice`.
    pub fn approvers(&self) -> impl Iterator<Item = String> {
        self.approvers.iter().map(ToString::to_string)
    }
}

impl Existing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Adopt, Self::Refuse];

    /// The word that the table uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Refuse => "refuse",
        }
    }
}

impl fmt::Display for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The manifests that promotions have put in force, for [`Cedar::keep`](crate::Cedar::keep).
/// Default: none, and the files are in force.
///
/// In an environment that is listed here and has a rule of promotion, a model has the grants of its
/// promoted manifest, whatever its file says by now. Grants on every model, in `organization.toml`,
/// and guardrails do not belong to a model: they always count as the files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromotedManifests {
    /// The environments in which only promoted manifests count.
    pub environments: BTreeSet<Environment>,
    /// What was promoted there.
    pub promoted: Vec<Promoted>,
}

/// One model's manifest, as promoted into an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promoted {
    /// The promotion, which records of requests name.
    pub promotion: PromotionId,
    /// The model.
    pub model: ModelName,
    /// Where it is in force.
    pub environment: Environment,
    /// The manifest, whole.
    pub manifest: Arc<str>,
}

impl PromotedManifests {
    /// What a history says is in force, in these environments.
    #[must_use]
    pub fn of(history: &HistoryState, environments: BTreeSet<Environment>) -> Self {
        let mut promoted: Vec<Promoted> = history
            .in_force()
            .filter_map(|promotion| {
                Some(Promoted {
                    promotion: promotion.id(),
                    model: promotion.candidate().model.clone(),
                    environment: promotion.plan().into.clone(),
                    manifest: Arc::clone(promotion.manifest()?),
                })
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

/// A grant of a promoted manifest that names something which no longer exists: a group that left the
/// directory, a role that is no longer defined. It grants nothing; the rest of the manifest is in
/// force. `Display` says where it is and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VoidGrant {
    /// The promotion.
    pub promotion: PromotionId,
    /// The model.
    pub model: ModelName,
    /// Where the manifest is in force.
    pub environment: Environment,
    /// What is wrong with it now.
    pub problem: Problem,
}

impl fmt::Display for VoidGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            model,
            environment,
            problem,
            ..
        } = self;
        write!(
            f,
            "{model} as promoted into {environment} names what is gone, which grants nothing: {problem}, or propose the manifest anew"
        )
    }
}

impl Promoted {
    /// A manifest that a promotion is to put in force.
    pub fn new(
        promotion: PromotionId,
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
