//! Refusals: why a request is not served, for two audiences.
//!
//! 1. The auditor reads [`Refusal::code`], one of a few dozen stable codes, in the record.
//! 2. The caller learns a [`Notice`]: whose fault it is ([`Fault`]), a status, a message
//!    and advice. All tokens that are not proved genuine get the same notice, so that a forger
//!    learns nothing. The holder of a genuine token learns the reason.
//!
//! Each mapping is one exhaustive `match`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::name::{Environment, NameError};
use crate::party::Principal;
use crate::target::{Pair, Resource};
use crate::verdict::{Advice, StepUp, VerdictReason};

/// The part that failed, as a stable word: the header `spanner-fault` in responses, `fault` in
/// records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The credential is missing, malformed or not accepted.
    Credential,
    /// The caller lacks the permission.
    Permission,
    /// A policy could not be evaluated, so the request is denied.
    PolicyError,
    /// No surface has a route for this method and path.
    UnknownRoute,
    /// The request is malformed, or could be read in two ways.
    AmbiguousRequest,
    /// The model's server failed.
    Model,
    /// The model's server did not answer in time.
    ModelTimeout,
    /// The guard could not decide or record the request, or the request exceeds a share. Neither
    /// the model nor the permissions are the cause, and the request may be sent again later. If the
    /// share is the caller's own, the status is 429 and the code `too_many_requests`.
    GuardUnavailable,
}

impl Fault {
    /// The word of this fault.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Permission => "permission",
            Self::PolicyError => "policy_error",
            Self::UnknownRoute => "unknown_route",
            Self::AmbiguousRequest => "ambiguous_request",
            Self::Model => "model",
            Self::ModelTimeout => "model_timeout",
            Self::GuardUnavailable => "guard_unavailable",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The class of a response, with its HTTP status (RFC 9110 §15) and its gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// 400; gRPC 3 `INVALID_ARGUMENT`.
    BadRequest,
    /// 400; gRPC 16 `UNAUTHENTICATED`: the credential is not sent in the required form.
    BadCredentials,
    /// 401; gRPC 16 `UNAUTHENTICATED`.
    Unauthorized,
    /// 403; gRPC 7 `PERMISSION_DENIED`.
    Forbidden,
    /// 408; gRPC 4 `DEADLINE_EXCEEDED`.
    RequestTimeout,
    /// 413; gRPC 8 `RESOURCE_EXHAUSTED`.
    TooLarge,
    /// 415; gRPC 3 `INVALID_ARGUMENT`.
    UnsupportedMedia,
    /// 415; gRPC 12 `UNIMPLEMENTED`: a message encoding that is not supported.
    Unimplemented,
    /// 429; gRPC 8 `RESOURCE_EXHAUSTED`: the caller already uses its share.
    TooMany,
    /// 503; gRPC 14 `UNAVAILABLE`.
    Unavailable,
}

impl Status {
    /// The HTTP status code.
    #[must_use]
    pub const fn http(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadCredentials => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::RequestTimeout => 408,
            Self::TooLarge => 413,
            Self::UnsupportedMedia | Self::Unimplemented => 415,
            Self::TooMany => 429,
            Self::Unavailable => 503,
        }
    }

    /// The gRPC status code.
    #[must_use]
    pub const fn grpc(self) -> u8 {
        match self {
            Self::BadRequest | Self::UnsupportedMedia => 3,
            Self::RequestTimeout => 4,
            Self::Forbidden => 7,
            Self::TooLarge | Self::TooMany => 8,
            Self::Unimplemented => 12,
            Self::Unavailable => 14,
            Self::BadCredentials | Self::Unauthorized => 16,
        }
    }
}

/// What is wrong with a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Obstacle {
    /// The request has no credential.
    Missing,
    /// It is not sent as RFC 6750 §2.1 requires, or there are several.
    Malformed,
    /// Two headers have different credentials. The fields are the names of the headers.
    Several(&'static str, &'static str),
    /// The authentication scheme is not accepted.
    UnsupportedScheme,
    /// The token is not accepted. Only the auditor learns the reason.
    Token(TokenFault),
    /// The token is genuine (its signature was verified, or its issuer knows it), and what it
    /// states is not accepted. Its holder learns the reason.
    Genuine {
        /// The reason.
        fault: TokenFault,
        /// The time in the token that is the reason, if there is one.
        time: Option<Timestamp>,
    },
    /// No rule of its issuer classifies the verified caller.
    Unclassified,
}

