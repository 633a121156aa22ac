//! What became of a request: two entries, a [`Decision`] and an [`Outcome`], with one id.
//!
//! A decision that another enforcement point asked for ([`Enforcement::External`]) is a
//! complete record by itself: what became of the request is seen there.
//!
//! These types are what a ledger stores and an auditor reads, so they are part of the
//! compatibility promise: fields are added, never changed or removed.
//!
//! **Context, not payloads.** No field can hold a prompt, a completion, a raw path, a query,
//! a header or a claim map; callers choose only names, which are bounded and checked where
//! they enter.
//!
//! ```compile_fail
//! # fn with_a_prompt(mut decision: spanner_core::record::Decision) {
//! decision.prompt = "tell me a secret".to_owned();
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::access::Context;
use crate::action::Action;
use crate::caller::{Acting, Caller, Freshness};
use crate::party::{CallerKind, Principal};
use crate::refusal::Fault;
use crate::target::{Pair, Resource};
use crate::verdict::Effect;
use crate::{PromotionId, RecordId, Timestamp};

/// The first entry: who wanted what where, and whether they may. Stored before the inner
/// service runs, or before the refusal is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// The record's identifier; the reply carries it as `spanner-decision`.
    pub id: RecordId,
    /// Who enforces it; absent in JSON where the guard does, so that an outcome is owed.
    /// Serialized right behind the identifier, where a ledger finds it without parsing.
    #[serde(default, skip_serializing_if = "Enforcement::is_inline")]
    pub enforcement: Enforcement,
    /// For a further model on a stream: the record of the request it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RecordId>,
    /// When the request arrived.
    pub time: Timestamp,
    /// The service that asked, as configured.
    pub service: String,
    /// Which of the processes of that service, if it was given a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Where the model is served.
    pub environment: String,
    /// Who called; absent if nobody was identified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<CallerEntry>,
    /// The credential that was refused, where nobody was identified by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialEntry>,
    /// What was asked for; empty if that was not found out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<PairEntry>,
    /// The model API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surface: Option<String>,
    /// The route's template, never the path that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Allowed or refused.
    pub effect: Effect,
    /// Why, in one stable code: `granted`; `admitted`, where the route is open to every caller
    /// whom the guard knows, and nothing was decided; or the code of the refusal.
    pub reason: String,
    /// For a refusal: whose failure it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// For a refusal by permissions: the party that may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<PrincipalEntry>,
    /// The policies that decided it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The policies that could not be evaluated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_errors: Vec<String>,
    /// The policies in shadow mode that would have decided otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<String>,
    /// What an access that is tried out beside the one in force would have decided, where
    /// that is otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateAnswer>,
    /// The digest of the access in force; absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// The request's identifier at whoever stands in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The trace (W3C Trace Context) that the request is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The address at the other end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// What the client merely claims. Nothing was decided by it.
    #[serde(default, skip_serializing_if = "Asserted::is_empty")]
    pub asserted: Asserted,
}

/// Who enforces a decision, and so who learns what becomes of the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Enforcement {
    /// The guard: it forwards or refuses the request itself. The record gets exactly one
    /// outcome.
    #[default]
    Inline,
    /// Another policy enforcement point, such as a gateway, which asked the guard for the
    /// decision. The record has no outcome unless that point reports one, and is complete
    /// without.
    External,
}

impl Enforcement {
    /// Whether the guard enforces it.
    #[must_use]
    pub const fn is_inline(&self) -> bool {
        matches!(self, Self::Inline)
    }

    /// Whether another enforcement point asked.
    #[must_use]
    pub const fn is_external(&self) -> bool {
        matches!(self, Self::External)
    }
}

/// What a client says and nobody verified, apart from everything that was. Never who calls,
/// and never a reason for a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Asserted {
    /// The addresses that forwarding headers name, the one nearest to the caller first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The members of W3C Baggage whose keys the operator asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baggage: BTreeMap<String, String>,
    /// How many more of these were claimed, and are left out: past a bound, or no names.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

impl Asserted {
    /// Addresses that are kept of one request: more than any path has proxies.
    pub const MAX_ADDRESSES: usize = 8;
    /// Members of baggage that are kept of one request: more than an operator asks for.
    pub const MAX_BAGGAGE: usize = 16;
    /// Bytes of one value of baggage: a name or an identifier, and no text.
    pub const MAX_VALUE_BYTES: usize = 128;

    /// Whether nothing is claimed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.baggage.is_empty() && self.left_out == 0
    }

    /// Takes note of an address; those past the bound are counted only.
    pub fn address(&mut self, address: IpAddr) {
        match self.addresses.len() < Self::MAX_ADDRESSES {
            true => self.addresses.push(address),
            false => self.leave_out(),
        }
    }

    /// Counts a claim that cannot be kept.
    pub fn leave_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
    }

    /// Takes note of a member of baggage; what is past a bound, or is not printable ASCII
    /// without spaces, is counted only.
    pub fn baggage(&mut self, key: &str, value: &str) {
        let fits = |text: &str| {
            (1..=Self::MAX_VALUE_BYTES).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.baggage.len() < Self::MAX_BAGGAGE && fits(key) && fits(value) {
            self.baggage.insert(key.to_owned(), value.to_owned());
        } else {
            self.leave_out();
        }
    }
}

