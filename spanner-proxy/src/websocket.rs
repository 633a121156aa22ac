//! WebSockets: both sides of a conversation, and the guard between them.
//!
//! 1. Whole messages are relayed, each of the caller's after the guard examined it. No extension
//!    is negotiated, so the bytes that are examined are the bytes that are sent.
//! 2. When one side closes, the other is closed too.
//! 3. A refused message, and the end of the caller's credential or permission, close both sides
//!    with 1008 and the reason.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use spanner_tower::{Conversation, MessageRefused};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frame_budget::FrameBudget;
use crate::message_budget::{MessageBudget, MessageLimit};
use crate::observed_stream::ObservedStream;
use crate::upstream_lease::UpstreamLease;

/// The relays that are running. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebSocketRelays {
    tracker: TaskTracker,
    stop: CancellationToken,
    budget: MessageBudget,
}

/// A relay to be started.
pub(crate) struct WebSocketRelay {
    pub(crate) conversation: Conversation,
    pub(crate) caller: OnUpgrade,
    pub(crate) model: OnUpgrade,
    /// Held until the relay ends.
    pub(crate) lease: UpstreamLease,
    pub(crate) timeouts: RelayTimeouts,
}

/// How long a relay waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RelayTimeouts {
    /// For the first message of a caller whose request named no model.
    pub(crate) first: Duration,
    /// For the next message of either side.
    pub(crate) idle: Duration,
    /// For a side to accept what it is sent.
    pub(crate) stall: Duration,
}

type Socket<T = TokioIo<Upgraded>> = WebSocketStream<T>;
/// The caller's side, whose messages are limited.
type CallerSocket = Socket<ObservedStream<TokioIo<Upgraded>, MessageLimit>>;

/// The largest message, in bytes: some minutes of sound, or a photograph.
const MAX_MESSAGE: usize = 16 << 20;
/// The size of the read and write buffers, in bytes: most messages fit.
const BUFFER: usize = 16 * 1024;
/// How much may wait to be sent to one side, in bytes: the largest message, and the frames that
/// answer pings meanwhile.
const MAX_UNSENT: usize = MAX_MESSAGE + 256 * 1024;
/// How long either side may take to upgrade, or to accept a close: a few round trips.
const HANDSHAKE: Duration = Duration::from_secs(5);

impl WebSocketRelays {
    /// Starts a relay, which begins once both sides are upgraded.
    pub(crate) fn start(&self, relay: WebSocketRelay) {
        let (stop, limit) = (self.stop.clone(), self.budget.limit());
        self.tracker.spawn(async move {
            let WebSocketRelay {
                conversation,
                caller,
                model,
                lease,
                timeouts,
            } = relay;
            let both = async { tokio::try_join!(caller, model) };
            if let Ok(Ok((caller, model))) = timeout(HANDSHAKE, both).await {
                let caller = ObservedStream::new(TokioIo::new(caller), limit.clone());
                let caller = socket(caller, Role::Server).await;
                let model = socket(TokioIo::new(model), Role::Client).await;
                run(conversation, (caller, limit), model, timeouts, stop).await;
            }
            drop(lease);
        });
    }

    /// Ends all relays.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        if timeout(HANDSHAKE, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "WebSockets are cut off");
        }
    }
}

async fn socket<T>(stream: T, role: Role) -> Socket<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(MAX_UNSENT)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(stream, role, Some(config)).await
}

/// What happens next in a relay.
#[derive(Debug)]
enum Step {
    /// A message was relayed.
    Relayed,
    /// A control frame was handled.
    Handled,
    /// One side closed the conversation, perhaps with a reason.
    Closed(Option<CloseFrame>),
    Refused(MessageRefused),
    CallerLeft,
    ModelFailed,
    Stopped,
    /// One side sends too many control frames.
    ControlFlood,
    /// Neither side sent a message in time.
    Idle,
}

async fn run(
    mut conversation: Conversation,
    (mut caller, limit): (CallerSocket, MessageLimit),
    mut model: Socket,
    timeouts: RelayTimeouts,
    stop: CancellationToken,
) {
    let RelayTimeouts { first, idle, stall } = timeouts;
    let mut budgets = (FrameBudget::new(), FrameBudget::new());
    let time = |conversation: &Conversation| match conversation.is_decided() {
        true => idle,
        false => first,
    };
    let mut deadline = pin!(sleep(time(&conversation)));
    let mut ending = pin!(conversation.ending().wait());
    if conversation.is_decided() {
        limit.allow(MAX_MESSAGE);
    }
    let end = loop {
        let step = tokio::select! {
            () = stop.cancelled() => Step::Stopped,
            refused = &mut ending => Step::Refused(refused),
            () = &mut deadline => Step::Idle,
            received = caller.next() => {
                let step = async {
                    match control(&received, &mut budgets.0, &mut caller, stall).await {
                        Some(step) => step,
                        None => {
                            let relayed = to_model(&mut conversation, received, &mut model);
                            within(stall, relayed, Step::ModelFailed).await
                        }
                    }
                };
                let step = unless_ended(ending.as_mut(), Step::Refused, step).await;
                if matches!(step, Step::Relayed) {
                    limit.release();
                    if conversation.is_decided() {
                        limit.allow(MAX_MESSAGE);
                    }
                }
                step
            }
            received = model.next() => {
                let step = async {
                    match control(&received, &mut budgets.1, &mut model, stall).await {
                        Some(Step::CallerLeft) => Step::ModelFailed,
                        Some(step) => step,
                        None => {
                            let relayed = to_caller(&mut conversation, received, &mut caller);
                            within(stall, relayed, Step::CallerLeft).await
                        }
                    }
                };
                unless_ended(ending.as_mut(), Step::Refused, step).await
            }
        };
        match step {
            Step::Relayed => {
                let time = time(&conversation);
                deadline.as_mut().reset(Instant::now() + time);
            }
            Step::Handled => {}
            end => break end,
        }
    };
    let closing = async {
        let _: (Result<(), Error>, Result<(), Error>) =
            tokio::join!(caller.close(end.close()), model.close(None));
    };
    if timeout(HANDSHAKE, closing).await.is_err() {
        tracing::debug!("a WebSocket did not close in time");
    }
    match end {
        Step::Closed(_) | Step::Stopped | Step::ControlFlood | Step::Idle => conversation.finish(),
        Step::ModelFailed => conversation.broke(),
        // A conversation that is dropped records that the caller left; a refusal is recorded.
        Step::CallerLeft | Step::Refused(_) | Step::Relayed | Step::Handled => drop(conversation),
    }
}

