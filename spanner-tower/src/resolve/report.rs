//! Reads what an API reports in its response as it passes: usage, the model that answered, and
//! failures despite a successful status. Nothing else of the response is kept.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use spanner_core::record::Outcome;
use spanner_core::{ModelName, Settlement, Usage};

use super::decode::Decoder;
use super::eventstream::{Event, EventStream};
use super::found::Found;
use super::grpc::{Encoding, Framing};
use super::json::JsonScan;
use crate::media::Sequence;
use crate::surface::{Reports, Source, Topic};

/// The size to which an encoded response may decode before it is no longer read: hours of a
/// stream.
const MAX_DECODED: usize = 256 << 20;

/// The largest message of a framed stream that is read. Messages with reports are small; larger
/// ones contain tensors and are skipped.
const MAX_MESSAGE: usize = 1 << 20;

/// Reads a response in pieces.
pub(crate) struct ReportScan {
    decoder: Decoder,
    room: usize,
    form: Form,
    reader: Reader,
}

/// The way in which a response contains its documents.
enum Form {
    /// It is one.
    One,
    /// One in each line.
    Lines { broken: bool },
    /// One in the data of each event
    /// (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>).
    Events(Events),
    /// One in each message of AWS's event streams.
    EventStream(EventStream),
    /// gRPC messages.
    Messages(Messages),
    /// The response is not read, or no longer.
    Over,
}

/// Reads documents and keeps their reports.
struct Reader {
    reports: Arc<Reports>,
    document: JsonScan,
    /// Whether there are several documents.
    stream: bool,
    /// Combines two reports of one response.
    join: fn(u64, u64) -> u64,
    report: Report,
}

/// The reports so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) usage: Usage,
    pub(super) served: Option<ModelName>,
    pub(super) failed: bool,
    pub(super) error_type: Option<String>,
}

/// The position in an event stream.
#[derive(Default)]
struct Events {
    /// Whether a line has ended; a byte order mark may occur only before that.
    begun: bool,
    /// Whether the last byte was a CR, which ended its line; a following LF belongs to it.
    cr: bool,
    /// The line's field so far.
    name: Vec<u8>,
    field: Option<Field>,
    /// The event's name.
    event: Vec<u8>,
    /// Whether the data is not a document.
    broken: bool,
    /// Whether a field `error` replaces `data`, as in llama.cpp.
    error: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Other,
}

/// Where in a stream of gRPC messages.
struct Messages {
    framing: Framing,
    frame: Vec<u8>,
    /// The bytes of a message that are still to be skipped.
    skip: usize,
}

impl ReportScan {
    /// A reader for a response with these headers; `None` if it reports nothing in a readable
    /// form. If no model was `run`, only streams are read, and only for failures: a document
    /// could describe a job that failed long ago.
    pub(crate) fn of(headers: &HeaderMap, reports: &Arc<Reports>, run: bool) -> Option<Self> {
        if reports.rows().is_empty() {
            return None;
        }
        let form = Form::of(headers, reports);
        let decoder = Decoder::of_response(headers).ok();
        let readable = decoder.is_some() && !matches!(form, Form::Over);
        if !run && (!readable || matches!(form, Form::One)) {
            return None;
        }
        let mut reader = Reader::new(reports, u64::max);
        reader.stream = !matches!(form, Form::One);
        if run {
            reader.report.usage = reports.of_head(headers);
        }
        (readable || reader.report.usage != Usage::default()).then(|| Self {
            decoder: decoder.unwrap_or(Decoder::Identity),
            room: MAX_DECODED,
            form: if readable { form } else { Form::Over },
            reader,
        })
    }

    /// A reader for the messages of a conversation, each of which reports usage of its own.
    pub(crate) fn of_conversation(reports: &Arc<Reports>) -> Self {
        let mut reader = Reader::new(reports, u64::saturating_add);
        reader.stream = true;
        Self {
            decoder: Decoder::Identity,
            room: MAX_DECODED,
            form: Form::Over,
            reader,
        }
    }

