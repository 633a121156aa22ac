//! The callers' connections and their limits.
//!
//! 1. The number of connections is limited, in all and per peer: see [`PeerNetwork::host`].
//! 2. At the limit, the connection that has been idle for the longest time is closed to make
//!    room: one of the same peer, if that peer is at its own limit.
//! 3. A connection that is refused gets a response, if sending it takes at most [`REFUSAL`].
//! 4. A connection may have only a few requests to public routes in progress.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spanner_tower::PeerNetwork;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::meters;
use crate::slot_pool::{PoolSlot, SlotPool};

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct Connections {
    all: SlotPool,
    per_peer: usize,
    peers: Mutex<HashMap<PeerNetwork, SlotPool>>,
    /// Limits how many refusals are sent at once.
    refusals: Arc<Semaphore>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    state: Mutex<ConnectionState>,
    evicted: CancellationToken,
    public_requests: Arc<Semaphore>,
}

/// A connection, as an extension of its requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionHandle(Arc<Connection>);

#[derive(Debug)]
struct ConnectionState {
    all: PoolSlot,
    peer: Option<PoolSlot>,
    /// How many of its requests are active.
    active: usize,
    idle_since: Instant,
}

/// An active request of a connection. Dropping it ends the activity.
#[derive(Debug)]
pub(crate) struct ActiveRequest(ConnectionHandle);

/// Which limit was reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConnectionLimit {
    All,
    Peer,
}

impl Connections {
    pub(crate) fn new(all: usize, per_peer: usize) -> Self {
        Self {
            all: SlotPool::new(all),
            per_peer,
            peers: Mutex::default(),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }

    /// Takes a slot for a connection; `None` if no connection is idle.
    pub(crate) async fn enter(&self) -> Option<ConnectionHandle> {
        let evicted = CancellationToken::new();
        let mut all = self.all.acquire(evicted.clone()).await?;
        all.mark_idle();
        let state = ConnectionState {
            all,
            peer: None,
            active: 0,
            idle_since: Instant::now(),
        };
        Some(ConnectionHandle(Arc::new(Connection {
            state: Mutex::new(state),
            evicted,
            public_requests: Arc::new(Semaphore::new(MAX_PUBLIC)),
        })))
    }

    /// Takes a slot of the peer's share. Returns whether there was one.
    pub(crate) async fn take_share(&self, connection: &ConnectionHandle, peer: IpAddr) -> bool {
        let pool = self.peer(PeerNetwork::host(peer));
        let Some(mut slot) = pool.acquire(connection.0.evicted.clone()).await else {
            return false;
        };
        let mut state = connection.state();
        if state.active == 0 {
            slot.mark_idle();
        }
        state.peer = Some(slot);
        true
    }

    fn peer(&self, peer: PeerNetwork) -> SlotPool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = peers.get(&peer) {
            return pool.clone();
        }
        if peers.len() >= MAX_UNUSED && peers.len().is_power_of_two() {
            peers.retain(|_, pool| !pool.is_unused(self.per_peer));
        }
        let pool = SlotPool::new(self.per_peer);
        peers.insert(peer, pool.clone());
        pool
    }

    /// Refuses a connection with a response, and closes it.
    pub(crate) fn refuse(&self, stream: TcpStream, limit: ConnectionLimit) {
        meters::refused(limit.as_str());
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let _permit = permit;
            // The connection is closed whether or not the client receives the response.
            drop(timeout(REFUSAL, send_refusal(stream, limit)).await);
        });
    }
}

impl ConnectionHandle {
    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has begun: unless others are active, the idle time starts again.
    pub(crate) fn begin(&self) {
        let mut state = self.state();
        if state.active == 0 {
            state.mark_idle();
        }
    }

    /// Counts one more active request. A connection with an active request is not closed for
    /// another.
    pub(crate) fn activate(self) -> ActiveRequest {
        let mut state = self.state();
        state.active += 1;
        state.all.mark_busy();
        if let Some(peer) = &mut state.peer {
            peer.mark_busy();
        }
        drop(state);
        ActiveRequest(self)
    }

