//! Sources of an issuer's signing keys, and their cache.
//!
//! 1. A [`KeySource`] fetches the keys: over HTTP ([`HttpKeys`], the default), from a text
//!    ([`StaticKeys`]) or a file ([`FileKeys`]), through `jwks_client_rs` (feature
//!    `jwks-client-rs`), or with an implementation of your own.
//! 2. The fetched keys are cached per issuer as one snapshot. A request that finds its key in
//!    the snapshot neither locks nor waits.
//! 3. Keys are fresh for 10 minutes, or for the `max-age` of `Cache-Control`, between one minute
//!    and an hour. At 80 % of that time (± 10 %) a request starts a fetch in the background.
//! 4. After a failed fetch, the keys stay in use for 12 hours after the last success. Then
//!    nobody can be authenticated (503). Fetches are retried after 1 to 30 seconds, or after the
//!    `Retry-After` of the source, up to five minutes.
//! 5. An unknown key causes one fetch for all requests that wait, and only for a token that is
//!    otherwise valid. Fetches without a new key are limited to one per issuer and 30 seconds of
//!    the process's life (up to four are saved, five seconds apart), whatever unauthenticated
//!    clients send. Fetches with a new key do not count, so that rotations may follow one
//!    another at once. A `kid` that was not found is not fetched again for 30 seconds, then for
//!    a minute. A request that cannot wait any longer (2 s), or for which no fetch is allowed,
//!    gets 503 and never 401.
//! 6. Issuers share nothing, so that a slow issuer does not delay the callers of another.
//! # Caveats
//! A service without traffic fetches nothing. The first request after the keys became stale
//! waits for a fetch, for at most 2 s, and then uses the stale keys. Fetches are tokio tasks:
//! authenticate within a tokio runtime.

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
