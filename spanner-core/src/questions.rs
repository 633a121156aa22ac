//! The questions of the gate about one request, for code that evaluates them without serving the
//! request: what would another access have answered?

use crate::Timestamp;
use crate::access::{Authorize, Context, Question};
use crate::caller::{Caller, Credential, TooDeep};
use crate::gate::{Answer, questions};
use crate::name::{Environment, GroupName, IssuerAlias, ModelName, NameError, Revision, SubjectId};
use crate::party::{CallerKind, Group, Principal, Role};
use crate::record::{CallerEntry, Decision, PairEntry, PrincipalEntry};
use crate::target::{Pair, Resource, Target};
use crate::verdict::Effect;

/// All questions that the gate would ask about a caller, a target, an environment and a time. There
/// is a question about each party of a chain, and one about the subject as if it called directly.
///
/// The answers admit nobody: only a gate makes permits.
///
/// ```
/// use spanner_core::testing::Rules;
/// use spanner_core::{Action, Caller, Effect, Questions, Resource, Target};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let target = Target::one(Action::Generate, Resource::model("acme/sentiment".parse()?));
/// let now = "2026-11-24T12:00:00Z".parse()?;
/// let asked = Questions::of(Caller::for_test("alice"), target, "production".parse()?, now);
/// let nobody = Rules::allow(|_| false);
/// let answer = asked.put_to(&nobody);
/// assert_eq!((answer.effect, answer.reason), (Effect::Deny, "authz.no_permit"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Questions {
    caller: Caller,
    target: Target,
    environment: Environment,
    context: Context,
    direct: Context,
}

/// All answers, combined into one as the gate does it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// Allow if every question is answered with it.
    pub effect: Effect,
    /// The reason code that a record would have: `granted`, or the code of the refusal.
    pub reason: &'static str,
    /// If permissions are missing: the party that is denied.
    pub denied: Option<Principal>,
    /// The policies that decided it.
    pub policies: Vec<String>,
    /// The policies that could not be evaluated.
    pub errors: Vec<String>,
    /// The digest of the access that answered; `None` if it was not asked.
    pub access: Option<String>,
}

