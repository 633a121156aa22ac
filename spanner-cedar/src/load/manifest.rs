//! A model's manifest: who may do what with it, in each environment.

use std::sync::Arc;

use spanner_core::{CallerKind, ModelName};

use super::grants::{Individuals, Vocabulary};
use super::problem::{Problems, Source, quoted};
use crate::grant::RawGrant;
use crate::holder::Holder;
use crate::spelling::Titled;
use spanner_toml::lookalike;
use spanner_toml::{Table, Toml};

/// One model's manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) model: ModelName,
    /// The byte offset of the model's name.
    pub(crate) at: usize,
    pub(crate) owner: Option<Holder>,
    /// The reason for granting roles to individuals.
    pub(crate) individuals: Option<Arc<str>>,
    pub(crate) grants: Vec<RawGrant>,
    /// The index of its document.
    pub(crate) document: usize,
}

impl Manifest {
    /// The mention of its model, for checking the spelling.
    pub(crate) fn titled(&self, source: Source<'_>) -> Titled {
        let places = self.grants.iter().map(|grant| grant.environment.clone());
        Titled::new(source, self.at, self.model.clone(), places.collect())
    }
}

/// Reads a manifest. `None` if it does not name a model.
pub(crate) fn read(
    source: Source<'_>,
    vocabulary: &Vocabulary<'_>,
    problems: &mut Problems,
) -> Option<Manifest> {
    let toml = Toml::parse(source, problems)?;
    let fields = toml.table(KEYS, problems);
    let model = model(fields, problems);
    let owner = owner(fields, vocabulary, problems);
    let (individuals, reason) = individuals(fields, problems);
    fields.text("description", problems);
    let grants = fields
        .table("grants", problems)
        .map(|table| vocabulary.grants(table, individuals, problems))
        .unwrap_or_default();
    model.map(|(model, at)| Manifest {
        model,
        at,
        owner,
        individuals: reason,
        grants,
        document: 0,
    })
}

fn model(fields: Table<'_>, problems: &mut Problems) -> Option<(ModelName, usize)> {
    let text = fields.required_text("model", "the model's name as its API spells it", problems)?;
    match ModelName::new(text.value) {
        Ok(model) => Some((model, text.at)),
        Err(error) => {
            let advice = "write the name as the model's API spells it";
            fields.problem(text.at, error.to_string(), advice, problems);
            None
        }
    }
}

fn owner(
    fields: Table<'_>,
    vocabulary: &Vocabulary<'_>,
    problems: &mut Problems,
) -> Option<Holder> {
    let text = fields.required_text(
        "owner",
        "who is accountable, for instance `owner = \"group:nlp\"`",
        problems,
    )?;
    let owner = vocabulary.party(fields, text, problems)?;
    match (&owner, owner.kind()) {
        (Holder::Group(_), _) | (_, Some(CallerKind::User)) => Some(owner),
        _ => {
            let what = format!("{} cannot be accountable", quoted(text.value));
            fields.problem(
                text.at,
                what,
                "name a group or a user as the owner",
                problems,
            );
            None
        }
    }
}

fn individuals(fields: Table<'_>, problems: &mut Problems) -> (Individuals, Option<Arc<str>>) {
    let reason = fields.text("individuals_reason", problems);
    let Some(word) = fields.text("individuals", problems) else {
        if let Some(reason) = reason
            && !fields.has("individuals")
        {
            let what = "there is a reason for individuals, and they are not allowed";
            let advice = "add `individuals = \"allowed\"`, or remove the reason";
            fields.problem(reason.at, what, advice, problems);
        }
        return (Individuals::Refuse, None);
    };
    match word.value {
        "allowed" => {
            if reason.is_none_or(|reason| !lookalike::is_readable(reason.value)) {
                let what = "individuals are allowed without a reason";
                let advice = "say why as `individuals_reason`; access reviews list it";
                fields.problem(word.at, what, advice, problems);
            }
            (
                Individuals::Allow,
                reason.map(|reason| Arc::from(reason.value)),
            )
        }
        "refused" => (Individuals::Refuse, None),
        other => {
            let what = format!("`individuals` cannot be {}", quoted(other));
            let advice = "write `allowed` or `refused`";
            fields.problem(word.at, what, advice, problems);
            (Individuals::Allow, None)
        }
    }
}

pub(crate) const KEYS: &[&str] = &[
    "model",
    "owner",
    "individuals",
    "individuals_reason",
    "description",
    "grants",
];
