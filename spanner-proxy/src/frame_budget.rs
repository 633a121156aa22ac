//! Limits HTTP/2 frames without content.
//!
//! A PRIORITY, PING, SETTINGS or WINDOW_UPDATE frame costs the server as much as a frame with
//! content and asks for nothing. A connection has a budget of such frames: a burst, and some more
//! every second. Each frame with content, in either direction, adds to the budget, because
//! clients update their windows for what they receive. A connection that exceeds its budget is
//! closed. Envoy limits the same frames (`max_inbound_priority_frames_per_stream`,
//! `max_inbound_window_update_frames_per_data_frame_sent`).

use tokio::time::Instant;

use crate::http2::{FrameHeader, flag, kind};

/// The size of the budget: a priority and a few window updates for each of the 250 streams that a
/// client may open at once, twice over.
const BURST: u32 = 2_000;
/// Frames added every second: far more pings and settings than an idle client sends, and too few to
/// cost the server time.
const PER_SECOND: u32 = 50;
/// Frames added for a frame with content: a client answers a DATA frame with two window updates, and
/// some send priorities for several streams with a request.
const PER_CONTENT: u32 = 10;

/// How many frames without content a connection may still send.
#[derive(Debug)]
pub(crate) struct FrameBudget {
    left: u32,
    refilled: Instant,
}

impl FrameBudget {
    pub(crate) fn new() -> Self {
        Self {
            left: BURST,
            refilled: Instant::now(),
        }
    }

    /// Spends one frame. Returns whether the budget allowed it.
    pub(crate) fn spend(&mut self) -> bool {
        if self.left == 0 {
            let seconds = self.refilled.elapsed().as_secs();
            if seconds > 0 {
                self.refilled = Instant::now();
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                self.add(seconds.saturating_mul(PER_SECOND));
            }
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }

    /// Adds what a frame with content adds.
    pub(crate) fn earn(&mut self) {
        self.add(PER_CONTENT);
    }

    fn add(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(BURST);
    }

    /// Counts a frame that the client sent. Returns whether the budget allowed it.
    pub(crate) fn received(&mut self, header: FrameHeader) -> bool {
        match Effect::of(header) {
            Effect::Content => {
                self.earn();
                true
            }
            Effect::Idle => self.spend(),
            Effect::Neutral => true,
        }
    }

    /// Counts a frame that was sent to the client.
    pub(crate) fn sent(&mut self, header: FrameHeader) {
        if Effect::of(header) == Effect::Content {
            self.earn();
        }
    }
}

/// What a frame does to the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// A request, a response, or a part of one: adds.
    Content,
    /// No content: spends.
    Idle,
    /// The end of a stream or of the connection, or more of the frame before.
    Neutral,
}

impl Effect {
    fn of(header: FrameHeader) -> Self {
        /// The longest padding with its length byte (RFC 9113 §6.1).
        const MAX_PADDING: usize = 256;
        let padded = header.has(flag::PADDED);
        let empty = header.length == 0 || (padded && header.length <= MAX_PADDING);
        match header.kind {
            kind::DATA if empty && header.has(flag::END_STREAM) => Self::Neutral,
            kind::DATA if empty => Self::Idle,
            kind::DATA | kind::HEADERS => Self::Content,
            kind::CONTINUATION if header.length == 0 => Self::Idle,
            kind::CONTINUATION | kind::GOAWAY => Self::Neutral,
            _ => Self::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http2::{self, FrameReader};

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        http2::frame(kind, flags, &vec![0; length])
    }

    /// How often these frames may be sent before the connection is closed, at most 10,000 times.
    /// With `responses`, the server sends a DATA frame before each time.
    fn allowed(frames: &[Vec<u8>], responses: bool) -> usize {
        let (mut budget, mut received, mut sent) = (
            FrameBudget::new(),
            FrameReader::default(),
            FrameReader::default(),
        );
        for round in 0..10_000 {
            if responses {
                let data = frame(kind::DATA, 0, 20);
                sent.read(&data, |header| budget.sent(header));
            }
            let mut good = true;
            received.read(&frames.concat(), |header| good &= budget.received(header));
            if !good {
                return round;
            }
        }
        10_000
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_content_are_limited() {
        let all = 10_000;
        let once = 2_000;
        for (name, frames, responses, expected) in [
            ("priority", vec![frame(0x2, 0, 5)], false, once),
            ("ping", vec![frame(0x6, 0, 8)], false, once),
            ("settings", vec![frame(0x4, 0, 0)], false, once),
            ("window", vec![frame(0x8, 0, 4)], false, once),
            ("empty data", vec![frame(0x0, 0, 0)], false, once),
            ("padding", vec![frame(0x0, 0x8, 200)], false, once),
            ("empty continuation", vec![frame(0x9, 0, 0)], false, once),
            (
                "an update of priorities",
                vec![frame(0x10, 0, 5)],
                false,
                once,
            ),
            ("unknown", vec![frame(0xEE, 0, 9)], false, once),
            ("resets", vec![frame(0x3, 0, 4)], false, once),
            ("data", vec![frame(0x0, 0, 9)], false, all),
            (
                "requests",
                vec![frame(0x1, 0, 40), frame(0x3, 0, 4)],
                false,
                all,
            ),
            (
                "windows for answers",
                vec![frame(0x8, 0, 4), frame(0x8, 0, 4)],
                true,
                all,
            ),
            (
                "priorities with requests",
                [vec![frame(0x1, 5, 40)], vec![frame(0x2, 0, 5); 40]].concat(),
                false,
                66,
            ),
        ] {
            assert_eq!(allowed(&frames, responses), expected, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_refilled_every_second() {
        let mut budget = FrameBudget::new();
        while budget.spend() {}
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 150);
    }
}
