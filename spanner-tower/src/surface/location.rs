//! Where a name can stand in a request.

/// One place where a name can stand. Places in bodies are indices into what is searched
/// for there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// Slots of the path, joined by `/`.
    Path(Vec<usize>),
    /// A key of the query.
    Query(String),
    /// A place in the JSON body.
    Json(usize),
    /// A field of the protobuf message.
    Field(usize),
    /// A field of a form, which is not read.
    Form,
    /// Somewhere that is not read at all.
    Opaque,
    /// Nowhere: the server as a whole is meant.
    Server,
}

/// A place in a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) steps: Vec<Step>,
    pub(crate) want: Want,
}

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The member of this name.
    Key(String),
    /// Every element.
    Each,
    /// Any number of members or elements.
    Any,
}

/// What a place is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The model: a string if it is there at all.
    Name,
    /// A further model: a string, or null for none.
    Further,
    /// Something that cannot be resolved: refused unless null, false or empty.
    Nothing,
}

/// A location as it is written, before it is known for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written<'t> {
    Path(Vec<&'t str>),
    Query(&'t str),
    Json(Vec<Step>),
    OpaqueJson(Vec<Step>),
    Field(Vec<u32>),
    StreamField(Vec<u32>),
    Form,
    Opaque,
    Server,
}

impl<'t> Written<'t> {
    /// Reads one alternative.
    pub(super) fn parse(text: &'t str) -> Result<Self, &'static str> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match (kind, rest) {
            ("server" | "none", "") => Ok(Self::Server),
            ("path", names) => words(names.split('+')).map(Self::Path),
            ("query", name) => words([name].into_iter()).map(|_| Self::Query(name)),
            ("json", pointer) => steps(pointer).map(Self::Json),
            ("pb", numbers) => fields(numbers).map(Self::Field),
            ("pb-stream", numbers) => fields(numbers).map(Self::StreamField),
            ("form", name) if !name.is_empty() => Ok(Self::Form),
            ("header" | "ws" | "jsonl", place) if !place.is_empty() => Ok(Self::Opaque),
            ("opaque", place) => match place.strip_prefix("json:") {
                Some(pointer) => steps(pointer).map(Self::OpaqueJson),
                None if place.is_empty() => Err("say of which kind it is, `opaque:kind`"),
                None => Ok(Self::Opaque),
            },
            _ => Err("there is no such kind of location"),
        }
    }
}

fn words<'t>(names: impl Iterator<Item = &'t str>) -> Result<Vec<&'t str>, &'static str> {
    names
        .map(|name| {
            let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            match !name.is_empty() && name.bytes().all(word) {
                true => Ok(name),
                false => Err("a name is letters, digits and `_-.`"),
            }
        })
        .collect()
}

/// A JSON pointer (RFC 6901 §3) with `[]` for every element and `**` for any depth.
fn steps(pointer: &str) -> Result<Vec<Step>, &'static str> {
    let path = pointer
        .strip_prefix('/')
        .ok_or("a JSON pointer begins with a slash")?;
    path.split('/')
        .map(|token| match token {
            "" => Err("a JSON pointer must not have an empty part"),
            "[]" => Ok(Step::Each),
            "**" => Ok(Step::Any),
            key => Ok(Step::Key(key.replace("~1", "/").replace("~0", "~"))),
        })
        .collect()
}

/// Protobuf field numbers from the outermost message inwards.
fn fields(numbers: &str) -> Result<Vec<u32>, &'static str> {
    const MAX_FIELD: u32 = (1 << 29) - 1;
    numbers
        .split('.')
        .map(|number| match number.parse() {
            Ok(number @ 1..=MAX_FIELD) => Ok(number),
            _ => Err("a field number is 1 to 536870911"),
        })
        .collect()
}
