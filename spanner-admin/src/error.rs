//! What can be wrong with promotions.

use spanner_cedar::LoadError;
use spanner_core::journal::{Cursor, JournalError};
use spanner_core::promotion::{FaultClass, StepFault};
use spanner_core::{Environment, ModelName, PromotionId, Revision};

/// Why promotions cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The journal cannot be read, or took no event.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal has an event that no promotion can have had.
    #[error("entry {place} of the journal is no step that its promotion can have taken: {fault}")]
    Event {
        /// The entry.
        place: Cursor,
        /// What is wrong with it.
        fault: StepFault,
    },
    /// A step that follows from what is in force does not fit its promotion.
    #[error("a step does not fit its promotion: {0}")]
    Step(StepFault),
    /// The journal has an event that is not understood.
    #[error(
        "entry {place} of the journal is no promotion's: {reason}; a later version may have written it"
    )]
    NotUnderstood {
        /// The entry.
        place: Cursor,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest that is in force is too large to be recorded.
    #[error(
        "the manifest of `{model}` takes {bytes} bytes of the ledger, and at most {limit} can be recorded in one entry; grant to groups instead of many principals"
    )]
    TooLarge {
        /// The model.
        model: ModelName,
        /// Its size as an entry.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// What was promoted cannot be put in force.
    #[error("what was promoted cannot be put in force: {0}")]
    Access(#[from] LoadError),
    /// A part of the program ended early.
    #[error("promotions were abandoned")]
    Abandoned,
}

/// Why a step was not taken. Nothing has changed, but for [`StepError::Record`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// Nobody knows the promotion.
    #[error("there is no promotion `{0}`")]
    Unknown(PromotionId),
    /// Nothing is promoted into the environment.
    #[error(
        "nothing is promoted into `{0}`: the access has no `[promotion.{0}]`, so what its files say is in force"
    )]
    NoRule(Environment),
    /// It comes from elsewhere.
    #[error("what is promoted into `{into}` comes from `{from}`, not from `{asked}`")]
    From {
        /// Where it goes.
        into: Environment,
        /// Where it must come from.
        from: Environment,
        /// Where it was said to come from.
        asked: Environment,
    },
    /// There is nothing to be promoted.
    #[error("`{model}` has no manifest in force in `{environment}`")]
    NoManifest {
        /// The model.
        model: ModelName,
        /// Where it would come from.
        environment: Environment,
    },
    /// Another revision is there.
    #[error("`{revision}` is not what is in force in `{environment}`; `{there}` is")]
    Revision {
        /// The one that was asked for.
        revision: Revision,
        /// Where it would come from.
        environment: Environment,
        /// The one that is there.
        there: Revision,
    },
    /// There is nothing that a rollback could end.
    #[error("nothing was promoted that could be rolled back for `{model}` in `{environment}`")]
    NothingPromoted {
        /// The model.
        model: ModelName,
        /// Where.
        environment: Environment,
    },
    /// The manifest is too large to be promoted.
    #[error("the manifest has {bytes} bytes, and at most {limit} can be promoted")]
    ManifestTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The step is too large for an entry of the ledger: the manifest, with who gains and loses
    /// what.
    #[error(
        "with who gains and loses what, the step takes {bytes} bytes of the ledger, and at most {limit} can be recorded in one"
    )]
    TooLarge {
        /// Its size as an entry.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many promotions wait already.
    #[error("too many promotions are open {whose}: there can be {most}, of {bytes} bytes together")]
    TooManyOpen {
        /// Those of whoever proposes, or all.
        whose: &'static str,
        /// How many there can be.
        most: usize,
        /// How large they can be together.
        bytes: usize,
    },
    /// A rollback would give somebody more than they have.
    #[error(
        "this rollback would give {gainers} more than they have now, which takes approvals as a promotion does"
    )]
    Widens {
        /// Who would gain something.
        gainers: String,
        /// What would be in force again.
        before: Option<PromotionId>,
    },
    /// It cannot be restored.
    #[error("`{0}` was not in force there before")]
    NotRestorable(PromotionId),
    /// The rule does not list whoever would sign.
    #[error("you are none of the approvers of `{0}`; its rule lists others")]
    NotListed(Environment),
    /// The life cycle has no such step.
    #[error(transparent)]
    Fault(#[from] StepFault),
    /// What would be in force cannot be.
    #[error("it cannot be put in force: {0}")]
    Access(Box<LoadError>),
    /// Other processes were faster, several times.
    #[error("the step was overtaken: {0}")]
    Overtaken(JournalError),
    /// The step may or may not have been recorded; what is there counts.
    #[error("the step could not be recorded in time: {0}")]
    Record(JournalError),
    /// The ledger could not be read again, or the program is ending.
    #[error("promotions are not available: {0}")]
    Unavailable(String),
}

