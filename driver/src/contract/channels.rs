//! Channels of messages between nodes.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::future::{join, join3, join4};
use septa_core::{
    PeerId,
    connection::Config as ConnectionConfig,
    node::{Backoff, Config, RateLimits},
    yamux::INITIAL_WINDOW,
};

use super::{
    ends::{Ends, any_addr},
    polled::{at_every_poll, polled},
    world::{LONG, identity, pattern},
};
use crate::{
    channel::{Channel, ChannelOptions, Epoch, Received, SendError, TrySendError, Watermarks},
    node::{EventFilter, EventKind, Intent, Node, PeerState},
};

const NAME: &str = "contract";
/// Few of these fit into the window of a stream and what is in front of and behind it ...
const LENGTH: usize = 60_000;
/// ... and many more wait when a channel is full.
const HIGH: usize = 40;
const LOW: usize = 4;

/// Alice keeps a connection to bob, and both have the channel open.
struct World {
    alice: Node,
    bob: Node,
    near: Channel,
    far: Channel,
}

/// A message of the suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Message {
    number: u64,
    /// It belongs to a future that was dropped before it returned, and must not arrive.
    is_given_up: bool,
}

impl Message {
    fn new(number: u64) -> Self {
        Self { number, is_given_up: false }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut body = vec![7; LENGTH];
        body[..8].copy_from_slice(&self.number.to_be_bytes());
        body[8] = self.is_given_up.into();
        body
    }

    fn from_bytes(body: &[u8]) -> Self {
        assert_eq!(body.len(), LENGTH);
        Self { number: u64::from_be_bytes(body[..8].try_into().unwrap()), is_given_up: body[8] != 0 }
    }
}

impl World {
    async fn new(ends: &Ends) -> Self {
        let mut options = ChannelOptions::default();
        options.config.watermarks = Watermarks { high_messages: HIGH, low_messages: LOW, ..Watermarks::default() };
        options.config.max_received_messages = 4;
        Self::with(ends, options).await
    }

    async fn with(ends: &Ends, options: ChannelOptions) -> Self {
        // All come from one address, and faster than strangers may.
        let mut rates = RateLimits::inbound_connects();
        (rates.prefix.burst, rates.overall.burst) = (100_000, 100_000);
        let backoff =
            Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(20), ..Backoff::default() };
        let config = Config { backoff, connect_rates: rates, handshake_rates: rates, ..Config::default() };
        let mut connections = ConnectionConfig::default();
        // What a stream holds that nobody reads stays the same.
        Arc::make_mut(&mut connections.yamux).max_window = INITIAL_WINDOW;
        let node = |seed| Node::builder(identity(seed)).config(config.clone()).connection_config(connections.clone());
        let alice = node(1).build(ends.dialer.clone()).unwrap();
        let bob = node(2).build(ends.listener.clone()).unwrap();
        let near = alice.channel_with(NAME, options.clone()).unwrap();
        let far = bob.channel_with(NAME, options).unwrap();
        let addr = bob.listen(&any_addr()).await.unwrap();
        alice.connect_to(&addr).await.unwrap();
        alice.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
        Self { alice, bob, near, far }
    }

    fn peer(&self) -> PeerId {
        self.bob.peer_id()
    }

    /// Sends messages from `next` on until the channel takes no more, and returns the number of the next one. It takes no
    /// more before some of them are taken: what leaves meanwhile does not bring it down to the low mark.
    fn fill(&self, mut next: u64) -> u64 {
        loop {
            match self.near.try_send(self.peer(), &Message::new(next).to_bytes()) {
                Ok(_) => next += 1,
                Err(TrySendError::Full { .. }) => return next,
                Err(TrySendError::Failed(error)) => panic!("{error}"),
            }
        }
    }

    /// Takes the messages of the numbers, which come in order and without others.
    async fn take(&self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            let (peer, _, body) = next(&self.far).await;
            assert_eq!((peer, Message::from_bytes(&body)), (self.alice.peer_id(), Message::new(number)));
        }
    }

    async fn end(&self) {
        join(self.alice.shutdown(LONG), self.bob.shutdown(LONG)).await;
        for node in [&self.alice, &self.bob] {
            assert_eq!((node.live_tasks(), node.stats().connections, node.health().panicked_tasks), (0, 0, 0));
        }
    }
}

