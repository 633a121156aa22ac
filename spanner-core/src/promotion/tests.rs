use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::caller::Caller;
use crate::party::{CallerKind, Principal};
use crate::testing::{Fixed, MemorySink, Rules, wait};
use crate::{Action, Arrival, Gate, Permit, PromotionId, Resource, Target, Timestamp};

fn caller(kind: CallerKind, name: &str) -> Caller {
    let principal = Principal::new("corp".parse().unwrap(), kind, name.parse().unwrap());
    Caller::assertion(principal).caller().unwrap()
}

fn through(agent: &str, name: &str) -> Caller {
    let principal =
        |kind, name: &str| Principal::new("corp".parse().unwrap(), kind, name.parse().unwrap());
    Caller::assertion(principal(CallerKind::User, name))
        .actors([principal(CallerKind::Agent, agent)])
        .caller()
        .unwrap()
}

const MANIFEST: &str = "model = \"acme/sentiment\"";

fn candidate(content: u8) -> Candidate {
    let manifest = Digest::of(MANIFEST.as_bytes());
    Candidate::new("acme/sentiment".parse().unwrap(), manifest)
        .revision("v2".parse().unwrap(), Some(Digest::of(&[content])))
}

fn shown(content: u8) -> Basis {
    Basis::new(candidate(content), vec![])
}

fn proposal(content: u8, plan: Plan) -> Proposal {
    let gains = vec![Action::Generate];
    let change = ChangeEntry::new("group:corp/support", gains, vec![]);
    Proposal::new(candidate(content), plan, MANIFEST, vec![change])
}

fn plan(approvals: u8) -> Plan {
    Plan::new(
        "staging".parse().unwrap(),
        "production".parse().unwrap(),
        approvals,
    )
}

/// A permit of somebody for an action on a model in an environment.
fn permit_for(by: &Caller, action: Action, model: &str, environment: &str) -> Permit {
    let rules = Rules::allow(|_| true);
    let host = Fixed::at("2026-11-24T12:00:00Z");
    let environment = environment.parse().unwrap();
    let gate = Gate::new("test", environment, rules, MemorySink::new(), host);
    let target = Target::one(action, Resource::model(model.parse().unwrap()));
    let decided = gate.open(Arrival::new()).decide(by.clone(), target);
    wait(decided.recorded()).unwrap()
}

