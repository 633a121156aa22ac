//! What is asked for: proposals, what approvers expect, and how much may wait.

use spanner_core::promotion::{Candidate, ChangeEntry, Digest, HistoryState};
use spanner_core::record::PrincipalEntry;
use spanner_core::{Environment, ModelName, Permit, PromotionId, Revision};

use crate::error::StepError;

/// A request to promote a model: see [`Promotions::propose`](crate::Promotions::propose).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProposalRequest {
    /// The model.
    pub model: ModelName,
    /// The target environment.
    pub environment: Environment,
    /// Its revision; `None` to move its access alone.
    pub revision: Option<Revision>,
    /// The digest of the revision's content, if it is known.
    pub content: Option<Digest>,
    /// The earlier promotion to put in force again, in place of the manifest of the source
    /// environment.
    pub restores: Option<PromotionId>,
}

/// What an approver expects the promotion to be, as HTTP's `If-Match` does. A member that is
/// absent is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preconditions {
    /// The revision.
    pub revision: Option<Revision>,
    /// The digest of the revision's content.
    pub content: Option<Digest>,
    /// The digest of the manifest.
    pub manifest: Option<Digest>,
    /// The digest of the terms: who gains and loses what, and what decides it.
    pub terms: Option<Digest>,
}

impl ProposalRequest {
    /// A request to promote a model's access into an environment.
    #[must_use]
    pub const fn new(model: ModelName, environment: Environment) -> Self {
        Self {
            model,
            environment,
            revision: None,
            content: None,
            restores: None,
        }
    }

    /// Restores what an earlier promotion had in force.
    #[must_use]
    pub fn restoring(self, promotion: PromotionId) -> Self {
        Self {
            restores: Some(promotion),
            ..self
        }
    }

    /// Promotes this revision too, with the digest of its content, if that is known.
    #[must_use]
    pub fn revision(self, revision: Revision, content: Option<Digest>) -> Self {
        Self {
            revision: Some(revision),
            content,
            ..self
        }
    }
}

impl Preconditions {
    /// The candidate that the approver expects, given the one that is there.
    pub(crate) fn candidate(&self, candidate: &Candidate) -> Candidate {
        let mut expected = candidate.clone();
        expected.revision = self.revision.clone().or(expected.revision);
        expected.content = self.content.clone().or(expected.content);
        if let Some(manifest) = &self.manifest {
            expected.manifest = manifest.clone();
        }
        expected
    }
}

/// How much memory a proposal takes, about.
pub(crate) fn size(manifest: &str, difference: &[ChangeEntry]) -> usize {
    let changes = difference.iter();
    let changes = changes.map(|it| it.holder.len() + 64 + it.gains.len() + it.loses.len());
    manifest.len() + changes.sum::<usize>()
}

/// Whether there is room for one more open promotion of this size.
pub(crate) fn check_room(
    history: &HistoryState,
    permit: &Permit,
    bytes: usize,
) -> Result<(), StepError> {
    let proposer = permit
        .caller()
        .map(|caller| PrincipalEntry::from(&caller.subject().principal));
    let (mut own, mut all) = ((1, bytes), (1, bytes));
    for open in history.open() {
        let size = size(
            open.manifest().map(|it| &**it).unwrap_or_default(),
            open.difference(),
        );
        all = (all.0 + 1, all.1 + size);
        if open.proposer() == proposer.as_ref() {
            own = (own.0 + 1, own.1 + size);
        }
    }
    let over = |(count, bytes), most, most_bytes| count > most || bytes > most_bytes;
    if over(own, MAX_OPEN_EACH, MAX_OPEN_BYTES_EACH) {
        return Err(StepError::TooManyOpen {
            whose: "that you proposed",
            most: MAX_OPEN_EACH,
            bytes: MAX_OPEN_BYTES_EACH,
        });
    }
    match over(all, MAX_OPEN, MAX_OPEN_BYTES) {
        true => Err(StepError::TooManyOpen {
            whose: "in all",
            most: MAX_OPEN,
            bytes: MAX_OPEN_BYTES,
        }),
        false => Ok(()),
    }
}

/// The largest manifest that can be promoted, in bytes. Its event, with the difference, must fit
/// into the journal too.
pub(crate) const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// Open promotions of one proposer, and of all: more than any team was seen to have under way.
/// Each is kept in memory, with its manifest and its difference, until it is decided.
const MAX_OPEN_EACH: usize = 100;
const MAX_OPEN: usize = 500;

/// The manifests and differences of the open promotions of one proposer, and of all, in bytes.
const MAX_OPEN_BYTES_EACH: usize = 8 * 1024 * 1024;
const MAX_OPEN_BYTES: usize = 32 * 1024 * 1024;
