//! What the proxy measures, besides what its guards do ([`spanner_tower::metered`]). [`METRICS`]
//! lists both. Every label value comes from the configuration or from Spanner, never from a request.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use spanner_admin::operate::MonitoredLedger;

use crate::failure::Failure;
use crate::metric::{METRICS, Metric};

/// The recorder of this process, of which there can be only one.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Bounds of the histograms, in seconds: from a decision with cached keys to the longest wait for a
/// model.
const BOUNDS: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0,
    300.0,
];

/// Installs the recorder. Does nothing if the process has one already.
pub(crate) fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&BOUNDS).ok()?;
        let handle = builder.install_recorder().ok()?;
        METRICS.iter().for_each(Metric::describe);
        Some(handle)
    });
}

/// All metrics in the text format of Prometheus; `None` if the process has a recorder of its own.
pub(crate) fn page() -> Option<String> {
    let handle = RECORDER.get()?.as_ref()?;
    handle.run_upkeep();
    Some(handle.render())
}

/// The page without labels that name a model, an issuer, a server, a shipment or a checkpoint sink.
/// Series that differ only in these are merged: counters are added, and of gauges the greatest
/// counts.
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

/// The name of a series with its public labels.
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

/// Labels that reveal nothing about the systems behind the service.
const PUBLIC: &[&str] = &[
    "service",
    "environment",
    "surface",
    "action",
    "effect",
    "reason",
    "result",
    "share",
    "what",
    "why",
    "status",
    "failure",
    "class",
    "kind",
    "le",
    "quantile",
];

/// Bounds the memory of histograms while nothing scrapes the page.
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

/// Counts a connection that was closed for too many frames without content.
pub(crate) fn cut_off() {
    counter!("spanner_closed_connections_total", "why" => "flood").increment(1);
}

/// Counts an idle connection that was closed, for another or after `idle`.
pub(crate) fn closed_idle() {
    counter!("spanner_closed_connections_total", "why" => "idle").increment(1);
}

/// Counts a connection that was refused.
pub(crate) fn refused(share: &'static str) {
    counter!("spanner_refused_connections_total", "share" => share).increment(1);
}

/// Counts a caller's connection while it is open.
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
    fn the_public_page_names_nothing_behind_the_service() {
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

# TYPE spanner_refused_connections_total counter
spanner_refused_connections_total{share="connections"} 1
spanner_refused_connections_total{share="connections_per_peer"} 2

# TYPE spanner_closed_connections_total counter
spanner_closed_connections_total{why="idle"} 3
spanner_closed_connections_total{why="flood"} 4
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

# TYPE spanner_refused_connections_total counter
spanner_refused_connections_total{share="connections"} 1
spanner_refused_connections_total{share="connections_per_peer"} 2

# TYPE spanner_closed_connections_total counter
spanner_closed_connections_total{why="idle"} 3
spanner_closed_connections_total{why="flood"} 4
"#;
        assert_eq!(without_names(page), expected);
    }
}
