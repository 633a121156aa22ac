//! Key sets: nothing panics, limits hold, and each key is either used or skipped.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spanner_core::token::KeySet;

fuzz_target!(|input: &[u8]| {
    let shown = match KeySet::parse(input) {
        Ok(parsed) => {
            assert!(input.len() <= KeySet::MAX_BYTES);
            assert!(!parsed.keys.is_empty());
            assert!(parsed.keys.len() + parsed.skipped.len() <= KeySet::MAX_KEYS);
            let skipped: Vec<_> = parsed.skipped.iter().map(ToString::to_string).collect();
            format!("{:?} {}", parsed.keys, skipped.join("; "))
        }
        Err(error) => error.to_string(),
    };
    assert!(!shown.contains(char::is_control));
});
