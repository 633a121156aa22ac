//! The headers that the guard adds to responses.

use http::{HeaderMap, HeaderName, HeaderValue};
use spanner_core::Fault;

/// The id of the record that the response belongs to.
pub(super) const DECISION: HeaderName = HeaderName::from_static("spanner-decision");
/// `guard` if the guard itself answered.
pub(super) const ORIGIN: HeaderName = HeaderName::from_static("spanner-origin");
/// Which party caused the failure that the response reports.
pub(super) const FAULT: HeaderName = HeaderName::from_static("spanner-fault");
/// Warns of a failure to come, such as a credential that is close to its maximum age.
pub(super) const WARNING: HeaderName = HeaderName::from_static("spanner-warning");

/// The header value of a fault.
pub(super) fn fault(fault: Fault) -> HeaderValue {
    HeaderValue::from_static(fault.as_str())
}

/// Sets a header. Text that is not a valid header value is left out.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
