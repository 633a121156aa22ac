use std::panic::{AssertUnwindSafe, catch_unwind};

use std::task::{Context as TaskContext, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::record::{Finish, OutcomeClass};
use crate::refusal::{RequestFault, TokenFault};
use crate::sink::{Count, SinkFault};
use crate::testing::{Fixed, MemorySink, Rules, wait};
use crate::verdict::{Verdict, Verdicts};
use crate::{Action, IssuerAlias, Pair, Principal, Resource, SubjectId};

fn gate(sink: &MemorySink, authorizer: impl Authorize) -> Gate {
    let host = Fixed::at("2026-11-23T12:00:00Z");
    Gate::new(
        "chat",
        "production".parse().unwrap(),
        authorizer,
        sink.clone(),
        host,
    )
}

fn generate() -> Target {
    Target::one(
        Action::Generate,
        Resource::model("acme/sentiment".parse().unwrap()),
    )
}

fn principal(kind: CallerKind, subject: &str) -> Principal {
    Principal::new(
        IssuerAlias::new("test").unwrap(),
        kind,
        SubjectId::new(subject).unwrap(),
    )
}

/// Panics while it decides.
struct Explosive;

impl Authorize for Explosive {
    fn authorize(&self, _: &[Question<'_>]) -> Verdicts {
        panic!("the authorizer panics")
    }
}

/// Answers fewer questions than were asked.
struct Terse;

impl Authorize for Terse {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        let verdicts = questions
            .iter()
            .skip(1)
            .map(|_| Verdict::allow(Vec::new()))
            .collect();
        Verdicts::new("terse".into(), verdicts)
    }
}

/// Where a request's road ends.
#[derive(Debug, Clone, Copy)]
enum End {
    DroppedOnArrival,
    PanicsOnArrival,
    RefusedForItsCredential,
    RefusedForItsBody,
    Denied,
    AuthorizerPanics,
    AuthorizerTerse,
    DroppedWhileRecording,
    NotDurable,
    PermitDropped,
    PanicsWithPermit,
    DroppedBeforeTheHead,
    DroppedMidStream,
    BrokenMidStream,
    RefusedMidStream,
    Complete(u16),
    CompleteGrpc(u8),
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::DroppedOnArrival),
        Just(End::PanicsOnArrival),
        Just(End::RefusedForItsCredential),
        Just(End::RefusedForItsBody),
        Just(End::Denied),
        Just(End::AuthorizerPanics),
        Just(End::AuthorizerTerse),
        Just(End::DroppedWhileRecording),
        Just(End::NotDurable),
        Just(End::PermitDropped),
        Just(End::PanicsWithPermit),
        Just(End::DroppedBeforeTheHead),
        Just(End::DroppedMidStream),
        Just(End::BrokenMidStream),
        Just(End::RefusedMidStream),
        (200u16..600).prop_map(End::Complete),
        (0u8..17).prop_map(End::CompleteGrpc),
    ]
}

