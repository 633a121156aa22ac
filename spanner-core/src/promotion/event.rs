//! What a ledger keeps of promotions. Part of the compatibility promise: fields and steps are
//! added, never changed or removed.

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use crate::caller::Caller;
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
    /// Who.
    pub by: SignatoryEntry,
    /// What.
    #[serde(flatten)]
    pub step: Step,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
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
    },
    /// The candidate was approved, as it was shown.
    Approved {
        /// What was shown.
        candidate: CandidateEntry,
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
    },
    /// What was in force before is in force again.
    RolledBack {
        /// Why, in words.
        reason: String,
    },
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
    /// Its revision.
    pub revision: String,
    /// The digest of what the revision is.
    pub content: String,
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
            revision: candidate.revision.to_string(),
            content: candidate.content.to_string(),
            manifest: candidate.manifest.to_string(),
        }
    }
}
