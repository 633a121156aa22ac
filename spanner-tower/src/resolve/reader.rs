//! Reads a body while it arrives: decodes it and extracts what the route needs.

use std::sync::Arc;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use spanner_core::RequestFault;

use super::decode::Decoder;
use super::evidence::Content;
use super::form::{FormScan, FormTargets};
use super::head::{Media, single};
use super::json::JsonScan;
use super::lines::LineScan;
use super::refs::RefScan;
use crate::surface::Wanted;

/// A body, read in pieces with bounded memory.
#[derive(Debug)]
pub(super) struct Reader {
    decoder: Decoder,
    scan: Scan,
    /// The number of decoded bytes that are still allowed.
    room: usize,
    limit: usize,
    fed: bool,
}

#[derive(Debug)]
enum Scan {
    Json(JsonScan),
    Lines(LineScan),
    Form(FormScan),
    Refs(RefScan),
}

impl Reader {
    /// A reader for a body of this media type. An encoded body may decode to `limit` bytes.
    ///
    /// # Errors
    /// [`RequestFault::ContentType`] if the route's bodies have another type,
    /// [`RequestFault::Encoding`] for an unknown encoding.
    pub(super) fn new(
        headers: &HeaderMap,
        media: Media,
        wanted: &Wanted,
        limit: usize,
    ) -> Result<Self, RequestFault> {
        let scan = match media {
            Media::Json if !wanted.json.is_empty() => {
                Scan::Json(JsonScan::new(Arc::clone(&wanted.sealed.json)))
            }
            Media::Lines if !wanted.lines.is_empty() && !wanted.in_file => {
                Scan::Lines(LineScan::new(Arc::clone(&wanted.sealed.lines)))
            }
            Media::Form if !wanted.form.is_empty() || wanted.in_file => {
                let content_type = single(headers, &CONTENT_TYPE).ok().flatten();
                let lines = wanted.in_file.then(|| Arc::clone(&wanted.sealed.lines));
                let fields = Arc::clone(&wanted.sealed.form);
                Scan::Form(FormScan::new(
                    content_type.unwrap_or_default(),
                    FormTargets { fields, lines },
                )?)
            }
            Media::Push if wanted.refs => Scan::Refs(RefScan::default()),
            _ => return Err(RequestFault::ContentType),
        };
        Ok(Self {
            decoder: Decoder::of(headers)?,
            scan,
            room: limit,
            limit,
            fed: false,
        })
    }

    /// Reads on.
    ///
    /// # Errors
    /// The first fault in the encoding, the syntax, or a value.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), RequestFault> {
        let Self {
            decoder,
            scan,
            room,
            limit,
            fed,
        } = self;
        *fed |= !piece.is_empty();
        let encoded = !matches!(decoder, Decoder::Identity);
        decoder.feed(piece, |bytes| {
            if encoded {
                let left = room.checked_sub(bytes.len());
                *room = left.ok_or(RequestFault::TooLarge { limit: *limit })?;
            }
            scan.feed(bytes)
        })
    }

    /// Ends the body. An empty body has no values and no syntax error.
    ///
    /// # Errors
    /// As for [`feed`](Self::feed), and if the body is incomplete.
    pub(super) fn end(&mut self) -> Result<(), RequestFault> {
        if !self.fed {
            return Ok(());
        }
        let Self { decoder, scan, .. } = self;
        decoder.end(|bytes| scan.feed(bytes))?;
        match scan {
            Scan::Json(scan) => scan.end(),
            Scan::Lines(scan) => scan.end(),
            Scan::Form(scan) => scan.end(),
            Scan::Refs(scan) => scan.end(),
        }
    }

    /// Whether everything relevant has been read, although more may follow.
    pub(super) const fn is_done(&self) -> bool {
        match &self.scan {
            Scan::Refs(scan) => scan.is_done(),
            Scan::Json(_) | Scan::Lines(_) | Scan::Form(_) => false,
        }
    }

    /// A counter that increases with every value found.
    pub(super) fn count(&self) -> usize {
        match &self.scan {
            Scan::Json(scan) => scan.found().count(),
            Scan::Lines(scan) => scan.found().count(),
            Scan::Form(scan) => scan.fields().count() + scan.lines().count(),
            Scan::Refs(scan) => scan.refs().len(),
        }
    }

    /// The values found; `partial` if more may follow.
    pub(super) fn content(&self, partial: bool) -> Content {
        let mut content = Content {
            partial,
            ..Content::default()
        };
        match &self.scan {
            Scan::Json(scan) => content.json = scan.found().clone(),
            Scan::Lines(scan) => content.lines = scan.found().clone(),
            Scan::Form(scan) => {
                content.form = scan.fields();
                content.lines = scan.lines();
            }
            Scan::Refs(scan) => {
                content.refs = scan.refs().to_vec();
                content.deleted = scan.deleted().to_vec();
            }
        }
        content
    }
}

impl Reader {
    /// The values found in a body that has ended.
    pub(super) fn into_content(self) -> Content {
        match self.scan {
            Scan::Json(scan) => Content {
                json: scan.into_found(),
                ..Content::default()
            },
            Scan::Lines(_) | Scan::Form(_) | Scan::Refs(_) => self.content(false),
        }
    }
}

impl Scan {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), RequestFault> {
        match self {
            Self::Json(scan) => scan.feed(bytes),
            Self::Lines(scan) => scan.feed(bytes),
            Self::Form(scan) => scan.feed(bytes),
            Self::Refs(scan) => scan.feed(bytes),
        }
    }
}
