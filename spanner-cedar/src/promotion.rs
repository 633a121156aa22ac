//! What a promotion into an environment asks for.

use spanner_core::Environment;

/// The rule of one `[promotion.<environment>]` table. It is checked with the rest of the
/// access and kept for the promotion life cycle; decisions do not read it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromotionRule {
    /// The environment promoted into.
    pub environment: Environment,
    /// The environment a revision must come from.
    pub from: Environment,
    /// Signatures asked for; 1 unless the table says otherwise.
    pub approvals: u8,
    /// Who may sign, as `group:corp/ml-governance` or `user:corp/alice`.
    pub approvers: Vec<String>,
}
