//! The annotations with which a forbid names the credential that would satisfy it.

use std::time::Duration;

use cedar_policy::{Effect, Policy};
use spanner_core::units::parse_duration;
use spanner_core::{Advice, StepUp};

use super::principal::Complaint;
use super::problem::quoted;

/// The `acr` values of the sign-in, the preferred first: `@step_up_acr("urn:a urn:b")`.
pub(super) const STEP_UP_ACR: &str = "step_up_acr";

/// The greatest age of the sign-in: `@step_up_max_age("5m")`.
pub(super) const STEP_UP_MAX_AGE: &str = "step_up_max_age";

/// The OAuth scopes: `@scope("models.infer models.read")`.
pub(super) const SCOPE: &str = "scope";

/// Reads the credential that a policy demands, and the problems with it.
pub(super) fn read(policy: &Policy) -> (Advice, Vec<Complaint>) {
    let mut complaints = Vec::new();
    let mut advice = Advice::default();
    let mut texts = [STEP_UP_ACR, STEP_UP_MAX_AGE, SCOPE].map(|key| policy.annotation(key));
    if policy.effect() == Effect::Permit {
        for (key, text) in [STEP_UP_ACR, STEP_UP_MAX_AGE, SCOPE]
            .into_iter()
            .zip(&mut texts)
        {
            if text.take().is_some() {
                complaints.push((
                    format!("a permit cannot have `@{key}`: nothing is refused by it"),
                    "annotate the forbid that another credential would satisfy".to_owned(),
                ));
            }
        }
    }
    let [acr_values, max_age, scopes] = texts;
    let mut all = |key, text: Option<&str>| {
        let read = text.map(|text| words(key, text)).transpose();
        read.map_err(|complaint| complaints.push(complaint))
            .ok()
            .flatten()
            .unwrap_or_default()
    };
    let acr_values = all(STEP_UP_ACR, acr_values);
    advice.scopes = all(SCOPE, scopes);
    let max_age = max_age.map(seconds).transpose();
    let max_age = max_age
        .map_err(|complaint| complaints.push(complaint))
        .ok()
        .flatten();
    if !acr_values.is_empty() || max_age.is_some() {
        advice.step_up = Some(StepUp::new(acr_values, max_age));
    }
    (advice, complaints)
}

/// Space-separated words that a challenge can carry (RFC 6749 §3.3, RFC 9470 §3).
fn words(key: &str, text: &str) -> Result<Vec<String>, Complaint> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    let good = |word: &str| !word.is_empty() && word.chars().all(fits);
    if text.len() > MAX_BYTES || !text.split(' ').all(good) {
        return Err((
            format!("`@{key}` cannot be {}", quoted(text)),
            format!(
                "write words with one space between two, without quotes and backslashes, at most {MAX_BYTES} bytes"
            ),
        ));
    }
    Ok(text.split(' ').map(ToOwned::to_owned).collect())
}

/// A duration. A challenge carries it in whole seconds (RFC 9470 §3), so a bare number means
/// seconds.
fn seconds(text: &str) -> Result<Duration, Complaint> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let age = match digits {
        true => text
            .parse::<u32>()
            .ok()
            .map(|seconds| Duration::from_secs(seconds.into())),
        false => parse_duration(text).ok(),
    };
    let longest = Duration::from_secs(u32::MAX.into());
    let whole = |age: &Duration| !age.is_zero() && *age <= longest && age.subsec_nanos() == 0;
    age.filter(whole).ok_or_else(|| {
        (
            format!("`@{STEP_UP_MAX_AGE}` cannot be {}", quoted(text)),
            "write a positive duration, for instance `@step_up_max_age(\"5m\")`, or a number of seconds"
                .to_owned(),
        )
    })
}

/// The length of an annotation in bytes. A header of every such refusal carries it, and 8 KiB is a
/// common limit for all headers.
const MAX_BYTES: usize = 512;
