//! Reads the fields of a protobuf message without its schema
//! (<https://protobuf.dev/programming-guides/encoding/>).
//!
//! Decoders let the last of several fields win and merge messages, so a relevant field must
//! occur once. Groups are refused, because only some decoders know them.

use spanner_core::{RequestFault, Target};

use crate::surface::{FieldPath, FieldStep};

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'m> {
    /// A varint.
    Varint(u64),
    /// A fixed-size number.
    Number,
    /// A string, a message or packed numbers.
    Bytes(&'m [u8]),
}

/// The texts of a field, found by its path. In proto3, missing, empty and zero are the same, so
/// they give no text. A varint, where allowed, is given in decimal digits.
pub(super) fn texts(message: &[u8], path: &FieldPath) -> Result<Vec<String>, RequestFault> {
    within(message, &path.steps, path.number)
}

fn within(
    message: &[u8],
    steps: &[FieldStep],
    may_be_number: bool,
) -> Result<Vec<String>, RequestFault> {
    let Some((step, inner)) = steps.split_first() else {
        return Ok(Vec::new());
    };
    let mut texts = Vec::new();
    for value in values(message, *step)? {
        match value {
            Value::Bytes(bytes) if !inner.is_empty() => {
                texts.extend(within(bytes, inner, may_be_number)?)
            }
            Value::Bytes(bytes) => {
                let text = str::from_utf8(bytes).map_err(|_| RequestFault::Message)?;
                texts.extend((!text.is_empty()).then(|| text.to_owned()));
            }
            Value::Varint(number) if inner.is_empty() && may_be_number => {
                texts.extend((number > 0).then(|| number.to_string()));
            }
            Value::Varint(_) | Value::Number => return Err(RequestFault::Message),
        }
        if texts.len() > Target::MAX_PAIRS {
            return Err(RequestFault::TooManyModels);
        }
    }
    Ok(texts)
}

/// The fields with this number: at most one, unless the step allows several. The whole message
/// is read.
fn values(mut message: &[u8], step: FieldStep) -> Result<Vec<Value<'_>>, RequestFault> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let (field, value) = field(&mut message).ok_or(RequestFault::Message)?;
        if field == step.number {
            if !step.each && !found.is_empty() {
                return Err(RequestFault::DuplicateField);
            }
            found.push(value);
        }
    }
    Ok(found)
}

fn field<'m>(message: &mut &'m [u8]) -> Option<(u32, Value<'m>)> {
    let tag = u32::try_from(varint(message)?).ok()?;
    let number = tag >> 3;
    let value = match (number, tag & 7) {
        (0, _) => None,
        (_, 0) => varint(message).map(Value::Varint),
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

/// Reads a varint: at most ten bytes, the last of which contributes one bit.
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