macro_rules! token_faults {
    ($($(#[$doc:meta])* $name:ident => $code:literal,)*) => {
        /// Why a token is not accepted; each has a stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum TokenFault { $($(#[$doc])* $name,)* }

        impl TokenFault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code, as records carry it.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

token_faults! {
    /// It is not three parts of strict base64url, or they are not JSON objects.
    Malformed => "token.malformed",
    /// Five parts: an encrypted token (RFC 7516).
    Encrypted => "token.is_jwe",
    /// Longer than the limit.
    TooLong => "token.too_long",
    /// The header is longer than the limit.
    HeaderTooLarge => "token.header_too_large",
    /// The header or the claims contain a JSON member twice.
    DuplicateMember => "token.duplicate_member",
    /// The algorithm is not in the issuer's list.
    AlgorithmNotAllowed => "token.alg_not_allowed",
    /// The header demands an extension (`crit`, `b64`).
    Critical => "token.crit",
    /// A token within a token (`cty: JWT`).
    Nested => "token.nested",
    /// The header points to a key elsewhere (`jku`, `x5u`), or is compressed (`zip`).
    HeaderParameter => "token.header_param",
    /// The issuer is not configured; issuers are compared byte for byte.
    Issuer => "token.iss",
    /// The token is not an access token.
    Type => "token.typ",
    /// The token is for another audience.
    Audience => "token.aud",
    /// The token was obtained by a client that is not on the issuer's list.
    AuthorizedParty => "token.authorized_party",
    /// A required claim is missing.
    MissingClaim => "token.missing_claim",
    /// A claim has the wrong JSON type.
    ClaimType => "token.claim_type",
    /// A claim has a value that is not accepted.
    ClaimValue => "token.claim_value",
    /// A claim has more or longer entries than the limit.
    ClaimLimit => "token.claim_limit",
    /// Past its `exp`.
    Expired => "token.expired",
    /// Before its `nbf`.
    NotYetValid => "token.not_yet_valid",
    /// Issued in the future.
    IssuedInFuture => "token.iat_future",
    /// Older than the issuer's `max_token_age`, or made to live longer than
    /// `max_token_lifetime`.
    Lifetime => "token.lifetime",
    /// No key of the issuer has this identifier.
    UnknownKey => "token.unknown_kid",
    /// The key cannot be used with this algorithm.
    KeyMismatch => "token.alg_key_mismatch",
    /// The signature does not verify.
    BadSignature => "token.bad_signature",
    /// The token does not list all groups, which is not accepted from this issuer.
    GroupsOverage => "token.groups_overage",
    /// The token has an actor, and delegation is not accepted from this issuer.
    DelegationNotAllowed => "token.delegation_not_allowed",
    /// The chain of actors is deeper than accepted.
    DelegationDepth => "token.delegation_depth",
    /// The chain of actors contains a principal twice.
    DelegationCycle => "token.delegation_cycle",
    /// The token is bound to a key of the sender, and the binding was not proved.
    ProofRequired => "token.pop_required",
    /// The proof is invalid, or is for another key, certificate, request or token.
    ProofInvalid => "token.pop_invalid",
    /// The proof was used before.
    ProofReplayed => "token.pop_replayed",
    /// The issuer answered that the token is not active (RFC 7662 §2.2).
    Inactive => "token.inactive",
    /// The token was revoked.
    Revoked => "token.revoked",
}

/// What is wrong with a request itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFault {
    /// The path is ambiguous: dot segments, `//`, encoded slashes and the like.
    Path,
    /// The target and the host disagree, or have the wrong form.
    Target,
    /// The body is not one JSON document in UTF-8.
    Json,
    /// A relevant JSON member occurs twice, or again in a different case.
    DuplicateMember,
    /// Two places of the request name different models.
    SelectorConflict,
    /// The value in the place of the model's name is not a name, for instance not a text.
    Model,
    /// The name of the model or of its revision is invalid.
    Name(NameError),
    /// The model's name has a character that no model name can have, for instance one that only
    /// looks like an ASCII letter. No such model is known.
    UnknownName {
        /// The character.
        character: char,
        /// Its byte offset.
        at: usize,
    },
    /// The gRPC path is not `/package.Service/Method`, or differs from a method in its case.
    Rpc,
    /// The request names no model, and none is configured for the route.
    NoModel,
    /// The request names a kind of object that cannot be resolved to a model.
    Opaque,
    /// More models than one request may touch.
    TooManyModels,
    /// The media type is not one of the route.
    ContentType,
    /// The charset is not UTF-8.
    Charset,
    /// The content encoding is not supported.
    Encoding,
    /// The body exceeds the limit up to which it is searched for the model's name.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The gRPC frame or protobuf message is malformed.
    Message,
    /// A relevant protobuf field occurs twice.
    DuplicateField,
    /// The message encoding is not supported.
    MessageEncoding,
    /// The form is malformed or ambiguous.
    Form,
    /// The commands of the git push are malformed, or signed.
    Push,
    /// The body ended before it was complete.
    Incomplete,
    /// The body did not arrive in time.
    Slow,
    /// The asking gateway did not forward the whole body, which names the model.
    Cut,
}

/// No surface has a route for this method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownRoute;

/// A party lacks a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// The party that lacks the permission.
    pub principal: Principal,
    /// Whether this party is the actor of the request.
    pub acting: bool,
    /// The denied action and resource.
    pub pair: Pair,
    /// The environment of the request.
    pub environment: Environment,
    /// The reason.
    pub reason: VerdictReason,
    /// What to do about it.
    pub advice: Advice,
}

/// A limit on the resources that one caller, or all callers together, may use. A request that
/// exceeds it is refused at once, so that others are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Share {
    /// The concurrent requests of one caller.
    Caller,
    /// The bytes of one caller's bodies that wait for a decision.
    CallerBytes,
    /// The bytes of all bodies that wait for a decision.
    Bytes,
    /// The concurrent requests of one connection to public routes.
    Connection,
    /// The requests of all callers that wait for a decision.
    Requests,
    /// The concurrent requests to public routes of an upstream.
    Public,
    /// The concurrent requests of one caller at an upstream for which others wait.
    Upstream,
}

impl Share {
    /// The stable code, as records carry it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Caller => "share.caller",
            Self::CallerBytes => "share.caller_bytes",
            Self::Bytes => "share.bytes",
            Self::Connection => "share.connection",
            Self::Requests => "share.requests",
            Self::Public => "share.public",
            Self::Upstream => "share.upstream",
        }
    }

    /// One sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Caller => "you have as many requests under way as one caller may have",
            Self::CallerBytes => {
                "as many bytes of your requests wait for a decision as one caller may have"
            }
            Self::Bytes => "too many bytes of all callers' requests wait for a decision",
            Self::Connection => "this connection has too many requests to public routes under way",
            Self::Requests => "too many requests of all callers wait for a decision",
            Self::Public => {
                "too many requests to public routes of the model's server are under way"
            }
            Self::Upstream => {
                "you have your share of the model's server, and the rest is kept for other callers"
            }
        }
    }

    /// 429 if the share is the caller's own, 503 if all callers have it together.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Caller | Self::CallerBytes | Self::Connection | Self::Upstream => Status::TooMany,
            Self::Bytes | Self::Requests | Self::Public => Status::Unavailable,
        }
    }

    /// What to do about it, in one sentence.
    pub const ADVICE: &'static str = "let some of them end, and try again";
    /// When to try again, in seconds: most requests are shorter than that.
    pub const RETRY_AFTER: u64 = 1;
}

