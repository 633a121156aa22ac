//! Errors of promotions.

use spanner_cedar::LoadError;
use spanner_core::journal::{Cursor, JournalError};
use spanner_core::promotion::{FaultClass, StepFault};
use spanner_core::{Environment, ModelName, PromotionId, Revision};

/// Why promotions cannot be opened or reloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An event in the journal contradicts earlier events.
    #[error("entry {place} of the journal is not a possible step of its promotion: {fault}")]
    Event {
        /// The position of the event.
        place: Cursor,
        /// The contradiction.
        fault: StepFault,
    },
    /// A step that follows from the current state is inconsistent with its promotion.
    #[error("a step does not fit its promotion: {0}")]
    Step(StepFault),
    /// An event in the journal cannot be parsed.
    #[error(
        "entry {place} of the journal is not a valid promotion event: {reason}; a later version may have written it"
    )]
    NotUnderstood {
        /// The position of the event.
        place: Cursor,
        /// The parser's error.
        reason: String,
    },
    /// A manifest in force exceeds the size of a journal entry.
    #[error(
        "the manifest of `{model}` takes {bytes} bytes of the ledger, and at most {limit} can be recorded in one entry; grant to groups instead of many principals"
    )]
    TooLarge {
        /// The model.
        model: ModelName,
        /// The size of its event, in bytes.
        bytes: usize,
        /// The maximum size of an event, in bytes.
        limit: usize,
    },
    /// The promoted manifests cannot be put in force.
    #[error("what was promoted cannot be put in force: {0}")]
    Access(#[from] LoadError),
    /// A task of the program ended early.
    #[error("promotions were abandoned")]
    Abandoned,
}

/// Why a step failed. Except for [`StepError::Record`], nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// There is no such promotion.
    #[error("there is no promotion `{0}`")]
    Unknown(PromotionId),
    /// No rule allows promotions into the environment.
    #[error(
        "nothing is promoted into `{0}`: the access has no `[promotion.{0}]`, so what its files say is in force"
    )]
    NoRule(Environment),
    /// The rule names a different source environment.
    #[error("what is promoted into `{into}` comes from `{from}`, not from `{asked}`")]
    From {
        /// The target environment.
        into: Environment,
        /// The source environment of the rule.
        from: Environment,
        /// The requested source environment.
        asked: Environment,
    },
    /// The source environment has no manifest of the model in force.
    #[error("`{model}` has no manifest in force in `{environment}`")]
    NoManifest {
        /// The model.
        model: ModelName,
        /// The source environment.
        environment: Environment,
    },
    /// A different revision is in force in the source environment.
    #[error("`{revision}` is not in force in `{environment}`; `{there}` is")]
    Revision {
        /// The requested revision.
        revision: Revision,
        /// The source environment.
        environment: Environment,
        /// The revision in force.
        there: Revision,
    },
    /// The model has no promotion that could be rolled back.
    #[error("`{model}` has no promotion in `{environment}` that could be rolled back")]
    NothingPromoted {
        /// The model.
        model: ModelName,
        /// The environment.
        environment: Environment,
    },
    /// The manifest is too large to be promoted.
    #[error("the manifest has {bytes} bytes, and at most {limit} can be promoted")]
    ManifestTooLarge {
        /// The manifest's size, in bytes.
        bytes: usize,
        /// The maximum, in bytes.
        limit: usize,
    },
    /// The step, with the manifest and the change in access, is too large for a journal entry.
    #[error(
        "the step with its change in access takes {bytes} bytes of the ledger, and at most {limit} can be recorded in one entry"
    )]
    TooLarge {
        /// The size of its event, in bytes.
        bytes: usize,
        /// The maximum size of an event, in bytes.
        limit: usize,
    },
    /// Too many promotions are open.
    #[error("too many promotions are open {whose}: there can be {most}, of {bytes} bytes together")]
    TooManyOpen {
        /// The promotions that the limit applies to: the proposer's, or all.
        whose: &'static str,
        /// The maximum number.
        most: usize,
        /// The maximum total size, in bytes.
        bytes: usize,
    },
    /// The rollback would add access and therefore needs approvals.
    #[error(
        "this rollback would give {gaining_holders} more access than they have now, and therefore needs approvals like a promotion"
    )]
    Widens {
        /// The principals that would gain access.
        gaining_holders: String,
        /// The promotion that the rollback would restore.
        before: Option<PromotionId>,
    },
    /// The promotion to restore was never in force in the environment.
    #[error("`{0}` was not in force there before")]
    NotRestorable(PromotionId),
    /// The rule does not list the caller as an approver.
    #[error("you are not an approver of `{0}`; its rule lists others")]
    NotListed(Environment),
    /// The state of the promotion does not allow the step.
    #[error(transparent)]
    Fault(#[from] StepFault),
    /// The resulting access configuration has errors.
    #[error("it cannot be put in force: {0}")]
    Access(Box<LoadError>),
    /// Other processes appended first, several times in a row.
    #[error("the step was overtaken: {0}")]
    Overtaken(JournalError),
    /// The step may or may not have been recorded. Read the promotion to find out.
    #[error("the step could not be recorded in time: {0}")]
    Record(JournalError),
    /// The journal cannot be read, or the program is ending.
    #[error("promotions are not available: {0}")]
    Unavailable(String),
}

impl StepError {
    /// The HTTP status of the error.
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

    /// A stable code for programs.
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

    /// Advice to the caller.
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
            Self::NothingPromoted { .. } => "see the model's history for what is in force",
            Self::ManifestTooLarge { .. } | Self::TooLarge { .. } => {
                "grant to groups instead of many principals"
            }
            Self::TooManyOpen { .. } => "approve, reject or withdraw some of them",
            Self::Widens { .. } => "give the reason for an `emergency`",
            Self::NotRestorable(_) => "see the history of the model for what was in force",
            Self::NotListed(_) => "ask an approver to take this step",
            Self::Fault(fault) => fault.advice(),
            Self::Access(_) => "correct the access directory, or propose the corrected manifest",
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
