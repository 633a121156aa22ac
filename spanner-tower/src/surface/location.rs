//! Where a request can name a model.

use std::sync::Arc;

/// One place that can name a model. A place that a reader searches for is an index into what the
/// route [wants](super::Wanted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// Slots of the path, joined by `/`.
    Path(Vec<usize>),
    /// The part of a path slot after a mark, if the slot contains the mark.
    PathAfter(usize, String),
    /// A key of the query.
    Query(String),
    /// A header.
    Header(usize),
    /// A place in the JSON body.
    Json(usize),
    /// Slots of the path, then places in the JSON body, joined by `/`. Absent unless all are
    /// present.
    Joined(Vec<usize>, Vec<usize>),
    /// A place in each line of JSON.
    Line(usize),
    /// A field of the form.
    Form(usize),
    /// A field of the protobuf message.
    Field(usize),
    /// The references that a git push changes.
    Refs,
    /// The references that a git push deletes.
    DeletedRefs,
    /// A place in the frames of a WebSocket.
    Frame(usize),
    /// A place that cannot be read.
    Opaque,
    /// The one model that the server has.
    OnlyModel,
    /// No place: the request is about the server as a whole.
    Server,
}

/// A place in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonPath {
    pub(crate) want: Want,
    /// Shared, since the routes of a surface mostly look for the same.
    pub(crate) steps: Arc<[Step]>,
}

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The member of this name.
    Key(String),
    /// Every member whose name begins with this text.
    Begins(String),
    /// Every element.
    Each,
    /// Any number of members or elements.
    Any,
}

/// What a reader looks for in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    /// The model: a string, if the member is present.
    Name,
    /// A further model: a string, or null for none.
    Further,
    /// Something that cannot be traced to a model: refused unless null, false or empty.
    Nothing,
    /// Any value, for a condition.
    Value,
    /// A value that the API leaves to its users: places of any depth do not look into it.
    Free,
}

/// A path into a protobuf message: field numbers, each perhaps of a repeated field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldPath {
    pub(crate) steps: Vec<FieldStep>,
    /// Whether the field can be a varint, such as a version.
    pub(crate) number: bool,
}

/// One step into a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldStep {
    pub(crate) number: u32,
    /// Whether the field is repeated. Otherwise it must occur once.
    pub(crate) each: bool,
}

/// What must hold for a rule to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) subject: Location,
    pub(crate) test: Test,
}

/// A test of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// It is present and not empty.
    Present,
    /// It is absent or empty.
    Absent,
    /// It is a number or a duration of zero, or too long to tell.
    Zero,
    /// It is this text.
    Is(String),
    /// It begins with this text.
    Begins(String),
    /// All of several begin with this text.
    AllBegin(String),
}