/// What the guard could not do, which is neither the caller's nor the model's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// Admit the request without exceeding a share.
    Share(Share),
    /// Get the issuer's keys.
    Keys {
        /// When to try again, if that is known.
        retry_after: Option<Duration>,
    },
    /// Ask the issuer about an opaque token.
    Introspection {
        /// When to try again, if that is known.
        retry_after: Option<Duration>,
    },
    /// Remember that a proof was used, because too many are remembered already.
    Proofs,
    /// Identify the caller, because another guard around this one removed the credential.
    Stacked,
    /// Get a decision, because no access is in force, or its answers do not match the questions.
    Access,
    /// Record the decision: the sink had no room, or it was not durable in time.
    Record,
    /// Finish: the request ended within the guard (a panic, a shutdown, a client that
    /// disconnected).
    Abandoned,
}

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The credential.
    Credential(Obstacle),
    /// The request itself.
    Request(RequestFault),
    /// The route.
    Route(UnknownRoute),
    /// The permissions.
    Permission(Box<Denial>),
    /// The guard.
    Unavailable(Outage),
}

/// The response to the caller, without its transport.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// The class of the reply.
    pub status: Status,
    /// Whose failure it is.
    pub fault: Fault,
    /// A stable word for programs: an RFC 6750 error code where there is one.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
    /// What to do, in one sentence.
    pub advice: String,
    /// What a `WWW-Authenticate` challenge says, if there is one.
    pub challenge: Option<Challenge>,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
}

