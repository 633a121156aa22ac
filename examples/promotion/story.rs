//! The steps of the example, with their expected results.

use anstream::println;
use serde_json::{Value, json};
use spanner_demo::model::SENTIMENT;
use spanner_examples::telling::{DIM, TITLE};

use crate::Stop;
use crate::stage::{Due, Stage};

const MANIFEST: &str = include_str!("sentiment.toml");

const SERVED: Due = (200, "positive");
const LACKS: Due = (403, "may not generate");

pub(crate) async fn tell(stage: &mut Stage) -> Result<(), Stop> {
    chapter("The model's team registers it in staging");
    stage.write(MANIFEST).await?;
    stage.chat("tina", true, SERVED).await?;
    stage.chat("sam", false, LACKS).await?;

    chapter("Into production: proposed, signed by two others, promoted");
    let first = propose(stage, "v1").await?;
    let id = &first;
    approve(stage, id, "nina", (403, "own_proposal")).await?;
    approve(stage, id, "omar", (200, "\"standing\":\"open\"")).await?;
    promote(stage, id, (409, "1 of the 2 approvals")).await?;
    approve(stage, id, "pia", (200, "\"standing\":\"open\"")).await?;
    promote(stage, id, PROMOTED).await?;
    stage.chat("sam", false, SERVED).await?;
    stage.chat("tina", false, LACKS).await?;

    chapter("A manifest that is edited in place changes nothing in production");
    stage
        .write(&MANIFEST.replace("group:support", "group:qa"))
        .await?;
    stage.chat("sam", false, SERVED).await?;
    stage.chat("tina", false, LACKS).await?;

    chapter("The change goes the same way, turns out to be wrong, and is undone by two signatures");
    let id = propose(stage, "v2").await?;
    approve(stage, &id, "omar", (200, "group:corp/qa")).await?;
    approve(stage, &id, "pia", (200, "group:corp/qa")).await?;
    promote(stage, &id, PROMOTED).await?;
    stage.chat("sam", false, LACKS).await?;
    let reason = json!({"environment": "production", "reason": "support cannot work"});
    let path = format!("models/{SENTIMENT}/rollback");
    let due = (409, "group:corp/support");
    stage
        .ask("nina rolls it back alone", "nina", &path, Some(reason), due)
        .await?;
    stage.chat("sam", false, LACKS).await?;
    let id = restore(stage, &first).await?;
    approve(stage, &id, "omar", (200, "group:corp/support")).await?;
    approve(stage, &id, "pia", (200, "group:corp/support")).await?;
    promote(stage, &id, PROMOTED).await?;
    stage.chat("sam", false, SERVED).await?;

    chapter("Who approved this endpoint?");
    let path = format!("models/{SENTIMENT}/history?environment=production");
    let due = (200, "\"restores\":");
    let history = stage
        .ask("sam looks at its history", "sam", &path, None, due)
        .await?;
    show(&history);
    Ok(())
}

const PROMOTED: Due = (200, "\"standing\":\"promoted\"");

fn chapter(title: &str) {
    println!("\n{TITLE}{title}{TITLE:#}");
}

/// Nina proposes a revision, and the change of access is shown.
async fn propose(stage: &mut Stage, revision: &str) -> Result<String, Stop> {
    let body = json!({"model": SENTIMENT, "environment": "production", "revision": revision});
    let title = format!("nina proposes {revision} for production");
    let due = (201, "\"standing\":\"open\"");
    let promotion = stage
        .ask(&title, "nina", "promotions", Some(body), due)
        .await?;
    differences(&promotion);
    let id = promotion.get("id").and_then(Value::as_str);
    Ok(id.ok_or("the promotion has no id")?.to_owned())
}

/// Nina proposes the version that was in force before.
async fn restore(stage: &mut Stage, before: &str) -> Result<String, Stop> {
    let body = json!({"model": SENTIMENT, "environment": "production", "restores": before});
    let due = (201, "\"standing\":\"open\"");
    let promotion = stage
        .ask(
            "nina proposes what was there",
            "nina",
            "promotions",
            Some(body),
            due,
        )
        .await?;
    differences(&promotion);
    let id = promotion.get("id").and_then(Value::as_str);
    Ok(id.ok_or("the promotion has no id")?.to_owned())
}

async fn approve(stage: &mut Stage, id: &str, who: &str, due: Due) -> Result<(), Stop> {
    let path = format!("promotions/{id}/approve");
    let title = format!("{who} approves");
    stage.ask(&title, who, &path, Some(json!({})), due).await?;
    Ok(())
}

async fn promote(stage: &mut Stage, id: &str, due: Due) -> Result<(), Stop> {
    let path = format!("promotions/{id}/promote");
    stage
        .ask("nina promotes it", "nina", &path, Some(json!({})), due)
        .await?;
    Ok(())
}

/// Gained and lost access, one line each.
fn differences(told: &Value) {
    let changes = told.get("difference").and_then(Value::as_array);
    for change in changes.into_iter().flatten() {
        let words = |what: &str| {
            let actions = change.get(what).and_then(Value::as_array);
            let actions = actions.into_iter().flatten().filter_map(Value::as_str);
            actions.collect::<Vec<_>>().join(", ")
        };
        let holder = change.get("holder").and_then(Value::as_str);
        for (sign, actions) in [('+', words("gains")), ('-', words("loses"))] {
            if !actions.is_empty() {
                println!(
                    "    {DIM}{sign} {}: {actions}{DIM:#}",
                    holder.unwrap_or("?")
                );
            }
        }
    }
}

/// The history, one line per step.
fn show(history: &Value) {
    let events = history.get("events").and_then(Value::as_array);
    for event in events.into_iter().flatten() {
        let text = |at: &str| event.pointer(at).and_then(Value::as_str);
        let time = text("/time").and_then(|time| time.get(..19));
        println!(
            "{}  {:<11} {} {} {}",
            time.unwrap_or("?"),
            text("/step").unwrap_or("?"),
            text("/by/subject").unwrap_or("(nobody)"),
            text("/candidate/revision").unwrap_or(""),
            text("/reason").unwrap_or(""),
        );
        differences(event);
    }
}