    /// Reads on.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        if matches!(self.form, Form::Over) {
            return;
        }
        let Self {
            decoder,
            room,
            form,
            reader,
        } = self;
        let mut going = true;
        let fed = decoder.feed(piece, |bytes| {
            *room = room.checked_sub(bytes.len()).unwrap_or_default();
            going = form.feed(bytes, reader);
            Ok(())
        });
        // The client may disconnect after the last event, before the stream ends.
        match form {
            Form::One => reader.report(""),
            Form::Lines { .. } if reader.document.is_whole() => reader.report(""),
            Form::Events(events) if reader.document.is_whole() => events.report(reader),
            _ => {}
        }
        if fed.is_err() || !going || *room == 0 {
            *form = Form::Over;
        }
    }

    /// Ends the response. Its last document counts without a line end, too.
    pub(crate) fn end(&mut self) {
        match &mut self.form {
            Form::Lines { .. } => self.reader.report(""),
            Form::Events(events) => events.report(&mut self.reader),
            _ => {}
        }
    }

    /// Reads one message of a conversation.
    pub(crate) fn message(&mut self, message: &[u8]) {
        let first = message.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'{') && self.reader.document.feed(message).is_ok() {
            self.reader.report("");
        }
        self.reader.restart();
    }

    /// The reports so far.
    pub(super) const fn report(&self) -> &Report {
        &self.reader.report
    }

    /// Enters the reports so far into the settlement. With an error status, a failure in the
    /// body only repeats it.
    pub(crate) fn tell(&self, settlement: &mut Settlement, is_error: bool) {
        let report = self.report();
        settlement.usage(report.usage);
        if let Some(model) = &report.served {
            settlement.served(model);
        }
        if report.failed && !is_error {
            settlement.failed();
        }
        if let Some(word) = &report.error_type {
            settlement.error_type(word);
        }
    }
}

impl Form {
    fn of(headers: &HeaderMap, reports: &Reports) -> Self {
        match Sequence::of(headers) {
            Sequence::One => Self::One,
            Sequence::Lines => Self::Lines { broken: false },
            Sequence::Events => Self::Events(Events::default()),
            Sequence::AwsEvents => Self::EventStream(EventStream::new(MAX_MESSAGE)),
            Sequence::Grpc if reports.reads_fields() => Self::Messages(Messages::of(headers)),
            Sequence::Grpc | Sequence::Unknown => Self::Over,
        }
    }

    /// Reads decoded bytes; returns whether to continue.
    fn feed(&mut self, bytes: &[u8], reader: &mut Reader) -> bool {
        match self {
            Self::One => reader.document.feed(bytes).is_ok(),
            Self::Lines { broken } => {
                lines(bytes, broken, reader);
                true
            }
            Self::Events(events) => {
                events.feed(bytes, reader);
                true
            }
            Self::EventStream(stream) => stream.feed(bytes, |event| reader.event(event)),
            Self::Messages(messages) => messages.feed(bytes, reader).is_some(),
            Self::Over => false,
        }
    }
}

fn lines(mut bytes: &[u8], broken: &mut bool, reader: &mut Reader) {
    while !bytes.is_empty() {
        let end = memchr::memchr(b'\n', bytes);
        let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        *broken = *broken || reader.document.feed(line).is_err();
        bytes = rest;
        if end.is_some() {
            reader.report("");
            reader.restart();
            *broken = false;
            bytes = bytes.get(1..).unwrap_or_default();
        }
    }
}