/// What a challenge asks of the next credential (RFC 6750 §3), apart from the realm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Challenge {
    /// The error code; `None` where there was no credential (RFC 6750 §3.1).
    pub error: Option<&'static str>,
    /// The sign-in that is asked for (RFC 9470 §3).
    pub step_up: Option<StepUp>,
    /// The scopes that are asked for (RFC 6750 §3); empty: none in particular.
    pub scopes: Vec<String>,
}

impl Challenge {
    /// A challenge with an error code.
    #[must_use]
    pub const fn new(error: Option<&'static str>) -> Self {
        Self {
            error,
            step_up: None,
            scopes: Vec::new(),
        }
    }
}

impl Refusal {
    /// Seconds that a caller is asked to wait when nothing better is known: a restart takes about
    /// as long.
    pub const RETRY_AFTER: u64 = 5;

    /// The stable code, as records carry it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Credential(obstacle) => match obstacle {
                Obstacle::Missing => "auth.missing",
                Obstacle::Malformed | Obstacle::Several(..) => "auth.malformed",
                Obstacle::UnsupportedScheme => "auth.unsupported_scheme",
                Obstacle::Token(fault) | Obstacle::Genuine { fault, .. } => fault.code(),
                Obstacle::Unclassified => "auth.unclassified",
            },
            Self::Request(fault) => match fault {
                RequestFault::Path => "request.bad_path",
                RequestFault::Target => "request.bad_target",
                RequestFault::Json => "request.bad_json",
                RequestFault::DuplicateMember => "request.duplicate_member",
                RequestFault::SelectorConflict => "request.selector_conflict",
                RequestFault::Model | RequestFault::Name(_) => "request.bad_model",
                RequestFault::UnknownName { .. } => "authz.no_permit",
                RequestFault::Rpc => "route.unmapped",
                RequestFault::NoModel => "request.no_model",
                RequestFault::Opaque => "request.opaque",
                RequestFault::TooManyModels => "request.too_many_models",
                RequestFault::ContentType => "request.bad_content_type",
                RequestFault::Charset => "request.bad_charset",
                RequestFault::Encoding | RequestFault::MessageEncoding => "request.encoding",
                RequestFault::TooLarge { .. } => "request.too_large",
                RequestFault::Message => "request.bad_message",
                RequestFault::DuplicateField => "request.duplicate_field",
                RequestFault::Form => "request.bad_form",
                RequestFault::Push => "request.bad_push",
                RequestFault::Incomplete => "request.incomplete",
                RequestFault::Slow => "request.slow",
                RequestFault::Cut => "request.cut",
            },
            Self::Route(UnknownRoute) => "route.unmapped",
            Self::Permission(denial) => match denial.reason {
                VerdictReason::Granted | VerdictReason::NoGrant => "authz.no_permit",
                VerdictReason::Forbidden if denial.advice.step_up.is_some() => "authz.step_up",
                VerdictReason::Forbidden if !denial.advice.scopes.is_empty() => {
                    "authz.insufficient_scope"
                }
                VerdictReason::Forbidden => "authz.forbidden",
                VerdictReason::PolicyError => "authz.policy_error",
                VerdictReason::NotApplicable => "authz.request_invalid",
            },
            Self::Unavailable(outage) => match outage {
                Outage::Share(share) => share.code(),
                Outage::Keys { .. } => "keys.unavailable",
                Outage::Introspection { .. } => "introspection.unavailable",
                Outage::Proofs => "proofs.unavailable",
                Outage::Stacked => "guard.stacked",
                Outage::Access => "policy.unavailable",
                Outage::Record => "audit.unavailable",
                Outage::Abandoned => "guard.abandoned",
            },
        }
    }

    /// Whose failure it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Credential(_) => Fault::Credential,
            Self::Request(fault) => fault.fault(),
            Self::Route(_) => Fault::UnknownRoute,
            Self::Permission(denial) => match denial.reason {
                VerdictReason::PolicyError => Fault::PolicyError,
                VerdictReason::Granted
                | VerdictReason::NoGrant
                | VerdictReason::Forbidden
                | VerdictReason::NotApplicable => Fault::Permission,
            },
            Self::Unavailable(_) => Fault::GuardUnavailable,
        }
    }

    /// The response to the caller.
    #[must_use]
    pub fn notice(&self) -> Notice {
        match self {
            Self::Credential(obstacle) => obstacle.notice(),
            Self::Request(fault) => fault.notice(),
            Self::Route(UnknownRoute) => Notice {
                status: Status::Forbidden,
                fault: Fault::UnknownRoute,
                code: "unknown_route",
                message: "this method and path are not part of any model API served here".into(),
                advice: "check the method and the path; whoever runs this service decides which APIs it serves"
                    .into(),
                challenge: None,
                retry_after: None,
            },
            Self::Permission(denial) => denial.notice(),
            Self::Unavailable(outage) => outage.notice(),
        }
    }
}

