//! Text that is printed and logged.

use std::io::{Error, ErrorKind};
use std::path::Path;

pub use spanner_toml::{line, lines};

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
