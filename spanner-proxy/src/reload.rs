//! Reads again what changes: the access, the revocations, keys and secrets.
//!
//! Files are looked at twice a second, by size and times: that works on every file system,
//! and where a directory is swapped by a link, as Kubernetes does it. A change counts once
//! nothing has changed any more for half a second, so that several files that are written
//! together come into force together. With a problem, what was in force stays.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use spanner_admin::{OpenError, Promotions};
use spanner_cedar::Cedar;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::read_text;
use crate::health::ReadList;
use crate::load::revocation_problems;
use crate::restart::Fixed;
use crate::trust::Trust;
use crate::watched::Watched;
use crate::{meters, words};

/// What is read again, and who is told.
pub(crate) struct Reload {
    pub(crate) promotions: Promotions,
    /// The access directory, then the folders of models.
    pub(crate) dirs: Vec<Seen>,
    /// The directory of the access that is tried out.
    pub(crate) shadow: Option<Seen>,
    pub(crate) revocations: Option<(Seen, ReadList)>,
    pub(crate) trust: Trust,
    /// What is read at start only.
    pub(crate) fixed: Vec<Fixed>,
    pub(crate) ledger: Watched,
}

/// A path, as it was when it was read and when it was looked at last.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    path: PathBuf,
    wanted: Wanted,
    read: u64,
    last: u64,
    /// How often it was asked for since it was looked at.
    asked: u32,
}

/// Which files of a path matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// `access.toml`, and no hidden folder: the folders of models hold much else.
    Manifests,
}

/// How often files are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Folders of models are looked at each fourth time: there may be many.
const MODELS_EVERY: u32 = 4;
/// Directories below one another; a link may lead back up.
const MAX_DEPTH: usize = 16;
/// Files and folders that are looked at, as many as an access directory may have.
const MAX_ENTRIES: usize = 500_000;
/// Problems of one reload that the ledger keeps; the log has all.
const MAX_RECORDED: usize = 20;

impl Reload {
    /// Goes on until told to stop. Whatever `ask` brings (SIGHUP) reads everything at once.
    pub(crate) async fn run(
        mut self,
        mut ask: mpsc::Receiver<()>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                Some(()) = ask.recv() => true,
                _ = ticks.tick() => false,
            };
            if asked {
                tracing::info!(
                    "SIGHUP: the access, the revocations, keys and secrets of files are read again, and issuers are asked for their keys; for a change of the configuration itself, of surfaces or of certificates, start again"
                );
            }
            let mut changed = asked;
            for dir in &mut self.dirs {
                changed |= dir.changed().await;
            }
            if changed {
                self.access().await;
            }
            if let Some(dir) = &mut self.shadow
                && (dir.changed().await || changed)
            {
                let dir = dir.path.clone();
                self.candidate(&dir).await;
            }
            if let Some((file, revocations)) = &mut self.revocations
                && (file.changed().await || asked)
            {
                revoke(&file.path, revocations).await;
            }
            self.trust.check(asked).await;
            for file in &mut self.fixed {
                file.check(asked).await;
            }
        }
    }

    async fn access(&self) {
        let Some(dir) = self.dirs.first() else { return };
        let access = self.promotions.access();
        let before = access.digest();
        let reloaded = self.promotions.reload().await;
        let told = Told {
            name: "access",
            before: &before,
            digest: &access.digest(),
            broken: broken(access),
            dir: &dir.path,
        };
        self.tell(&told, reloaded).await;
    }

    /// Reads the access that is tried out again. It decides nothing, so that nothing is the
    /// worse for a problem with it.
    async fn candidate(&self, dir: &Path) {
        let Some(candidate) = self.promotions.access().candidate() else {
            return;
        };
        let (again, before) = (candidate.clone(), candidate.digest());
        let Ok(reloaded) = spawn_blocking(move || again.reload()).await else {
            return;
        };
        let told = Told {
            name: "candidate",
            before: &before,
            digest: &candidate.digest(),
            broken: broken(&candidate),
            dir,
        };
        self.tell(&told, reloaded.map_err(OpenError::from)).await;
    }

    async fn tell(&self, told: &Told<'_>, reloaded: Result<(), OpenError>) {
        let Told {
            name,
            before,
            digest,
            broken,
            dir,
        } = told;
        meters::reloaded(name, reloaded.is_ok());
        let problems: Vec<String> = match reloaded {
            // Whoever loads it says so in the log.
            Ok(()) if digest == before && broken.is_empty() => return,
            Ok(()) => {
                let said: Vec<&String> = broken.iter().take(MAX_RECORDED).collect();
                let mut body = json!({"digest": digest, "before": before});
                if let Some(members) = body.as_object_mut().filter(|_| !broken.is_empty()) {
                    members.insert("broken_manifests".to_owned(), json!(said));
                }
                self.ledger.event(&format!("{name}.reloaded"), body).await;
                return;
            }
            Err(OpenError::Access(error)) => {
                for problem in error.problems() {
                    let file = dir.join(&problem.file);
                    tracing::error!("{}", located(&file, problem));
                }
                error.problems().iter().map(ToString::to_string).collect()
            }
            Err(error) => {
                tracing::error!(%error, "promotions do not go on with the access that was read");
                vec![error.to_string()]
            }
        };
        let said: Vec<&String> = problems.iter().take(MAX_RECORDED).collect();
        let body = json!({"in_force": digest, "count": problems.len(), "problems": said});
        self.ledger
            .event(&format!("{name}.reload_refused"), body)
            .await;
    }
}