impl Obstacle {
    fn notice(self) -> Notice {
        let notice = |status, code, message: &str, advice: &str, challenge| Notice {
            status,
            fault: Fault::Credential,
            code,
            message: message.into(),
            advice: advice.into(),
            challenge: Some(Challenge::new(challenge)),
            retry_after: None,
        };
        match self {
            Self::Missing | Self::UnsupportedScheme => notice(
                Status::Unauthorized,
                "unauthenticated",
                "this endpoint needs an access token, and the request carries none",
                "send `Authorization: Bearer <token>` with a token from an identity provider that this service accepts",
                None,
            ),
            Self::Malformed => notice(
                Status::BadCredentials,
                "invalid_request",
                "the credential is not transported as it must be",
                "send exactly one `Authorization: Bearer <token>` header",
                Some("invalid_request"),
            ),
            Self::Several(first, second) => notice(
                Status::BadCredentials,
                "invalid_request",
                &format!("the headers `{first}` and `{second}` carry different credentials"),
                "send the token in one of them only",
                Some("invalid_request"),
            ),
            Self::Token(_) => notice(
                Status::Unauthorized,
                "invalid_token",
                "the access token is not accepted: it is malformed, expired, revoked, or meant for another service",
                "get a fresh token for this service; if that does not help, ask the operator, who finds the reason in the record",
                Some("invalid_token"),
            ),
            Self::Genuine { fault, time } => {
                let (message, advice) = fault.told(time);
                notice(
                    Status::Unauthorized,
                    "invalid_token",
                    &message,
                    advice,
                    Some("invalid_token"),
                )
            }
            Self::Unclassified => Notice {
                status: Status::Forbidden,
                challenge: None,
                ..notice(
                    Status::Forbidden,
                    "unclassified",
                    "the access token is genuine, but says neither a person nor a service nor an agent",
                    "ask whoever runs this service to say how your provider's tokens are classified",
                    None,
                )
            },
        }
    }
}

