//! The history of promotions: who approved an endpoint, and which approval applied to a call.

use serde_json::{Value, json};
use spanner_ledger::PromotionState::{InForce, Replaced};

use spanner_ledger::{PromotionState, Reader, Selection};
use spanner_report::{Summary, csv, describe, history as page, table};
use spanner_ship::{Format, Producer, export};

use crate::{STORY, promotion, story, story_of};

#[test]
fn names_who_proposed_approved_and_promoted_what_is_served() {
    let story = story();
    let selection = Selection::new()
        .model("acme/sentiment")
        .environment("production");
    let history = story.reader.history(&selection).unwrap();
    let [first, second] = &*history.approvals else {
        panic!("two promotions are due, not {:?}", history.approvals);
    };
    assert_eq!(first.promotion, promotion(1));
    assert_eq!(first.standing, InForce);
    for (step, who) in [
        ("proposed", "user:corp/nina"),
        ("approved", "user:corp/omar"),
        ("promoted", "user:corp/nina"),
    ] {
        assert_eq!(first.by(step).collect::<Vec<_>>(), [who], "{step}");
    }
    assert_eq!(first.served, 1);
    assert_eq!(first.callers["user:corp/sam"], 1);
    assert_eq!(second.standing, PromotionState::RolledBack);
    assert_eq!(
        second.emergency.as_deref(),
        Some("the old one leaks \"names\"")
    );
    assert_eq!(second.callers["agent:corp/copilot for user:corp/sam"], 1);
    let none = Vec::<String>::new();
    assert_eq!((&first.doubts, &second.doubts), (&none, &none));
}

/// A promotion of the story, its standing and the number of its steps.
type Stands = (u128, PromotionState, usize);

