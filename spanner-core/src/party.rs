//! The parties of a request: principals with their groups and roles.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{GroupName, IssuerAlias, SubjectId};

/// What kind of party a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallerKind {
    /// A person.
    User,
    /// A program with an identity of its own: services, workloads, pipelines.
    Service,
    /// An AI agent, on its own or acting for somebody.
    Agent,
    /// A verified token that no rule could tell: no role admits it.
    Unclassified,
}

impl CallerKind {
    /// The word that principals, policies and records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Agent => "agent",
            Self::Unclassified => "unclassified",
        }
    }
}

impl fmt::Display for CallerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One identity: `user:corp/alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Principal {
    /// Who vouches for it.
    pub issuer: IssuerAlias,
    /// What kind of party it is.
    pub kind: CallerKind,
    /// The issuer's identifier for it.
    pub subject: SubjectId,
}

impl Principal {
    /// An identity of an issuer.
    #[must_use]
    pub const fn new(issuer: IssuerAlias, kind: CallerKind, subject: SubjectId) -> Self {
        Self {
            issuer,
            kind,
            subject,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.kind, self.issuer, self.subject)
    }
}

/// A group of an issuer's directory: `group:corp/nlp`. The same name from another issuer
/// is another group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Group {
    /// Whose directory it stands in.
    pub issuer: IssuerAlias,
    /// Its name there.
    pub name: GroupName,
}

impl Group {
    /// A group of an issuer.
    #[must_use]
    pub const fn new(issuer: IssuerAlias, name: GroupName) -> Self {
        Self { issuer, name }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group:{}/{}", self.issuer, self.name)
    }
}

/// A role that an issuer gives to a party: `role:corp/realm:admin`. It means what policies
/// and grants make of it, and is not one of Spanner's own roles (`caller`, `writer`, …).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Role {
    /// Who gives it.
    pub issuer: IssuerAlias,
    /// Its name there.
    pub name: GroupName,
}

impl Role {
    /// A role of an issuer.
    #[must_use]
    pub const fn new(issuer: IssuerAlias, name: GroupName) -> Self {
        Self { issuer, name }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "role:{}/{}", self.issuer, self.name)
    }
}

/// One party of a request: an identity with the groups its issuer puts it in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Party {
    /// The identity.
    pub principal: Principal,
    /// Its groups; empty for an actor, since a token lists only its subject's.
    pub groups: Vec<Group>,
    /// Its roles at the issuer; empty for an actor.
    pub roles: Vec<Role>,
}

impl Party {
    pub(crate) const fn plain(principal: Principal) -> Self {
        Self {
            principal,
            groups: Vec::new(),
            roles: Vec::new(),
        }
    }
}