impl TokenFault {
    /// The message and the advice to the holder of a genuine token.
    fn told(self, time: Option<Timestamp>) -> (String, &'static str) {
        const FRESH: &str = "get a fresh token";
        const OTHER: &str = "get a token for this service, in the way that its operator names";
        let at = |before: &str, after: &str| match time {
            Some(time) => format!("{before} {time}{after}"),
            None => before.trim_end_matches(" at").to_owned() + after,
        };
        match self {
            Self::Expired => (at("the access token expired at", ""), FRESH),
            Self::NotYetValid => (
                at("the access token is not valid yet: it begins at", ""),
                "wait until then, or correct the clock of whoever issued it",
            ),
            Self::IssuedInFuture => (
                at("the access token says that it was issued at", ", which is in the future here"),
                "correct the clock of whoever issued it",
            ),
            Self::Lifetime => (
                "the access token is older, or made to live longer, than is accepted here".into(),
                FRESH,
            ),
            Self::Audience => ("the access token is meant for another audience".into(), OTHER),
            Self::AuthorizedParty => (
                "the access token was issued to a client that is not accepted here".into(),
                OTHER,
            ),
            Self::Type => (
                "the token is of another type than an access token".into(),
                "send the access token, not the ID token or another",
            ),
            Self::Revoked => ("the access token was revoked".into(), FRESH),
            Self::GroupsOverage => (
                "the access token does not list all groups".into(),
                "ask the operator how tokens of your provider can list them",
            ),
            Self::DelegationNotAllowed | Self::DelegationDepth | Self::DelegationCycle => (
                "the access token says that somebody acts for its subject in a way that is not accepted here".into(),
                "get a token without that delegation, or ask the operator",
            ),
            Self::ProofRequired => (
                "the access token is bound to a key or certificate of its holder, and that was not proved".into(),
                "send the proof with it, by `DPoP` or the client's certificate",
            ),
            Self::ProofInvalid | Self::ProofReplayed => (
                "the proof of possession beside the access token is not accepted".into(),
                "make a proof of its own for each request, with the key of the token",
            ),
            Self::Malformed
            | Self::Encrypted
            | Self::TooLong
            | Self::HeaderTooLarge
            | Self::DuplicateMember
            | Self::AlgorithmNotAllowed
            | Self::Critical
            | Self::Nested
            | Self::HeaderParameter
            | Self::Issuer
            | Self::MissingClaim
            | Self::ClaimType
            | Self::ClaimValue
            | Self::ClaimLimit
            | Self::UnknownKey
            | Self::KeyMismatch
            | Self::BadSignature
            | Self::Inactive => (
                "the access token is genuine, and what it says is not accepted here".into(),
                "ask the operator, who finds the reason in the record",
            ),
        }
    }
}

impl RequestFault {
    const fn fault(&self) -> Fault {
        match self {
            Self::UnknownName { .. } => Fault::Permission,
            Self::Rpc => Fault::UnknownRoute,
            Self::Path
            | Self::Target
            | Self::Json
            | Self::DuplicateMember
            | Self::SelectorConflict
            | Self::Model
            | Self::Name(_)
            | Self::NoModel
            | Self::Opaque
            | Self::TooManyModels
            | Self::ContentType
            | Self::Charset
            | Self::Encoding
            | Self::TooLarge { .. }
            | Self::Message
            | Self::DuplicateField
            | Self::MessageEncoding
            | Self::Form
            | Self::Push
            | Self::Incomplete
            | Self::Slow
            | Self::Cut => Fault::AmbiguousRequest,
        }
    }

