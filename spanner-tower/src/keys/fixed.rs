//! Keys that are given once.

use bytes::Bytes;
use spanner_core::token::{KeySet, KeySetError};

use super::{FetchError, Fetched, KeySource};
use crate::authenticate::BoxFuture;

/// A JWK Set that is part of the configuration and never changes.
#[derive(Debug, Clone)]
pub struct StaticKeys {
    text: Bytes,
}

impl StaticKeys {
    /// Takes a JWK Set.
    ///
    /// # Errors
    /// [`KeySetError`] if it is none, or has no key that can be used.
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
