//! Measures finding the model's name in a body, compared with `serde_json` parsing the same bytes into
//! a tree, and skipping over them.
//!
//! `cargo run --release -p spanner-benches --bin bodies`. Variants are interleaved in each
//! round. Each figure is the median of all rounds. `--rounds N` sets their number (default 60).

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use spanner_tower::{Limits, Resolver, surface};
use tokio::runtime::Runtime;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let rounds = rounds()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut limits = Limits::default();
    limits.body = 16 << 20;
    let resolver = Resolver::new(vec![surface::openai()])?.limits(limits);
    println!("{rounds} rounds; medians; megabytes per second, and serde_json beside it\n");
    println!("| body | bytes | Spanner | serde_json, passed over | serde_json, as a tree |");
    println!("|---|--:|--:|--:|--:|");
    for (name, body) in bodies() {
        let body = Bytes::from(body);
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            let ours = timed(|| resolve(&runtime, &resolver, &body))?;
            let over = timed(|| read::<IgnoredAny>(&body))?;
            let tree = timed(|| read::<Value>(&body))?;
            for (times, time) in times.iter_mut().zip([ours, over, tree]) {
                times.push(time);
            }
        }
        let speeds = times.map(|times| speed(body.len(), times));
        let [ours, over, tree] = speeds;
        println!(
            "| {name} | {} | {ours:.0} | {over:.0} | {tree:.0} |",
            body.len()
        );
    }
    Ok(())
}

fn rounds() -> Result<usize, Failure> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(60),
        (Some("--rounds"), Some(rounds)) => Ok(rounds.parse::<usize>()?.max(1)),
        _ => Err("the only option is `--rounds N`".into()),
    }
}

/// Bodies with the model's name first, followed by much other content.
fn bodies() -> Vec<(&'static str, String)> {
    const LARGE: usize = 8_000_000;
    let with = |rest: String| format!(r#"{{"model":"acme/m","x":{rest}}}"#);
    let turn = r#"{"role":"user","content":"Tell me, in \"two\" words, what it is.\n"}"#;
    vec![
        ("a chat", with(format!("[{}]", [turn; 4].join(",")))),
        (
            "a long chat",
            with(format!("[{}]", [turn; 4_000].join(","))),
        ),
        (
            "an image",
            with(format!("\"{}\"", "iVBORw0K".repeat(LARGE / 8))),
        ),
        (
            "a list of numbers",
            with(format!("[{}0]", "0,".repeat(LARGE / 2))),
        ),
        (
            "embeddings",
            with(format!("[{}0]", "-0.0123456,".repeat(LARGE / 11))),
        ),
        (
            "escapes",
            with(format!("\"{}\"", r"\u00e9\n".repeat(LARGE / 8))),
        ),
    ]
}

fn resolve(runtime: &Runtime, resolver: &Resolver, body: &Bytes) -> Result<(), Failure> {
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(body.clone()))?;
    let resolved = runtime.block_on(resolver.resolve(request));
    let resolved = resolved.map_err(|refusal| refusal.code())?;
    black_box(resolved);
    Ok(())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<(), Failure> {
    let read: T = serde_json::from_slice(body)?;
    black_box(&read);
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

/// Megabytes per second at the median.
fn speed(bytes: usize, mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    bytes as f64 / 1e6 / median.as_secs_f64().max(1e-9)
}
