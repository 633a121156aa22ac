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
use spanner_tower::{FrameRefused, Frames};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The conversations under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Talks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// One conversation that is about to begin.
pub(crate) struct Talk {
    pub(crate) frames: Frames,
    pub(crate) caller: OnUpgrade,
    pub(crate) model: OnUpgrade,
    /// The upstream's place, for as long as it lasts.
    pub(crate) place: OwnedSemaphorePermit,
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The largest message, in bytes: some minutes of sound, or a photograph.
const MAX_MESSAGE: usize = 16 << 20;
/// How long either side may take to become a WebSocket, or to take a close.
const MOMENT: Duration = Duration::from_secs(5);

impl Talks {
    /// Begins a conversation as soon as both sides are there.
    pub(crate) fn begin(&self, talk: Talk) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let Talk {
                frames,
                caller,
                model,
                place,
            } = talk;
            let both = async { tokio::try_join!(caller, model) };
            if let Ok(Ok((caller, model))) = timeout(MOMENT, both).await {
                let caller = socket(caller, Role::Server).await;
                let model = socket(model, Role::Client).await;
                converse(frames, caller, model, stop).await;
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

async fn socket(stream: Upgraded, role: Role) -> Socket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(TokioIo::new(stream), role, Some(config)).await
}

/// How a conversation went on.
enum Turn {
    On,
    /// One side closed it, perhaps with a reason.
    Closed(Option<CloseFrame>),
    Refused(FrameRefused),
    CallerLeft,
    ModelFailed,
    Stopped,
}

async fn converse(
    mut frames: Frames,
    mut caller: Socket,
    mut model: Socket,
    stop: CancellationToken,
) {
    // Also while either side takes its time with a message.
    let mut ending = pin!(frames.ending().wait());
    let end = loop {
        let turn = tokio::select! {
            () = stop.cancelled() => Turn::Stopped,
            refused = &mut ending => Turn::Refused(refused),
            turn = turn(&mut frames, &mut caller, &mut model) => turn,
        };
        if !matches!(turn, Turn::On) {
            break turn;
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
            let code = CloseCode::from(FrameRefused::CLOSE_CODE);
            frame(code, refused.reason())
        }
        Turn::ModelFailed => frame(CloseCode::Error, "the model's server broke off".to_owned()),
        Turn::Stopped => frame(CloseCode::Away, "the service is being restarted".to_owned()),
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
        Turn::Closed(_) | Turn::Stopped => frames.finish(),
        Turn::ModelFailed => frames.broke(),
        // Its end says by itself that the caller left, or was refused.
        Turn::CallerLeft | Turn::Refused(_) | Turn::On => drop(frames),
    }
}

/// Waits for either side, and passes on what it said.
async fn turn(frames: &mut Frames, caller: &mut Socket, model: &mut Socket) -> Turn {
    tokio::select! {
        said = caller.next() => heard(frames, said, model).await,
        said = model.next() => passed(frames, said, caller).await,
    }
}

/// Passes on what the caller said, if it may say it.
async fn heard(
    frames: &mut Frames,
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
    frames: &mut Frames,
    said: Option<Result<Message, Error>>,
    caller: &mut Socket,
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
