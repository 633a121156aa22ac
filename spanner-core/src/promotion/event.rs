//! What a ledger keeps of promotions. Part of the compatibility promise: fields and steps are
//! added, never changed or removed.

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
        #[serde(with = "text")]
        manifest: Arc<str>,
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
        base: Option<PromotionId>,
        /// The earlier promotion that it restores; absent where the candidate comes from `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restores: Option<PromotionId>,
        /// What an approval covers besides the candidate; absent in ledgers from before it was
        /// recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<TermsEntry>,
        /// The manifest, whole: what is in force once it is promoted.
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
    /// What the approvals covered is no longer what would happen, so they count no more. Nobody
    /// does this; it is noticed.
    Voided {
        /// What changed, in words.
        reason: String,
        /// What an approval would cover from now on; absent where it cannot be promoted as things
        /// stand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<TermsEntry>,
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
        /// What its approvals covered besides the candidate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<TermsEntry>,
        /// Who gained and lost what.
        #[serde(with = "list")]
        difference: Arc<[ChangeEntry]>,
    },
    /// What was in force before is in force again.
    RolledBack {
        /// Why, in words.
        reason: String,
        /// Whether it gave somebody more without waiting for approvals, in an emergency.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        emergency: bool,
        /// Who gained and lost what.
        #[serde(with = "list")]
        difference: Arc<[ChangeEntry]>,
    },
}

/// What an approval covers besides the candidate: who gains and loses what, and everything that
/// decides it. If any of it changes, the approval is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TermsEntry {
    /// The digest of all of it.
    pub digest: String,
    /// How many approvals the rule of promotion asks for.
    pub approvals: u8,
    /// The digest of the rule: where candidates come from, how many must approve, who may, and
    /// what becomes of manifests that were there before.
    pub rule: String,
    /// The digest of what the roles in the manifests allow, and to whom they are granted.
    pub grants: String,
    /// The digest of the guardrails that can apply to the model there.
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

    /// What is not the same as in other terms, in words.
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
    /// Whether another manifest is in force after it.
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

    /// The word that stands in `step`.
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
