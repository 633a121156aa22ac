//! The history behind the access in force: who proposed and approved a promotion, and what
//! changed.
//!
//! 1. If a [`Selection`] matches any step of a promotion, the history contains the whole
//!    promotion, in its state at the end of the selected time. It also contains promotions that
//!    were in force at that time, however old they are.
//! 2. The history reports what the entries say. [`HistoryState`] determines the standing of a
//!    promotion, and entries that contradict it are reported as doubts.
//! 3. A decision names the promotion under which its model was served. The history counts these
//!    decisions per promotion. Callers that only read or advanced a promotion do not count.
//!    served.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use serde::{Deserialize, Serialize};
use spanner_core::journal::Topic;
use spanner_core::promotion::{
    ChangeEntry, Event as PromotionEvent, HistoryState, Promotion, Standing, Step,
};
use spanner_core::record::{Decision, PrincipalEntry};
use spanner_core::{PromotionId, Timestamp};

use crate::entry::{Counts, Entry, Event, Gap};
use crate::error::ReadError;
use crate::notes::Notes;
use crate::reader::{NumberedEntry, Reader};
use crate::select::{Selection, promotions_of, signatories};

/// Life-cycle events of models, access and service, and the promotions that they belong to.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// The promotions, the earliest first.
    pub approvals: Vec<PromotionHistory>,
    /// All events, in order.
    pub events: Vec<HistoryEvent>,
    /// The number of promotions of the selected model into the selected environment in the whole
    /// ledger, regardless of the selected time and caller.
    pub promotions: u64,
    /// What was omitted.
    pub notes: Notes,
    pub(crate) selection: Selection,
}

/// One event in the ledger.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HistoryEvent {
    /// The sequence of its entry.
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The event's name, a stable word such as `promotion.approved`, `access.reloaded` or
    /// `ledger.gap`.
    pub event: String,
    /// The principal that caused it, as manifests write it. `None` for events of the service
    /// itself.
    pub by: Option<String>,
    /// The model that was promoted, if that is known.
    pub model: Option<String>,
    /// The target environment, if it is known.
    pub environment: Option<String>,
    /// The event's details, as stored in the ledger.
    pub body: serde_json::Value,
}

/// One promotion: its model, environments, steps and approvals, and the callers that were served
/// under it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PromotionHistory {
    /// The identifier of the promotion.
    pub promotion: PromotionId,
    /// The model.
    pub model: String,
    /// The target environment.
    pub environment: String,
    /// The source environment; `None` if the model was adopted.
    pub from: Option<String>,
    /// The model's revision; `None` if only its access changes.
    pub revision: Option<String>,
    /// The digest of its manifest.
    pub manifest: String,
    /// Its state.
    pub standing: PromotionState,
    /// How many approvals it requires.
    pub needed: u8,
    /// Its steps, in order.
    pub steps: Vec<PromotionStep>,
    /// The change in access: which principals gain and lose which actions.
    pub difference: Vec<ChangeEntry>,
    /// The reason for promoting it in an emergency, without the required approvals.
    pub emergency: Option<String>,
    /// The number of selected requests that were allowed under it.
    pub served: u64,
    /// The same number for each caller.
    pub callers: BTreeMap<String, u64>,
    /// Contradictions between its entries. Empty in an intact ledger.
    pub doubts: Vec<String>,
    /// How many of its approvals are valid. These are the last ones.
    #[serde(skip)]
    counting: usize,
}

/// The state of a promotion at the end of the selected time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PromotionState {
    /// It waits for approvals or for its promotion.
    Open,
    /// It is in force.
    InForce,
    /// A later promotion replaced it.
    Replaced,
    /// An approver rejected it.
    Rejected,
    /// Its proposer withdrew it.
    Withdrawn,
    /// It was in force and was rolled back.
    RolledBack,
}

/// One step of a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PromotionStep {
    /// The sequence of its entry.
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The step's name, such as `proposed`, `approved` or `promoted`.
    pub step: String,
    /// The principal that took the step, as manifests write it; `None` if the service did.
    pub by: Option<String>,
    /// The reason, if one was given.
    pub reason: Option<String>,
    /// Whether the step bypassed required approvals in an emergency.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

