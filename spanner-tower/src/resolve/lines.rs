//! Reads lines of JSON (<https://github.com/ndjson/ndjson-spec>), each of which is one document.

use std::sync::Arc;

use spanner_core::RequestFault;

use super::found::Found;
use super::json::JsonScan;
use crate::surface::JsonPath;

/// Reads lines in pieces.
#[derive(Debug)]
pub(super) struct LineScan {
    document: JsonScan,
}

impl LineScan {
    pub(super) fn new(places: Arc<[JsonPath]>) -> Self {
        Self {
            document: JsonScan::new(places),
        }
    }

    pub(super) const fn found(&self) -> &Found {
        self.document.found()
    }

    /// Reads on.
    ///
    /// # Errors
    /// [`RequestFault::Json`] if a line is not exactly one object, and errors of the values at
    /// places.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), RequestFault> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end + 1).unwrap_or((bytes, &[]));
            self.document.feed(line)?;
            self.line_ends()?;
            bytes = rest;
        }
        self.document.feed(bytes)
    }

    /// Ends the lines. The last one needs no line feed.
    ///
    /// # Errors
    /// [`RequestFault::Json`] if the last line is incomplete.
    pub(super) fn end(&mut self) -> Result<(), RequestFault> {
        self.line_ends()
    }

    fn line_ends(&mut self) -> Result<(), RequestFault> {
        // A blank line is not a document.
        if !self.document.is_fresh() {
            self.document.end()?;
            self.document.restart();
        }
        Ok(())
    }
}
