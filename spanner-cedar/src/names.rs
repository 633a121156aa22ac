//! Numbers for the principals, groups and roles that grants or guardrails name.
//!
//! 1. A name is a party, a group or an issuer's role. Groups that no policy names do not matter: of
//!    a caller's five hundred groups, each is looked up once, and those with a number remain.
//! 2. Two names are the same number exactly if they are equal, byte for byte.

use std::collections::HashMap;

use smallvec::SmallVec;
use spanner_core::{Group, Party, Principal, Role};

use crate::holder::Holder;

/// A map that is written while an access is loaded and read while it decides. Callers cannot add to
/// it, so its hash needs to be fast, not secret.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The number of a name.
pub(crate) type NameId = u32;

/// All names of one kind of policy.
#[derive(Debug, Default)]
pub(crate) struct Names {
    groups: Map<Group, NameId>,
    roles: Map<Role, NameId>,
    parties: Map<Principal, NameId>,
    holders: Vec<Holder>,
}

/// The numbers of a party: its own and those of its groups and roles, each once.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameIds(SmallVec<[NameId; 16]>);

impl Names {
    /// The number of a name. A new name gets the next number.
    pub(crate) fn number(&mut self, holder: &Holder) -> NameId {
        if let Some(known) = self.find(holder) {
            return known;
        }
        let next = NameId::try_from(self.holders.len()).unwrap_or(NameId::MAX);
        match holder {
            Holder::Group(group) => self.groups.insert(group.clone(), next),
            Holder::Role(role) => self.roles.insert(role.clone(), next),
            Holder::Party(party) => self.parties.insert(party.clone(), next),
        };
        self.holders.push(holder.clone());
        next
    }

    fn find(&self, holder: &Holder) -> Option<NameId> {
        match holder {
            Holder::Group(group) => self.groups.get(group),
            Holder::Role(role) => self.roles.get(role),
            Holder::Party(party) => self.parties.get(party),
        }
        .copied()
    }

    /// The name with a number.
    pub(crate) fn holder(&self, name: NameId) -> Option<&Holder> {
        self.holders.get(usize::try_from(name).ok()?)
    }

    /// The number of names.
    pub(crate) const fn len(&self) -> usize {
        self.holders.len()
    }

    /// The names that a party bears.
    pub(crate) fn ids_of(&self, party: &Party) -> NameIds {
        let mut names = SmallVec::new();
        if !self.parties.is_empty() {
            names.extend(self.parties.get(&party.principal).copied());
        }
        if !self.groups.is_empty() {
            names.extend(
                party
                    .groups
                    .iter()
                    .filter_map(|group| self.groups.get(group).copied()),
            );
        }
        if !self.roles.is_empty() {
            names.extend(
                party
                    .roles
                    .iter()
                    .filter_map(|role| self.roles.get(role).copied()),
            );
        }
        names.sort_unstable();
        names.dedup();
        NameIds(names)
    }
}

impl NameIds {
    /// Whether the party bears a name.
    pub(crate) fn bears(&self, name: NameId) -> bool {
        self.0.binary_search(&name).is_ok()
    }

    /// The values of a map under these numbers. Iterates over the smaller of the two.
    pub(crate) fn among<'s, V>(&'s self, map: &'s Map<NameId, V>) -> impl Iterator<Item = &'s V> {
        let short = map.len() < self.0.len();
        let theirs = short.then(|| map.iter().filter(|(name, _)| self.bears(**name)));
        let ours = (!short).then(|| self.0.iter().filter_map(|name| map.get(name)));
        let theirs = theirs.into_iter().flatten().map(|(_, value)| value);
        theirs.chain(ours.into_iter().flatten())
    }
}
