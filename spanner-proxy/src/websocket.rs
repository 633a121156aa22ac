//! WebSockets: both sides of a conversation, and the guard between them.
//!
//! Whole messages are passed on, each of the caller's after it was examined. No extension is
//! negotiated, so that what is examined is what is sent. What either side closes is closed;
//! a message that is refused closes both with 1008 and the reason, and so does the end of the
//! caller's credential or permission.

use std::pin::pin;
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

use crate::frame_budget::Budget;
use crate::upstream_lease::Held;
use crate::message_budget::{Bounded, Inbox, Inboxes};

/// The conversations under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Talks {
    tracker: TaskTracker,
    stop: CancellationToken,
    inboxes: Inboxes,
}

/// One conversation that is about to begin.
pub(crate) struct Talk {
    pub(crate) frames: Conversation,
    pub(crate) caller: OnUpgrade,
    pub(crate) model: OnUpgrade,
    /// The upstream's place, for as long as it lasts.
    pub(crate) place: Held,
    pub(crate) patience: Patience,
}

/// How long is waited in a conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the first message of a caller whose request named no model.
    pub(crate) first: Duration,
    /// For the next message of either side.
    pub(crate) idle: Duration,
    /// For a side to take what it is sent.
    pub(crate) stall: Duration,
}

type Socket<T = TokioIo<Upgraded>> = WebSocketStream<T>;
/// The caller's side, of which less is held.
type CallerSocket = Socket<Bounded<TokioIo<Upgraded>>>;

/// The largest message, in bytes: some minutes of sound, or a photograph.
const MAX_MESSAGE: usize = 16 << 20;
/// What is read or sent at once, in bytes.
const READ: usize = 16 * 1024;
/// The most that waits to be sent to one side, in bytes: the largest message, whose sending
/// is waited for, and a frame that answers.
const MAX_UNSENT: usize = MAX_MESSAGE + 256 * 1024;
/// How long either side may take to become a WebSocket, or to take a close.
const MOMENT: Duration = Duration::from_secs(5);

impl Talks {
    /// Begins a conversation as soon as both sides are there.
    pub(crate) fn begin(&self, talk: Talk) {
        let (stop, inbox) = (self.stop.clone(), self.inboxes.inbox());
        self.tracker.spawn(async move {
            let Talk {
                frames,
                caller,
                model,
                place,
                patience,
            } = talk;
            let both = async { tokio::try_join!(caller, model) };
            if let Ok(Ok((caller, model))) = timeout(MOMENT, both).await {
                let caller = Bounded::new(TokioIo::new(caller), inbox.clone());
                let caller = socket(caller, Role::Server).await;
                let model = socket(TokioIo::new(model), Role::Client).await;
                converse(frames, (caller, inbox), model, patience, stop).await;
            }
            drop(place);
        });
    }

    /// Ends all conversations.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        if timeout(MOMENT, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "conversations are cut off");
        }
    }
}

async fn socket<T>(stream: T, role: Role) -> Socket<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(READ)
        .max_write_buffer_size(MAX_UNSENT)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(stream, role, Some(config)).await
}

/// How a conversation went on.
enum Turn {
    On,
    /// One side closed it, perhaps with a reason.
    Closed(Option<CloseFrame>),
    Refused(MessageRefused),
    CallerLeft,
    ModelFailed,
    Stopped,
    /// A side only pings, or sends other frames that say nothing.
    Chatter,
    /// Nothing was said for too long.
    Quiet,
}

