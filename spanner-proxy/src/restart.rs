//! Files that are read at start only, and what is said when they change.
//!
//! The proxy goes on as it was started. That must not surprise whoever changed a file, so a
//! change is a warning in the log, at once and with every SIGHUP, until the proxy is started
//! again or the file is as it was.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use spanner_admin::operate::FileWatch;
use tokio::task::spawn_blocking;

use crate::config::Config;

/// A file that is read at start only.
#[derive(Debug)]
pub(crate) struct Fixed {
    seen: FileWatch,
    path: PathBuf,
    kind: Kind,
    /// What it held when the proxy was started.
    held: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Configuration,
    Surface,
    Authorities,
}

/// So much of a file is compared; none that is read at start is longer.
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

/// The files of a configuration that are read at start only. To be asked before they are read.
pub(crate) fn fixed(config: &Config) -> Vec<Fixed> {
    let surfaces = config.surface_files.iter();
    let surfaces = surfaces.map(|path| (path, Kind::Surface));
    let authorities = config.ship.iter().filter_map(|ship| ship.ca.as_ref());
    let authorities = authorities.map(|path| (path, Kind::Authorities));
    let configuration = std::iter::once((&config.file, Kind::Configuration));
    let all = configuration.chain(surfaces).chain(authorities);
    all.map(|(path, kind)| Fixed::new(path, kind)).collect()
}

impl Fixed {
    fn new(path: &Path, kind: Kind) -> Self {
        Self {
            seen: FileWatch::before_reading(path),
            path: path.to_owned(),
            kind,
            held: held(path),
        }
    }

    /// Warns if it changed; when `asked`, also if it did so before.
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
            (held(&path), problems)
        });
        let Ok((now, problems)) = looked.await else {
            return;
        };
        let (file, what) = (self.path.display(), self.kind.as_str());
        match now == self.held {
            true if changed => tracing::info!(%file, "{what} is again as it was read at start"),
            true => {}
            false if problems > 0 => tracing::warn!(
                %file, problems,
                "{what} changed, and is read at start only: what was read then is in force, and with these problems the proxy would not start again; see `spanner check`"
            ),
            false => tracing::warn!(
                %file,
                "{what} changed, and is read at start only: what was read then is in force until the proxy is started again"
            ),
        }
    }
}

/// A print of what a file holds; none where it cannot be read.
fn held(path: &Path) -> Option<u64> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Some(hasher.finish())
}
