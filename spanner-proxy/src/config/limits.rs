//! `[limits]`: what one connection, one address or one caller may hold, and for how long.

use std::time::Duration;

use spanner_tower::Limits;

use super::fields::Fields;

/// The limits, as configured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// How many connections one address may have open; for IPv6, one network of 64 bits.
    /// Default: half of `max_connections`, since all callers have one address where a load
    /// balancer stands in front.
    pub connections_per_peer: usize,
    /// How many requests one caller may have under way with one upstream. Default: 512.
    pub requests_per_caller: usize,
    /// How long is waited for the part of a body that decides. Default: 30 s.
    pub body_wait: Duration,
    /// How long is waited for the first piece of a body, and for each next one. Default:
    /// 20 s.
    pub body_pause: Duration,
    /// How long a stream or a WebSocket may go on without a message, and a connection
    /// without a request. Default: 10 min.
    pub idle: Duration,
    /// How long a client may take nothing of an answer. Default: 60 s.
    pub stall: Duration,
    /// How many bytes of all callers' bodies may wait for a decision, over all upstreams;
    /// of each, the first 64 KiB are not counted. Default: 256 MiB. One more is refused with
    /// 503.
    pub held_bytes: usize,
    /// How many of one caller. Default: 128 MiB. One more is refused with 429.
    pub held_bytes_per_caller: usize,
    /// How long what was allowed goes on at most after the caller's credential expired or was
    /// revoked, or the access stopped allowing it: streams, WebSockets, transfers. Default:
    /// 1 min.
    pub outlive: Duration,
}

pub(super) const KEYS: &[&str] = &[
    "connections_per_peer",
    "requests_per_caller",
    "body_wait",
    "body_pause",
    "idle",
    "stall",
    "held_bytes",
    "held_bytes_per_caller",
    "outlive",
];

/// Longer than a reader stops to think, shorter than somebody waits for its place.
const STALL: Duration = Duration::from_secs(60);

impl LimitsConfig {
    pub(super) fn read(section: Option<Fields<'_>>, max_connections: usize) -> Self {
        let guard = Limits::default();
        let count = |key| section.and_then(|section| section.count(key));
        let time = |key, otherwise| {
            let given = section.and_then(|section| section.time(key));
            given.unwrap_or(otherwise)
        };
        Self {
            connections_per_peer: count("connections_per_peer")
                .unwrap_or_else(|| (max_connections / 2).max(1)),
            requests_per_caller: count("requests_per_caller").unwrap_or(guard.per_caller),
            body_wait: time("body_wait", guard.body_wait),
            body_pause: time("body_pause", guard.body_pause),
            idle: time("idle", guard.idle),
            stall: time("stall", STALL),
            held_bytes: count("held_bytes").unwrap_or(guard.bytes),
            held_bytes_per_caller: count("held_bytes_per_caller").unwrap_or(guard.bytes_per_caller),
            outlive: time("outlive", guard.outlive),
        }
    }

    /// The same for a guard.
    pub(crate) fn of_guard(&self) -> Limits {
        let mut limits = Limits::default();
        limits.per_caller = self.requests_per_caller;
        limits.body_wait = self.body_wait;
        limits.body_pause = self.body_pause;
        limits.idle = self.idle;
        limits.bytes = self.held_bytes;
        limits.bytes_per_caller = self.held_bytes_per_caller;
        limits.outlive = self.outlive;
        limits
    }
}
