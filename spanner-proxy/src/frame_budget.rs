//! Limits HTTP/2 frames without content.
//!
//! PRIORITY, PING, SETTINGS and WINDOW_UPDATE frames cost a reader as much as frames with
//! content, and ask for nothing. A connection may send a burst of them and a few each second.
//! Each frame with content, in either direction, allows some more, since windows are updated
//! for what was received. A client that sends more is cut off, as in Envoy
//! (`max_inbound_priority_frames_per_stream`,
//! `max_inbound_window_update_frames_per_data_frame_sent`).

use tokio::time::Instant;

/// How many may come at once.
const AT_ONCE: u32 = 2_000;
/// How many more each second.
const EACH_SECOND: u32 = 50;
/// How many more for a frame of content.
const FOR_CONTENT: u32 = 10;

/// What a connection may still send.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
    counted: Instant,
}

/// Follows the frames in one direction by their headers (RFC 9113 §4.1).
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; HEAD],
    /// How much of the header has arrived.
    have: usize,
    /// How much of the payload is still to come.
    payload: usize,
}

const HEAD: usize = 9;

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            left: AT_ONCE,
            counted: Instant::now(),
        }
    }

    /// Spends one; returns whether there was one left.
    pub(crate) fn spend(&mut self) -> bool {
        if self.left == 0 {
            let seconds = self.counted.elapsed().as_secs();
            if seconds > 0 {
                self.counted = Instant::now();
                self.earn(
                    u32::try_from(seconds).map_or(AT_ONCE, |it| it.saturating_mul(EACH_SECOND)),
                );
            }
        }
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }

    /// A frame with content came or went.
    pub(crate) fn work(&mut self) {
        self.earn(FOR_CONTENT);
    }

    fn earn(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(AT_ONCE);
    }

    /// Counts what a client sent; returns whether it may go on.
    pub(crate) fn received(&mut self, frames: &mut Frames, bytes: &[u8]) -> bool {
        let mut good = true;
        frames.follow(bytes, |frame| match frame {
            Frame::Content => self.work(),
            Frame::Idle => good &= self.spend(),
            Frame::Other => {}
        });
        good
    }

    /// Counts what was sent to it.
    pub(crate) fn sent(&mut self, frames: &mut Frames, bytes: &[u8]) {
        frames.follow(bytes, |frame| {
            if frame == Frame::Content {
                self.work();
            }
        });
    }
}

/// What a frame does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// A request, an answer, or a part of one.
    Content,
    /// Nothing.
    Idle,
    /// It ends something, or belongs to the frame before.
    Other,
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let (_, rest) = bytes.split_at(self.payload.min(bytes.len()));
                self.payload -= bytes.len() - rest.len();
                bytes = rest;
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *byte;
            }
            (self.have, bytes) = (self.have + 1, rest);
            if self.have == HEAD {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.payload = usize::try_from(length).unwrap_or(usize::MAX);
                each(Frame::of(kind, flags, self.payload));
            }
        }
    }
}

impl Frame {
    /// The types of RFC 9113 §6.
    fn of(kind: u8, flags: u8, length: usize) -> Self {
        const END_STREAM: u8 = 0x1;
        const PADDED: u8 = 0x8;
        const MAX_PADDING: usize = 256;
        let empty = length == 0 || (flags & PADDED != 0 && length <= MAX_PADDING);
        match kind {
            0x0 if empty && flags & END_STREAM != 0 => Self::Other,
            0x0 if empty => Self::Idle,
            0x0 | 0x1 => Self::Content,
            0x9 if length == 0 => Self::Idle,
            0x9 | 0x7 => Self::Other,
            _ => Self::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + usize::from(length), 0);
        frame
    }

    /// How many of these frames may come before the connection is cut off, of 10,000.
    fn allowed(frames: &[Vec<u8>], answered: bool, piece: usize) -> usize {
        let (mut budget, mut received, mut sent) =
            (Budget::new(), Frames::default(), Frames::default());
        for round in 0..10_000 {
            if answered {
                budget.sent(&mut sent, &frame(0x0, 0, 20));
            }
            for bytes in frames.concat().chunks(piece) {
                if !budget.received(&mut received, bytes) {
                    return round;
                }
            }
        }
        10_000
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_no_work_is_bounded() {
        let all = 10_000;
        let once = 2_000;
        for (name, frames, answered, expected) in [
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
            for piece in [1, 7, 1000] {
                assert_eq!(
                    allowed(&frames, answered, piece),
                    expected,
                    "{name} {piece}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_may_come_each_second() {
        let mut budget = Budget::new();
        while budget.spend() {}
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 150);
    }
}