/// A location as a surface file writes it, before it is compiled for a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LocationText<'t> {
    Path(Vec<&'t str>),
    PathAfter(&'t str, &'t str),
    Query(&'t str),
    Header(&'t str),
    Json(Arc<[Step]>),
    /// Slots, and members of the body.
    Joined(Vec<&'t str>, Vec<Arc<[Step]>>),
    /// Lines of the body.
    Line(Arc<[Step]>),
    /// Lines of an uploaded file.
    FileLine(Arc<[Step]>),
    Form(&'t str),
    Field(Vec<FieldStep>),
    StreamField(Vec<FieldStep>),
    Refs,
    DeletedRefs,
    Frame(Arc<[Step]>),
    Opaque,
    OpaqueJson(Arc<[Step]>),
    OpaqueFrame(Arc<[Step]>),
    OpaqueFileLine(Arc<[Step]>),
    OpaqueQuery(&'t str),
    OpaqueForm(&'t str),
    OnlyModel,
    Server,
}

/// A place of JSON that the API leaves to its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) document: Document,
    pub(super) steps: Arc<[Step]>,
}

/// Where a JSON document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// The body.
    Body,
    /// Each line of the body.
    Line,
    /// Each line of an uploaded file.
    FileLine,
    /// Each text frame of a WebSocket.
    Frame,
}

impl<'t> LocationText<'t> {
    /// Reads one alternative.
    pub(super) fn parse(text: &'t str) -> Result<Self, &'static str> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match (kind, rest) {
            ("server", "") => Ok(Self::OnlyModel),
            ("none", "") => Ok(Self::Server),
            ("refs", "") => Ok(Self::Refs),
            ("deleted-refs", "") => Ok(Self::DeletedRefs),
            ("path", names) => path(names),
            ("query", name) => word(name).map(Self::Query),
            ("header", name) => word(name).map(Self::Header),
            ("form", name) => word(name).map(Self::Form),
            ("json", pointers) => json(pointers),
            ("ndjson", pointer) => steps(pointer).map(Self::Line),
            ("jsonl", pointer) => steps(pointer).map(Self::FileLine),
            ("ws", pointer) => steps(pointer).map(Self::Frame),
            ("pb", numbers) => fields(numbers).map(Self::Field),
            ("pb-stream", numbers) => fields(numbers).map(Self::StreamField),
            ("opaque", place) => match place.split_once(':') {
                Some(("json", pointer)) => steps(pointer).map(Self::OpaqueJson),
                Some(("ws", pointer)) => steps(pointer).map(Self::OpaqueFrame),
                Some(("jsonl", pointer)) => steps(pointer).map(Self::OpaqueFileLine),
                Some(("query", name)) => word(name).map(Self::OpaqueQuery),
                Some(("form", name)) => word(name).map(Self::OpaqueForm),
                Some(_) => Err("there is no such kind of location"),
                None if place.is_empty() => Err("say what is opaque"),
                None => Ok(Self::Opaque),
            },
            _ => Err("there is no such kind of location"),
        }
    }
}

impl Free {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (document, steps) = match LocationText::parse(text)? {
            LocationText::Json(steps) => (Document::Body, steps),
            LocationText::Line(steps) => (Document::Line, steps),
            LocationText::FileLine(steps) => (Document::FileLine, steps),
            LocationText::Frame(steps) => (Document::Frame, steps),
            LocationText::OnlyModel
            | LocationText::Server
            | LocationText::Opaque
            | LocationText::Path(_)
            | LocationText::PathAfter(..)
            | LocationText::Query(_)
            | LocationText::Header(_)
            | LocationText::Joined(..)
            | LocationText::OpaqueJson(_)
            | LocationText::OpaqueForm(_)
            | LocationText::OpaqueQuery(_)
            | LocationText::OpaqueFrame(_)
            | LocationText::OpaqueFileLine(_)
            | LocationText::Form(_)
            | LocationText::Field(_)
            | LocationText::StreamField(_)
            | LocationText::Refs
            | LocationText::DeletedRefs => return Err("only places in JSON can be the users' own"),
        };
        Ok(Self { document, steps })
    }
}

impl Test {
    /// Splits `place`, `!place`, `place==0`, `place=text` or `place=begin*`.
    pub(super) fn split(text: &str) -> (&str, Self) {
        if let Some(place) = text.strip_prefix('!') {
            return (place, Self::Absent);
        }
        match text.split_once('=') {
            None => (text, Self::Present),
            Some((place, "=0")) => (place, Self::Zero),
            Some((place, pattern)) => match pattern.strip_suffix('*') {
                Some(begin) if place == "refs" => (place, Self::AllBegin(begin.to_owned())),
                Some(begin) => (place, Self::Begins(begin.to_owned())),
                None => (place, Self::Is(pattern.to_owned())),
            },
        }
    }
}

/// `owner+name`, `conversation~::`, or slots and members: `ns+json:/name`.
fn path(names: &str) -> Result<LocationText<'_>, &'static str> {
    if let Some((slots, members)) = names.split_once("+json:") {
        let members = members.split('+').map(steps).collect::<Result<_, _>>()?;
        return Ok(LocationText::Joined(words(slots)?, members));
    }
    match names.split_once('~') {
        Some((_, "")) => Err("say which mark the name follows"),
        Some((slot, mark)) => word(slot).map(|slot| LocationText::PathAfter(slot, mark)),
        None => words(names).map(LocationText::Path),
    }
}

fn json(pointers: &str) -> Result<LocationText<'_>, &'static str> {
    match pointers.split_once('+') {
        None => steps(pointers).map(LocationText::Json),
        Some(_) => {
            let members = pointers.split('+').map(steps).collect::<Result<_, _>>()?;
            Ok(LocationText::Joined(Vec::new(), members))
        }
    }
}

fn words(names: &str) -> Result<Vec<&str>, &'static str> {
    names.split('+').map(word).collect()
}

fn word(name: &str) -> Result<&str, &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    match !name.is_empty() && name.bytes().all(word) {
        true => Ok(name),
        false => Err("a name is letters, digits and `_-.`"),
    }
}

/// A JSON pointer (RFC 6901 §3) with `[]` for every element, `**` for any depth and `x*` for
/// every member whose name begins with `x`.
pub(super) fn steps(pointer: &str) -> Result<Arc<[Step]>, &'static str> {
    let path = pointer
        .strip_prefix('/')
        .ok_or("a JSON pointer begins with a slash")?;
    path.split('/')
        .map(|token| match token {
            "" => Err("a JSON pointer must not have an empty part"),
            "[]" => Ok(Step::Each),
            "**" => Ok(Step::Any),
            key => {
                let unescaped = |key: &str| key.replace("~1", "/").replace("~0", "~");
                Ok(match key.strip_suffix('*') {
                    Some(begin) => Step::Begins(unescaped(begin)),
                    None => Step::Key(unescaped(key)),
                })
            }
        })
        .collect()
}

/// Protobuf field numbers from the outermost message inwards; `[]` behind a repeated one.
fn fields(numbers: &str) -> Result<Vec<FieldStep>, &'static str> {
    const MAX_FIELD: u32 = (1 << 29) - 1;
    numbers
        .split('.')
        .map(|step| {
            let (number, each) = match step.strip_suffix("[]") {
                Some(number) => (number, true),
                None => (step, false),
            };
            match number.parse() {
                Ok(number @ 1..=MAX_FIELD) => Ok(FieldStep { number, each }),
                _ => Err("a field number is 1 to 536870911"),
            }
        })
        .collect()
}
