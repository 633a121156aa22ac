//! Measures a start: compiling surfaces and building a guard for each, with one surface and with all
//! built-in ones, compared with only parsing the same files as TOML.
//!
//! `cargo run --release -p spanner-benches --bin start`. Each figure is the median of several
//! processes, since compiled surfaces are cached for the life of a process. `--rounds N` sets their
//! number (default 15).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use spanner_core::testing::{MemorySink, Rules};
use spanner_tower::mock_idp::MockIdp;
use spanner_tower::{Bearer, GuardLayer, surface};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The variants: the argument of the child process, and the row of the table.
const VARIANTS: [(&str, &str); 4] = [
    ("parse", "all files parsed as TOML, nothing compiled"),
    ("one", "`openai` compiled, and one guard"),
    ("all", "all surfaces compiled, and a guard for each"),
    ("access", "an access directory loaded (the example's)"),
];

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => table(15),
        ["--rounds", rounds] => table(rounds.parse()?),
        ["--once", variant] => {
            println!("{}", once(variant)?.as_micros());
            Ok(())
        }
        _ => Err("usage: start [--rounds N]".into()),
    }
}

fn table(rounds: usize) -> Result<(), Failure> {
    println!(
        "{} surfaces; medians of {rounds} processes\n",
        surface::built_in().count()
    );
    println!("| start | ms |");
    println!("|---|--:|");
    let program = std::env::current_exe()?;
    for (variant, row) in VARIANTS {
        let mut times = Vec::new();
        for _ in 0..rounds.max(1) {
            let output = Command::new(&program).args(["--once", variant]).output()?;
            let text = String::from_utf8(output.stdout)?;
            times.push(text.trim().parse::<u32>()?);
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        println!("| {row} | {:.1} |", f64::from(median) / 1_000.0);
    }
    Ok(())
}

fn once(variant: &str) -> Result<Duration, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match variant {
        "parse" => {
            let mut texts = Vec::new();
            for name in surface::built_in().filter(|name| *name != "open-inference") {
                let file = root.join(format!("spanner-tower/surfaces/{name}.toml"));
                texts.push(fs::read_to_string(file)?);
            }
            timed(|| {
                for text in &texts {
                    toml::from_str::<toml::Table>(text)?;
                }
                Ok(())
            })
        }
        "one" => guards(&["openai"]),
        "all" => guards(&surface::built_in().collect::<Vec<_>>()),
        "access" => timed(|| {
            spanner_cedar::Cedar::from_dir(root.join("examples/access"))?;
            Ok(())
        }),
        _ => Err("no such variant".into()),
    }
}

fn guards(names: &[&str]) -> Result<Duration, Failure> {
    let idp = MockIdp::new();
    let issuer = idp.issuer_config().audience("models");
    let callers = Bearer::builder().issuer(issuer).build()?;
    timed(|| {
        for name in names {
            let surface = surface::named(name).ok_or("no such surface")?;
            GuardLayer::builder(callers.clone(), Rules::allow(|_| true), MemorySink::new())
                .environment("production".parse()?)
                .surface(surface)
                .danger()
                .allow_unaudited()
                .build()?;
        }
        Ok(())
    })
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}
