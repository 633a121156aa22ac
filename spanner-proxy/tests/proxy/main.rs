//! The proxy as those around it see it: callers, model servers, operators.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod access;
mod calls;
mod canary;
mod commands;
mod config;
mod grpc;
mod kills;
mod names;
mod operators;
mod places;
mod probes;
mod process;
mod reload;
mod routing;
mod shipping;
mod support;
mod unread;
mod witness;
