//! The proxy as those around it see it: callers, model servers, operators.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod calls;
mod config;
mod grpc;
mod places;
mod probes;
mod reload;
mod routing;
mod shipping;
mod support;
mod unread;
mod witness;