/// Sends a request down the road to its end.
fn travel(sink: &MemorySink, end: End) {
    let caller = Caller::for_test("alice");
    let allow = || gate(sink, Rules::allow(|_| true));
    let permit = || {
        wait(
            allow()
                .open(Arrival::new())
                .decide(caller.clone(), generate())
                .recorded(),
        )
    };
    let quietly = |road: &dyn Fn()| {
        assert!(
            catch_unwind(AssertUnwindSafe(road)).is_err(),
            "the road must panic"
        );
    };
    match end {
        End::DroppedOnArrival => drop(allow().open(Arrival::new())),
        End::PanicsOnArrival => quietly(&|| {
            let _attempt = allow().open(Arrival::new());
            panic!("on arrival");
        }),
        End::RefusedForItsCredential => {
            let attempt = allow().open(Arrival::new());
            let refused = wait(attempt.refuse(TokenFault::Expired.into()).recorded()).unwrap_err();
            refused.settle(401, 10);
        }
        End::RefusedForItsBody => {
            let mut attempt = allow().open(Arrival::new());
            attempt.identify(&caller);
            drop(wait(attempt.refuse(RequestFault::Json.into()).recorded()).unwrap_err());
        }
        End::Denied => {
            let attempt = gate(sink, Rules::allow(|_| false)).open(Arrival::new());
            let refused = wait(attempt.decide(caller, generate()).recorded()).unwrap_err();
            refused.settle(403, 10);
        }
        End::AuthorizerPanics => quietly(&|| {
            let attempt = gate(sink, Explosive).open(Arrival::new());
            drop(attempt.decide(caller.clone(), generate()));
        }),
        End::AuthorizerTerse => {
            let attempt = gate(sink, Terse).open(Arrival::new());
            let refused = wait(attempt.decide(caller, generate()).recorded()).unwrap_err();
            assert_eq!(refused.refusal().code(), "policy.unavailable");
        }
        End::DroppedWhileRecording => {
            sink.hang(true);
            let mut recorded = Box::pin(
                allow()
                    .open(Arrival::new())
                    .decide(caller, generate())
                    .recorded(),
            );
            let poll = recorded
                .as_mut()
                .poll(&mut TaskContext::from_waker(Waker::noop()));
            assert!(matches!(poll, Poll::Pending));
            sink.hang(false);
        }
        End::NotDurable => {
            sink.fail_late(Some(SinkFault::NotDurable {
                reason: "disk".into(),
            }));
            let refused = permit().unwrap_err();
            assert_eq!(refused.refusal().code(), "audit.unavailable");
            refused.settle(503, 0);
            sink.fail_late(None);
        }
        End::PermitDropped => drop(permit().unwrap()),
        End::PanicsWithPermit => quietly(&|| {
            let _settlement = permit().unwrap().forward();
            panic!("the inner service");
        }),
        End::DroppedBeforeTheHead => drop(permit().unwrap().forward()),
        End::DroppedMidStream => {
            let mut settlement = permit().unwrap().forward();
            settlement.head(200);
            settlement.sent(10);
        }
        End::BrokenMidStream => {
            let mut settlement = permit().unwrap().forward();
            settlement.head(200);
            settlement.broke();
        }
        End::RefusedMidStream => {
            let mut settlement = permit().unwrap().forward();
            settlement.head(200);
            settlement.refused(&TokenFault::Expired.into());
        }
        End::Complete(status) => {
            let mut settlement = permit().unwrap().forward();
            settlement.head(status);
            settlement.finish();
        }
        End::CompleteGrpc(code) => {
            let mut settlement = permit().unwrap().forward();
            settlement.head(200);
            settlement.grpc_status(code);
            settlement.finish();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// *A record is owed from arrival*: whatever happens at whatever point, each request
    /// leaves one decision and, after it, one outcome with the same identifier.
    #[test]
    fn records_each_request_once_whatever_happens(ends in prop::collection::vec(any_end(), 1..6)) {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let sink = MemorySink::new();
        for end in &ends {
            travel(&sink, *end);
        }
        std::panic::set_hook(hook);
        let decided: Vec<_> = sink.decisions().iter().map(|decision| decision.id).collect();
        let ended: Vec<_> = sink.outcomes().iter().map(|outcome| outcome.id).collect();
        prop_assert_eq!(decided.len(), ends.len());
        prop_assert_eq!(decided, ended);
        prop_assert!(sink.counts().is_empty());
    }
}

#[test]
fn says_whose_failure_it_was() {
    let rows = [
        (
            End::DroppedOnArrival,
            OutcomeClass::ClientLeft,
            Finish::ClientLeft,
        ),
        (
            End::RefusedForItsCredential,
            OutcomeClass::Refused,
            Finish::Complete,
        ),
        (End::Denied, OutcomeClass::Refused, Finish::Complete),
        (End::NotDurable, OutcomeClass::GuardFailed, Finish::Complete),
        (
            End::DroppedBeforeTheHead,
            OutcomeClass::ClientLeft,
            Finish::ClientLeft,
        ),
        (
            End::DroppedMidStream,
            OutcomeClass::ClientLeft,
            Finish::ClientLeft,
        ),
        (
            End::BrokenMidStream,
            OutcomeClass::ModelFailed,
            Finish::ModelFailed,
        ),
        (
            End::RefusedMidStream,
            OutcomeClass::Refused,
            Finish::Refused,
        ),
        (End::Complete(200), OutcomeClass::Ok, Finish::Complete),
        (End::Complete(302), OutcomeClass::Ok, Finish::Complete),
        (
            End::Complete(404),
            OutcomeClass::CallerError,
            Finish::Complete,
        ),
        (
            End::Complete(500),
            OutcomeClass::ModelFailed,
            Finish::Complete,
        ),
        (End::CompleteGrpc(0), OutcomeClass::Ok, Finish::Complete),
        (
            End::CompleteGrpc(5),
            OutcomeClass::CallerError,
            Finish::Complete,
        ),
        (
            End::CompleteGrpc(13),
            OutcomeClass::ModelFailed,
            Finish::Complete,
        ),
    ];
    for (end, class, finish) in rows {
        let sink = MemorySink::new();
        travel(&sink, end);
        let outcome = sink.outcomes().pop().unwrap();
        assert_eq!((outcome.class, outcome.finish), (class, finish), "{end:?}");
    }
}

/// What another point enforces has an outcome only if that point tells how it ended.
#[test]
fn owes_no_outcome_of_a_decision_that_another_point_enforces() {
    type Tell = fn(&mut Settlement);
    let rows: [(Tell, Option<OutcomeClass>); 4] = [
        (|_| {}, None),
        (|it| it.head(200), None),
        (
            |it| {
                it.head(503);
                it.finish();
            },
            Some(OutcomeClass::ModelFailed),
        ),
        (
            |it| it.refused(&RequestFault::Incomplete.into()),
            Some(OutcomeClass::Refused),
        ),
    ];
    let mut arrival = Arrival::new();
    arrival.enforcement = Enforcement::External;
    for (tell, class) in rows {
        let sink = MemorySink::new();
        let attempt = gate(&sink, Rules::allow(|_| true)).open(arrival.clone());
        let decided = attempt.decide(Caller::for_test("alice"), generate());
        tell(&mut wait(decided.recorded()).unwrap().forward());
        let classes: Vec<_> = sink.outcomes().iter().map(|it| it.class).collect();
        assert_eq!(classes, Vec::from_iter(class));
        assert!(sink.decisions()[0].enforcement.is_external());
    }
    let sink = MemorySink::new();
    let attempt = gate(&sink, Rules::allow(|_| false)).open(arrival);
    let decided = attempt.decide(Caller::for_test("alice"), generate());
    wait(decided.recorded()).unwrap_err().settle(403, 10);
    let json = serde_json::to_value(&sink.decisions()[0]).unwrap();
    assert_eq!(json["enforcement"], "external");
    assert!(sink.outcomes().is_empty());
}

#[test]
fn serves_nothing_that_cannot_be_recorded_and_counts_it() {
    let sink = MemorySink::new();
    let gate = gate(&sink, Rules::allow(|_| true));
    sink.fail(Some(SinkFault::Full));
    let decided = gate
        .open(Arrival::new())
        .decide(Caller::for_test("alice"), generate());
    assert_eq!(
        wait(decided.recorded()).unwrap_err().refusal().code(),
        "audit.unavailable"
    );
    let decided = gate.open(Arrival::new()).refuse(TokenFault::Issuer.into());
    assert_eq!(
        wait(decided.recorded()).unwrap_err().refusal().code(),
        "token.iss"
    );
    assert_eq!(sink.counts(), [Count::ShedRefusal, Count::ShedRefusal]);
    assert!(sink.decisions().is_empty() && sink.outcomes().is_empty());
}

#[test]
fn asks_about_every_party_and_every_pair() {
    let models = ["acme/a", "acme/b"].map(|name| Resource::model(name.parse().unwrap()));
    let target = Target::of(models.map(|m| Pair::new(Action::Generate, m))).unwrap();
    let agent = Caller::assertion(principal(CallerKind::User, "alice"))
        .actors([principal(CallerKind::Agent, "copilot")])
        .caller()
        .unwrap();
    let allowed = |rule: fn(&Question<'_>) -> bool| {
        let sink = MemorySink::new();
        let gate = gate(&sink, Rules::allow(rule));
        let decided = gate
            .open(Arrival::new())
            .decide(agent.clone(), target.clone());
        wait(decided.recorded()).is_ok()
    };
    assert!(allowed(|_| true));
    // What a subject may only through an agent, no agent may for it.
    assert!(!allowed(|q| q.context.delegation_depth > 0));
    assert!(!allowed(
        |q| q.party.principal.kind == CallerKind::Agent || q.context.delegation_depth > 0
    ));
    // What an agent may only for somebody, it may for somebody.
    assert!(allowed(
        |q| q.party.principal.kind == CallerKind::User || q.context.delegation_depth > 0
    ));
    assert!(!allowed(|q| q.party.principal.kind == CallerKind::User));
    assert!(!allowed(|q| q.party.principal.kind == CallerKind::Agent));
    assert!(!allowed(|q| q
        .resource
        .name()
        .is_some_and(|name| name.as_str() == "acme/a")));
}

#[test]
fn admits_nobody_who_is_not_classified() {
    let sink = MemorySink::new();
    let gate = gate(&sink, Rules::allow(|_| true));
    let caller = Caller::assertion(principal(CallerKind::Unclassified, "x"))
        .caller()
        .unwrap();
    let refused = wait(
        gate.open(Arrival::new())
            .decide(caller, generate())
            .recorded(),
    );
    assert_eq!(refused.unwrap_err().refusal().code(), "auth.unclassified");
}

#[test]
fn a_public_route_is_counted_and_not_recorded() {
    let sink = MemorySink::new();
    let gate = gate(&sink, Rules::allow(|_| false));
    let permit = wait(gate.open(Arrival::new()).pass(Count::Public).recorded()).unwrap();
    assert!(permit.caller().is_none() && permit.inquiry().is_none());
    drop(permit.forward());
    assert_eq!(sink.counts(), [Count::Public]);
    assert!(sink.decisions().is_empty() && sink.outcomes().is_empty());
}

#[test]
fn a_further_message_of_a_stream_has_a_record_of_its_own() {
    let sink = MemorySink::new();
    let gate = gate(&sink, Rules::allow(|q| q.action == Action::Generate));
    let decided = gate
        .open(Arrival::new())
        .decide(Caller::for_test("alice"), generate());
    let permit = wait(decided.recorded()).unwrap();
    let inquiry = permit.inquiry().unwrap();
    let model = Resource::model("acme/other".parse().unwrap());
    let further = wait(
        inquiry
            .ask(Target::one(Action::Generate, model.clone()))
            .recorded(),
    );
    drop(further.unwrap().forward());
    let refused = wait(inquiry.ask(Target::one(Action::Deploy, model)).recorded()).unwrap_err();
    refused.settle(200, 0);
    drop(permit.forward());
    let decisions = sink.decisions();
    assert_eq!(decisions.len(), 3);
    assert!(
        decisions
            .iter()
            .skip(1)
            .all(|d| d.parent == Some(decisions[0].id))
    );
    assert_eq!(sink.outcomes().len(), 3);
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let sink = MemorySink::new();
    travel(&sink, End::Denied);
    let decision = sink.decisions().pop().unwrap();
    let text = serde_json::to_string(&decision).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::record::Decision>(&text).unwrap(),
        decision
    );
    let outcome = sink.outcomes().pop().unwrap();
    let text = serde_json::to_string(&outcome).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::record::Outcome>(&text).unwrap(),
        outcome
    );
}

