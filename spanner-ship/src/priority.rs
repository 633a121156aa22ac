//! Lowers the priority of background threads.

/// Lowers the priority of the calling thread. Only Linux supports this per thread; on other
/// platforms it has no effect.
#[cfg(target_os = "linux")]
pub(crate) fn lower_priority() {
    // On Linux this affects only the calling thread, although POSIX says process (setpriority(2),
    // BUGS).
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "cannot lower the priority of a thread");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) const fn lower_priority() {}

/// A tenth of a normal thread's share of a busy processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
