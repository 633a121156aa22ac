//! The question of a request to an authorizer, and the trait that answers it.

use std::sync::Arc;
use std::time::Duration;

use crate::Timestamp;
use crate::action::Action;
use crate::caller::Caller;
use crate::name::Environment;
use crate::party::Party;
use crate::spelling::Spelling;
use crate::target::Resource;
use crate::verdict::Verdicts;

/// The circumstances of a request that a policy can read, besides the caller, the target and the
/// environment. They are computed before a policy is evaluated, so that policies need no
/// arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The wall clock time of the decision.
    pub now: Timestamp,
    /// The age of the credential; zero if it is unknown.
    pub token_age: Duration,
    /// The assurance of the sign-in, 0 to 3: see [`Caller::assurance`].
    pub assurance: u8,
    /// The time since the person signed in; zero if that is in the future, `None` if it is unknown.
    pub auth_age: Option<Duration>,
    /// Whether all groups of the subject are known.
    pub groups_complete: bool,
    /// The number of actors between the subject and the request; 0 is a direct call.
    pub delegation_depth: usize,
}

impl Context {
    /// The context of a caller's request at a time.
    #[must_use]
    pub fn of(caller: &Caller, now: Timestamp) -> Self {
        Self {
            now,
            token_age: caller.credential().age(now),
            assurance: caller.assurance(),
            auth_age: caller.authenticated_at().map(|time| since(time, now)),
            groups_complete: caller.groups_complete(),
            delegation_depth: caller.depth(),
        }
    }

    /// The same circumstances for a direct call, without actors. The subject must be allowed in
    /// them too.
    #[must_use]
    pub fn direct(&self) -> Self {
        Self {
            delegation_depth: 0,
            ..self.clone()
        }
    }
}

/// The time since an earlier time; zero if that is in the future.
fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or(Duration::ZERO)
}

/// One question to an authorizer: may this party do this action on this resource here?
///
/// A request with an actor, or with several pairs, leads to several questions, which must all be
/// answered with [`Effect::Allow`](crate::Effect::Allow). If there is an actor, the subject is
/// asked about in the circumstances of the call and in those of a direct call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Question<'a> {
    /// The party that the question is about.
    pub party: &'a Party,
    /// The whole caller, for scopes and the like. The identity that counts is `party`.
    pub caller: &'a Caller,
    /// The action.
    pub action: Action,
    /// The resource that the action is on.
    pub resource: &'a Resource,
    /// The environment.
    pub environment: &'a Environment,
    /// The circumstances.
    pub context: &'a Context,
}

impl<'a> Question<'a> {
    /// A question about one party of a caller.
    #[must_use]
    pub const fn new(
        caller: &'a Caller,
        party: &'a Party,
        action: Action,
        resource: &'a Resource,
        environment: &'a Environment,
        context: &'a Context,
    ) -> Self {
        Self {
            party,
            caller,
            action,
            resource,
            environment,
            context,
        }
    }
}

/// Decides which requests are allowed. `spanner-cedar` has the implementation for production.
///
/// A gate calls it once per request, and once per further model on a stream. It must not block.
///
/// # Security
/// What this answers with [`Effect::Allow`](crate::Effect::Allow) is served. Each question must be
/// answered on its own: the gate combines the answers, and refuses a request if it did not get
/// exactly one answer per question. All answers of one call must come from the same state of the
/// access, so that a reload cannot mix two states.
pub trait Authorize: Send + Sync + 'static {
    /// Answers every question, in order.
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts;

    /// Receives how the surfaces of a guard read names, and checks the names in its policies
    /// against that. A guard calls this once, when it is built, so it may block. Default: every
    /// name is accepted.
    ///
    /// # Errors
    /// One sentence for each name that no request can have, or that a surface reads as another
    /// name, so that a policy about it would never apply. The guard is not built then.
    fn learn_spellings(
        &self,
        environment: &Environment,
        spellings: &[Spelling],
    ) -> Result<(), Vec<String>> {
        let _ = (environment, spellings);
        Ok(())
    }
}

impl<T: Authorize + ?Sized> Authorize for Arc<T> {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        (**self).authorize(questions)
    }

    fn learn_spellings(
        &self,
        environment: &Environment,
        spellings: &[Spelling],
    ) -> Result<(), Vec<String>> {
        (**self).learn_spellings(environment, spellings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_time_since_the_sign_in() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let age = |seconds: Option<i64>| {
            let alice = Caller::for_test("alice").subject().principal.clone();
            let mut assertion = Caller::assertion(alice);
            if let Some(seconds) = seconds {
                let time = Timestamp::from_second(now.as_second() - seconds).unwrap();
                assertion = assertion.authenticated_at(time);
            }
            Context::of(&assertion.caller().unwrap(), now).auth_age
        };
        assert_eq!(age(None), None);
        assert_eq!(age(Some(90)), Some(Duration::from_secs(90)));
        assert_eq!(age(Some(-90)), Some(Duration::ZERO));
    }
}