#[test]
fn a_chain_of_actors_is_bounded_and_goes_nowhere_twice() {
    let chain = |names: &[&str]| {
        Caller::assertion(principal(CallerKind::User, "alice"))
            .actors(
                names
                    .iter()
                    .map(|name| principal(CallerKind::Agent, name))
                    .collect::<Vec<_>>(),
            )
            .caller()
            .map(|caller| caller.depth())
    };
    assert_eq!(chain(&["a", "b", "c", "d"]), Ok(4));
    assert_eq!(
        chain(&["a", "b", "c", "d", "e"]),
        Err(crate::TooDeep::Depth)
    );
    assert_eq!(chain(&["a", "b", "a"]), Err(crate::TooDeep::Cycle));
}

/// Allows what its own words say, with a candidate that allows what it says.
struct Beside(bool, Vec<bool>);

impl Authorize for Beside {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        let verdict = |allow: bool| match allow {
            true => Verdict::allow(vec!["a grant".into()]),
            false => Verdict::deny(crate::VerdictReason::NoGrant),
        };
        let live = questions.iter().map(|_| verdict(self.0)).collect();
        let candidate = self.1.iter().map(|allow| verdict(*allow)).collect();
        Verdicts::new("live".into(), live).beside(Verdicts::new("next".into(), candidate))
    }
}

