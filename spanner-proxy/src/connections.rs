//! The callers' connections, and what each may hold.
//!
//! 1. The number of connections is limited, in all and per client address: an IPv4 address,
//!    or the first 64 bits of an IPv6 address, which is what one party is given.
//! 2. At the limit, the connection that has been idle for the longest time is closed to make
//!    room: one of the same address, if that address is at its own limit.
//! 3. A client that gets no place is told so, if that takes no longer than a moment.
//! 4. A connection may have only a few requests to public routes under way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::slot_pool::{Crowd, Seat};
use crate::meters;

/// The connections at one address of ours.
#[derive(Debug)]
pub(crate) struct Connections {
    all: Crowd,
    per_peer: usize,
    peers: Mutex<HashMap<IpAddr, Crowd>>,
    /// Limits how many clients are being turned away at once.
    refused: Arc<Semaphore>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    seats: Mutex<Seats>,
    ended: CancellationToken,
    public: Arc<Semaphore>,
}

/// A connection that its requests know. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Line(Arc<Connection>);

#[derive(Debug)]
struct Seats {
    all: Seat,
    peer: Option<Seat>,
    /// How many of its requests are being worked on.
    working: usize,
    idle_since: Instant,
}

/// A request of a connection is being worked on, until this is dropped.
#[derive(Debug)]
pub(crate) struct Work(Line);

/// Which limit was reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Full {
    All,
    Peer,
}

impl Connections {
    pub(crate) fn new(all: usize, per_peer: usize) -> Self {
        Self {
            all: Crowd::new(all),
            per_peer,
            peers: Mutex::default(),
            refused: Arc::new(Semaphore::new(MAX_TOLD)),
        }
    }

    /// Takes a place among all.
    pub(crate) async fn enter(&self) -> Option<Line> {
        let ended = CancellationToken::new();
        let mut all = self.all.sit(ended.clone()).await?;
        all.idle();
        let seats = Seats {
            all,
            peer: None,
            working: 0,
            idle_since: Instant::now(),
        };
        Some(Line(Arc::new(Connection {
            seats: Mutex::new(seats),
            ended,
            public: Arc::new(Semaphore::new(MAX_PUBLIC)),
        })))
    }

    /// Takes a place among those of its address; returns whether there was one.
    pub(crate) async fn take_share(&self, line: &Line, peer: IpAddr) -> bool {
        let crowd = self.peer(of_party(peer));
        let Some(mut seat) = crowd.sit(line.0.ended.clone()).await else {
            return false;
        };
        let mut seats = line.seats();
        if seats.working == 0 {
            seat.idle();
        }
        seats.peer = Some(seat);
        true
    }

    fn peer(&self, party: IpAddr) -> Crowd {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(crowd) = peers.get(&party) {
            return crowd.clone();
        }
        if peers.len() >= MANY && peers.len().is_power_of_two() {
            peers.retain(|_, crowd| !crowd.is_empty(self.per_peer));
        }
        let crowd = Crowd::new(self.per_peer);
        peers.insert(party, crowd.clone());
        crowd
    }

    /// Tells a client that there is no place for it, and closes.
    pub(crate) fn turn_away(&self, stream: TcpStream, full: Full) {
        meters::turned_away(full.as_str());
        let Ok(told) = Arc::clone(&self.refused).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let _told = told;
            // Whether the client receives it does not matter here.
            drop(timeout(MOMENT, say(stream, full)).await);
        });
    }
}

impl Line {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has begun: unless others are worked on, the idle time starts anew.
    pub(crate) fn begin(&self) {
        let mut seats = self.seats();
        if seats.working == 0 {
            seats.idle();
        }
    }

    /// Work on one of its requests begins.
    pub(crate) fn work(self) -> Work {
        let mut seats = self.seats();
        seats.working += 1;
        seats.all.busy();
        if let Some(peer) = &mut seats.peer {
            peer.busy();
        }
        drop(seats);
        Work(self)
    }

