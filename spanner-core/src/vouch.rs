//! Whether a credential still counts while what it began goes on.

use std::future::Future;
use std::pin::Pin;

use crate::Timestamp;
use crate::caller::Caller;
use crate::refusal::Refusal;

/// Knows whether a credential that was accepted still is: it may have been revoked since. Its
/// [times](crate::Credential::check) are looked at by the gate itself.
///
/// # Security
/// What this accepts goes on being served: a conversation asks here before each further
/// decision, and now and then while it lasts.
pub trait Vouch: Send + Sync + 'static {
    /// Whether the caller's credential counts now, as far as is known here. It is asked before
    /// every decision, so it must not block.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal>;

    /// The same, asking whoever vouched for the credential again. It must bound how long.
    ///
    /// # Errors
    /// Why it does not count. [`Refusal::Unavailable`] where nobody could be asked: what goes
    /// on then goes on.
    fn check_again<'a>(
        &'a self,
        caller: &'a Caller,
        now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(std::future::ready(self.check(caller, now)))
    }
}
