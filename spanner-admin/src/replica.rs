//! The promotions of a journal: reads its events into a state, and appends further events to
//! both.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spanner_cedar::{PromotedManifests, PromotionRule};
use spanner_core::journal::{
    Append, Condition, Cursor, EventKind, Item, Journal, JournalError, Recorded, Scope,
};
use spanner_core::promotion::{Event, Explanation, HistoryState, Promotion, Step, StepFault};
use spanner_core::{Environment, ModelName, PromotionId};

use crate::error::OpenError;

/// A replica of the promotions in a journal, up to a cursor.
pub(crate) struct Replica {
    journal: Arc<dyn Journal>,
    history: HistoryState,
    /// The environments in which only promoted manifests are in force.
    environments: BTreeSet<Environment>,
    cursor: Cursor,
    losses: Losses,
    /// The cursor up to which the promotions were put in force.
    applied: Option<Cursor>,
}

/// The body of the event after which promotions govern an environment.
#[derive(Debug, Serialize, Deserialize)]
struct GovernedEvent {
    environment: String,
    /// How existing manifests are handled.
    existing: String,
}

/// The kind of the event with a [`GovernedEvent`].
const PROMOTIONS_KEPT: &str = "promotions.kept";

/// Why an event was not appended.
#[derive(Debug)]
pub(crate) enum AppendFault {
    /// The state of the promotion does not allow the step.
    Step(StepFault),
    /// The journal rejected the event or did not acknowledge it.
    Journal(JournalError),
}

/// Reads the promotions of a journal without managing them. Returns their state and the manifests
/// that they put in force, for [`Cedar::keep`](spanner_cedar::Cedar::keep).
///
/// # Errors
/// [`OpenError`] if the journal cannot be read, or contains an event that contradicts earlier
/// ones.
pub async fn promotions_in(
    journal: impl Journal,
) -> Result<(HistoryState, PromotedManifests), OpenError> {
    let replica = Replica::open(Arc::new(journal)).await?;
    let kept = replica.promoted_manifests();
    Ok((replica.history, kept))
}

impl Replica {
    /// Reads a journal from its beginning.
    pub(crate) async fn open(journal: Arc<dyn Journal>) -> Result<Self, OpenError> {
        let mut replica = Self {
            journal,
            history: HistoryState::new(),
            environments: BTreeSet::new(),
            cursor: Cursor::default(),
            losses: Losses::default(),
            applied: None,
        };
        replica.catch_up().await?;
        Ok(replica)
    }

    pub(crate) const fn history(&self) -> &HistoryState {
        &self.history
    }

    /// The manifests that promotions put in force.
    pub(crate) fn promoted_manifests(&self) -> PromotedManifests {
        PromotedManifests::of(&self.history, self.environments.clone())
    }

    /// The cursor after the last event read.
    pub(crate) const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Whether the current promotions were put in force.
    pub(crate) fn is_applied(&self) -> bool {
        self.applied.as_ref() == Some(&self.cursor)
    }

    /// Notes that the current promotions were put in force.
    pub(crate) fn set_applied(&mut self) {
        self.applied = Some(self.cursor.clone());
    }

    pub(crate) fn governs(&self, environment: &Environment) -> bool {
        self.environments.contains(environment)
    }

    /// Reads the events that the journal has by now.
    pub(crate) async fn catch_up(&mut self) -> Result<(), OpenError> {
        loop {
            let page = self.journal.read(&self.cursor).await?;
            for item in page.items {
                match item {
                    Item::Event(recorded) => self.replay(recorded)?,
                    Item::Lost => self.losses.record_loss(),
                    // Items of a later version have no effect.
                    _ => {}
                }
            }
            self.cursor = page.end;
            if !page.has_more {
                return Ok(());
            }
        }
    }

    fn replay(&mut self, recorded: Recorded) -> Result<(), OpenError> {
        let place = recorded.cursor;
        let not_understood = |error: &dyn std::fmt::Display| OpenError::NotUnderstood {
            place: place.clone(),
            reason: error.to_string(),
        };
        if recorded.kind.as_str() == PROMOTIONS_KEPT {
            let begun =
                GovernedEvent::deserialize(recorded.body).map_err(|it| not_understood(&it))?;
            let environment = Environment::new(&begun.environment);
            let environment = environment.map_err(|it| not_understood(&it))?;
            self.environments.insert(environment);
        } else {
            let event = Event::deserialize(recorded.body).map_err(|it| not_understood(&it))?;
            let taken = self.history.take(event.clone());
            match taken.map(|promotion| self.losses.accept(&event, promotion)) {
                Ok(()) => {}
                Err(fault) if self.losses.explain(&event, &fault, &self.history) => {
                    tracing::warn!(
                        %place, %fault,
                        "a promotion step is ignored: earlier entries were lost, and the loss was acknowledged"
                    );
                    self.losses.ignore(&event, &self.history);
                }
                Err(fault) => return Err(OpenError::Event { place, fault }),
            }
        }
        // If reading fails within a page, the next attempt continues here.
        self.cursor = place;
        Ok(())
    }

