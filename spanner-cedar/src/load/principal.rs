//! Principals as manifests write them: `group:corp/nlp`, `role:corp/realm:admin`,
//! `user:corp/alice`.

use std::collections::HashSet;

use spanner_core::{
    CallerKind, Group, GroupName, IssuerAlias, NameError, Principal, Role, SubjectId,
};

use super::problem::{listed, quoted, suggestion};
use crate::holder::Holder;

/// The issuers and groups that a principal may name.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// Empty if the list of issuers has a problem; then aliases are not checked.
    pub(crate) issuers: Vec<IssuerAlias>,
    pub(crate) groups: HashSet<Group>,
}

/// What is wrong, and what to do about it.
pub(crate) type Complaint = (String, String);

impl Directory {
    /// Reads a principal. A group must be in the directory.
    pub(crate) fn holder(&self, text: &str) -> Result<Holder, Complaint> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Err((
                format!("{} is no principal", quoted(text)),
                format!(
                    "write {} before the name",
                    listed(KINDS.map(|(word, _)| word))
                ),
            ));
        };
        let Some((_, kind)) = KINDS.into_iter().find(|(word, _)| *word == kind) else {
            let advice = suggestion(
                kind,
                KINDS.map(|(word, _)| word),
                &format!("the kinds are {}", listed(KINDS.map(|(word, _)| word))),
            );
            return Err((
                format!("unknown kind of principal {}", quoted(kind)),
                advice,
            ));
        };
        let (issuer, id) = self.split(text, rest)?;
        let name = || GroupName::new(id).map_err(|error| bad_name(text, &error));
        match kind {
            Kind::Party(kind) => SubjectId::new(id)
                .map(|subject| Holder::Party(Principal::new(issuer, kind, subject)))
                .map_err(|error| bad_name(text, &error)),
            Kind::Group => self.known(text, Group::new(issuer, name()?)),
            Kind::Role => Ok(Holder::Role(Role::new(issuer, name()?))),
        }
    }

    /// Reads a group of the directory itself: `nlp`, `corp/nlp`.
    pub(crate) fn group(&self, text: &str) -> Result<Group, Complaint> {
        let (issuer, id) = self.split(text, text)?;
        let name = GroupName::new(id).map_err(|error| bad_name(text, &error))?;
        Ok(Group::new(issuer, name))
    }

    /// Splits off the issuer's alias before the first slash. It may be omitted if there is only one
    /// issuer.
    fn split<'t>(&self, text: &str, rest: &'t str) -> Result<(IssuerAlias, &'t str), Complaint> {
        let prefix = rest.split_once('/');
        if let Some((alias, id)) = prefix
            && let Some(issuer) = self.issuers.iter().find(|issuer| issuer.as_str() == alias)
        {
            return Ok((issuer.clone(), id));
        }
        let aliases = || listed(self.issuers.iter().map(IssuerAlias::as_str));
        match (self.issuers.as_slice(), prefix) {
            ([only], _) => Ok((only.clone(), rest)),
            (_, Some((alias, _))) => Err((
                format!(
                    "{} names the issuer {}, which is not configured",
                    quoted(text),
                    quoted(alias)
                ),
                suggestion(
                    alias,
                    self.issuers.iter().map(IssuerAlias::as_str),
                    &format!("the issuers are {}", aliases()),
                ),
            )),
            (_, None) => Err((
                format!("{} names no issuer, and there are several", quoted(text)),
                format!("write one of {} and a slash before the name", aliases()),
            )),
        }
    }

    fn known(&self, text: &str, group: Group) -> Result<Holder, Complaint> {
        if self.groups.contains(&group) {
            return Ok(Holder::Group(group));
        }
        let name = group.name.as_str();
        let names = self
            .groups
            .iter()
            .filter(|known| known.issuer == group.issuer)
            .map(|known| known.name.as_str());
        Err((
            format!("{} is not in the directory", quoted(text)),
            suggestion(name, names, "add it to `groups` in organization.toml"),
        ))
    }
}

fn bad_name(text: &str, error: &NameError) -> Complaint {
    (
        format!("{} is no principal: {error}", quoted(text)),
        "write the name exactly as its issuer does".to_owned(),
    )
}

/// The kind of a principal, from the word before the colon.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Group,
    Role,
    Party(CallerKind),
}

/// The words for the kinds.
const KINDS: [(&str, Kind); 5] = [
    ("group", Kind::Group),
    ("role", Kind::Role),
    ("user", Kind::Party(CallerKind::User)),
    ("service", Kind::Party(CallerKind::Service)),
    ("agent", Kind::Party(CallerKind::Agent)),
];
