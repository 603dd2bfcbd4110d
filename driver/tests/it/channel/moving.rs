//! Channels while connections come and go.

use std::{fmt, time::Duration};

use futures_util::AsyncWriteExt;
use septa_core::ConnectionId;
use septa_driver::{
    Channel,
    channel::{ChannelOptions, Epoch, Received, SendError},
    node::Intent,
};

use septa_sim::LinkOptions;

use super::{connected, connected_to, listen, message, number, number_of, orders, small_marks};
use crate::{
    node::{LONG, Nodes},
    world::{Conditions, calm},
};

fn short_number(count: usize) -> Vec<u8> {
    [&(count as u64).to_be_bytes()[..], &[7; 300]].concat()
}

async fn with_epoch(channel: &Channel) -> (Epoch, usize) {
    match channel.recv().await {
        Some(Received::Message { epoch, body, .. }) => (epoch, number_of(&body)),
        other => panic!("no message but {other:?}"),
    }
}

/// Two nodes on a line with a latency of 20 ms that keep each other. One dials so many milliseconds after the other: both
/// dials may become connections, of which one has to give way.
struct Duel {
    nodes: Nodes,
    channels: [Channel; 2],
    first: usize,
    delay: u64,
}

impl Duel {
    fn all() -> impl Iterator<Item = Self> {
        let delays = (0..=120).step_by(10);
        delays.flat_map(|delay| [0, 1].map(|first| Self::new(first, delay)))
    }

    fn new(first: usize, delay: u64) -> Self {
        let link = LinkOptions { latency: Duration::from_millis(20), ..LinkOptions::default() };
        let nodes = Nodes::new(Conditions { link, ..calm() }, 2);
        let channels = [0, 1].map(|number| nodes.nodes[number].channel("chat").unwrap());
        Self { nodes, channels, first, delay }
    }

    async fn dial(&self) {
        let addrs = [listen(&self.nodes, 0).await, listen(&self.nodes, 1).await];
        for (from, delay) in [(self.first, 0), (1 - self.first, self.delay)] {
            self.nodes.sleep(Duration::from_millis(delay)).await;
            let (peer, addr) = (self.nodes.peer(1 - from), addrs[1 - from].clone());
            self.nodes.nodes[from].add_peer(peer, &[addr], Intent::Persistent).unwrap();
        }
    }

    fn end(self) {
        drop(self.channels);
        self.nodes.end();
    }
}

impl fmt::Debug for Duel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dials {} ms after {}", 1 - self.first, self.delay, self.first)
    }
}

/// The one that is used is ended while there are two, so that the state of the peer does not change.
#[test]
fn the_other_connection_is_used_when_one_of_two_is_lost() {
    let mut pairs = 0;
    for duel in Duel::all() {
        for wait in (0..200).step_by(20) {
            let duel = Duel::new(duel.first, duel.delay);
            let Duel { nodes, channels, .. } = &duel;
            nodes.run(async {
                let peer = nodes.peer(1);
                channels[0].send(peer, &short_number(0)).await.unwrap();
                duel.dial().await;
                nodes.sleep(Duration::from_millis(wait)).await;
                let Some(connection) = nodes.nodes[0].connection(&peer) else { return };
                pairs += usize::from(nodes.nodes[0].peer_info(&peer).unwrap().connections.len() == 2);
                connection.close(0);
                let began = nodes.simulation.now();
                for count in 1..3 {
                    channels[0].send(peer, &short_number(count)).await.unwrap();
                }
                while number_of(&message(&channels[1]).await.1) != 2 {}
                let waited = nodes.simulation.now().saturating_duration_since(began);
                assert!(waited < Duration::from_secs(5), "{waited:?}, {duel:?}");
            });
            duel.end();
        }
        duel.end();
    }
    assert!(pairs > 20, "there were two connections {pairs} times");
}

/// One connection gives way while messages flow without a pause, for longer than it stays open.
#[test]
fn nothing_is_lost_and_all_stays_in_order_when_a_connection_gives_way_under_load() {
    const COUNT: usize = 1500;
    let mut moves = 0;
    for duel in Duel::all() {
        let Duel { nodes, channels, .. } = &duel;
        nodes.run(async {
            let send = async {
                for count in 0..COUNT {
                    for (from, to) in [(0, 1), (1, 0)] {
                        channels[from].send(nodes.peer(to), &short_number(count)).await.unwrap();
                    }
                    nodes.sleep(Duration::from_millis(10)).await;
                }
            };
            let take = |end: usize| {
                let (channel, duel) = (&channels[end], &duel);
                async move {
                    let mut epochs: Vec<Epoch> = Vec::new();
                    for expected in 0..COUNT {
                        let (epoch, count) = with_epoch(channel).await;
                        assert_eq!(count, expected, "{duel:?}");
                        if epochs.last() != Some(&epoch) {
                            epochs.push(epoch);
                        }
                    }
                    epochs.len()
                }
            };
            let ((), (), near, far) = futures_util::future::join4(duel.dial(), send, take(0), take(1)).await;
            assert!(near <= 2 && far <= 2, "each epoch once: {near}, {far}, {duel:?}");
            moves += near + far - 2;
        });
        duel.end();
    }
    assert!(moves > 0, "no channel had to move");
}

