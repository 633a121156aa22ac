//! Rations the questions to an issuer.
//!
//! A question is about a token that anybody can make up, so unauthenticated clients can use up
//! questions. They are therefore rationed:
//!
//! 1. At most [`QUESTIONS`] are in progress. Unknown tokens, which were never active before, get
//!    at most [`STRANGERS`] of them; the rest is reserved for known tokens.
//! 2. If the peers of requests are known, the unknown tokens from one network (a /24, or a /56
//!    of IPv6) get at most [`PER_NETWORK`]. Further questions wait in the network's queue, and
//!    networks take turns.
//! 3. A question about an unknown token that turns out to be invalid keeps its ticket for a
//!    quarter of a second, which limits the rate of questions to an issuer that answers fast.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::peer_network::PeerNetwork;

/// The maximum of concurrent questions to one issuer: 640 a second, if it answers in 100 ms.
pub(super) const QUESTIONS: usize = 64;
/// The maximum of those about unknown tokens: three quarters.
pub(super) const STRANGERS: usize = 48;
/// The maximum of those from one network: half, so that a second network is served.
pub(super) const PER_NETWORK: usize = 24;
/// The minimum time for which an invalid token holds its ticket: at most 192 useless questions a
/// second.
const LEAST: Duration = Duration::from_millis(250);
/// The number of waiting questions per queue, and in all queues of unknown tokens. Known tokens
/// have a queue of their own, so that no number of networks can take their places.
const WAITING: usize = 128;
/// See [`WAITING`].
const ALL_WAITING: usize = 1_024;
/// How long a question waits for a ticket: less than a question may take, so that questions
/// behind hanging ones give up before they are asked.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(4);

/// The network of a peer; `None` if the service does not know its peers.
pub(super) type Network = Option<PeerNetwork>;

/// The questions to one issuer. Clones share one queue.
#[derive(Clone, Default)]
pub(super) struct FairQueue(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    under_way: usize,
    strangers: usize,
    waiting: usize,
    known: VecDeque<oneshot::Sender<Ticket>>,
    networks: HashMap<Network, NetworkLoad>,
    /// The networks with waiting questions, in the order of their turns.
    order: VecDeque<Network>,
}

#[derive(Default)]
struct NetworkLoad {
    under_way: usize,
    waiting: VecDeque<oneshot::Sender<Ticket>>,
    not_before: Option<Instant>,
}

/// The kind of token that a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A token that was active before.
    Known,
    /// An unknown token from this network.
    Stranger(Network),
}

/// The right to ask one question. It ends when it is dropped.
pub(super) struct Ticket {
    queue: FairQueue,
    asker: Asker,
    since: Instant,
    /// Whether the ticket is held for its minimum time.
    holds: bool,
}

impl FairQueue {
    pub(super) fn under_way(&self) -> usize {
        self.lock().under_way
    }

    /// Returns a ticket, after waiting if necessary; `None` if too many wait or it takes too
    /// long.
    pub(super) async fn ticket(&self, asker: Asker) -> Option<Ticket> {
        let waits = {
            let mut state = self.lock();
            // `is_next` drops cancelled waiters, so it must come first.
            if state.is_next(asker) && state.may(asker) {
                state.begin(asker);
                drop(state);
                return Some(self.begun(asker));
            }
            state.wait(asker)?
        };
        timeout(MAX_WAIT, waits).await.ok()?.ok()
    }

    /// The time until which a network's unknown tokens are paused.
    pub(super) fn not_before(&self, network: Network) -> Option<Instant> {
        self.lock().networks.get(&network)?.not_before
    }

    /// Pauses a network's unknown tokens, because its questions fail.
    pub(super) fn pause(&self, network: Network, until: Instant) {
        let mut state = self.lock();
        if state.networks.len() >= ALL_WAITING {
            let now = Instant::now();
            let live = |it: &NetworkLoad| {
                let paused = it.not_before.is_some_and(|time| time > now);
                it.under_way > 0 || !it.waiting.is_empty() || paused
            };
            state.networks.retain(|_, load| live(load));
        }
        state.networks.entry(network).or_default().not_before = Some(until);
    }

    fn begun(&self, asker: Asker) -> Ticket {
        Ticket {
            queue: self.clone(),
            asker,
            since: Instant::now(),
            holds: false,
        }
    }