async fn converse(
    mut frames: Conversation,
    (mut caller, inbox): (CallerSocket, Inbox),
    mut model: Socket,
    patience: Patience,
    stop: CancellationToken,
) {
    let Patience { first, idle, stall } = patience;
    let mut budgets = (Budget::new(), Budget::new());
    let quiet = sleep(if frames.is_decided() { idle } else { first });
    // Also while either side takes its time with a message.
    let mut ending = pin!(frames.ending().wait());
    tokio::pin!(quiet);
    if frames.is_decided() {
        inbox.allow(MAX_MESSAGE);
    }
    let end = loop {
        let (says_something, turn) = tokio::select! {
            () = stop.cancelled() => (false, Turn::Stopped),
            refused = &mut ending => (false, Turn::Refused(refused)),
            () = &mut quiet => (false, Turn::Quiet),
            said = caller.next() => match control(&said, &mut budgets.0, &mut caller, stall).await {
                Some(turn) => (false, turn),
                None => {
                    let heard = heard(&mut frames, said, &mut model);
                    let heard = within(stall, heard, Turn::ModelFailed);
                    let turn = tokio::select! {
                        refused = &mut ending => Turn::Refused(refused),
                        turn = heard => turn,
                    };
                    inbox.taken();
                    if frames.is_decided() {
                        inbox.allow(MAX_MESSAGE);
                    }
                    (true, turn)
                }
            },
            said = model.next() => match control(&said, &mut budgets.1, &mut model, stall).await {
                Some(Turn::CallerLeft) => (false, Turn::ModelFailed),
                Some(turn) => (false, turn),
                None => {
                    let passed = passed(&mut frames, said, &mut caller);
                    let passed = within(stall, passed, Turn::CallerLeft);
                    let turn = tokio::select! {
                        refused = &mut ending => Turn::Refused(refused),
                        turn = passed => turn,
                    };
                    (true, turn)
                }
            },
        };
        if !matches!(turn, Turn::On) {
            break turn;
        }
        if says_something {
            let wait = if frames.is_decided() { idle } else { first };
            quiet.as_mut().reset(Instant::now() + wait);
        }
    };
    let frame = |code, reason: String| {
        Some(CloseFrame {
            code,
            reason: reason.into(),
        })
    };
    let close = match &end {
        Turn::Closed(close) => close.clone(),
        Turn::Refused(refused) => {
            let code = CloseCode::from(MessageRefused::CLOSE_CODE);
            frame(code, refused.reason())
        }
        Turn::ModelFailed => frame(CloseCode::Error, "the model's server broke off".to_owned()),
        Turn::Stopped => frame(CloseCode::Away, "the service is being restarted".to_owned()),
        Turn::Chatter => frame(
            CloseCode::Policy,
            "too many frames that say nothing".to_owned(),
        ),
        Turn::Quiet => frame(
            CloseCode::Policy,
            "nothing was said for too long".to_owned(),
        ),
        Turn::CallerLeft | Turn::On => None,
    };
    let closing = async {
        let _: (Result<(), Error>, Result<(), Error>) =
            tokio::join!(caller.close(close.clone()), model.close(None));
    };
    if timeout(MOMENT, closing).await.is_err() {
        tracing::debug!("a socket did not close in time");
    }
    match end {
        Turn::Closed(_) | Turn::Stopped | Turn::Chatter | Turn::Quiet => frames.finish(),
        Turn::ModelFailed => frames.broke(),
        // Its end says by itself that the caller left, or was refused.
        Turn::CallerLeft | Turn::Refused(_) | Turn::On => drop(frames),
    }
}

/// Deals with a frame that says nothing; `None` if it is another one. A ping is answered
/// before anything more is read: what is not taken shall not pile up.
async fn control<T>(
    said: &Option<Result<Message, Error>>,
    budget: &mut Budget,
    socket: &mut Socket<T>,
    stall: Duration,
) -> Option<Turn>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match said {
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) if !budget.spend() => {
            Some(Turn::Chatter)
        }
        Some(Ok(Message::Ping(_))) => match timeout(stall, socket.flush()).await {
            Ok(Ok(())) => Some(Turn::On),
            Ok(Err(_)) | Err(_) => Some(Turn::CallerLeft),
        },
        Some(Ok(Message::Pong(_) | Message::Frame(_))) => Some(Turn::On),
        Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Close(_)) | Err(_)) | None => {
            budget.work();
            None
        }
    }
}

/// How it goes on, unless that takes too long.
async fn within(stall: Duration, turn: impl Future<Output = Turn>, otherwise: Turn) -> Turn {
    timeout(stall, turn).await.unwrap_or(otherwise)
}

/// Passes on what the caller said, if it may say it.
async fn heard(
    frames: &mut Conversation,
    said: Option<Result<Message, Error>>,
    model: &mut Socket,
) -> Turn {
    let message = match said {
        Some(Ok(Message::Close(close))) => return Turn::Closed(close),
        Some(Ok(message)) => message,
        Some(Err(_)) | None => return Turn::CallerLeft,
    };
    let examined = match &message {
        Message::Text(text) => frames.examine(text.as_bytes(), false).await,
        Message::Binary(bytes) => frames.examine(bytes, true).await,
        // Answered by the socket itself.
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => {
            return Turn::On;
        }
    };
    match examined {
        Err(refused) => Turn::Refused(refused),
        Ok(()) if model.send(message).await.is_ok() => Turn::On,
        Ok(()) => Turn::ModelFailed,
    }
}

/// Passes on what the model said.
async fn passed(
    frames: &mut Conversation,
    said: Option<Result<Message, Error>>,
    caller: &mut CallerSocket,
) -> Turn {
    match said {
        Some(Ok(Message::Close(close))) => {
            if let Some(close) = &close {
                frames.closing(close.code.into());
            }
            Turn::Closed(close)
        }
        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
            match &message {
                Message::Text(text) => frames.heard(text.as_bytes()),
                Message::Binary(bytes) => frames.heard(bytes),
                _ => {}
            }
            match caller.send(message).await {
                Ok(()) => Turn::On,
                Err(_) => Turn::CallerLeft,
            }
        }
        Some(Ok(_)) => Turn::On,
        Some(Err(_)) | None => Turn::ModelFailed,
    }
}

/// Makes headers those of a request, or of an answer, that opens a WebSocket without
/// extensions (RFC 6455 §4).
pub(crate) fn upgrading(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}
