//! Problems with paths that a configuration or a command names.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a file cannot be read, and what to do about it.
pub(crate) fn unreadable(path: &Path, error: &Error) -> (String, &'static str) {
    let advice = match error.kind() {
        ErrorKind::NotFound => "correct its path, which is relative to the file that names it",
        ErrorKind::PermissionDenied => "let the user of this process read it",
        ErrorKind::IsADirectory => "name a file in that directory",
        ErrorKind::InvalidData => "save it as UTF-8",
        _ => "make it a file that can be read",
    };
    let why = match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    (
        format!("`{}` cannot be read: {why}", path.display()),
        advice,
    )
}

/// The problem with a path that must be a directory; `None` if it is one.
#[must_use]
pub fn missing_directory(path: &Path) -> Option<String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("`{shown}` is no directory")),
        Err(fault) if fault.kind() == ErrorKind::NotFound => {
            Some(format!("there is no directory `{shown}`"))
        }
        Err(fault) => Some(format!("the directory `{shown}` cannot be read: {fault}")),
    }
}

/// The path of the file that a problem with an access names, relative to the working directory.
///
/// A problem names a file relative to the access directory `dir`, or in one of the folders of
/// `models` with that folder's path.
#[must_use]
pub fn problem_file(dir: &Path, models: &[PathBuf], file: &str) -> String {
    let is_whole = file == "."
        || Path::new(file) == dir
        || models
            .iter()
            .any(|models| Path::new(file).starts_with(models));
    match (is_whole, file) {
        (true, ".") => dir.display().to_string(),
        (true, _) => file.to_owned(),
        (false, _) => dir.join(file).display().to_string(),
    }
}
