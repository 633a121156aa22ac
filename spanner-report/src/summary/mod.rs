//! The auditor's summary of a time range: uses, approvals, access changes, refusals, and
//! deficiencies of the record.
//!
//! 1. [`Summary::page`] and [`Summary::json`] render the same value.
//! 2. The summary counts the requests and events that the [`Selection`] matches. It includes
//!    earlier promotions if requests were served under them, or if they are in force at the end
//!    of the range.
//! 3. No name can forge a line, a column, a link, a tag or a terminal command in any format.
//!
//! # Caveats
//! Memory grows with the number of different combinations of caller, model, environment and
//! action, and with the number of open decisions, but not with the number of requests.

mod pages;

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use spanner_core::record::{Decision, OutcomeClass};
use spanner_core::{Effect, Fault, RecordId, Timestamp};

use spanner_ledger::{
    AgingCredential, Counts, Entry, Event, HistoryBuilder, Notes, NumberedEntry, PromotionHistory,
    ReadError, Reader, Selection, is_use,
};

use crate::page::Page;

/// The summary of a part of a ledger; see [`Summary::read`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The start of the time range; `None` for the beginning of the ledger.
    pub since: Option<Timestamp>,
    /// The exclusive end of the time range; `None` for the end of the ledger.
    pub until: Option<Timestamp>,
    /// The selected environment, if any.
    pub environment: Option<String>,
    /// The selected model, if any.
    pub model: Option<String>,
    /// The selected caller, if any.
    pub caller: Option<String>,
    /// When the summary was created.
    pub made: Timestamp,
    /// The first and the last entry of the ledger, regardless of the time range.
    pub sequences: Option<(u64, u64)>,
    /// The number of requests that were allowed.
    pub allowed: u64,
    /// The number of requests that were refused.
    pub refused: u64,
    /// The uses of models, the most frequent first.
    pub uses: Vec<Use>,
    /// The promotions with events in the range, those under which requests were served, and those
    /// in force at its end.
    pub approvals: Vec<PromotionHistory>,
    /// The changes of the access in force, and reloads that were refused.
    pub access: Vec<AccessChange>,
    /// The refusals by reason, the most frequent first.
    pub refusals: Vec<RefusalCount>,
    /// The number of ended requests by the class of their outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Decisions without an outcome: requests in progress, or those of a process that crashed and
    /// was not restarted.
    pub open: Vec<OpenDecision>,
    /// The number of decisions that another component enforces, such as a gateway. They need no
    /// outcome; reported outcomes count in `outcomes`.
    pub external: u64,
    /// The number of requests whose outcome is unknown because the process crashed.
    pub unknown_outcomes: u64,
    /// The number of storage failures.
    pub gaps: u64,
    /// The number of entries whose first attempt to be stored failed.
    pub gap_entries: u64,
    /// The number of refusals that were only counted, because of a flood or a lack of room.
    pub shed: u64,
    /// The number of requests to public routes, which are only counted.
    pub public: u64,
    /// The number of requests that the operator exempted, which are only counted.
    pub exempt: u64,
    /// The number of times that the wall clock was set. Times before and after cannot be
    /// compared.
    pub clock_steps: u64,
    /// The number of times that the ledger was opened, which is the number of starts of the
    /// service.
    pub starts: u64,
    /// Credentials that must be replaced soon, at the end of the range.
    pub aging: Vec<AgingCredential>,
    /// What the summary omits.
    #[serde(flatten)]
    pub notes: Notes,
}

/// The use of one model by one caller, for one action in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Use {
    /// The caller, as manifests write it.
    pub caller: String,
    /// The model; `None` for the server as a whole.
    pub model: Option<String>,
    /// The environment.
    pub environment: String,
    /// The action.
    pub action: String,
    /// The number of allowed requests.
    pub allowed: u64,
    /// The number of refused requests.
    pub refused: u64,
    /// The number of input tokens, as far as the API reports them.
    pub tokens_in: u64,
    /// The number of output tokens, as far as the API reports them.
    pub tokens_out: u64,
    /// The time of the first request.
    pub first: Timestamp,
    /// The time of the last request.
    pub last: Timestamp,
    /// The number of uses of a model without a promotion. Steps of promotions are not uses.
    pub unpromoted: u64,
}

/// The number of refusals for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusalCount {
    /// The reason's code.
    pub reason: String,
    /// The party at fault.
    pub fault: Option<Fault>,
    /// The number of refusals.
    pub count: u64,
    /// How many of them had no authenticated caller.
    pub unidentified: u64,
    /// The time of the last one.
    pub last: Timestamp,
}

/// A decision without an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OpenDecision {
    /// The identifier of the record.
    pub id: RecordId,
    /// The sequence of the decision.
    pub sequence: u64,
    /// When the request arrived.
    pub time: Timestamp,
    /// The caller, if it was authenticated.
    pub caller: Option<String>,
}

