//! The whole question, and the traits of those who answer it.

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

/// What a policy may read of a request besides who, what and where. Flat, and computed
/// before any policy is asked: policies do no arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The wall clock when the request was decided.
    pub now: Timestamp,
    /// How old the credential is; zero if unknown.
    pub token_age: Duration,
    /// Assurance of the sign-in, 0 to 3.
    pub assurance: u8,
    /// How long ago the person signed in; zero if that is in the future, `None` if it is
    /// not known.
    pub auth_age: Option<Duration>,
    /// Whether the subject's groups are all known.
    pub groups_complete: bool,
    /// Number of actors between the subject and the request; 0 is a direct call.
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

    /// The same circumstances without anybody in between: what a subject is asked about
    /// that must be allowed on its own.
    #[must_use]
    pub fn direct(&self) -> Self {
        Self {
            delegation_depth: 0,
            ..self.clone()
        }
    }
}

/// How long ago a time was; zero if it is in the future.
fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or(Duration::ZERO)
}

/// One question to an authorizer: may this party do this action on this resource here?
///
/// A request with an actor, or with several pairs, is several questions; all must be
/// answered with [`Effect::Allow`](crate::Effect::Allow). With an actor, the subject is asked about in the
/// circumstances of the call and once more in those of a direct one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Question<'a> {
    /// The party that must be allowed on its own.
    pub party: &'a Party,
    /// The whole caller, for scopes and the like; not for identity.
    pub caller: &'a Caller,
    /// What is to be done.
    pub action: Action,
    /// To what.
    pub resource: &'a Resource,
    /// Where.
    pub environment: &'a Environment,
    /// Under which circumstances.
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

/// Answers questions of access. `spanner-cedar` ships the implementation that teams use.
///
/// Called once per request (and once per further model on a stream), on the request's own
/// path: it must not block.
///
/// # Security
/// What this answers with [`Effect::Allow`](crate::Effect::Allow) is served. Each question must be answered on
/// its own: the gate, not the authorizer, sees to it that every party and every pair is
/// allowed, and it refuses a request whose answers are not as many as its questions. All
/// answers of one call must come from one state of the access, so that a reload in between
/// cannot mix two.
pub trait Authorize: Send + Sync + 'static {
    /// Answers every question, in order.
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts;

    /// Learns how the surfaces of a guard read names, and compares the names that its policies
    /// mention. A guard calls this once, when it is built; it may block. Default: any name goes.
    ///
    /// # Errors
    /// One sentence for each name that no request is about, or that a surface reads as another
    /// one, so that a policy about it would not hold. The guard is not built then.
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
