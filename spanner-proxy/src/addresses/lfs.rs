//! Rewrites the batches of Git LFS, which say where objects are downloaded and uploaded.
//!
//! An action with an address elsewhere (object storage with signed addresses) is not changed. One at
//! an upstream is rewritten if the guard knows its route. Otherwise its object gets an error with a
//! reason, which git-lfs shows.
//!
//! Format: <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>.

use std::borrow::Cow;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use super::{CallerAddresses, UnreachableAddress};
use crate::rejection::Received;

/// The largest batch, in bytes: clients ask for about a hundred objects, each with the signed
/// addresses of its parts.
const MAX_BATCH: usize = 16 * 1024 * 1024;

const REASON: &str = "the model server keeps this object at an address of its own, which Spanner does not guard yet; ask the operator for object storage with signed addresses";

/// Reads a batch and rewrites the addresses in it.
///
/// # Errors
/// [`UnreachableAddress`] if it cannot be parsed.
pub(crate) async fn rewrite_batch(
    body: Received,
    caller: &CallerAddresses,
) -> Result<Bytes, UnreachableAddress> {
    let whole = Limited::new(body, MAX_BATCH).collect().await;
    let whole = whole.map_err(|_| UnreachableAddress)?.to_bytes();
    rewritten(whole, caller)
}

fn rewritten(whole: Bytes, caller: &CallerAddresses) -> Result<Bytes, UnreachableAddress> {
    let mut batch: Value = serde_json::from_slice(&whole).map_err(|_| UnreachableAddress)?;
    let mut changed = false;
    let objects = batch.get_mut("objects").and_then(Value::as_array_mut);
    for object in objects.into_iter().flatten() {
        match rewrite_actions(object, caller) {
            Ok(rewrote) => changed |= rewrote,
            Err(UnreachableAddress) => {
                changed = true;
                refuse(object);
            }
        }
    }
    // Other members may contain an address too, such as a message with a link.
    let text = match changed {
        true => batch.to_string(),
        false => String::from_utf8(whole.to_vec()).map_err(|_| UnreachableAddress)?,
    };
    Ok(match caller.absolute(&text)? {
        Cow::Borrowed(_) if !changed => whole,
        Cow::Borrowed(_) => text.into(),
        Cow::Owned(text) => text.into(),
    })
}

/// Rewrites the actions of an object. Returns whether anything changed.
fn rewrite_actions(
    object: &mut Value,
    caller: &CallerAddresses,
) -> Result<bool, UnreachableAddress> {
    let mut changed = false;
    let actions = object.get_mut("actions").and_then(Value::as_object_mut);
    for (name, action) in actions.into_iter().flatten() {
        let method = match name.as_str() {
            "download" => Method::GET,
            "upload" => Method::PUT,
            _ => Method::POST,
        };
        let href = action
            .get("href")
            .and_then(Value::as_str)
            .ok_or(UnreachableAddress)?;
        let address = match href.starts_with('/') && !href.starts_with("//") {
            true => return Err(UnreachableAddress),
            false => caller.absolute(href)?.into_owned(),
        };
        if address != href || caller.is_ours(&address) {
            if !caller.is_routed(method, &address) {
                return Err(UnreachableAddress);
            }
            changed = true;
            // The server's credential for the address would replace the caller's.
            if let Some(headers) = action.get_mut("header").and_then(Value::as_object_mut) {
                headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
            }
            if let Some(href) = action.get_mut("href") {
                *href = address.into();
            }
        }
        // The addresses of a large object's parts are in the headers.
        let headers = action.get("header").and_then(Value::as_object);
        for value in headers
            .into_iter()
            .flatten()
            .filter_map(|(_, value)| value.as_str())
        {
            if caller.absolute(value)? != value {
                return Err(UnreachableAddress);
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
pub(super) fn rewritten_for_tests(
    text: &str,
    caller: &CallerAddresses,
) -> Result<Value, UnreachableAddress> {
    let bytes = rewritten(Bytes::copy_from_slice(text.as_bytes()), caller)?;
    serde_json::from_slice(&bytes).map_err(|_| UnreachableAddress)
}
