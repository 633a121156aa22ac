use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::caller::{Caller, CallerKind, Principal};
use crate::{Effect, RecordId, Timestamp, Verdict, VerdictReason};

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

fn candidate(content: u8) -> Candidate {
    Candidate {
        model: "acme/sentiment".parse().unwrap(),
        revision: "v2".parse().unwrap(),
        content: Digest::of(&[content]),
        manifest: Digest::of(b"manifest"),
    }
}

fn plan(approvals: u8) -> Plan {
    Plan::new(
        "staging".parse().unwrap(),
        "production".parse().unwrap(),
        approvals,
    )
}

fn may() -> Verdict {
    Verdict::allow(vec!["grant".into()])
}

fn may_not() -> Verdict {
    Verdict::deny(VerdictReason::NoGrant)
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn proposed(approvals: u8) -> Promotion {
    let nina = caller(CallerKind::User, "nina");
    let id = RecordId::from_u128(7);
    let event = Promotion::propose(id, &candidate(0), &plan(approvals), &nina, &may(), now());
    Promotion::begin(&event.unwrap()).unwrap()
}

#[test]
fn only_people_who_did_not_propose_approve_and_once() {
    let promotion = proposed(2);
    let omar = caller(CallerKind::User, "omar");
    let rows = [
        (caller(CallerKind::User, "nina"), Fault::OwnProposal),
        (caller(CallerKind::Service, "bot"), Fault::NotAPerson),
        (caller(CallerKind::Agent, "copilot"), Fault::NotAPerson),
        (through("copilot", "omar"), Fault::NotAPerson),
    ];
    for (by, due) in rows {
        let approved = promotion.approve(&candidate(0), &by, &may(), now());
        assert_eq!(approved, Err(due));
    }
    let refused = promotion.approve(&candidate(0), &omar, &may_not(), now());
    assert_eq!(refused, Err(Fault::NotPermitted));
    let once = promotion
        .approve(&candidate(0), &omar, &may(), now())
        .unwrap();
    let promotion = promotion.after(&once).unwrap();
    assert_eq!(
        promotion.approve(&candidate(0), &omar, &may(), now()),
        Err(Fault::Twice)
    );
    assert_eq!(promotion.after(&once), Err(Fault::Twice));
}

#[test]
fn whatever_changed_is_not_what_was_approved() {
    let promotion = proposed(1);
    let (nina, omar) = (
        caller(CallerKind::User, "nina"),
        caller(CallerKind::User, "omar"),
    );
    let shown = promotion.approve(&candidate(1), &omar, &may(), now());
    assert_eq!(shown, Err(Fault::Changed));
    let approved = promotion
        .approve(&candidate(0), &omar, &may(), now())
        .unwrap();
    let promotion = promotion.after(&approved).unwrap();
    assert_eq!(
        promotion.promote(&candidate(1), &nina, &may(), now()),
        Err(Fault::Changed)
    );
    assert!(
        promotion
            .promote(&candidate(0), &nina, &may(), now())
            .is_ok()
    );
}

#[test]
fn an_emergency_says_why_and_is_marked() {
    let promotion = proposed(2);
    let ada = caller(CallerKind::User, "ada");
    let silent = promotion.promote_in_emergency(&candidate(0), " ", &ada, &may(), now());
    assert_eq!(silent, Err(Fault::NoReason));
    let event = promotion.promote_in_emergency(&candidate(0), "it is down", &ada, &may(), now());
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
    let mut history = History::new();
    let (model, production) = (candidate(0).model, plan(1).into);
    for n in [1, 2] {
        let id = RecordId::from_u128(u128::from(n));
        let event = Promotion::propose(id, &candidate(n), &plan(1), &nina, &may(), now());
        let promotion = history.take(event.unwrap()).unwrap().clone();
        let approved = promotion
            .approve(&candidate(n), &omar, &may(), now())
            .unwrap();
        let promotion = history.take(approved).unwrap().clone();
        let promoted = promotion
            .promote(&candidate(n), &nina, &may(), now())
            .unwrap();
        history.take(promoted).unwrap();
        assert_eq!(history.current(&model, &production).unwrap().id(), id);
    }
    let first = history.promotion(RecordId::from_u128(1)).unwrap();
    let out_of_turn = first.roll_back("bad", &nina, &may(), now()).unwrap();
    assert!(matches!(history.take(out_of_turn), Err(Fault::Event(_))));
    for left in [Some(1), None] {
        let current = history.current(&model, &production).unwrap().clone();
        let event = current.roll_back("bad", &nina, &may(), now()).unwrap();
        history.take(event).unwrap();
        let now_current = history.current(&model, &production).map(Promotion::id);
        assert_eq!(now_current, left.map(RecordId::from_u128));
    }
    let steps = history.of(&model, Some(&production)).count();
    assert_eq!(steps, 8);
    assert_eq!(history.of(&model, Some(&plan(1).from)).count(), 0);
}

#[test]
fn events_are_kept_as_json_and_give_the_same_promotion() {
    let promotion = proposed(1);
    let omar = caller(CallerKind::User, "omar");
    let event = promotion
        .approve(&candidate(0), &omar, &may(), now())
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
            let verdict = if attempt.permitted { may() } else { may_not() };
            let shown = candidate(attempt.content);
            let event = match attempt.what {
                0 => promotion.approve(&shown, by, &verdict, now()),
                1 => promotion.reject("no", by, &verdict, now()),
                2 => promotion.withdraw(by, now()),
                3 => promotion.promote(&shown, by, &verdict, now()),
                4 => promotion.promote_in_emergency(&shown, "down", by, &verdict, now()),
                _ => promotion.roll_back("bad", by, &verdict, now()),
            };
            let Ok(event) = event else { continue };
            prop_assert!(attempt.what == 2 || verdict.effect == Effect::Allow);
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
