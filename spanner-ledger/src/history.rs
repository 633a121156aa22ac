//! How what is in force came to be: who proposed it, who approved it, what changed.
//!
//! 1. A promotion is told whole, whichever of its steps a [`Selection`] meets, as it stood at
//!    the end of the selected time. What was in force then is told whenever it was promoted.
//! 2. What is told is what the entries say. Whether they can have followed each other is
//!    decided by [`HistoryState`], and what cannot is told as a doubt. Where a promotion stands
//!    is what that says as well.
//! 3. A request names the promotion under which its model was served, so that each promotion
//!    says who was served under it. Whoever took a step of a promotion, or looked at one, was not
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
use crate::reader::{Numbered, Reader};
use crate::select::{Selection, promotions_of, signatories};

/// What happened to models, to the access in force and to the service, and the promotions
/// that it is about.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// The promotions, the earliest first.
    pub approvals: Vec<Approval>,
    /// Everything that happened apart from requests, in order.
    pub happenings: Vec<Happening>,
    /// How many promotions of the selected model into the selected environment are in the
    /// ledger, whenever they were and whoever is selected.
    pub promotions: u64,
    /// What is not told.
    pub notes: Notes,
    pub(crate) selection: Selection,
}

/// Something that happened apart from requests.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Happening {
    /// Its place in the ledger.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// What, in one stable word: `promotion.approved`, `access.reloaded`, `ledger.gap`.
    pub event: String,
    /// Who did it, as manifests write it; absent where nobody did.
    pub by: Option<String>,
    /// The model that was promoted, if that is known.
    pub model: Option<String>,
    /// The environment that it was promoted into, if that is known.
    pub environment: Option<String>,
    /// What there is to know about it, as the ledger has it.
    pub body: serde_json::Value,
}

/// One promotion: what was moved where, by whom, with whose approval, and who was served
/// under it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Approval {
    /// The promotion.
    pub promotion: PromotionId,
    /// The model.
    pub model: String,
    /// The environment that it goes into.
    pub environment: String,
    /// The environment that it comes from; absent where it was adopted.
    pub from: Option<String>,
    /// Its revision; absent where only its access moves.
    pub revision: Option<String>,
    /// The digest of its manifest.
    pub manifest: String,
    /// Where it stands.
    pub standing: ApprovalStanding,
    /// How many approvals it needs.
    pub needed: u8,
    /// What was done with it, in order.
    pub steps: Vec<Signed>,
    /// Who gains and loses what.
    pub difference: Vec<ChangeEntry>,
    /// Why it did not wait for approvals, where it did not.
    pub emergency: Option<String>,
    /// How many requests it served that were allowed and are selected.
    pub served: u64,
    /// To whom, and how often.
    pub callers: BTreeMap<String, u64>,
    /// Why entries about it cannot have followed each other; none in a ledger that is whole.
    pub doubts: Vec<String>,
    /// How many of the approvals count, which are the last ones.
    #[serde(skip)]
    counting: usize,
}

/// Where a promotion stands at the end of the selected time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalStanding {
    /// It waits for approvals, or to be promoted.
    Open,
    /// It is what is served.
    InForce,
    /// A later one has taken its place.
    Replaced,
    /// It was turned down.
    Rejected,
    /// Its proposer took it back.
    Withdrawn,
    /// It was in force, and what was before is again.
    RolledBack,
}

/// One step of a promotion, with who took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Signed {
    /// Its place in the ledger.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// `proposed`, `approved`, `promoted` …
    pub step: String,
    /// By whom, as manifests write it; absent where nobody was asked.
    pub by: Option<String>,
    /// Why, where a reason was given.
    pub reason: Option<String>,
    /// Whether it did not wait for approvals that it would have taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

impl History {
    /// What is selected.
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }
}

impl ApprovalStanding {
    /// The words of it.
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

impl Approval {
    /// Who took this step, in order.
    pub fn by<'a>(&'a self, step: &'a str) -> impl Iterator<Item = &'a str> {
        let steps = self.steps.iter().filter(move |signed| signed.step == step);
        steps.filter_map(|signed| signed.by.as_deref())
    }

