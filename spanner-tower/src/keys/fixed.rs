//! Keys from the configuration or a file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use spanner_core::token::{KeySet, KeySetError};

use super::source::{FetchError, Fetched, KeySource};
use crate::authenticate::BoxFuture;

/// A JWK Set that is part of the configuration and never changes.
#[derive(Debug, Clone)]
pub struct StaticKeys {
    text: Bytes,
}

impl StaticKeys {
    /// Reads a JWK Set.
    ///
    /// # Errors
    /// [`KeySetError`] if the text is not a JWK Set or has no usable key.
    pub fn new(text: impl Into<Bytes>) -> Result<Self, KeySetError> {
        let text = text.into();
        KeySet::parse(&text)?;
        Ok(Self { text })
    }
}

impl KeySource for StaticKeys {
    fn fetch<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        let (text, validator, fresh_for) = (self.text.clone(), None, None);
        Box::pin(std::future::ready(Ok(Fetched::Document {
            text,
            validator,
            fresh_for,
        })))
    }
}

/// A JWK Set in a file. It is reloaded at least once a minute while there are requests, and at
/// once by [`Bearer::reload_file`](crate::Bearer::reload_file). If the file cannot be read or
/// has no usable key, the previous keys stay in use for at most 12 hours.
///
/// # Security
/// Anyone who can write the file can sign as any caller of the issuer.
#[derive(Debug, Clone)]
pub struct FileKeys {
    file: PathBuf,
}

impl FileKeys {
    /// How long the keys of a file are fresh: reading it again each minute is cheap.
    const FRESH: Duration = Duration::from_secs(60);

    /// Reads the keys of a file.
    ///
    /// # Errors
    /// [`FetchError`] if the file cannot be read or has no usable key.
    pub fn new(file: impl Into<PathBuf>) -> Result<Self, FetchError> {
        let file = file.into();
        read(&file)?;
        Ok(Self { file })
    }
}

impl KeySource for FileKeys {
    fn fetch<'a>(
        &'a self,
        validator: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        let file = self.file.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || read(&file)).await;
            let text = read.map_err(|_| FetchError::new("reading was given up"))??;
            let tag = format!("{:x?}", &Sha256::digest(&text)[..]);
            let fresh_for = Some(Self::FRESH);
            Ok(match validator == Some(&tag) {
                true => Fetched::NotModified { fresh_for },
                false => Fetched::Document {
                    text,
                    validator: Some(tag),
                    fresh_for,
                },
            })
        })
    }
}

/// The text of a key set. Errors name the file.
fn read(file: &Path) -> Result<Bytes, FetchError> {
    let shown = file.display();
    let limit = u64::try_from(KeySet::MAX_BYTES).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    File::open(file)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut text))
        .map_err(|error| FetchError::new(format!("`{shown}` cannot be read: {error}")))?;
    KeySet::parse(&text).map_err(|error| FetchError::new(format!("`{shown}`: {error}")))?;
    Ok(text.into())
}
