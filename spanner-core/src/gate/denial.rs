//! Combines several denying verdicts into the one denial that the caller receives.
//!
//! 1. A caller is asked for another credential only if it would help, that is, if every denying
//!    verdict names one.
//! 2. A sign-in is asked for only if the subject is a person and the denial concerns the subject.
//!    An agent cannot sign in for its principal.
//! 3. If several credentials would each lift a part of the denial, one that satisfies all demands
//!    is asked for.

use crate::access::Question;
use crate::party::CallerKind;
use crate::refusal::Denial;
use crate::target::Pair;
use crate::verdict::{Verdict, VerdictReason};

impl Denial {
    /// The denial that represents all of them: the first that no other credential would lift. If
    /// there is none, the first one, with the credential that would lift all of them.
    pub(super) fn of(denied: &[(&Question<'_>, Verdict)]) -> Option<Self> {
        let lasting = |(_, verdict): &&(_, Verdict)| {
            verdict.reason != VerdictReason::Forbidden || !verdict.advice.names_a_credential()
        };
        let first = denied.iter().find(lasting).or_else(|| denied.first());
        let (question, verdict) = first?;
        let mut advice = verdict.advice.clone();
        if denied.iter().any(|denied| lasting(&denied)) || !signs_in(denied) {
            (advice.step_up, advice.scopes) = (None, Vec::new());
        } else {
            denied
                .iter()
                .for_each(|(_, verdict)| advice.demand(&verdict.advice));
        }
        Some(Self {
            principal: question.party.principal.clone(),
            acting: question.caller.actor() == Some(question.party),
            pair: Pair::new(question.action, question.resource.clone()),
            environment: question.environment.clone(),
            reason: verdict.reason,
            advice,
        })
    }
}

/// Whether a demanded sign-in is possible: the subject must be a person, and the denial must
/// concern the subject. `true` if no sign-in is demanded.
fn signs_in(denied: &[(&Question<'_>, Verdict)]) -> bool {
    let mut lacking = denied
        .iter()
        .filter(|(_, verdict)| verdict.advice.step_up.is_some())
        .map(|(question, _)| question)
        .peekable();
    lacking.peek().is_none()
        || lacking.any(|question| {
            let subject = question.caller.subject();
            question.party == subject && subject.principal.kind == CallerKind::User
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Authorize;
    use crate::caller::Caller;
    use crate::gate::{Arrival, Gate};
    use crate::party::Principal;
    use crate::refusal::{Challenge, Notice, Refusal};
    use crate::testing::{Fixed, MemorySink, wait};
    use crate::verdict::{Advice, StepUp, Verdicts};
    use crate::{Action, IssuerAlias, Resource, SubjectId, Target};

    /// Answers with a verdict for each party by its name and, for a subject that is asked
    /// about as if it called directly, by `direct`.
    struct Book(&'static [(&'static str, &'static str)]);

    impl Authorize for Book {
        fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
            let answer = |question: &Question<'_>| {
                let direct = question.caller.depth() > 0 && question.context.delegation_depth == 0;
                let name = match direct {
                    true => "direct",
                    false => question.party.principal.subject.as_str(),
                };
                let found = self.0.iter().find(|(who, _)| *who == name);
                found.map_or_else(|| Verdict::allow(Vec::new()), |(_, word)| verdict(word))
            };
            Verdicts::new("book".into(), questions.iter().map(answer).collect())
        }
    }

    /// `no`, or what is demanded: `acr:b,c`, `age:300`, `scope:x`, several with a space;
    /// after `error` it is demanded by a policy that fails.
    fn verdict(words: &str) -> Verdict {
        let mut verdict = Verdict::deny(match words.starts_with("error") {
            true => VerdictReason::PolicyError,
            false => VerdictReason::Forbidden,
        });
        let mut advice = Advice::default();
        for (kind, value) in words.split(' ').filter_map(|word| word.split_once(':')) {
            let values = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
            match kind {
                "scope" => advice.scopes = values(),
                "acr" => advice.step_up.get_or_insert_default().acr_values = values(),
                _ => {
                    let age = Duration::from_secs(value.parse().unwrap());
                    advice.step_up.get_or_insert_default().max_age = Some(age);
                }
            }
        }
        verdict.advice = advice;
        verdict
    }

    fn principal(kind: CallerKind, name: &str) -> Principal {
        let issuer = IssuerAlias::new("test").unwrap();
        Principal::new(issuer, kind, SubjectId::new(name).unwrap())
    }

    fn told(caller: &Caller, book: &'static [(&'static str, &'static str)]) -> Option<Refusal> {
        let host = Fixed::at("2026-11-24T12:00:00Z");
        let environment = "production".parse().unwrap();
        let gate = Gate::new("chat", environment, Book(book), MemorySink::new(), host);
        let target = Target::one(Action::Generate, Resource::Server);
        let decided = gate.open(Arrival::new()).decide(caller.clone(), target);
        wait(decided.recorded())
            .err()
            .map(|refused| refused.refusal().clone())
    }

    /// A challenge in one line.
    fn line(notice: &Notice) -> String {
        let Some(Challenge {
            error,
            step_up,
            scopes,
        }) = &notice.challenge
        else {
            return String::new();
        };
        let StepUp {
            acr_values,
            max_age,
        } = step_up.clone().unwrap_or_default();
        format!(
            "{} acr={} age={} scope={}",
            error.unwrap(),
            acr_values.join(","),
            max_age.map_or(0, |age| age.as_secs()),
            scopes.join(",")
        )
    }

    #[test]
    fn asks_for_another_credential_only_where_it_helps() {
        type Row = (
            &'static [(&'static str, &'static str)],
            &'static str,
            u16,
            &'static str,
        );
        let who = |kind| Caller::assertion(principal(kind, "subject"));
        let user = who(CallerKind::User).caller().unwrap();
        let service = who(CallerKind::Service).caller().unwrap();
        let agent = who(CallerKind::User)
            .actors([principal(CallerKind::Agent, "actor")])
            .caller()
            .unwrap();
        const STEP_UP: &str = "authz.step_up";
        const FORBIDDEN: &str = "authz.forbidden";
        let check = |caller: &Caller, rows: &[Row]| {
            for (book, code, status, challenge) in rows {
                let refusal = told(caller, book).unwrap();
                let notice = refusal.notice();
                let seen = (refusal.code(), notice.status.http(), &*line(&notice));
                assert_eq!(seen, (*code, *status, *challenge), "{caller} {book:?}");
                assert_eq!(notice.fault.as_str(), "permission");
            }
        };
        check(
            &user,
            &[
                (&[("subject", "no")], FORBIDDEN, 403, ""),
                (
                    &[("subject", "acr:a,b age:60")],
                    STEP_UP,
                    401,
                    "insufficient_user_authentication acr=a,b age=60 scope=",
                ),
                (
                    &[("subject", "scope:x,y")],
                    "authz.insufficient_scope",
                    403,
                    "insufficient_scope acr= age=0 scope=x,y",
                ),
                (
                    &[("subject", "acr:a scope:x")],
                    STEP_UP,
                    401,
                    "insufficient_user_authentication acr=a age=0 scope=x",
                ),
            ],
        );
        check(
            &service,
            &[
                (&[("subject", "acr:a")], FORBIDDEN, 403, ""),
                (
                    &[("subject", "scope:x")],
                    "authz.insufficient_scope",
                    403,
                    "insufficient_scope acr= age=0 scope=x",
                ),
            ],
        );
        check(
            &agent,
            &[
                (
                    &[("subject", "age:60")],
                    STEP_UP,
                    401,
                    "insufficient_user_authentication acr= age=60 scope=",
                ),
                (
                    &[("direct", "age:60")],
                    STEP_UP,
                    401,
                    "insufficient_user_authentication acr= age=60 scope=",
                ),
                (&[("actor", "age:60")], FORBIDDEN, 403, ""),
                (&[("actor", "age:60 scope:x")], FORBIDDEN, 403, ""),
                (
                    &[("subject", "acr:a,b,c age:60"), ("actor", "acr:c,b age:30")],
                    STEP_UP,
                    401,
                    "insufficient_user_authentication acr=b,c age=30 scope=",
                ),
                (
                    &[("subject", "acr:a"), ("actor", "acr:b scope:x")],
                    STEP_UP,
                    401,
                    "insufficient_user_authentication acr=a,b age=0 scope=x",
                ),
                (&[("subject", "acr:a"), ("actor", "no")], FORBIDDEN, 403, ""),
                (
                    &[("subject", "no"), ("actor", "scope:x")],
                    FORBIDDEN,
                    403,
                    "",
                ),
                (
                    &[("subject", "acr:a"), ("direct", "no")],
                    FORBIDDEN,
                    403,
                    "",
                ),
            ],
        );
        assert_eq!(told(&agent, &[]), None);
    }

    #[test]
    fn asks_for_nothing_where_a_policy_fails() {
        let who = Caller::assertion(principal(CallerKind::User, "subject"));
        let refusal = told(
            &who.caller().unwrap(),
            &[("subject", "error acr:a scope:x")],
        )
        .unwrap();
        assert_eq!(refusal.code(), "authz.policy_error");
        let notice = refusal.notice();
        assert_eq!((notice.status.http(), notice.challenge), (403, None));
    }

    #[test]
    fn names_the_party_whom_no_credential_helps() {
        let caller = Caller::assertion(principal(CallerKind::User, "subject"))
            .actors([principal(CallerKind::Agent, "actor")])
            .caller()
            .unwrap();
        let refusal = told(&caller, &[("subject", "acr:a"), ("actor", "no")]).unwrap();
        let message = refusal.notice().message;
        assert!(
            message.starts_with("`agent:test/actor`, who acts for another party here,"),
            "{message}"
        );
    }
}