impl Events {
    fn feed(&mut self, mut bytes: &[u8], reader: &mut Reader) {
        while let Some(first) = bytes.first() {
            let taken = match self.field {
                _ if std::mem::take(&mut self.cr) && *first == b'\n' => 1,
                None => {
                    self.name(*first, reader);
                    1
                }
                Some(field) => {
                    let end = memchr::memchr2(b'\n', b'\r', bytes);
                    let value = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                    self.value(field, value, reader);
                    if let Some(end) = end.and_then(|end| bytes.get(end)) {
                        self.line_ends(*end);
                    }
                    value.len() + usize::from(end.is_some())
                }
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Takes a byte of a field's name.
    fn name(&mut self, byte: u8, reader: &mut Reader) {
        /// The length of the longest relevant field name.
        const LONGEST: usize = 5;
        const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();
        match byte {
            // An empty line ends the event.
            b'\n' | b'\r' if self.name.is_empty() => {
                self.report(reader);
                reader.restart();
                *self = Self::default();
                self.line_ends(byte);
            }
            b'\n' | b'\r' => self.line_ends(byte),
            b':' => {
                self.field = Some(match self.name.as_slice() {
                    b"data" => Field::Data,
                    b"error" => {
                        self.error = true;
                        Field::Data
                    }
                    b"event" => {
                        self.event.clear();
                        Field::Event
                    }
                    _ => Field::Other,
                });
            }
            _ if self.name.len() == LONGEST => self.field = Some(Field::Other),
            byte => self.name.push(byte),
        }
        if !self.begun && self.name == BYTE_ORDER_MARK {
            self.name.clear();
        }
    }

    fn value(&mut self, field: Field, value: &[u8], reader: &mut Reader) {
        /// More than the length of the longest relevant event name.
        const LONGEST: usize = 64;
        match field {
            Field::Data => self.broken = self.broken || reader.document.feed(value).is_err(),
            Field::Event => {
                let room = LONGEST.saturating_sub(self.event.len());
                self.event.extend(value.iter().take(room));
            }
            Field::Other => {}
        }
    }

    fn line_ends(&mut self, end: u8) {
        self.begun = true;
        self.cr = end == b'\r';
        self.name.clear();
        self.field = None;
    }

    fn report(&self, reader: &mut Reader) {
        let event = str::from_utf8(&self.event).unwrap_or_default().trim();
        reader.report(event);
        reader.report.failed |= self.error;
    }
}

impl Messages {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            framing: Framing {
                encoding: Encoding::of(headers).unwrap_or(Encoding::Identity),
                limit: MAX_MESSAGE,
            },
            frame: Vec::new(),
            skip: 0,
        }
    }

    /// Reads bytes; `None` if they are not readable messages.
    fn feed(&mut self, mut bytes: &[u8], reader: &mut Reader) -> Option<()> {
        /// Flag and length.
        const PREFIX: usize = 5;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.skip -= skipped.len();
                bytes = rest;
                continue;
            }
            let length = match self.frame.get(1..PREFIX) {
                None => PREFIX,
                Some(length) => {
                    let length = u32::from_be_bytes(length.try_into().ok()?);
                    let length = usize::try_from(length).ok()?;
                    if length > MAX_MESSAGE {
                        self.frame.clear();
                        self.skip = length;
                        continue;
                    }
                    self.framing.frame_length(&self.frame).ok()??
                }
            };
            let missing = length.saturating_sub(self.frame.len()).min(bytes.len());
            let (part, rest) = bytes.split_at(missing);
            self.frame.extend_from_slice(part);
            bytes = rest;
            if self.frame.len() >= PREFIX
                && self.framing.frame_length(&self.frame).ok() == Some(Some(self.frame.len()))
            {
                reader.message(self.framing, &self.frame);
                self.frame.clear();
            }
        }
        Some(())
    }
}

impl Reader {
    fn new(reports: &Arc<Reports>, join: fn(u64, u64) -> u64) -> Self {
        Self {
            reports: Arc::clone(reports),
            document: JsonScan::of_values(reports.places()),
            stream: false,
            join,
            report: Report::default(),
        }
    }

    /// Starts a new document.
    fn restart(&mut self) {
        self.document.take_found();
        self.document.restart();
    }

