//! The media types that the stages distinguish, each spelled in one place.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Whether a message is gRPC (`application/grpc`, optionally with `+` and a codec). The media
/// types of gRPC-Web do not count: its clients expect errors in the body, not in trailers.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    value.is_some_and(is_grpc_type)
}

fn is_grpc_type(media_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = media_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// How a response's body contains its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// As one JSON document.
    One,
    /// One JSON document per line.
    Lines,
    /// One per event, in its data (`text/event-stream`).
    Events,
    /// One per message of an AWS event stream.
    AwsEvents,
    /// As gRPC messages.
    Grpc,
    /// In a form that is not read.
    Unknown,
}

impl Sequence {
    /// Reads the `Content-Type` of a response.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        const LINES: [&str; 6] = [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/jsonlines",
            "application/x-jsonlines",
            "application/stream+json",
        ];
        if is_grpc(headers) {
            return Self::Grpc;
        }
        let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let media_type = value.unwrap_or_default().split(';').next();
        let media_type = media_type.unwrap_or_default().trim();
        let is = |other: &str| media_type.eq_ignore_ascii_case(other);
        if is("application/json") {
            Self::One
        } else if is("text/event-stream") {
            Self::Events
        } else if LINES.into_iter().any(is) {
            Self::Lines
        } else if is("application/vnd.amazon.eventstream") {
            Self::AwsEvents
        } else if is_json_suffixed(media_type) {
            Self::One
        } else {
            Self::Unknown
        }
    }
}

/// Whether a media type has the structured syntax suffix of JSON (RFC 6839 §3.1).
fn is_json_suffixed(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    lower.starts_with("application/") && lower.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_documents_follow_one_another() {
        for (media_type, sequence) in [
            ("application/json; charset=utf-8", Sequence::One),
            ("Application/Problem+JSON", Sequence::One),
            ("text/event-stream;charset=utf-8", Sequence::Events),
            ("application/x-ndjson", Sequence::Lines),
            ("application/stream+json", Sequence::Lines),
            ("application/x-jsonlines", Sequence::Lines),
            ("application/vnd.amazon.eventstream", Sequence::AwsEvents),
            ("application/grpc", Sequence::Grpc),
            ("application/grpc+proto", Sequence::Grpc),
            ("application/grpc-web+proto", Sequence::Unknown),
            ("text/html", Sequence::Unknown),
            ("", Sequence::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
            assert_eq!(Sequence::of(&headers), sequence, "{media_type}");
            assert_eq!(is_grpc(&headers), sequence == Sequence::Grpc);
        }
    }
}
