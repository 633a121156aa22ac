//! A tour of Spanner in one run, with nothing to install:
//! `cargo run --release --example quickstart`.
//!
//! It starts an OpenID provider, a model server behind two guards (for staging and for production),
//! and a ledger in a temporary folder. It sends HTTP calls as several people, an agent and a few
//! unauthorized clients, checks every response, and prints the ledger. The exit status is 1 if a
//! result is unexpected.
//!
//! With `--serve` it keeps running and prints `curl` lines with tokens to try.

mod scenes;
mod stage;

use std::process::ExitCode;

use anstream::{eprintln, println};

use scenes::{Reply, Scene};
use spanner_examples::telling::{BAD, DIM, GOOD, TITLE};
use spanner_report::table;
use stage::Stage;

/// Any error that ends the example.
type Stop = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let serve = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--serve") => true,
        Some(other) => {
            eprintln!("unknown argument `{other}`; the only one is `--serve`");
            return ExitCode::from(2);
        }
    };
    match run(serve).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(differences) => {
            eprintln!("{BAD}{differences} calls differ from the story{BAD:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{BAD}the story stops: {error}{BAD:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all calls. Returns how many had an unexpected result.
async fn run(serve: bool) -> Result<usize, Stop> {
    let stage = Stage::set().await?;
    println!("{TITLE}Who may call which model, where?{TITLE:#}");
    let scenes = scenes::all(&stage).await?;
    let mut replies = Vec::new();
    for scene in &scenes {
        let reply = scene.play(&stage).await?;
        show(scene, &reply);
        replies.push(reply);
    }
    let rows = stage.rows(scenes.len()).await?;
    println!("\n{TITLE}What the ledger says{TITLE:#}\n{}", table(&rows));
    let unlike = |(scene, reply): &(&Scene, &Reply)| {
        !scene.is_as_told(reply) || !scene.is_recorded(reply, &rows)
    };
    let differing: Vec<_> = scenes.iter().zip(&replies).filter(unlike).collect();
    for (scene, _) in &differing {
        println!(
            "{BAD}{}: expected {}{BAD:#}",
            scene.title,
            scene.expectation()
        );
    }
    let differences = differing.len() + rows.len().abs_diff(scenes.len());
    if differences == 0 {
        println!(
            "{GOOD}All {} calls went as the story says.{GOOD:#}",
            scenes.len()
        );
    }
    if serve {
        stage.invite().await?;
    }
    Ok(differences)
}

fn show(scene: &Scene, reply: &Reply) {
    let (style, mark) = if scene.is_as_told(reply) {
        (GOOD, "✓")
    } else {
        (BAD, "✗")
    };
    let whose = match (reply.status, &*reply.fault) {
        (200..=299, _) => String::new(),
        (_, fault) => format!(" {fault}"),
    };
    println!(
        "{style}{mark}{style:#} {:<55} {}{whose}",
        scene.title, reply.status
    );
    println!("    {DIM}{}{DIM:#}", reply.text);
}