#[test]
fn includes_older_promotions_in_force_at_the_end_of_the_range() {
    let story = story();
    let at = |text: &str| text.parse().unwrap();
    let place = Selection::new()
        .model("acme/sentiment")
        .environment("production");
    let (later, never) = (at("2030-01-01T00:00:00Z"), at("2020-01-01T00:00:00Z"));
    let rows: [(Selection, &[Stands]); 7] = [
        (place.clone().since(later), &[(1, InForce, 3)]),
        (
            place.clone().since(later).caller("omar"),
            &[(1, InForce, 3)],
        ),
        (place.clone().since(later).caller("sam"), &[(1, InForce, 3)]),
        (place.clone().since(later).caller("root"), &[]),
        (place.clone().until(never), &[]),
        (
            place
                .clone()
                .since(at("2026-11-24T10:08:30Z"))
                .until(at("2026-11-24T10:09:30Z")),
            &[(2, InForce, 2)],
        ),
        (
            place.until(at("2026-11-24T10:09:30Z")),
            &[(1, Replaced, 3), (2, InForce, 2)],
        ),
    ];
    for (selection, expected) in rows {
        let history = story.reader.history(&selection).unwrap();
        let found: Vec<_> = history
            .approvals
            .iter()
            .map(|it| (it.promotion, it.standing, it.steps.len()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(number, standing, steps)| (promotion(*number), *standing, *steps))
            .collect();
        assert_eq!(found, expected, "{selection:?}");
        assert_eq!(history.promotions, 2);
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let summary = Summary::read(&story.reader, &selection, now).unwrap();
        assert_eq!(summary.approvals, history.approvals);
        let in_force = expected.iter().filter(|it| it.1 == InForce).count();
        let figure = match in_force {
            1 => "**1** promotion in force".to_owned(),
            many => format!("**{many}** promotions in force"),
        };
        assert!(summary.page().markdown().contains(&figure), "{selection:?}");
    }
}

#[test]
fn explains_a_missing_promotion_and_where_it_was_searched() {
    let story = story();
    let before = "2020-01-01T00:00:00Z".parse().unwrap();
    let model = Selection::new().model("acme/sentiment");
    let rows = [
        (
            model.clone().until(before),
            "This ledger has 2 promotions of acme/sentiment; to none did anything happen in this span, and none was in force at its end.",
        ),
        (
            model.clone().caller("tina"),
            "This ledger has 2 promotions of acme/sentiment, and none that concerns tina.",
        ),
        (
            model.environment("staging"),
            "No promotion of acme/sentiment into staging is in this ledger: nobody approved it here.",
        ),
        (
            Selection::new().environment("staging").until(before),
            "No promotion into staging is in this ledger: nobody approved a model here.",
        ),
        (
            Selection::new()
                .model("acme/sentimen")
                .environment("staging"),
            "Nothing in this ledger is what was selected: model `acme/sentimen` never occurs in it.",
        ),
        (
            Selection::new().environment("prod\u{202e}").caller("bob"),
            "Nothing in this ledger is what was selected: environment `prod\\u{202e}` never occurs in it; caller `bob` never occurs in it.",
        ),
        (
            Selection::new().since(before).until(before),
            "Nothing in this ledger is what was selected: the span of time ends before it begins.",
        ),
    ];
    for (selection, said) in rows {
        let text = page(&story.reader.history(&selection).unwrap()).text();
        assert!(
            text.lines().any(|it| it == said),
            "{said}\nis not in\n{text}"
        );
    }
}

#[test]
fn each_step_names_the_model_and_where_it_goes() {
    let text = page(&story().reader.history(&Selection::new()).unwrap()).text();
    for (event, said) in [
        ("promotion.approved", "acme/sentiment at v1 in production; "),
        ("promotion.promoted", "acme/sentiment in production; group:"),
        (
            "promotion.promoted",
            "acme/sentiment in production; EMERGENCY because",
        ),
        (
            "promotion.rolled_back",
            "acme/sentiment in production; because",
        ),
    ] {
        let is_told = |line: &str| line.contains(event) && line.contains(said);
        assert!(
            text.lines().any(is_told),
            "{event} {said}\nis not in\n{text}"
        );
    }
}

#[test]
fn describes_events_in_words() {
    let rows = [
        (
            "access.reload_refused",
            json!({"in_force": "sha256:62", "count": 2, "problems": ["a.toml:1:1: no such role"]}),
            "2 problems, first: a.toml:1:1: no such role; sha256:62 stays in force",
        ),
        (
            "access.in_force",
            json!({"digest": "sha256:62"}),
            r#"{"digest":"sha256:62"}"#,
        ),
        (
            "ledger.clock_step",
            json!({"by_ms": -3_600_007}),
            "the clock was set back by 3600.007 s",
        ),
        (
            "ledger.pruned",
            json!({"before": 80, "kept": 3}),
            "entries below 80 went, but for 3 of them",
        ),
        (
            "ledger.gap",
            json!({"entries": 1, "uncertain": 7, "reason": "disk full"}),
            "storage failed because \"disk full\"; 1 entry was not stored at the first try",
        ),
        (
            "ledger.shed",
            json!({"refusals": 12}),
            "12 refusals were only counted",
        ),
        ("ledger.gap", json!({"new": 1}), r#"{"new":1}"#),
        ("ledger.closed", Value::Null, ""),
    ];
    let history = story().reader.history(&Selection::new()).unwrap();
    let mut happening = history.events[0].clone();
    for (event, body, said) in rows {
        (happening.event, happening.body) = (event.to_owned(), body);
        assert_eq!(describe(&happening), said, "{event}");
    }
}

#[test]
fn steps_of_a_promotion_are_not_uses_of_its_model() {
    let call = STORY.lines().nth(4).unwrap();
    let mut text: String = STORY.lines().take(4).map(|it| format!("{it}\n")).collect();
    for (number, action) in ["promote", "approve", "administer", "read", "deploy"]
        .into_iter()
        .enumerate()
    {
        let line = call.replace("\"generate\"", &format!("\"{action}\""));
        let id = format!("019a3c5f-0000-7000-8000-00000000000{}", number + 1);
        text.push_str(&line.replace("019a3c5f-0000-7000-8000-000000000001", &id));
        text.push('\n');
    }
    let story = story_of(&text);
    let history = story.reader.history(&Selection::new()).unwrap();
    assert_eq!(history.approvals[0].served, 2);
    let rows = story.reader.select(&Selection::new()).unwrap();
    let under = promotion(1).to_string();
    let named = |text: &str| text.lines().filter(|it| it.contains(&under)).count();
    assert_eq!((named(&table(&rows)), named(&csv(&rows))), (2, 2));
    let unpromoted = text.replace(&format!(", \"promotion\": \"{under}\""), "");
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let story = story_of(
        unpromoted
            .lines()
            .skip(4)
            .collect::<Vec<_>>()
            .join("\n")
            .as_str(),
    );
    let summary = Summary::read(&story.reader, &Selection::new(), now).unwrap();
    let of = |it: &spanner_report::Use| (it.action.clone(), it.unpromoted);
    let mut uses: Vec<_> = summary.uses.iter().map(of).collect();
    uses.retain(|(_, unpromoted)| *unpromoted > 0);
    assert_eq!(uses, [("deploy".to_owned(), 1), ("read".to_owned(), 1)]);
}

#[test]
fn selects_by_model_environment_caller_and_time() {
    let story = story();
    let at = |text: &str| text.parse().unwrap();
    let rows: [(Selection, usize, usize); 9] = [
        (Selection::new(), 2, 5),
        (Selection::new().model("acme/other"), 0, 0),
        (Selection::new().environment("staging"), 0, 0),
        (Selection::new().caller("omar"), 2, 0),
        (Selection::new().caller("user:corp/root"), 1, 0),
        (Selection::new().caller("corp/sam"), 2, 2),
        (Selection::new().caller("agent:corp/copilot"), 1, 1),
        (Selection::new().since(at("2026-11-24T10:05:00Z")), 2, 4),
        (Selection::new().until(at("2026-11-24T10:05:00Z")), 1, 1),
    ];
    for (selection, approvals, requests) in rows {
        let history = story.reader.history(&selection).unwrap();
        assert_eq!(history.approvals.len(), approvals, "{selection:?}");
        let rows = story.reader.select(&selection).unwrap();
        assert_eq!(rows.len(), requests, "{selection:?}");
        let ended = rows.iter().filter(|row| row.outcome.is_some()).count();
        let lines = exported(&story.reader, &selection);
        let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
        assert_eq!(of("decision"), requests, "{selection:?}");
        assert_eq!(of("outcome"), ended, "{selection:?}");
        let happened = history.events.len();
        assert_eq!(of("event") + of("gap"), happened, "{selection:?}");
    }
}

fn exported(reader: &Reader, selection: &Selection) -> Vec<Value> {
    let mut out = Vec::new();
    let exported = export(
        reader,
        Format::JsonLines,
        &Producer::default(),
        selection,
        &mut out,
    );
    let lines: Vec<Value> = std::str::from_utf8(&out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(exported.unwrap().0, lines.len() as u64);
    lines
}

#[test]
fn exports_escape_invisible_characters_that_the_ledger_retains() {
    let text = STORY.replace("\"sam\"", "\"sam\\udb40\\udc41\"");
    let story = story_of(&text);
    let (tag, escaped) = ('\u{e0041}', r"sam\udb40\udc41");
    for format in [Format::JsonLines, Format::Ocsf] {
        let mut out = Vec::new();
        export(
            &story.reader,
            format,
            &Producer::default(),
            &Selection::new(),
            &mut out,
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains([tag, '\u{202e}']), "{text}");
        assert!(text.contains(escaped), "{text}");
    }
    let mut stored = Vec::new();
    story.reader.json_lines(&mut stored).unwrap();
    assert!(String::from_utf8(stored).unwrap().contains(tag));
}

/// AUD-02, AUD-03.
#[test]
fn no_name_can_forge_a_line() {
    let story = story();
    let text = page(&story.reader.history(&Selection::new()).unwrap()).text();
    for line in [
        "acme/sentiment at v1 in production",
        "  in force    promotion 019a3c5e-0000-7000-8000-000000000001",
        "  proposed    2026-11-24T10:01:00Z  user:corp/nina  from staging, 1 approval needed",
        "  approved    2026-11-24T10:02:00Z  user:corp/omar",
        "  changes     group:corp/support gains generate, embed",
        "  served      1 call: user:corp/sam 1",
        "  promoted    2026-11-24T10:08:00Z  user:corp/root  EMERGENCY \"the old one leaks 'names'\"",
        "  rolled back 2026-11-24T10:10:00Z  user:corp/omar  \"it answers nonsense\"",
    ] {
        assert!(
            text.lines().any(|it| it == line),
            "{line}\nis not in\n{text}"
        );
    }
    assert!(text.contains("access.reload_refused"), "{text}");
    let shown = table(&story.reader.select(&Selection::new()).unwrap());
    assert!(
        shown.lines().next().unwrap().ends_with("│ under"),
        "{shown}"
    );
    assert!(shown.contains(&promotion(1).to_string()), "{shown}");
    assert_eq!(shown.lines().count(), 7, "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
}

#[test]
fn reports_a_contradictory_step_as_doubtful() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    let ledger = spanner_ledger::Ledger::open(&dir).unwrap();
    for word in ["promotion.proposed", "promotion.promoted"] {
        let line = STORY.lines().find(|line| line.contains(word)).unwrap();
        let value: Value = serde_json::from_str(line).unwrap();
        drop(ledger.event(word, value["body"].clone()).unwrap());
    }
    ledger.close().unwrap();
    let reader = spanner_ledger::Ledger::read(&dir).unwrap();
    let history = reader.history(&Selection::new()).unwrap();
    let doubts = &history.approvals[0].doubts;
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    assert!(doubts[0].contains("0 of the 1 approvals"), "{doubts:?}");
    assert!(page(&history).text().contains("DOUBTFUL"));
}
