//! `[limits]`: what one connection, one address or one caller may hold, and for how long.

use std::time::Duration;

use spanner_toml::{Key, Kind, Problems, Table};
use spanner_tower::Limits;

/// The limits, as configured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// How many connections one address may have open; for IPv6, one network of 64 bits.
    /// Default: half of `max_connections`, since all callers have one address behind a load
    /// balancer.
    pub connections_per_peer: usize,
    /// How many requests of one caller may be in progress with one upstream. Default: 512.
    pub requests_per_caller: usize,
    /// How long the guard waits for the part of a body that decides. Default: 30 s.
    pub body_wait: Duration,
    /// How long the guard waits for the first piece of a body, and for each next one. Default:
    /// 20 s.
    pub body_pause: Duration,
    /// How long a stream or a WebSocket may go on without a message, and a connection
    /// without a request. Default: 10 min.
    pub idle: Duration,
    /// How long a client may accept nothing of a response. Default: 60 s.
    pub stall: Duration,
    /// How many bytes of bodies may wait for a decision, over all callers and upstreams. The first
    /// 64 KiB of each body do not count. Default: 256 MiB. A request over the limit gets 503.
    pub held_bytes: usize,
    /// The same for one caller with one upstream. Default: 128 MiB. A request over the limit gets
    /// 429.
    pub held_bytes_per_caller: usize,
    /// How long a stream, WebSocket or transfer may continue after the caller's credential expired or
    /// was revoked, or the access no longer allows it. Default: 1 min.
    pub outlive: Duration,
}

pub(super) const KEYS: &[Key] = &[
    Key::new("connections_per_peer", COUNT, "Open connections of one address; for IPv6, of one network of 64 bits. Default: half of `max_connections`, since all callers have one address behind a load balancer."),
    Key::new("requests_per_caller", COUNT, "Requests of one caller that are under way with one upstream. One more gets 429.").default("512"),
    Key::new("body_wait", Kind::Duration, "How long the guard waits for the part of a body that decides.").default("\"30s\""),
    Key::new("body_pause", Kind::Duration, "How long the guard waits for the first piece of a body, and for each next one.").default("\"20s\""),
    Key::new("idle", Kind::Duration, "How long a stream or a WebSocket may go on without a message, and a connection without a request.").default("\"10m\""),
    Key::new("stall", Kind::Duration, "How long a client may take nothing of a response.").default("\"60s\""),
    Key::new("held_bytes", Kind::Size, "Bytes of all bodies that wait for a decision, over all upstreams. The first 64 KiB of each are not counted. One more gets 503.").default("\"256 MiB\""),
    Key::new("held_bytes_per_caller", Kind::Size, "The same for one caller with one upstream. One more gets 429.").default("\"128 MiB\""),
    Key::new("outlive", Kind::Duration, "How long a stream, a WebSocket or a transfer goes on at most after its token expired or was revoked, or the access stopped allowing it.").default("\"1m\""),
];

/// A number from 1.
pub(super) const COUNT: Kind = Kind::Number {
    min: 1,
    max: u32::MAX as u64,
};

/// Longer than a client pauses between reads, shorter than other callers would wait for the slot.
const STALL: Duration = Duration::from_secs(60);

impl LimitsConfig {
    pub(super) fn read(
        section: Option<Table<'_>>,
        max_connections: usize,
        problems: &mut Problems,
    ) -> Self {
        let guard = Limits::default();
        let count = |key, problems: &mut Problems| Some(section?.count(key, problems)?.value);
        let size = |key, problems: &mut Problems| {
            let size = section?.size(key, problems)?;
            Some(usize::try_from(size.value).unwrap_or(usize::MAX))
        };
        let time = |key, otherwise, problems: &mut Problems| {
            let given = section.and_then(|section| section.timeout(key, problems));
            given.unwrap_or(otherwise)
        };
        Self {
            connections_per_peer: count("connections_per_peer", problems)
                .unwrap_or_else(|| (max_connections / 2).max(1)),
            requests_per_caller: count("requests_per_caller", problems).unwrap_or(guard.per_caller),
            body_wait: time("body_wait", guard.body_wait, problems),
            body_pause: time("body_pause", guard.body_pause, problems),
            idle: time("idle", guard.idle, problems),
            stall: time("stall", STALL, problems),
            held_bytes: size("held_bytes", problems).unwrap_or(guard.bytes),
            held_bytes_per_caller: size("held_bytes_per_caller", problems)
                .unwrap_or(guard.bytes_per_caller),
            outlive: time("outlive", guard.outlive, problems),
        }
    }

    /// The limits of a guard.
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