const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What an access that decides nothing yet would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CandidateAnswer {
    /// Its digest.
    pub access: String,
    /// Allowed or refused.
    pub effect: Effect,
    /// Why, in the code that a decision of its own would have.
    pub reason: String,
    /// Its policies that decide it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// The second entry: how it ended. Stored when the response has ended, failed or been
/// dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The record's identifier.
    pub id: RecordId,
    /// When it ended.
    pub time: Timestamp,
    /// Whose success or failure it was.
    pub class: OutcomeClass,
    /// How the response ended.
    pub finish: Finish,
    /// The HTTP status sent; absent if no head was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The gRPC status, where the API is gRPC and the trailers were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u8>,
    /// From arrival to the end, in microseconds.
    pub duration_us: u64,
    /// From arrival to the first byte of the response's body, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    /// Bytes of the request's body that were forwarded.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Input tokens, where the API reports them. Each of these counts is the API's own:
    /// some count cached tokens here as well, and some do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u64>,
    /// Output tokens, where the API reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
    /// All tokens, where the API reports a sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_total: Option<u64>,
    /// Input tokens that were read from a cache, where the API reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_cached: Option<u64>,
    /// Input tokens that were written to a cache, where the API reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_cache_written: Option<u64>,
    /// Output tokens of reasoning, where the API reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_reasoning: Option<u64>,
    /// Input tokens of tools that the API ran, where it reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_tools: Option<u64>,
    /// Units of search, where a reranker reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_units: Option<u64>,
    /// The model that answered, where the API reports it: the model's server says so, and
    /// it may spell what was asked for in another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
    /// Whose failure the answer reports, if the request was forwarded and it reports one;
    /// that of a refusal stands in its decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Why it was not done, or was broken off, though it was allowed: a stable code. Of a refusal
    /// within a conversation it is the refusal's; Spanner's own API says so of steps that nobody
    /// may take as things stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the API calls the failure that its answer reports, in one word of its own
    /// (`overloaded_error`, `throttlingException`); never its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
}

impl Outcome {
    /// The longest [`error_type`](Self::error_type) that is kept, in bytes: those that APIs
    /// document are shorter.
    pub const MAX_ERROR_TYPE_BYTES: usize = 64;

    /// Whether a text is a name of an error, and nothing that somebody wrote to somebody: a
    /// letter, then letters, digits and `._-:#/`.
    #[must_use]
    pub fn is_error_type(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-:#/".contains(&b);
        text.len() <= Self::MAX_ERROR_TYPE_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(plain)
    }

    /// The outcome of a request whose process ended before it did: nothing is known of it
    /// but that. For a ledger to write on reopening; `time` is when it was reopened.
    #[must_use]
    pub const fn crashed(id: RecordId, time: Timestamp) -> Self {
        Self {
            id,
            time,
            class: OutcomeClass::Unknown,
            finish: Finish::Crash,
            status: None,
            grpc_status: None,
            duration_us: 0,
            first_byte_us: None,
            bytes_in: 0,
            bytes_out: 0,
            tokens_in: None,
            tokens_out: None,
            tokens_total: None,
            tokens_cached: None,
            tokens_cache_written: None,
            tokens_reasoning: None,
            tokens_tools: None,
            search_units: None,
            served: None,
            fault: None,
            reason: None,
            error_type: None,
        }
    }
}

/// Whose success or failure an outcome was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutcomeClass {
    /// It was served.
    Ok,
    /// It was refused by the guard.
    Refused,
    /// The model's server failed: 5xx, or a failure that its answer reports within a 200.
    ModelFailed,
    /// The model's server found fault with the request: 4xx.
    CallerError,
    /// The client went away before the end.
    ClientLeft,
    /// The guard failed after it had allowed the request.
    GuardFailed,
    /// The process ended before the request did; written on reopening.
    Unknown,
}

impl OutcomeClass {
    /// The word that records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::ModelFailed => "model_failed",
            Self::CallerError => "caller_error",
            Self::ClientLeft => "client_left",
            Self::GuardFailed => "guard_failed",
            Self::Unknown => "unknown",
        }
    }
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// To its end.
    Complete,
    /// The client went away.
    ClientLeft,
    /// The model's server broke it off.
    ModelFailed,
    /// The model's server did not answer in time.
    TimedOut,
    /// The guard broke it off: a message of the stream was refused, or the credential or the
    /// permission ended while it lasted.
    Refused,
    /// Something panicked.
    Panicked,
    /// The process ended first.
    Crash,
}

/// A principal as records spell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PrincipalEntry {
    /// The issuer's alias.
    pub issuer: String,
    /// The kind of party.
    pub kind: CallerKind,
    /// The issuer's identifier for it.
    pub subject: String,
}

impl PrincipalEntry {
    /// Writes who acts, and for whom, given the actors, the current one first:
    /// `agent:corp/copilot for user:corp/ann`, or the subject alone.
    pub fn through<'a>(&'a self, actors: &'a [Self]) -> impl fmt::Display + 'a {
        Acting {
            actor: actors.first(),
            subject: self,
        }
    }
}

