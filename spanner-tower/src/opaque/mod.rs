//! Opaque tokens: their issuer is asked what they mean.
//!
//! 1. A token is sent to one issuer only: the one whose prefix it has (`hf_`), or else the only
//!    one that takes opaque tokens without a prefix. A text without the syntax of a token (RFC
//!    6750 §2.1) is sent to nobody.
//! 2. The issuer's answer is read by its claim mapping and checked like a signed token:
//!    audience, times, tenants, bindings.
//! 3. A positive answer is cached for 30 seconds (configurable up to 5 minutes), a negative one
//!    for 5. Each has a bounded cache of its own, keyed by the SHA-256 of the whole token, so
//!    that garbage evicts no positive answers. Answers are not extended while the issuer is
//!    down, because a revoked token must stop. Only while the issuer rate-limits the guard
//!    (`Retry-After`), the last positive answers are used for a minute longer, unless the issuer
//!    has rejected the token since. [`Introspection::kept_through_outage`] configures the
//!    extension; lifetime and extension together are at most 5 minutes. The token's times and
//!    the guard's own revocations are checked with every request.
//! 4. Concurrent requests with the same token share one question.
//! 5. At most 64 questions to an issuer are in progress: 48 of them about unknown tokens, which
//!    were never active before, and 24 of those from one network of peers (a /24, or a /56 of
//!    IPv6). A question waits for at most 4 seconds for a ticket, networks take turns, and
//!    questions beyond the bounds are answered with 503 at once. An invalid unknown token holds
//!    its ticket for a quarter of a second, so unauthenticated clients cause at most 192
//!    questions a second, 96 from one network.
//! 6. The hashes of 16,384 tokens that were active are remembered, longer than their answers.
//!    These tokens are *known*: 16 questions are reserved for them, and they go first.
//! 7. After a failure, there are no questions about unknown tokens for a second, or for as long
//!    as the issuer asks (`Retry-After`, at most five minutes). Questions about known tokens
//!    continue, at most once a second while those fail too, so that an unauthenticated client
//!    that provokes a rate limit does not lock out known callers. A failure that concerns one
//!    token (a 4xx response) pauses only the network that it came from.
//! 8. If the issuer cannot be asked, the response is 503 and never 401. The same holds if it
//!    rejects the *guard's* credentials.
//!
//! # Caveats
//! Behind a load balancer that does not pass on client addresses, all clients share one network,
//! and unknown tokens share its 24 questions with the clients that flood it.

mod answer;
mod introspection;
mod queue;
mod secret;
mod whoami;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use spanner_core::token::{TokenVerifier, VerifiedToken};
use spanner_core::{IssuerAlias, Outage, Refusal, Timestamp, TokenFault};
use tokio::time::{Instant, timeout};

use crate::bearer::TokenKey;
use crate::keys::FetchError;
use crate::peer_network::PeerNetwork;
use queue::{Asker, FairQueue};

pub(crate) use answer::{ANSWER_TTL, AnswerTtl, MAX_ANSWER_TTL};
pub use answer::{Answer, AskIssuer};
pub use introspection::Introspection;
pub use secret::ClientSecret;
pub(crate) use whoami::Whoami;

/// The lifetime of a negative answer: an immediate retry is not worth another question.
const REFUSED: Duration = Duration::from_secs(5);
/// The number of positive and of negative answers cached for each issuer: as many as verified
/// tokens.
const ENTRIES: usize = 4_096;
/// The number of tokens remembered as known, in about 2 MB.
const KNOWN: usize = 16_384;
/// The timeout of a question. Including the wait for a ticket, a caller waits for at most 9 s.
const WAIT: Duration = Duration::from_secs(5);
/// The pause after a failure unless the issuer sets one. Callers wait that long for its recovery
/// to be noticed.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that an issuer can set: a longer one is more often a mistake.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// The default extension of positive answers while an issuer rate-limits the guard. A rate limit
/// rarely lasts longer than a minute.
const LENIENCE: Duration = Duration::from_secs(60);
/// How long a failure affects readiness if there are no further questions: a few probe
/// intervals.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Failures and floods are logged at most once in this time, so that they do not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// The shortest opaque token, in bytes. Shorter ones could be guessed.
const MIN_TOKEN: usize = 16;
/// The longest opaque token, in bytes: the same as for signed tokens.
const MAX_TOKEN: usize = 8 * 1024;

/// The state of an issuer's introspection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpaqueStatus {
    /// Why the last question failed; `None` if it succeeded.
    pub last_error: Option<String>,
    /// The number of questions in progress.
    pub under_way: usize,
    /// The number of cached answers.
    pub kept: usize,
    /// The number of tokens remembered as known.
    pub known: usize,
    /// Whether questions failed during the last half minute, other than by a rate limit. During
    /// a rate limit, known tokens are still served.
    pub failing: bool,
}