    /// Takes over the reports of the document so far, as the data of this event.
    fn report(&mut self, event: &str) {
        let found = self.document.found();
        if found.count() == 0 && event.is_empty() {
            return;
        }
        let said = |source: &Source| match source {
            Source::Json(place, due) => says(found, *place, due.as_deref()),
            Source::Event(name) => name == event,
            Source::Field(_) | Source::Header(_) => false,
        };
        let text = |source: &Source| match source {
            Source::Json(place, None) => found.at(*place).last().cloned(),
            _ => None,
        };
        let fresh = Report::read(&self.reports, self.stream, said, text);
        self.report.take(fresh, self.join);
        // A document that is read again must not count twice.
        if self.stream {
            self.document.take_found();
        }
    }

    /// Takes over the reports of a message of an AWS event stream.
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Failure(word) => {
                self.report.failed = true;
                if self.report.error_type.is_none() && Outcome::is_error_type(word) {
                    self.report.error_type = Some((*word).to_owned());
                }
            }
            Event::Document(document) => {
                if self.document.feed(document).is_ok() {
                    self.report("");
                }
                self.restart();
            }
        }
    }

    /// Takes over the reports of a gRPC message.
    fn message(&mut self, framing: Framing, frame: &[u8]) {
        let field = |source: &Source| match source {
            Source::Field(path) => {
                let texts = framing.texts(frame, std::slice::from_ref(path)).ok()?;
                texts.into_iter().flatten().next()
            }
            _ => None,
        };
        let said = |source: &Source| field(source).is_some();
        let fresh = Report::read(&self.reports, self.stream, said, field);
        self.report.take(fresh, self.join);
    }
}

impl Report {
    /// Reads one document: whether a place says what is looked for there, and its text.
    fn read(
        reports: &Reports,
        stream: bool,
        said: impl Fn(&Source) -> bool,
        text: impl Fn(&Source) -> Option<String>,
    ) -> Self {
        let mut report = Self::default();
        for (topic, source) in reports.rows() {
            match topic {
                Topic::Used(measure) => {
                    let slot = measure.of(&mut report.usage);
                    if slot.is_none() {
                        *slot = text(source).and_then(|text| number(&text));
                    }
                }
                Topic::Served if report.served.is_none() => {
                    report.served = text(source).and_then(|text| text.parse().ok());
                }
                Topic::Failed { stream: only } if stream || !only => {
                    report.failed |= said(source);
                }
                Topic::Served | Topic::Failed { .. } | Topic::ErrorType => {}
            }
        }
        if report.failed {
            let rows = reports.rows().iter();
            let words = rows
                .filter(|(topic, _)| *topic == Topic::ErrorType)
                .filter_map(|(_, source)| text(source));
            report.error_type = words
                .into_iter()
                .find(|word| word != "error" && Outcome::is_error_type(word));
        }
        report
    }

    fn take(&mut self, fresh: Self, join: fn(u64, u64) -> u64) {
        self.usage = self.usage.join(fresh.usage, join);
        self.served = self.served.take().or(fresh.served);
        self.failed |= fresh.failed;
        self.error_type = self.error_type.take().or(fresh.error_type);
    }
}

/// Whether a place has a value, or exactly the value `due`.
fn says(found: &Found, place: usize, due: Option<&str>) -> bool {
    let text = found.at(place).last().map(String::as_str);
    match due {
        Some(due) => text == Some(due),
        None => found.is_filled(place) && !matches!(text, Some("false" | "0")),
    }
}

/// A count; some APIs write whole numbers as `5.0`.
fn number(text: &str) -> Option<u64> {
    let text = text.split_once('.').map_or(text, |(whole, fraction)| {
        let zeros = fraction.bytes().all(|b| b == b'0');
        if zeros { whole } else { text }
    });
    text.parse().ok()
}

impl fmt::Debug for ReportScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportScan")
            .field("report", &self.reader.report)
            .finish_non_exhaustive()
    }
}