    /// The approvals that count, in order: those since the last time that they became void.
    pub fn valid(&self) -> impl Iterator<Item = &Signed> {
        let signed = || self.steps.iter().filter(|step| step.step == "approved");
        let void = signed().count().saturating_sub(self.counting);
        signed().skip(void)
    }
}

impl Reader {
    /// What happened apart from requests, and the promotions behind what is served: the
    /// answer to "who approved this endpoint?".
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged or cannot be read. What a newer version wrote is
    /// left out.
    pub fn history(&self, selection: &Selection) -> Result<History, ReadError> {
        let mut telling = HistoryBuilder::new(selection.clone());
        let mut known = self.known(selection)?;
        for numbered in known.by_ref() {
            telling.take(&numbered?);
        }
        Ok(telling.history(known.notes()))
    }
}

/// Builds a [`History`] from the entries of a ledger, for a reader that needs them for something
/// else as well.
#[derive(Debug)]
pub struct HistoryBuilder {
    selection: Selection,
    happenings: Vec<Happening>,
    approvals: BTreeMap<PromotionId, Draft>,
    promotions: u64,
    state: HistoryState,
    /// Whether the beginning is missing, so that nothing can be said of what follows it.
    is_partial: bool,
    next: u64,
}

/// A promotion while it is read.
#[derive(Debug)]
struct Draft {
    approval: Approval,
    /// Whether a step of it, or a request under it, is meant.
    is_meant: bool,
    /// Whether one is meant but for its time.
    is_meant_whenever: bool,
    place: u64,
}

impl HistoryBuilder {
    /// A history of what is selected, before the first entry.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            happenings: Vec::new(),
            approvals: BTreeMap::new(),
            state: HistoryState::new(),
            promotions: 0,
            is_partial: false,
            next: 0,
        }
    }

    /// Takes the next entry. All entries must come in order, whether they are selected or not.
    pub fn take(&mut self, numbered: &Numbered) {
        let sequence = numbered.sequence;
        self.is_partial |= self.next == 0 && sequence > 0;
        self.next = sequence + 1;
        match &numbered.entry {
            Entry::Event(event) => self.happened(sequence, event),
            Entry::Gap(gap) => self.noted(sequence, gap.time, "ledger.gap", gap_body(gap)),
            Entry::Count(counts) if counts.shed_refusal > 0 => {
                self.noted(sequence, counts.time, "ledger.shed", shed_body(counts));
            }
            Entry::Decision(decision) => self.served(decision),
            Entry::Count(_) | Entry::Outcome(_) => {}
        }
    }

    /// What concerns the service as a whole.
    fn noted(&mut self, sequence: u64, time: Timestamp, event: &str, body: serde_json::Value) {
        if self.selection.takes_general() && self.selection.takes_time(time) {
            self.happenings.push(Happening {
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

    fn happened(&mut self, sequence: u64, event: &Event) {
        match promotion_event(event) {
            Some(taken) => self.stepped(sequence, event, &taken),
            None => self.noted(sequence, event.time, &event.event, event.body.clone()),
        }
    }

    fn stepped(&mut self, sequence: u64, event: &Event, taken: &PromotionEvent) {
        if let Some((model, environment)) = begins(&taken.step) {
            let is_place = self.selection.takes_place(model, environment);
            self.promotions += u64::from(is_place);
        }
        if self.selection.is_over(taken.time) {
            return;
        }
        let by = taken.by.as_ref();
        let who = by.map(ToString::to_string);
        let doubt = self.state.take_doubtful(taken.clone());
        let Some(kept) = self.draft(sequence, taken) else {
            // The steps before it are gone, and with them what it is about.
            self.noted(sequence, event.time, &event.event, event.body.clone());
            return;
        };
        let parties: Vec<PrincipalEntry> = by.into_iter().flat_map(signatories).cloned().collect();
        kept.approval.steps.push(Signed {
            sequence,
            time: taken.time,
            step: taken.step.as_str().to_owned(),
            by: who.clone(),
            reason: reason(&taken.step).map(str::to_owned),
            emergency: matches!(
                taken.step,
                Step::Promoted {
                    emergency: Some(_),
                    ..
                } | Step::RolledBack {
                    emergency: true,
                    ..
                }
            ),
        });
        let (model, environment) = (&kept.approval.model, &kept.approval.environment);
        let place = (model.clone(), environment.clone());
        kept.turn(&taken.step);
        let doubt = doubt.map(|it| it.to_string());
        if self.concerns(taken, &place, &parties, doubt) {
            let (model, environment) = place;
            self.happenings.push(Happening {
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

    /// Notes what speaks against a step; returns whether it is meant.
    fn concerns(
        &mut self,
        taken: &PromotionEvent,
        (model, environment): &(String, String),
        parties: &[PrincipalEntry],
        doubt: Option<String>,
    ) -> bool {
        let is_meant_whenever =
            self.selection.takes_place(model, environment) && self.selection.takes_one_of(parties);
        let is_meant = is_meant_whenever && self.selection.takes_time(taken.time);
        let is_partial = self.is_partial;
        if let Some(kept) = self.approvals.get_mut(&taken.promotion) {
            kept.is_meant |= is_meant;
            kept.is_meant_whenever |= is_meant_whenever;
            if let Some(doubt) = doubt.filter(|_| !is_partial) {
                kept.approval.doubts.push(doubt);
            }
        }
        is_meant
    }

    /// The promotion that a step is of; `None` if it is not known what is moved.
    fn draft(&mut self, sequence: u64, taken: &PromotionEvent) -> Option<&mut Draft> {
        let promotion = self.state.promotion(taken.promotion)?;
        let draft = match self.approvals.entry(taken.promotion) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(Draft {
                approval: Approval::of(promotion),
                is_meant: false,
                is_meant_whenever: false,
                place: sequence,
            }),
        };
        draft.approval.needed = promotion.needed();
        draft.approval.counting = promotion.approvals().len();
        Some(draft)
    }

    /// Where a promotion stands by what was read.
    fn standing(&self, promotion: &Promotion) -> ApprovalStanding {
        match promotion.standing() {
            Standing::Open => ApprovalStanding::Open,
            Standing::Rejected => ApprovalStanding::Rejected,
            Standing::Withdrawn => ApprovalStanding::Withdrawn,
            Standing::RolledBack => ApprovalStanding::RolledBack,
            // Promoted or adopted, by this version or a later one.
            _ => {
                let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
                let current = self.state.current(model, into).map(Promotion::id);
                match current == Some(promotion.id()) {
                    true => ApprovalStanding::InForce,
                    false => ApprovalStanding::Replaced,
                }
            }
        }
    }

    /// Counts a request for the promotions under which its models were served.
    fn served(&mut self, decision: &Decision) {
        if !self.selection.takes_whenever(decision) || self.selection.is_over(decision.time) {
            return;
        }
        let is_meant = self.selection.takes_time(decision.time);
        for promotion in promotions_of(decision) {
            let Some(kept) = self.approvals.get_mut(&promotion) else {
                continue;
            };
            let Approval {
                model, environment, ..
            } = &kept.approval;
            let is_place = self.selection.takes_place(model, environment);
            if !is_place {
                continue;
            }
            kept.is_meant_whenever = true;
            if !is_meant {
                continue;
            }
            kept.is_meant = true;
            kept.approval.served += 1;
            let caller = decision.caller.as_ref();
            let caller = caller.map(ToString::to_string);
            let caller = caller.unwrap_or_default();
            *kept.approval.callers.entry(caller).or_default() += 1;
        }
    }

    /// The history of the entries so far, with what was left out of them.
    #[must_use]
    pub fn history(mut self, notes: Notes) -> History {
        let mut approvals = std::mem::take(&mut self.approvals);
        for (id, draft) in &mut approvals {
            if let Some(promotion) = self.state.promotion(*id) {
                draft.approval.standing = self.standing(promotion);
            }
        }
        let mut meant: Vec<Draft> = approvals.into_values().collect();
        meant.retain(|kept| {
            let is_in_force = kept.approval.standing == ApprovalStanding::InForce;
            kept.is_meant || (is_in_force && kept.is_meant_whenever)
        });
        meant.sort_by_key(|kept| kept.place);
        History {
            approvals: meant.into_iter().map(|kept| kept.approval).collect(),
            happenings: self.happenings,
            promotions: self.promotions,
            notes,
            selection: self.selection,
        }
    }
}

impl Draft {
    /// Takes over what a step says of the promotion, for people.
    fn turn(&mut self, step: &Step) {
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
                // An emergency is held to no approvals; these are what it went without.
                if let Some(terms) = terms {
                    approval.needed = terms.approvals;
                }
            }
            _ => {}
        }
    }
}

impl Approval {
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
            standing: ApprovalStanding::Open,
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

/// The step of a promotion that an event tells of.
pub(crate) fn promotion_event(event: &Event) -> Option<PromotionEvent> {
    match Topic::of(&event.event)? {
        Topic::Promotion => PromotionEvent::deserialize(&event.body).ok(),
        _ => None,
    }
}

/// The model and the environment of a promotion, from the first of its steps.
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
