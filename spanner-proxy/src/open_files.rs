//! The limit of open files, so that connections leave descriptors for the ledger.

use crate::config::MAX_CONNECTIONS;

/// Descriptors for everything but connections: the ledger's segments, shipments, files that are
/// reloaded, and the runtime. A busy process has some thirty open.
const OTHERS: usize = 128;

/// How many connections the limit of open files allows, at most `configured`. Each needs a descriptor,
/// and one more to a model server. A lower limit than the file asks for is a warning; one below the
/// default, which nobody asked for, is only noted.
pub(crate) fn connections(configured: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(files) = soft_limit(&limits) else {
        return configured;
    };
    let possible = (files.saturating_sub(OTHERS) / 2).max(1);
    if possible < configured && configured == MAX_CONNECTIONS {
        tracing::info!(
            max_connections = possible,
            "the process may open {files} files: raise the limit (`ulimit -n`, `LimitNOFILE=`) for more connections"
        );
    } else if possible < configured {
        tracing::warn!(
            max_connections = configured,
            possible,
            "the process may open {files} files, which is too few for `max_connections`: raise the limit (`ulimit -n`, `LimitNOFILE=`) or lower `max_connections`"
        );
    }
    configured.min(possible)
}

/// The soft limit of open files, from the text of proc_pid_limits(5).
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let text = |soft| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             96109                96109                processes \n\
                 Max open files            {soft}                 1048576              files     \n"
            )
        };
        assert_eq!(soft_limit(&text("1024")), Some(1024));
        assert_eq!(soft_limit(&text("unlimited")), None);
        assert_eq!(soft_limit(""), None);
    }
}
