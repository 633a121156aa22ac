//! Spanner's decision: access manifests and Cedar guardrails as one indexed policy set.

mod cedar;
mod decide;
mod explain;
mod guardrail;
mod index;
mod load;
mod promotion;
mod role;
mod schema;
#[cfg(test)]
mod tests;

pub use cedar::{Builder, Cedar, Status};
pub use explain::{Deciding, Explanation, Remedy};
pub use load::{LoadError, Problem};
pub use promotion::PromotionRule;
