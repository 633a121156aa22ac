//! What a ledger keeps of promotions. Part of the compatibility promise: fields and steps are
//! added, never changed or removed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use crate::action::Action;
use crate::caller::{Caller, CallerKind};
use crate::record::PrincipalEntry;
use crate::{RecordId, Timestamp};

/// One step of a promotion: who did what, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The promotion.
    pub promotion: RecordId,
    /// When.
    pub time: Timestamp,
    /// Who; absent where nobody asked: what was found in force was [adopted](Step::Adopted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SignatoryEntry>,
    /// What.
    #[serde(flatten)]
    pub step: Step,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// What was in force before promotions were kept stays in force. Nobody approved it here.
    Adopted {
        /// What.
        candidate: CandidateEntry,
        /// Where.
        into: String,
        /// The manifest, whole.
        manifest: String,
    },
    /// A candidate was proposed.
    Proposed {
        /// What.
        candidate: CandidateEntry,
        /// The environment that it comes from.
        from: String,
        /// The environment that it is to go into.
        into: String,
        /// How many approvals it needs.
        approvals: u8,
        /// The promotion in whose place it is to come; absent if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<RecordId>,
        /// The manifest, whole: what is in force once it is promoted.
        manifest: String,
        /// Who would gain and lose what.
        difference: Vec<ChangeEntry>,
    },
    /// The candidate was approved, as it was shown.
    Approved {
        /// What was shown.
        candidate: CandidateEntry,
        /// The difference of access that was shown.
        difference: Vec<ChangeEntry>,
    },
    /// It was turned down.
    Rejected {
        /// Why, in words.
        reason: String,
    },
    /// The proposer took it back.
    Withdrawn,
    /// The candidate is in force.
    Promoted {
        /// For an emergency, which waits for no approvals: why, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        emergency: Option<String>,
        /// Who gained and lost what.
        difference: Vec<ChangeEntry>,
    },
    /// What was in force before is in force again.
    RolledBack {
        /// Why, in words.
        reason: String,
        /// Who gained and lost what.
        difference: Vec<ChangeEntry>,
    },
}

impl Step {
    /// Whether another manifest is in force after it.
    #[must_use]
    pub const fn puts_in_force(&self) -> bool {
        match self {
            Self::Adopted { .. } | Self::Promoted { .. } | Self::RolledBack { .. } => true,
            Self::Proposed { .. }
            | Self::Approved { .. }
            | Self::Rejected { .. }
            | Self::Withdrawn => false,
        }
    }

    /// The word that stands in `step`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Adopted { .. } => "adopted",
            Self::Proposed { .. } => "proposed",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Promoted { .. } => "promoted",
            Self::RolledBack { .. } => "rolled_back",
        }
    }
}

/// What changes for one holder of roles when a candidate comes into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeEntry {
    /// For whom, as manifests write it: `group:corp/support`.
    pub holder: String,
    /// For which kind of party only; absent for every kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CallerKind>,
    /// What they could not do, and can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gains: Vec<Action>,
    /// What they could do, and cannot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<Action>,
}

impl ChangeEntry {
    /// A change for every kind of party.
    #[must_use]
    pub fn new(holder: impl Into<String>, gains: Vec<Action>, loses: Vec<Action>) -> Self {
        Self {
            holder: holder.into(),
            kind: None,
            gains,
            loses,
        }
    }

    /// For this kind of party only.
    #[must_use]
    pub fn only(self, kind: Option<CallerKind>) -> Self {
        Self { kind, ..self }
    }
}

/// `group:corp/support: + generate - delete`.
impl fmt::Display for ChangeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.holder)?;
        if let Some(kind) = self.kind {
            write!(f, " as {kind}")?;
        }
        f.write_str(":")?;
        for (sign, actions) in [(" +", &self.gains), (" -", &self.loses)] {
            if !actions.is_empty() {
                let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
                write!(f, "{sign} {}", actions.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Who took a step, with the agents that acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignatoryEntry {
    /// On whose behalf.
    #[serde(flatten)]
    pub subject: PrincipalEntry,
    /// The actors, the current one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<PrincipalEntry>,
}

/// A candidate as events spell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CandidateEntry {
    /// The model.
    pub model: String,
    /// Its revision; absent where only its access moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The digest of what the revision is, where it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The digest of its manifest.
    pub manifest: String,
}

impl SignatoryEntry {
    /// A caller as events keep it.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        let actor = caller.actor().map(|party| &party.principal);
        let actors = actor.into_iter().chain(caller.chain());
        Self {
            subject: PrincipalEntry::from(&caller.subject().principal),
            actors: actors.map(PrincipalEntry::from).collect(),
        }
    }
}

impl From<&Candidate> for CandidateEntry {
    fn from(candidate: &Candidate) -> Self {
        Self {
            model: candidate.model.to_string(),
            revision: candidate.revision.as_ref().map(ToString::to_string),
            content: candidate.content.as_ref().map(ToString::to_string),
            manifest: candidate.manifest.to_string(),
        }
    }
}