/// The opaque tokens of one issuer.
pub(crate) struct OpaqueTokens {
    issuer: IssuerAlias,
    prefixes: Vec<String>,
    asks: Box<dyn AskIssuer>,
    times: AnswerTtl,
    secret: Option<ClientSecret>,
    good: Cache<TokenKey, CachedAnswer>,
    refused: Cache<TokenKey, (TokenFault, Instant)>,
    /// The tokens that were active before.
    known: Cache<TokenKey, ()>,
    /// The last positive answers, for use during an outage.
    last: Cache<TokenKey, CachedAnswer>,
    queue: FairQueue,
    trouble: Mutex<Trouble>,
}

#[derive(Clone)]
struct CachedAnswer {
    token: Arc<VerifiedToken>,
    until: Instant,
}

/// The last failures.
#[derive(Default)]
struct Trouble {
    last_error: Option<String>,
    failed: Option<Instant>,
    /// When questions about unknown tokens resume, and whether the issuer itself asked for the
    /// pause.
    strangers: Option<(Instant, bool)>,
    /// When questions about known tokens resume.
    known: Option<Instant>,
    logged: Option<Instant>,
}

impl OpaqueTokens {
    pub(crate) fn new(
        issuer: IssuerAlias,
        asks: Box<dyn AskIssuer>,
        prefixes: Vec<String>,
        times: AnswerTtl,
        secret: Option<ClientSecret>,
    ) -> Self {
        let small = ENTRIES.div_ceil(8);
        Self {
            issuer,
            prefixes,
            asks,
            times,
            secret,
            good: Cache::with_weighter(small, ENTRIES as u64, UnitWeighter),
            refused: Cache::with_weighter(small, ENTRIES as u64, UnitWeighter),
            known: Cache::with_weighter(small, KNOWN as u64, UnitWeighter),
            last: Cache::with_weighter(small, ENTRIES as u64, UnitWeighter),
            queue: FairQueue::default(),
            trouble: Mutex::default(),
        }
    }

    /// The prefixes of its tokens; empty if it takes tokens that no other issuer claims.
    pub(crate) fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    pub(crate) fn has_prefix_of(&self, token: &str) -> bool {
        self.prefixes
            .iter()
            .any(|prefix| token.starts_with(&**prefix))
    }

    /// The guard's own secret at the issuer, if it can be reloaded.
    pub(crate) const fn secret(&self) -> Option<&ClientSecret> {
        self.secret.as_ref()
    }

    pub(crate) fn status(&self) -> OpaqueStatus {
        let trouble = self.trouble();
        let lately = trouble.failed.is_some_and(|at| at.elapsed() < REMEMBERED);
        OpaqueStatus {
            last_error: trouble.last_error.clone(),
            under_way: self.queue.under_way(),
            kept: self.good.len() + self.refused.len(),
            known: self.known.len(),
            failing: trouble.last_error.is_some() && lately && !trouble.is_patient(),
        }
    }

    /// Returns the claims of a token, as its issuer attests them.
    pub(crate) async fn attest(
        &self,
        verifier: &TokenVerifier,
        token: &str,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        if !is_token(token) {
            return Err(TokenFault::Malformed.into());
        }
        let key = TokenKey::of(token);
        let late = Instant::now();
        self.good.remove_if(&key, |kept| kept.until <= late);
        let asker = match self.known.get(&key) {
            Some(()) => Asker::Known,
            None => Asker::Stranger(peer.map(PeerNetwork::site)),
        };
        let question = self.question(verifier, &key, token, asker, now);
        let asked = self.good.get_or_insert_async(&key, question);
        let asked = match timeout(queue::MAX_WAIT + WAIT, asked).await {
            Ok(asked) => asked.map(|kept| kept.token),
            // The request that asked about this token first was cancelled, so the question
            // started anew.
            Err(_) => Err(outage(None)),
        };
        match asked {
            Err(Refusal::Unavailable(outage)) => {
                let outlasting = self.outlasting(&key);
                outlasting.ok_or(Refusal::Unavailable(outage))
            }
            asked => asked,
        }
    }

    /// The last positive answer, if it may be used during an outage.
    fn outlasting(&self, key: &TokenKey) -> Option<Arc<VerifiedToken>> {
        let lenience = match self.times.outage {
            Some(configured) => configured,
            None if self.trouble().is_patient() => LENIENCE,
            None => return None,
        };
        let longer = lenience.min(MAX_ANSWER_TTL.saturating_sub(self.times.answer));
        let last = self.last.get(key)?;
        if Instant::now() >= last.until + longer {
            return None;
        }
        #[cfg(feature = "metrics")]
        metrics::counter!(
            "spanner_introspections_total",
            "issuer" => self.issuer.to_string(),
            "result" => "outlasted"
        )
        .increment(1);
        Some(last.token)
    }

