//! Reads the fields of a protobuf message without its schema
//! (<https://protobuf.dev/programming-guides/encoding/>).
//!
//! Decoders let the last of several fields win and merge messages; a field that decides
//! must therefore stand once. Groups, which some decoders skip and others do not know, are
//! refused.

use spanner_core::RequestFault;

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'m> {
    /// A number of any kind.
    Number,
    /// A string, a message or packed numbers.
    Bytes(&'m [u8]),
}

/// The text of a field, found by its path of numbers. Missing and empty are the same in
/// proto3: `None`.
pub(super) fn text<'m>(message: &'m [u8], path: &[u32]) -> Result<Option<&'m str>, RequestFault> {
    let Some((number, inner)) = path.split_first() else {
        return Ok(None);
    };
    let bytes = match only(message, *number)? {
        None => return Ok(None),
        Some(Value::Number) => return Err(RequestFault::Message),
        Some(Value::Bytes(bytes)) => bytes,
    };
    if !inner.is_empty() {
        return text(bytes, inner);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| RequestFault::Message)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The one field of this number. The whole message is read.
fn only(mut message: &[u8], number: u32) -> Result<Option<Value<'_>>, RequestFault> {
    let mut found = None;
    while !message.is_empty() {
        let (field, value) = field(&mut message).ok_or(RequestFault::Message)?;
        if field == number && found.replace(value).is_some() {
            return Err(RequestFault::DuplicateField);
        }
    }
    Ok(found)
}

fn field<'m>(message: &mut &'m [u8]) -> Option<(u32, Value<'m>)> {
    let tag = u32::try_from(varint(message)?).ok()?;
    let number = tag >> 3;
    let value = match (number, tag & 7) {
        (0, _) => None,
        (_, 0) => varint(message).map(|_| Value::Number),
        (_, 1) => take(message, 8).map(|_| Value::Number),
        (_, 2) => {
            let length = usize::try_from(varint(message)?).ok()?;
            take(message, length).map(Value::Bytes)
        }
        (_, 5) => take(message, 4).map(|_| Value::Number),
        _ => None,
    }?;
    Some((number, value))
}

/// At most ten bytes, the last of which has one bit of value.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        if shift == 63 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'m>(message: &mut &'m [u8], length: usize) -> Option<&'m [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}
