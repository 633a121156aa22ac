//! The `[roles]` table: the organization's own roles, and redefined default roles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::problem::{Problems, quoted, suggestion};
use crate::role::{ActionSet, DEFAULT_ROLES, Roles, action_words, actions_of};
use spanner_toml::{Table, Text};

/// The definition of each role: actions, groups of actions and other roles.
struct Definitions<'f> {
    words: BTreeMap<&'f str, Vec<Text<'f>>>,
}

/// Reads the roles. The organization's definitions override the defaults.
pub(crate) fn roles(fields: Table<'_>, problems: &mut Problems) -> Roles {
    let mut definitions = Definitions {
        words: default_words(),
    };
    let mut own_names = Vec::new();
    if let Some(table) = fields.table("roles", problems) {
        let own = table.all_texts(problems);
        if own.len() > MAX_ROLES {
            let what = format!("there are more than {MAX_ROLES} roles");
            table.whole(what, "define fewer", problems);
        }
        for (name, words) in own.into_iter().take(MAX_ROLES) {
            refuse_bad_name(fields, name, problems);
            definitions.words.insert(name.value, words.items);
            own_names.push(name.value);
        }
    }
    for name in own_names {
        definitions.check(name, fields, problems);
    }
    let resolved = definitions
        .words
        .keys()
        .map(|name| (Arc::from(*name), definitions.actions(name)))
        .collect();
    Roles::new(resolved)
}

impl<'f> Definitions<'f> {
    /// Reports unknown words, and roles that include themselves.
    fn check(&self, name: &str, fields: Table<'_>, problems: &mut Problems) {
        for word in self.words_of(name) {
            if actions_of(word.value).is_some() {
                continue;
            }
            if !self.words.contains_key(word.value) {
                let what = format!(
                    "{} is no action, group of actions or role",
                    quoted(word.value)
                );
                let words = action_words().map(|word| -> &str { word });
                let known = words.chain(self.words.keys().copied());
                let advice = suggestion(
                    word.value,
                    known,
                    "name an action such as `read`, a group such as `infer`, or a role",
                );
                fields.problem(word.at, what, advice, problems);
            } else if self.parts(word.value).contains(name) {
                let what = format!("the role {} is made of itself", quoted(name));
                let advice = "name the actions themselves in one of the roles of this circle";
                fields.problem(word.at, what, advice, problems);
            }
        }
    }

    /// The actions of a role and of every role that it includes.
    fn actions(&self, name: &str) -> ActionSet {
        self.parts(name)
            .into_iter()
            .flat_map(|part| self.words_of(part))
            .filter_map(|word| actions_of(word.value))
            .fold(ActionSet::EMPTY, ActionSet::with)
    }

    /// A role and every role that it includes, each once. Cycles are allowed here.
    fn parts(&self, name: &str) -> BTreeSet<&'f str> {
        let mut parts = BTreeSet::new();
        let mut open: Vec<&str> = vec![name];
        while let Some(name) = open.pop() {
            let Some((name, words)) = self.words.get_key_value(name) else {
                continue;
            };
            if parts.insert(*name) {
                open.extend(words.iter().map(|word| word.value));
            }
        }
        parts
    }

    fn words_of(&self, name: &str) -> &[Text<'f>] {
        self.words.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

fn default_words<'f>() -> BTreeMap<&'f str, Vec<Text<'f>>> {
    DEFAULT_ROLES
        .into_iter()
        .map(|(name, words)| {
            let texts = words.iter().map(|value| Text { value, at: 0 }).collect();
            (name, texts)
        })
        .collect()
}

fn refuse_bad_name(fields: Table<'_>, name: Text<'_>, problems: &mut Problems) {
    if actions_of(name.value).is_some() {
        let what = format!("{} is an action or a group of actions", quoted(name.value));
        fields.problem(name.at, what, "give the role another name", problems);
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.value.is_empty() || name.value.len() > MAX_ROLE_BYTES || !name.value.chars().all(fits) {
        let what = format!("{} is no name for a role", quoted(name.value));
        let advice = "use lower-case letters, digits, `-` and `_`, at most 64";
        fields.problem(name.at, what, advice, problems);
    }
}

/// The number of an organization's own roles. Resolving one may visit all others.
const MAX_ROLES: usize = 64;

/// The length of a role's name in bytes, the same as for an environment.
const MAX_ROLE_BYTES: usize = 64;
