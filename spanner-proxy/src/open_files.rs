//! How many files the process may have open, so that connections leave some for the ledger.

/// For the ledger, its shipping, what is read again, and what the runtime has.
const OTHERS: usize = 128;

/// So many connections as there can be: for each a descriptor, and one to a model server.
/// What was asked for, where the limit is not known.
pub(crate) fn connections(asked: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(files) = soft_limit(&limits) else {
        return asked;
    };
    let possible = (files.saturating_sub(OTHERS) / 2).max(1);
    if possible < asked {
        tracing::warn!(
            max_connections = asked,
            possible,
            "the process may have {files} files open, which is too few for so many connections: raise the limit (`ulimit -n`, `LimitNOFILE=`) or lower `max_connections`"
        );
    }
    asked.min(possible)
}

/// The soft limit of open files, as Linux tells it (proc_pid_limits(5)).
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
    fn the_soft_limit_counts() {
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