    /// Appends an event of a promotion, unless the journal has events that were not read.
    pub(crate) async fn append(&mut self, event: Event) -> Result<&Promotion, AppendFault> {
        let after = self.history.check(&event).map_err(AppendFault::Step)?;
        let kind = format!("promotion.{}", event.step.as_str());
        let scope = Scope::Model {
            model: after.candidate().model.clone(),
            environment: after.plan().into.clone(),
        };
        self.append_body(&kind, scope, serde_json::to_value(&event))
            .await
            .map_err(AppendFault::Journal)?;
        let promotion = self.history.take(event.clone());
        let promotion = promotion.map_err(AppendFault::Step)?;
        self.losses.accept(&event, promotion);
        Ok(promotion)
    }

    /// Records that promotions govern an environment from now on.
    pub(crate) async fn begin(&mut self, rule: &PromotionRule) -> Result<(), JournalError> {
        let body = GovernedEvent {
            environment: rule.environment.to_string(),
            existing: rule.existing.to_string(),
        };
        self.append_body(
            PROMOTIONS_KEPT,
            Scope::Everything,
            serde_json::to_value(body),
        )
        .await?;
        self.environments.insert(rule.environment.clone());
        Ok(())
    }

    async fn append_body(
        &mut self,
        kind: &str,
        scope: Scope,
        body: serde_json::Result<Value>,
    ) -> Result<(), JournalError> {
        let unfit = |error: &dyn std::fmt::Display| JournalError::Unavailable {
            reason: error.to_string(),
        };
        let kind = EventKind::new(kind).map_err(|error| unfit(&error))?;
        let body = body.map_err(|error| unfit(&error))?;
        let since = Condition::Unchanged {
            since: self.cursor.clone(),
            // Limits and restorations depend on all promotions.
            scope: Scope::Everything,
        };
        let append = Append::new(kind, scope, body).only_if(since);
        self.cursor = self.journal.append(append).await?.cursor;
        Ok(())
    }
}

type Place = (ModelName, Environment);

/// Determines which inconsistencies a loss of events can explain.
///
/// A loss explains that a step is inconsistent only if the step depends on events that may have
/// been lost: events of a promotion that began before the loss, or what was in force before it.
/// Any other inconsistency is an error.
#[derive(Debug, Default)]
struct Losses {
    is_lossy: bool,
    /// Promotions whose events were all read.
    whole: HashSet<PromotionId>,
    /// How many promotions came into force after the loss and still are.
    in_force: HashMap<Place, usize>,
}

impl Losses {
    fn record_loss(&mut self) {
        *self = Self {
            is_lossy: true,
            ..Self::default()
        };
    }

    /// Notes a consistent event.
    fn accept(&mut self, event: &Event, promotion: &Promotion) {
        if matches!(event.step, Step::Proposed { .. } | Step::Adopted { .. }) {
            self.whole.insert(event.promotion);
        }
        match event.step {
            Step::Promoted { .. } | Step::Adopted { .. } => {
                *self.in_force.entry(place(promotion)).or_default() += 1;
            }
            Step::RolledBack { .. } => {
                if let Some(count) = self.in_force.get_mut(&place(promotion)) {
                    *count = count.saturating_sub(1);
                }
            }
            _ => {}
        }
    }

    /// Notes an ignored step. Steps that depend on it are inconsistent as well.
    fn ignore(&mut self, event: &Event, history: &HistoryState) {
        self.whole.remove(&event.promotion);
        if event.step.puts_in_force()
            && let Some(place) = place_of(event, history)
        {
            self.in_force.remove(&place);
        }
    }

    fn explain(&self, event: &Event, fault: &StepFault, history: &HistoryState) -> bool {
        if !self.is_lossy {
            return false;
        }
        let place = place_of(event, history);
        let in_force = place.and_then(|place| self.in_force.get(&place));
        let is_place_known = in_force.is_some_and(|count| *count > 0);
        match fault.explanation() {
            Explanation::OwnSteps => !self.whole.contains(&event.promotion),
            Explanation::InForce => !is_place_known,
            Explanation::None => false,
        }
    }
}

fn place(promotion: &Promotion) -> Place {
    let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
    (model.clone(), into.clone())
}

