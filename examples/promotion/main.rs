//! A model's way into production, with its access: `cargo run --release --example promotion`.
//!
//! It starts an OpenID provider, a model server guarded twice (as staging and as production),
//! the administration API and a ledger in a temporary folder. Several people register a model, call
//! it, propose it, sign, promote, edit and restore it, over HTTP. Every response is checked. At the
//! end, `history` shows who approved what. The exit status is 1 if a result is unexpected.

mod stage;
mod story;

use std::process::ExitCode;

use anstream::{eprintln, println};

use spanner_examples::telling::{BAD, GOOD};
use stage::Stage;

/// Any error that ends the example.
type Stop = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match tell().await {
        Ok((steps, 0)) => {
            println!("{GOOD}All {steps} steps went as the story says.{GOOD:#}");
            ExitCode::SUCCESS
        }
        Ok((_, differences)) => {
            eprintln!("{BAD}{differences} steps differ from the story{BAD:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{BAD}the story stops: {error}{BAD:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all steps. Returns their number, and how many had an unexpected result.
async fn tell() -> Result<(usize, usize), Stop> {
    let mut stage = Stage::set().await?;
    story::tell(&mut stage).await?;
    Ok((stage.steps, stage.differences))
}
