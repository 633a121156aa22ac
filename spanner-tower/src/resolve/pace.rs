//! How slowly a body may arrive while it is forwarded.
//!
//! 1. Until the answer begins, no piece is waited for longer than [`Limits::body_pause`].
//! 2. In as much time as [`Limits::body_wait`], at least [`MIN_RATE`] bytes come each second.
//!    Streams of messages are excepted: they say something when there is something to say.
//! 3. Once the answer has begun, the two are a conversation, which ends when neither side
//!    has said anything for [`Limits::idle`].
//!
//! Time counts only while the service behind waits for the body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Limits;
use super::broken::Broken;

/// What must come of a body each second, on average: as Apache has it (`mod_reqtimeout`,
/// `MinRate=500`), less than any line brings.
const MIN_RATE: u64 = 500;

/// Watches one body.
#[derive(Debug)]
pub(crate) struct Pace {
    pause: Duration,
    idle: Duration,
    /// Over which time the average is taken; absent for streams of messages.
    window: Option<Duration>,
    /// How long was waited for pieces within it, and what came.
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

    /// One that waits for ever.
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

    /// Counts a piece; whether it keeps up.
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

    /// Waits until it is too late for the next piece; never twice.
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