#[test]
fn records_what_a_candidate_would_decide_only_where_that_is_otherwise() {
    let agent = Caller::assertion(principal(CallerKind::User, "ann"))
        .actors([principal(CallerKind::Agent, "copilot")])
        .caller()
        .unwrap();
    let check = |live: bool, candidate: &[bool], expected: Option<(&str, Effect, &str)>| {
        let sink = MemorySink::new();
        let gate = gate(&sink, Beside(live, candidate.to_vec()));
        let decided = gate.open(Arrival::new()).decide(agent.clone(), generate());
        assert_eq!(wait(decided.recorded()).is_ok(), live);
        let decision = sink.decisions().remove(0);
        let found = decision.candidate.as_ref();
        let found = found.map(|it| (it.access.as_str(), it.effect, it.reason.as_str()));
        assert_eq!(found, expected);
        assert_eq!(decision.access.as_deref(), Some("live"));
        let text = serde_json::to_string(&decision).unwrap();
        assert_eq!(text.contains("candidate"), expected.is_some(), "{text}");
        assert_eq!(
            serde_json::from_str::<crate::record::Decision>(&text).unwrap(),
            decision
        );
    };
    let no = Some(("next", Effect::Deny, "authz.no_permit"));
    check(true, &[true, true, true], None);
    check(true, &[true, false, true], no);
    check(false, &[false, true, true], None);
    check(
        false,
        &[true, true, true],
        Some(("next", Effect::Allow, "granted")),
    );
    // A candidate that does not answer decides nothing either.
    check(true, &[true], None);
}

