//! Reloads the access configuration when its files change.

use std::path::Path;

use serde_json::json;
use spanner_cedar::Cedar;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::files::{FileWatch, WATCH_INTERVAL};
use super::ledger::MonitoredLedger;
use crate::error::OpenError;
use crate::promotions::Promotions;

/// Reloads the access configuration when its files change: the access in force through
/// [`Promotions::reload`], and the candidate, if there is one. If a reload fails, the previous
/// access remains in force. Each reload is logged and recorded as an event in the ledger.
#[derive(Debug)]
pub struct AccessWatch {
    promotions: Promotions,
    ledger: MonitoredLedger,
    /// The access directory, then the folders of models.
    dirs: Vec<FileWatch>,
    candidate: Option<FileWatch>,
}

/// The result of a reload, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// `access` or `candidate`.
    pub what: &'static str,
    /// Whether the files were read without errors.
    pub is_good: bool,
}

/// The number of problems per reload that the ledger records, so that the event remains small.
/// The log contains all of them.
const MAX_RECORDED: usize = 20;

impl AccessWatch {
    /// Watches an access directory, which is the first of `dirs`, and folders of models.
    #[must_use]
    pub const fn new(
        promotions: Promotions,
        ledger: MonitoredLedger,
        dirs: Vec<FileWatch>,
    ) -> Self {
        Self {
            promotions,
            ledger,
            dirs,
            candidate: None,
        }
    }

    /// Also watches the directory of the candidate.
    #[must_use]
    pub fn candidate(self, dir: FileWatch) -> Self {
        Self {
            candidate: Some(dir),
            ..self
        }
    }

    /// Reloads the access if its files changed, or unconditionally if `now` is set. Call it every
    /// [`WATCH_INTERVAL`].
    pub async fn check(&mut self, now: bool) -> Vec<Reloaded> {
        let mut reloads = Vec::new();
        let mut is_due = now;
        for dir in &mut self.dirs {
            is_due |= dir.changed().await;
        }
        if is_due {
            reloads.extend(self.reload_access().await);
        }
        if let Some(dir) = &mut self.candidate
            && (dir.changed().await || is_due)
        {
            let dir = dir.path().to_owned();
            reloads.extend(self.reload_candidate(&dir).await);
        }
        reloads
    }

    /// Checks periodically and never returns.
    pub async fn run(mut self) {
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.check(false).await;
        }
    }

    async fn reload_access(&self) -> Option<Reloaded> {
        let dir = self.dirs.first()?;
        let access = self.promotions.access();
        let before = access.digest();
        let reloaded = self.promotions.reload().await;
        let reload = Reload {
            name: "access",
            before: &before,
            digest: &access.digest(),
            broken: broken(access),
            dir: dir.path(),
        };
        Some(self.report(&reload, reloaded).await)
    }

    /// Reloads the candidate. It decides nothing, so a failure has no effect on requests.
    async fn reload_candidate(&self, dir: &Path) -> Option<Reloaded> {
        let candidate = self.promotions.access().candidate()?;
        let (again, before) = (candidate.clone(), candidate.digest());
        let reloaded = spawn_blocking(move || again.reload()).await.ok()?;
        let reload = Reload {
            name: "candidate",
            before: &before,
            digest: &candidate.digest(),
            broken: broken(&candidate),
            dir,
        };
        Some(
            self.report(&reload, reloaded.map_err(OpenError::from))
                .await,
        )
    }

    /// Logs and records the result of a reload.
    async fn report(&self, reload: &Reload<'_>, reloaded: Result<(), OpenError>) -> Reloaded {
        let Reload {
            name,
            before,
            digest,
            broken,
            dir,
        } = reload;
        let outcome = Reloaded {
            what: name,
            is_good: reloaded.is_ok(),
        };
        let problems: Vec<String> = match reloaded {
            // The loader has logged it.
            Ok(()) if digest == before && broken.is_empty() => return outcome,
            Ok(()) => {
                let recorded: Vec<&String> = broken.iter().take(MAX_RECORDED).collect();
                let mut body = json!({"digest": digest, "before": before});
                if let Some(members) = body.as_object_mut().filter(|_| !broken.is_empty()) {
                    members.insert("broken_manifests".to_owned(), json!(recorded));
                }
                self.ledger.event(&format!("{name}.reloaded"), body).await;
                return outcome;
            }
            Err(OpenError::Access(error)) => {
                for problem in error.problems() {
                    let file = dir.join(&problem.file);
                    tracing::error!("{}", located(&file, problem));
                }
                error.problems().iter().map(ToString::to_string).collect()
            }
            Err(error) => {
                tracing::error!(%error, "cannot apply promotions to the reloaded access");
                vec![error.to_string()]
            }
        };
        let recorded: Vec<&String> = problems.iter().take(MAX_RECORDED).collect();
        let body = json!({"in_force": digest, "count": problems.len(), "problems": recorded});
        self.ledger
            .event(&format!("{name}.reload_refused"), body)
            .await;
        outcome
    }
}

/// One reload.
struct Reload<'t> {
    name: &'static str,
    /// The digest of the access that was in force.
    before: &'t str,
    /// The digest of the access that is in force now.
    digest: &'t str,
    /// The problems of manifests that failed alone.
    broken: Vec<String>,
    dir: &'t Path,
}

fn broken(access: &Cedar) -> Vec<String> {
    let broken = access.status().broken;
    broken.iter().map(ToString::to_string).collect()
}

fn located(file: &Path, problem: &spanner_cedar::Problem) -> String {
    let mut located = problem.clone();
    located.file = spanner_toml::line(&file.display().to_string());
    located.to_string()
}
