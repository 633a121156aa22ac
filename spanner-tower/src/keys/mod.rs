//! Where an issuer's signing keys come from, and how they are kept.
//!
//! 1. A [`KeySource`] fetches: over HTTP ([`HttpKeys`], the default), from a text
//!    ([`StaticKeys`]) or a file ([`FileKeys`]), through `jwks_client_rs` (feature `jwks-client-rs`), or from wherever
//!    you say.
//! 2. What was fetched is kept per issuer as one snapshot. A request that finds the key it
//!    needs neither locks nor waits.
//! 3. Keys are fresh for 10 minutes, or for what `Cache-Control: max-age` says between one
//!    minute and an hour. At 80 % of that (± 10 %) a request has them fetched anew behind its
//!    back.
//! 4. A fetch that fails changes nothing: the keys stay, for 12 hours after the last success.
//!    After that, nobody can be identified (503). It is tried again after 1 to 30 seconds,
//!    or after what `Retry-After` says, up to five minutes.
//! 5. A key that is not known is asked for by one fetch for all who wait, and only for a
//!    token in which nothing else is wrong. Fetches that bring no new key are at most one per
//!    issuer per 30 seconds of the process's life (up to four are saved, five seconds apart),
//!    whatever strangers send. A fetch that brings a new key does not count, so that one
//!    rotation may follow another at once. A `kid` that was asked for in vain is not asked
//!    for again for 30 seconds, then for a minute. Whoever cannot wait (2 s) or cannot be
//!    told gets 503, never 401.
//! 6. Issuers share nothing, so that none delays another's callers.
//!
//! # Caveats
//! A service without any traffic fetches nothing. Its first request after the keys have
//! become old waits for them (2 s at most) and falls back to the old ones. Fetches are tasks
//! of tokio: authenticate within its runtime.

mod cache;
mod discovery;
mod fixed;
mod http;
#[cfg(feature = "jwks-client-rs")]
mod jwks_client;
mod source;
mod unknown;

pub(crate) use cache::KeyCache;
pub use cache::{KeyState, KeyStatus};
pub use fixed::{FileKeys, StaticKeys};
pub use http::{AddressError, HttpKeys};
pub(crate) use http::{Plain, cause, client, parse, retry_after};
#[cfg(feature = "jwks-client-rs")]
pub use jwks_client::JwksClientRs;
pub use source::{FETCH_TIMEOUT, FetchError, Fetched, KeySource};