/// `user:corp/ann`, as manifests write it. A subject with blanks is quoted, so that it cannot be
/// read as the words around it.
impl fmt::Display for PrincipalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            issuer,
            kind,
            subject,
        } = self;
        match subject.contains(char::is_whitespace) {
            true => write!(f, "{kind}:{issuer}/\"{}\"", subject.replace('"', "'")),
            false => write!(f, "{kind}:{issuer}/{subject}"),
        }
    }
}

/// `agent:corp/copilot for user:corp/ann`.
impl fmt::Display for CallerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject.through(&self.actors).fmt(f)
    }
}

/// A caller as records keep it: enough to decide again, never enough to call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallerEntry {
    /// On whose behalf.
    #[serde(flatten)]
    pub subject: PrincipalEntry,
    /// The actors, the current one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<PrincipalEntry>,
    /// A finer kind, where the provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The OAuth client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The subject's groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether these are all.
    pub groups_complete: bool,
    /// The subject's roles at the issuer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The subject's tenant at the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The OAuth scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Assurance of the sign-in, 0 to 3.
    pub assurance: u8,
    /// How long ago the person signed in, in seconds; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_age_s: Option<u64>,
    /// The token's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// The session at the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The first 16 bytes of the token's SHA-256, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
    /// The key that signed the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The token's age on arrival, in seconds; 0 if that is unknown.
    pub token_age_s: u64,
    /// Whether it is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_age_unknown: bool,
    /// The age from which on it is refused, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_max_age_s: Option<u64>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<Timestamp>,
    /// Where it stands in its permitted age.
    pub freshness: Freshness,
}

/// A credential that was refused: enough to find it, never enough to use it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CredentialEntry {
    /// Whose it is, if it is genuine. That is not who sent it: it may be stolen, revoked or
    /// out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PrincipalEntry>,
    /// The OAuth client that got it, if it is genuine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Its identifier, if it is genuine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// The first 16 bytes of its SHA-256, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
    /// The key that signed it, if it is genuine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

impl CredentialEntry {
    /// A credential of which only the hash is known.
    #[must_use]
    pub fn hashed(token_hash: impl Into<String>) -> Self {
        Self {
            token_hash: Some(token_hash.into()),
            ..Self::default()
        }
    }

    /// The credential that made somebody a caller.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        let credential = caller.credential();
        Self {
            owner: Some(PrincipalEntry::from(&caller.subject().principal)),
            client: caller.client().map(str::to_owned),
            token_id: credential.token_id.clone(),
            token_hash: credential.token_hash.clone(),
            key_id: credential.key_id.clone(),
        }
    }
}

/// One action on one resource, as records spell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PairEntry {
    /// What was to be done.
    pub action: Action,
    /// The model asked for; absent for the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The revision asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The promotion under which the model is served here: who approved this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionId>,
}

impl From<&Principal> for PrincipalEntry {
    fn from(principal: &Principal) -> Self {
        Self {
            issuer: principal.issuer.to_string(),
            kind: principal.kind,
            subject: principal.subject.to_string(),
        }
    }
}

impl CallerEntry {
    /// What the record keeps of a caller at a time.
    #[must_use]
    pub fn of(caller: &Caller, now: Timestamp) -> Self {
        let credential = caller.credential();
        Self {
            subject: PrincipalEntry::from(&caller.subject().principal),
            actors: caller
                .actor()
                .map(|party| &party.principal)
                .into_iter()
                .chain(caller.chain())
                .map(PrincipalEntry::from)
                .collect(),
            origin: caller.origin().map(str::to_owned),
            client: caller.client().map(str::to_owned),
            groups: caller
                .subject()
                .groups
                .iter()
                .map(|group| group.name.to_string())
                .collect(),
            groups_complete: caller.groups_complete(),
            roles: caller
                .subject()
                .roles
                .iter()
                .map(|role| role.name.to_string())
                .collect(),
            tenant: caller.tenant().map(str::to_owned),
            scopes: caller.scopes().to_vec(),
            assurance: caller.assurance(),
            auth_age_s: Context::of(caller, now).auth_age.map(|age| age.as_secs()),
            token_id: credential.token_id.clone(),
            session: credential.session.clone(),
            token_hash: credential.token_hash.clone(),
            key_id: credential.key_id.clone(),
            token_age_s: credential.age(now).as_secs(),
            token_age_unknown: credential.issued_at.is_none(),
            token_max_age_s: credential.max_age.map(|age| age.as_secs()),
            token_expires: credential.expires_at,
            freshness: credential.freshness,
        }
    }
}

impl From<&Pair> for PairEntry {
    fn from(pair: &Pair) -> Self {
        let (model, revision) = match &pair.resource {
            Resource::Model { name, revision } => (
                Some(name.to_string()),
                revision.as_ref().map(ToString::to_string),
            ),
            Resource::Server => (None, None),
        };
        Self {
            action: pair.action,
            model,
            revision,
            promotion: None,
        }
    }
}