    /// Takes a permit for a request to a public route.
    pub(crate) fn public_request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.public_requests).try_acquire_owned().ok()
    }

    #[cfg(test)]
    pub(crate) fn is_active(&self) -> bool {
        self.state().active > 0
    }

    /// How long it has been idle.
    fn idle_time(&self) -> Duration {
        let state = self.state();
        match state.active {
            0 => state.idle_since.elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// Waits until the connection must be closed: because it was evicted for another, or because
    /// it has been idle for `idle`.
    pub(crate) async fn expired(&self, idle: Duration) {
        let too_long = async {
            loop {
                let left = idle.saturating_sub(self.idle_time());
                if left.is_zero() {
                    return;
                }
                sleep(left).await;
            }
        };
        tokio::select! {
            () = self.0.evicted.cancelled() => {}
            () = too_long => {}
        }
        meters::closed_idle();
    }
}

impl ConnectionState {
    fn mark_idle(&mut self) {
        self.idle_since = Instant::now();
        self.all.mark_idle();
        if let Some(peer) = &mut self.peer {
            peer.mark_idle();
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.active -= 1;
        if state.active == 0 {
            state.mark_idle();
        }
    }
}

impl ConnectionLimit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "connections",
            Self::Peer => "connections_per_peer",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::All => "too many connections are open",
            Self::Peer => "too many connections of your address are open",
        }
    }

    /// The response over HTTP/1.
    fn http1(self) -> String {
        let body = format!(
            r#"{{"type":"about:blank","title":"guard_unavailable","status":503,"detail":"{}; close some, and try again","fault":"guard_unavailable"}}"#,
            self.sentence()
        );
        format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
             content-length: {}\r\ncache-control: no-store\r\nretry-after: 1\r\n\
             spanner-origin: guard\r\nspanner-fault: guard_unavailable\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

/// The response over HTTP/2: no settings, and a GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §6.8, §7).
const GOAWAY: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, //
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11,
];

async fn send_refusal(mut stream: TcpStream, limit: ConnectionLimit) -> std::io::Result<()> {
    // Closing a socket with unread bytes resets it, and the client may miss the response.
    let mut received = [0; 4096];
    stream.readable().await?;
    let length = stream.try_read(&mut received)?;
    let http2 = received
        .get(..length)
        .is_some_and(|it| it.starts_with(b"PRI "));
    match http2 {
        true => stream.write_all(GOAWAY).await?,
        false => stream.write_all(limit.http1().as_bytes()).await?,
    }
    stream.shutdown().await?;
    loop {
        stream.readable().await?;
        match stream.try_read(&mut received) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Requests to public routes in progress on one connection: health checkers send one at a time.
const MAX_PUBLIC: usize = 32;
/// Refusals that are sent at once: each costs a task and a buffer of 4 KiB. Further connections are
/// closed without a response.
const MAX_REFUSALS: usize = 256;
/// How long sending a refusal may take: two round trips to a distant client.
const REFUSAL: Duration = Duration::from_millis(500);
/// How many peers are kept before those without a connection are removed: a few hundred bytes each.
const MAX_UNUSED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_at_its_limit_loses_its_own_idle_connection() {
        let connections = Connections::new(10, 2);
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let other = connections.enter().await.unwrap();
        assert!(connections.take_share(&other, there).await);
        let mut own = Vec::new();
        for _ in 0..2 {
            let connection = connections.enter().await.unwrap();
            assert!(connections.take_share(&connection, here).await);
            own.push(Some(connection));
        }
        let first = own[0].take().unwrap();
        let ending = tokio::spawn(async move { first.expired(Duration::MAX / 4).await });
        let next = connections.enter().await.unwrap();
        assert!(connections.take_share(&next, here).await);
        ending.await.unwrap();
        assert!(!other.0.evicted.is_cancelled());
        // Active connections are not closed for others.
        let active = [own[1].clone().unwrap().activate(), next.activate()];
        let more = connections.enter().await.unwrap();
        assert!(!connections.take_share(&more, here).await);
        assert!(connections.take_share(&more, there).await);
        drop(active);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_expires() {
        let connections = Connections::new(10, 2);
        let connection = connections.enter().await.unwrap();
        let idle = Duration::from_secs(600);
        let active = connection.clone().activate();
        let expired = connection.expired(idle);
        tokio::pin!(expired);
        let while_active = timeout(idle * 3, &mut expired).await;
        assert!(while_active.is_err());
        drop(active);
        assert!(timeout(idle * 2, expired).await.is_ok());
    }
}