    fn end(&self, asker: Asker) {
        let next = {
            let mut state = self.lock();
            state.end(asker);
            state.next()
        };
        if let Some((asker, waits)) = next {
            // If the waiter was cancelled, the dropped ticket passes to the next one.
            let _: Result<(), Ticket> = waits.send(self.begun(asker));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there is room for a question.
    fn may(&self, asker: Asker) -> bool {
        if self.under_way >= QUESTIONS {
            return false;
        }
        let Asker::Stranger(network) = asker else {
            return true;
        };
        let most = match network {
            Some(_) => PER_NETWORK,
            None => STRANGERS,
        };
        let load = self.networks.get(&network);
        self.strangers < STRANGERS && load.is_none_or(|it| it.under_way < most)
    }

    /// Whether no other question that could start now has waited longer.
    fn is_next(&mut self, asker: Asker) -> bool {
        self.forget_gone(asker);
        match asker {
            Asker::Known => self.known.is_empty(),
            Asker::Stranger(network) => {
                let load = self.networks.get(&network);
                load.is_none_or(|it| it.waiting.is_empty())
            }
        }
    }

    fn begin(&mut self, asker: Asker) {
        self.under_way += 1;
        if let Asker::Stranger(network) = asker {
            self.strangers += 1;
            self.networks.entry(network).or_default().under_way += 1;
        }
    }

    fn end(&mut self, asker: Asker) {
        self.under_way = self.under_way.saturating_sub(1);
        let Asker::Stranger(network) = asker else {
            return;
        };
        self.strangers = self.strangers.saturating_sub(1);
        if let Some(load) = self.networks.get_mut(&network) {
            load.under_way = load.under_way.saturating_sub(1);
        }
        self.tidy(network);
    }

    /// Drops the state of a network that has none left to keep.
    fn tidy(&mut self, network: Network) {
        let now = Instant::now();
        if self.networks.get(&network).is_some_and(|it| {
            it.under_way == 0
                && it.waiting.is_empty()
                && it.not_before.is_none_or(|time| time <= now)
        }) {
            self.networks.remove(&network);
        }
    }

    fn wait(&mut self, asker: Asker) -> Option<oneshot::Receiver<Ticket>> {
        if asker != Asker::Known && self.waiting >= ALL_WAITING {
            return None;
        }
        let queue = match asker {
            Asker::Known => &mut self.known,
            Asker::Stranger(network) => {
                let load = self.networks.entry(network).or_default();
                if load.waiting.is_empty() {
                    self.order.push_back(network);
                }
                &mut load.waiting
            }
        };
        if queue.len() >= WAITING {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        queue.push_back(sender);
        self.waiting += 1;
        Some(receiver)
    }

    fn forget_gone(&mut self, asker: Asker) {
        let queue = match asker {
            Asker::Known => &mut self.known,
            Asker::Stranger(network) => match self.networks.get_mut(&network) {
                Some(load) => &mut load.waiting,
                None => return,
            },
        };
        let before = queue.len();
        queue.retain(|waits| !waits.is_closed());
        self.waiting = self.waiting.saturating_sub(before - queue.len());
        if let Asker::Stranger(network) = asker
            && before > 0
            && queue.is_empty()
        {
            self.order.retain(|it| *it != network);
        }
    }

    /// Begins the next question.
    fn next(&mut self) -> Option<(Asker, oneshot::Sender<Ticket>)> {
        while self.may(Asker::Known)
            && let Some(waits) = self.known.pop_front()
        {
            self.waiting = self.waiting.saturating_sub(1);
            if !waits.is_closed() {
                self.begin(Asker::Known);
                return Some((Asker::Known, waits));
            }
        }
        for _ in 0..self.order.len() {
            let network = self.order.pop_front()?;
            let asker = Asker::Stranger(network);
            let next = match self.may(asker) {
                true => self.first_of(network),
                false => None,
            };
            let waiting = |it: &NetworkLoad| !it.waiting.is_empty();
            if self.networks.get(&network).is_some_and(waiting) {
                self.order.push_back(network);
            }
            if let Some(waits) = next {
                self.begin(asker);
                return Some((asker, waits));
            }
            self.tidy(network);
        }
        None
    }

    /// The first waiter of a network that was not cancelled.
    fn first_of(&mut self, network: Network) -> Option<oneshot::Sender<Ticket>> {
        let load = self.networks.get_mut(&network)?;
        while let Some(waits) = load.waiting.pop_front() {
            self.waiting = self.waiting.saturating_sub(1);
            if !waits.is_closed() {
                return Some(waits);
            }
        }
        None
    }
}

impl Ticket {
    /// Holds the ticket for its minimum time, because the token was invalid.
    pub(super) fn hold(mut self) {
        self.holds = matches!(self.asker, Asker::Stranger(_));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (queue, asker, until) = (self.queue.clone(), self.asker, self.since + LEAST);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.holds && Instant::now() < until => {
                runtime.spawn(async move {
                    sleep_until(until).await;
                    queue.end(asker);
                });
            }
            _ => queue.end(asker),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Network {
        Some(PeerNetwork::site(address.parse().unwrap()))
    }

    async fn now(queue: &FairQueue, asker: Asker) -> Option<Ticket> {
        timeout(Duration::from_millis(1), queue.ticket(asker))
            .await
            .ok()?
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_get_their_shares_and_the_known_the_rest() {
        let queue = FairQueue::default();
        let mut kept = Vec::new();
        for (address, due) in [
            ("192.0.2.1", PER_NETWORK),
            ("198.51.100.1", PER_NETWORK),
            ("203.0.113.1", 0),
        ] {
            let asker = Asker::Stranger(of(address));
            for _ in 0..due {
                kept.push(now(&queue, asker).await.expect(address));
            }
            assert!(now(&queue, asker).await.is_none(), "{address}");
        }
        for _ in 0..QUESTIONS - STRANGERS {
            kept.push(now(&queue, Asker::Known).await.unwrap());
        }
        assert!(now(&queue, Asker::Known).await.is_none());
        assert_eq!(queue.under_way(), QUESTIONS);
        drop(kept);
        assert_eq!(queue.under_way(), 0);
        assert!(queue.lock().networks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn networks_take_turns_whoever_has_more_that_wait() {
        let queue = FairQueue::default();
        let (crowd, other) = (of("192.0.2.1"), of("198.51.100.1"));
        let mut kept = Vec::new();
        for _ in 0..PER_NETWORK {
            kept.push(now(&queue, Asker::Stranger(crowd)).await.unwrap());
        }
        let third = Asker::Stranger(of("203.0.113.1"));
        for _ in 0..STRANGERS - PER_NETWORK {
            kept.push(now(&queue, third).await.unwrap());
        }
        let (heard, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (network, count) in [(crowd, 100), (other, 1)] {
            for _ in 0..count {
                let (queue, heard) = (queue.clone(), heard.clone());
                tokio::spawn(async move {
                    let ticket = queue.ticket(Asker::Stranger(network)).await;
                    heard.send(network).unwrap();
                    drop(ticket);
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(kept.remove(0));
        drop(kept.remove(0));
        let first = [order.recv().await.unwrap(), order.recv().await.unwrap()];
        assert!(first.contains(&other), "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_for_nothing_is_held_for_a_while() {
        let queue = FairQueue::default();
        let stranger = Asker::Stranger(of("192.0.2.1"));
        now(&queue, stranger).await.unwrap().hold();
        assert_eq!(queue.under_way(), 1);
        tokio::time::sleep(LEAST).await;
        tokio::task::yield_now().await;
        assert_eq!(queue.under_way(), 0);
        now(&queue, Asker::Known).await.unwrap().hold();
        assert_eq!(queue.under_way(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_of_many_networks_leave_the_known_their_queue() {
        let queue = FairQueue::default();
        let mut kept = Vec::new();
        let known = QUESTIONS - STRANGERS;
        for (asker, count) in [(Asker::Stranger(None), STRANGERS), (Asker::Known, known)] {
            for _ in 0..count {
                kept.push(now(&queue, asker).await.unwrap());
            }
        }
        let wait = |asker| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.ticket(asker).await.is_some() })
        };
        let networks = (0..ALL_WAITING).map(|it| of(&format!("10.{}.{}.1", it >> 8, it & 255)));
        let strangers: Vec<_> = networks.map(|it| wait(Asker::Stranger(it))).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let another = Asker::Stranger(of("192.0.2.1"));
        assert!(!wait(another).await.unwrap());
        let known = wait(Asker::Known);
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(kept);
        assert!(known.await.unwrap());
        for stranger in strangers {
            assert!(stranger.await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_queues_are_bounded_and_forget_who_left() {
        let queue = FairQueue::default();
        let stranger = Asker::Stranger(None);
        let mut kept = Vec::new();
        for _ in 0..STRANGERS {
            kept.push(now(&queue, stranger).await.unwrap());
        }
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.ticket(stranger).await.is_some() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let at_once = timeout(Duration::ZERO, queue.ticket(stranger)).await;
        assert!(at_once.is_ok_and(|ticket| ticket.is_none()));
        for task in waiting {
            task.abort();
            assert!(task.await.is_err());
        }
        assert!(now(&queue, stranger).await.is_none());
        drop(kept);
        assert!(now(&queue, stranger).await.is_some());
        assert_eq!(queue.lock().waiting, 0);
    }
}
