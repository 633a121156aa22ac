//! The proxy as those around it see it: callers, model servers, operators.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod calls;
mod checkpoints;
mod config;
mod draining;
mod grpc;
mod limits;
mod probes;
mod reload;
mod routing;
mod shipping;
mod support;