/// The model and environment that an event affects, if they are known.
fn place_of(event: &Event, history: &HistoryState) -> Option<Place> {
    let known = history.promotion(event.promotion).map(place);
    known.or_else(|| Promotion::begin(event).ok().as_ref().map(place))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use spanner_core::testing::{MemoryJournal, block_on};

    use super::*;

    const MANIFEST: &str = "model = \"acme/sentiment\"";

    fn body(number: u128, step: &str, mut more: Value) -> Value {
        let digest = spanner_core::promotion::Digest::of(MANIFEST.as_bytes());
        let by = |name: &str| json!({"issuer": "corp", "kind": "user", "subject": name});
        let mut body = json!({
            "promotion": PromotionId::from_u128(number), "time": "2026-11-01T00:00:00Z",
            "step": step,
        });
        let due = match step {
            "proposed" => json!({
                "candidate": {"model": "acme/sentiment", "manifest": digest.as_str()},
                "from": "staging", "into": "production", "approvals": 1, "manifest": MANIFEST,
                "difference": [],
            }),
            "approved" => json!({
                "candidate": {"model": "acme/sentiment", "manifest": digest.as_str()},
                "difference": [],
            }),
            "promoted" => json!({"difference": []}),
            "rolled_back" => json!({"reason": "bad", "difference": []}),
            _ => json!({}),
        };
        let signer = if step == "approved" { "omar" } else { "nina" };
        for members in [json!({"by": by(signer)}), due, more.take()] {
            if let (Some(body), Value::Object(members)) = (body.as_object_mut(), members) {
                body.extend(members);
            }
        }
        body
    }

    /// The result of reading a journal with these events; `None` stands for a loss.
    fn read(events: &[Option<(u128, &str, Value)>]) -> Result<Replica, OpenError> {
        let journal = MemoryJournal::new();
        for event in events {
            match event {
                None => journal.lose_events(),
                Some((number, step, more)) => {
                    let kind = EventKind::new(&format!("promotion.{step}")).unwrap();
                    let body = body(*number, step, more.clone());
                    let append = Append::new(kind, Scope::Everything, body);
                    block_on(journal.append(append)).unwrap();
                }
            }
        }
        block_on(Replica::open(Arc::new(journal)))
    }

    #[test]
    fn a_loss_explains_only_steps_that_depend_on_lost_events() {
        let event = |number, step| Some((number, step, json!({})));
        let based = |number, base: u128| {
            let more = json!({"base": PromotionId::from_u128(base)});
            Some((number, "proposed", more))
        };
        let rows = [
            // Without a loss, no inconsistency is accepted.
            (vec![event(1, "withdrawn")], false),
            (vec![event(1, "proposed"), event(1, "promoted")], false),
            // The beginning or the approvals may have been lost.
            (vec![None, event(1, "withdrawn")], true),
            (vec![event(1, "proposed"), None, event(1, "promoted")], true),
            // The promotion began after the loss, so its approvals cannot have been lost.
            (
                vec![None, event(1, "proposed"), event(1, "promoted")],
                false,
            ),
            // A later loss explains nothing.
            (
                vec![event(1, "proposed"), event(1, "promoted"), None],
                false,
            ),
            // The replaced promotion may have been lost.
            (
                vec![
                    None,
                    based(1, 9),
                    event(1, "approved"),
                    event(1, "promoted"),
                ],
                true,
            ),
            // The replaced promotion is known and differs.
            (
                vec![
                    None,
                    event(1, "proposed"),
                    event(1, "approved"),
                    event(1, "promoted"),
                    based(2, 9),
                    event(2, "approved"),
                    event(2, "promoted"),
                ],
                false,
            ),
            // Steps that depend on an ignored step are ignored as well.
            (
                vec![
                    None,
                    based(1, 9),
                    event(1, "approved"),
                    event(1, "promoted"),
                    event(1, "rolled_back"),
                ],
                true,
            ),
            // A loss never turns an agent, or a missing principal, into an approver.
            (
                vec![
                    event(1, "proposed"),
                    None,
                    Some((1, "approved", json!({"by": null}))),
                ],
                false,
            ),
            (
                vec![None, event(1, "proposed"), event(1, "proposed")],
                false,
            ),
        ];
        for (events, is_read) in rows {
            let replica = read(&events);
            assert_eq!(replica.is_ok(), is_read, "{events:?}: {:?}", replica.err());
        }
    }

    #[test]
    fn names_an_event_that_cannot_be_parsed() {
        let journal = MemoryJournal::new();
        for (kind, body) in [("promotions.kept", json!({})), ("promotion.x", json!(7))] {
            let kind = EventKind::new(kind).unwrap();
            block_on(journal.append(Append::new(kind, Scope::Everything, body))).unwrap();
        }
        let error = block_on(Replica::open(Arc::new(journal))).err().unwrap();
        assert!(
            error.to_string().starts_with("entry 1 of the journal"),
            "{error}"
        );
    }
}
