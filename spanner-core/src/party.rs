//! The parties of a request: principals with their groups and roles.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{GroupName, IssuerAlias, SubjectId};

/// The kind of a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallerKind {
    /// A person.
    User,
    /// A program with its own identity: a service, a workload, a pipeline.
    Service,
    /// An AI agent, acting on its own or for somebody else.
    Agent,
    /// The holder of a verified token that no rule classifies. No role admits it.
    Unclassified,
}

impl CallerKind {
    /// The word in principals, policies and records.
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
    /// The issuer that vouches for it.
    pub issuer: IssuerAlias,
    /// The kind of party.
    pub kind: CallerKind,
    /// The issuer's identifier for it (`sub`).
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

/// A group of an issuer's directory: `group:corp/nlp`. A group of the same name at another issuer
/// is a different group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Group {
    /// The issuer whose directory has the group.
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

/// A role that an issuer assigns to a party: `role:corp/realm:admin`. Policies and grants give it a
/// meaning. It is not one of Spanner's own roles (`caller`, `writer`, …).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Role {
    /// The issuer that assigns it.
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

/// One party of a request: a principal with its groups and roles.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Party {
    /// The identity.
    pub principal: Principal,
    /// Its groups; empty for an actor, because a token lists only the groups of its subject.
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
