//! What an auditor asks of a span of time: who used what, who approved what, what changed,
//! what was refused, and what the record itself lacks.
//!
//! 1. It is a value; [`Summary::page`] and [`Summary::json`] say the same.
//! 2. Requests and happenings count that the [`Selection`] means. Promotions before its time
//!    count where something was served under them, or where they are in force at its end.
//! 3. No name can forge a line, a column, a link, a tag or a terminal's command in any form.
//!
//! # Caveats
//! It keeps one line for each caller, model, environment and action that were seen together,
//! and every decision that is open; not every request.

mod pages;

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use spanner_core::record::{Decision, OutcomeClass};
use spanner_core::{Effect, Fault, RecordId, Timestamp};

use spanner_ledger::{
    AgingCredential, Approval, Counts, Entry, Event, HistoryBuilder, Notes, Numbered, ReadError,
    Reader, Selection, is_use,
};

use crate::page::Page;

/// What a ledger says of a span of time; see [`Summary::read`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// From when on; absent if from the beginning.
    pub since: Option<Timestamp>,
    /// Until when, itself not counted; absent if to the end.
    pub until: Option<Timestamp>,
    /// The environment that it is limited to, if it is.
    pub environment: Option<String>,
    /// The model that it is limited to, if it is.
    pub model: Option<String>,
    /// The caller that it is limited to, if it is.
    pub caller: Option<String>,
    /// When it was made.
    pub made: Timestamp,
    /// The first and the last entry of the ledger, whatever their time.
    pub sequences: Option<(u64, u64)>,
    /// Requests that were allowed.
    pub allowed: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Who used what, the most frequent first.
    pub uses: Vec<Use>,
    /// The promotions that something happened to, under which something was served, or which
    /// are in force at the end.
    pub approvals: Vec<Approval>,
    /// The digests of the access in force, and reloads that were refused.
    pub access: Vec<AccessChange>,
    /// Refusals by reason, the most frequent first.
    pub refusals: Vec<RefusalCount>,
    /// How requests ended, by class.
    pub outcomes: BTreeMap<String, u64>,
    /// Decisions without an outcome: under way, or lost with a process that never came back.
    pub open: Vec<OpenDecision>,
    /// Decisions that another point enforces, such as a gateway: they need no outcome. One that
    /// is reported counts in `outcomes`.
    pub external: u64,
    /// Requests whose outcome is unknown, since the process ended before they did.
    pub unknown_outcomes: u64,
    /// How often storage failed.
    pub gaps: u64,
    /// Entries that could not be stored at the first try.
    pub gap_entries: u64,
    /// Refusals that were counted and not recorded, for want of room or under a flood.
    pub shed: u64,
    /// Requests to public routes, which are counted only.
    pub public: u64,
    /// Requests that the operator exempted, which are counted only.
    pub exempt: u64,
    /// How often the wall clock was found to have been set: times before and after do not
    /// compare.
    pub clock_steps: u64,
    /// How often the ledger was opened: starts of the service.
    pub starts: u64,
    /// Credentials that must be replaced soon, at the end of the span.
    pub aging: Vec<AgingCredential>,
    /// What is not counted.
    #[serde(flatten)]
    pub notes: Notes,
}

/// One caller doing one thing with one model in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Use {
    /// Who, as manifests write it.
    pub caller: String,
    /// Which model; absent for the server as a whole.
    pub model: Option<String>,
    /// Where.
    pub environment: String,
    /// What was done with it.
    pub action: String,
    /// How often it was allowed.
    pub allowed: u64,
    /// How often it was refused.
    pub refused: u64,
    /// Tokens read by the model, so far as the API reports them.
    pub tokens_in: u64,
    /// Tokens written by the model, so far as the API reports them.
    pub tokens_out: u64,
    /// When it was first.
    pub first: Timestamp,
    /// When it was last.
    pub last: Timestamp,
    /// How often a model was used under no promotion; steps of promotions are no use of it.
    pub unpromoted: u64,
}

/// How often something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusalCount {
    /// The reason's code.
    pub reason: String,
    /// Whose failure that is.
    pub fault: Option<Fault>,
    /// How often.
    pub count: u64,
    /// How often nobody was identified.
    pub unidentified: u64,
    /// When it was last.
    pub last: Timestamp,
}

/// A decision without an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OpenDecision {
    /// The record.
    pub id: RecordId,
    /// Its place in the ledger.
    pub sequence: u64,
    /// When the request arrived.
    pub time: Timestamp,
    /// Who called, if anybody was identified.
    pub caller: Option<String>,
}

