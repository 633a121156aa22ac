//! WebSockets whose frames name models.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http::Extensions;
use spanner_core::{Inquiry, Notice, Pair, Refusal, RequestFault, Settlement};

use super::vigil::Vigil;
use crate::resolve::{Broken, LaterDecisions, MessageResolver, ReportScan};
use crate::shares::CallerSlot;

/// Authorizes the frames of one WebSocket. Each message from the client must be
/// [examined](Self::examine) before it is forwarded.
///
/// The service that performs the upgrade finds it in the request's extensions, if the guard was
/// built [with WebSockets](crate::GuardBuilder::websockets).
///
/// # Security
/// A message that is not examined is not authorized. A service that declares that it has frames
/// examined and forwards one without doing so lets its caller use any model.
pub struct Conversation {
    messages: MessageResolver,
    asking: LaterDecisions,
    broken: Broken,
    reports: ReportScan,
    settlement: Owed,
    /// `None` once [`ending`](Self::ending) has taken it.
    vigil: Option<Vigil>,
}

/// Waits until a WebSocket must be closed, because the caller's credential expired or was
/// revoked, or because the access no longer allows what it allowed
/// ([`Limits::outlive`](crate::Limits)). It settles the record.
#[must_use = "nobody ends the socket unless it is waited for"]
pub struct Ending {
    vigil: Option<Vigil>,
    broken: Broken,
    settlement: Owed,
}

impl Ending {
    /// Waits. It never returns if the conversation may continue indefinitely.
    pub async fn wait(mut self) -> MessageRefused {
        let refusal = poll_fn(|cx| {
            if let Some(vigil) = &mut self.vigil {
                vigil.watch(cx);
            }
            self.broken.poll_broken(cx)
        });
        let refusal = refusal.await;
        MessageRefused::settled(&refusal, &self.settlement)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ending")
    }
}

/// The outcome to be recorded once the response is an upgrade.
type Owed = Arc<Mutex<Option<Debt>>>;

/// What the end of the conversation settles and releases.
struct Debt {
    settlement: Settlement,
    _slot: Option<CallerSlot>,
}

/// Makes the conversation cloneable, as request extensions require.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<Conversation>>>);

/// A frame or conversation was refused. Forward nothing more and close the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRefused {
    notice: Notice,
}

impl Conversation {
    /// Takes the conversation from a request's extensions; `None` if the request opens no
    /// WebSocket that the guard admitted.
    #[must_use]
    pub fn take(extensions: &mut Extensions) -> Option<Self> {
        let slot = extensions.remove::<Slot>()?;
        slot.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Examines one complete message from the client, and waits until what it asks for is
    /// decided and recorded. A binary message that is not a JSON object, such as audio, names no
    /// model.
    ///
    /// # Errors
    /// [`MessageRefused`]: close the socket and forward nothing more.
    pub async fn examine(&mut self, message: &[u8], binary: bool) -> Result<(), MessageRefused> {
        let later = self.asking.knows_something();
        let first = message.iter().find(|byte| !byte.is_ascii_whitespace());
        let pairs = match binary && first != Some(&b'{') {
            true if later => Ok(Vec::new()),
            true => Err(RequestFault::NoModel),
            false => self.messages.pairs(message, later),
        };
        match pairs {
            Ok(pairs) => self.asking.ask(pairs),
            Err(fault) => self.asking.refuse(fault.into()),
        }
        let decided = poll_fn(|cx| {
            if let Some(vigil) = &mut self.vigil {
                vigil.watch(cx);
            }
            match self.broken.refusal() {
                Some(refusal) => Poll::Ready(Err(refusal.clone())),
                None => self.asking.poll(cx).map(Ok),
            }
        });
        let refusal = match decided.await {
            Ok(true) => return Ok(()),
            Ok(false) => poll_fn(|cx| self.broken.poll_broken(cx)).await,
            Err(refusal) => refusal,
        };
        Err(MessageRefused::settled(&refusal, &self.settlement))
    }

    /// Returns a future that resolves when the conversation must end although no message
    /// arrives. Without it, that is noticed only when the next message is examined.
    pub fn ending(&mut self) -> Ending {
        Ending {
            vigil: self.vigil.take(),
            broken: self.broken.clone(),
            settlement: Arc::clone(&self.settlement),
        }
    }

    /// Whether the socket's address or a frame has named a model that was allowed. Until then
    /// the caller occupies a socket without any permission, so use a short timeout.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        self.asking.knows_something()
    }

