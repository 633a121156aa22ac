//! The guard's own secret at an issuer.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The maximum size of a secret's file, in bytes: many times the longest secret. It keeps a
/// device file from being read without end.
const MAX_BYTES: u64 = 64 * 1024;

/// A client secret, from a text or from a file that can be reloaded. Clones share the secret.
///
/// ```
/// use spanner_tower::Introspection;
///
/// let asks = Introspection::discovered().client_secret_basic("guard", "secret");
/// ```
#[derive(Clone)]
pub struct ClientSecret {
    file: Option<Arc<Path>>,
    text: Arc<ArcSwap<String>>,
}

impl ClientSecret {
    /// Reads the secret from a file, without line ends after it.
    /// [`Bearer::reload_file`](crate::Bearer::reload_file) reloads it.
    ///
    /// # Errors
    /// A description of what is wrong with the file.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path: PathBuf = path.into();
        let text = read(&path)?;
        Ok(Self {
            file: Some(path.into()),
            text: Arc::new(ArcSwap::from_pointee(text)),
        })
    }

    pub(crate) fn text(&self) -> Arc<String> {
        self.text.load_full()
    }

    /// The secret's file, if it comes from one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reloads the file, and returns whether the secret changed. After a failure the previous
    /// secret stays in use.
    pub(crate) fn reload(&self) -> Result<bool, String> {
        let Some(path) = &self.file else {
            return Ok(false);
        };
        let text = read(path)?;
        let other = *self.text.load_full() != text;
        if other {
            self.text.store(Arc::new(text));
        }
        Ok(other)
    }
}

impl From<String> for ClientSecret {
    fn from(text: String) -> Self {
        Self {
            file: None,
            text: Arc::new(ArcSwap::from_pointee(text)),
        }
    }
}

impl From<&str> for ClientSecret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecret")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!(
            "`{shown}` has more than {MAX_BYTES} bytes, which is no secret"
        ));
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("`{shown}`: the client's secret is empty")),
        secret => Ok(secret.to_owned()),
    }
}