impl Step {
    /// The frame that the caller's side is closed with.
    fn close(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Closed(close) => return close.clone(),
            Self::Refused(refused) => {
                let code = CloseCode::from(MessageRefused::CLOSE_CODE);
                let reason = refused.reason().into();
                return Some(CloseFrame { code, reason });
            }
            Self::ModelFailed => (
                CloseCode::Error,
                "the model's server closed the connection early",
            ),
            Self::Stopped => (CloseCode::Away, "the service is being restarted"),
            Self::ControlFlood => (CloseCode::Policy, "too many control frames"),
            Self::Idle => (CloseCode::Policy, "nothing was said for too long"),
            Self::CallerLeft | Self::Relayed | Self::Handled => return None,
        };
        let reason = reason.into();
        Some(CloseFrame { code, reason })
    }
}

/// Handles a control frame; `None` for a message, a close or an error. The answer to a ping is
/// flushed before anything more is read, so that unread answers do not pile up.
async fn control<T>(
    received: &Option<Result<Message, Error>>,
    budget: &mut FrameBudget,
    socket: &mut Socket<T>,
    stall: Duration,
) -> Option<Step>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match received {
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) if !budget.spend() => {
            Some(Step::ControlFlood)
        }
        Some(Ok(Message::Ping(_))) => match timeout(stall, socket.flush()).await {
            Ok(Ok(())) => Some(Step::Handled),
            Ok(Err(_)) | Err(_) => Some(Step::CallerLeft),
        },
        Some(Ok(Message::Pong(_) | Message::Frame(_))) => Some(Step::Handled),
        Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Close(_)) | Err(_)) | None => {
            budget.earn();
            None
        }
    }
}

/// A step that must not take longer than `stall`.
async fn within(stall: Duration, step: impl Future<Output = Step>, otherwise: Step) -> Step {
    timeout(stall, step).await.unwrap_or(otherwise)
}

/// A step that is abandoned when the caller's permission ends, however long it waits for a side.
async fn unless_ended<E>(
    ending: Pin<&mut impl Future<Output = E>>,
    ended: impl FnOnce(E) -> Step,
    step: impl Future<Output = Step>,
) -> Step {
    tokio::select! {
        end = ending => ended(end),
        step = step => step,
    }
}

/// Relays the caller's message if the guard permits it.
async fn to_model(
    conversation: &mut Conversation,
    received: Option<Result<Message, Error>>,
    model: &mut Socket,
) -> Step {
    let message = match received {
        Some(Ok(Message::Close(close))) => return Step::Closed(close),
        Some(Ok(message)) => message,
        Some(Err(_)) | None => return Step::CallerLeft,
    };
    let examined = match &message {
        Message::Text(text) => conversation.examine(text.as_bytes(), false).await,
        Message::Binary(bytes) => conversation.examine(bytes, true).await,
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => {
            return Step::Handled;
        }
    };
    match examined {
        Err(refused) => Step::Refused(refused),
        Ok(()) if model.send(message).await.is_ok() => Step::Relayed,
        Ok(()) => Step::ModelFailed,
    }
}

/// Relays the model's message.
async fn to_caller(
    conversation: &mut Conversation,
    received: Option<Result<Message, Error>>,
    caller: &mut CallerSocket,
) -> Step {
    let message = match received {
        Some(Ok(Message::Close(close))) => {
            if let Some(close) = &close {
                conversation.closing(close.code.into());
            }
            return Step::Closed(close);
        }
        Some(Ok(message)) => message,
        Some(Err(_)) | None => return Step::ModelFailed,
    };
    match &message {
        Message::Text(text) => conversation.heard(text.as_bytes()),
        Message::Binary(bytes) => conversation.heard(bytes),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => {
            return Step::Handled;
        }
    }
    match caller.send(message).await {
        Ok(()) => Step::Relayed,
        Err(_) => Step::CallerLeft,
    }
}

/// Makes headers those of a request or response that opens a WebSocket without extensions
/// (RFC 6455 §4).
pub(crate) fn upgrading(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ping_whose_answer_is_not_read_does_not_outlast_the_permission() {
        let (mut client, server) = duplex(4);
        let mut socket = socket(server, Role::Server).await;
        let stall = Duration::from_secs(60);
        let ping = b"\x89\x84\0\0\0\0ping";
        let sending = tokio::spawn(async move {
            client.write_all(ping).await.unwrap();
            client
        });
        let received = socket.next().await;
        let mut budget = FrameBudget::new();
        let mut ending = pin!(sleep(stall / 2));
        let began = Instant::now();
        let step = async {
            control(&received, &mut budget, &mut socket, stall)
                .await
                .unwrap()
        };
        let step = unless_ended(ending.as_mut(), |()| Step::Stopped, step).await;
        assert!(matches!(step, Step::Stopped), "{step:?}");
        assert_eq!(began.elapsed(), stall / 2);
        drop(sending.await);
    }
}
