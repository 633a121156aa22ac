//! What was tried against others, over real sockets: `tests/data/attacks.toml`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod connections;
mod frames;
mod rows;
mod stage;
mod upstream;
