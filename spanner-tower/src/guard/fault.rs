//! Which party a response of the inner service blames for a failure.

use http::{HeaderMap, StatusCode};
use spanner_core::Fault;

/// The fault that a response of the inner service reports; `None` if it reports no failure.
pub(super) fn fault_of(status: StatusCode, grpc: Option<u8>) -> Option<Fault> {
    const DEADLINE_EXCEEDED: u8 = 4;
    match (status, grpc) {
        (_, Some(DEADLINE_EXCEEDED)) => Some(Fault::ModelTimeout),
        (_, Some(1..)) => Some(Fault::Model),
        (StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT, _) => Some(Fault::ModelTimeout),
        (status, _) if status.is_client_error() || status.is_server_error() => Some(Fault::Model),
        _ => None,
    }
}

/// The gRPC status in headers or trailers.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
