//! The thread that grows the tree and signs checkpoints.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::courier::Courier;
use super::follower::{Follower, leaf};
use super::opened::Evidence;
use super::tree::Full;
use super::{CHECKPOINT, Checkpoint, CheckpointSink, SharedProgress, SigningKey};
use super::{put, tiles, write};
use crate::error::ReadError;
use crate::files::Files;
use crate::scan::Walk;
use spanner_core::text::error_chain;

/// Follows the writer by reading its files, and signs checkpoints.
pub(crate) struct CheckpointSigner {
    files: Arc<dyn Files>,
    progress: SharedProgress,
    key: SigningKey,
    couriers: Vec<Courier>,
    pace: Duration,
    follower: Follower,
    walk: Option<Walk>,
    /// Full tiles that are not written yet, in order.
    unwritten: Vec<Full>,
    /// Folders of partial tiles whose full tile exists.
    superfluous: Vec<String>,
    signed: u64,
    failed: bool,
}

impl CheckpointSigner {
    pub(crate) fn new(
        evidence: Evidence,
        progress: SharedProgress,
        sinks: Vec<Box<dyn CheckpointSink>>,
        pace: Duration,
    ) -> Self {
        let couriers = sinks.into_iter().map(|sink| Courier::new(sink, pace));
        Self {
            signed: evidence.size(),
            files: evidence.files,
            progress,
            key: evidence.key,
            couriers: couriers.collect(),
            pace,
            follower: Follower::of(evidence.tree),
            walk: None,
            unwritten: Vec::new(),
            superfluous: Vec::new(),
            failed: false,
        }
    }

    /// Runs until the writer has ended, and signs a last checkpoint.
    pub(crate) fn run(mut self) {
        let _exit = SignerExit(Arc::clone(&self.progress));
        // Opening a ledger signs a checkpoint immediately, because the previous one may be old.
        let mut pace = Duration::ZERO;
        loop {
            let stage = self.progress.wait(pace, self.failed);
            pace = self.pace;
            // Pruning waits for a checkpoint and frees space, so it proceeds even on a full disk.
            if !stage.full || stage.is_awaited() {
                let signed = self.round(stage.durable);
                self.report(&signed);
            }
            if stage.ended {
                return self.end();
            }
        }
    }

    fn report(&mut self, signed: &Result<(), ReadError>) {
        match signed {
            Err(fault) if !self.failed => {
                let fault = error_chain(fault);
                tracing::error!(fault, "cannot sign a checkpoint; will retry");
            }
            Ok(()) if self.failed => tracing::info!("checkpoints are signed again"),
            _ => {}
        }
        self.failed = signed.is_err();
    }

    fn round(&mut self, durable: u64) -> Result<(), ReadError> {
        if let Err(fault) = self.follow(durable) {
            // The next round starts a new walk at the end of the tree.
            self.walk = None;
            return Err(fault);
        }
        if self.follower.tree.size() > self.signed {
            self.sign()?;
        }
        self.ship();
        Ok(())
    }

    /// Adds all entries below a sequence to the tree.
    fn follow(&mut self, durable: u64) -> Result<(), ReadError> {
        self.flush()?;
        if self.follower.tree.size() >= durable {
            return Ok(());
        }
        match &mut self.walk {
            Some(walk) => walk.refresh()?,
            None => {
                let (files, next) = (Arc::clone(&self.files), self.follower.tree.size());
                self.walk = Some(Walk::from(files, next)?);
            }
        }
        while self.follower.tree.size() < durable {
            let walk = self.walk.as_mut();
            let stored = walk.map(Walk::step).transpose()?.flatten();
            let Some(stored) = stored else {
                let sequence = self.follower.tree.size();
                return Err(ReadError::NoEntry { sequence });
            };
            if stored.sequence >= durable {
                let sequence = self.follower.tree.size();
                return Err(ReadError::NoEntry { sequence });
            }
            let full = self.follower.take(stored.sequence, leaf(&stored));
            self.unwritten.extend(full);
            if self.unwritten.len() >= TILES_AT_ONCE {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Writes the full tiles.
    fn flush(&mut self) -> Result<(), ReadError> {
        let wrong = |source| tiles::failed("tile", source);
        while !self.unwritten.is_empty() {
            let count = self.unwritten.len().min(TILES_AT_ONCE);
            let some = self.unwritten.get(..count).unwrap_or_default();
            write_full(&*self.files, some).map_err(wrong)?;
            for tile in self.unwritten.drain(..count) {
                let partial = tiles::partial_folder(tile.level, tile.index);
                self.superfluous.push(partial);
            }
        }
        Ok(())
    }

    /// Writes the partial tiles, then signs and writes the checkpoint.
    fn sign(&mut self) -> Result<(), ReadError> {
        let tree = &self.follower.tree;
        let wrong = |source| tiles::failed(CHECKPOINT, source);
        self.write_partial().map_err(wrong)?;
        let checkpoint = Checkpoint::sign(&self.key, tree.size(), tree.root());
        let checkpoint = checkpoint.map_err(|fault| wrong(io::Error::other(fault)))?;
        put(&*self.files, CHECKPOINT, checkpoint.note().as_bytes()).map_err(wrong)?;
        self.signed = checkpoint.size();
        self.progress.signed(checkpoint);
        for folder in std::mem::take(&mut self.superfluous) {
            match self.files.remove_folder(&folder) {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(%fault, folder, "cannot remove superseded partial tiles");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write_partial(&self) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        for (level, index, hashes) in self.follower.tree.partial() {
            let name = tiles::name(level, index, hashes.len());
            write(&*self.files, &name, &tiles::bytes(hashes))?;
            folders.extend(name.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
        }
        folders
            .iter()
            .try_for_each(|folder| self.files.sync_folder(folder))
    }

    /// Passes the newest checkpoint to all sinks without waiting.
    fn ship(&mut self) {
        let Some(checkpoint) = self.progress.checkpoint() else {
            return;
        };
        for courier in &mut self.couriers {
            courier.send(&checkpoint);
        }
    }

    /// Ships the last checkpoint.
    fn end(self) {
        let until = Instant::now() + MAX_FAREWELL;
        self.couriers.iter().for_each(Courier::end);
        for courier in self.couriers {
            courier.join(until);
        }
    }
}

/// Writes and syncs full tiles.
fn write_full(files: &dyn Files, full: &[Full]) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for tile in full {
        let name = tiles::name(tile.level, tile.index, tile.hashes.len());
        write(files, &name, &tiles::bytes(&tile.hashes))?;
        folders.extend(name.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
    }
    let mut folders = folders.iter();
    folders.try_for_each(|folder| files.sync_folder(folder))
}

/// Wakes the threads that wait for a checkpoint when this thread ends, even by a panic.
struct SignerExit(SharedProgress);

impl Drop for SignerExit {
    fn drop(&mut self) {
        self.0.signer_has_ended();
    }
}

/// Bounds the tiles held in memory while the tree grows faster than it is written: 2 MiB.
const TILES_AT_ONCE: usize = 256;
/// How long closing waits for all sinks together, so that shutdown stays within the grace period
/// of an orchestrator.
const MAX_FAREWELL: Duration = Duration::from_secs(5);