    async fn question(
        &self,
        verifier: &TokenVerifier,
        key: &TokenKey,
        token: &str,
        asker: Asker,
        now: Timestamp,
    ) -> Result<CachedAnswer, Refusal> {
        self.is_refused(key)?;
        self.may_ask(asker)?;
        let Some(ticket) = self.queue.ticket(asker).await else {
            self.log(|issuer| {
                tracing::warn!(%issuer, "too many wait to have opaque tokens asked about");
            });
            return Err(outage(Some(PAUSE)));
        };
        // Either may have changed during the wait.
        self.is_refused(key)?;
        self.may_ask(asker)?;
        let asked = timeout(WAIT, self.asks.ask(token)).await;
        let asked = asked.unwrap_or_else(|_| Err(FetchError::new("nothing came in time")));
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
            Err(error) => {
                ticket.hold();
                if error.about_token {
                    self.known.remove(key);
                }
                return Err(self.failed(&error, asker));
            }
        };
        self.answered();
        let answer = match answer {
            Answer::Active(claims) => verifier.attested(&self.issuer, &claims, token, now),
            Answer::Inactive => Err(TokenFault::Inactive),
        };
        match answer {
            Ok(token) => Ok(self.accepted(key, Arc::new(token))),
            Err(fault) => {
                ticket.hold();
                self.known.remove(key);
                self.last.remove(key);
                self.refused
                    .insert(key.clone(), (fault, Instant::now() + REFUSED));
                Err(fault.into())
            }
        }
    }

    /// Caches a positive answer and remembers the token as known.
    fn accepted(&self, key: &TokenKey, token: Arc<VerifiedToken>) -> CachedAnswer {
        let until = Instant::now() + self.times.answer;
        let kept = CachedAnswer { token, until };
        self.known.insert(key.clone(), ());
        self.last.insert(key.clone(), kept.clone());
        kept
    }

    /// Refuses a token with a cached negative answer.
    fn is_refused(&self, key: &TokenKey) -> Result<(), Refusal> {
        match self.refused.get(key) {
            Some((fault, until)) if Instant::now() < until => Err(fault.into()),
            Some(_) => {
                let late = Instant::now();
                self.refused.remove_if(key, |(_, until)| *until <= late);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Refuses to ask during the pause after a failure.
    fn may_ask(&self, asker: Asker) -> Result<(), Refusal> {
        let not_before = match asker {
            Asker::Known => self.trouble().known,
            Asker::Stranger(network) => {
                let of_all = self.trouble().strangers.map(|(time, _)| time);
                of_all.max(self.queue.not_before(network))
            }
        };
        let wait = not_before.map(|time| time.saturating_duration_since(Instant::now()));
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(outage(Some(wait))),
            None => Ok(()),
        }
    }

    /// Notes that the issuer is available. A pause that it asked for itself stays in force for
    /// unknown tokens.
    fn answered(&self) {
        let mut trouble = self.trouble();
        trouble.last_error = None;
        trouble.known = None;
        let now = Instant::now();
        trouble
            .strangers
            .take_if(|(until, asked)| !*asked || *until <= now);
    }

    /// Notes a failure and starts a pause.
    fn failed(&self, error: &FetchError, asker: Asker) -> Refusal {
        self.log(|issuer| {
            tracing::warn!(%issuer, %error, "the issuer cannot be asked about tokens");
        });
        let now = Instant::now();
        let asked = error.retry_after.is_some();
        let until = now + error.retry_after.unwrap_or(PAUSE).clamp(PAUSE, MAX_PAUSE);
        if error.about_token {
            if let Asker::Stranger(network) = asker {
                self.queue.pause(network, until);
            }
            return outage(error.retry_after);
        }
        let mut trouble = self.trouble();
        trouble.last_error = Some(error.to_string());
        trouble.failed = Some(now);
        if asker == Asker::Known {
            trouble.known = Some(now + PAUSE);
        }
        // A shorter pause does not end a longer one.
        if trouble.strangers.is_none_or(|(earlier, _)| earlier < until) {
            trouble.strangers = Some((until, asked));
        }
        match asker {
            Asker::Known => outage(Some(PAUSE)),
            Asker::Stranger(_) => outage(error.retry_after),
        }
    }

    fn log(&self, line: impl FnOnce(&IssuerAlias)) {
        let now = Instant::now();
        let due = {
            let logged = &mut self.trouble().logged;
            let due = logged.is_none_or(|at| now >= at + LOG_EVERY);
            if due {
                *logged = Some(now);
            }
            due
        };
        if due {
            line(&self.issuer);
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    /// Whether a pause that the issuer asked for is in force.
    fn is_patient(&self) -> bool {
        let now = Instant::now();
        self.strangers
            .is_some_and(|(until, asked)| asked && now < until)
    }
}

fn outage(retry_after: Option<Duration>) -> Refusal {
    Outage::Introspection { retry_after }.into()
}

/// Whether a text has the syntax of a token (`b64token`, RFC 6750 §2.1).
fn is_token(text: &str) -> bool {
    let letters = text.trim_end_matches('=');
    let accepted = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    (MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) && letters.bytes().all(accepted)
}
