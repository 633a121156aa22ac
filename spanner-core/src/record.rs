//! The record of a request: two entries, a [`Decision`] and an [`Outcome`], with the same id.
//!
//! A decision for another enforcement point ([`Enforcement::External`]) is a complete record by
//! itself, because only that point knows the outcome.
//!
//! A ledger stores these types and auditors read them, so they are part of the compatibility
//! promise: fields are added, never changed or removed.
//!
//! **Context, not payloads.** No field can hold a prompt, a completion, a raw path, a query, a
//! header or a claim map. The only texts that callers choose are names, which are bounded and
//! checked when they are parsed.
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

/// The first entry: the caller, the target, the environment, and whether the request is allowed. It
/// is stored before the inner service is called or the refusal is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// The record's identifier; the reply carries it as `spanner-decision`.
    pub id: RecordId,
    /// Who enforces the decision; absent in JSON if the guard does, which then owes an outcome. It
    /// is serialized directly after the identifier, where a ledger finds it without parsing.
    #[serde(default, skip_serializing_if = "Enforcement::is_inline")]
    pub enforcement: Enforcement,
    /// For a further model on a stream: the record of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RecordId>,
    /// When the request arrived.
    pub time: Timestamp,
    /// The configured name of the service.
    pub service: String,
    /// The configured name of the process, if the service has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The environment of the request.
    pub environment: String,
    /// The caller; absent if nobody was identified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<CallerEntry>,
    /// The refused credential; absent if it identified a caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialEntry>,
    /// The requested actions on resources; empty if they could not be resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<PairEntry>,
    /// The model API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surface: Option<String>,
    /// The route's template, never the path of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Allowed or refused.
    pub effect: Effect,
    /// The reason, as a stable code: `granted`; `admitted`, if the route is open to every
    /// authenticated caller, so that no authorizer was asked; or the code of the refusal.
    pub reason: String,
    /// For a refusal: whose failure it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// If permissions are missing: the party that is denied.
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
    /// The decision of a candidate access, if it differs from that of the access in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateAnswer>,
    /// The digest of the access that decided; absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// The request's identifier at the proxy in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The trace (W3C Trace Context) that the request is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The address at the other end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// What the client states and nobody verified. It decides nothing.
    #[serde(default, skip_serializing_if = "Asserted::is_empty")]
    pub asserted: Asserted,
}

/// Who enforces a decision, and therefore knows its outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Enforcement {
    /// The guard: it forwards or refuses the request itself. The record gets exactly one
    /// outcome.
    #[default]
    Inline,
    /// Another policy enforcement point, such as a gateway, which asked the guard for the decision.
    /// The record is complete without an outcome, and has one only if that point reports it.
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

/// What a client states and nobody verified, separate from verified facts. It never identifies a
/// caller, and never decides anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Asserted {
    /// The addresses that forwarding headers name, the one nearest to the caller first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The members of W3C Baggage whose keys the operator asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baggage: BTreeMap<String, String>,
    /// How many more of these were sent and are left out, because they exceed a limit or are
    /// malformed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

impl Asserted {
    /// The most addresses that are recorded of one request: more than there are proxies on any
    /// path.
    pub const MAX_ADDRESSES: usize = 8;
    /// The most members of baggage that are recorded of one request: more than an operator asks
    /// for.
    pub const MAX_BAGGAGE: usize = 16;
    /// The longest key or value of baggage, in bytes: enough for a name or an identifier.
    pub const MAX_VALUE_BYTES: usize = 128;

    /// Whether the client stated nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.baggage.is_empty() && self.left_out == 0
    }

    /// Adds an address. Addresses beyond the limit are only counted.
    pub fn address(&mut self, address: IpAddr) {
        match self.addresses.len() < Self::MAX_ADDRESSES {
            true => self.addresses.push(address),
            false => self.leave_out(),
        }
    }

    /// Counts a statement that is not recorded.
    pub fn leave_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
    }

    /// Adds a member of baggage. A member that exceeds a limit, or is not printable ASCII without
    /// spaces, is only counted.
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

/// What a candidate access would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CandidateAnswer {
    /// Its digest.
    pub access: String,
    /// Allowed or refused.
    pub effect: Effect,
    /// The reason code that its decision would have.
    pub reason: String,
    /// The policies that decided it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// The second entry: how the request ended. It is stored when the response has ended, failed or
