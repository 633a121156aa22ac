//! The table of requests.

use std::time::Duration;

use futures_executor::block_on;
use spanner_core::testing::{Fixed, Rules};
use spanner_core::{
    Action, Arrival, Caller, CallerKind, Gate, Host, IssuerAlias, Pair, Permit, Principal, Refused,
    Resource, SubjectId, Target,
};
use spanner_ledger::{Ledger, Selection};
use spanner_report::{csv, rotation_report, table, write_csv};

use crate::{STORY, record};

fn principal(kind: CallerKind, subject: &str) -> Principal {
    let alias = IssuerAlias::new("acme").unwrap();
    Principal::new(alias, kind, SubjectId::new(subject).unwrap())
}

fn ask(gate: &Gate, caller: Caller, pairs: &[(Action, &str)]) -> Result<Permit, Refused> {
    let pairs = pairs
        .iter()
        .map(|(action, model)| Pair::new(*action, Resource::model(model.parse().unwrap())));
    let target = Target::of(pairs).unwrap();
    block_on(gate.open(Arrival::new()).decide(caller, target).recorded())
}

#[test]
fn shows_one_line_per_request() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    let ledger = Ledger::open(&dir).unwrap();
    let host = Fixed::at("2026-11-23T12:00:00Z");
    let rules = Rules::allow(|question| question.action == Action::Generate);
    let environment = "production".parse().unwrap();
    let gate = Gate::new("chat", environment, rules, ledger.clone(), host.clone());

    let alice = || Caller::assertion(principal(CallerKind::User, "alice"));
    let one = [(Action::Generate, "acme/sentiment")];
    let mut served = ask(&gate, alice().caller().unwrap(), &one)
        .unwrap()
        .forward();
    served.head(200);
    host.advance(Duration::from_micros(12_345));
    served.finish();
    drop(served);
    let two = [(Action::Deploy, "acme/a"), (Action::Deploy, "acme/b")];
    let copilot = alice().actors([principal(CallerKind::Agent, "copilot")]);
    let refused = ask(&gate, copilot.caller().unwrap(), &two).unwrap_err();
    refused.settle(403, 0);
    let _open = ask(&gate, alice().caller().unwrap(), &one).unwrap();

    let ids = Ledger::read(&dir).unwrap().show().unwrap();
    let shown = table(&ids);
    let [one, two, three] = [0, 1, 2].map(|at| ids[at].decision.id);
    let expected = format!(
        "\
time                     │ who                                    │ what                    │ where      │ decision │ why             │ outcome     │   ms │ record
─────────────────────────┼────────────────────────────────────────┼─────────────────────────┼────────────┼──────────┼─────────────────┼─────────────┼──────┼─────────────────────────────────────
2026-11-23T12:00:00.000Z │ user:acme/alice                        │ generate acme/sentiment │ production │ allow    │ granted         │ ok 200      │ 12.3 │ {one}
2026-11-23T12:00:00.012Z │ agent:acme/copilot for user:acme/alice │ deploy acme/a +1        │ production │ deny     │ authz.no_permit │ refused 403 │  0.0 │ {two}
2026-11-23T12:00:00.012Z │ user:acme/alice                        │ generate acme/sentiment │ production │ allow    │ granted         │ open        │    - │ {three}
"
    );
    assert_eq!(shown, expected, "\n{shown}");
}

#[test]
fn what_nobody_measured_is_empty_and_no_zero() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    record(&dir, STORY);
    // Opening the ledger again ends the open request of the story.
    Ledger::open(&dir).unwrap().close().unwrap();
    let reader = Ledger::read(&dir).unwrap();
    let rows = reader.show().unwrap();
    let shown = table(&rows);
    assert!(shown.contains("│ unknown "), "{shown}");
    assert!(shown.contains(" │    - │ "), "{shown}");
    let mut out = Vec::new();
    let (lines, _) = write_csv(&reader, &Selection::new(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!((lines as usize, &text), (rows.len(), &csv(&rows)));
    assert!(text.contains(",\"unknown\",\"\",\"\","), "{text}");
}

#[test]
fn renders_one_line_per_aging_credential() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    let ledger = Ledger::open(&dir).unwrap();
    let host = Fixed::at("2026-11-23T12:00:00Z");
    let rules = Rules::allow(|_| true);
    let gate = Gate::new(
        "chat",
        "production".parse().unwrap(),
        rules,
        ledger.clone(),
        host.clone(),
    );
    let mut credential = spanner_core::Credential::unknown();
    let day = Duration::from_secs(86_400);
    credential.token_id = Some("t-g".to_owned());
    credential.issued_at = Some(host.now() - day * 24);
    credential.expires_at = Some(host.now() + day * 300);
    credential.max_age = Some(day * 30);
    let caller = Caller::assertion(principal(CallerKind::Service, "f"))
        .client("grows\nold")
        .credential(credential);
    let one = [(Action::Generate, "acme/sentiment")];
    drop(ask(&gate, caller.caller().unwrap(), &one).unwrap());
    ledger.close().unwrap();
    let now = host.now() + day;
    let found = Ledger::read(&dir).unwrap().aging_credentials(now).unwrap();
    assert_eq!(
        rotation_report(&found, now),
        "service:acme/f: token t-g, client grows\\nold, issued 2026-10-30, refused from 2026-11-29T12:00Z (5 d 0 h left), used 1 times, last 2026-11-23T12:00Z\n"
    );
}
