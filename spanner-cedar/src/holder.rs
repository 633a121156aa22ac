//! Whom a policy names.

use std::fmt;

use spanner_core::{CallerKind, Group, Party, Principal, Role};

/// Whom a manifest names: a group, a role of an issuer, or one party.
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

    /// Whether this is the party, or a group or role that it is in.
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

/// The kinds of parties that policies know.
pub(crate) const KINDS: [CallerKind; 3] =
    [CallerKind::User, CallerKind::Service, CallerKind::Agent];
