//! Reloads the keys of issuers and the proxy's own credentials from their files.
//!
//! Removing a key must take effect: a file with keys is read again when it changes, and tokens that
//! a removed key verified are no longer accepted. On SIGHUP, all files are read and all issuers are
//! asked for their keys. If a file has a problem, the previous keys stay in use, and the log names
//! the file and the problem.

use std::path::{Path, PathBuf};

use spanner_admin::operate::FileWatch;
use spanner_tower::Bearer;
use spanner_tower::bearer::Reloaded;
use tokio::task::spawn_blocking;

use crate::config::{Config, Credential};
use crate::meters;

/// The files to reload.
pub(crate) struct KeyReload {
    bearer: Bearer,
    files: Vec<(PathBuf, FileWatch)>,
    credentials: Vec<(Credential, FileWatch)>,
}

impl KeyReload {
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

    /// Reads the files that changed; when `asked`, all files.
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
            // An issuer that does not respond must not delay the other files.
            let bearer = self.bearer.clone();
            tokio::spawn(async move { log_reload(bearer.reload().await, true) });
            return;
        }
        for file in changed {
            log_reload(self.bearer.reload_file(&file).await, false);
        }
    }
}

fn log_reload(all: Vec<Reloaded>, asked: bool) {
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
                tracing::info!(%issuer, from, "the {what} of the issuer changed; the new ones are in use")
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
