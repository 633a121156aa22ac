//! The batches of Git LFS: where objects are fetched from and sent to.
//!
//! An action that leads elsewhere (object storage, by a signed address) stays as it is. One at an
//! upstream is rewritten if the guard knows its route; otherwise its object gets an error with a
//! reason, which git-lfs shows.
//!
//! Format: <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>.

use std::borrow::Cow;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use super::{Facing, Stray};
use crate::rejection::Received;

/// Of a batch. Its objects are a hundred or so, each with the signed addresses of its parts.
const MAX_BATCH: usize = 16 * 1024 * 1024;

const REASON: &str = "the model server keeps this object at an address of its own, which Spanner does not guard yet; ask the operator for object storage with signed addresses";

/// Reads a batch and rewrites what it names.
///
/// # Errors
/// [`Stray`] if it cannot be read.
pub(crate) async fn lead_back(body: Received, facing: &Facing) -> Result<Bytes, Stray> {
    let whole = Limited::new(body, MAX_BATCH).collect().await;
    let whole = whole.map_err(|_| Stray)?.to_bytes();
    rewritten(whole, facing)
}

fn rewritten(whole: Bytes, facing: &Facing) -> Result<Bytes, Stray> {
    let mut batch: Value = serde_json::from_slice(&whole).map_err(|_| Stray)?;
    let mut changed = false;
    let objects = batch.get_mut("objects").and_then(Value::as_array_mut);
    for object in objects.into_iter().flatten() {
        match reachable(object, facing) {
            Ok(rewrote) => changed |= rewrote,
            Err(Stray) => {
                changed = true;
                refuse(object);
            }
        }
    }
    // Whatever else may name one: a message with a link to documentation, say.
    let text = match changed {
        true => batch.to_string(),
        false => String::from_utf8(whole.to_vec()).map_err(|_| Stray)?,
    };
    Ok(match facing.absolute(&text)? {
        Cow::Borrowed(_) if !changed => whole,
        Cow::Borrowed(_) => text.into(),
        Cow::Owned(text) => text.into(),
    })
}

/// Rewrites the actions of an object; says whether there was anything to rewrite.
fn reachable(object: &mut Value, facing: &Facing) -> Result<bool, Stray> {
    let mut changed = false;
    let actions = object.get_mut("actions").and_then(Value::as_object_mut);
    for (name, action) in actions.into_iter().flatten() {
        let method = match name.as_str() {
            "download" => Method::GET,
            "upload" => Method::PUT,
            _ => Method::POST,
        };
        let href = action.get("href").and_then(Value::as_str).ok_or(Stray)?;
        let address = match href.starts_with('/') && !href.starts_with("//") {
            true => return Err(Stray),
            false => facing.absolute(href)?.into_owned(),
        };
        if address != href || facing.is_ours(&address) {
            if !facing.is_routed(method, &address) {
                return Err(Stray);
            }
            changed = true;
            // The server's own credential for it would displace the caller's.
            if let Some(headers) = action.get_mut("header").and_then(Value::as_object_mut) {
                headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
            }
            if let Some(href) = action.get_mut("href") {
                *href = address.into();
            }
        }
        // The parts of a large object.
        let headers = action.get("header").and_then(Value::as_object);
        for value in headers
            .into_iter()
            .flatten()
            .filter_map(|(_, value)| value.as_str())
        {
            if facing.absolute(value)? != value {
                return Err(Stray);
            }
        }
    }
    Ok(changed)
}

fn refuse(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("actions");
        object.insert("error".to_owned(), json!({"code": 501, "message": REASON}));
    }
}

#[cfg(test)]
pub(super) fn rewritten_for_tests(text: &str, facing: &Facing) -> Result<Value, Stray> {
    let bytes = rewritten(Bytes::copy_from_slice(text.as_bytes()), facing)?;
    serde_json::from_slice(&bytes).map_err(|_| Stray)
}