impl StepError {
    /// The HTTP status that says it.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Unknown(_) => 404,
            Self::NoRule(_)
            | Self::From { .. }
            | Self::NoManifest { .. }
            | Self::Revision { .. }
            | Self::NothingPromoted { .. }
            | Self::TooManyOpen { .. }
            | Self::Widens { .. }
            | Self::NotRestorable(_)
            | Self::Access(_) => 409,
            Self::ManifestTooLarge { .. } | Self::TooLarge { .. } => 413,
            Self::NotListed(_) => 403,
            Self::Fault(fault) => match fault.class() {
                FaultClass::Forbidden => 403,
                FaultClass::Invalid => 400,
                FaultClass::Conflict => 409,
            },
            Self::Overtaken(_) | Self::Record(_) | Self::Unavailable(_) => 503,
        }
    }

    /// A stable word for programs.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_promotion",
            Self::NoRule(_) => "no_promotion_rule",
            Self::From { .. } => "wrong_origin",
            Self::NoManifest { .. } => "no_manifest",
            Self::Revision { .. } => "wrong_revision",
            Self::NothingPromoted { .. } => "nothing_promoted",
            Self::ManifestTooLarge { .. } => "manifest_too_large",
            Self::TooLarge { .. } => "step_too_large",
            Self::TooManyOpen { .. } => "too_many_open",
            Self::Widens { .. } => "approvals_missing",
            Self::NotRestorable(_) => "not_restorable",
            Self::NotListed(_) => "not_an_approver",
            Self::Fault(fault) => fault.code(),
            Self::Access(_) => "access_refused",
            Self::Overtaken(_) | Self::Record(_) | Self::Unavailable(_) => "unavailable",
        }
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> String {
        if let Self::Widens {
            before: Some(before),
            ..
        } = self
        {
            return format!(
                "propose it with `\"restores\": \"{before}\"`, or give the reason for an `emergency`"
            );
        }
        self.plain_advice().to_owned()
    }

    const fn plain_advice(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "look for it in `GET /spanner/v1/promotions`",
            Self::NoRule(_) => "name an environment that has a rule, or edit the manifest's file",
            Self::From { .. } => "leave `from` out and propose it from there",
            Self::NoManifest { .. } => {
                "write a manifest for the model, and let it come into force there first"
            }
            Self::Revision { .. } => "promote it into that environment first",
            Self::NothingPromoted { .. } => "see its history for what is in force, and since when",
            Self::ManifestTooLarge { .. } | Self::TooLarge { .. } => {
                "grant to groups instead of many principals"
            }
            Self::TooManyOpen { .. } => "have some of them decided, or withdraw them",
            Self::Widens { .. } => "give the reason for an `emergency`",
            Self::NotRestorable(_) => "see the history of the model for what was in force",
            Self::NotListed(_) => "ask one of them to sign",
            Self::Fault(fault) => fault.advice(),
            Self::Access(_) => "correct the access directory, or propose the manifest anew",
            Self::Overtaken(_) => "repeat the step",
            Self::Record(_) | Self::Unavailable(_) => {
                "look at the promotion again before you repeat the step"
            }
        }
    }
}

impl From<LoadError> for StepError {
    fn from(error: LoadError) -> Self {
        Self::Access(Box::new(error))
    }
}