    fn notice(&self) -> Notice {
        let (status, message, advice): (Status, String, &str) = match self {
            Self::Path => (
                Status::BadRequest,
                "the path could be read in more than one way".into(),
                "send the canonical path: no `//`, no dot segments, no encoded slashes or letters",
            ),
            Self::Target => (
                Status::BadRequest,
                "the request target and the host disagree".into(),
                "send one host, the same in the target and in the `Host` header",
            ),
            Self::Json => (
                Status::BadRequest,
                "the body is not one JSON document in UTF-8".into(),
                "send one JSON object without a byte order mark or anything after it",
            ),
            Self::DuplicateMember => (
                Status::BadRequest,
                "a member of the JSON body stands twice, or in other letters (`Model` for `model`) that some servers read as well".into(),
                "send each member once, as the API spells it",
            ),
            Self::SelectorConflict => (
                Status::BadRequest,
                "two places of the request name different models".into(),
                "name one model, the same everywhere",
            ),
            Self::Model => (
                Status::BadRequest,
                "the model's name is not a name".into(),
                "send it as a non-empty string of letters, digits and `-._:@+=/~`",
            ),
            Self::Name(error) => (
                Status::BadRequest,
                format!("the model's name is not a name: {error}"),
                "send letters, digits and `-._:@+=/~`; a server that calls its model otherwise can be told another name",
            ),
            Self::UnknownName { character, at } => (
                Status::Forbidden,
                format!(
                    "no model of this name may be used here: it has {} (at byte {at})",
                    shown(*character)
                ),
                "write the model's name in ASCII: letters, digits and `-._:@+=/~`",
            ),
            Self::Rpc => (
                Status::Unimplemented,
                "this is not the path of a gRPC method".into(),
                "call `/package.Service/Method` exactly as its protocol spells it",
            ),
            Self::NoModel => (
                Status::Forbidden,
                "the request names no model, and none is configured for this route".into(),
                "name the model",
            ),
            Self::Opaque => (
                Status::Forbidden,
                "what the request names cannot be traced to a model".into(),
                "use a route that names the model",
            ),
            Self::TooManyModels => (
                Status::BadRequest,
                "the request touches too many models".into(),
                "split it",
            ),
            Self::ContentType => (
                Status::UnsupportedMedia,
                "the content type is not the one of this route".into(),
                "send the `Content-Type` that this API documents",
            ),
            Self::Charset => (
                Status::UnsupportedMedia,
                "the charset is not UTF-8".into(),
                "send the body in UTF-8",
            ),
            Self::Encoding => (
                Status::UnsupportedMedia,
                "the body's content encoding is not accepted".into(),
                "send the body without `Content-Encoding`, or once with gzip, deflate or zstd",
            ),
            Self::MessageEncoding => (
                Status::Unimplemented,
                "the message encoding is not accepted".into(),
                "send messages uncompressed or with `grpc-encoding: gzip`",
            ),
            Self::TooLarge { limit } => (
                Status::TooLarge,
                format!("the body exceeds the {limit} bytes that are read to find the model"),
                "name the model before what is large, or send a smaller body",
            ),
            Self::Message => (
                Status::BadRequest,
                "the gRPC message is malformed".into(),
                "send well-formed, length-prefixed protobuf messages",
            ),
            Self::DuplicateField => (
                Status::BadRequest,
                "the field that names the model stands twice in one message".into(),
                "send it once",
            ),
            Self::Form => (
                Status::BadRequest,
                "the form could be read in more than one way".into(),
                "name each field once and plainly, the purpose before the file, and nothing before the first or after the last boundary",
            ),
            Self::Push => (
                Status::BadRequest,
                "the commands of the push cannot be read".into(),
                "push with git's smart protocol, unsigned (`push.gpgSign=false`)",
            ),
            Self::Incomplete => (
                Status::BadRequest,
                "the body broke off".into(),
                "send the whole body",
            ),
            Self::Slow => (
                Status::RequestTimeout,
                "the body did not arrive in time".into(),
                "send the body without pauses",
            ),
            Self::Cut => (
                Status::TooLarge,
                "the gateway in front passed on only a part of the body, and the model is named in the body".into(),
                "send a smaller body, or ask whoever runs the gateway to pass on whole bodies",
            ),
        };
        let code = match self.fault() {
            Fault::Permission => "permission_denied",
            Fault::UnknownRoute => "unknown_route",
            _ => "invalid_request",
        };
        Notice {
            status,
            fault: self.fault(),
            code,
            message,
            advice: advice.into(),
            challenge: None,
            retry_after: None,
        }
    }
}

