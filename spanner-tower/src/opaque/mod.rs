//! Tokens that do not speak for themselves: their issuer is asked.
//!
//! 1. A token goes to one place only: to the issuer whose prefix it has (`hf_`), or else to
//!    the only one that takes opaque tokens without a prefix. It must look like a token (RFC
//!    6750 §2.1), or nobody is asked.
//! 2. What the issuer says is read by its claim mapping, with the checks of a signed token:
//!    audience, times, tenants, bindings.
//! 3. An answer is kept for 30 seconds (configurable up to 5 minutes), a refusal for 5, in a
//!    bounded cache keyed by the SHA-256 of the whole token. Never longer, also when the
//!    issuer is down: a revoked token must stop.
//! 4. Those who ask about one token at one time ask once.
//! 5. At most 64 questions to an issuer are under way; further ones, and all for a moment
//!    after a failure, are answered with 503 at once. An issuer's outage or a flood of
//!    garbage costs others nothing, and the issuer no more than these.
//! 6. An issuer that cannot be asked is 503, never 401; so is one that does not accept *our*
//!    credentials.

mod introspection;
mod whoami;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use spanner_core::token::{TokenVerifier, VerifiedToken};
use spanner_core::{IssuerAlias, Outage, Refusal, Timestamp, TokenFault};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::authenticate::BoxFuture;
use crate::bearer::TokenKey;
use crate::keys::FetchError;

pub use introspection::Introspection;
pub(crate) use whoami::Whoami;

/// How long an answer is kept unless configured, and at most.
pub(crate) const KEPT: Duration = Duration::from_secs(30);
pub(crate) const MAX_KEPT: Duration = Duration::from_secs(300);
/// How long a refusal is kept: whoever tries again at once is not worth a question.
const REFUSED: Duration = Duration::from_secs(5);
/// How many answers are kept, for each issuer.
const ENTRIES: usize = 4_096;
/// How many questions to one issuer are under way at most.
const QUESTIONS: usize = 64;
/// How long a request waits for an answer in all.
const WAIT: Duration = Duration::from_secs(5);
/// How long an issuer is left alone after a failure, unless it says; and at most.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// The shortest opaque token, in bytes. Shorter ones could be guessed.
const MIN_TOKEN: usize = 16;
/// The longest opaque token, in bytes: as for signed ones.
const MAX_TOKEN: usize = 8 * 1024;

/// Asks an issuer about tokens of its own. [`Introspection`] is the implementation for RFC
/// 7662; write another one for a provider with a protocol of its own.
///
/// # Security
/// What this answers is believed as if the issuer had signed it. It must come from the
/// issuer's own server, over an authenticated connection, in answer to this very token. It
/// must bound how long it waits and how much it reads.
pub trait AskIssuer: Send + Sync + 'static {
    /// What the issuer says of a token.
    ///
    /// # Errors
    /// [`FetchError`] when the issuer cannot be asked, or does not let us ask.
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>>;
}

/// What an issuer says of a token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It is good, and these are its claims: a JSON object.
    Active(Bytes),
    /// It is not, or not any more, or was never.
    Inactive,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active(_) => "Active",
            Self::Inactive => "Inactive",
        })
    }
}

/// How the questions to an issuer go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpaqueStatus {
    /// Why the last question failed; absent if it did not.
    pub last_error: Option<String>,
    /// How many questions are under way.
    pub under_way: usize,
    /// How many answers are kept.
    pub kept: usize,
}

/// The opaque tokens of one issuer.
pub(crate) struct OpaqueTokens {
    issuer: IssuerAlias,
    prefixes: Vec<String>,
    asks: Box<dyn AskIssuer>,
    kept_for: Duration,
    kept: Cache<TokenKey, Kept>,
    questions: Semaphore,
    trouble: Mutex<Trouble>,
}

#[derive(Clone)]
struct Kept {
    answer: Result<Arc<VerifiedToken>, TokenFault>,
    until: Instant,
}

/// What went wrong last.
#[derive(Default)]
struct Trouble {
    last_error: Option<String>,
    not_before: Option<Instant>,
}

impl OpaqueTokens {
    pub(crate) fn new(
        issuer: IssuerAlias,
        asks: Box<dyn AskIssuer>,
        prefixes: Vec<String>,
        kept_for: Duration,
    ) -> Self {
        Self {
            issuer,
            prefixes,
            asks,
            kept_for,
            kept: Cache::with_weighter(ENTRIES.div_ceil(8), ENTRIES as u64, UnitWeighter),
            questions: Semaphore::new(QUESTIONS),
            trouble: Mutex::default(),
        }
    }

