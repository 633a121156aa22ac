//! What can be wrong with promotions.

use spanner_cedar::LoadError;
use spanner_core::promotion::Fault;
use spanner_core::{Environment, ModelName, RecordId, Revision, SinkFault};
use spanner_ledger::ReadError;

/// Why promotions cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger has an event that no promotion can have had.
    #[error("entry {sequence} of the ledger is no step that its promotion can have taken: {fault}")]
    Event {
        /// The entry.
        sequence: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The ledger has an event that is not understood.
    #[error(
        "entry {sequence} of the ledger is no promotion's: {reason}; a later version may have written it"
    )]
    NotUnderstood {
        /// The entry.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// What was found in force could not be recorded.
    #[error("what is in force could not be recorded: {0}")]
    Record(#[from] SinkFault),
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
    Unknown(RecordId),
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
    /// The manifest is too large to be kept in the ledger.
    #[error("the manifest has {bytes} bytes, and at most {limit} can be promoted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The rule does not list whoever would sign.
    #[error("you are none of the approvers of `{0}`; its rule lists others")]
    NotListed(Environment),
    /// The life cycle has no such step.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What would be in force cannot be.
    #[error("it cannot be put in force: {0}")]
    Access(Box<LoadError>),
    /// The step may or may not stand in the ledger; what is there counts.
    #[error("the step could not be recorded in time: {0}")]
    Record(SinkFault),
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
            | Self::TooLarge { .. }
            | Self::Access(_) => 409,
            Self::NotListed(_) => 403,
            Self::Fault(fault) => match fault {
                Fault::NotPermitted
                | Fault::NotAPerson
                | Fault::OwnProposal
                | Fault::NotProposer => 403,
                Fault::NoReason => 400,
                _ => 409,
            },
            Self::Record(_) | Self::Unavailable(_) => 503,
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
            Self::TooLarge { .. } => "manifest_too_large",
            Self::NotListed(_) => "not_an_approver",
            Self::Fault(fault) => match fault {
                Fault::NotPermitted => "not_permitted",
                Fault::Standing(_) => "promotion_is_over",
                Fault::NotAPerson => "not_a_person",
                Fault::OwnProposal => "own_proposal",
                Fault::NotProposer => "not_the_proposer",
                Fault::Twice => "approved_already",
                Fault::Changed => "changed",
                Fault::Superseded => "superseded",
                Fault::Approvals { .. } => "approvals_missing",
                Fault::NoReason => "no_reason",
                _ => "no_such_step",
            },
            Self::Access(_) => "access_refused",
            Self::Record(_) | Self::Unavailable(_) => "unavailable",
        }
    }

    /// What to do about it.
    pub(crate) const fn advice(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "look for it in `GET /spanner/v1/promotions`",
            Self::NoRule(_) => "name an environment that has a rule, or edit the manifest's file",
            Self::From { .. } => "leave `from` out, or name that one",
            Self::NoManifest { .. } => {
                "write a manifest for the model, and let it come into force there first"
            }
            Self::Revision { .. } => "promote it into that environment first",
            Self::NothingPromoted { .. } => "see its history for what is in force, and since when",
            Self::TooLarge { .. } => "grant to groups instead of many principals",
            Self::NotListed(_) => "ask one of them to sign",
            Self::Fault(fault) => match fault {
                Fault::OwnProposal | Fault::Twice => "ask another approver to sign",
                Fault::NotAPerson => "sign in yourself, without an agent in between",
                Fault::NotProposer => "ask whoever proposed it, or reject it as an approver",
                Fault::Changed | Fault::Superseded => "propose it anew",
                Fault::Approvals { .. } => "ask the approvers of its rule to sign",
                Fault::NoReason => "write a `reason` that says why",
                Fault::Standing(_) => "see its history; what is over stays over",
                _ => "see the history of the model",
            },
            Self::Access(_) => "correct the access directory, or propose the manifest anew",
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
