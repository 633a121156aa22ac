//! Model APIs by name, or from a file.

use std::path::Path;

use spanner_toml::{Problem, Problems, Table, Text, quoted, suggestion};
use spanner_tower::surface::{self, Surface};

use crate::config::{Unread, read_text};

/// Loads the surface of a name or of a file. A name with a `/` or the extension `.toml` is a path, and
/// the surface is named like the file, without the extension. Problems are reported at the name in the
/// configuration, or in the surface's own file.
pub(crate) fn load(
    table: Table<'_>,
    name: Text<'_>,
    base: &Path,
    problems: &mut Problems,
) -> Option<Surface> {
    if !is_file(name.value) {
        let surface = surface::named(name.value);
        if surface.is_none() {
            let known = surface::built_in().collect::<Vec<_>>().join(", ");
            let otherwise = format!("write a path ending in `.toml`, or one of {known}");
            let advice = suggestion(name.value, surface::built_in(), &otherwise);
            let what = format!("no surface is called {}", quoted(name.value));
            table.problem(name.at, what, advice, problems);
        }
        return surface;
    }
    let path = base.join(name.value);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(Unread { what, advice, .. }) => {
            table.problem(name.at, format!("the surface {what}"), advice, problems);
            return None;
        }
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let read = Surface::from_toml(&stem, &text);
    let read = read.map_err(|error| {
        let file = path.display().to_string();
        for (position, problem) in error.problems() {
            problems.push(Problem::new(&file, Some(*position), problem, ADVICE));
        }
    });
    read.ok()
}

const ADVICE: &str = "correct the surface; the built-in surfaces are files in the same format";

/// Whether a name is the path of a file.
pub(crate) fn is_file(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}