async fn next(channel: &Channel) -> (PeerId, Epoch, Vec<u8>) {
    match channel.recv().await {
        Some(Received::Message { peer, epoch, body }) => (peer, epoch, body.to_vec()),
        other => panic!("no message but {other:?}"),
    }
}

/// What comes until the channel or its node has ended.
async fn receive_all(channel: &Channel) -> Vec<Received> {
    let mut all = Vec::new();
    while let Some(received) = channel.recv().await {
        all.push(received);
    }
    all
}

/// Polls a future once, and says whether it waits.
async fn waits<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Both ends send and take at once.
pub async fn messages_arrive_whole_and_in_order_both_ways(ends: &Ends) {
    let world = World::with(ends, ChannelOptions::default()).await;
    let sizes = [0, 1, 127, 128, 20_000, 300_000, 5, 1024 * 1024];
    let messages: Vec<Vec<u8>> = sizes.iter().cycle().take(40).map(|size| pattern(*size)).collect();
    let send = async |channel: &Channel, to: PeerId| {
        for message in &messages {
            channel.send(to, &message[..]).await.unwrap();
        }
    };
    let take = async |channel: &Channel, from: PeerId| {
        for message in &messages {
            let (peer, _, body) = next(channel).await;
            assert!(peer == from && body == *message, "{} bytes instead of {}", body.len(), message.len());
        }
    };
    let (alice, bob) = (world.alice.peer_id(), world.bob.peer_id());
    join4(send(&world.near, bob), take(&world.near, bob), send(&world.far, alice), take(&world.far, alice)).await;
    world.end().await;
}

/// A message longer than the limit is refused at once, and the longest is not.
pub async fn a_message_is_as_long_as_may_be_or_refused(ends: &Ends) {
    let world = World::with(ends, ChannelOptions::default()).await;
    let longest = pattern(ChannelOptions::default().config.max_message_len);
    let longer = [&longest[..], b"!"].concat();
    let refused = world.near.send(world.peer(), &longer[..]).await;
    assert!(matches!(refused, Err(SendError::TooLong { .. })), "{refused:?}");
    world.near.send(world.peer(), &longest[..]).await.unwrap();
    assert!(next(&world.far).await.2 == longest);
    world.end().await;
}

/// What is sent waits for the receiver, and the sender does; when messages are taken, it goes on.
pub async fn a_sender_waits_until_the_receiver_reads(ends: &Ends) {
    let world = World::new(ends).await;
    let full = world.fill(0);
    let stats = world.near.stats(&world.peer()).unwrap();
    assert!(stats.messages > LOW && stats.messages <= HIGH, "{stats:?}");
    let message = Message::new(full).to_bytes();
    let (mut send, mut ready) = (pin!(world.near.send(world.peer(), &message)), pin!(world.near.ready(world.peer())));
    assert!(waits(send.as_mut()).await && waits(ready.as_mut()).await);
    let (sent, is_ready, ()) = join3(send, ready, world.take(0..full + 1)).await;
    sent.unwrap();
    is_ready.unwrap();
    world.end().await;
}

/// A send that is given up sends nothing and takes nobody's place.
pub async fn cancelled_sends(ends: &Ends) {
    let world = World::new(ends).await;
    let mut first = 0;
    at_every_poll(async |polls| {
        let full = world.fill(first);
        let given_up = Message { number: full, is_given_up: true };
        // It may return only if it was sent, so that what it sends is known only then.
        let send = async {
            world.near.ready(world.peer()).await.unwrap();
            world.near.send(world.peer(), &Message::new(full).to_bytes()).await.unwrap();
        };
        let other = polled(polls.min(1), world.near.send(world.peer(), &given_up.to_bytes())).await;
        assert!(other.is_none(), "nobody reads");
        let (sent, ()) = join(polled(polls, send), world.take(first..full)).await;
        let is_done = sent.is_some();
        first = full + u64::from(is_done);
        world.take(full..first).await;
        assert_eq!(world.near.stats(&world.peer()).map_or(0, |stats| stats.waiting), 0);
        is_done
    })
    .await;
    world.end().await;
}

