//! The principals, groups and roles that a grant or guardrail can name.

use std::fmt;

use spanner_core::{CallerKind, Group, Party, Principal, Role};

/// The holder of a grant: a group, a role of an issuer, or one party.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Holder {
    Group(Group),
    Role(Role),
    Party(Principal),
}

impl Holder {
    pub(crate) const fn kind(&self) -> Option<CallerKind> {
        match self {
            Self::Group(_) | Self::Role(_) => None,
            Self::Party(principal) => Some(principal.kind),
        }
    }

    /// Whether this is the party itself, or a group or role of it.
    pub(crate) fn is(&self, party: &Party) -> bool {
        match self {
            Self::Group(group) => party.groups.contains(group),
            Self::Role(role) => party.roles.contains(role),
            Self::Party(principal) => party.principal == *principal,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => group.fmt(f),
            Self::Role(role) => role.fmt(f),
            Self::Party(principal) => principal.fmt(f),
        }
    }
}

/// The kinds of parties that policies distinguish.
pub(crate) const KINDS: [CallerKind; 3] =
    [CallerKind::User, CallerKind::Service, CallerKind::Agent];
