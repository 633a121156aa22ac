//! Checks during a request whether its credential is still valid.

use std::future::Future;
use std::pin::Pin;

use crate::Timestamp;
use crate::caller::Caller;
use crate::refusal::Refusal;

/// Tells whether an accepted credential is still valid: it may have been revoked since. The gate
/// itself checks the [times](crate::Credential::check) of the credential.
///
/// # Security
/// A request continues while this accepts its credential. The gate asks before each further
/// decision of a conversation, and periodically during it.
pub trait Vouch: Send + Sync + 'static {
    /// Checks the caller's credential against what is known locally. It is called before every
    /// decision, so it must not block.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal>;

    /// The same, and asks the issuer of the credential again. The time for it must be bounded.
    ///
    /// # Errors
    /// Why the credential is not valid. [`Refusal::Unavailable`] if the issuer could not be asked;
    /// the request continues then.
    fn check_again<'a>(
        &'a self,
        caller: &'a Caller,
        now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(std::future::ready(self.check(caller, now)))
    }
}
