//! Why a step cannot be taken: for people, for programs, and for whoever reads a history that is
//! not whole.

use super::standing::Standing;
use crate::name::Environment;

/// Why a step cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepFault {
    /// The permit is for something else.
    #[error("the permit is for something else, or for another model or environment")]
    NotPermitted,
    /// It is over, or was not promoted yet.
    #[error("the promotion is {}, so this cannot be done", .0.as_str())]
    Standing(Standing),
    /// A service, an agent, or a person through one.
    #[error("only people approve, and by themselves: not services, not agents")]
    NotAPerson,
    /// The proposer.
    #[error("whoever proposed it cannot approve it")]
    OwnProposal,
    /// Not the proposer.
    #[error("only whoever proposed it can withdraw it")]
    NotProposer,
    /// A second approval of the same person.
    #[error("you have approved it already")]
    Twice,
    /// What was shown, or what is there now, is not what was proposed.
    #[error(
        "the model or its manifest has changed since it was proposed, which voids the approvals: propose it anew"
    )]
    Changed,
    /// Another promotion has taken the place of the one that this was to replace.
    #[error(
        "another promotion has come into force since this was proposed, which voids the approvals: propose it anew"
    )]
    Superseded,
    /// Approvals were given, and are void.
    #[error(
        "its approvals are void, since {because}: it has {given} of the {needed} approvals that it needs"
    )]
    Void {
        /// How many count.
        given: usize,
        /// How many it needs.
        needed: u8,
        /// What changed.
        because: String,
    },
    /// A rollback would give somebody more than they have.
    #[error(
        "this rollback would give somebody more than they have now, which takes approvals as a promotion does"
    )]
    Widens,
    /// There are not enough approvals.
    #[error("it has {given} of the {needed} approvals that it needs")]
    Approvals {
        /// How many there are.
        given: usize,
        /// How many it needs.
        needed: u8,
    },
    /// A step that is explained by words has none that can be seen.
    #[error("say why, in words that can be seen")]
    NoReason,
    /// An environment cannot be promoted into from itself.
    #[error("`{0}` is where it comes from")]
    SameEnvironment(Environment),
    /// An event that no step of this promotion could have given.
    #[error("the event is none that this promotion can have had: {0}")]
    Event(#[from] EventFault),
}

/// Why no step could have given an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventFault {
    /// The promotion is not known, and the event does not begin it.
    #[error("the first one proposes")]
    NotBegun,
    /// The promotion was proposed or adopted before.
    #[error("it is there already")]
    BegunTwice,
    /// It is of another promotion.
    #[error("it is another promotion's")]
    OtherPromotion,
    /// The manifest is not the one whose digest the candidate has.
    #[error("its manifest has another digest")]
    OtherManifest,
    /// A model, an environment or a digest is misspelled.
    #[error("its names are none")]
    Names,
    /// Somebody must have taken the step.
    #[error("it does not say who took the step")]
    Nobody,
    /// Approvals are void of which there were none.
    #[error("there is no approval to be void")]
    NothingToVoid,
    /// A rollback of a promotion that is not the last one.
    #[error("another promotion has taken its place")]
    Replaced,
    /// Something is adopted where a promotion is in force.
    #[error("something is in force already")]
    InForceAlready,
    /// It restores a promotion that was not in force there.
    #[error("what it restores was not in force there")]
    NotInForceBefore,
}

/// What kind of a failure a fault is to whoever asked for the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "each kind needs an answer of its own: another one must break the build"
)]
pub enum FaultClass {
    /// They may not take it; somebody else may.
    Forbidden,
    /// What they said is not enough.
    Invalid,
    /// The promotion, or what is in force, does not allow it now.
    Conflict,
}

/// Which earlier events, had they been lost, would explain that an event does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever forgives a loss must know each kind"
)]
pub enum Explanation {
    /// Steps of the same promotion.
    OwnSteps,
    /// Steps of any promotion of the same model into the same environment.
    InForce,
    /// None: no promotion can have had it.
    None,
}

impl StepFault {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::Standing(_) => "promotion_is_over",
            Self::NotAPerson => "not_a_person",
            Self::OwnProposal => "own_proposal",
            Self::NotProposer => "not_the_proposer",
            Self::Twice => "approved_already",
            Self::Changed => "changed",
            Self::Superseded => "superseded",
            Self::Approvals { .. } | Self::Widens => "approvals_missing",
            Self::Void { .. } => "approvals_void",
            Self::NoReason => "no_reason",
            Self::SameEnvironment(_) | Self::Event(_) => "no_such_step",
        }
    }

    /// What kind of a failure it is.
    #[must_use]
    pub const fn class(&self) -> FaultClass {
        match self {
            Self::NotPermitted | Self::NotAPerson | Self::OwnProposal | Self::NotProposer => {
                FaultClass::Forbidden
            }
            Self::NoReason => FaultClass::Invalid,
            Self::Standing(_)
            | Self::Twice
            | Self::Changed
            | Self::Superseded
            | Self::Void { .. }
            | Self::Widens
            | Self::Approvals { .. }
            | Self::SameEnvironment(_)
            | Self::Event(_) => FaultClass::Conflict,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::OwnProposal | Self::Twice => "ask another approver to sign",
            Self::NotAPerson => "sign in yourself, without an agent in between",
            Self::NotProposer => "ask whoever proposed it, or reject it as an approver",
            Self::Changed | Self::Superseded => "propose it anew",
            Self::Approvals { .. } => "ask the approvers of its rule to sign",
            Self::Void { .. } => "ask the approvers of its rule to sign again",
            Self::Widens => {
                "propose what was in force before, or give the reason for an `emergency`"
            }
            Self::NoReason => "write a `reason` that says why",
            Self::Standing(Standing::Adopted) => {
                "it was in force before promotions were kept; propose what is to take its place"
            }
            Self::Standing(
                Standing::Open
                | Standing::Promoted
                | Standing::Emergency
                | Standing::Rejected
                | Standing::Withdrawn
                | Standing::RolledBack,
            ) => "see its history; what is over stays over",
            Self::NotPermitted | Self::SameEnvironment(_) | Self::Event(_) => {
                "see the history of the model"
            }
        }
    }

    /// What would explain that an event does not fit, if earlier events were lost.
    #[must_use]
    pub const fn explanation(&self) -> Explanation {
        match self {
            Self::Standing(_) | Self::Twice | Self::Void { .. } | Self::Approvals { .. } => {
                Explanation::OwnSteps
            }
            Self::Superseded => Explanation::InForce,
            Self::Event(fault) => match fault {
                EventFault::NotBegun | EventFault::NothingToVoid => Explanation::OwnSteps,
                EventFault::Replaced
                | EventFault::InForceAlready
                | EventFault::NotInForceBefore => Explanation::InForce,
                EventFault::BegunTwice
                | EventFault::OtherPromotion
                | EventFault::OtherManifest
                | EventFault::Names
                | EventFault::Nobody => Explanation::None,
            },
            Self::NotPermitted
            | Self::NotAPerson
            | Self::OwnProposal
            | Self::NotProposer
            | Self::Changed
            | Self::Widens
            | Self::NoReason
            | Self::SameEnvironment(_) => Explanation::None,
        }
    }
}