/// The application is slow, the peer closes the channel and opens it again on the same connection.
#[test]
fn a_channel_that_is_closed_and_opened_again_stays_in_order() {
    for conditions in orders() {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let mut channels = connected(&nodes, &small_marks()).await;
            let peer = nodes.peer(1);
            for count in 0..20 {
                if count == 10 {
                    nodes.sleep(Duration::from_secs(1)).await;
                    channels[0].close();
                    // Until its task has heard that, the name is taken.
                    nodes.sleep(Duration::from_millis(10)).await;
                    channels[0] = nodes.nodes[0].channel_with("chat", small_marks()).unwrap();
                }
                channels[0].send(peer, &number(count)).await.unwrap();
            }
            // The first stream is still full: the second one is refused and tried again.
            nodes.sleep(Duration::from_secs(4)).await;
            for expected in 0..20 {
                assert_eq!(number_of(&message(&channels[1]).await.1), expected, "{conditions:?}");
            }
            drop(channels);
        });
        nodes.end();
    }
}

/// What had come before the connection was lost is taken before what came behind it.
#[test]
fn epochs_of_a_peer_do_not_mix() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channels = connected(&nodes, &ChannelOptions::default()).await;
        let peer = nodes.peer(1);
        let mut epochs: Vec<Option<ConnectionId>> = Vec::new();
        for round in 0..3 {
            for count in 0..4 {
                channels[0].send(peer, &number(4 * round + count)).await.unwrap();
            }
            nodes.sleep(Duration::from_secs(1)).await;
            let connection = nodes.nodes[0].connection(&peer).unwrap();
            epochs.push(connection.id());
            nodes.simulation.reset_connections();
            connection.closed().await;
            nodes.sleep(Duration::from_secs(1)).await;
            connected_again(&nodes).await;
        }
        let mut last = None;
        for expected in 0..12 {
            let (epoch, count) = with_epoch(&channels[1]).await;
            assert_eq!(count, expected);
            assert!(last.is_none_or(|last| last <= epoch));
            last = Some(epoch);
        }
        drop(channels);
    });
    nodes.end();
}

async fn connected_again(nodes: &Nodes) {
    let addr = nodes.addr(1).with_peer(nodes.peer(1)).unwrap();
    nodes.nodes[0].connect_to(&addr).await.unwrap();
}

#[test]
fn a_closed_channel_leaves_no_task_behind() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = nodes.nodes[0].channel("chat").unwrap();
        let mut incoming = nodes.nodes[1].accept(channel.protocol().clone()).unwrap();
        connected_to(&nodes, 1).await;
        channel.send(nodes.peer(1), b"hello").await.unwrap();
        let mut stream = incoming.next().await.unwrap().stream;
        stream.close().await.unwrap();
        assert_eq!(stream.read_chunk().await, Ok(Some("\x05hello".into())));
        channel.close();
        assert_eq!(stream.read_chunk().await, Ok(None));
        nodes.sleep(Duration::from_millis(100)).await;
        assert_eq!(nodes.nodes[0].live_tasks(), 2, "the node's and the connection's");
        drop((channel, incoming, stream));
    });
    nodes.end();
}

#[test]
fn a_sender_that_waits_for_a_peer_that_is_away_hears_of_the_end() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = nodes.nodes[0].channel_with("chat", small_marks()).unwrap();
        for count in 0..10 {
            channel.try_send(nodes.peer(1), &number(count)).unwrap();
        }
        let waits = channel.send(nodes.peer(1), b"waits");
        let (sent, ()) = futures_util::future::join(waits, nodes.nodes[0].shutdown(LONG)).await;
        assert!(matches!(sent, Err(SendError::Closed { .. })), "{sent:?}");
        assert!(matches!(channel.send(nodes.peer(1), b"late").await, Err(SendError::Closed { .. })));
        assert_eq!(channel.recv().await, None);
        drop(channel);
    });
    nodes.end();
}
