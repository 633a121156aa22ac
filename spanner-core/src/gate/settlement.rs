//! The outcome, which is owed after a decision.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Gate;
use crate::RecordId;
use crate::name::ModelName;
use crate::record::{Enforcement, Finish, Outcome, OutcomeClass};
use crate::refusal::{Fault, Refusal};
use crate::sink::Room;

/// Collects what happens to a request, and passes the outcome to the sink when it is dropped.
///
/// Until [`Settlement::finish`] or [`Settlement::broke`] is called, the outcome is that the client
/// left. If another point [enforces](Enforcement::External) the decision, there is no outcome
/// unless one of these or [`Settlement::refused`] is called.
#[must_use = "dropping a settlement ends the record"]
pub struct Settlement {
    gate: Gate,
    id: RecordId,
    arrived: Duration,
    room: Option<Room>,
    /// Whether the outcome must be recorded even if nobody reports the end.
    owed: bool,
    forwarded: bool,
    class: Option<OutcomeClass>,
    finish: Finish,
    status: Option<u16>,
    grpc_status: Option<u8>,
    first_byte_us: Option<u64>,
    bytes_in: Meter,
    bytes_out: u64,
    usage: Usage,
    served: Option<String>,
    fault: Option<Fault>,
    reason: Option<&'static str>,
    /// Set if the body of the response reported a failure.
    failed: bool,
    error_type: Option<String>,
}

/// The usage of a call as the API reports it. APIs count differently: Anthropic's input tokens
/// exclude cached tokens, `OpenAI`'s include them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the input.
    pub input: Option<u64>,
    /// Tokens of the output.
    pub output: Option<u64>,
    /// The sum as the API reports it. Some APIs report nothing else.
    pub total: Option<u64>,
    /// Input tokens that were read from a cache.
    pub cached: Option<u64>,
    /// Input tokens that were written to a cache.
    pub cache_written: Option<u64>,
    /// Output tokens of reasoning (thinking).
    pub reasoning: Option<u64>,
    /// Input tokens of tools that the API ran itself.
    pub tools: Option<u64>,
    /// Search units, which rerankers bill.
    pub search_units: Option<u64>,
}

impl Usage {
    /// A usage as reported.
    #[must_use]
    pub const fn new(input: Option<u64>, output: Option<u64>) -> Self {
        Self {
            input,
            output,
            total: None,
            cached: None,
            cache_written: None,
            reasoning: None,
            tools: None,
            search_units: None,
        }
    }

    /// Combines two reports field by field. `join` combines a field that both have.
    #[must_use]
    pub fn join(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let one = |mine: Option<u64>, other: Option<u64>| match (mine, other) {
            (Some(mine), Some(other)) => Some(join(mine, other)),
            (mine, other) => mine.or(other),
        };
        Self {
            input: one(self.input, other.input),
            output: one(self.output, other.output),
            total: one(self.total, other.total),
            cached: one(self.cached, other.cached),
            cache_written: one(self.cache_written, other.cache_written),
            reasoning: one(self.reasoning, other.reasoning),
            tools: one(self.tools, other.tools),
            search_units: one(self.search_units, other.search_units),
        }
    }
}

