//! A disk in memory for tests. Each call can fail, a crash discards or tears unsynced data, and
//! space can run out.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Condvar, Mutex};

use super::{File, Files};
use crate::waiter::lock;

/// A simulated disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sim {
    disk: Arc<(Mutex<Disk>, Condvar)>,
    user: User,
}

/// The caller of the disk. Calls are counted and fail per user, because two threads call in an
/// unpredictable order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum User {
    /// The thread that appends and reads entries.
    #[default]
    Log,
    /// The thread that signs checkpoints.
    Evidence,
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, usize>,
    /// The names as of the last sync of the directory.
    durable_files: BTreeMap<String, usize>,
    nodes: Vec<Node>,
    calls: [usize; 2],
    troubles: Vec<Trouble>,
    /// The user whose calls have the troubles.
    troubled: User,
    dead: bool,
    capacity: Option<usize>,
    stuck: bool,
}

#[derive(Debug, Default, Clone)]
struct Node {
    /// The contents that a reader sees.
    seen: Vec<u8>,
    /// The synced contents.
    durable: Vec<u8>,
    /// The changes that are not synced, in order.
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// A fault at the n-th call, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This call fails.
    Fail(io::ErrorKind),
    /// A write stops halfway and fails. A sync fails, and its data never becomes durable,
    /// although it remains readable and later syncs succeed.
    Half,
    /// This call and all later ones fail, as if the process had died.
    Crash,
}

/// A small deterministic generator of random numbers (Knuth's), so that a failing crash can be
/// reproduced.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = (self.0.wrapping_mul(6_364_136_223_846_793_005))
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
    }
}

impl Sim {
    /// The same disk for another user.
    pub(crate) fn used_by(&self, user: User) -> Self {
        let disk = Arc::clone(&self.disk);
        Self { disk, user }
    }

    pub(crate) fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        let mut disk = lock(&self.disk.0);
        disk.troubles = troubles.into_iter().collect();
        disk.troubled = self.user;
        disk.dead = false;
    }

    /// Injects a fault after the given number of further calls.
    pub(crate) fn trouble_in(&self, calls: usize, kind: Kind) {
        let at = self.calls() + calls;
        self.trouble([Trouble { at, kind }]);
    }

    pub(crate) fn calls(&self) -> usize {
        lock(&self.disk.0).calls[self.user as usize]
    }

    /// Limits the total size of all files.
    pub(crate) fn capacity(&self, bytes: Option<usize>) {
        lock(&self.disk.0).capacity = bytes;
    }

    pub(crate) fn used(&self) -> usize {
        lock(&self.disk.0).used()
    }

    /// Makes syncs hang until this is called with `false`.
    pub(crate) fn stick(&self, stuck: bool) {
        lock(&self.disk.0).stuck = stuck;
        self.disk.1.notify_all();
    }

    /// The disk after the process was killed.
    pub(crate) fn after_kill(&self) -> Self {
        let disk = lock(&self.disk.0);
        Self::of(
            disk.files.clone(),
            disk.nodes.clone(),
            disk.durable_files.clone(),
        )
    }

    /// The disk after a power failure: any part of the unsynced data may be written.
    pub(crate) fn after_power_loss(&self, dice: &mut Dice) -> Self {
        let disk = lock(&self.disk.0);
        let mut files = disk.durable_files.clone();
        for (name, node) in &disk.files {
            if files.get(name) != Some(node) && dice.roll(2) == 0 {
                files.insert(name.clone(), *node);
            }
        }
        files.retain(|name, _| disk.files.contains_key(name) || dice.roll(2) == 0);
        let nodes = disk.nodes.iter().map(|node| node.after_power_loss(dice));
        let nodes = nodes.collect();
        Self::of(files.clone(), nodes, files)
    }

    pub(crate) fn size_of(&self, name: &str) -> usize {
        let disk = lock(&self.disk.0);
        disk.nodes[disk.files[name]].seen.len()
    }

    /// Changes the contents of a file directly.
    pub(crate) fn harm(&self, name: &str, harm: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = lock(&self.disk.0);
        let node = disk.files[name];
        let node = &mut disk.nodes[node];
        harm(&mut node.seen);
        node.durable.clone_from(&node.seen);
    }

    fn of(
        files: BTreeMap<String, usize>,
        nodes: Vec<Node>,
        durable_files: BTreeMap<String, usize>,
    ) -> Self {
        let disk = Disk {
            files,
            durable_files,
            nodes,
            ..Disk::default()
        };
        Self {
            disk: Arc::new((Mutex::new(disk), Condvar::new())),
            user: User::Log,
        }
    }
}

impl Disk {
    /// Counts a call and returns its fault, if any.
    fn call(&mut self, user: User) -> Option<Kind> {
        let call = self.calls[user as usize];
        self.calls[user as usize] += 1;
        if self.dead {
            return Some(Kind::Crash);
        }
        if user != self.troubled {
            return None;
        }
        let happens = |trouble: &&Trouble| match trouble.kind {
            Kind::Crash => call >= trouble.at,
            Kind::Fail(_) | Kind::Half => call == trouble.at,
        };
        let trouble = self.troubles.iter().find(happens);
        let kind = trouble.map(|trouble| trouble.kind);
        // A crash ends the process for both users.
        self.dead |= kind == Some(Kind::Crash);
        kind
    }

