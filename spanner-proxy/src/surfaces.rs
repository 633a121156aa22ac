//! Model APIs by name, or from a file.

use std::path::{Path, PathBuf};

use spanner_tower::surface::{self, Surface, SurfaceError};

use crate::config::{Page, Unread, read_text, within};
use crate::words;

/// Why there is no such surface.
pub(crate) enum NoSurface {
    Unknown(String),
    Unreadable(Unread),
    Wrong(PathBuf, String, SurfaceError),
}

/// The surface of a name, or of a file: whatever has a `/` in it or ends in `.toml`. Its
/// name in records is the file's, without the ending.
pub(crate) fn load(name: &str, base: &Path) -> Result<Surface, NoSurface> {
    if !is_file(name) {
        return surface::named(name).ok_or_else(|| NoSurface::Unknown(name.to_owned()));
    }
    let path = within(base, name);
    let text = read_text(&path).map_err(NoSurface::Unreadable)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Surface::from_toml(&stem, &text).map_err(|error| NoSurface::Wrong(path.clone(), text, error))
}

/// Whether a name is that of a file.
pub(crate) fn is_file(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}

impl NoSurface {
    /// Notes why, beside the name in the configuration or in the surface's own file.
    pub(crate) fn note(&self, page: &Page, at: usize) {
        match self {
            Self::Unknown(name) => page.problem(
                at,
                format!("no surface is called `{name}`"),
                format!(
                    "write a path ending in `.toml`, or one of {}",
                    surface::built_in().collect::<Vec<_>>().join(", ")
                ),
            ),
            Self::Unreadable(unread) => {
                page.problem(at, format!("the surface {}", unread.what), unread.advice);
            }
            Self::Wrong(path, text, error) => {
                let other = Page::new(path.display().to_string(), text.as_str());
                for (line, problem) in error.problems() {
                    other.problem(
                        start_of(text, *line),
                        words::plain(&problem.to_string()),
                        "correct the surface; those that come with Spanner are files of the same form",
                    );
                }
                page.adopt(&other);
            }
        }
    }
}

/// The byte at which a line begins.
fn start_of(text: &str, line: usize) -> usize {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1));
    before.map(str::len).sum()
}
