//! One service with three identity providers, each with its own kind of token:
//! `examples/identities/run` starts everything.
//!
//! The company's provider is the npm package `oidc-provider`, which is certified. It has people with
//! signed and with opaque tokens, services with and without proof of possession, and an agent that
//! acts for people. Jobs of GitHub Actions and pods of a Kubernetes cluster have workload identities;
//! keys in this process replace their providers, with the claims of real tokens. `providers.toml`
//! configures all of them.
//!
//! `cargo run --example identities` alone replaces the company's provider too, and skips the calls
//! that need the real one. With the provider's address as an argument, it uses that.

mod corp;
mod stage;
mod story;

use std::process::ExitCode;

use anstream::{eprintln, println};
use spanner_examples::telling::{BAD, DIM, GOOD, TITLE};
use spanner_report::table;

use stage::Stage;

/// Any error that ends the example.
type Stop = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let provider = arguments.next();
    if arguments.next().is_some()
        || provider
            .as_deref()
            .is_some_and(|it| !it.starts_with("http"))
    {
        eprintln!("usage: identities [http://127.0.0.1:PORT], the address of the provider");
        return ExitCode::from(2);
    }
    match run(provider).await {
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
async fn run(provider: Option<String>) -> Result<usize, Stop> {
    let real = provider.is_some();
    let stage = Stage::set(provider).await?;
    println!("{TITLE}Who is calling?{TITLE:#}");
    let mut differing = 0;
    let mut calls = 0;
    for scene in story::all(real) {
        let reply = scene.play(&stage).await?;
        calls += 1;
        let told = reply.is(&scene);
        differing += usize::from(!told);
        let (style, mark) = if told { (GOOD, "✓") } else { (BAD, "✗") };
        println!(
            "{style}{mark}{style:#} {:<58} {}",
            scene.title, reply.status
        );
        println!("    {DIM}{}{DIM:#}", reply.text);
    }
    let rows = stage.rows(calls).await?;
    println!("\n{TITLE}What the ledger says{TITLE:#}\n{}", table(&rows));
    let recorded = story::all(real).into_iter().zip(&rows);
    for (scene, _) in recorded.filter(|(scene, row)| !scene.is_recorded(row)) {
        differing += 1;
        let expected = scene.expectation();
        println!(
            "{BAD}{}: expected {expected} in the record{BAD:#}",
            scene.title
        );
    }
    println!("{TITLE}How the providers stand{TITLE:#}");
    for issuer in stage.readiness() {
        println!("{issuer}");
    }
    if differing == 0 {
        println!("\n{GOOD}All {calls} calls went as the story says.{GOOD:#}");
    }
    if !real {
        println!(
            "The company's provider was played by this process: examples/identities/run has a real one."
        );
    }
    Ok(differing)
}