/// A change of the access in force, or one that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccessChange {
    /// Its place in the ledger.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// `access.in_force`, `access.reloaded`, `access.reload_refused`.
    pub event: String,
    /// The digest of what is in force from then on.
    pub digest: Option<String>,
    /// How many problems there were, if it was refused.
    pub problems: Option<u64>,
    /// The first of them.
    pub problem: Option<String>,
}

impl Summary {
    /// Summarizes the selected part of a ledger. `now` decides which credentials grow old, if the
    /// selection has no end.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged or cannot be read.
    pub fn read(reader: &Reader, selection: &Selection, now: Timestamp) -> Result<Self, ReadError> {
        let mut tally = Tally::new(selection, now);
        let mut entries = reader.stored_entries(selection)?;
        for stored in entries.by_ref() {
            if let Some(numbered) = stored?.numbered() {
                tally.take(&numbered);
            }
        }
        let mut aging = reader.aging_credentials(selection.end().unwrap_or(now))?;
        aging.retain(|it| {
            let parties = std::iter::once(&it.subject).chain(&it.actors);
            selection.takes_one_of(parties)
        });
        Ok(Self {
            aging,
            ..tally.summary(entries.notes())
        })
    }
}

/// Who did what where.
type Key = (String, Option<String>, String, &'static str);

/// A summary while the ledger is read.
struct Tally<'s> {
    selection: &'s Selection,
    summary: Summary,
    history: HistoryBuilder,
    uses: HashMap<Key, Use>,
    refusals: HashMap<String, RefusalCount>,
    /// Decisions whose outcome has not come, with what they are counted under.
    open: HashMap<RecordId, (OpenDecision, Vec<Key>)>,
    /// The last decisions that another point enforces, whose outcomes may be reported.
    external: HashMap<RecordId, Vec<Key>>,
    external_order: VecDeque<RecordId>,
}

impl<'s> Tally<'s> {
    fn new(selection: &'s Selection, now: Timestamp) -> Self {
        let summary = Summary {
            since: selection.start(),
            until: selection.end(),
            environment: selection.selected_environment().map(str::to_owned),
            model: selection.selected_model().map(str::to_owned),
            caller: selection.selected_caller().map(str::to_owned),
            made: now,
            ..Summary::default()
        };
        Self {
            selection,
            summary,
            history: HistoryBuilder::new(selection.clone()),
            uses: HashMap::new(),
            refusals: HashMap::new(),
            open: HashMap::new(),
            external: HashMap::new(),
            external_order: VecDeque::new(),
        }
    }

    fn take(&mut self, numbered: &Numbered) {
        let sequence = numbered.sequence;
        let first = self.summary.sequences.map_or(sequence, |it| it.0);
        self.summary.sequences = Some((first, sequence));
        self.history.take(numbered);
        match &numbered.entry {
            Entry::Decision(decision) if self.selection.takes(decision) => {
                self.decided(sequence, decision);
            }
            Entry::Outcome(outcome) => {
                let open = self.open.remove(&outcome.id).map(|(_, keys)| keys);
                let Some(keys) = open.or_else(|| self.external.remove(&outcome.id)) else {
                    return;
                };
                let class = outcome.class.as_str().to_owned();
                *self.summary.outcomes.entry(class).or_default() += 1;
                if outcome.class == OutcomeClass::Unknown {
                    self.summary.unknown_outcomes += 1;
                }
                // Of several models nobody knows which read how many.
                if let Some(used) = keys.first().and_then(|key| self.uses.get_mut(key)) {
                    // Embeddings and rerankers may state the sum alone, which is their input.
                    let sum = outcome
                        .tokens_total
                        .filter(|_| outcome.tokens_out.is_none());
                    used.tokens_in += outcome.tokens_in.or(sum).unwrap_or_default();
                    used.tokens_out += outcome.tokens_out.unwrap_or_default();
                }
            }
            Entry::Gap(gap) if self.selection.takes_time(gap.time) => {
                self.summary.gaps += 1;
                self.summary.gap_entries += gap.entries;
            }
            Entry::Count(counts) if self.selection.takes_time(counts.time) => self.counted(counts),
            Entry::Event(event) if self.selection.takes_time(event.time) => {
                self.happened(sequence, event);
            }
            _ => {}
        }
    }

    fn decided(&mut self, sequence: u64, decision: &Decision) {
        let caller = decision.caller.as_ref();
        let caller = caller.map(ToString::to_string);
        let keys = match (&caller, decision.effect) {
            (Some(caller), _) => self.used(caller, decision),
            (None, _) => Vec::new(),
        };
        match decision.effect {
            Effect::Allow => self.summary.allowed += 1,
            _ => self.refused(decision),
        }
        if decision.enforcement.is_external() {
            return self.handed_over(decision.id, keys);
        }
        let open = OpenDecision {
            id: decision.id,
            sequence,
            time: decision.time,
            caller,
        };
        self.open.insert(decision.id, (open, keys));
    }

