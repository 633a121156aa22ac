//! Forms: `multipart/form-data` (RFC 7578) and `application/x-www-form-urlencoded`.
//!
//! 1. A relevant field must occur once and be named plainly: no `name*`, and nothing except a
//!    name and a file name in its disposition.
//! 2. A file's content is skipped, unless the route looks for lines of JSON in it. The field
//!    with the file's purpose may follow the file.
//! 3. Nothing may precede the first boundary or follow the last one, because only some parsers
//!    read that. A boundary must be alone on its line and occur nowhere else, and lines must end
//!    with CR LF, because some parsers accept less.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use memchr::memmem;
use multer::{Field, Multipart};
use spanner_core::RequestFault;

use super::found::Found;
use super::lines::LineScan;
use crate::surface::{JsonPath, Want};

/// The maximum size of a relevant field, in bytes: four times the longest model name.
const MAX_FIELD: usize = 1024;

/// The maximum size of one part's headers, in bytes; clients send about 100.
const MAX_HEADERS: usize = 8 * 1024;

/// The maximum number of fields; OpenAI's largest form has about 20.
const MAX_FIELDS: usize = 1024;

/// The maximum size of a URL-encoded form, in bytes. It is buffered whole; forms with files are
/// multipart.
const MAX_ENCODED: usize = 64 * 1024;

/// The fields and lines that the route reads.
#[derive(Debug, Clone)]
pub(super) struct FormTargets {
    pub(super) fields: Arc<[(String, Want)]>,
    /// The places in the lines of JSON in the field `file`.
    pub(super) lines: Option<Arc<[JsonPath]>>,
}

/// Reads a form in pieces.
pub(super) enum FormScan {
    Multipart(Parts),
    Encoded {
        sought: FormTargets,
        arrived: Vec<u8>,
        fields: Found,
    },
}

/// A multipart body. The parser pulls its input, so arriving bytes are put into a queue.
pub(super) struct Parts {
    sought: FormTargets,
    shared: Arc<Shared>,
    reading: Option<Pin<Box<ParseFuture>>>,
    edges: Edges,
}

/// The parser at work.
type ParseFuture = dyn Future<Output = Result<(), RequestFault>> + Send;

/// The parser's input and results.
struct Shared {
    arrived: Mutex<(VecDeque<Bytes>, bool)>,
    fields: Mutex<Found>,
    file: Mutex<Option<File>>,
}

/// A file that may contain lines of JSON.
struct File {
    lines: LineScan,
    /// A fault in the lines, which matters only if they turn out to be lines of JSON.
    read: Result<(), RequestFault>,
}

impl FormScan {
    /// A reader for a form with this content type.
    ///
    /// # Errors
    /// [`RequestFault::ContentType`] without a usable boundary.
    pub(super) fn new(content_type: &str, sought: FormTargets) -> Result<Self, RequestFault> {
        let multipart = content_type.trim_start().to_ascii_lowercase();
        if !multipart.starts_with("multipart/") {
            let fields = Found::at_places(sought.fields.len());
            return Ok(Self::Encoded {
                sought,
                arrived: Vec::new(),
                fields,
            });
        }
        let boundary =
            multer::parse_boundary(content_type).map_err(|_| RequestFault::ContentType)?;
        let once = parameters(&multipart, "boundary") == 1;
        let plain = boundary.bytes().all(|byte| byte.is_ascii_graphic());
        match once && plain && (1..=70).contains(&boundary.len()) {
            true => Ok(Self::Multipart(Parts::new(boundary, sought))),
            false => Err(RequestFault::ContentType),
        }
    }

    /// The values of the fields, one place each.
    pub(super) fn fields(&self) -> Found {
        match self {
            Self::Multipart(parts) => lock(&parts.shared.fields).clone(),
            Self::Encoded { fields, .. } => fields.clone(),
        }
    }

