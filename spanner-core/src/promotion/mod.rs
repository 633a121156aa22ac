//! How a model's revision gets into an environment: the life cycle of a promotion.
//!
//! A promotion moves one revision of a model together with its manifest, both by digest. It is
//! pure: nothing here asks whether somebody holds a role, reads a clock or stores anything. Who
//! asks the [authorizer](crate::Authorize) passes its [`Verdict`](crate::Verdict) in; what comes
//! out is an [`Event`] to be stored, and the state is whatever the stored events say.
//!
//! ```text
//! proposed ─▶ approved × n ─▶ promoted ─▶ rolled back
//!     │            │
//!     └────────────┴─▶ rejected, withdrawn
//! ```
//!
//! 1. The proposer does not approve, and nobody approves twice.
//! 2. People approve: no service, no agent, and nobody through an agent.
//! 3. An approval is of what was shown, by its digests. Whatever changed is another candidate, which
//!    needs a promotion of its own.
//! 4. Without the approvals that were asked for when it was proposed, nothing is promoted, but by
//!    an emergency with a written reason, which is marked for ever.
//! 5. What is over stays over: a promotion that was promoted, rejected or withdrawn takes no other
//!    step, but that one that was promoted can be rolled back.
//!
//! ```
//! use spanner_core::promotion::{Candidate, Digest, Fault, Plan, Promotion};
//! use spanner_core::{Caller, CallerKind, Principal, RecordId, Timestamp, Verdict};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let person = |name: &str| -> Result<Caller, Box<dyn std::error::Error>> {
//! #     let principal = Principal::new("corp".parse()?, CallerKind::User, name.parse()?);
//! #     Ok(Caller::assertion(principal).caller()?)
//! # };
//! let (nina, omar) = (person("nina")?, person("omar")?);
//! let candidate = Candidate {
//!     model: "acme/sentiment".parse()?,
//!     revision: "v2".parse()?,
//!     content: Digest::of(b"the weights"),
//!     manifest: Digest::of(b"the manifest"),
//! };
//! let plan = Plan::new("staging".parse()?, "production".parse()?, 1);
//! let (now, may) = (Timestamp::now(), Verdict::allow(vec!["grant/…".into()]));
//!
//! let proposed = Promotion::propose(RecordId::from_u128(7), &candidate, &plan, &nina, &may, now)?;
//! let promotion = Promotion::begin(&proposed)?;
//! let own = promotion.approve(&candidate, &nina, &may, now);
//! assert_eq!(own, Err(Fault::OwnProposal));
//! assert_eq!(promotion.promote(&candidate, &nina, &may, now), Err(Fault::Approvals { given: 0, needed: 1 }));
//!
//! let promotion = promotion.after(&promotion.approve(&candidate, &omar, &may, now)?)?;
//! let promotion = promotion.after(&promotion.promote(&candidate, &nina, &may, now)?)?;
//! assert!(promotion.is_in_force());
//! # Ok(())
//! # }
//! ```

mod candidate;
mod event;
mod history;
mod life;
#[cfg(test)]
mod tests;

pub use candidate::{Candidate, Digest, DigestError};
pub use event::{CandidateEntry, Event, SignatoryEntry, Step};
pub use history::History;
pub use life::{Fault, Plan, Promotion, Standing};
