//! The thread that lets the tree grow and signs it.

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
use crate::error::{ReadError, chain};
use crate::files::Files;
use crate::scan::Walk;

/// Follows the writer through the files that it writes.
pub(crate) struct Keeper {
    files: Arc<dyn Files>,
    progress: SharedProgress,
    key: SigningKey,
    couriers: Vec<Courier>,
    pace: Duration,
    follower: Follower,
    walk: Option<Walk>,
    /// Tiles that could not be written yet, in order.
    unwritten: Vec<Full>,
    /// Folders of partial tiles that are full by now.
    superfluous: Vec<String>,
    signed: u64,
    failed: bool,
}

impl Keeper {
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

    /// Until the writer has ended, and once more.
    pub(crate) fn run(mut self) {
        let _gone = Gone(Arc::clone(&self.progress));
        // Whoever is opened is signed at once: an old checkpoint says too little.
        let mut pace = Duration::ZERO;
        loop {
            let stage = self.progress.wait(pace, self.failed);
            pace = self.pace;
            // Whoever waits for one lets old segments go: that makes room.
            if !stage.full || stage.is_awaited() {
                let kept = self.round(stage.durable);
                self.tell(&kept);
            }
            if stage.ended {
                return self.end();
            }
        }
    }

    fn tell(&mut self, kept: &Result<(), ReadError>) {
        match kept {
            Err(fault) if !self.failed => {
                let fault = chain(fault);
                tracing::error!(fault, "no checkpoint could be made; it is tried again");
            }
            Ok(()) if self.failed => tracing::info!("checkpoints are made again"),
            _ => {}
        }
        self.failed = kept.is_err();
    }

    fn round(&mut self, durable: u64) -> Result<(), ReadError> {
        if let Err(fault) = self.follow(durable) {
            // Looked up anew the next time, from where the tree ends.
            self.walk = None;
            return Err(fault);
        }
        if self.follower.tree.size() > self.signed {
            self.sign()?;
        }
        self.ship();
        Ok(())
    }

    /// Takes all entries below a sequence into the tree.
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

    /// Writes the tiles that are full.
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

    /// Signs the tree: first its tiles, then the checkpoint.
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
                    tracing::debug!(%fault, folder, "partial tiles could not be removed");
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

    /// Has the newest checkpoint shipped. Nothing here waits for that.
    fn ship(&mut self) {
        let Some(checkpoint) = self.progress.checkpoint() else {
            return;
        };
        for courier in &mut self.couriers {
            courier.give(&checkpoint);
        }
    }

    /// Lets the last checkpoint be shipped.
    fn end(self) {
        let until = Instant::now() + FAREWELL;
        self.couriers.iter().for_each(Courier::end);
        for courier in self.couriers {
            courier.join(until);
        }
    }
}

/// Writes tiles, durably.
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

/// Tells whoever waits that there will be no more checkpoints, however the keeper ends.
struct Gone(SharedProgress);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.keeper_is_gone();
    }
}

/// What is held in memory of a tree that grows faster than it is written: 2 MiB.
const TILES_AT_ONCE: usize = 256;
/// What the close may take for the last checkpoint, with all sinks at once.
const FAREWELL: Duration = Duration::from_secs(5);
