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
//! | `spanner_reloads_total` | counter | what, result | access, revocations, keys and credentials read again |
//! | `spanner_stale` | gauge | what | 1 while what was read last is not in force |
//! | `spanner_ledger_entries`, `spanner_ledger_signed_entries` | gauge | | entries written, and those under the newest checkpoint |
//! | `spanner_promotions_unapproved` | gauge | environment | models in force that were adopted and that nobody approved |
//! | `spanner_promotions_void_grants` | gauge | | parts of promoted manifests that name what is gone, and grant nothing |
//! | `spanner_ledger_failing` | gauge | | 1 while decisions do not become durable |

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use spanner_admin::operate::MonitoredLedger;

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

/// The page without the labels that name a model, an issuer, a server, a shipment or a place:
/// what differed only in those is added up, and of states the greatest is shown.
pub(crate) fn without_names(page: &str) -> String {
    let (mut out, mut family, mut adds) = (String::new(), Vec::new(), true);
    for line in page.lines() {
        if line.is_empty() || line.starts_with('#') {
            flush(&mut family, &mut out);
            let kind = line
                .strip_prefix("# TYPE ")
                .and_then(|it| it.rsplit(' ').next());
            adds = kind.map_or(adds, |kind| kind != "gauge");
            out.push_str(line);
            out.push('\n');
        } else if let Some((series, value)) = line.rsplit_once(' ')
            && let Ok(value) = value.parse::<f64>()
        {
            let series = unnamed(series);
            let known = family.iter_mut().find(|(other, _)| *other == series);
            match known {
                Some((_, sum)) if adds => *sum += value,
                Some((_, most)) => *most = most.max(value),
                None => family.push((series, value)),
            }
        }
    }
    flush(&mut family, &mut out);
    out
}

fn flush(family: &mut Vec<(String, f64)>, out: &mut String) {
    for (series, value) in family.drain(..) {
        out.push_str(&format!("{series} {value}\n"));
    }
}

/// The name of a series with the labels that anybody may see.
fn unnamed(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else {
        return series.to_owned();
    };
    let (mut kept, mut rest) = (Vec::new(), labels);
    while let Some((key, after)) = rest.split_once("=\"") {
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some((value, behind)) = end.and_then(|end| after.split_at_checked(end)) else {
            break;
        };
        let key = key.trim_start_matches(',');
        if PUBLIC.contains(&key) {
            kept.push(format!("{key}=\"{value}\""));
        }
        rest = behind.strip_prefix('"').unwrap_or_default();
    }
    match kept.is_empty() {
        true => name.to_owned(),
        false => format!("{name}{{{}}}", kept.join(",")),
    }
}

/// The labels that name nothing of what is behind the service.
const PUBLIC: &[&str] = &[
    "service",
    "environment",
    "surface",
    "action",
    "effect",
    "reason",
    "result",
    "what",
    "status",
    "failure",
    "class",
    "kind",
    "le",
    "quantile",
];

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

pub(crate) fn unapproved(environment: &str, models: usize) {
    gauge!("spanner_promotions_unapproved", "environment" => environment.to_owned())
        .set(models as f64);
}

/// How much of the ledger is written and signed, and whether it stores.
pub(crate) fn ledger(ledger: &MonitoredLedger) {
    let (written, signed) = ledger.entries();
    gauge!("spanner_ledger_entries").set(written as f64);
    gauge!("spanner_ledger_signed_entries").set(signed as f64);
    gauge!("spanner_ledger_failing").set(f64::from(u8::from(ledger.is_failing())));
}

pub(crate) fn void_grants(count: usize) {
    gauge!("spanner_promotions_void_grants").set(count as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_what_is_behind_is_named_to_strangers() {
        let page = r#"# TYPE spanner_decisions_total counter
spanner_decisions_total{service="s",model="acme/a",effect="allow"} 2
spanner_decisions_total{service="s",model="acme/b\"},x",effect="allow"} 3
spanner_decisions_total{service="s",model="acme/a",effect="deny"} 1

# TYPE spanner_issuer_ready gauge
spanner_issuer_ready{issuer="corp"} 1
spanner_issuer_ready{issuer="other"} 0

# TYPE spanner_upstream_seconds histogram
spanner_upstream_seconds_bucket{upstream="10.0.0.1:80",status="2xx",le="0.5"} 1
spanner_upstream_seconds_bucket{upstream="10.0.0.2:80",status="2xx",le="0.5"} 4
spanner_upstream_seconds_sum{upstream="10.0.0.1:80",status="2xx"} 0.25

spanner_connections 7
"#;
        let expected = r#"# TYPE spanner_decisions_total counter
spanner_decisions_total{service="s",effect="allow"} 5
spanner_decisions_total{service="s",effect="deny"} 1

# TYPE spanner_issuer_ready gauge
spanner_issuer_ready 1

# TYPE spanner_upstream_seconds histogram
spanner_upstream_seconds_bucket{status="2xx",le="0.5"} 5
spanner_upstream_seconds_sum{status="2xx"} 0.25

spanner_connections 7
"#;
        assert_eq!(without_names(page), expected);
    }
}
