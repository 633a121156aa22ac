//! The events of promotions in a ledger. They are part of the compatibility promise: fields and
//! steps are added, never changed or removed.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::candidate::{Candidate, Digest};
use crate::action::Action;
use crate::caller::Caller;
use crate::party::CallerKind;
use crate::record::PrincipalEntry;
use crate::{PromotionId, Timestamp};

/// One step of a promotion: who did what, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The promotion.
    pub promotion: PromotionId,
    /// When the step was taken.
    pub time: Timestamp,
    /// Who took the step; absent for steps that nobody took, such as [`Step::Adopted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SignatoryEntry>,
    /// The step.
    #[serde(flatten)]
    pub step: Step,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// A manifest that was in force before promotions were recorded stays in force. Nobody approved
    /// it.
    Adopted {
        /// The candidate.
        candidate: CandidateEntry,
        /// The environment.
        into: String,
        /// The manifest, whole.
        #[serde(with = "text")]
        manifest: Arc<str>,
    },
    /// A candidate was proposed.
    Proposed {
        /// The candidate.
        candidate: CandidateEntry,
        /// The environment that it comes from.
        from: String,
        /// The environment that it is to go into.
        into: String,
        /// How many approvals it needs.
        approvals: u8,
        /// The promotion in whose place it is to come; absent if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<PromotionId>,
        /// The earlier promotion that it restores; absent if the candidate comes from `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restores: Option<PromotionId>,
        /// The terms that an approval covers; absent in ledgers from before they were recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<TermsEntry>,
        /// The whole manifest, which is in force once it is promoted.
        #[serde(with = "text")]
        manifest: Arc<str>,
        /// Who would gain and lose what.
        #[serde(with = "list")]
        difference: Arc<[ChangeEntry]>,
    },
    /// The candidate was approved, as it was shown.
    Approved {
        /// What was shown.
        candidate: CandidateEntry,
        /// What the approval covers besides the candidate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<TermsEntry>,
        /// The difference of access that was shown.
        #[serde(with = "list")]
        difference: Arc<[ChangeEntry]>,
    },
    /// The approvals are void, because what they covered has changed. The service detects this;
    /// nobody takes the step.
    Voided {
        /// What changed, in words.
        reason: String,
        /// The terms of further approvals; absent if it cannot be promoted in the present state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<TermsEntry>,
    },
    /// An approver rejected it.
    Rejected {
        /// Why, in words.
        reason: String,
    },
    /// The proposer withdrew it.
    Withdrawn,
    /// The candidate is in force.
    Promoted {
        /// The reason for an emergency, which waits for no approvals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        emergency: Option<String>,
        /// The terms that its approvals covered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<TermsEntry>,
        /// Who gained and lost what.
        #[serde(with = "list")]
        difference: Arc<[ChangeEntry]>,
    },
    /// It was rolled back: the earlier manifest is in force again.
    RolledBack {
        /// Why, in words.
        reason: String,
        /// Whether it was an emergency, which waits for no approvals.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        emergency: bool,
        /// Who gained and lost what.
        #[serde(with = "list")]
        difference: Arc<[ChangeEntry]>,
    },
}

/// What an approval covers besides the candidate: the access that parties gain and lose, and
/// everything that determines it. If any of it changes, the approval is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TermsEntry {
    /// The digest of all of it.
    pub digest: String,
    /// How many approvals the rule of promotion asks for.
    pub approvals: u8,
    /// The digest of the promotion rule: the source of candidates, the number of approvals, the
    /// approvers, and the treatment of earlier manifests.
    pub rule: String,
    /// The digest of the permissions of the roles in the manifests, and of their holders.
    pub grants: String,
    /// The digest of the guardrails that can apply to the model in the environment.
    pub guardrails: String,
    /// The digest of the difference of access.
    pub difference: String,
}

impl TermsEntry {
    /// Terms of these parts: the rule, the grants, the guardrails, and the difference.
    #[must_use]
    pub fn new(
        approvals: u8,
        rule: &Digest,
        grants: &Digest,
        guardrails: &Digest,
        difference: &Digest,
    ) -> Self {
        let parts = [rule, grants, guardrails, difference].map(Digest::as_str);
        let whole = format!("{approvals}\n{}", parts.join("\n"));
        let [rule, grants, guardrails, difference] = parts.map(str::to_owned);
        Self {
            digest: Digest::of(whole.as_bytes()).to_string(),
            approvals,
            rule,
            grants,
            guardrails,
            difference,
        }
    }

    /// The parts that differ from earlier terms, in words.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<&'static str> {
        let parts = [
            (self.rule == before.rule, "the rule of promotion changed"),
            (
                self.grants == before.grants,
                "what its roles allow, or who holds them, changed",
            ),
            (
                self.guardrails == before.guardrails,
                "a guardrail that applies to the model changed",
            ),
            (
                self.difference == before.difference,
                "who gains and loses what changed",
            ),
        ];
        let changed = parts.into_iter().filter(|(same, _)| !same);
        changed.map(|(_, words)| words).collect()
    }
}

impl Step {
    /// Whether the step changes the manifest in force.
    #[must_use]
    pub const fn puts_in_force(&self) -> bool {
        match self {
            Self::Adopted { .. } | Self::Promoted { .. } | Self::RolledBack { .. } => true,
            Self::Proposed { .. }
            | Self::Approved { .. }
            | Self::Voided { .. }
            | Self::Rejected { .. }
            | Self::Withdrawn => false,
        }
    }

    /// The value of `step` in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Adopted { .. } => "adopted",
            Self::Proposed { .. } => "proposed",
            Self::Approved { .. } => "approved",
            Self::Voided { .. } => "voided",
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
    /// The holder, as in manifests: `group:corp/support`.
    pub holder: String,
    /// The kind of party that the change is limited to; absent for every kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CallerKind>,
    /// The actions that they could not take before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gains: Vec<Action>,
    /// The actions that they can no longer take.
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

    /// Limits the change to this kind of party.
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

/// The party that took a step, with the agents that acted for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignatoryEntry {
    /// The party on whose behalf the step was taken.
    #[serde(flatten)]
    pub subject: PrincipalEntry,
    /// The actors, the current one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<PrincipalEntry>,
}

/// A candidate in an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CandidateEntry {
    /// The model.
    pub model: String,
    /// Its revision; absent if only its manifest is promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The digest of the revision's content, if the proposer stated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The digest of its manifest.
    pub manifest: String,
}

impl SignatoryEntry {
    /// The signatory of a step by this caller.
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

/// `agent:corp/copilot for user:corp/ann`.
impl fmt::Display for SignatoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject.through(&self.actors).fmt(f)
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

/// A shared text, spelled as any other.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Arc::from)
    }
}

/// A shared list, spelled as any other.
mod list {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ChangeEntry;

    pub(super) fn serialize<S: Serializer>(
        list: &Arc<[ChangeEntry]>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        list.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<[ChangeEntry]>, D::Error> {
        Vec::deserialize(from).map(Arc::from)
    }
}
