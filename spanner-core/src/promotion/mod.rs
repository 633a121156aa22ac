//! Promotions: the life cycle by which a model's revision gets into an environment.
//!
//! A promotion moves one revision of a model together with its manifest, both by digest. The module
//! is pure: it checks no roles, reads no clock and stores nothing. A step takes the
//! [`Permit`](crate::Permit) for it, so that the decision is recorded before the step. The result
//! is an [`Event`] to be stored, and the state is computed from the stored events.
//!
//! ```text
//! proposed ─▶ approved × n ─▶ promoted ─▶ rolled back
//!     │            │
//!     └────────────┴─▶ rejected, withdrawn           (adopted: in force before there were any)
//! ```
//!
//! 1. The proposer cannot approve, and nobody can approve twice.
//! 2. Only people approve: no service, no agent, and no person through an agent.
//! 3. An approval covers exactly what was shown: the digests of the candidate, and the
//!    [terms](TermsEntry). The terms are the access that parties gain and lose, and the roles, the
//!    guardrails and the promotion rule that determine it. If the candidate changes, or another one
//!    comes into force, a new proposal is needed. If the terms change, an event voids the
//!    approvals, and new ones are needed.
//! 4. A promotion needs the approvals that the rule demands, or is an emergency with a written
//!    reason, which is recorded permanently. A rollback that gives somebody more access needs the
//!    same approvals, or is an emergency. A rollback that only removes access needs none.
//! 5. A promotion that was promoted, rejected or withdrawn takes no further step, except that a
//!    promoted one can be rolled back.
//!
//! ```
//! use spanner_core::promotion::{Basis, Candidate, Digest, Plan, Promotion, Proposal, StepFault};
//! use spanner_core::testing::{Fixed, MemorySink, Rules, wait};
//! use spanner_core::{Action, Arrival, Caller, Gate, Permit, PromotionId, Resource, Target, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let host = Fixed::at("2026-11-23T12:00:00Z");
//! # let rules = Rules::allow(|_| true);
//! # let gate = Gate::new("chat", "production".parse()?, rules, MemorySink::new(), host);
//! # let permit = |name: &str, action: Action| -> Permit {
//! #     let target = Target::one(action, Resource::model("acme/sentiment".parse().unwrap()));
//! #     let decided = gate.open(Arrival::new()).decide(Caller::for_test(name), target);
//! #     wait(decided.recorded()).unwrap()
//! # };
//! let manifest = "model = \"acme/sentiment\" …";
//! let candidate = Candidate::new("acme/sentiment".parse()?, Digest::of(manifest.as_bytes()))
//!     .revision("v2".parse()?, Some(Digest::of(b"the weights")));
//! let plan = Plan::new("staging".parse()?, "production".parse()?, 1);
//! let (now, id) = (Timestamp::now(), PromotionId::from_u128(7));
//!
//! let proposal = Proposal::new(candidate.clone(), plan, manifest, vec![]);
//! let proposed = Promotion::propose(id, &proposal, &permit("nina", Action::Promote), now)?;
//! let promotion = Promotion::begin(&proposed)?;
//!
//! let basis = Basis::new(candidate, vec![]);
//! let own = promotion.approve(&basis, &permit("nina", Action::Approve), now);
//! assert_eq!(own, Err(StepFault::OwnProposal));
//! let early = promotion.promote(&basis, &permit("nina", Action::Promote), now);
//! assert_eq!(early, Err(StepFault::Approvals { given: 0, needed: 1 }));
//!
//! let approved = promotion.approve(&basis, &permit("omar", Action::Approve), now)?;
//! let promotion = promotion.after(&approved)?;
//! let promoted = promotion.promote(&basis, &permit("nina", Action::Promote), now)?;
//! assert!(promotion.after(&promoted)?.is_in_force());
//! # Ok(())
//! # }
//! ```

mod candidate;
mod event;
mod fault;
mod history;
mod life;
mod plan;
mod standing;
mod state;
#[cfg(test)]
mod tests;

pub use candidate::{Candidate, Digest, DigestError};
pub use event::{CandidateEntry, ChangeEntry, Event, SignatoryEntry, Step, TermsEntry};
pub use fault::{EventFault, Explanation, FaultClass, StepFault};
pub use history::HistoryState;
pub use life::{Promotion, Urgency, VoidApprovals};
pub use plan::{Basis, Plan, Proposal, Undo};
pub use standing::Standing;