    /// Counts bytes that were sent to the client.
    pub fn sent(&mut self, bytes: u64) {
        if let Some(debt) = &mut *self.owed() {
            debt.settlement.sent(bytes);
        }
    }

    /// Counts a complete message to the client and reads what it reports: usage, and failures of
    /// the model.
    pub fn heard(&mut self, message: &[u8]) {
        self.reports.message(message);
        self.sent(u64::try_from(message.len()).unwrap_or(u64::MAX));
        if let Some(debt) = &mut *owed(&self.settlement) {
            self.reports.tell(&mut debt.settlement, false);
        }
    }

    /// Notes the close code of the model's side (RFC 6455 §7.4.1). Every code counts as a
    /// failure of the model, except for an orderly close and codes that only an application can
    /// interpret.
    pub fn closing(&mut self, code: u16) {
        if matches!(code, 1002..=1004 | 1007..=1015)
            && let Some(debt) = &mut *self.owed()
        {
            debt.settlement.failed();
            debt.settlement.error_type(&format!("close:{code}"));
        }
    }

    /// Settles the record: either side closed the conversation.
    pub fn finish(mut self) {
        self.asking.finish();
        if let Some(debt) = &mut *self.owed() {
            debt.settlement.finish();
        }
    }

    /// Settles the record: the model's side dropped the connection.
    pub fn broke(mut self) {
        self.asking.finish();
        if let Some(debt) = &mut *self.owed() {
            debt.settlement.broke();
        }
    }

    fn owed(&self) -> MutexGuard<'_, Option<Debt>> {
        owed(&self.settlement)
    }
}

fn owed(settlement: &Owed) -> MutexGuard<'_, Option<Debt>> {
    settlement.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a conversation into a request's extensions. The returned value receives the outcome to
/// be recorded.
pub(super) fn offer(
    extensions: &mut Extensions,
    messages: MessageResolver,
    allowed: &[Pair],
    inquiry: Option<Inquiry>,
    outlive: Duration,
) -> Upgrade {
    let broken = Broken::default();
    let mut asking = LaterDecisions::about(allowed.to_vec());
    asking.attach(inquiry.clone(), broken.clone());
    let settlement = Owed::default();
    let conversation = Conversation {
        reports: ReportScan::of_conversation(messages.reports()),
        messages,
        asking,
        vigil: Some(Vigil::over(inquiry, allowed, broken.clone(), outlive)),
        broken,
        settlement: Arc::clone(&settlement),
    };
    extensions.insert(Slot(Arc::new(Mutex::new(Some(conversation)))));
    Upgrade(settlement)
}

/// Waits for the response to a request that opens a WebSocket.
pub(super) struct Upgrade(Owed);

impl Upgrade {
    /// The socket is open, and its end settles the record. If the conversation was dropped
    /// already, the record is settled now.
    pub(super) fn opened(self, mut settlement: Settlement, slot: Option<CallerSlot>) {
        settlement.head(101);
        let debt = Debt {
            settlement,
            _slot: slot,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(debt);
    }
}

impl MessageRefused {
    /// The code to close with (RFC 6455 §7.4.1): 1008, policy violation.
    pub const CLOSE_CODE: u16 = 1008;

    fn settled(refusal: &Refusal, settlement: &Owed) -> Self {
        if let Some(debt) = &mut *owed(settlement) {
            debt.settlement.refused(refusal);
        }
        let notice = refusal.notice();
        Self { notice }
    }

    /// What to tell the caller.
    #[must_use]
    pub const fn notice(&self) -> &Notice {
        &self.notice
    }

    /// The notice, shortened to the 123 bytes that a close frame can hold.
    #[must_use]
    pub fn reason(&self) -> String {
        // A control frame has at most 125 bytes, of which the code takes two (RFC 6455 §5.5).
        const MAX_BYTES: usize = 123;
        let text = &self.notice.message;
        let mut end = text.len().min(MAX_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default().to_owned()
    }
}

impl fmt::Display for MessageRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.notice.message, self.notice.advice)
    }
}

impl std::error::Error for MessageRefused {}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("asking", &self.asking)
            .finish_non_exhaustive()
    }
}
