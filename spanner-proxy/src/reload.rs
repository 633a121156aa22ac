//! Reading files again when they change: the access, the revocations, keys and secrets.

use std::path::Path;
use std::sync::atomic::Ordering;

use spanner_admin::operate::{AccessWatch, FileWatch, WATCH_INTERVAL};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::read_text;
use crate::health::RevocationList;
use crate::load::revocation_problems;
use crate::meters;
use crate::restart::Fixed;
use crate::trust::Trust;

/// What is read again, and who is told.
pub(crate) struct Reload {
    pub(crate) access: AccessWatch,
    pub(crate) revocations: Option<(FileWatch, RevocationList)>,
    pub(crate) trust: Trust,
    /// What is read at start only.
    pub(crate) fixed: Vec<Fixed>,
}

impl Reload {
    /// Goes on until told to stop. Whatever `ask` brings (SIGHUP) reads everything at once.
    pub(crate) async fn run(
        mut self,
        mut ask: mpsc::Receiver<()>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticks = interval(WATCH_INTERVAL);
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
            for reloaded in self.access.check(asked).await {
                meters::reloaded(reloaded.what, reloaded.is_good);
            }
            if let Some((file, revocations)) = &mut self.revocations
                && (file.changed().await || asked)
            {
                revoke(file.path(), revocations).await;
            }
            self.trust.check(asked).await;
            for file in &mut self.fixed {
                file.check(asked).await;
            }
        }
    }
}

async fn revoke(path: &Path, revocations: &RevocationList) {
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