/// been dropped.
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
    /// Search units, where a reranker reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_units: Option<u64>,
    /// The model that answered, where the API reports it. The model's server may spell it
    /// differently from the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
    /// Whose failure the response reports, if the request was forwarded and failed. The fault of a
    /// refusal is in its decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Why an allowed request was not carried out or was broken off: a stable code. For a refusal
    /// within a conversation it is the code of the refusal. Spanner's own API sets it for steps
    /// that are not possible in the present state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The API's word for the failure that the response reports (`overloaded_error`,
    /// `throttlingException`), never the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
}

impl Outcome {
    /// The longest [`error_type`](Self::error_type) that is recorded, in bytes. Those that APIs
    /// document are shorter.
    pub const MAX_ERROR_TYPE_BYTES: usize = 64;

    /// Whether a text has the form of an error's name, so that it cannot be a message: a letter,
    /// then letters, digits and `._-:#/`.
    #[must_use]
    pub fn is_error_type(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-:#/".contains(&b);
        text.len() <= Self::MAX_ERROR_TYPE_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(plain)
    }

    /// The outcome of a request that was open when the process ended. A ledger writes it when it is
    /// reopened, at `time`.
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
    /// The request was served.
    Ok,
    /// The guard refused the request.
    Refused,
    /// The model's server failed: 5xx, or a failure that is reported within a 200.
    ModelFailed,
    /// The model's server rejected the request: 4xx.
    CallerError,
    /// The client left before the end.
    ClientLeft,
    /// The guard failed after it had allowed the request.
    GuardFailed,
    /// The process ended before the request did. Written when the ledger is reopened.
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
    /// It was sent completely.
    Complete,
    /// The client left.
    ClientLeft,
    /// The model's server broke it off.
    ModelFailed,
    /// The model's server did not answer in time.
    TimedOut,
    /// The guard broke it off: a message of the stream was refused, or the credential or the
    /// permission ended during it.
    Refused,
    /// The code that handled it panicked.
    Panicked,
    /// The process ended first.
    Crash,
}

/// A principal in a record.
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
    /// Displays the first of the actors, which is the current one, and the subject:
    /// `agent:corp/copilot for user:corp/ann`, or the subject alone.
    pub fn through<'a>(&'a self, actors: &'a [Self]) -> impl fmt::Display + 'a {
        Acting {
            actor: actors.first(),
            subject: self,
        }
    }
}

/// `user:corp/ann`, as in manifests. A subject with blanks is quoted, so that it is not mistaken
/// for the words around it.
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

/// A caller in a record: enough to decide the request again, never enough to send one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallerEntry {
    /// The party on whose behalf the request is made.
    #[serde(flatten)]
    pub subject: PrincipalEntry,
    /// The actors, the current one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<PrincipalEntry>,
    /// A finer kind, if the provider states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The OAuth client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The subject's groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether these are all groups of the subject.
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
    /// The time since the person signed in, in seconds; absent if it is unknown.
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
    /// The token's age on arrival, in seconds; 0 if it is unknown.
    pub token_age_s: u64,
    /// Whether the token's age is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_age_unknown: bool,
    /// The greatest permitted age of the token, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_max_age_s: Option<u64>,
    /// When the token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<Timestamp>,
    /// How far it is through its permitted lifetime.
    pub freshness: Freshness,
}

/// A refused credential: enough to find it, never enough to use it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CredentialEntry {
    /// The owner, if the credential is genuine. The sender may be somebody else: the credential may
    /// be stolen, revoked or expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PrincipalEntry>,
    /// The OAuth client that obtained it, if it is genuine.
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
    /// A credential about which only the hash is known.
    #[must_use]
    pub fn hashed(token_hash: impl Into<String>) -> Self {
        Self {
            token_hash: Some(token_hash.into()),
            ..Self::default()
        }
    }

    /// The credential of a caller.
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

/// An action on a resource, in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PairEntry {
    /// The requested action.
    pub action: Action,
    /// The requested model; absent for the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The requested revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The promotion under which the model is served in the environment. Its approvals tell who
    /// permitted that.
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
    /// What the record stores about a caller at a time.
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
