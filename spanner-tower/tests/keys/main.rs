//! Keys and bearer tokens: what providers do wrong, and what comes of it for callers.
//!
//! Time is virtual: only the clock of the test's runtime moves. Tokens are dated by a fixed
//! time, so that they neither expire nor age while it does.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod cache;
mod config;
mod file;
mod http;
mod source;
mod support;