fn may(by: &Caller, action: Action) -> Permit {
    permit_for(by, action, "acme/sentiment", "production")
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn proposed(approvals: u8) -> Promotion {
    let nina = caller(CallerKind::User, "nina");
    let id = PromotionId::from_u128(7);
    let event = Promotion::propose(
        id,
        &proposal(0, plan(approvals)),
        &may(&nina, Action::Promote),
        now(),
    );
    Promotion::begin(&event.unwrap()).unwrap()
}

#[test]
fn only_people_who_did_not_propose_approve_and_once() {
    let promotion = proposed(2);
    let omar = caller(CallerKind::User, "omar");
    let rows = [
        (caller(CallerKind::User, "nina"), StepFault::OwnProposal),
        (caller(CallerKind::Service, "bot"), StepFault::NotAPerson),
        (caller(CallerKind::Agent, "copilot"), StepFault::NotAPerson),
        (through("copilot", "omar"), StepFault::NotAPerson),
    ];
    for (by, due) in rows {
        let approved = promotion.approve(&shown(0), &may(&by, Action::Approve), now());
        assert_eq!(approved, Err(due));
    }
    for (action, model, environment) in [
        (Action::Promote, "acme/sentiment", "production"),
        (Action::Approve, "acme/other", "production"),
        (Action::Approve, "acme/sentiment", "staging"),
    ] {
        let permit = permit_for(&omar, action, model, environment);
        let refused = promotion.approve(&shown(0), &permit, now());
        assert_eq!(refused, Err(StepFault::NotPermitted));
    }
    let once = promotion
        .approve(&shown(0), &may(&omar, Action::Approve), now())
        .unwrap();
    let promotion = promotion.after(&once).unwrap();
    assert_eq!(
        promotion.approve(&shown(0), &may(&omar, Action::Approve), now()),
        Err(StepFault::Twice)
    );
    assert_eq!(promotion.after(&once), Err(StepFault::Twice));
}

#[test]
fn whatever_changed_is_not_what_was_approved() {
    let promotion = proposed(1);
    let (nina, omar) = (
        caller(CallerKind::User, "nina"),
        caller(CallerKind::User, "omar"),
    );
    let other = promotion.approve(&shown(1), &may(&omar, Action::Approve), now());
    assert_eq!(other, Err(StepFault::Changed));
    let approved = promotion
        .approve(&shown(0), &may(&omar, Action::Approve), now())
        .unwrap();
    let promotion = promotion.after(&approved).unwrap();
    assert_eq!(
        promotion.promote(&shown(1), &may(&nina, Action::Promote), now()),
        Err(StepFault::Changed)
    );
    assert!(
        promotion
            .promote(&shown(0), &may(&nina, Action::Promote), now())
            .is_ok()
    );
}

/// Terms that ask for so many approvals, and differ by what the roles allow.
fn terms(approvals: u8, roles: &str) -> TermsEntry {
    let part = |text: &str| Digest::of(text.as_bytes());
    let (rule, same) = (part(&approvals.to_string()), part("same"));
    TermsEntry::new(approvals, &rule, &part(roles), &same, &same)
}

fn approved(promotion: &Promotion, name: &str, terms: &TermsEntry) -> Promotion {
    let by = caller(CallerKind::User, name);
    let shown = shown(0).terms(terms.clone());
    let event = promotion.approve(&shown, &may(&by, Action::Approve), now());
    promotion.after(&event.unwrap()).unwrap()
}

#[test]
fn approvals_cover_the_terms_and_are_void_once_these_change() {
    let nina = caller(CallerKind::User, "nina");
    let promote = |promotion: &Promotion, terms: &TermsEntry| {
        let shown = shown(0).terms(terms.clone());
        promotion.promote(&shown, &may(&nina, Action::Promote), now())
    };
    let (old, new, more) = (terms(2, "old"), terms(2, "new"), terms(3, "old"));
    let promotion = approved(&approved(&proposed(2), "omar", &old), "pia", &old);
    assert!(promote(&promotion, &old).is_ok());
    for changed in [&new, &more] {
        let refused = promote(&promotion, changed).unwrap_err();
        let StepFault::Void {
            given: 0, needed, ..
        } = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(needed, changed.approvals);
    }
    assert_eq!(
        new.changes_since(&old),
        ["what its roles allow, or who holds them, changed"]
    );
    assert_eq!(more.changes_since(&old), ["the rule of promotion changed"]);

    // It is noticed, and stays so when the old terms are back.
    let event = promotion.void_approvals("roles changed", Some(new.clone()), now());
    let void = promotion.after(&event.unwrap()).unwrap();
    assert!(void.approvals().is_empty());
    assert_eq!(void.void().unwrap().approvals.len(), 2);
    let refused = promote(&void, &old).unwrap_err();
    assert!(
        matches!(refused, StepFault::Void { given: 0, .. }),
        "{refused:?}"
    );
    assert!(void.void_approvals("again", None, now()).is_err());
    // Who approved the old terms may approve the new ones, once.
    let again = approved(&void, "omar", &new);
    assert_eq!((again.approvals().len(), again.needed()), (1, 2));
    let omar = caller(CallerKind::User, "omar");
    let shown_new = shown(0).terms(new.clone());
    let twice = again.approve(&shown_new, &may(&omar, Action::Approve), now());
    assert_eq!(twice, Err(StepFault::Twice));
    let again = approved(&again, "pia", &new);
    assert!(promote(&again, &new).is_ok());
    // An approval of other terms voids those before it, even if nobody noticed the change.
    let other = approved(&again, "quinn", &old);
    assert_eq!(
        (
            other.approvals().len(),
            other.void().unwrap().approvals.len()
        ),
        (1, 4)
    );
}

#[test]
fn a_ledger_from_before_terms_reads_as_it_did() {
    let promotion = proposed(1);
    let omar = caller(CallerKind::User, "omar");
    let event = promotion.approve(&shown(0), &may(&omar, Action::Approve), now());
    let text = serde_json::to_string(&event.unwrap()).unwrap();
    assert!(!text.contains("terms"), "{text}");
    let event: Event = serde_json::from_str(&text).unwrap();
    let promotion = promotion.after(&event).unwrap();
    let promoted = r#"{"promotion":"00000000-0000-0000-0000-000000000007","time":"2026-11-24T12:00:00Z","by":{"issuer":"corp","kind":"user","subject":"nina"},"step":"promoted","difference":[]}"#;
    let promoted: Event = serde_json::from_str(promoted).unwrap();
    assert!(promotion.after(&promoted).unwrap().is_in_force());
    // What is promoted today is approved under today's terms.
    let nina = caller(CallerKind::User, "nina");
    let shown = shown(0).terms(terms(1, "now"));
    let refused = promotion.promote(&shown, &may(&nina, Action::Promote), now());
    assert!(
        matches!(refused, Err(StepFault::Void { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_rollback_that_gives_more_takes_approvals_or_is_an_emergency() {
    let (nina, ada) = (
        caller(CallerKind::User, "nina"),
        caller(CallerKind::User, "ada"),
    );
    let promotion = approved(&proposed(1), "omar", &terms(1, "same"));
    let shown = shown(0).terms(terms(1, "same"));
    let event = promotion.promote(&shown, &may(&nina, Action::Promote), now());
    let promotion = promotion.after(&event.unwrap()).unwrap();
    let change = |gains, loses| vec![ChangeEntry::new("group:corp/qa", gains, loses)];
    let narrower = change(vec![], vec![Action::Read]);
    let wider = change(vec![Action::Read], vec![]);
    let permit = || may(&nina, Action::Promote);
    assert!(
        promotion
            .roll_back("bad", Urgency::Regular, narrower, &permit(), now())
            .is_ok()
    );
    assert_eq!(
        promotion.roll_back("bad", Urgency::Regular, wider.clone(), &permit(), now()),
        Err(StepFault::Widens)
    );
    let undo = Undo::new(wider.clone(), false);
    assert!(
        promotion
            .roll_back("bad", Urgency::Regular, undo, &permit(), now())
            .is_ok()
    );
    assert_eq!(
        promotion.roll_back("bad", Urgency::Emergency, wider.clone(), &permit(), now()),
        Err(StepFault::NotPermitted)
    );
    let permit = may(&ada, Action::Administer);
    assert_eq!(
        promotion.roll_back(
            "\u{200b}",
            Urgency::Emergency,
            wider.clone(),
            &permit,
            now()
        ),
        Err(StepFault::NoReason)
    );
    let event = promotion.roll_back("bad", Urgency::Emergency, wider, &permit, now());
    let Step::RolledBack { emergency, .. } = event.as_ref().unwrap().step else {
        panic!("{event:?}");
    };
    assert!(emergency);
    let over = promotion.after(&event.unwrap()).unwrap();
    assert_eq!(
        (over.standing(), over.manifest()),
        (Standing::RolledBack, None)
    );
}

#[test]
fn what_is_proposed_again_is_kept_once_and_let_go_when_it_is_over() {
    let nina = caller(CallerKind::User, "nina");
    let mut history = HistoryState::new();
    let propose = |history: &mut HistoryState, id| {
        let text = String::from(MANIFEST);
        let change = ChangeEntry::new("group:corp/support", vec![Action::Read], vec![]);
        let proposal = Proposal::new(candidate(0), plan(1), text, vec![change]);
        let id = PromotionId::from_u128(id);
        let event = Promotion::propose(id, &proposal, &may(&nina, Action::Promote), now());
        history.take(event.unwrap()).unwrap().clone()
    };
    let (first, second) = (propose(&mut history, 1), propose(&mut history, 2));
    let same = Arc::ptr_eq(first.manifest().unwrap(), second.manifest().unwrap());
    assert!(same && Arc::ptr_eq(first.difference(), second.difference()));
    assert_eq!(history.open().count(), 2);
    let event = first.withdraw(&may(&nina, Action::Read), now()).unwrap();
    assert_eq!(history.take(event).unwrap().manifest(), None);
    assert_eq!(history.open().count(), 1);
    let Step::Proposed { manifest, .. } = &history.steps(first.id()).next().unwrap().step else {
        panic!("it was proposed first");
    };
    assert_eq!(&**manifest, "");
}

#[test]
fn only_what_was_in_force_is_restored() {
    let nina = caller(CallerKind::User, "nina");
    let mut history = HistoryState::new();
    let plan = plan(1).restoring(Some(PromotionId::from_u128(9)));
    let event = Promotion::propose(
        PromotionId::from_u128(7),
        &proposal(0, plan),
        &may(&nina, Action::Promote),
        now(),
    );
    assert!(matches!(
        history.take(event.unwrap()),
        Err(StepFault::Event(_))
    ));
}

#[test]
fn an_emergency_says_why_and_is_marked() {
    let promotion = proposed(2);
    let ada = caller(CallerKind::User, "ada");
    let permit = may(&ada, Action::Administer);
    let silent = promotion.promote_in_emergency(&shown(0), " ", &permit, now());
    assert_eq!(silent, Err(StepFault::NoReason));
    let event = promotion.promote_in_emergency(&shown(0), "it is down", &permit, now());
    let promotion = promotion.after(&event.unwrap()).unwrap();
    assert_eq!(promotion.standing(), Standing::Emergency);
    assert!(promotion.is_in_force());
}

#[test]
fn a_rollback_puts_in_force_what_was_before() {
    let (nina, omar) = (
        caller(CallerKind::User, "nina"),
        caller(CallerKind::User, "omar"),
    );
    let mut history = HistoryState::new();
    let (model, production) = (candidate(0).model, plan(1).into);
    for n in [1, 2] {
        let id = PromotionId::from_u128(u128::from(n));
        let base = history.current(&model, &production).map(Promotion::id);
        let proposal = proposal(n, plan(1).instead_of(base));
        let event = Promotion::propose(id, &proposal, &may(&nina, Action::Promote), now());
        let promotion = history.take(event.unwrap()).unwrap().clone();
        let approved = promotion
            .approve(&shown(n), &may(&omar, Action::Approve), now())
            .unwrap();
        let promotion = history.take(approved).unwrap().clone();
        let promoted = promotion
            .promote(&shown(n), &may(&nina, Action::Promote), now())
            .unwrap();
        history.take(promoted).unwrap();
        assert_eq!(history.current(&model, &production).unwrap().id(), id);
    }
    let first = history.promotion(PromotionId::from_u128(1)).unwrap();
    let out_of_turn = first
        .roll_back(
            "bad",
            Urgency::Regular,
            vec![],
            &may(&nina, Action::Promote),
            now(),
        )
        .unwrap();
    assert!(matches!(
        history.take(out_of_turn),
        Err(StepFault::Event(_))
    ));
    for left in [Some(1), None] {
        let current = history.current(&model, &production).unwrap().clone();
        let event = current
            .roll_back(
                "bad",
                Urgency::Regular,
                vec![],
                &may(&nina, Action::Promote),
                now(),
            )
            .unwrap();
        history.take(event).unwrap();
        let now_current = history.current(&model, &production).map(Promotion::id);
        assert_eq!(now_current, left.map(PromotionId::from_u128));
    }
    let steps = history.of(&model, Some(&production)).count();
    assert_eq!(steps, 8);
    assert_eq!(history.of(&model, Some(&plan(1).from)).count(), 0);
}

#[test]
fn what_would_come_in_another_place_than_was_shown_is_not_promoted() {
    let (nina, omar) = (
        caller(CallerKind::User, "nina"),
        caller(CallerKind::User, "omar"),
    );
    let mut history = HistoryState::new();
    let ids = [1, 2].map(PromotionId::from_u128);
    for id in ids {
        let event = Promotion::propose(
            id,
            &proposal(0, plan(1)),
            &may(&nina, Action::Promote),
            now(),
        );
        let promotion = history.take(event.unwrap()).unwrap().clone();
        let approved = promotion.approve(&shown(0), &may(&omar, Action::Approve), now());
        history.take(approved.unwrap()).unwrap();
    }
    let promote = |history: &HistoryState, id| {
        let promotion = history.promotion(id).unwrap();
        promotion
            .promote(&shown(0), &may(&nina, Action::Promote), now())
            .unwrap()
    };
    let first = promote(&history, ids[0]);
    history.take(first).unwrap();
    let second = promote(&history, ids[1]);
    assert_eq!(history.take(second), Err(StepFault::Superseded));
    let current = history.current(&candidate(0).model, &plan(1).into);
    assert_eq!(current.map(Promotion::id), Some(ids[0]));
}

#[test]
fn what_was_adopted_is_in_force_and_approved_by_nobody() {
    let mut history = HistoryState::new();
    let (model, production) = (candidate(0).model, plan(1).into);
    let adopt = |id| {
        let id = PromotionId::from_u128(id);
        Promotion::adopt(id, model.clone(), MANIFEST, &production, now())
    };
    let adopted = history.take(adopt(1)).unwrap().clone();
    assert_eq!(adopted.standing(), Standing::Adopted);
    assert!(adopted.is_in_force() && adopted.proposer().is_none());
    assert!(matches!(history.take(adopt(2)), Err(StepFault::Event(_))));
    let nina = caller(CallerKind::User, "nina");
    let back = adopted.roll_back(
        "bad",
        Urgency::Regular,
        vec![],
        &may(&nina, Action::Promote),
        now(),
    );
    assert_eq!(back, Err(StepFault::Standing(Standing::Adopted)));
    let approved = adopted.approve(&shown(0), &may(&nina, Action::Approve), now());
    assert_eq!(approved, Err(StepFault::Standing(Standing::Adopted)));
}

#[test]
fn a_manifest_with_another_digest_is_not_proposed() {
    let nina = caller(CallerKind::User, "nina");
    let mut proposal = proposal(0, plan(1));
    proposal.manifest = "model = \"acme/other\"".into();
    let event = Promotion::propose(
        PromotionId::from_u128(7),
        &proposal,
        &may(&nina, Action::Promote),
        now(),
    );
    assert!(matches!(event, Err(StepFault::Event(_))));
}

#[test]
fn events_are_kept_as_json_and_give_the_same_promotion() {
    let promotion = proposed(1);
    let omar = caller(CallerKind::User, "omar");
    let event = promotion
        .approve(&shown(0), &may(&omar, Action::Approve), now())
        .unwrap();
    let text = serde_json::to_string(&event).unwrap();
    assert!(text.contains(r#""step":"approved""#), "{text}");
    let read: Event = serde_json::from_str(&text).unwrap();
    assert_eq!(promotion.after(&read), promotion.after(&event));
}

/// Something that somebody tries.
#[derive(Debug, Clone)]
struct Try {
    who: usize,
    what: usize,
    content: u8,
    permitted: bool,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let one = (0_usize..7, 0_usize..6, 0_u8..2, any::<bool>());
    let one = one.prop_map(|(who, what, content, permitted)| Try {
        who,
        what,
        content,
        permitted,
    });
    prop::collection::vec(one, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    /// No path leads to what is in force without the approvals, whoever tries whatever.
    #[test]
    fn nothing_is_in_force_without_its_approvals(needed in 0_u8..4, tries in tries()) {
        let people = [
            caller(CallerKind::User, "nina"),
            caller(CallerKind::User, "omar"),
            caller(CallerKind::User, "pia"),
            caller(CallerKind::User, "quinn"),
            caller(CallerKind::Service, "bot"),
            caller(CallerKind::Agent, "copilot"),
            through("copilot", "pia"),
        ];
        let mut promotion = proposed(needed);
        let mut approvers: HashSet<usize> = HashSet::new();
        let mut over = false;
        for attempt in tries {
            let by = &people[attempt.who];
            let shown = shown(attempt.content);
            let due = [
                Action::Approve,
                Action::Approve,
                Action::List,
                Action::Promote,
                Action::Administer,
                Action::Promote,
            ][attempt.what];
            let permit = may(by, if attempt.permitted { due } else { Action::Read });
            let event = match attempt.what {
                0 => promotion.approve(&shown, &permit, now()),
                1 => promotion.reject("no", &permit, now()),
                2 => promotion.withdraw(&permit, now()),
                3 => promotion.promote(&shown, &permit, now()),
                4 => promotion.promote_in_emergency(&shown, "down", &permit, now()),
                _ => promotion.roll_back("bad", Urgency::Regular, vec![], &permit, now()),
            };
            let Ok(event) = event else { continue };
            prop_assert!(attempt.what == 2 || attempt.permitted);
            let after = promotion.after(&event).unwrap();
            match attempt.what {
                0 => {
                    prop_assert!((1..4).contains(&attempt.who) && attempt.content == 0 && !over);
                    prop_assert!(approvers.insert(attempt.who));
                }
                3 => prop_assert!(approvers.len() >= usize::from(needed) && attempt.content == 0),
                4 => prop_assert_eq!(after.standing(), Standing::Emergency),
                5 => prop_assert!(promotion.is_in_force()),
                _ => prop_assert!(!over),
            }
            over |= attempt.what != 0;
            prop_assert_eq!(after.approvals().len(), approvers.len());
            promotion = after;
        }
        let lawful = approvers.len() >= usize::from(needed);
        prop_assert!(lawful || promotion.standing() != Standing::Promoted);
    }
}
