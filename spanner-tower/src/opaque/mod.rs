//! Tokens that do not speak for themselves: their issuer is asked.
//!
//! 1. A token goes to one place only: to the issuer whose prefix it has (`hf_`), or else to
//!    the only one that takes opaque tokens without a prefix. It must look like a token (RFC
//!    6750 §2.1), or nobody is asked.
//! 2. What the issuer says is read by its claim mapping, with the checks of a signed token:
//!    audience, times, tenants, bindings.
//! 3. An answer is kept for 30 seconds (configurable up to 5 minutes), a refusal for 5, each
//!    in a bounded cache of its own keyed by the SHA-256 of the whole token, so that garbage
//!    displaces nobody's answer. Not longer when the issuer is down: a revoked token must
//!    stop. Only while the issuer itself asks for patience (`Retry-After`), the last good
//!    answers count a minute longer, unless it says otherwise of a token meanwhile. Both are
//!    configurable ([`Introspection::kept_through_outage`]), and 5 minutes in all are the most.
//!    Times, and revocations of the guard's own, are looked at with every request.
//! 4. Those who ask about one token at one time ask once.
//! 5. At most 64 questions to an issuer are under way, 48 of them about tokens that were not
//!    good before, 24 of those from one network of peers (a /24, or a /56 of IPv6). Who must
//!    wait for a turn does so for 4 seconds at most, networks take turns, and what is over the
//!    bound is answered with 503 at once. A turn about an unknown token that is no good is
//!    kept for a quarter of a second: strangers cause 192 questions a second at most, 96 from
//!    one network.
//! 6. The hashes of 16,384 tokens that were good are remembered, longer than their answers.
//!    Their bearers are *known*: 16 questions are kept for them, and they go first.
//! 7. After a failure an issuer is left alone for a second, or for as long as it says
//!    (`Retry-After`, five minutes at most). That is for unknown tokens. Known ones go on
//!    asking, once a second while that fails too, so that a stranger who makes an issuer ask
//!    for patience takes nobody's place. A failure that is about one token (a 4xx answer) is
//!    waited out by its own network only.
//! 8. An issuer that cannot be asked is 503, never 401; so is one that does not accept *our*
//!    credentials.
//!
//! # Caveats
//! Behind a load balancer that does not say who its clients are, all are of one network, and
//! tokens that nobody has seen yet share its 24 questions with whoever floods them.

mod answer;
mod introspection;
mod queue;
mod secret;
mod whoami;

use std::fmt;
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
use queue::{Asker, FairQueue};

pub(crate) use answer::{ANSWER_TTL, AnswerTtl, MAX_ANSWER_TTL};
pub use answer::{Answer, AskIssuer};
pub use introspection::Introspection;
pub use secret::ClientSecret;
pub(crate) use whoami::Whoami;

/// How long a refusal is kept: whoever tries again at once is not worth a question.
const REFUSED: Duration = Duration::from_secs(5);
/// How many answers are kept, and how many refusals, for each issuer: as many as verified tokens.
const ENTRIES: usize = 4_096;
/// How many tokens that were good are remembered, in about 2 MB.
const KNOWN: usize = 16_384;
/// How long a question may take. With the wait for its turn, a caller waits for 9 s at most.
const WAIT: Duration = Duration::from_secs(5);
/// How long an issuer is left alone after a failure, unless it says: callers wait as long for its
/// recovery.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it is left alone at most, whatever it says.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// How much longer good answers count while an issuer asks for patience, unless configured: a rate
/// limit rarely lasts longer than a minute.
const LENIENCE: Duration = Duration::from_secs(60);
/// How long a failure counts for readiness if nobody asks the issuer any more: a few probes.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Of failures and floods, one line in this time is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// The shortest opaque token, in bytes. Shorter ones could be guessed.
const MIN_TOKEN: usize = 16;
/// The longest opaque token, in bytes: as for signed ones.
const MAX_TOKEN: usize = 8 * 1024;

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
    /// How many tokens that were good are remembered.
    pub known: usize,
    /// Whether questions failed during the last half minute, and not because the issuer asks
    /// for patience: then those who were good before are served.
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
    /// The tokens that were good.
    known: Cache<TokenKey, ()>,
    /// Their last answers, as many as are kept.
    last: Cache<TokenKey, CachedAnswer>,
    queue: FairQueue,
    trouble: Mutex<Trouble>,
}

#[derive(Clone)]
struct CachedAnswer {
    token: Arc<VerifiedToken>,
    until: Instant,
}

/// What went wrong last.
#[derive(Default)]
struct Trouble {
    last_error: Option<String>,
    failed: Option<Instant>,
    /// When unknown tokens are asked about again; whether the issuer itself says so.
    strangers: Option<(Instant, bool)>,
    /// When known ones are.
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

    /// The prefixes of its tokens; none where it takes those that nobody else claims.
    pub(crate) fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    pub(crate) fn has_prefix_of(&self, token: &str) -> bool {
        self.prefixes
            .iter()
            .any(|prefix| token.starts_with(&**prefix))
    }

    /// The guard's own secret, if it has one that can be read again.
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

    /// What a token says, by its issuer's word.
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
            None => Asker::Stranger(peer.map(queue::network)),
        };
        let question = self.question(verifier, &key, token, asker, now);
        let asked = self.good.get_or_insert_async(&key, question);
        let asked = match timeout(queue::MAX_WAIT + WAIT, asked).await {
            Ok(asked) => asked.map(|kept| kept.token),
            // Who asked about this token before went away, so that it began anew.
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

    /// The last good answer, if it counts while nobody can be asked.
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
        // While this waited.
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

    /// Keeps a good answer, and that it was given.
    fn accepted(&self, key: &TokenKey, token: Arc<VerifiedToken>) -> CachedAnswer {
        let until = Instant::now() + self.times.answer;
        let kept = CachedAnswer { token, until };
        self.known.insert(key.clone(), ());
        self.last.insert(key.clone(), kept.clone());
        kept
    }

    /// Refuses what was refused a moment ago.
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

    /// Refuses to ask while a failure is waited out.
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

    /// The issuer answers. Where it asked for patience, strangers go on having it.
    fn answered(&self) {
        let mut trouble = self.trouble();
        trouble.last_error = None;
        trouble.known = None;
        let now = Instant::now();
        trouble
            .strangers
            .take_if(|(until, asked)| !*asked || *until <= now);
    }

    /// Notes a failure, and leaves the issuer alone for a moment.
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
    /// Whether the issuer asked for patience, and that is not over.
    fn is_patient(&self) -> bool {
        let now = Instant::now();
        self.strangers
            .is_some_and(|(until, asked)| asked && now < until)
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
