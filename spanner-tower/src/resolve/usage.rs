//! Tokens that an API reports, read from its response as it passes. Nothing else of the
//! response is kept.

use std::fmt;
use std::sync::{Arc, LazyLock};

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use spanner_core::{ModelName, Usage};

use super::decode::Decoder;
use super::json::JsonScan;
use crate::surface::{Place, Step, Want};

/// Where APIs say how many tokens they read. OpenAI and what speaks like it, its Responses
/// API streaming, Anthropic, the same streaming, Cohere in two versions and streaming,
/// Gemini, Bedrock, TGI, Ollama, llama.cpp.
const INPUT: [&str; 15] = [
    "/usage/prompt_tokens",
    "/usage/input_tokens",
    "/response/usage/input_tokens",
    "/message/usage/input_tokens",
    "/meta/billed_units/input_tokens",
    "/usage/tokens/input_tokens",
    "/delta/usage/tokens/input_tokens",
    "/usageMetadata/promptTokenCount",
    "/[]/usageMetadata/promptTokenCount",
    "/usage/inputTokens",
    "/details/input_length",
    "/[]/details/input_length",
    "/prompt_eval_count",
    "/tokens_evaluated",
    "/x_groq/usage/prompt_tokens",
];

/// And how many they wrote.
const OUTPUT: [&str; 15] = [
    "/usage/completion_tokens",
    "/usage/output_tokens",
    "/response/usage/output_tokens",
    "/message/usage/output_tokens",
    "/meta/billed_units/output_tokens",
    "/usage/tokens/output_tokens",
    "/delta/usage/tokens/output_tokens",
    "/usageMetadata/candidatesTokenCount",
    "/[]/usageMetadata/candidatesTokenCount",
    "/usage/outputTokens",
    "/details/generated_tokens",
    "/[]/details/generated_tokens",
    "/eval_count",
    "/tokens_predicted",
    "/x_groq/usage/completion_tokens",
];

/// And which model they ran: OpenAI and what speaks like it, the Responses API streaming,
/// Anthropic streaming, Gemini.
const SERVED: [&str; 5] = [
    "/model",
    "/response/model",
    "/message/model",
    "/modelVersion",
    "/[]/modelVersion",
];

/// Bedrock says it in headers as well.
const HEADERS: [&str; 2] = [
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
];

/// What an encoded response may unfold to before it is given up: some hours of a stream.
const MAX_DECODED: usize = 256 << 20;

/// Reads a response in pieces.
pub(crate) struct UsageScan {
    decoder: Decoder,
    room: usize,
    form: Form,
    document: JsonScan,
    usage: Usage,
    served: Option<ModelName>,
}

/// How documents stand in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// It is one.
    One,
    /// One in each line.
    Lines { broken: bool },
    /// One in the data of each event
    /// (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>).
    Events(Line),
    /// It is not, or no more, looked at.
    Over,
}

/// Where in a line of an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data:` have come.
    Field(usize),
    Data,
    /// Another field, a comment, or data that is no document.
    Other {
        broken: bool,
    },
}

