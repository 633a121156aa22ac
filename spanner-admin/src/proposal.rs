//! Requests to propose and approve promotions, and the limits on open promotions.

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
    /// Its revision; `None` to promote only its access.
    pub revision: Option<Revision>,
    /// The digest of the revision's content, if known.
    pub content: Option<Digest>,
    /// The earlier promotion to restore, instead of the manifest in the source environment.
    pub restores: Option<PromotionId>,
}

/// The state of a promotion that an approver expects, similar to HTTP's `If-Match`. A member that
/// is `None` is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preconditions {
    /// The revision.
    pub revision: Option<Revision>,
    /// The digest of the revision's content.
    pub content: Option<Digest>,
    /// The digest of the manifest.
    pub manifest: Option<Digest>,
    /// The digest of the terms: the change in access and the rules behind it.
    pub terms: Option<Digest>,
}

impl ProposalRequest {
    /// Creates a request to promote a model's access into an environment.
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

    /// Restores the manifest and revision of an earlier promotion.
    #[must_use]
    pub fn restoring(self, promotion: PromotionId) -> Self {
        Self {
            restores: Some(promotion),
            ..self
        }
    }

    /// Also promotes this revision, with the digest of its content if known.
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
    /// The candidate that the approver expects, based on the actual one.
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

/// The approximate memory of a proposal, in bytes.
pub(crate) fn size(manifest: &str, difference: &[ChangeEntry]) -> usize {
    let changes = difference.iter();
    let changes = changes.map(|it| it.holder.len() + 64 + it.gains.len() + it.loses.len());
    manifest.len() + changes.sum::<usize>()
}

/// Checks that there is room for another open promotion of this size.
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

/// The maximum size of a promoted manifest, in bytes. Its event, which includes the change in
/// access, must fit into a journal entry.
pub(crate) const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// The maximum number of open promotions per proposer and in total: more than a team can review.
/// Each is held in memory, with its manifest and its change in access, until it is decided.
const MAX_OPEN_EACH: usize = 100;
const MAX_OPEN: usize = 500;

/// The maximum size of the open promotions per proposer and in total, in bytes. Bounds their
/// memory.
const MAX_OPEN_BYTES_EACH: usize = 8 * 1024 * 1024;
const MAX_OPEN_BYTES: usize = 32 * 1024 * 1024;
