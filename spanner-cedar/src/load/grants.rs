//! The `[grants.<environment>]` tables of the organization and of each manifest.

use std::collections::HashSet;
use std::sync::Arc;

use spanner_core::{CallerKind, Environment};

use super::principal::Directory;
use super::problem::{Problems, listed, quoted, suggestion};
use crate::grant::RawGrant;
use crate::holder::Holder;
use crate::role::{ActionSet, Roles};
use crate::schema::Schema;
use spanner_toml::{Table, Text};

/// The names that grants may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vocabulary<'v> {
    /// The only environment whose grants are read; `None` if all are.
    pub(crate) only: Option<&'v Environment>,
    pub(crate) environments: &'v [Environment],
    pub(crate) roles: &'v Roles,
    pub(crate) directory: &'v Directory,
    pub(crate) schema: &'v Schema,
}

/// Whether a role may be granted to an individual person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Individuals {
    /// Yes: the manifest allows it and states a reason.
    Allow,
    /// No, but the manifest could allow it.
    Refuse,
    /// No: grants on every model are for groups.
    Never,
}

impl Vocabulary<'_> {
    /// Reads a `grants` table.
    pub(crate) fn grants(
        &self,
        table: Table<'_>,
        individuals: Individuals,
        problems: &mut Problems,
    ) -> Vec<RawGrant> {
        let mut grants = Vec::new();
        for (name, roles) in table.all_tables(problems) {
            if self.only.is_some_and(|only| only.as_str() != name.value) {
                continue;
            }
            let environment = self.environment(table, name, problems);
            for (role, texts) in roles.all_texts(problems) {
                let role = self.role(table, role, problems);
                let holders = self.holders(table, texts.items, individuals, problems);
                let (Some(environment), Some((role, actions))) = (&environment, &role) else {
                    continue;
                };
                for (text, holder) in holders {
                    self.refuse_useless(table, text, role, *actions, &holder, problems);
                    grants.push(RawGrant {
                        environment: environment.clone(),
                        role: Arc::clone(role),
                        actions: *actions,
                        holder,
                    });
                }
            }
        }
        grants
    }

    /// Reads the holders of a role. A duplicate is a problem.
    fn holders<'f>(
        &self,
        table: Table<'_>,
        texts: Vec<Text<'f>>,
        individuals: Individuals,
        problems: &mut Problems,
    ) -> Vec<(Text<'f>, Holder)> {
        let mut seen = HashSet::new();
        let mut holders = Vec::new();
        for text in texts {
            let Some(holder) = self.holder(table, text, individuals, problems) else {
                continue;
            };
            if seen.insert(holder.clone()) {
                holders.push((text, holder));
            } else {
                let what = format!("{} stands twice in this list", quoted(text.value));
                table.problem(text.at, what, "remove one", problems);
            }
        }
        holders
    }

    /// Finds an environment by its name.
    pub(crate) fn environment(
        &self,
        table: Table<'_>,
        name: Text<'_>,
        problems: &mut Problems,
    ) -> Option<Environment> {
        let known = self.environments.iter().map(Environment::as_str);
        let found = self
            .environments
            .iter()
            .find(|environment| environment.as_str() == name.value);
        if found.is_none() && !self.environments.is_empty() {
            let advice = suggestion(
                name.value,
                known.clone(),
                &format!("the environments are {}", listed(known)),
            );
            let what = format!("unknown environment {}", quoted(name.value));
            table.problem(name.at, what, advice, problems);
        }
        found.cloned()
    }

    fn role(
        &self,
        table: Table<'_>,
        name: Text<'_>,
        problems: &mut Problems,
    ) -> Option<(Arc<str>, ActionSet)> {
        let found = self.roles.find(name.value);
        if found.is_none() {
            let advice = suggestion(
                name.value,
                self.roles.names(),
                &format!("the roles are {}", listed(self.roles.names())),
            );
            let what = format!("unknown role {}", quoted(name.value));
            table.problem(name.at, what, advice, problems);
        }
        found.map(|(name, actions)| (Arc::clone(name), actions))
    }

    fn holder(
        &self,
        table: Table<'_>,
        text: Text<'_>,
        individuals: Individuals,
        problems: &mut Problems,
    ) -> Option<Holder> {
        let holder = self.party(table, text, problems)?;
        if holder.kind() != Some(CallerKind::User) {
            return Some(holder);
        }
        let advice = match individuals {
            Individuals::Allow => return Some(holder),
            Individuals::Refuse => {
                "grant it to a group, or set `individuals = \"allowed\"` with an `individuals_reason`"
            }
            Individuals::Never => "grant it to a group, or in the manifest of a model",
        };
        let what = format!("{} is an individual", quoted(text.value));
        table.problem(text.at, what, advice, problems);
        None
    }

    /// Reads a principal.
    pub(crate) fn party(
        &self,
        table: Table<'_>,
        text: Text<'_>,
        problems: &mut Problems,
    ) -> Option<Holder> {
        if self.directory.issuers.is_empty() {
            return None;
        }
        match self.directory.holder(text.value) {
            Ok(holder) => Some(holder),
            Err((what, advice)) => {
                table.problem(text.at, what, advice, problems);
                None
            }
        }
    }

    fn refuse_useless(
        &self,
        table: Table<'_>,
        text: Text<'_>,
        role: &str,
        actions: ActionSet,
        holder: &Holder,
        problems: &mut Problems,
    ) {
        if let Some(kind) = holder.kind()
            && self
                .schema
                .applicable_to_models(kind)
                .within(actions)
                .is_empty()
        {
            let what = format!(
                "the role {} holds nothing that {} may ever do",
                quoted(role),
                quoted(text.value)
            );
            table.problem(text.at, what, "grant it to somebody else", problems);
        }
    }
}