impl History {
    /// The selection of this history.
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }
}

impl PromotionState {
    /// The state as words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InForce => "in force",
            Self::Replaced => "replaced",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::RolledBack => "rolled back",
        }
    }
}

impl PromotionHistory {
    /// The principals that took the named step, in order.
    pub fn by<'a>(&'a self, step: &'a str) -> impl Iterator<Item = &'a str> {
        let steps = self.steps.iter().filter(move |signed| signed.step == step);
        steps.filter_map(|signed| signed.by.as_deref())
    }

    /// The valid approvals, in order: those after the last step that voided earlier ones.
    pub fn valid(&self) -> impl Iterator<Item = &PromotionStep> {
        let signed = || self.steps.iter().filter(|step| step.step == "approved");
        let void = signed().count().saturating_sub(self.counting);
        signed().skip(void)
    }
}

impl Reader {
    /// The events and promotions behind what is served. Answers the question "who approved this
    /// endpoint?".
    ///
    /// # Errors
    /// [`ReadError`] if the ledger is damaged or cannot be read. Entries in a newer format are
    /// omitted.
    pub fn history(&self, selection: &Selection) -> Result<History, ReadError> {
        let mut builder = HistoryBuilder::new(selection.clone());
        let mut known = self.known(selection)?;
        for numbered in known.by_ref() {
            builder.take(&numbered?);
        }
        Ok(builder.history(known.notes()))
    }
}

/// Builds a [`History`] from entries that the caller also needs for another purpose.
#[derive(Debug)]
pub struct HistoryBuilder {
    selection: Selection,
    events: Vec<HistoryEvent>,
    approvals: BTreeMap<PromotionId, Draft>,
    promotions: u64,
    state: HistoryState,
    /// Whether the beginning of the ledger is missing, so that contradictions cannot be
    /// established.
    is_partial: bool,
    next: u64,
}

/// A promotion of which more steps may follow.
#[derive(Debug)]
struct Draft {
    approval: PromotionHistory,
    /// Whether the selection matches a step of it or a request under it.
    is_selected: bool,
    /// Whether the selection matches apart from the time.
    is_selected_at_any_time: bool,
    first_sequence: u64,
}

