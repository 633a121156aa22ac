//! The minimum pace of a body while it is forwarded.
//!
//! 1. Until the response begins, no piece may take longer than [`Limits::body_pause`].
//! 2. Over [`Limits::body_wait`], at least [`MIN_RATE`] bytes must arrive per second. Streams of
//!    messages are exempt, because they may be silent.
//! 3. Once the response has begun, both directions form a conversation, which ends after
//!    [`Limits::idle`] without progress in either.
//!
//! Time counts only while the service behind the guard waits for the body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Limits;
use super::broken::Broken;

/// The minimum average rate of a body, in bytes per second: the same as Apache's
/// `mod_reqtimeout` (`MinRate=500`), and less than any usable connection delivers.
const MIN_RATE: u64 = 500;

/// The pace of one body.
#[derive(Debug)]
pub(crate) struct Pace {
    pause: Duration,
    idle: Duration,
    /// The period of the average; `None` for streams of messages.
    window: Option<Duration>,
    /// The time spent waiting in this period, and the bytes that arrived.
    waited: Duration,
    bytes: u64,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    over: bool,
}

impl Pace {
    pub(crate) const fn new(limits: &Limits, messages: bool) -> Self {
        Self {
            pause: limits.body_pause,
            idle: limits.idle,
            window: if messages {
                None
            } else {
                Some(limits.body_wait)
            },
            waited: Duration::ZERO,
            bytes: 0,
            waiting: None,
            over: false,
        }
    }

    /// A pace without limits.
    pub(super) const fn none() -> Self {
        Self {
            pause: Duration::ZERO,
            idle: Duration::ZERO,
            window: None,
            waited: Duration::ZERO,
            bytes: 0,
            waiting: None,
            over: true,
        }
    }

    /// Counts a piece; returns whether the body keeps the pace.
    pub(super) fn came(&mut self, bytes: usize, broken: &Broken) -> bool {
        broken.moved();
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        let Some(window) = self.window.filter(|_| !self.over && !broken.is_answered()) else {
            return true;
        };
        if self.waited < window {
            return true;
        }
        self.over = self.bytes < MIN_RATE.saturating_mul(self.waited.as_secs());
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        !self.over
    }

    /// Resolves when the next piece is too late. Do not poll it after that.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>, broken: &Broken) -> Poll<()> {
        if self.over {
            return Poll::Pending;
        }
        let pause = self.pause;
        let (_, sleep) = self
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(pause))));
        loop {
            ready!(sleep.as_mut().poll(cx));
            let left = match broken.is_answered() {
                true => self.idle.saturating_sub(broken.quiet()),
                false => Duration::ZERO,
            };
            if left.is_zero() {
                self.over = true;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(Instant::now() + left);
        }
    }
}
