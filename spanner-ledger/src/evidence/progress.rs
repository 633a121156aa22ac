//! What the writer tells the keeper of the evidence, and what others ask of it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Checkpoint;
use crate::waiter::lock;

pub(crate) type SharedProgress = Arc<Progress>;

/// Between the writer, the keeper and whoever waits for a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stage: Mutex<Stage>,
    /// The keeper sleeps here.
    work: Condvar,
    /// Whoever waits for a checkpoint sleeps here.
    signed: Condvar,
}

/// How far it all is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    /// Every entry below this is written.
    pub(crate) written: u64,
    /// Every entry below this was synced.
    pub(crate) durable: u64,
    /// The disk is full: what space there is, is for entries.
    pub(crate) full: bool,
    /// The writer has ended.
    pub(crate) ended: bool,
    /// The keeper has ended.
    kept: bool,
    /// Somebody waits for a checkpoint of this size.
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

    /// The writer has ended.
    pub(crate) fn end(&self) {
        lock(&self.stage).ended = true;
        self.work.notify_all();
    }

    /// The keeper has ended.
    pub(crate) fn keeper_is_gone(&self) {
        lock(&self.stage).kept = true;
        self.signed.notify_all();
    }

    /// For the keeper: waits until it is time for another checkpoint.
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

    /// Waits for a checkpoint over all that is written by now.
    pub(crate) fn checkpoint_now(&self, patience: Duration) -> Option<Checkpoint> {
        let until = Instant::now() + patience;
        let mut stage = lock(&self.stage);
        let wanted = stage.written;
        stage.wanted = stage.wanted.max(wanted);
        self.work.notify_all();
        while stage.size() < wanted && !stage.kept {
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

    /// Somebody waits for a checkpoint.
    pub(crate) fn is_awaited(&self) -> bool {
        self.wanted > self.size()
    }

    /// Somebody waits for what can be signed now.
    fn wants_more(&self) -> bool {
        self.is_awaited() && self.durable > self.size()
    }
}
