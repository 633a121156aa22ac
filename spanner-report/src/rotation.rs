//! Renders credentials that must be replaced soon.

use spanner_core::Timestamp;
use spanner_ledger::{AgingCredential, visible_line};

/// Renders one credential per line, with its subject and actor. No name can forge a line or a
/// terminal command.
#[must_use]
pub fn rotation_report(credentials: &[AgingCredential], now: Timestamp) -> String {
    let line = |it: &AgingCredential| {
        let left = it.refused_from.duration_since(now).as_secs();
        let token = it.token_id.as_deref().or(it.token_hash.as_deref());
        let cell = |text: Option<&str>| visible_line(text.unwrap_or_default(), MAX_NAME);
        format!(
            "{}: token {}, client {}, issued {}, refused from {} ({} d {} h left), used {} times, last {}\n",
            visible_line(&it.who(), MAX_WHO),
            cell(token),
            cell(it.client.as_deref()),
            it.issued.strftime("%Y-%m-%d"),
            it.refused_from.strftime("%Y-%m-%dT%H:%MZ"),
            left / 86_400,
            left % 86_400 / 3_600,
            it.uses,
            it.last_used.strftime("%Y-%m-%dT%H:%MZ"),
        )
    };
    credentials.iter().map(line).collect()
}

const MAX_NAME: usize = 48;
/// Enough for an actor and its subject.
const MAX_WHO: usize = 100;
