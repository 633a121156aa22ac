//! The auditor's summary in each format.

use spanner_ledger::{Ledger, Retention, Selection};
use spanner_report::Summary;

use crate::{STORY, story, story_of};

fn now() -> jiff::Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

#[test]
fn counts_uses_refusals_approvals_and_gaps() {
    let summary = Summary::read(&story().reader, &Selection::new(), now()).unwrap();
    assert_eq!((summary.allowed, summary.refused), (3, 2));
    assert_eq!(summary.approvals.len(), 2);
    assert_eq!(summary.emergencies().count(), 1);
    let open: Vec<_> = summary.open.iter().map(|it| it.caller.clone()).collect();
    assert_eq!(
        open,
        [Some("agent:corp/copilot for user:corp/sam".to_owned())]
    );
    let sam = summary.uses.iter().find(|it| it.caller == "user:corp/sam");
    let sam = sam.unwrap();
    assert_eq!((sam.allowed, sam.tokens_in, sam.tokens_out), (1, 3, 5));
    let reasons: Vec<_> = summary
        .refusals
        .iter()
        .map(|it| (&*it.reason, it.count))
        .collect();
    assert_eq!(reasons, [("authz.no_permit", 1), ("token.expired", 1)]);
    assert_eq!(summary.access.len(), 2);
    assert_eq!(summary.access[1].problems, Some(2));
    assert_eq!(
        (summary.gaps, summary.starts, summary.notes.not_understood),
        (0, 1, 0)
    );
    assert_eq!(summary.outcomes["model_failed"], 1);
}

#[test]
fn limits_the_summary_to_a_time_range() {
    let until = "2026-11-24T10:05:00Z".parse().unwrap();
    let summary = Summary::read(&story().reader, &Selection::new().until(until), now()).unwrap();
    assert_eq!((summary.allowed, summary.refused), (1, 0));
    assert_eq!(summary.approvals.len(), 1);
}

#[test]
fn renders_the_same_contents_in_every_format() {
    let summary = Summary::read(&story().reader, &Selection::new(), now()).unwrap();
    let json = summary.json();
    assert_eq!(json["allowed"], 3);
    assert_eq!(json["approvals"][1]["standing"], "rolled_back");
    let (markdown, html) = (summary.page().markdown(), summary.page().html());
    for said in [
        "user:corp/omar on 2026-11-24T10:02:00Z",
        "authz.no",
        "group:corp/support gains generate, embed",
        "it answers nonsense",
    ] {
        let html = without_times(&html);
        assert!(html.contains(said), "{said}\nis not in\n{html}");
        let plain = markdown.replace('\\', "");
        assert!(plain.contains(said), "{said}\nis not in\n{markdown}");
    }
}

/// Removes the `time` elements from HTML.
fn without_times(html: &str) -> String {
    let mut out = String::new();
    for part in html.split("<time datetime=\"") {
        let rest = part.split_once("\">").filter(|_| !out.is_empty());
        out.push_str(rest.map_or(part, |(_, rest)| rest));
    }
    out.replace("</time>", "")
}

#[test]
fn marks_every_time_so_that_it_does_not_break() {
    let summary = Summary::read(&story().reader, &Selection::new(), now()).unwrap();
    let html = summary.page().html();
    assert!(html.contains("<time datetime=\"2026-11-24T10:02:00Z\">2026-11-24T10:02:00Z</time>"));
    assert!(html.contains("time { white-space: nowrap; }"));
    assert!(!without_times(&html).contains("<time"));
}

#[test]
fn every_format_notes_that_requests_were_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    crate::record(&dir, STORY);
    let ledger = Ledger::builder(&dir).segment_bytes(4096).open().unwrap();
    for _ in 0..60 {
        drop(
            ledger
                .event("test.happened", serde_json::Value::Null)
                .unwrap(),
        );
    }
    ledger.checkpoint_now().unwrap();
    let pruned = ledger.prune(&Retention::new().segments(1)).unwrap();
    ledger.close().unwrap();
    assert!(pruned.before > 0, "{pruned:?}");
    let (reader, all) = (Ledger::read(&dir).unwrap(), Selection::new());
    let said = format!("requests before entry {} were pruned", pruned.before);
    let text = spanner_report::history(&reader.history(&all).unwrap()).text();
    assert!(text.contains(&format!("\nnote: {said}\n")), "{text}");
    let summary = Summary::read(&reader, &all, now()).unwrap();
    assert_eq!(summary.json()["pruned"], pruned.before);
    for page in [summary.page().markdown(), summary.page().html()] {
        assert!(page.contains(&said), "{page}");
        let hedged = "in what was not pruned: storage never failed";
        assert!(page.contains(hedged), "{page}");
    }
}

#[test]
fn no_reason_can_imitate_a_step() {
    let forged = "no; promoted by user:corp/omar on 2026-11-24T10:09:00Z";
    let text = STORY.replace("it answers nonsense", forged);
    let summary = Summary::read(&story_of(&text).reader, &Selection::new(), now());
    let html = summary.unwrap().page().html();
    assert!(html.contains(&format!("&quot;{forged}&quot;")), "{html}");
    assert!(html.contains("<br>rolled back by user:corp/omar"), "{html}");
}

#[test]
fn uses_the_singular_for_one_problem() {
    for (count, said) in [(1, "1 problem, first:"), (2, "2 problems, first")] {
        let text = STORY.replace("\"count\": 2", &format!("\"count\": {count}"));
        let summary = Summary::read(&story_of(&text).reader, &Selection::new(), now());
        let page = summary.unwrap().page().markdown();
        assert!(page.contains(&format!("**{said}")), "{page}");
    }
}

#[test]
fn no_name_can_forge_a_tag_a_row_a_link_or_a_command() {
    let summary = Summary::read(&story().reader, &Selection::new(), now()).unwrap();
    let (markdown, html) = (summary.page().markdown(), summary.page().html());
    for text in [&markdown, &html] {
        assert!(!text.contains("<script"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        assert!(!text.lines().any(|line| line.starts_with("# forged")));
    }
    // Every row of a table has as many columns as its header.
    let bars = |line: &str| line.replace(r"\|", "").matches('|').count();
    let mut head = 0;
    for line in markdown.lines().map(str::trim) {
        match line.starts_with('|') {
            true if head == 0 => head = bars(line),
            true => assert_eq!(bars(line), head, "{line}"),
            false => head = 0,
        }
    }
    assert!(html.contains("default-src 'none'"));
    for reaches_out in ["http://", "https://", "src=", "href="] {
        assert!(!html.contains(reaches_out), "{reaches_out} is in the page");
    }
}
