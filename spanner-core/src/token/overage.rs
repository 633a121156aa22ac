//! Tokens that do not list all groups of their subject.

use serde::Deserialize;

/// How to treat a token that says that it does not list all groups of its subject (Entra does so
/// above 200 groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GroupOverage {
    /// It is refused. Otherwise policies that require or forbid a group would decide on an incomplete
    /// list.
    #[default]
    Refuse,
    /// It is accepted, and [`Caller::groups_complete`](crate::Caller::groups_complete) is
    /// `false`. Choose it if no policy for callers of this issuer names a group.
    Flag,
}