/// A receiver that is given up loses no message.
pub async fn cancelled_receives(ends: &Ends) {
    let world = World::new(ends).await;
    let mut number = 0;
    at_every_poll(async |polls| {
        let send = async { world.near.send(world.peer(), &Message::new(number).to_bytes()).await.unwrap() };
        let (early, _) = join(polled(polls, next(&world.far)), send).await;
        let is_done = early.is_some();
        let (_, _, body) = match early {
            Some(message) => message,
            None => next(&world.far).await,
        };
        assert_eq!(Message::from_bytes(&body), Message::new(number));
        number += 1;
        is_done
    })
    .await;
    world.end().await;
}

/// What is sent while the peer is away arrives when it is back, in a later epoch.
pub async fn messages_wait_for_a_lost_peer(ends: &Ends) {
    let world = World::new(ends).await;
    let peer = world.peer();
    world.near.send(peer, &Message::new(0).to_bytes()).await.unwrap();
    let (_, before, _) = next(&world.far).await;
    let mut events = world.alice.subscribe(EventFilter::new().kind(EventKind::State).peer(peer));
    world.alice.connection(&peer).unwrap().close(0);
    // Until it is over, what is sent may be sent on it and be lost with it.
    while world.alice.state(&peer) == PeerState::Established || world.alice.state(&peer) == PeerState::Draining {
        assert!(events.next().await.is_some());
    }
    world.near.send(peer, &Message::new(1).to_bytes()).await.unwrap();
    let (_, after, body) = next(&world.far).await;
    assert_eq!(Message::from_bytes(&body), Message::new(1));
    assert!(after > before, "{after:?} is not later than {before:?}");
    world.end().await;
}

/// Whoever waits for anything is told.
pub async fn close_wakes_everybody(ends: &Ends) {
    let world = World::new(ends).await;
    let full = world.fill(0);
    let peer = world.peer();
    let message = Message::new(full).to_bytes();
    let (mut send, mut ready) = (pin!(world.near.send(peer, &message)), pin!(world.near.ready(peer)));
    let mut receive = pin!(world.near.recv());
    assert!(waits(send.as_mut()).await && waits(ready.as_mut()).await && waits(receive.as_mut()).await);
    world.near.clone().close();
    let (sent, is_ready, received) = join3(send, ready, receive).await;
    assert!(matches!(sent, Err(SendError::Closed { .. })), "{sent:?}");
    assert!(matches!(is_ready, Err(SendError::Closed { .. })), "{is_ready:?}");
    assert_eq!(received, None);
    let again = world.near.try_send(peer, &message);
    assert!(matches!(again, Err(TrySendError::Failed(SendError::Closed { .. }))), "{again:?}");
    // The name is free again.
    ends.eventually(|| world.alice.channel(NAME).is_ok()).await;
    world.end().await;
}

/// A node ends with its channels, however much waits in them.
pub async fn a_shutdown_ends_channels(ends: &Ends) {
    let world = World::new(ends).await;
    let full = world.fill(0);
    let peer = world.peer();
    let message = Message::new(full).to_bytes();
    let (mut send, mut receive) = (pin!(world.near.send(peer, &message)), pin!(receive_all(&world.near)));
    assert!(waits(send.as_mut()).await && waits(receive.as_mut()).await);
    let (sent, received, (), ()) = join4(send, receive, world.alice.shutdown(LONG), world.bob.shutdown(LONG)).await;
    assert!(matches!(sent, Err(SendError::Closed { .. })), "{sent:?}");
    // At most the one message that was begun.
    assert!(received.len() <= 1 && received.iter().all(|news| matches!(news, Received::Lost { .. })), "{received:?}");
    world.end().await;
}