proptest! {
    #[test]
    fn what_was_recorded_is_asked_again(
        kind in 0usize..3,
        groups in proptest::collection::vec("[a-z/]{1,4}", 0..3),
        roles in proptest::collection::vec("[a-z:]{1,4}", 0..2),
        actors in 0usize..4,
        scopes in proptest::collection::vec("[a-z.]{1,5}", 0..3),
        (assurance, complete) in (0u8..4, any::<bool>()),
        age in proptest::option::of(0i64..1_000_000),
        signed_in in proptest::option::of(0i64..1_000_000),
        (tenant, origin) in (proptest::option::of("[a-z]{1,3}"), proptest::option::of("[a-z]{1,3}")),
        pairs in proptest::collection::vec((0usize..14, proptest::option::of("[a-z]{1,3}"), proptest::option::of("[a-z]{1,3}")), 1..4),
    ) {
        let kinds = [CallerKind::User, CallerKind::Service, CallerKind::Agent];
        let issuer = IssuerAlias::new("test").unwrap();
        let name = |name: &String| crate::GroupName::new(name).unwrap();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let ago = |seconds: i64| Timestamp::from_second(now.as_second() - seconds).unwrap();
        let mut credential = crate::Credential::unknown();
        credential.issued_at = age.map(ago);
        let mut caller = Caller::assertion(principal(kinds[kind], "s"))
            .groups(groups.iter().map(|it| crate::Group::new(issuer.clone(), name(it))))
            .roles(roles.iter().map(|it| crate::Role::new(issuer.clone(), name(it))))
            .actors((0..actors).map(|number| principal(CallerKind::Agent, &format!("a{number}"))))
            .scopes(scopes)
            .assurance(assurance)
            .credential(credential);
        if let Some(seconds) = signed_in {
            caller = caller.authenticated_at(ago(seconds));
        }
        if let Some(tenant) = tenant {
            caller = caller.tenant(tenant);
        }
        if let Some(origin) = origin {
            caller = caller.origin(origin);
        }
        if !complete {
            caller = caller.groups_incomplete();
        }
        let caller = caller.caller().unwrap();
        let pairs = pairs.iter().map(|(action, model, revision)| {
            let resource = match model {
                Some(model) => Resource::Model {
                    name: model.parse().unwrap(),
                    revision: revision.as_ref().map(|it| it.parse().unwrap()),
                },
                None => Resource::Server,
            };
            Pair::new(Action::ALL[*action], resource)
        });
        let target = Target::of(pairs).unwrap();
        let sink = MemorySink::new();
        let decided = gate(&sink, Rules::allow(|_| true)).open(Arrival::new()).decide(caller.clone(), target.clone());
        prop_assert!(wait(decided.recorded()).is_ok());
        let decision = sink.decisions().remove(0);
        let text = serde_json::to_string(&decision).unwrap();
        let again = crate::Questions::again(&serde_json::from_str(&text).unwrap()).unwrap();
        let first = crate::Questions::of(caller, target, "production".parse().unwrap(), now);
        let told = |asked: &crate::Questions| {
            let each = asked.each();
            let each = each.iter().map(|it| {
                let known = it.caller.credential().issued_at.is_some();
                format!("{:?} {:?} {:?} {known} {:?} {:?} {:?} {:?} {:?} {:?}", it.party, it.action, it.resource,
                    it.environment, it.context, it.caller.scopes(), it.caller.tenant(), it.caller.origin(), it.caller.chain())
            });
            each.collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&again), told(&first));
        prop_assert_eq!(again.put_to(&Rules::allow(|_| true)).reason, "granted");
    }
}

