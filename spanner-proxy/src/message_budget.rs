//! Limits how many bytes of unfinished WebSocket messages are in memory, per socket and in all.
//!
//! A message is assembled from its frames before it is examined. Until a caller was allowed
//! something, its messages must be small. After that, all sockets share one budget.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::observed_stream::StreamObserver;

/// The bytes that all sockets hold beyond [`SMALL`] each. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct MessageBudget(Arc<AtomicUsize>);

/// The limit of one socket, shared by its reader and by the consumer of its messages. Cheap to
/// clone.
///
/// As an observer of the socket's stream, it fails a read that exceeds the limit or the budget.
#[derive(Debug, Clone)]
pub(crate) struct MessageLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes that arrived since the last complete message.
    received: AtomicUsize,
    /// How many there may be.
    limit: AtomicUsize,
    budget: MessageBudget,
}

/// What each message may have whatever the others hold, in bytes: most JSON messages are smaller.
const SMALL: usize = 64 * 1024;
/// The largest message of a caller that was not allowed anything yet, in bytes: enough to set up
/// a session with its instructions and tools.
const FIRST: usize = 256 * 1024;
/// What all sockets hold beyond [`SMALL`] each, in bytes: 32 of the largest messages.
const MAX_HELD: usize = 512 << 20;

impl MessageBudget {
    /// The limit of a new socket.
    pub(crate) fn limit(&self) -> MessageLimit {
        MessageLimit(Arc::new(Shared {
            received: AtomicUsize::new(0),
            limit: AtomicUsize::new(FIRST),
            budget: self.clone(),
        }))
    }
}

impl MessageLimit {
    /// Allows messages of this size from now on.
    pub(crate) fn allow(&self, bytes: usize) {
        self.0.limit.store(bytes + SMALL, Ordering::Relaxed);
    }

    /// A complete message was consumed.
    pub(crate) fn release(&self) {
        let received = self.0.received.swap(0, Ordering::Relaxed);
        let beyond = received.saturating_sub(SMALL);
        self.0.budget.0.fetch_sub(beyond, Ordering::Relaxed);
    }

    /// Counts bytes that arrived. Returns whether they may be held.
    fn hold(&self, bytes: usize) -> bool {
        let before = self.0.received.fetch_add(bytes, Ordering::Relaxed);
        let now = before + bytes;
        let beyond = now.saturating_sub(SMALL) - before.saturating_sub(SMALL);
        let all = self.0.budget.0.fetch_add(beyond, Ordering::Relaxed) + beyond;
        now <= self.0.limit.load(Ordering::Relaxed) && (beyond == 0 || all <= MAX_HELD)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let beyond = self.received.get_mut().saturating_sub(SMALL);
        self.budget.0.fetch_sub(beyond, Ordering::Relaxed);
    }
}

impl StreamObserver for MessageLimit {
    fn on_read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self.hold(bytes.len()) {
            true => Ok(()),
            false => Err(io::Error::other("the WebSocket message is too large")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_was_allowed_nothing_has_small_messages() {
        let all = MessageBudget::default();
        let limit = all.limit();
        assert!(limit.hold(FIRST));
        assert!(!limit.hold(1));
        limit.release();
        limit.allow(1 << 20);
        assert!(limit.hold(1 << 20));
        assert!(!limit.hold(SMALL + 1));
        drop(limit);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_small_message_is_held_whatever_others_hold() {
        let all = MessageBudget::default();
        let (large, small) = (all.limit(), all.limit());
        large.allow(MAX_HELD + SMALL);
        assert!(large.hold(MAX_HELD + SMALL));
        assert!(small.hold(SMALL));
        assert!(!small.hold(1));
        large.release();
        assert!(small.hold(1));
    }
}