    /// Counts a decision that another point enforces.
    fn handed_over(&mut self, id: RecordId, keys: Vec<Key>) {
        self.summary.external += 1;
        if self.external_order.len() >= MAX_EXTERNAL
            && let Some(oldest) = self.external_order.pop_front()
        {
            self.external.remove(&oldest);
        }
        self.external_order.push_back(id);
        self.external.insert(id, keys);
    }

    /// Counts what a caller did or tried; returns under which keys.
    fn used(&mut self, caller: &str, decision: &Decision) -> Vec<Key> {
        let is_allowed = decision.effect == Effect::Allow;
        let mut keys = Vec::with_capacity(decision.target.len());
        for pair in &decision.target {
            let key: Key = (
                caller.to_owned(),
                pair.model.clone(),
                decision.environment.clone(),
                pair.action.as_str(),
            );
            let used = self.uses.entry(key.clone()).or_insert_with(|| Use {
                caller: caller.to_owned(),
                model: pair.model.clone(),
                environment: decision.environment.clone(),
                action: pair.action.to_string(),
                allowed: 0,
                refused: 0,
                tokens_in: 0,
                tokens_out: 0,
                first: decision.time,
                last: decision.time,
                unpromoted: 0,
            });
            used.allowed += u64::from(is_allowed);
            used.refused += u64::from(!is_allowed);
            used.unpromoted +=
                u64::from(is_allowed && is_use(decision, pair) && pair.promotion.is_none());
            used.first = used.first.min(decision.time);
            used.last = used.last.max(decision.time);
            keys.push(key);
        }
        keys
    }

    fn refused(&mut self, decision: &Decision) {
        self.summary.refused += 1;
        let counted = self.refusals.entry(decision.reason.clone());
        let counted = counted.or_insert_with(|| RefusalCount {
            reason: decision.reason.clone(),
            fault: decision.fault,
            count: 0,
            unidentified: 0,
            last: decision.time,
        });
        counted.count += 1;
        counted.unidentified += u64::from(decision.caller.is_none());
        counted.last = counted.last.max(decision.time);
    }

    fn counted(&mut self, counts: &Counts) {
        self.summary.shed += counts.shed_refusal;
        self.summary.public += counts.public;
        self.summary.exempt += counts.exempt;
    }

    fn happened(&mut self, sequence: u64, event: &Event) {
        let word = event.event.as_str();
        self.summary.starts += u64::from(word == "ledger.opened");
        self.summary.clock_steps += u64::from(word == "ledger.clock_step");
        if !word.starts_with("access.") {
            return;
        }
        let text = |key: &str| event.body.get(key)?.as_str().map(str::to_owned);
        let problems = event.body.get("problems").and_then(|it| it.as_array());
        let first = problems
            .and_then(|it| it.first())
            .and_then(|it| it.as_str());
        self.summary.access.push(AccessChange {
            sequence,
            time: event.time,
            event: event.event.clone(),
            digest: text("digest").or_else(|| text("in_force")),
            problems: event.body.get("count").and_then(serde_json::Value::as_u64),
            problem: first.map(str::to_owned),
        });
    }

    fn summary(self, notes: Notes) -> Summary {
        let mut summary = self.summary;
        summary.uses = self.uses.into_values().collect();
        summary.uses.sort_by(|one, other| {
            let busy = |it: &Use| std::cmp::Reverse(it.allowed + it.refused);
            let name = |it: &Use| (it.caller.clone(), it.model.clone(), it.action.clone());
            (busy(one), name(one)).cmp(&(busy(other), name(other)))
        });
        summary.refusals = self.refusals.into_values().collect();
        let order = |it: &RefusalCount| (std::cmp::Reverse(it.count), it.reason.clone());
        summary.refusals.sort_by_key(order);
        summary.open = self.open.into_values().map(|(open, _)| open).collect();
        summary.open.sort_by_key(|open| open.sequence);
        let history = self.history.history(notes);
        (summary.approvals, summary.notes) = (history.approvals, history.notes);
        summary
    }
}

impl Summary {
    /// The promotions that did not wait for their approvals, or were rolled back without those
    /// that it took.
    pub fn emergencies(&self) -> impl Iterator<Item = &Approval> {
        self.approvals
            .iter()
            .filter(|it| it.steps.iter().any(|step| step.emergency))
    }

    /// As JSON: every member of the value by its name.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// As a page.
    #[must_use]
    pub fn page(&self) -> Page {
        pages::page(self)
    }
}

/// Decisions whose reported outcomes are still joined with them, which bounds memory: a report
/// comes within seconds.
const MAX_EXTERNAL: usize = 10_000;
