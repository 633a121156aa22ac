//! What the proxy counts, beside what the guard counts
//! ([`spanner_tower::metered`]): every label is the operator's own word or Spanner's.
//!
//! | metric | kind | labels | |
//! |---|---|---|---|
//! | `spanner_upstream_seconds` | histogram | upstream, status | until an upstream began to answer |
//! | `spanner_upstream_failures_total` | counter | upstream, failure | requests without an answer |
//! | `spanner_connections` | gauge | | callers' connections that are open |
//! | `spanner_refused_connections_total` | counter | share | connections for which there was no place: of all, or of their address |
//! | `spanner_closed_connections_total` | counter | why | connections that were closed to make room (`idle`), or for frames that do no work (`flood`) |
//! | `spanner_ship_lag_seconds` | gauge | shipment | age of the oldest entry that is read and not sent |
//! | `spanner_ship_undelivered` | gauge | shipment | entries of the ledger that are still to be sent |
//! | `spanner_ship_delivered`, `_set_aside`, `_lost` | gauge | shipment | entries since the start |
//! | `spanner_ship_failing` | gauge | shipment | 1 while the receiver takes nothing |
//! | `spanner_checkpoint_unshipped` | gauge | place | 1 while the newest checkpoint is not there |
//! | `spanner_checkpoint_entries` | gauge | place | entries under the newest checkpoint that is there |
//! | `spanner_reloads_total` | counter | what, result | access and revocations read again |
//! | `spanner_stale` | gauge | what | 1 while what was read last is not in force |
//! | `spanner_ledger_entries`, `spanner_ledger_signed_entries` | gauge | | entries written, and those under the newest checkpoint |
//! | `spanner_ledger_failing` | gauge | | 1 while decisions do not become durable |

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::failure::Failure;

/// The recorder of this process: there can be one only.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Bounds of the histograms, in seconds: from a key at hand to the longest wait for a model.
const BOUNDS: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0,
    300.0,
];

/// Begins to count. Does nothing where that has begun, or somebody else counts.
pub(crate) fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&BOUNDS).ok()?;
        builder.install_recorder().ok()
    });
}

/// Everything counted so far, as Prometheus reads it; `None` where somebody else counts.
pub(crate) fn page() -> Option<String> {
    let handle = RECORDER.get()?.as_ref()?;
    handle.run_upkeep();
    Some(handle.render())
}

/// Keeps what was observed small where nobody asks for the page.
pub(crate) fn upkeep() {
    if let Some(Some(handle)) = RECORDER.get() {
        handle.run_upkeep();
    }
}

pub(crate) fn answered(upstream: &Arc<str>, status: StatusCode, time: Duration) {
    let class = match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    histogram!("spanner_upstream_seconds", "upstream" => Arc::clone(upstream), "status" => class)
        .record(time.as_secs_f64());
}

pub(crate) fn failed(upstream: &Arc<str>, failure: Failure) {
    let failure = failure.as_str();
    counter!(
        "spanner_upstream_failures_total",
        "upstream" => Arc::clone(upstream), "failure" => failure
    )
    .increment(1);
}

pub(crate) fn reloaded(what: &'static str, good: bool) {
    let result = if good { "in_force" } else { "refused" };
    counter!("spanner_reloads_total", "what" => what, "result" => result).increment(1);
}

pub(crate) fn stale(what: &'static str, is_stale: bool) {
    gauge!("spanner_stale", "what" => what).set(f64::from(u8::from(is_stale)));
}

/// A connection was closed for frames that do no work.
pub(crate) fn cut_off() {
    counter!("spanner_closed_connections_total", "why" => "flood").increment(1);
}

/// A connection without a request was closed, for others or after a long time.
pub(crate) fn closed_idle() {
    counter!("spanner_closed_connections_total", "why" => "idle").increment(1);
}

/// A connection was not taken.
pub(crate) fn turned_away(share: &'static str) {
    counter!("spanner_refused_connections_total", "share" => share).increment(1);
}

/// A caller's connection, counted while it is open.
#[derive(Debug)]
pub(crate) struct Connected(());

impl Connected {
    pub(crate) fn begin() -> Self {
        gauge!("spanner_connections").increment(1.0);
        Self(())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        gauge!("spanner_connections").decrement(1.0);
    }
}