impl HistoryBuilder {
    /// Creates a builder that has seen no entry.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            events: Vec::new(),
            approvals: BTreeMap::new(),
            state: HistoryState::new(),
            promotions: 0,
            is_partial: false,
            next: 0,
        }
    }

    /// Adds the next entry. The caller must pass all entries in order, whether they are selected
    /// or not.
    pub fn take(&mut self, numbered: &NumberedEntry) {
        let sequence = numbered.sequence;
        self.is_partial |= self.next == 0 && sequence > 0;
        self.next = sequence + 1;
        match &numbered.entry {
            Entry::Event(event) => self.add_event(sequence, event),
            Entry::Gap(gap) => self.add_general(sequence, gap.time, "ledger.gap", gap_body(gap)),
            Entry::Count(counts) if counts.shed_refusal > 0 => {
                self.add_general(sequence, counts.time, "ledger.shed", shed_body(counts));
            }
            Entry::Decision(decision) => self.count_request(decision),
            Entry::Count(_) | Entry::Outcome(_) => {}
        }
    }

    /// Adds an event about the service as a whole.
    fn add_general(
        &mut self,
        sequence: u64,
        time: Timestamp,
        event: &str,
        body: serde_json::Value,
    ) {
        if self.selection.matches_general() && self.selection.matches_time(time) {
            self.events.push(HistoryEvent {
                sequence,
                time,
                event: event.to_owned(),
                by: None,
                model: None,
                environment: None,
                body,
            });
        }
    }

    fn add_event(&mut self, sequence: u64, event: &Event) {
        match promotion_event(event) {
            Some(step_event) => self.add_step(sequence, event, &step_event),
            None => self.add_general(sequence, event.time, &event.event, event.body.clone()),
        }
    }

    fn add_step(&mut self, sequence: u64, event: &Event, step_event: &PromotionEvent) {
        if let Some((model, environment)) = begins(&step_event.step) {
            let is_place = self.selection.matches_target(model, environment);
            self.promotions += u64::from(is_place);
        }
        if self.selection.is_over(step_event.time) {
            return;
        }
        let by = step_event.by.as_ref();
        let who = by.map(ToString::to_string);
        let doubt = self.state.take_doubtful(step_event.clone());
        let Some(draft) = self.draft(sequence, step_event) else {
            // Earlier steps are missing, and with them the model and the environment.
            self.add_general(sequence, event.time, &event.event, event.body.clone());
            return;
        };
        let parties: Vec<PrincipalEntry> = by.into_iter().flat_map(signatories).cloned().collect();
        draft.approval.steps.push(PromotionStep {
            sequence,
            time: step_event.time,
            step: step_event.step.as_str().to_owned(),
            by: who.clone(),
            reason: reason(&step_event.step).map(str::to_owned),
            emergency: matches!(
                step_event.step,
                Step::Promoted {
                    emergency: Some(_),
                    ..
                } | Step::RolledBack {
                    emergency: true,
                    ..
                }
            ),
        });
        let (model, environment) = (&draft.approval.model, &draft.approval.environment);
        let place = (model.clone(), environment.clone());
        draft.update(&step_event.step);
        let doubt = doubt.map(|it| it.to_string());
        if self.select_step(step_event, &place, &parties, doubt) {
            let (model, environment) = place;
            self.events.push(HistoryEvent {
                sequence,
                time: event.time,
                event: event.event.clone(),
                by: who,
                model: Some(model),
                environment: Some(environment),
                body: event.body.clone(),
            });
        }
    }

    /// Records a doubt about a step. Returns whether the step is selected.
    fn select_step(
        &mut self,
        step_event: &PromotionEvent,
        (model, environment): &(String, String),
        parties: &[PrincipalEntry],
        doubt: Option<String>,
    ) -> bool {
        let is_selected_at_any_time = self.selection.matches_target(model, environment)
            && self.selection.matches_any_of(parties);
        let is_selected = is_selected_at_any_time && self.selection.matches_time(step_event.time);
        let is_partial = self.is_partial;
        if let Some(draft) = self.approvals.get_mut(&step_event.promotion) {
            draft.is_selected |= is_selected;
            draft.is_selected_at_any_time |= is_selected_at_any_time;
            if let Some(doubt) = doubt.filter(|_| !is_partial) {
                draft.approval.doubts.push(doubt);
            }
        }
        is_selected
    }

    /// The draft of the promotion that a step belongs to; `None` if its beginning is unknown.
    fn draft(&mut self, sequence: u64, step_event: &PromotionEvent) -> Option<&mut Draft> {
        let promotion = self.state.promotion(step_event.promotion)?;
        let draft = match self.approvals.entry(step_event.promotion) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(Draft {
                approval: PromotionHistory::of(promotion),
                is_selected: false,
                is_selected_at_any_time: false,
                first_sequence: sequence,
            }),
        };
        draft.approval.needed = promotion.needed();
        draft.approval.counting = promotion.approvals().len();
        Some(draft)
    }

    /// The state of a promotion after the entries read.
    fn standing(&self, promotion: &Promotion) -> PromotionState {
        match promotion.standing() {
            Standing::Open => PromotionState::Open,
            Standing::Rejected => PromotionState::Rejected,
            Standing::Withdrawn => PromotionState::Withdrawn,
            Standing::RolledBack => PromotionState::RolledBack,
            // Promoted, adopted, or a standing of a later version.
            _ => {
                let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
                let current = self.state.current(model, into).map(Promotion::id);
                match current == Some(promotion.id()) {
                    true => PromotionState::InForce,
                    false => PromotionState::Replaced,
                }
            }
        }
    }

    /// Counts a request for the promotions under which its models were served.
    fn count_request(&mut self, decision: &Decision) {
        if !self.selection.matches_except_time(decision) || self.selection.is_over(decision.time) {
            return;
        }
        let is_selected = self.selection.matches_time(decision.time);
        for promotion in promotions_of(decision) {
            let Some(draft) = self.approvals.get_mut(&promotion) else {
                continue;
            };
            let PromotionHistory {
                model, environment, ..
            } = &draft.approval;
            let is_place = self.selection.matches_target(model, environment);
            if !is_place {
                continue;
            }
            draft.is_selected_at_any_time = true;
            if !is_selected {
                continue;
            }
            draft.is_selected = true;
            draft.approval.served += 1;
            let caller = decision.caller.as_ref();
            let caller = caller.map(ToString::to_string);
            let caller = caller.unwrap_or_default();
            *draft.approval.callers.entry(caller).or_default() += 1;
        }
    }

    /// Returns the history of the entries added. `notes` tell what was omitted.
    #[must_use]
    pub fn history(mut self, notes: Notes) -> History {
        let mut approvals = std::mem::take(&mut self.approvals);
        for (id, draft) in &mut approvals {
            if let Some(promotion) = self.state.promotion(*id) {
                draft.approval.standing = self.standing(promotion);
            }
        }
        let mut selected: Vec<Draft> = approvals.into_values().collect();
        selected.retain(|draft| {
            let is_in_force = draft.approval.standing == PromotionState::InForce;
            draft.is_selected || (is_in_force && draft.is_selected_at_any_time)
        });
        selected.sort_by_key(|draft| draft.first_sequence);
        History {
            approvals: selected.into_iter().map(|draft| draft.approval).collect(),
            events: self.events,
            promotions: self.promotions,
            notes,
            selection: self.selection,
        }
    }
}

