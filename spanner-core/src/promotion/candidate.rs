//! Candidates for promotion.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::name::{ModelName, Revision};

/// A SHA-256 digest, written `sha256:` and 64 hexadecimal digits in small letters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

/// The text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 hexadecimal digits in small letters")]
pub struct DigestError;

/// A revision of a model and its manifest: what is approved and promoted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The model.
    pub model: ModelName,
    /// Its revision; `None` if only its manifest is promoted, and the served revision stays.
    pub revision: Option<Revision>,
    /// The digest of the revision's content, if the proposer states it. The name of a revision
    /// alone can come to mean something else.
    pub content: Option<Digest>,
    /// The digest of its manifest.
    pub manifest: Digest,
}

impl Candidate {
    /// A model with a manifest, without a change of its revision.
    #[must_use]
    pub const fn new(model: ModelName, manifest: Digest) -> Self {
        Self {
            model,
            revision: None,
            content: None,
            manifest,
        }
    }

    /// Sets the revision, and the digest of its content if that is known.
    #[must_use]
    pub fn revision(self, revision: Revision, content: Option<Digest>) -> Self {
        Self {
            revision: Some(revision),
            content,
            ..self
        }
    }
}

impl Digest {
    const PREFIX: &str = "sha256:";

    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{}{digits}", Self::PREFIX).into())
    }

    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(DigestError)?;
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match digits.len() == 64 && digits.bytes().all(hexadecimal) {
            true => Ok(Self(text.into())),
            false => Err(DigestError),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