    fn simple_call(&mut self, user: User) -> io::Result<()> {
        self.call(user).map_or(Ok(()), |kind| Err(kind.error()))
    }

    /// Makes the names in one folder durable.
    fn sync_folder(&mut self, folder: &str) {
        let within = |name: &String| folder_of(name) == folder;
        self.durable_files.retain(|name, _| !within(name));
        let seen = self.files.iter().filter(|(name, _)| within(name));
        let seen = seen.map(|(name, node)| (name.clone(), *node));
        self.durable_files.extend(seen);
    }

    fn used(&self) -> usize {
        self.files
            .values()
            .map(|node| self.nodes[*node].seen.len())
            .sum()
    }

    /// The number of bytes that are still available.
    fn space(&self) -> usize {
        let capacity = self.capacity.unwrap_or(usize::MAX);
        capacity.saturating_sub(self.used())
    }
}

impl Kind {
    fn error(self) -> io::Error {
        match self {
            Self::Fail(kind) => kind.into(),
            Self::Half => io::ErrorKind::Other.into(),
            Self::Crash => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl Node {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.durable);
        }
    }

    /// Sectors reach the disk independently, in any order or not at all.
    fn after_power_loss(&self, dice: &mut Dice) -> Self {
        let mut bytes = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::Length(_) if dice.roll(2) == 0 => change.apply(&mut bytes),
                Change::Length(_) => {}
                Change::Write(at, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        let torn = match dice.roll(3) {
                            0 => sector.len(),
                            1 => dice.roll(sector.len()),
                            _ => 0,
                        };
                        let part = Change::Write(at + index * SECTOR, sector[..torn].to_vec());
                        part.apply(&mut bytes);
                    }
                }
            }
        }
        Self {
            seen: bytes.clone(),
            durable: bytes,
            unsynced: Vec::new(),
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(_, data) if data.is_empty() => {}
            Self::Write(at, data) => {
                let end = at + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at..end].copy_from_slice(data);
            }
        }
    }
}

impl Files for Sim {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        Ok(disk.files.keys().cloned().collect())
    }

    fn read(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        let node = *disk.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(from).unwrap();
        let bytes = disk.nodes[node].seen.get(from..).unwrap_or_default();
        Ok(Box::new(Cursor::new(bytes.to_vec())))
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        let node = *disk.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(disk.nodes[node].seen.len() as u64)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = disk.nodes.len();
        disk.nodes.push(Node::default());
        disk.files.insert(name.to_owned(), node);
        Ok(Box::new(SimFile {
            sim: self.clone(),
            node,
            at: 0,
        }))
    }

    fn open(&self, name: &str, at: u64) -> io::Result<Box<dyn File>> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        let node = *disk.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(at).unwrap();
        Ok(Box::new(SimFile {
            sim: self.clone(),
            node,
            at,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        let removed = disk.files.remove(name);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        let node = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.files.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        let before = disk.files.len();
        let within = format!("{name}/");
        disk.files.retain(|file, _| !file.starts_with(&within));
        if disk.files.len() == before {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        disk.sync_folder("");
        Ok(())
    }

    fn sync_folder(&self, name: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk.0);
        disk.simple_call(self.user)?;
        disk.sync_folder(name);
        Ok(())
    }
}

struct SimFile {
    sim: Sim,
    node: usize,
    at: usize,
}

impl File for SimFile {
    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        let mut disk = lock(&self.sim.disk.0);
        disk.simple_call(self.sim.user)?;
        let bytes = usize::try_from(bytes).unwrap();
        let more = bytes.saturating_sub(disk.nodes[self.node].seen.len());
        if more > disk.space() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if more > 0 {
            disk.nodes[self.node].change(Change::Length(bytes));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = lock(&self.sim.disk.0);
        let trouble = disk.call(self.sim.user);
        let there = disk.nodes[self.node].seen.len().saturating_sub(self.at);
        let fits = bytes.len().min(there + disk.space());
        let written = match trouble {
            None => fits,
            Some(Kind::Fail(_)) => 0,
            Some(Kind::Half | Kind::Crash) => fits / 2,
        };
        let change = Change::Write(self.at, bytes[..written].to_vec());
        disk.nodes[self.node].change(change);
        self.at += written;
        match trouble {
            Some(kind) => Err(kind.error()),
            None if fits < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = lock(&self.sim.disk.0);
        while disk.stuck {
            disk = self.sim.disk.1.wait(disk).unwrap();
        }
        if let Some(kind) = disk.call(self.sim.user) {
            if kind == Kind::Half {
                disk.nodes[self.node].unsynced.clear();
            }
            return Err(kind.error());
        }
        disk.nodes[self.node].sync();
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut disk = lock(&self.sim.disk.0);
        disk.simple_call(self.sim.user)?;
        let bytes = usize::try_from(bytes).unwrap();
        let node = &mut disk.nodes[self.node];
        node.change(Change::Length(bytes));
        node.sync();
        Ok(())
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The size of a sector, the unit that a disk writes atomically at best.
const SECTOR: usize = 512;
