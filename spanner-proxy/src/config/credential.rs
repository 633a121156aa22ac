//! `credential`: the proxy's own credential at another server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use http::header::HeaderValue;

use spanner_toml::{Key, Kind, Problems, Table};

use super::{Context, Secrets, read_text};

/// A value of `Authorization`, from a variable (`{ env = "NAME" }`) or from a file
/// (`{ file = "path" }`). A file is reloaded when it changes and on SIGHUP; while it cannot be read,
/// the previous value stays in use. A variable is read only at start. Clones share the value.
#[derive(Clone)]
pub struct Credential {
    file: Option<Arc<Path>>,
    header: Arc<RwLock<HeaderValue>>,
}

impl Credential {
    /// The current header, marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let header = self.header.read().unwrap_or_else(PoisonError::into_inner);
        header.clone()
    }

    /// The file that it is read from; `None` for a variable.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reloads the file. Returns whether the token changed.
    pub(crate) fn reload(&self) -> Result<bool, String> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let header = read(file)?;
        let mut current = self.header.write().unwrap_or_else(PoisonError::into_inner);
        let other = *current != header;
        *current = header;
        Ok(other)
    }

    fn of_file(file: PathBuf) -> Result<Self, String> {
        let header = read(&file)?;
        Ok(Self {
            file: Some(file.into()),
            header: Arc::new(RwLock::new(header)),
        })
    }

    fn of_variable(name: &str) -> Result<Self, String> {
        let secret = std::env::var(name);
        let secret =
            secret.map_err(|_| format!("the variable `{name}` is not set, or is no text"))?;
        Ok(Self {
            file: None,
            header: Arc::new(RwLock::new(bearer(&secret)?)),
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The credential of a table, if it has one and secrets are resolved. A credential that cannot be
/// read is a problem.
pub(super) fn credential(
    table: Table<'_>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Credential> {
    let source = table.section("credential", KEYS, problems)?;
    let (env, file) = (source.text("env", problems), source.text("file", problems));
    let credential = match (env, file, context.secrets) {
        (Some(_), None, Secrets::Skip) | (None, Some(_), Secrets::Skip) => return None,
        (Some(name), None, Secrets::Resolve) => Credential::of_variable(name.value),
        (None, Some(path), Secrets::Resolve) => Credential::of_file(context.within(path.value)),
        _ => Err("give one of `env` and `file`".to_owned()),
    };
    let credential = credential.map_err(|what| {
        let advice = "give `{ env = \"NAME\" }` of a variable, or `{ file = \"path\" }`, with the bare token in it";
        source.whole(format!("`credential`: {what}"), advice, problems);
    });
    credential.ok()
}

/// The description of the key, for the tables that accept it.
pub(super) const KEY: Key = Key::new(
    "credential",
    Kind::Table(KEYS),
    "Sent as `Authorization: Bearer …`: the proxy's own credential.",
);

const KEYS: &[Key] = &[
    Key::new(
        "env",
        Kind::Text("variable"),
        "The variable that holds the token. It is read at start.",
    ),
    Key::new(
        "file",
        Kind::Text("path"),
        "The file that holds the token. It is read again on change and on SIGHUP.",
    ),
];

fn read(file: &Path) -> Result<HeaderValue, String> {
    let secret = read_text(file).map_err(|fault| fault.what)?;
    bearer(&secret).map_err(|what| format!("`{}`: {what}", file.display()))
}

fn bearer(secret: &str) -> Result<HeaderValue, String> {
    let secret = secret.trim_end_matches(['\r', '\n']);
    let plain = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
    let header = plain.then(|| HeaderValue::try_from(format!("Bearer {secret}")));
    match header {
        Some(Ok(mut header)) => {
            header.set_sensitive(true);
            Ok(header)
        }
        // The message must not contain the value: it may be a secret even so.
        _ => Err("what is there is no token of one word".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_reloaded_leaves_the_previous_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "one\n").unwrap();
        let credential = Credential::of_file(file.clone()).unwrap();
        let clone = credential.clone();
        for (text, due, sent) in [
            ("one", Some(false), "Bearer one"),
            ("two\r\n", Some(true), "Bearer two"),
            ("", None, "Bearer two"),
            ("two words", None, "Bearer two"),
            ("three", Some(true), "Bearer three"),
        ] {
            std::fs::write(&file, text).unwrap();
            let reloaded = credential.reload();
            assert_eq!(reloaded.as_ref().ok().copied(), due, "{text:?}");
            if let Err(problem) = reloaded {
                assert!(
                    problem.contains("token`: what is there is no token"),
                    "{problem}"
                );
                assert!(!problem.contains("words"), "{problem}");
            }
            assert_eq!(clone.header(), sent, "{text:?}");
            assert!(clone.header().is_sensitive());
        }
        assert!(!format!("{credential:?}").contains("three"));
    }
}
