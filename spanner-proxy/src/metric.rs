//! The metrics of the proxy and of its guards, with the texts that scrapers show (`# HELP`).

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// What it measures, in which unit.
    pub help: &'static str,
}

/// A kind of metric (OpenMetrics §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution, in buckets.
    Histogram,
}

impl Metric {
    const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = MetricKind::Counter;
        Self { name, kind, help }
    }

    const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = MetricKind::Gauge;
        Self { name, kind, help }
    }

    const fn histogram(name: &'static str, help: &'static str) -> Self {
        let kind = MetricKind::Histogram;
        Self { name, kind, help }
    }

    /// Gives the recorder of this process the text.
    pub(crate) fn describe(&self) {
        match self.kind {
            MetricKind::Counter => metrics::describe_counter!(self.name, self.help),
            MetricKind::Gauge => metrics::describe_gauge!(self.name, self.help),
            MetricKind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// Every metric of `/spanner/metrics`.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "spanner_decisions_total",
        "requests that were decided and recorded, by service, environment, surface, issuer, model, action, effect, reason",
    ),
    Metric::counter("spanner_outcomes_total", "how requests ended, by class"),
    Metric::histogram(
        "spanner_request_seconds",
        "seconds from arrival to the end of the response",
    ),
    Metric::gauge("spanner_requests_in_flight", "requests without an outcome"),
    Metric::histogram(
        "spanner_record_seconds",
        "seconds until a decision was durable",
    ),
    Metric::counter(
        "spanner_record_failures_total",
        "decisions that could not be recorded, and so were not served",
    ),
    Metric::counter(
        "spanner_unrecorded_total",
        "requests that were counted and not recorded",
    ),
    Metric::counter(
        "spanner_candidate_differs_total",
        "decisions that the shadow access would have made otherwise",
    ),
    Metric::counter(
        "spanner_token_cache_total",
        "look-ups of verified tokens: hit, miss",
    ),
    Metric::counter(
        "spanner_introspections_total",
        "questions about opaque tokens: active, inactive, failed",
    ),
    Metric::gauge(
        "spanner_issuer_ready",
        "1 if the callers of an issuer can be identified",
    ),
    Metric::gauge(
        "spanner_issuer_keys_age_seconds",
        "age of an issuer's keys, in seconds",
    ),
    Metric::counter(
        "spanner_rotate_soon_total",
        "requests with a credential past 80 % of its permitted age",
    ),
    Metric::histogram(
        "spanner_upstream_seconds",
        "seconds until an upstream began to respond",
    ),
    Metric::counter(
        "spanner_upstream_failures_total",
        "requests that an upstream did not answer",
    ),
    Metric::gauge("spanner_connections", "open connections of callers"),
    Metric::counter(
        "spanner_refused_connections_total",
        "connections without a place: of all, or of their address",
    ),
    Metric::counter(
        "spanner_closed_connections_total",
        "connections closed to make room (idle), or for frames without work (flood)",
    ),
    Metric::gauge("spanner_ledger_entries", "entries written to the ledger"),
    Metric::gauge(
        "spanner_ledger_signed_entries",
        "entries under the newest checkpoint",
    ),
    Metric::gauge(
        "spanner_ledger_failing",
        "1 while decisions do not become durable",
    ),
    Metric::gauge(
        "spanner_checkpoint_unshipped",
        "1 while the newest checkpoint is not at its destination",
    ),
    Metric::gauge(
        "spanner_checkpoint_entries",
        "entries under the newest checkpoint at its destination",
    ),
    Metric::gauge(
        "spanner_ship_lag_seconds",
        "age of the oldest entry that is not sent, in seconds",
    ),
    Metric::gauge("spanner_ship_undelivered", "entries that are not sent"),
    Metric::gauge("spanner_ship_delivered", "entries sent since the start"),
    Metric::gauge(
        "spanner_ship_set_aside",
        "entries that the receiver rejected since the start",
    ),
    Metric::gauge(
        "spanner_ship_lost",
        "entries that retention removed before they were sent, since the start",
    ),
    Metric::gauge("spanner_ship_failing", "1 while a receiver takes nothing"),
    Metric::counter(
        "spanner_reloads_total",
        "files that were read again, by kind and result",
    ),
    Metric::gauge(
        "spanner_stale",
        "1 while the newest content of a file is not in force",
    ),
    Metric::gauge(
        "spanner_promotions_unapproved",
        "models in force that were adopted and that nobody approved",
    ),
    Metric::gauge(
        "spanner_promotions_void_grants",
        "parts of promoted manifests that name what no longer exists",
    ),
];
