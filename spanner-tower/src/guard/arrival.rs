//! Reads what the record keeps about a request's arrival.

use http::HeaderMap;
use http::request::Parts;
use spanner_core::Arrival;
use spanner_core::record::Enforcement;

use super::asserted::asserted;
use crate::authenticate::Peer;

/// Reads the request's head. Of W3C Baggage, only members whose key is in `keys` are kept.
pub(super) fn arrival(parts: &Parts, keys: &[String], enforcement: Enforcement) -> Arrival {
    let mut arrival = Arrival::new();
    arrival.enforcement = enforcement;
    arrival.peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    arrival.request_id = request_id(&parts.headers);
    arrival.trace_id = trace_id(&parts.headers);
    arrival.asserted = asserted(&parts.headers, keys);
    if arrival.request_id.is_none() && parts.headers.contains_key("x-request-id") {
        arrival.asserted.leave_out();
    }
    arrival
}

/// The value of `x-request-id`, if it is short and printable.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-request-id")?.to_str().ok()?;
    let acceptable = text.len() <= MAX_REQUEST_ID && text.bytes().all(|b| b.is_ascii_graphic());
    acceptable.then(|| text.to_owned())
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2).
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_version, trace) = (parts.next()?, parts.next()?);
    let valid = trace.len() == 32
        && trace
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && trace.bytes().any(|b| b != b'0');
    valid.then(|| trace.to_owned())
}

/// The longest request id that a record keeps, in bytes. Servers send UUIDs; this is several
/// times as long.
const MAX_REQUEST_ID: usize = 128;