/// Why a recorded decision cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAgain {
    /// No authorizer was asked: the request was refused before, or its route was open to every
    /// caller.
    #[error("no access policy was evaluated for it")]
    NotAsked,
    /// A name in the record is invalid.
    #[error("the record is damaged: {0}")]
    Name(#[from] NameError),
    /// The chain of actors is invalid.
    #[error("the record is damaged: {0}")]
    Chain(#[from] TooDeep),
    /// The caller or the target is missing, or a time is impossible.
    #[error("the record is damaged: its {0} is missing or invalid")]
    Part(&'static str),
}

impl Questions {
    /// The questions about a request.
    #[must_use]
    pub fn of(caller: Caller, target: Target, environment: Environment, now: Timestamp) -> Self {
        let context = Context::of(&caller, now);
        Self {
            direct: context.direct(),
            caller,
            target,
            environment,
            context,
        }
    }

    /// The questions about a recorded request.
    ///
    /// Ages are in whole seconds, as in records and policies. A record names the subject's groups
    /// and roles without their issuer, which is the issuer of the subject.
    ///
    /// # Errors
    /// [`NotAgain`] if no authorizer was asked, or if the record is not one that a gate wrote.
    pub fn again(decision: &Decision) -> Result<Self, NotAgain> {
        let (Some(entry), Some(_)) = (&decision.caller, &decision.access) else {
            return Err(NotAgain::NotAsked);
        };
        let caller = caller(entry, decision.time)?;
        let pairs: Result<Vec<Pair>, NameError> = decision.target.iter().map(pair).collect();
        let target = Target::of(pairs?).ok_or(NotAgain::Part("target"))?;
        let environment = Environment::new(&decision.environment)?;
        Ok(Self::of(caller, target, environment, decision.time))
    }

    /// The caller.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The target.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The environment.
    #[must_use]
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// All questions, in the order in which the gate asks them.
    #[must_use]
    pub fn each(&self) -> Vec<Question<'_>> {
        questions(
            &self.caller,
            &self.target,
            &self.environment,
            [&self.context, &self.direct],
        )
    }

    /// Asks an authorizer, and combines its answers.
    pub fn put_to(&self, authorizer: &(impl Authorize + ?Sized)) -> Answered {
        let welcome = Answer::welcome(&self.caller);
        if welcome.refusal.is_some() {
            return Answered::of(welcome);
        }
        let questions = self.each();
        Answered::of(Answer::to(&questions, authorizer.authorize(&questions)))
    }
}

impl Answered {
    fn of(answer: Answer) -> Self {
        Self {
            effect: answer.effect(),
            reason: answer.reason(),
            denied: answer.denied().cloned(),
            policies: answer.policies,
            errors: answer.errors,
            access: answer.digest,
        }
    }
}

/// The recorded caller, as far as a policy can read it.
fn caller(entry: &CallerEntry, now: Timestamp) -> Result<Caller, NotAgain> {
    let ago = |seconds: u64| {
        let seconds = i64::try_from(seconds).ok();
        let span = seconds.map(jiff::SignedDuration::from_secs);
        span.and_then(|span| now.checked_sub(span).ok())
    };
    let subject = principal(&entry.subject)?;
    let issuer = subject.issuer.clone();
    let groups = entry.groups.iter().map(|name| GroupName::new(name));
    let groups: Vec<GroupName> = groups.collect::<Result<_, _>>()?;
    let roles = entry.roles.iter().map(|name| GroupName::new(name));
    let roles: Vec<GroupName> = roles.collect::<Result<_, _>>()?;
    let actors: Vec<Principal> = entry
        .actors
        .iter()
        .map(principal)
        .collect::<Result<_, _>>()?;
    let mut credential = Credential::unknown();
    credential.freshness = entry.freshness;
    if !entry.token_age_unknown {
        let issued = ago(entry.token_age_s).ok_or(NotAgain::Part("token's age"))?;
        credential.issued_at = Some(issued);
    }
    let mut caller = Caller::assertion(subject)
        .groups(
            groups
                .into_iter()
                .map(|name| Group::new(issuer.clone(), name)),
        )
        .roles(
            roles
                .into_iter()
                .map(|name| Role::new(issuer.clone(), name)),
        )
        .actors(actors)
        .scopes(entry.scopes.iter().cloned())
        .assurance(entry.assurance)
        .credential(credential);
    if let Some(seconds) = entry.auth_age_s {
        caller = caller.authenticated_at(ago(seconds).ok_or(NotAgain::Part("sign-in"))?);
    }
    if let Some(tenant) = &entry.tenant {
        caller = caller.tenant(tenant);
    }
    if let Some(origin) = &entry.origin {
        caller = caller.origin(origin.clone());
    }
    if let Some(client) = &entry.client {
        caller = caller.client(client);
    }
    if !entry.groups_complete {
        caller = caller.groups_incomplete();
    }
    Ok(caller.caller()?)
}

fn principal(entry: &PrincipalEntry) -> Result<Principal, NameError> {
    let issuer = IssuerAlias::new(&entry.issuer)?;
    let kind: CallerKind = entry.kind;
    Ok(Principal::new(
        issuer,
        kind,
        SubjectId::new(&entry.subject)?,
    ))
}

fn pair(entry: &PairEntry) -> Result<Pair, NameError> {
    let Some(model) = &entry.model else {
        return Ok(Pair::new(entry.action, Resource::Server));
    };
    let revision = entry.revision.as_deref().map(Revision::new).transpose()?;
    let name = ModelName::new(model)?;
    Ok(Pair::new(entry.action, Resource::Model { name, revision }))
}
