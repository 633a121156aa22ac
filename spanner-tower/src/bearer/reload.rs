//! Reloads keys and secrets from files, and fetches the keys of issuers again.

use std::path::{Path, PathBuf};

use futures_util::future::{join, join_all};
use spanner_core::IssuerAlias;
use tokio::task::spawn_blocking;

use super::{Bearer, IssuerKeys};

/// The result of reloading one item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The issuer that the item belongs to.
    pub issuer: IssuerAlias,
    /// `keys`, or `client secret`.
    pub what: &'static str,
    /// The file that contains it; `None` for keys that are fetched from the issuer.
    pub file: Option<PathBuf>,
    /// Whether the content changed, or why it could not be read. After a failure the previous
    /// content stays in use; keys do so for 12 hours.
    pub result: Result<bool, String>,
}

impl Bearer {
    /// The files that contain keys and secrets, without duplicates. A file watcher calls
    /// [`Bearer::reload_file`] when one of them changes.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let keys = self.shared.keys.values();
        let keys = keys.filter_map(|keys| keys.file.clone());
        let secrets = self.shared.opaque.iter();
        let secrets = secrets.filter_map(|(_, opaque)| opaque.secret()?.path());
        let mut files: Vec<PathBuf> = keys.chain(secrets.map(Path::to_owned)).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Reloads a file for all issuers that use it. A token whose key was removed is refused from
    /// then on, even if it was verified before.
    pub async fn reload_file(&self, file: &Path) -> Vec<Reloaded> {
        self.reload_where(|from| from == Some(file)).await
    }

    /// Reloads all files and fetches the keys of all issuers, regardless of back-off after
    /// failures. For an operator who knows that something changed.
    pub async fn reload(&self) -> Vec<Reloaded> {
        self.reload_where(|_| true).await
    }

    async fn reload_where(&self, wanted: impl Fn(Option<&Path>) -> bool) -> Vec<Reloaded> {
        let mut keys: Vec<&IssuerKeys> = Vec::new();
        for one in self.shared.keys.values() {
            // Tenants may share their keys.
            let same = |other: &&IssuerKeys| other.cache.is(&one.cache);
            if wanted(one.file.as_deref()) && !keys.iter().any(same) {
                keys.push(one);
            }
        }
        let keys = keys.into_iter().map(async |keys| {
            let result = keys.cache.refresh().await;
            Reloaded {
                issuer: keys.alias.clone(),
                what: "keys",
                file: keys.file.clone(),
                result: result.map_err(|error| error.to_string()),
            }
        });
        let secrets = self.shared.opaque.iter().filter_map(|(alias, opaque)| {
            let secret = opaque.secret()?;
            let file = secret.path().filter(|file| wanted(Some(file)))?;
            Some((alias.clone(), file.to_owned(), secret.clone()))
        });
        let secrets = secrets.map(async |(issuer, file, secret)| {
            let reloaded = spawn_blocking(move || secret.reload()).await;
            let given_up = |_| Err("reading was given up".to_owned());
            Reloaded {
                issuer,
                what: "client secret",
                file: Some(file),
                result: reloaded.unwrap_or_else(given_up),
            }
        });
        let (keys, secrets) = join(join_all(keys), join_all(secrets)).await;
        let mut all: Vec<Reloaded> = keys.into_iter().chain(secrets).collect();
        all.sort_by(|one, other| (&one.issuer, &one.file).cmp(&(&other.issuer, &other.file)));
        all
    }
}
