//! Files that are read only at start.
//!
//! The proxy ignores a change of such a file until it is restarted. That must not surprise the
//! operator, so a change is logged as a warning, at once and on every SIGHUP, until the proxy is
//! restarted or the file has its previous content.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use spanner_admin::operate::FileWatch;
use tokio::task::spawn_blocking;

use crate::config::Config;

/// A file that is read only at start.
#[derive(Debug)]
pub(crate) struct StartupFile {
    seen: FileWatch,
    path: PathBuf,
    kind: Kind,
    /// The digest of its content at start; `None` if it could not be read.
    digest: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Configuration,
    Surface,
    Authorities,
}

/// How much of a file is compared, in bytes: configurations, surfaces and certificates are shorter.
const MAX_BYTES: u64 = 16 << 20;

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "the configuration",
            Self::Surface => "a surface",
            Self::Authorities => "the certificates of `ca`",
        }
    }
}

/// The files of a configuration that are read only at start. Call it before they are read, so that
/// no change is missed.
pub(crate) fn of(config: &Config) -> Vec<StartupFile> {
    let surfaces = config.surface_files.iter();
    let surfaces = surfaces.map(|path| (path, Kind::Surface));
    let authorities = config.ship.iter().filter_map(|ship| ship.ca.as_ref());
    let authorities = authorities.map(|path| (path, Kind::Authorities));
    let configuration = std::iter::once((&config.file, Kind::Configuration));
    let all = configuration.chain(surfaces).chain(authorities);
    all.map(|(path, kind)| StartupFile::new(path, kind))
        .collect()
}

impl StartupFile {
    fn new(path: &Path, kind: Kind) -> Self {
        Self {
            seen: FileWatch::before_reading(path),
            path: path.to_owned(),
            kind,
            digest: digest(path),
        }
    }

    /// Warns if the file changed; when `asked`, also if it changed earlier.
    pub(crate) async fn check(&mut self, asked: bool) {
        let changed = self.seen.changed().await;
        if !changed && !asked {
            return;
        }
        let (path, kind) = (self.path.clone(), self.kind);
        let looked = spawn_blocking(move || {
            let problems = match kind {
                Kind::Configuration => Config::read(&path).1.all().len(),
                Kind::Surface | Kind::Authorities => 0,
            };
            (digest(&path), problems)
        });
        let Ok((now, problems)) = looked.await else {
            return;
        };
        let (file, what) = (self.path.display(), self.kind.as_str());
        match now == self.digest {
            true if changed => {
                tracing::info!(%file, "{what} is again as it was read at start")
            }
            true => {}
            false if problems > 0 => tracing::warn!(
                %file, problems,
                "{what} changed, and is read at start only: the version read then is in force, and with these problems the proxy would not start again; see `spanner check`"
            ),
            false => tracing::warn!(
                %file,
                "{what} changed, and is read at start only: the version read then is in force until the proxy is restarted"
            ),
        }
    }
}

/// The digest of a file's content; `None` if it cannot be read.
fn digest(path: &Path) -> Option<u64> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Some(hasher.finish())
}
