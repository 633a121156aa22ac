//! The state shared by the writer, the checkpoint signer and threads that wait for a checkpoint.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Checkpoint;
use crate::waiter::lock;

pub(crate) type SharedProgress = Arc<Progress>;

/// The progress of writing, syncing and signing.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stage: Mutex<Stage>,
    /// Wakes the checkpoint signer.
    work: Condvar,
    /// Wakes threads that wait for a checkpoint.
    signed: Condvar,
}

/// The current state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    /// Every entry below this is written.
    pub(crate) written: u64,
    /// Every entry below this was synced.
    pub(crate) durable: u64,
    /// Whether the disk is full. Then the remaining space is reserved for entries.
    pub(crate) full: bool,
    /// The writer has ended.
    pub(crate) ended: bool,
    /// Whether the checkpoint signer has ended.
    signer_ended: bool,
    /// The largest size for which a thread requested a checkpoint.
    wanted: u64,
    checkpoint: Option<Checkpoint>,
}

impl Progress {
    pub(crate) fn new(written: u64, durable: u64, checkpoint: Option<Checkpoint>) -> Self {
        let stage = Stage {
            written,
            durable,
            checkpoint,
            ..Stage::default()
        };
        Self {
            stage: Mutex::new(stage),
            ..Self::default()
        }
    }

    pub(crate) fn written(&self, written: u64, durable: u64) {
        let mut stage = lock(&self.stage);
        stage.written = written;
        stage.durable = durable;
        if stage.wants_more() {
            self.work.notify_one();
        }
    }

    pub(crate) fn set_full(&self, full: bool) {
        lock(&self.stage).full = full;
    }

    /// Called when the writer has ended.
    pub(crate) fn end(&self) {
        lock(&self.stage).ended = true;
        self.work.notify_all();
    }

    /// Called when the checkpoint signer has ended.
    pub(crate) fn signer_has_ended(&self) {
        lock(&self.stage).signer_ended = true;
        self.signed.notify_all();
    }

    /// For the checkpoint signer: waits until the next checkpoint is due.
    pub(crate) fn wait(&self, pace: Duration, failed: bool) -> Stage {
        let stage = lock(&self.stage);
        let idle = |stage: &mut Stage| !stage.ended && (failed || !stage.wants_more());
        let waited = self.work.wait_timeout_while(stage, pace, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(crate) fn signed(&self, checkpoint: Checkpoint) {
        lock(&self.stage).checkpoint = Some(checkpoint);
        self.signed.notify_all();
    }

    /// Every entry below this is written.
    pub(crate) fn entries(&self) -> u64 {
        lock(&self.stage).written
    }

    pub(crate) fn checkpoint(&self) -> Option<Checkpoint> {
        lock(&self.stage).checkpoint.clone()
    }

    /// Waits for a checkpoint over all entries written up to now.
    pub(crate) fn checkpoint_now(&self, patience: Duration) -> Option<Checkpoint> {
        let until = Instant::now() + patience;
        let mut stage = lock(&self.stage);
        let wanted = stage.written;
        stage.wanted = stage.wanted.max(wanted);
        self.work.notify_all();
        while stage.size() < wanted && !stage.signer_ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.signed.wait_timeout(stage, left);
            stage = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        stage.checkpoint.clone().filter(|_| stage.size() >= wanted)
    }
}

impl Stage {
    fn size(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, Checkpoint::size)
    }

    /// Whether a thread waits for a checkpoint.
    pub(crate) fn is_awaited(&self) -> bool {
        self.wanted > self.size()
    }

    /// Whether a thread waits for entries that can be signed now.
    fn wants_more(&self) -> bool {
        self.is_awaited() && self.durable > self.size()
    }
}
