//! What a promotion into an environment asks for.

use std::fmt;

use spanner_core::{Environment, Party};

use crate::load::Holder;

/// The rule of one `[promotion.<environment>]` table. It is checked with the rest of the
/// access and kept for the promotion life cycle.
///
/// Whoever it lists as an approver holds the role `approver` in the environment on every
/// model. Whoever it does not list signs nothing, whatever a manifest grants: ask
/// [`names`](Self::names).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromotionRule {
    /// The environment promoted into.
    pub environment: Environment,
    /// The environment a revision must come from.
    pub from: Environment,
    /// Signatures asked for; 1 unless the table says otherwise.
    pub approvals: u8,
    /// What becomes of manifests that are there when promotions begin to be kept.
    pub existing: Existing,
    pub(crate) approvers: Vec<Holder>,
}

/// What becomes of the manifests that are there when promotions into an environment begin to
/// be kept: nobody promoted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Existing {
    /// They stay in force, as adopted. The default.
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
