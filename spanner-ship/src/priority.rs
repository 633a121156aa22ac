//! Threads that nobody waits for make way for those that somebody does.

/// Lets the calling thread run behind others where processors are short. Only Linux tells
/// threads apart; elsewhere it does nothing.
#[cfg(target_os = "linux")]
pub(crate) fn make_way() {
    // Of the calling thread alone, although POSIX says process (setpriority(2), BUGS).
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) const fn make_way() {}

/// A tenth of an ordinary thread's share.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