/// Counts the bytes of the request's body, independently of the settlement.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Adds bytes that have passed.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Settlement {
    pub(super) fn new(
        gate: Gate,
        id: RecordId,
        arrived: Duration,
        (room, enforcement): (Room, Enforcement),
    ) -> Self {
        let mut settlement = Self::unrecorded(gate, id, arrived);
        settlement.room = Some(room);
        settlement.owed = enforcement.is_inline();
        settlement
    }

    pub(super) fn unrecorded(gate: Gate, id: RecordId, arrived: Duration) -> Self {
        Self {
            gate,
            id,
            arrived,
            room: None,
            owed: false,
            forwarded: false,
            class: None,
            finish: Finish::ClientLeft,
            status: None,
            grpc_status: None,
            first_byte_us: None,
            bytes_in: Meter::default(),
            bytes_out: 0,
            usage: Usage::default(),
            served: None,
            fault: None,
            reason: None,
            failed: false,
            error_type: None,
        }
    }

    /// Whether the request has a record; `false` if it was only counted.
    pub(super) const fn is_recorded(&self) -> bool {
        self.room.is_some()
    }

    /// Whether the outcome must be recorded even if nobody reports the end.
    pub(super) const fn is_owed(&self) -> bool {
        self.owed
    }

    /// The record's identifier.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The response's head was sent with this HTTP status.
    pub fn head(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// The response's trailers (or head) carry this gRPC status.
    pub fn grpc_status(&mut self, status: u8) {
        self.grpc_status = Some(status);
    }

    /// Bytes of the response's body passed.
    pub fn sent(&mut self, bytes: u64) {
        if bytes > 0 && self.first_byte_us.is_none() {
            self.first_byte_us = Some(self.gate.micros_since(self.arrived));
        }
        self.bytes_out = self.bytes_out.saturating_add(bytes);
    }

    /// The API reported its usage; a later report replaces an earlier one, field by field.
    pub fn usage(&mut self, usage: Usage) {
        self.usage = self.usage.join(usage, |_, later| later);
    }

    /// The usage that the API has reported so far.
    #[must_use]
    pub const fn reported(&self) -> Usage {
        self.usage
    }

    /// The model that answers, if the API has reported it.
    #[must_use]
    pub fn served_by(&self) -> Option<&str> {
        self.served.as_deref()
    }

    /// The API reported which model answers. Only the first report is kept.
    pub fn served(&mut self, model: &ModelName) {
        self.served.get_or_insert_with(|| model.to_string());
    }

    /// The response reports a failure that is not the guard's.
    pub fn blame(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// The body of the response reports that the model's server failed, whatever the status says:
    /// an error in the middle of a stream, for instance. Clients often close the connection after
    /// such a report; the failure is still the model's.
    pub fn failed(&mut self) {
        self.failed = true;
        self.fault.get_or_insert(Fault::Model);
    }

    /// The API's word for the failure that it reports. The first one is kept, and only if it [is a
    /// valid error type](Outcome::is_error_type).
    pub fn error_type(&mut self, word: &str) {
        if self.error_type.is_none() && Outcome::is_error_type(word) {
            self.error_type = Some(word.to_owned());
        }
    }

    /// The API's word for the failure that it [reported](Self::failed), or `_OTHER`, which
    /// `OpenTelemetry` uses for an error without a name.
    #[must_use]
    pub fn reported_error(&self) -> Option<&str> {
        let word = self.error_type.as_deref();
        self.failed.then(|| word.unwrap_or("_OTHER"))
    }

    /// The response is complete. Its status tells whether it succeeded.
    pub fn finish(&mut self) {
        self.end(Finish::Complete);
    }

    /// The response broke off because the model's server failed.
    pub fn broke(&mut self) {
        self.end(Finish::ModelFailed);
    }

    /// The guard broke off the response: a later message was refused, or the caller may not
    /// continue.
    pub fn refused(&mut self, why: &Refusal) {
        self.end(Finish::Refused);
        self.reason = Some(why.code());
    }

    /// Spanner itself declines an allowed request, with a stable code if there is one. A status of
    /// 4xx counts as refused, any other as a failure of the guard.
    pub fn declined(&mut self, status: u16, reason: Option<&'static str>) {
        self.reason = reason;
        self.classify(match status {
            500.. => OutcomeClass::GuardFailed,
            _ => OutcomeClass::Refused,
        });
    }

    const fn end(&mut self, finish: Finish) {
        self.finish = finish;
        self.owed = true;
    }

    pub(super) fn classify(&mut self, class: OutcomeClass) {
        self.class = Some(class);
    }

    pub(super) fn forwarded(&mut self) {
        self.forwarded = true;
    }

    pub(super) fn meter(&self) -> Meter {
        self.bytes_in.clone()
    }

    fn outcome(&self) -> Outcome {
        let finish = if std::thread::panicking() {
            Finish::Panicked
        } else {
            self.finish
        };
        let class = self.class.unwrap_or_else(|| self.class_of(finish));
        let finish = match (finish, self.fault) {
            (Finish::Complete, Some(Fault::ModelTimeout)) => Finish::TimedOut,
            (finish, _) => finish,
        };
        Outcome {
            id: self.id,
            time: self.gate.now(),
            class,
            finish,
            status: self.status,
            grpc_status: self.grpc_status,
            duration_us: self.gate.micros_since(self.arrived),
            first_byte_us: self.first_byte_us,
            bytes_in: self.bytes_in.total(),
            bytes_out: self.bytes_out,
            tokens_in: self.usage.input,
            tokens_out: self.usage.output,
            tokens_total: self.usage.total,
            tokens_cached: self.usage.cached,
            tokens_cache_written: self.usage.cache_written,
            tokens_reasoning: self.usage.reasoning,
            tokens_tools: self.usage.tools,
            search_units: self.usage.search_units,
            served: self.served.clone(),
            fault: self.fault,
            reason: self.reason.map(str::to_owned),
            error_type: self.error_type.clone(),
        }
    }

    fn class_of(&self, finish: Finish) -> OutcomeClass {
        match finish {
            Finish::Complete | Finish::ClientLeft if self.failed => OutcomeClass::ModelFailed,
            Finish::Complete => match (self.status, self.grpc_status) {
                (_, Some(code)) => class_of_grpc(code),
                (Some(500..), None) => OutcomeClass::ModelFailed,
                (Some(400..), None) => OutcomeClass::CallerError,
                (_, None) => OutcomeClass::Ok,
            },
            Finish::ClientLeft => OutcomeClass::ClientLeft,
            Finish::ModelFailed | Finish::TimedOut => OutcomeClass::ModelFailed,
            Finish::Refused => OutcomeClass::Refused,
            Finish::Panicked if self.forwarded => OutcomeClass::ModelFailed,
            Finish::Panicked => OutcomeClass::GuardFailed,
            Finish::Crash => OutcomeClass::Unknown,
        }
    }
}

/// The component whose failure a gRPC code reports
/// (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const fn class_of_grpc(code: u8) -> OutcomeClass {
    match code {
        0 => OutcomeClass::Ok,
        1 => OutcomeClass::ClientLeft,
        3 | 5 | 6 | 7 | 9 | 11 | 12 | 16 => OutcomeClass::CallerError,
        _ => OutcomeClass::ModelFailed,
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && self.owed
        {
            let outcome = self.outcome();
            room.fill(outcome);
        }
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settlement({})", self.id)
    }
}