    /// The values in the lines of the file.
    pub(super) fn lines(&self) -> Found {
        match self {
            Self::Multipart(parts) => {
                let file = lock(&parts.shared.file);
                let found = file.as_ref().map(|file| file.lines.found().clone());
                found.unwrap_or_default()
            }
            Self::Encoded { .. } => Found::default(),
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// [`RequestFault::Form`] if it is malformed, and what a field is refused for.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), RequestFault> {
        match self {
            Self::Multipart(parts) => parts.feed(bytes),
            Self::Encoded { arrived, .. } if arrived.len() + bytes.len() > MAX_ENCODED => {
                Err(RequestFault::TooLarge { limit: MAX_ENCODED })
            }
            Self::Encoded { arrived, .. } => {
                arrived.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The form is over.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub(super) fn end(&mut self) -> Result<(), RequestFault> {
        match self {
            Self::Multipart(parts) => parts.end(),
            Self::Encoded {
                sought,
                arrived,
                fields,
            } => encoded(arrived, sought, fields),
        }
    }
}

/// The number of parameters with this name in a media type, including extended and continued
/// ones (RFC 2231).
fn parameters(media_type: &str, name: &str) -> usize {
    let names = media_type
        .split(';')
        .map(|parameter| parameter.split('=').next().unwrap_or_default());
    let same = |found: &&str| found.trim().split('*').next() == Some(name);
    names.filter(same).count()
}

/// Reads a complete URL-encoded form.
fn encoded(form: &[u8], sought: &FormTargets, fields: &mut Found) -> Result<(), RequestFault> {
    let mut seen = vec![false; sought.fields.len()];
    for (name, value) in form_urlencoded::parse(form) {
        take(sought, fields, &mut seen, &name, &value)?;
    }
    Ok(())
}

/// Notes a field, which must be the only one with its name.
fn take(
    sought: &FormTargets,
    fields: &mut Found,
    seen: &mut [bool],
    name: &str,
    value: &str,
) -> Result<(), RequestFault> {
    let Some(place) = sought.place(name)? else {
        return Ok(());
    };
    if let Some(seen) = seen.get_mut(place)
        && std::mem::replace(seen, true)
    {
        return Err(RequestFault::SelectorConflict);
    }
    match sought.fields.get(place) {
        _ if value.is_empty() => Ok(()),
        Some((_, Want::Nothing)) => Err(RequestFault::Opaque),
        _ => fields.take(place, value),
    }
}

impl FormTargets {
    /// The place of a field with this name; an error if only some parsers read it as one that is
    /// looked for.
    fn place(&self, name: &str) -> Result<Option<usize>, RequestFault> {
        let found = self.fields.iter().position(|(sought, _)| sought == name);
        let plain = name.split('[').next().unwrap_or_default().trim();
        let similar = |(sought, _): &(String, Want)| sought.eq_ignore_ascii_case(plain);
        match found.is_none() && self.fields.iter().any(similar) {
            true => Err(RequestFault::SelectorConflict),
            false => Ok(found),
        }
    }
}

impl Parts {
    fn new(boundary: String, sought: FormTargets) -> Self {
        let shared = Arc::new(Shared {
            arrived: Mutex::default(),
            fields: Mutex::new(Found::at_places(sought.fields.len())),
            file: Mutex::new(sought.lines.clone().map(File::new)),
        });
        let edges = Edges::new(&boundary);
        let pieces = Pieces(Arc::clone(&shared));
        let multipart = Multipart::new(pieces, boundary);
        let reading = Box::pin(read(multipart, sought.clone(), Arc::clone(&shared)));
        Self {
            sought,
            shared,
            reading: Some(reading),
            edges,
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), RequestFault> {
        self.edges.saw(bytes)?;
        let piece = Bytes::copy_from_slice(bytes);
        lock(&self.shared.arrived).0.push_back(piece);
        self.advance()
    }

    fn end(&mut self) -> Result<(), RequestFault> {
        lock(&self.shared.arrived).1 = true;
        self.advance()?;
        if let Some(file) = &mut *lock(&self.shared.file) {
            match is_batch(&self.sought, &self.shared)? {
                Some(true) => file.end()?,
                Some(false) => {}
                // The form does not state the purpose of the file.
                None => return Err(RequestFault::Form),
            }
        }
        match self.reading.is_none() && self.edges.is_closed() {
            true => Ok(()),
            false => Err(RequestFault::Form),
        }
    }

    /// Lets the parser read what has arrived. It never waits for anything else.
    fn advance(&mut self) -> Result<(), RequestFault> {
        let Some(reading) = &mut self.reading else {
            return Ok(());
        };
        match reading
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Pending => Ok(()),
            Poll::Ready(read) => {
                self.reading = None;
                read
            }
        }
    }
}

impl File {
    fn new(places: Arc<[JsonPath]>) -> Self {
        let lines = LineScan::new(places);
        Self {
            lines,
            read: Ok(()),
        }
    }

    /// Reads the file until there is a fault. If the file is known to be lines of JSON, the
    /// fault is an error at once; if it may still turn out to be, the fault is kept.
    fn feed(&mut self, chunk: &[u8], known: bool) -> Result<(), RequestFault> {
        if self.read.is_ok() {
            self.read = self.lines.feed(chunk);
        }
        match known {
            true => self.read.clone(),
            false => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), RequestFault> {
        self.read.clone()?;
        self.lines.end()
    }
}

/// Reads all fields.
async fn read(
    mut multipart: Multipart<'static>,
    sought: FormTargets,
    shared: Arc<Shared>,
) -> Result<(), RequestFault> {
    let mut seen = vec![false; sought.fields.len()];
    let mut files = 0;
    let mut count = 0;
    while let Some(field) = multipart.next_field().await.map_err(malformed)? {
        count += 1;
        if count > MAX_FIELDS {
            return Err(RequestFault::Form);
        }
        let name = plain_name(&field)?;
        if name == "file" && sought.lines.is_some() {
            files += 1;
            if files > 1 {
                return Err(RequestFault::SelectorConflict);
            }
            let batch = is_batch(&sought, &shared)?;
            pass(field, |chunk| match &mut *lock(&shared.file) {
                Some(file) if batch != Some(false) => file.feed(chunk, batch.is_some()),
                _ => Ok(()),
            })
            .await?;
        } else if sought.place(&name)?.is_some() {
            if field.file_name().is_some() {
                return Err(RequestFault::SelectorConflict);
            }
            let mut value = Vec::new();
            pass(field, |chunk| {
                value.extend_from_slice(chunk);
                match value.len() > MAX_FIELD {
                    true => Err(RequestFault::Model),
                    false => Ok(()),
                }
            })
            .await?;
            let value = str::from_utf8(&value).map_err(|_| RequestFault::Form)?;
            take(&sought, &mut lock(&shared.fields), &mut seen, &name, value)?;
        } else {
            pass(field, |_| Ok(())).await?;
        }
    }
    Ok(())
}

/// Whether the file names models, which is the case if the purpose of the upload is a batch;
/// `None` if the purpose is not known yet.
fn is_batch(sought: &FormTargets, shared: &Shared) -> Result<Option<bool>, RequestFault> {
    let Some(purpose) = sought.fields.iter().position(|(name, _)| name == "purpose") else {
        return Ok(Some(true));
    };
    match lock(&shared.fields).at(purpose) {
        [] => Ok(None),
        [purpose] => Ok(Some(purpose == "batch")),
        _ => Err(RequestFault::SelectorConflict),
    }
}

async fn pass(
    mut field: Field<'static>,
    mut take: impl FnMut(&[u8]) -> Result<(), RequestFault>,
) -> Result<(), RequestFault> {
    while let Some(chunk) = field.chunk().await.map_err(malformed)? {
        take(&chunk)?;
    }
    Ok(())
}

/// The name of a field, if all parsers read its disposition alike.
fn plain_name(field: &Field<'_>) -> Result<String, RequestFault> {
    let mut dispositions = field
        .headers()
        .get_all(http::header::CONTENT_DISPOSITION)
        .iter();
    let disposition = dispositions
        .next()
        .and_then(|value| str::from_utf8(value.as_bytes()).ok());
    let (Some(disposition), None, Some(name)) = (disposition, dispositions.next(), field.name())
    else {
        return Err(RequestFault::Form);
    };
    let small = disposition.to_ascii_lowercase();
    let named = small.replace("filename=", "").replace("filename*=", "");
    let once = named.matches("name=").count() == 1 && !named.contains("name*");
    let as_sent = format!("name=\"{name}\"");
    let behind = disposition.split_once(as_sent.as_str());
    let behind = behind.map(|(_, behind)| behind.trim_start());
    let quoted = behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(';'));
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    match once && quoted && plain && !name.contains(['"', '\\', '%']) {
        true => Ok(name.to_owned()),
        false => Err(RequestFault::Form),
    }
}

fn malformed(_: multer::Error) -> RequestFault {
    RequestFault::Form
}

/// The arrived bytes, as a stream for the parser.
struct Pieces(Arc<Shared>);

impl Stream for Pieces {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut arrived = lock(&self.0.arrived);
        match (arrived.0.pop_front(), arrived.1) {
            (Some(piece), _) => Poll::Ready(Some(Ok(piece))),
            (None, true) => Poll::Ready(None),
            (None, false) => Poll::Pending,
        }
    }
}

/// Finds the boundary lines of a body. All parsers must find the same ones: some accept a bare
/// line feed as the end of a line, and some accept text after a boundary.
struct Edges {
    /// `--boundary` (RFC 2046 §5.1.1).
    mark: Vec<u8>,
    /// The bytes that were not examined yet.
    unread: Vec<u8>,
    at: Edge,
}

/// What is expected next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// The first boundary.
    First,
    /// The rest of a boundary's line.
    Behind,
    Headers,
    Content,
    /// Nothing.
    Closed,
}

impl Edges {
    fn new(boundary: &str) -> Self {
        Self {
            mark: format!("--{boundary}").into_bytes(),
            unread: Vec::new(),
            at: Edge::First,
        }
    }

    fn is_closed(&self) -> bool {
        self.at == Edge::Closed
    }

    /// # Errors
    /// [`RequestFault::Form`] if there is content before the first boundary or after the last
    /// one, or if parsers could read a line differently.
    fn saw(&mut self, bytes: &[u8]) -> Result<(), RequestFault> {
        self.unread.extend_from_slice(bytes);
        while let Some((taken, next)) = self.next()? {
            self.unread.drain(..taken);
            self.at = next;
        }
        Ok(())
    }

    /// The number of examined bytes and the next state; `None` until more has arrived.
    fn next(&mut self) -> Result<Option<(usize, Edge)>, RequestFault> {
        let refused = Err(RequestFault::Form);
        let (unread, mark) = (self.unread.as_slice(), self.mark.as_slice());
        match self.at {
            Edge::First if unread.starts_with(mark) => Ok(Some((mark.len(), Edge::Behind))),
            Edge::First if mark.starts_with(unread) => Ok(None),
            Edge::First => refused,
            Edge::Behind if unread.starts_with(b"\r\n") => Ok(Some((2, Edge::Headers))),
            Edge::Behind if unread.starts_with(b"--") => Ok(Some((2, Edge::Closed))),
            Edge::Behind if matches!(unread, [] | b"\r" | b"-") => Ok(None),
            Edge::Behind => refused,
            Edge::Headers => match memmem::find(unread, b"\r\n\r\n") {
                None if unread.len() <= MAX_HEADERS => Ok(None),
                Some(end) if end <= MAX_HEADERS && are_plain(unread.get(..end)) => {
                    Ok(Some((end + 4, Edge::Content)))
                }
                _ => refused,
            },
            Edge::Content => match memmem::find(unread, mark) {
                Some(at) if unread.get(..at).is_some_and(|b| b.ends_with(b"\r\n")) => {
                    Ok(Some((at + mark.len(), Edge::Behind)))
                }
                Some(_) => refused,
                None => {
                    // The unread rest may contain the start of a boundary and the line end
                    // before it.
                    let kept = mark.len() + 1;
                    let passed = unread.len().saturating_sub(kept);
                    self.unread.drain(..passed);
                    Ok(None)
                }
            },
            Edge::Closed if unread.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
                self.unread.clear();
                Ok(None)
            }
            Edge::Closed => refused,
        }
    }
}

/// Whether the headers of a part are lines that end with CR and LF, none of them folded.
fn are_plain(headers: Option<&[u8]>) -> bool {
    let text = headers.and_then(|headers| str::from_utf8(headers).ok());
    text.is_some_and(|text| {
        text.split("\r\n").all(|line| {
            !line.is_empty() && !line.starts_with([' ', '\t']) && !line.contains(['\r', '\n'])
        })
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for FormScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormScan")
    }
}