impl Draft {
    /// Copies the details that a step adds to its promotion.
    fn update(&mut self, step: &Step) {
        let approval = &mut self.approval;
        match step {
            Step::Proposed { difference, .. } => approval.difference = difference.to_vec(),
            Step::Promoted {
                emergency,
                difference,
                terms,
            } => {
                approval.emergency.clone_from(emergency);
                approval.difference = difference.to_vec();
                // An emergency needs no approvals. These are the ones that it bypassed.
                if let Some(terms) = terms {
                    approval.needed = terms.approvals;
                }
            }
            _ => {}
        }
    }
}

impl PromotionHistory {
    fn of(promotion: &Promotion) -> Self {
        let (candidate, plan) = (promotion.candidate(), promotion.plan());
        let is_adopted = promotion.standing() == Standing::Adopted;
        Self {
            promotion: promotion.id(),
            model: candidate.model.to_string(),
            environment: plan.into.to_string(),
            from: (!is_adopted).then(|| plan.from.to_string()),
            revision: candidate.revision.as_ref().map(ToString::to_string),
            manifest: candidate.manifest.to_string(),
            standing: PromotionState::Open,
            needed: promotion.needed(),
            steps: Vec::new(),
            difference: Vec::new(),
            emergency: None,
            served: 0,
            callers: BTreeMap::new(),
            doubts: Vec::new(),
            counting: 0,
        }
    }
}

/// Parses the promotion step that an event describes.
pub(crate) fn promotion_event(event: &Event) -> Option<PromotionEvent> {
    match Topic::of(&event.event)? {
        Topic::Promotion => PromotionEvent::deserialize(&event.body).ok(),
        _ => None,
    }
}

/// The model and the target environment, if this is the first step of a promotion.
fn begins(step: &Step) -> Option<(&str, &str)> {
    match step {
        Step::Adopted {
            candidate, into, ..
        }
        | Step::Proposed {
            candidate, into, ..
        } => Some((&candidate.model, into)),
        _ => None,
    }
}

fn reason(step: &Step) -> Option<&str> {
    match step {
        Step::Rejected { reason }
        | Step::Voided { reason, .. }
        | Step::RolledBack { reason, .. } => Some(reason),
        Step::Promoted { emergency, .. } => emergency.as_deref(),
        _ => None,
    }
}

fn gap_body(gap: &Gap) -> serde_json::Value {
    serde_json::json!({"entries": gap.entries, "uncertain": gap.uncertain, "reason": gap.reason})
}

fn shed_body(counts: &Counts) -> serde_json::Value {
    serde_json::json!({"refusals": counts.shed_refusal})
}