    /// Takes a place for a request to a public route.
    pub(crate) fn public(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.public).try_acquire_owned().ok()
    }

    /// How long it has been idle.
    fn quiet(&self) -> Duration {
        let seats = self.seats();
        match seats.working {
            0 => seats.idle_since.elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// Waits until the connection must be closed: because others need its place, or because
    /// it has been idle for too long.
    pub(crate) async fn over(&self, idle: Duration) {
        let for_long = async {
            loop {
                let left = idle.saturating_sub(self.quiet());
                if left.is_zero() {
                    return;
                }
                sleep(left).await;
            }
        };
        tokio::select! {
            () = self.0.ended.cancelled() => {}
            () = for_long => {}
        }
        meters::closed_idle();
    }
}

impl Seats {
    fn idle(&mut self) {
        self.idle_since = Instant::now();
        self.all.idle();
        if let Some(peer) = &mut self.peer {
            peer.idle();
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut seats = self.0.seats();
        seats.working -= 1;
        if seats.working == 0 {
            seats.idle();
        }
    }
}

impl Full {
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

    /// The answer to a client of HTTP/1.
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

/// No settings, and a GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §6.8, §7).
const CALM: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, //
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11,
];

async fn say(mut stream: TcpStream, full: Full) -> std::io::Result<()> {
    // Closing a socket that has unread bytes resets it, and the client may miss the answer.
    let mut came = [0; 4096];
    stream.readable().await?;
    let length = stream.try_read(&mut came)?;
    let http2 = came.get(..length).is_some_and(|it| it.starts_with(b"PRI "));
    match http2 {
        true => stream.write_all(CALM).await?,
        false => stream.write_all(full.http1().as_bytes()).await?,
    }
    stream.shutdown().await?;
    loop {
        stream.readable().await?;
        match stream.try_read(&mut came) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// What stands for one party: an IPv4 address, or the first 64 bits of an IPv6 address.
fn of_party(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(prefix.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Requests of one connection to public routes at a time: probes come one by one.
const MAX_PUBLIC: usize = 32;
/// Clients that are being turned away at a time: each costs a task and a small buffer.
const MAX_TOLD: usize = 256;
/// How long turning one away may take.
const MOMENT: Duration = Duration::from_millis(500);
/// Addresses that are remembered before those without a connection are forgotten.
const MANY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_an_address_or_a_network() {
        for (peer, party) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(of_party(peer.parse().unwrap()).to_string(), party);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_with_its_share_gives_up_its_own() {
        let connections = Connections::new(10, 2);
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let other = connections.enter().await.unwrap();
        assert!(connections.take_share(&other, there).await);
        let mut own = Vec::new();
        for _ in 0..2 {
            let line = connections.enter().await.unwrap();
            assert!(connections.take_share(&line, here).await);
            own.push(Some(line));
        }
        let first = own[0].take().unwrap();
        let ending = tokio::spawn(async move { first.over(Duration::MAX / 4).await });
        let next = connections.enter().await.unwrap();
        assert!(connections.take_share(&next, here).await);
        ending.await.unwrap();
        assert!(!other.0.ended.is_cancelled());
        // Where somebody works at all of them, there is none to give up.
        let work = [own[1].clone().unwrap().work(), next.work()];
        let more = connections.enter().await.unwrap();
        assert!(!connections.take_share(&more, here).await);
        assert!(connections.take_share(&more, there).await);
        drop(work);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_closed_after_a_while() {
        let connections = Connections::new(10, 2);
        let line = connections.enter().await.unwrap();
        let idle = Duration::from_secs(600);
        let work = line.clone().work();
        let over = line.over(idle);
        tokio::pin!(over);
        let working = timeout(idle * 3, &mut over).await;
        assert!(working.is_err());
        drop(work);
        assert!(timeout(idle * 2, over).await.is_ok());
    }
}
