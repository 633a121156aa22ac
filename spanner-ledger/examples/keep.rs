//! Writes a ledger of 70,000 entries and ships its checkpoints to a file.
//!
//! `cargo run -p spanner-ledger --example keep -- DIR FILE`; then
//! `spanner ledger verify DIR --checkpoint FILE`.

use std::error::Error;

use spanner_ledger::{CheckpointFile, Durability, Ledger};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("give a directory for the ledger and a file for its checkpoints".into());
    };
    let ledger = Ledger::builder(dir)
        .durability(Durability::Relaxed)
        .segment_bytes(1 << 20)
        .origin("example.com/ledger")
        .checkpoints(CheckpointFile::append(file)?)
        .open()?;
    for number in 0..70_000 {
        let body = serde_json::json!({ "number": number });
        while ledger.event("example.happened", body.clone()).is_err() {
            std::thread::yield_now();
        }
        if number % 10_000 == 77 {
            ledger.checkpoint_now().ok_or("no checkpoint was made")?;
        }
    }
    Ok(ledger.close()?)
}
