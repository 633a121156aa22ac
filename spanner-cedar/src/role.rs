//! Roles: names for sets of actions.

use std::collections::BTreeMap;
use std::sync::Arc;

use spanner_core::{Action, ActionGroup};

/// A set of actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ActionSet(u16);

/// The roles of an organization, every name resolved to its actions.
#[derive(Debug, Clone)]
pub(crate) struct Roles {
    by_name: BTreeMap<Arc<str>, ActionSet>,
}

impl ActionSet {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) fn all() -> Self {
        Action::ALL.into_iter().collect()
    }

    pub(crate) const fn contains(self, action: Action) -> bool {
        self.0 & Self::bit(action) != 0
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contains(*action))
    }

    const fn bit(action: Action) -> u16 {
        1 << (action as u16)
    }
}

impl FromIterator<Action> for ActionSet {
    fn from_iter<T: IntoIterator<Item = Action>>(actions: T) -> Self {
        actions
            .into_iter()
            .fold(Self::EMPTY, |set, action| Self(set.0 | Self::bit(action)))
    }
}

impl Roles {
    pub(crate) const fn new(by_name: BTreeMap<Arc<str>, ActionSet>) -> Self {
        Self { by_name }
    }

    pub(crate) fn find(&self, name: &str) -> Option<(&Arc<str>, ActionSet)> {
        self.by_name
            .get_key_value(name)
            .map(|(name, set)| (name, *set))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(AsRef::as_ref)
    }

    /// The roles that hold an action, those with the fewest actions first. Among equals, the one
    /// with the less powerful actions comes first: [`Action::ALL`] is ordered from reading to
    /// approving.
    pub(crate) fn holding(&self, action: Action) -> Vec<&Arc<str>> {
        let mut roles: Vec<_> = self
            .by_name
            .iter()
            .filter(|(_, actions)| actions.contains(action))
            .map(|(name, actions)| (actions.len(), actions.0, name))
            .collect();
        roles.sort();
        roles.into_iter().map(|(_, _, name)| name).collect()
    }
}

/// The actions that a word of a role's definition stands for; `None` if it is not an action or a
/// group of actions.
pub(crate) fn actions_of(word: &str) -> Option<ActionSet> {
    if word == ALL {
        return Some(ActionSet::all());
    }
    let group = ActionGroup::ALL
        .into_iter()
        .find(|group| group.as_str() == word);
    match group {
        Some(group) => Some(group.actions().collect()),
        None => word
            .parse()
            .ok()
            .map(|action| std::iter::once::<Action>(action).collect()),
    }
}

/// Every word that a role's definition may use, other than roles.
pub(crate) fn action_words() -> impl Iterator<Item = &'static str> {
    std::iter::once(ALL)
        .chain(ActionGroup::ALL.into_iter().map(ActionGroup::as_str))
        .chain(Action::ALL.into_iter().map(Action::as_str))
}

/// The word for every action.
const ALL: &str = "all";

/// The roles that exist unless an organization redefines them.
pub(crate) const DEFAULT_ROLES: [(&str, &[&str]); 7] = [
    ("reader", &["view", "download"]),
    ("caller", &["view", "infer"]),
    ("contributor", &["caller", "download", "propose", "create"]),
    ("writer", &["contributor", "upload"]),
    ("maintainer", &["writer", "delete", "deploy", "promote"]),
    ("approver", &["view", "approve"]),
    ("admin", &["all"]),
];