#[test]
fn what_nobody_was_asked_about_is_not_asked_again() {
    let sink = MemorySink::new();
    let gate = gate(&sink, Rules::allow(|_| true));
    drop(gate.open(Arrival::new()));
    let alice = Caller::for_test("alice");
    drop(gate.open(Arrival::new()).admit(alice.clone()));
    drop(gate.open(Arrival::new()).decide(alice, generate()));
    let [abandoned, whoami, mut asked] = <[_; 3]>::try_from(sink.decisions()).unwrap();
    for decision in [abandoned, whoami] {
        let again = crate::Questions::again(&decision).map(|_| ());
        assert_eq!(again, Err(crate::NotAgain::NotAsked));
    }
    asked.target.clear();
    let again = crate::Questions::again(&asked).map(|_| ());
    assert_eq!(again, Err(crate::NotAgain::Part("target")));
}

/// A host whose wall clock is set back while requests are under way.
struct SetBack {
    fixed: Fixed,
    passed: std::sync::atomic::AtomicU64,
}

impl Host for SetBack {
    fn now(&self) -> Timestamp {
        self.fixed.now()
    }

    fn monotonic(&self) -> Duration {
        let ordering = std::sync::atomic::Ordering::Relaxed;
        Duration::from_millis(self.passed.fetch_add(7, ordering))
    }

    fn record_id(&self) -> crate::RecordId {
        self.fixed.record_id()
    }
}

#[test]
fn durations_do_not_follow_a_clock_that_is_set() {
    let sink = MemorySink::new();
    let fixed = Fixed::at("2026-11-23T12:00:00Z");
    let host = SetBack {
        fixed: fixed.clone(),
        passed: std::sync::atomic::AtomicU64::new(0),
    };
    let production = "production".parse().unwrap();
    let gate = Gate::new(
        "chat",
        production,
        Rules::allow(|_| true),
        sink.clone(),
        host,
    );
    let decided = gate
        .open(Arrival::new())
        .decide(Caller::for_test("alice"), generate());
    let mut settlement = wait(decided.recorded()).unwrap().forward();
    fixed.set("2026-11-23T11:00:00Z".parse().unwrap());
    settlement.sent(1);
    settlement.finish();
    drop(settlement);
    let outcome = &sink.outcomes()[0];
    assert_eq!(outcome.first_byte_us, Some(7_000));
    assert_eq!(outcome.duration_us, 14_000);
    assert!(outcome.time < sink.decisions()[0].time);
}

#[test]
fn an_error_type_is_one_word_and_no_message() {
    for (text, is) in [
        ("overloaded_error", true),
        ("throttlingException", true),
        ("com.example#Fault", true),
        ("close:1011", true),
        ("", false),
        ("500", false),
        ("it broke", false),
        ("-x", false),
        ("naïve", false),
        (&"e".repeat(65), false),
    ] {
        assert_eq!(crate::record::Outcome::is_error_type(text), is, "{text}");
    }
}

#[test]
fn usage_is_joined_member_by_member() {
    let mut first = Usage::new(Some(3), None);
    first.cached = Some(1);
    let second = Usage::new(Some(2), Some(5));
    let joined = first.join(second, u64::max);
    assert_eq!((joined.input, joined.output), (Some(3), Some(5)));
    assert_eq!((joined.cached, joined.total), (Some(1), None));
    assert_eq!(first.join(second, |a, b| a + b).input, Some(5));
}
