//! Why a step cannot be taken: for people, for programs, and for readers of an incomplete history.

use super::standing::Standing;
use crate::name::Environment;

/// Why a step cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepFault {
    /// The permit is for another action, model or environment.
    #[error("the permit is for something else, or for another model or environment")]
    NotPermitted,
    /// The promotion is over, or was not promoted yet.
    #[error("the promotion is {}, so this cannot be done", .0.as_str())]
    Standing(Standing),
    /// The approver is a service, an agent, or a person through an agent.
    #[error("only people approve, and by themselves: not services, not agents")]
    NotAPerson,
    /// The approver is the proposer.
    #[error("whoever proposed it cannot approve it")]
    OwnProposal,
    /// Somebody other than the proposer withdraws it.
    #[error("only whoever proposed it can withdraw it")]
    NotProposer,
    /// The person has approved it already.
    #[error("you have approved it already")]
    Twice,
    /// The candidate that was shown, or the present one, is not the one that was proposed.
    #[error(
        "the model or its manifest has changed since it was proposed, which voids the approvals: propose it anew"
    )]
    Changed,
    /// Another promotion replaced the one that this promotion was to replace.
    #[error(
        "another promotion has come into force since this was proposed, which voids the approvals: propose it anew"
    )]
    Superseded,
    /// The approvals were voided.
    #[error(
        "its approvals are void, since {because}: it has {given} of the {needed} approvals that it needs"
    )]
    Void {
        /// The number of valid approvals.
        given: usize,
        /// The number of approvals that it needs.
        needed: u8,
        /// What changed.
        because: String,
    },
    /// The rollback would give somebody more access.
    #[error(
        "this rollback would give somebody more than they have now, which takes approvals as a promotion does"
    )]
    Widens,
    /// There are not enough approvals.
    #[error("it has {given} of the {needed} approvals that it needs")]
    Approvals {
        /// The number of approvals.
        given: usize,
        /// The number of approvals that it needs.
        needed: u8,
    },
    /// The reason has no visible characters.
    #[error("say why, in words that can be seen")]
    NoReason,
    /// The source and the target environment are the same.
    #[error("`{0}` is where it comes from")]
    SameEnvironment(Environment),
    /// No step of this promotion can have produced the event.
    #[error("the event is not possible for this promotion: {0}")]
    Event(#[from] EventFault),
}

/// Why no step can have produced an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventFault {
    /// The promotion is unknown, and the event does not begin it.
    #[error("the promotion was not proposed before")]
    NotBegun,
    /// The promotion was proposed or adopted already.
    #[error("the promotion exists already")]
    BegunTwice,
    /// The event belongs to another promotion.
    #[error("it belongs to another promotion")]
    OtherPromotion,
    /// The manifest does not have the digest in the candidate.
    #[error("its manifest has another digest")]
    OtherManifest,
    /// The name of a model or of an environment, or a digest, is invalid.
    #[error("a name or a digest in it is invalid")]
    Names,
    /// The event lacks the person who took the step.
    #[error("it does not say who took the step")]
    Nobody,
    /// The event voids approvals, and there are none.
    #[error("there is no approval to void")]
    NothingToVoid,
    /// The event rolls back a promotion that another one replaced.
    #[error("another promotion replaced it")]
    Replaced,
    /// The event adopts a manifest where a promotion is in force.
    #[error("something is in force already")]
    InForceAlready,
    /// The event restores a promotion that was not in force there.
    #[error("what it restores was not in force there")]
    NotInForceBefore,
}

/// The class of a fault, for the person who asked for the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "each kind needs an answer of its own: another one must break the build"
)]
pub enum FaultClass {
    /// They may not take the step; somebody else may.
    Forbidden,
    /// Their input is insufficient.
    Invalid,
    /// The state of the promotion or of the environment does not permit the step now.
    Conflict,
}

/// Which lost events would explain why an event is not possible.
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
    /// None: no loss explains the event.
    None,
}

impl StepFault {
    /// A stable code for programs.
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

    /// The class of the fault.
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

    /// Which lost events would explain the fault.
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
