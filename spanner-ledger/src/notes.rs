//! Notes about what a selection omits, and why it may be empty.

use serde::Serialize;
use spanner_core::promotion::Step;
use spanner_core::record::{Decision, PrincipalEntry};

use crate::entry::{Entry, Event};
use crate::history::promotion_event;
use crate::lost::Missing;
use crate::select::{Selection, parties, signatories};
use crate::visible::visible_line;

/// What a reader of a [`Selection`] should know besides the selected entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Notes {
    /// The entry before which requests were pruned; 0 if none were.
    pub pruned: u64,
    /// The number of omitted entries whose format is newer than this version.
    pub not_understood: u64,
    /// The missing entries: those whose loss was acknowledged and, for
    /// [`Reader::partial`](crate::Reader::partial), all others that are missing or damaged.
    pub missing: Vec<Missing>,
    /// Why the selection must be empty, one sentence each: a name that never occurs in the
    /// ledger, or a time range that ends before it begins.
    pub unmet: Vec<String>,
}

impl Notes {
    /// What is omitted, one sentence each. Empty if nothing is.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.pruned > 0 {
            sentences.push(format!("requests before entry {} were pruned", self.pruned));
        }
        sentences.extend(self.missing.iter().map(ToString::to_string));
        if self.not_understood > 0 {
            let (what, them) = match self.not_understood {
                1 => ("1 entry of a newer version is".to_owned(), "it"),
                many => (format!("{many} entries of a newer version are"), "them"),
            };
            sentences.push(format!("{what} left out: read {them} with that version"));
        }
        sentences
    }

    /// Whether entries are missing whose loss was not acknowledged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.missing.iter().any(|missing| !missing.acknowledged)
    }

    /// A message for an empty selection, with the reason if it is known. Names in it are escaped
    /// and cannot forge lines or terminal commands.
    #[must_use]
    pub fn nothing(&self) -> String {
        let nothing = "nothing in this ledger is what was selected";
        match self.unmet.is_empty() {
            true => nothing.to_owned(),
            false => format!(
                "{nothing}: {}",
                visible_line(&self.unmet.join("; "), MAX_LINE)
            ),
        }
    }
}

/// Collects notes while a ledger is read.
#[derive(Debug, Clone)]
pub(crate) struct NotesBuilder {
    /// The conditions that no entry has met yet.
    unmet: Selection,
    pruned: u64,
    not_understood: u64,
}

impl NotesBuilder {
    pub(crate) fn new(selection: &Selection, pruned: u64) -> Self {
        Self {
            unmet: selection.clone(),
            pruned,
            not_understood: 0,
        }
    }

    /// Counts an entry that this version does not understand.
    pub(crate) const fn skip_unknown(&mut self) {
        self.not_understood += 1;
    }

    pub(crate) fn observe(&mut self, entry: &Entry) {
        if self.unmet.matches_general() {
            return;
        }
        match entry {
            Entry::Decision(decision) => self.observe_request(decision),
            Entry::Event(event) => self.observe_step(event),
            Entry::Outcome(_) | Entry::Gap(_) | Entry::Count(_) => {}
        }
    }

    fn observe_request(&mut self, decision: &Decision) {
        for pair in &decision.target {
            self.observe_model(pair.model.as_deref());
        }
        self.observe_environment(&decision.environment);
        self.observe_caller(decision.caller.iter().flat_map(parties));
    }

    fn observe_step(&mut self, event: &Event) {
        let Some(step_event) = promotion_event(event) else {
            return;
        };
        self.observe_caller(step_event.by.iter().flat_map(signatories));
        match &step_event.step {
            Step::Adopted {
                candidate, into, ..
            } => {
                self.observe_model(Some(&candidate.model));
                self.observe_environment(into);
            }
            Step::Proposed {
                candidate,
                from,
                into,
                ..
            } => {
                self.observe_model(Some(&candidate.model));
                self.observe_environment(from);
                self.observe_environment(into);
            }
            _ => {}
        }
    }

    fn observe_model(&mut self, model: Option<&str>) {
        let unmet = &mut self.unmet.model;
        unmet.take_if(|wanted| Some(wanted.as_str()) == model);
    }

    fn observe_environment(&mut self, environment: &str) {
        self.unmet
            .environment
            .take_if(|wanted| wanted == environment);
    }

    fn observe_caller<'p>(&mut self, mut parties: impl Iterator<Item = &'p PrincipalEntry>) {
        if self.unmet.caller.is_some() && parties.any(|it| self.unmet.matches_any_of([it])) {
            self.unmet.caller = None;
        }
    }

    pub(crate) fn notes(&self) -> Notes {
        let Selection {
            model,
            environment,
            caller,
            since,
            until,
        } = &self.unmet;
        let names = [
            ("model", model),
            ("environment", environment),
            ("caller", caller),
        ];
        let never = names.into_iter().filter_map(|(what, name)| {
            let name = name.as_deref()?;
            Some(format!("{what} `{name}` never occurs in it"))
        });
        let backwards = since.zip(*until).filter(|(since, until)| until <= since);
        let backwards = backwards.map(|_| "the span of time ends before it begins".to_owned());
        Notes {
            pruned: self.pruned,
            not_understood: self.not_understood,
            missing: Vec::new(),
            unmet: never.chain(backwards).collect(),
        }
    }
}

/// Room for a sentence with a few names.
const MAX_LINE: usize = 400;
