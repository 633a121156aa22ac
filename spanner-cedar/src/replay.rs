//! Decides recorded requests again.

use std::borrow::Borrow;
use std::fmt;

use serde::Serialize;
use spanner_core::record::{Decision, PairEntry};
use spanner_core::{Answered, Authorize, Effect, NotAgain, Questions, RecordId, Timestamp};

use crate::cedar::Cedar;

/// The recorded decisions that this access would make differently.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Replay {
    /// The number of decisions that were made again.
    pub decided: u64,
    /// The number of records of requests that were never authorized.
    pub not_asked: u64,
    /// The number of records that could not be interpreted.
    pub unreadable: u64,
    /// The decisions that would differ, in the order of the records.
    pub changes: Vec<Changed>,
}

/// One recorded decision that would be different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changed {
    /// The record.
    pub id: RecordId,
    /// The time of the request.
    pub time: Timestamp,
    /// The caller: `user:corp/ann`, `agent:corp/copilot for user:corp/ann`.
    pub caller: String,
    /// The subject's groups, as in the record.
    pub groups: Vec<String>,
    /// The action and the resource: `generate on acme/sentiment`.
    pub target: Vec<String>,
    /// The environment.
    pub environment: String,
    /// The recorded decision.
    pub before: Judged,
    /// The decision of this access.
    pub after: Judged,
}

/// A decision with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Judged {
    /// Allowed or refused.
    pub effect: Effect,
    /// The reason code, as in records.
    pub reason: String,
    /// The policies that decided it.
    pub policies: Vec<String>,
}

/// The result of making one recorded decision again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Again {
    /// It would be the same.
    Same,
    /// It would be different.
    Changed(Box<Changed>),
    /// It cannot be made again.
    Not(NotAgain),
}

impl Cedar {
    /// Makes recorded decisions again with the access that is in force now, and lists those that
    /// would differ. This shows how a change of access would have affected real requests.
    ///
    /// Each decision is made with the inputs of its time: every party of the delegation chain, and
    /// the ages that the credential and the sign-in had then.
    pub fn replay<D: Borrow<Decision>>(&self, decisions: impl IntoIterator<Item = D>) -> Replay {
        let access = self.current();
        let mut replay = Replay::default();
        for decision in decisions {
            let again = Again::of(decision.borrow(), &*access);
            replay.take(again);
        }
        replay
    }

    /// Makes one recorded decision again.
    #[must_use]
    pub fn decide_again(&self, decision: &Decision) -> Again {
        Again::of(decision, &*self.current())
    }
}

impl Replay {
    /// Adds one result.
    pub fn take(&mut self, again: Again) {
        match again {
            Again::Not(NotAgain::NotAsked) => self.not_asked += 1,
            Again::Not(_) => self.unreadable += 1,
            Again::Same => self.decided += 1,
            Again::Changed(change) => {
                self.decided += 1;
                self.changes.push(*change);
            }
        }
    }

    /// Whether something that was refused would be allowed.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.changes.iter().any(Changed::widens)
    }
}

impl Again {
    fn of(decision: &Decision, access: &impl Authorize) -> Self {
        let questions = match Questions::again(decision) {
            Ok(questions) => questions,
            Err(not) => return Self::Not(not),
        };
        let after = questions.put_to(access);
        match after.effect == decision.effect {
            true => Self::Same,
            false => Self::Changed(Box::new(Changed::of(decision, after))),
        }
    }
}

impl Changed {
    /// Whether what was refused would be allowed.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.after.effect == Effect::Allow
    }

    fn of(decision: &Decision, after: Answered) -> Self {
        let caller = decision.caller.as_ref();
        Self {
            id: decision.id,
            time: decision.time,
            caller: caller.map(ToString::to_string).unwrap_or_default(),
            groups: caller.map(|it| it.groups.clone()).unwrap_or_default(),
            target: decision.target.iter().map(what).collect(),
            environment: decision.environment.clone(),
            before: Judged {
                effect: decision.effect,
                reason: decision.reason.clone(),
                policies: decision.policies.clone(),
            },
            after: Judged {
                effect: after.effect,
                reason: after.reason.to_owned(),
                policies: after.policies,
            },
        }
    }
}

fn what(pair: &PairEntry) -> String {
    let model = pair.model.as_deref().unwrap_or("the server");
    format!("{} on {model}", pair.action)
}

/// One line for each change, and a summary line.
impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        let changes = self.changes.len();
        let (decided, not_asked) = (self.decided, self.not_asked);
        write!(f, "{changes} of {decided} decisions would be others")?;
        if not_asked > 0 {
            write!(f, "; {not_asked} were made without asking the access")?;
        }
        match self.unreadable {
            0 => Ok(()),
            count => write!(f, "; {count} could not be made out"),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            caller,
            environment,
            before,
            after,
            ..
        } = self;
        let time = self.time.strftime("%Y-%m-%dT%H:%M:%SZ");
        let target = self.target.join(", ");
        write!(
            f,
            "{time} {id} {caller}: {target} in {environment}: {before}, would be {after}"
        )
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.effect {
            Effect::Allow => "allowed",
            _ => "refused",
        };
        write!(f, "{word} ({})", self.reason)?;
        match self.policies.is_empty() {
            true => Ok(()),
            false => write!(f, " by {}", self.policies.join(", ")),
        }
    }
}