/// What was read again.
struct Told<'t> {
    name: &'static str,
    /// The digest of what was in force.
    before: &'t str,
    /// The digest of what is.
    digest: &'t str,
    /// What is wrong with manifests that are not in force as they are.
    broken: Vec<String>,
    dir: &'t Path,
}

fn broken(access: &Cedar) -> Vec<String> {
    let broken = access.status().broken;
    broken.iter().map(ToString::to_string).collect()
}

fn located(file: &Path, problem: &spanner_cedar::Problem) -> String {
    let mut located = problem.clone();
    located.file = words::line(&file.display().to_string());
    located.to_string()
}

async fn revoke(path: &Path, revocations: &ReadList) {
    let (list, path) = (revocations.list.clone(), path.to_owned());
    let read = spawn_blocking(move || {
        let text = read_text(&path).map_err(|unread| unread.what)?;
        let replaced = list.replace_toml(&text);
        replaced.map_err(|error| {
            let problems = revocation_problems(&path, &error);
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("; ")
        })
    });
    let Ok(read) = read.await else { return };
    meters::reloaded("revocations", read.is_ok());
    revocations.stale.store(read.is_err(), Ordering::Relaxed);
    match read {
        Ok(()) => {
            let entries = revocations.list.len();
            tracing::info!(entries, "the revocations are read again");
        }
        Err(error) => tracing::error!(error, "the revocations are not; those before count"),
    }
}

impl Seen {
    /// As it is now, which is to be asked before it is read: what changes meanwhile is read
    /// again.
    pub(crate) fn before_reading(path: &Path) -> Self {
        Self::before_reading_of(path, Wanted::All)
    }

    /// The same for a folder of models' own folders.
    pub(crate) fn before_reading_models(path: &Path) -> Self {
        Self::before_reading_of(path, Wanted::Manifests)
    }

    /// The same for what was read already: it is read once more at first.
    pub(crate) fn unread(path: &Path) -> Self {
        let mut seen = Self::before_reading(path);
        seen.read = 0;
        seen
    }

    fn before_reading_of(path: &Path, wanted: Wanted) -> Self {
        let now = look(path, wanted);
        Self {
            path: path.to_owned(),
            wanted,
            read: now,
            last: now,
            asked: 0,
        }
    }

    /// Whether it changed since it was read, and not since it was looked at last. What is
    /// told once counts as read.
    pub(crate) async fn changed(&mut self) -> bool {
        self.asked += 1;
        if self.wanted == Wanted::Manifests && self.asked < MODELS_EVERY {
            return false;
        }
        self.asked = 0;
        let (path, wanted) = (self.path.clone(), self.wanted);
        let Ok(now) = spawn_blocking(move || look(&path, wanted)).await else {
            return false;
        };
        let settled = now == self.last;
        let changed = settled && now != self.read;
        self.last = now;
        if changed {
            self.read = now;
        }
        changed
    }
}

fn look(path: &Path, wanted: Wanted) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut walk = Walk {
        root: path.canonicalize().ok(),
        wanted,
        left: MAX_ENTRIES,
    };
    walk.print(path, MAX_DEPTH, &mut hasher);
    hasher.finish()
}

/// A look at all files below a directory.
struct Walk {
    root: Option<PathBuf>,
    wanted: Wanted,
    /// How many files and folders are still looked at.
    left: usize,
}

impl Walk {
    /// Takes the print of a file, or of all files below a directory.
    fn print(&mut self, path: &Path, depth: usize, hasher: &mut DefaultHasher) {
        path.hash(hasher);
        let Some(left) = self.left.checked_sub(1) else {
            return;
        };
        self.left = left;
        let Ok(metadata) = fs::metadata(path) else {
            return;
        };
        if !metadata.is_dir() {
            metadata.len().hash(hasher);
            metadata.modified().ok().hash(hasher);
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt;
                let changed = (metadata.ctime(), metadata.ctime_nsec());
                (metadata.dev(), metadata.ino(), changed).hash(hasher);
            }
            return;
        }
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let wanted = self.wanted;
        let entries = entries.filter(|entry| wanted.takes(entry));
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| self.holds(path, depth + 1 == MAX_DEPTH))
            .collect();
        paths.sort();
        for path in paths {
            self.print(&path, depth, hasher);
        }
    }

    /// Whether a path is read at all: what a link leads to outside of the directory is not, but
    /// for the folder of a model.
    fn holds(&self, path: &Path, is_at_the_top: bool) -> bool {
        if !path.is_symlink() {
            return true;
        }
        let (Some(root), Ok(target)) = (&self.root, path.canonicalize()) else {
            return true;
        };
        let own = self.wanted == Wanted::Manifests && is_at_the_top;
        target.starts_with(root) || (own && !root.starts_with(&target))
    }
}

impl Wanted {
    /// Whether an entry matters, as far as that is told without looking at it.
    fn takes(self, entry: &fs::DirEntry) -> bool {
        let name = entry.file_name();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        match self {
            Self::All => true,
            Self::Manifests if is_file => name == "access.toml",
            Self::Manifests => !name.to_string_lossy().starts_with('.'),
        }
    }
}
