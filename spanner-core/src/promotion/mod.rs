//! How a model's revision gets into an environment: the life cycle of a promotion.
//!
//! A promotion moves one revision of a model together with its manifest, both by digest. It is
//! pure: nothing here asks whether somebody holds a role, reads a clock or stores anything. Whoever
//! takes a step has the [`Permit`](crate::Permit) for it, so that the decision stands in the record
//! before the step; what comes out is an [`Event`] to be stored, and the state is whatever the
//! stored events say.
//!
//! ```text
//! proposed ─▶ approved × n ─▶ promoted ─▶ rolled back
//!     │            │
//!     └────────────┴─▶ rejected, withdrawn           (adopted: in force before there were any)
//! ```
//!
//! 1. The proposer does not approve, and nobody approves twice.
//! 2. People approve: no service, no agent, and nobody through an agent.
//! 3. An approval covers exactly what was shown: the candidate, by its digests, and the
//!    [terms](TermsEntry), which are who gains and loses what, the roles, guardrails and the rule of
//!    promotion behind it. If the candidate changes, or another one comes into force, propose it
//!    anew. If the terms change, the approvals are void, which is an event, and are given anew.
//! 4. Without the approvals that the rule asks for, nothing is promoted, but by an emergency with a
//!    written reason, which is marked for ever. A rollback that gives anybody more than they have
//!    takes the same approvals, or is an emergency; one that only takes away is a single step.
//! 5. What is over stays over: a promotion that was promoted, rejected or withdrawn takes no other
//!    step, but that one that was promoted can be rolled back.
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