/// A change of the access in force, or a refused reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccessChange {
    /// The sequence of the event.
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The event's name: `access.in_force`, `access.reloaded` or `access.reload_refused`.
    pub event: String,
    /// The digest of the access in force after the event.
    pub digest: Option<String>,
    /// The number of problems, if the reload was refused.
    pub problems: Option<u64>,
    /// The first problem.
    pub problem: Option<String>,
}

impl Summary {
    /// Summarizes the selected part of a ledger. `now` determines which credentials are aging,
    /// unless the selection has an end.
    ///
    /// # Errors
    /// [`ReadError`] if the ledger is damaged or cannot be read.
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
            selection.matches_any_of(parties)
        });
        Ok(Self {
            aging,
            ..tally.summary(entries.notes())
        })
    }
}

/// The caller, model, environment and action of a use.
type Key = (String, Option<String>, String, &'static str);

/// The state while the ledger is read.
struct Tally<'s> {
    selection: &'s Selection,
    summary: Summary,
    history: HistoryBuilder,
    uses: HashMap<Key, Use>,
    refusals: HashMap<String, RefusalCount>,
    /// Decisions without an outcome, with the uses that they count in.
    open: HashMap<RecordId, (OpenDecision, Vec<Key>)>,
    /// The latest externally enforced decisions, whose outcomes may be reported.
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

    fn take(&mut self, numbered: &NumberedEntry) {
        let sequence = numbered.sequence;
        let first = self.summary.sequences.map_or(sequence, |it| it.0);
        self.summary.sequences = Some((first, sequence));
        self.history.take(numbered);
        match &numbered.entry {
            Entry::Decision(decision) if self.selection.matches(decision) => {
                self.add_decision(sequence, decision);
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
                // With several models, it is unknown which one consumed the tokens.
                if let Some(used) = keys.first().and_then(|key| self.uses.get_mut(key)) {
                    // APIs for embeddings and reranking may report only the total, which is the
                    // input.
                    let sum = outcome
                        .tokens_total
                        .filter(|_| outcome.tokens_out.is_none());
                    used.tokens_in += outcome.tokens_in.or(sum).unwrap_or_default();
                    used.tokens_out += outcome.tokens_out.unwrap_or_default();
                }
            }
            Entry::Gap(gap) if self.selection.matches_time(gap.time) => {
                self.summary.gaps += 1;
                self.summary.gap_entries += gap.entries;
            }
            Entry::Count(counts) if self.selection.matches_time(counts.time) => {
                self.add_counts(counts)
            }
            Entry::Event(event) if self.selection.matches_time(event.time) => {
                self.add_event(sequence, event);
            }
            _ => {}
        }
    }

    fn add_decision(&mut self, sequence: u64, decision: &Decision) {
        let caller = decision.caller.as_ref();
        let caller = caller.map(ToString::to_string);
        let keys = match (&caller, decision.effect) {
            (Some(caller), _) => self.add_uses(caller, decision),
            (None, _) => Vec::new(),
        };
        match decision.effect {
            Effect::Allow => self.summary.allowed += 1,
            _ => self.add_refusal(decision),
        }
        if decision.enforcement.is_external() {
            return self.add_external(decision.id, keys);
        }
        let open = OpenDecision {
            id: decision.id,
            sequence,
            time: decision.time,
            caller,
        };
        self.open.insert(decision.id, (open, keys));
    }

    /// Counts a decision that another component enforces.
    fn add_external(&mut self, id: RecordId, keys: Vec<Key>) {
        self.summary.external += 1;
        if self.external_order.len() >= MAX_EXTERNAL
            && let Some(oldest) = self.external_order.pop_front()
        {
            self.external.remove(&oldest);
        }
        self.external_order.push_back(id);
        self.external.insert(id, keys);
    }

    /// Counts the uses in a request. Returns their keys.
    fn add_uses(&mut self, caller: &str, decision: &Decision) -> Vec<Key> {
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

    fn add_refusal(&mut self, decision: &Decision) {
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

    fn add_counts(&mut self, counts: &Counts) {
        self.summary.shed += counts.shed_refusal;
        self.summary.public += counts.public;
        self.summary.exempt += counts.exempt;
    }

    fn add_event(&mut self, sequence: u64, event: &Event) {
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
    /// The promotions with a step that bypassed required approvals.
    pub fn emergencies(&self) -> impl Iterator<Item = &PromotionHistory> {
        self.approvals
            .iter()
            .filter(|it| it.steps.iter().any(|step| step.emergency))
    }

    /// Renders the summary as JSON, with one member per field.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// Renders the summary as a page.
    #[must_use]
    pub fn page(&self) -> Page {
        pages::page(self)
    }
}

/// Bounds the memory for externally enforced decisions whose outcomes may be reported, which
/// takes seconds.
const MAX_EXTERNAL: usize = 10_000;
