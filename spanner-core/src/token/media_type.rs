//! Media types in headers and claims.

/// A media type without `application/`, which may be omitted (RFC 7515 §4.1.9).
pub(super) fn plain_type(typ: &str) -> &str {
    const APPLICATION: &str = "application/";
    match typ.get(..APPLICATION.len()) {
        Some(start) if start.eq_ignore_ascii_case(APPLICATION) => {
            typ.get(APPLICATION.len()..).unwrap_or_default()
        }
        _ => typ,
    }
}