/// A character by its code point: by its looks it could be another one.
fn shown(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

impl Denial {
    fn notice(&self) -> Notice {
        let Self {
            principal,
            pair,
            environment,
            ..
        } = self;
        let who = if self.acting {
            format!("`{principal}`, who acts for another party here,")
        } else {
            format!("`{principal}`")
        };
        let what = match &pair.resource {
            model @ Resource::Model { .. } => format!("`{model}`"),
            Resource::Server => "this server".to_owned(),
        };
        let mut message = format!("{who} may not {} on {what} in `{environment}`", pair.action);
        if let Some(reason) = &self.advice.reason {
            message.push_str(": ");
            message.push_str(reason);
        } else if let Some(role) = &self.advice.role {
            message.push_str(&format!(": it lacks the role `{role}`"));
        }
        Notice {
            status: match self.advice.step_up {
                Some(_) => Status::Unauthorized,
                None => Status::Forbidden,
            },
            fault: match self.reason {
                VerdictReason::PolicyError => Fault::PolicyError,
                VerdictReason::Granted
                | VerdictReason::NoGrant
                | VerdictReason::Forbidden
                | VerdictReason::NotApplicable => Fault::Permission,
            },
            code: self.error().unwrap_or("permission_denied"),
            message,
            advice: self.what_to_do(),
            challenge: self.error().map(|error| Challenge {
                error: Some(error),
                step_up: self.advice.step_up.clone(),
                scopes: self.advice.scopes.clone(),
            }),
            retry_after: None,
        }
    }

    /// The error code of a challenge for another credential, if one would help.
    const fn error(&self) -> Option<&'static str> {
        if self.advice.step_up.is_some() {
            Some("insufficient_user_authentication")
        } else if !self.advice.scopes.is_empty() {
            Some("insufficient_scope")
        } else {
            None
        }
    }

    fn what_to_do(&self) -> String {
        let Advice {
            text,
            owner,
            step_up,
            scopes,
            ..
        } = &self.advice;
        match (text, owner) {
            (Some(text), _) => text.clone(),
            (None, _) if step_up.is_some() => {
                "sign in again, as the challenge of this reply asks".into()
            }
            (None, _) if !scopes.is_empty() => {
                format!("get a token with the scope `{}`", scopes.join(" "))
            }
            (None, Some(owner)) => format!("ask the model's owner, `{owner}`"),
            (None, None) => "ask whoever runs this service who may grant it".into(),
        }
    }
}

impl Outage {
    fn notice(&self) -> Notice {
        let mut status = Status::Unavailable;
        let mut advice = "try again; it is neither the model nor your permissions";
        let (message, retry_after) = match self {
            Self::Share(share) => {
                (status, advice) = (share.status(), Share::ADVICE);
                (share.sentence(), Share::RETRY_AFTER)
            }
            Self::Keys { retry_after } => (
                "the identity provider's keys cannot be had, so nobody can be identified",
                retry_after.map_or(Refusal::RETRY_AFTER, |wait| wait.as_secs().clamp(1, 30)),
            ),
            Self::Introspection { retry_after } => (
                "the identity provider cannot be asked about the access token",
                retry_after.map_or(Refusal::RETRY_AFTER, |wait| wait.as_secs().clamp(1, 30)),
            ),
            Self::Proofs => (
                "too many proofs of possession were used in a short time",
                Refusal::RETRY_AFTER,
            ),
            Self::Stacked => (
                "this service is guarded twice, which its operator has to mend",
                Refusal::RETRY_AFTER,
            ),
            Self::Access => ("no decision can be made", Refusal::RETRY_AFTER),
            Self::Record => ("the decision cannot be recorded", Refusal::RETRY_AFTER),
            Self::Abandoned => ("the request could not be finished", Refusal::RETRY_AFTER),
        };
        Notice {
            status,
            fault: Fault::GuardUnavailable,
            code: match status {
                Status::TooMany => "too_many_requests",
                _ => "guard_unavailable",
            },
            message: message.into(),
            advice: advice.into(),
            challenge: None,
            retry_after: Some(retry_after),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for TokenFault {}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        Self::Credential(obstacle)
    }
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        Self::Credential(Obstacle::Token(fault))
    }
}

impl From<RequestFault> for Refusal {
    fn from(fault: RequestFault) -> Self {
        Self::Request(fault)
    }
}

impl From<UnknownRoute> for Refusal {
    fn from(route: UnknownRoute) -> Self {
        Self::Route(route)
    }
}

impl From<Outage> for Refusal {
    fn from(outage: Outage) -> Self {
        Self::Unavailable(outage)
    }
}