    /// The prefixes of its tokens; none where it takes those that nobody else claims.
    pub(crate) fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    pub(crate) fn has_prefix_of(&self, token: &str) -> bool {
        self.prefixes
            .iter()
            .any(|prefix| token.starts_with(&**prefix))
    }

    pub(crate) fn status(&self) -> OpaqueStatus {
        OpaqueStatus {
            last_error: self.trouble().last_error.clone(),
            under_way: QUESTIONS.saturating_sub(self.questions.available_permits()),
            kept: self.kept.len(),
        }
    }

    /// What a token says, by its issuer's word.
    pub(crate) async fn attest(
        &self,
        verifier: &TokenVerifier,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        if !is_token(token) {
            return Err(TokenFault::Malformed.into());
        }
        let key = TokenKey::of(token);
        self.kept
            .remove_if(&key, |kept| kept.until <= Instant::now());
        let asked = self
            .kept
            .get_or_insert_async(&key, self.question(verifier, token, now));
        match timeout(WAIT, asked).await {
            Ok(kept) => Ok(kept?.answer?),
            Err(_) => Err(self.failed(&FetchError::new("nothing came in time"))),
        }
    }

    async fn question(
        &self,
        verifier: &TokenVerifier,
        token: &str,
        now: Timestamp,
    ) -> Result<Kept, Refusal> {
        let not_before = self.trouble().not_before;
        if let Some(wait) = not_before.map(|time| time.saturating_duration_since(Instant::now()))
            && !wait.is_zero()
        {
            return Err(outage(Some(wait)));
        }
        let Ok(_permit) = self.questions.try_acquire() else {
            tracing::warn!(issuer = %self.issuer, "too many questions about opaque tokens are under way");
            return Err(outage(None));
        };
        let asked = self.asks.ask(token).await;
        #[cfg(feature = "metrics")]
        metrics::counter!(
            "spanner_introspections_total",
            "issuer" => self.issuer.to_string(),
            "result" => match &asked {
                Ok(Answer::Active(_)) => "active",
                Ok(Answer::Inactive) => "inactive",
                Err(_) => "failed",
            }
        )
        .increment(1);
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(&error)),
        };
        *self.trouble() = Trouble::default();
        let answer = match answer {
            Answer::Active(claims) => verifier
                .attested(&self.issuer, &claims, token, now)
                .map(Arc::new),
            Answer::Inactive => Err(TokenFault::Inactive),
        };
        let kept_for = if answer.is_ok() {
            self.kept_for
        } else {
            REFUSED
        };
        Ok(Kept {
            answer,
            until: Instant::now() + kept_for,
        })
    }

    /// Notes a failure, and leaves the issuer alone for a moment.
    fn failed(&self, error: &FetchError) -> Refusal {
        tracing::warn!(issuer = %self.issuer, %error, "the issuer cannot be asked about tokens");
        let pause = error.retry_after.unwrap_or(PAUSE).clamp(PAUSE, MAX_PAUSE);
        let mut trouble = self.trouble();
        trouble.last_error = Some(error.to_string());
        trouble.not_before = Some(Instant::now() + pause);
        outage(error.retry_after)
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outage(retry_after: Option<Duration>) -> Refusal {
    Outage::Introspection { retry_after }.into()
}

/// Whether a text can be a token at all (`b64token`, RFC 6750 §2.1).
fn is_token(text: &str) -> bool {
    let letters = text.trim_end_matches('=');
    let accepted = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    (MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) && letters.bytes().all(accepted)
}

/// The body of an answer, if it is JSON and not longer than any that a provider gives.
async fn body(mut response: reqwest::Response) -> Result<Bytes, FetchError> {
    /// The longest answer, in bytes: one with a thousand groups fits.
    const MAX_BODY: usize = 256 * 1024;
    let headers = response.headers();
    let media_type = headers.get(http::header::CONTENT_TYPE);
    let media_type = media_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(FetchError::new("the answer is not `application/json`"));
    }
    let encoding = headers.get(http::header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::new("the answer has a content encoding"));
    }
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| FetchError::new(crate::keys::cause(&error)))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(FetchError::new(format!(
                "the answer exceeds {MAX_BODY} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
