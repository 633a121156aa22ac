//! Keys of issuers and secrets of the proxy's own, read again from their files.
//!
//! Whoever takes a key away must be able to rely on it: a file with keys is read again when it
//! changes, and what its keys verified before does not count any more. With SIGHUP, all files
//! are read and all issuers are asked. With a problem, what was read last stays in use, and a
//! line of the log names the file and the mistake.

use std::path::{Path, PathBuf};

use spanner_admin::operate::FileWatch;
use spanner_tower::Bearer;
use spanner_tower::bearer::Reloaded;
use tokio::task::spawn_blocking;

use crate::config::{Config, Credential};
use crate::meters;

/// What is read again.
pub(crate) struct Trust {
    bearer: Bearer,
    files: Vec<(PathBuf, FileWatch)>,
    credentials: Vec<(Credential, FileWatch)>,
}

impl Trust {
    pub(crate) fn new(bearer: Bearer, config: &Config) -> Self {
        let files = bearer.files().into_iter();
        let files = files.map(|file| (file.clone(), FileWatch::unread(&file)));
        let credentials = config.credentials().cloned();
        let credentials = credentials.filter_map(|credential| {
            let seen = FileWatch::unread(credential.file()?);
            Some((credential, seen))
        });
        Self {
            files: files.collect(),
            credentials: credentials.collect(),
            bearer,
        }
    }

    /// Reads what changed; when `asked`, everything.
    pub(crate) async fn check(&mut self, asked: bool) {
        for (credential, seen) in &mut self.credentials {
            if seen.changed().await || asked {
                reload(credential, asked).await;
            }
        }
        let mut changed = Vec::new();
        for (file, seen) in &mut self.files {
            if seen.changed().await {
                changed.push(file.clone());
            }
        }
        if asked {
            // An issuer that does not answer must not keep anything else from being read.
            let bearer = self.bearer.clone();
            tokio::spawn(async move { tell(bearer.reload().await, true) });
            return;
        }
        for file in changed {
            tell(self.bearer.reload_file(&file).await, false);
        }
    }
}

fn tell(all: Vec<Reloaded>, asked: bool) {
    for reloaded in all {
        let Reloaded {
            issuer,
            what,
            file,
            result,
            ..
        } = reloaded;
        let from = file.map_or_else(|| "its address".to_owned(), |file| shown(&file));
        meters::reloaded("keys", result.is_ok());
        match result {
            Ok(true) => {
                tracing::info!(%issuer, from, "the {what} of the issuer changed; the new ones count")
            }
            Ok(false) if asked => {
                tracing::info!(%issuer, from, "the {what} of the issuer are as before");
            }
            Ok(false) => {}
            Err(problem) => tracing::error!(
                %issuer, from, problem,
                "the {what} of the issuer cannot be read again; those before stay in use"
            ),
        }
    }
}

async fn reload(credential: &Credential, asked: bool) {
    let again = credential.clone();
    let Ok(result) = spawn_blocking(move || again.reload()).await else {
        return;
    };
    meters::reloaded("credentials", result.is_ok());
    let file = credential.file().map(shown).unwrap_or_default();
    match result {
        Ok(true) => tracing::info!(file, "the credential changed; the new one is sent"),
        Ok(false) if asked => tracing::info!(file, "the credential is as before"),
        Ok(false) => {}
        Err(problem) => tracing::error!(
            file,
            problem,
            "the credential cannot be read again; the one before stays in use"
        ),
    }
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}