impl UsageScan {
    /// A reader for a response with these headers; `None` for one that has no tokens to
    /// report in a form that is read.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let media = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let media = media.split(';').next().unwrap_or_default().trim();
        let form = match media.to_ascii_lowercase().as_str() {
            "application/json" | "application/problem+json" => Form::One,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/stream+json" => Form::Lines { broken: false },
            "text/event-stream" => Form::Events(Line::Field(0)),
            _ => return None,
        };
        let [input, output] = HEADERS.map(|name| headers.get(name)?.to_str().ok()?.parse().ok());
        Some(Self {
            decoder: Decoder::of(headers).ok()?,
            room: MAX_DECODED,
            form,
            document: JsonScan::of_values(Arc::clone(&PLACES)),
            usage: Usage::new(input, output),
            served: None,
        })
    }

    /// Reads on; what is reported so far.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Usage {
        if self.form == Form::Over {
            return self.usage;
        }
        let Self {
            decoder,
            room,
            form,
            document,
            usage,
            served,
        } = self;
        let mut told = Told { usage, served };
        let fed = decoder.feed(piece, |bytes| {
            *room = room.checked_sub(bytes.len()).unwrap_or_default();
            match form {
                Form::One => document.feed(bytes)?,
                Form::Lines { .. } | Form::Events(_) => {
                    bytes
                        .iter()
                        .for_each(|byte| step(form, document, &mut told, *byte));
                }
                Form::Over => {}
            }
            Ok(())
        });
        if *form == Form::One {
            told.report(document);
        }
        if fed.is_err() || *room == 0 {
            *form = Form::Over;
        }
        self.usage
    }

    /// Which model answers, if that was reported.
    pub(crate) const fn served(&self) -> Option<&ModelName> {
        self.served.as_ref()
    }
}

/// What a response told so far.
struct Told<'s> {
    usage: &'s mut Usage,
    served: &'s mut Option<ModelName>,
}

/// Takes a byte of a response of several documents.
fn step(form: &mut Form, document: &mut JsonScan, told: &mut Told<'_>, byte: u8) {
    const DATA: &[u8] = b"data:";
    let end = byte == b'\n';
    *form = match *form {
        Form::Lines { .. } if end => {
            told.report(document);
            document.restart();
            Form::Lines { broken: false }
        }
        Form::Lines { broken } => Form::Lines {
            broken: broken || document.feed(&[byte]).is_err(),
        },
        // An empty line ends the event.
        Form::Events(Line::Field(0)) if end => {
            told.report(document);
            document.restart();
            Form::Events(Line::Field(0))
        }
        Form::Events(Line::Field(0)) if byte == b'\r' => *form,
        Form::Events(_) if end => Form::Events(Line::Field(0)),
        Form::Events(Line::Field(seen)) => Form::Events(match DATA.get(seen) {
            Some(due) if *due == byte && seen + 1 == DATA.len() => Line::Data,
            Some(due) if *due == byte => Line::Field(seen + 1),
            _ => Line::Other { broken: false },
        }),
        Form::Events(Line::Data) => Form::Events(match document.feed(&[byte]) {
            Ok(()) => Line::Data,
            Err(_) => Line::Other { broken: true },
        }),
        Form::Events(other @ Line::Other { .. }) => Form::Events(other),
        whole @ (Form::One | Form::Over) => whole,
    };
}

impl Told<'_> {
    /// Takes over what a document says.
    fn report(&mut self, document: &mut JsonScan) {
        if document.found().count() == 0 {
            return;
        }
        let found = document.take_found();
        let texts = |from: usize, count: usize| {
            let places = from..from + count;
            places.flat_map(|place| found.at(place))
        };
        let tokens = |from, count| {
            let numbers = texts(from, count).filter_map(|text| text.parse::<u64>().ok());
            numbers.max()
        };
        let (input, output) = (tokens(0, INPUT.len()), tokens(INPUT.len(), OUTPUT.len()));
        self.usage.input = input.or(self.usage.input);
        self.usage.output = output.or(self.usage.output);
        if self.served.is_none() {
            let mut names = texts(INPUT.len() + OUTPUT.len(), SERVED.len());
            *self.served = names.find_map(|text| text.parse().ok());
        }
    }
}

static PLACES: LazyLock<Arc<[Place]>> = LazyLock::new(|| {
    let place = |pointer: &&str| Place {
        steps: pointer
            .split('/')
            .skip(1)
            .map(|step| match step {
                "[]" => Step::Each,
                key => Step::Key(key.to_owned()),
            })
            .collect(),
        want: Want::Value,
    };
    let all = INPUT.iter().chain(&OUTPUT).chain(&SERVED);
    all.map(place).collect()
});

impl fmt::Debug for UsageScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageScan")
            .field("form", &self.form)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}
