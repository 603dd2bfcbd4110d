//! Channels of messages between nodes.

mod compressed;
mod hostile;
mod moving;
mod shared;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use septa_core::{Multiaddr, PeerId};
use septa_driver::{
    Channel,
    channel::{ChannelError, ChannelOptions, Received, SendError, TrySendError, Watermarks},
    node::{Intent, PeerState},
};
use septa_sim::Order;

use crate::{
    node::{LONG, Nodes, states, until},
    world::{Conditions, calm, conditions, pattern},
};

/// Node 0 is connected to all others, on each of which the channel is open.
async fn connected(nodes: &Nodes, options: &ChannelOptions) -> Vec<Channel> {
    let channels: Vec<Channel> =
        nodes.nodes.iter().map(|node| node.channel_with("chat", options.clone()).unwrap()).collect();
    for number in 1..nodes.nodes.len() {
        connected_to(nodes, number).await;
    }
    channels
}

/// Node 0 dials another one.
async fn connected_to(nodes: &Nodes, number: usize) {
    let addr = listen(nodes, number).await;
    nodes.nodes[0].connect_to(&addr).await.unwrap();
}

async fn listen(nodes: &Nodes, number: usize) -> Multiaddr {
    nodes.nodes[number].listen(&nodes.addr(number as u32)).await.unwrap()
}

async fn message(channel: &Channel) -> (PeerId, Vec<u8>) {
    match channel.recv().await {
        Some(Received::Message { peer, body, .. }) => (peer, body.to_vec()),
        other => panic!("no message but {other:?}"),
    }
}

/// Both task orders. Cutting megabytes into single bytes would take long.
fn orders() -> [Conditions; 2] {
    [Order::Fifo, Order::Seeded].map(|order| Conditions { order, ..calm() })
}

fn small_marks() -> ChannelOptions {
    let mut options = ChannelOptions::default();
    options.config.watermarks = Watermarks { high_messages: 10, low_messages: 4, ..Watermarks::default() };
    options.config.max_received_messages = 4;
    options.config.max_received_bytes = 1024 * 1024;
    options
}

fn number(count: usize) -> Vec<u8> {
    // Long enough that few fit into the window of a stream.
    [&(count as u64).to_be_bytes()[..], &[7; 60_000]].concat()
}

fn number_of(body: &[u8]) -> usize {
    u64::from_be_bytes(body[..8].try_into().unwrap()) as usize
}

#[test]
fn messages_arrive_whole_and_in_order_both_ways() {
    for conditions in conditions(8) {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let channels = connected(&nodes, &ChannelOptions::default()).await;
            let sizes = [0, 1, 100, 127, 128, 5000, 20_000, 0, 3];
            for (from, to) in [(0, 1), (1, 0)] {
                for size in sizes {
                    channels[from].send(nodes.peer(to), &pattern(size)).await.unwrap();
                }
                for size in sizes {
                    let (peer, body) = message(&channels[to]).await;
                    assert_eq!(peer, nodes.peer(from));
                    assert!(body == pattern(size), "{conditions:?}");
                }
            }
            drop(channels);
        });
        nodes.end();
    }
}

#[test]
fn both_ends_may_begin_at_once() {
    for conditions in conditions(8) {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let channels = connected(&nodes, &ChannelOptions::default()).await;
            for (from, to) in [(0, 1), (1, 0)] {
                channels[from].send(nodes.peer(to), b"at once").await.unwrap();
            }
            for to in [1, 0] {
                assert_eq!(message(&channels[to]).await.1, b"at once", "{conditions:?}");
            }
            drop(channels);
        });
        nodes.end();
    }
}

#[test]
fn what_was_not_begun_waits_for_the_next_connection() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let (near, far) = (alice.channel("chat").unwrap(), bob.channel("chat").unwrap());
        let addr = listen(&nodes, 1).await;
        near.send(bob.peer_id(), b"before there is a connection").await.unwrap();
        let mut seen = states(&alice, bob.peer_id());
        alice.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
        until(&mut seen, PeerState::Established).await;
        let Some(Received::Message { epoch: first, body, .. }) = far.recv().await else { panic!() };
        assert_eq!(body, "before there is a connection");
        alice.connection(&bob.peer_id()).unwrap().close(0);
        until(&mut seen, PeerState::Backoff).await;
        near.send(bob.peer_id(), b"while it is away").await.unwrap();
        until(&mut seen, PeerState::Established).await;
        let Some(Received::Message { epoch: second, body, .. }) = far.recv().await else { panic!() };
        assert_eq!(body, "while it is away");
        assert!(second > first);
    });
    nodes.end();
}

#[test]
fn a_message_that_was_on_its_way_is_reported_lost_and_the_next_ones_arrive() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let options = small_marks();
        let (near, far) =
            (alice.channel_with("chat", options.clone()).unwrap(), bob.channel_with("chat", options).unwrap());
        let addr = listen(&nodes, 1).await;
        let mut seen = states(&alice, bob.peer_id());
        alice.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
        until(&mut seen, PeerState::Established).await;
        // Nobody takes them: the window fills in the middle of one.
        let mut sent = 0;
        while near.send(bob.peer_id(), &number(sent)).now_or_never().is_some() {
            sent += 1;
            nodes.sleep(Duration::from_millis(10)).await;
        }
        nodes.simulation.reset_connections();
        until(&mut seen, PeerState::Backoff).await;
        until(&mut seen, PeerState::Established).await;
        let lost = near.recv().await;
        assert!(matches!(lost, Some(Received::Lost { peer, .. }) if peer == bob.peer_id()), "{lost:?}");
        let mut last = None;
        let mut gaps = 0;
        while last != Some(sent - 1) {
            let next = number_of(&message(&far).await.1);
            assert!(last.is_none_or(|last| next > last), "once each, and in order");
            gaps += usize::from(next != last.map_or(0, |last| last + 1));
            last = Some(next);
        }
        assert_eq!(gaps, 1, "what was under way, and nothing else");
    });
    nodes.end();
}

/// What has come on the new connection would else wait for what is left of the old one, and that for room.
#[test]
fn what_is_left_of_a_lost_connection_is_not_held_up_by_what_comes_behind_it() {
    for conditions in conditions(16) {
        let nodes = Nodes::new(conditions, 2);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.run(async {
            let options = ChannelOptions { max_received_bytes: 1, ..ChannelOptions::default() };
            let (near, far) = (alice.channel("chat").unwrap(), bob.channel_with("chat", options).unwrap());
            let addr = listen(&nodes, 1).await;
            let mut seen = states(&alice, bob.peer_id());
            alice.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
            until(&mut seen, PeerState::Established).await;
            // There is room for one of them.
            for body in [b"1", b"2", b"3"] {
                near.send(bob.peer_id(), body).await.unwrap();
                nodes.sleep(Duration::from_secs(1)).await;
            }
            nodes.simulation.reset_connections();
            until(&mut seen, PeerState::Backoff).await;
            until(&mut seen, PeerState::Established).await;
            near.send(bob.peer_id(), b"4").await.unwrap();
            nodes.sleep(Duration::from_secs(1)).await;
            for body in [b"1", b"2", b"3", b"4"] {
                assert_eq!(message(&far).await.1, body, "{conditions:?}");
            }
            drop(near);
        });
        nodes.end();
    }
}

#[test]
fn options_with_which_nothing_would_pass_are_refused() {
    let nodes = Nodes::new(calm(), 1);
    let usual = ChannelOptions::default();
    for (options, zero) in [
        (ChannelOptions { max_peers: 0, ..usual.clone() }, "max_peers"),
        (ChannelOptions { max_received_bytes: 0, ..usual.clone() }, "max_received_bytes"),
    ] {
        let refused = nodes.nodes[0].channel_with("chat", options).unwrap_err();
        assert_eq!(refused, ChannelError::Zero { name: zero });
    }
    let _channel = nodes.nodes[0].channel_with("chat", usual).unwrap();
    nodes.end();
}

/// Each of them has lost a connection with a long message on its way, and behind it comes a short one.
#[test]
fn peers_that_hold_up_their_own_messages_do_not_fill_memory_together() {
    const LONG_MESSAGE: usize = 200_000;
    const ROOM: usize = 100_000;
    for conditions in orders() {
        let nodes = Nodes::new(conditions, 7);
        nodes.run(async {
            let options = ChannelOptions { max_received_bytes: ROOM, ..ChannelOptions::default() };
            let bob = &nodes.nodes[0];
            let far = bob.channel_with("full", options).unwrap();
            let near: Vec<Channel> = nodes.nodes.iter().skip(1).map(|node| node.channel("full").unwrap()).collect();
            let addr = listen(&nodes, 0).await;
            for number in 1..nodes.nodes.len() {
                let added =
                    nodes.nodes[number].add_peer(bob.peer_id(), std::slice::from_ref(&addr), Intent::Persistent);
                added.unwrap();
            }
            nodes.sleep(Duration::from_secs(5)).await;
            // The first one fills all the room.
            near[0].send(bob.peer_id(), &vec![0; ROOM]).await.unwrap();
            nodes.sleep(Duration::from_secs(1)).await;
            for near in &near[1..] {
                near.send(bob.peer_id(), &vec![0; LONG_MESSAGE]).await.unwrap();
            }
            nodes.sleep(Duration::from_secs(1)).await;
            nodes.simulation.reset_connections();
            nodes.sleep(Duration::from_secs(20)).await;
            for near in &near[1..] {
                near.send(bob.peer_id(), b"short").await.unwrap();
            }
            nodes.sleep(Duration::from_secs(1)).await;
            for taken in 0..1 + 2 * (near.len() - 1) {
                let waiting = far.totals().1.bytes;
                // The last one for which there was room, and that of the one peer that may go on without.
                assert!(waiting <= ROOM + 2 * LONG_MESSAGE, "{waiting} bytes wait when {taken} were taken");
                message(&far).await;
                nodes.sleep(Duration::from_secs(1)).await;
            }
        });
        nodes.end();
    }
}

#[test]
fn a_peer_that_does_not_read_holds_up_its_own_senders_only() {
    let nodes = Nodes::new(calm(), 3);
    nodes.run(async {
        let channels = connected(&nodes, &small_marks()).await;
        let (stuck, other) = (nodes.peer(1), nodes.peer(2));
        let mut sent = 0;
        while channels[0].send(stuck, &number(sent)).now_or_never().is_some() {
            sent += 1;
            nodes.sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(channels[0].try_send(stuck, b"more"), Err(TrySendError::Full { .. })));
        let stats = channels[0].stats(&stuck).unwrap();
        assert_eq!(stats.messages, 10, "as many as the high mark");
        for _ in 0..100 {
            channels[0].send(other, b"you are not concerned").await.unwrap();
            assert_eq!(message(&channels[2]).await.1, b"you are not concerned");
        }
        // It reads after all.
        let ready = channels[0].ready(stuck);
        let read = async {
            for expected in 0..sent {
                assert_eq!(number_of(&message(&channels[1]).await.1), expected);
            }
        };
        let (is_ready, ()) = futures_util::future::join(ready, read).await;
        is_ready.unwrap();
        channels[0].try_send(stuck, b"more").unwrap();
        assert_eq!(message(&channels[1]).await.1, b"more");
        drop(channels);
    });
    nodes.end();
}

#[test]
fn senders_that_wait_are_admitted_in_the_order_in_which_they_came() {
    for conditions in orders() {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let channels = connected(&nodes, &small_marks()).await;
            let peer = nodes.peer(1);
            let mut senders: Vec<_> = (0..150)
                .map(|count| {
                    let channel = channels[0].clone();
                    Box::pin(async move { channel.send(peer, &number(count)).await.map(drop) })
                })
                .collect();
            // Each has come before the next one does.
            let waiting: Vec<_> = senders.iter_mut().map(|sender| sender.now_or_never().is_none()).collect();
            assert_eq!(waiting.iter().filter(|waits| **waits).count(), 140);
            let waiting: Vec<_> =
                senders.into_iter().zip(waiting).filter(|(_, waits)| *waits).map(|(s, _)| s).collect();
            let read = async {
                for expected in 0..150 {
                    assert_eq!(number_of(&message(&channels[1]).await.1), expected, "{conditions:?}");
                    assert!(channels[0].stats(&peer).is_none_or(|stats| stats.messages <= 11));
                }
            };
            let (sent, ()) = futures_util::future::join(join_all(waiting), read).await;
            assert!(sent.iter().all(Result::is_ok));
            drop(channels);
        });
        nodes.end();
    }
}

#[test]
fn a_message_of_the_maximum_passes_and_one_byte_more_is_refused_at_both_ends() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut options = ChannelOptions::default();
        options.config.max_message_len = 1000;
        let (near, far) =
            (nodes.nodes[0].channel("chat").unwrap(), nodes.nodes[1].channel_with("chat", options.clone()).unwrap());
        let addr = listen(&nodes, 1).await;
        nodes.nodes[0].connect_to(&addr).await.unwrap();
        let back = far.send(nodes.peer(0), &[7; 1001]).await;
        assert!(matches!(back, Err(SendError::TooLong { error, .. }) if (error.len, error.max) == (1001, 1000)));
        near.send(nodes.peer(1), &[7; 1000]).await.unwrap();
        assert_eq!(message(&far).await.1, [7; 1000]);
        // The other end allows more; this one does not take it, and says so with a reset.
        near.send(nodes.peer(1), &[7; 1001]).await.unwrap();
        nodes.sleep(Duration::from_millis(500)).await;
        assert!(far.recv().now_or_never().is_none());
        near.send(nodes.peer(1), &[7; 10]).await.unwrap();
        assert_eq!(message(&far).await.1, [7; 10], "on a stream of its own, a second later");
    });
    nodes.end();
}

#[test]
fn closing_wakes_everybody_and_what_a_stream_can_take_still_leaves() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channels = connected(&nodes, &small_marks()).await;
        let peer = nodes.peer(1);
        for count in 0..10 {
            channels[0].send(peer, &number(count)).await.unwrap();
        }
        let stranger = nodes.peer(0);
        let receiving = channels[0].recv();
        let closing = async {
            nodes.sleep(Duration::from_secs(1)).await;
            channels[0].close();
        };
        let (received, ()) = futures_util::future::join(receiving, closing).await;
        assert_eq!(received, None);
        assert!(matches!(channels[0].send(peer, b"late").await, Err(SendError::Closed { .. })));
        assert!(matches!(channels[0].try_send(stranger, b"late"), Err(TrySendError::Failed(SendError::Closed { .. }))));
        assert!(matches!(channels[0].ready(peer).await, Err(SendError::Closed { .. })));
        for expected in 0..10 {
            assert_eq!(number_of(&message(&channels[1]).await.1), expected);
        }
        // The name is free again.
        nodes.sleep(Duration::from_millis(100)).await;
        assert!(matches!(nodes.nodes[1].channel("chat"), Err(ChannelError::Accept(_))), "open at the other end");
        nodes.nodes[0].channel("chat").unwrap();
        drop(channels);
    });
    nodes.end();
}

#[test]
fn whoever_waits_when_the_node_ends_hears_it() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channels = connected(&nodes, &small_marks()).await;
        let peer = nodes.peer(1);
        let mut count = 0;
        while channels[0].send(peer, &number(count)).now_or_never().is_some() {
            count += 1;
            nodes.sleep(Duration::from_millis(10)).await;
        }
        let waits = channels[0].send(peer, b"waits");
        let receives = channels[0].recv();
        let ends = nodes.nodes[0].shutdown(LONG);
        let (sent, received, ()) = futures_util::future::join3(waits, receives, ends).await;
        assert!(matches!(sent, Err(SendError::Closed { .. })));
        assert!(matches!(received, None | Some(Received::Lost { .. })));
        drop(channels);
    });
    nodes.end();
}

/// A sender that gives up neither sends nor holds up those behind it.
#[test]
fn after_ten_thousand_random_cancels_no_place_is_missing() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channels = connected(&nodes, &small_marks()).await;
        let peer = nodes.peer(1);
        let (done, got) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (reader, is_done, into) = (channels[1].clone(), done.clone(), got.clone());
        nodes.simulation.spawn("reader", async move {
            while let Some(Received::Message { body, .. }) = reader.recv().await {
                into.lock().unwrap().push(u64::from_be_bytes(body[..8].try_into().unwrap()));
                if is_done.load(Ordering::Relaxed) && body.len() == 8 {
                    return;
                }
            }
        });
        let mut random: u64 = 1;
        let (mut sent, mut cancelled) = (Vec::new(), 0);
        let mut waiting: Vec<(u64, _)> = Vec::new();
        for count in 0_u64.. {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let channel = channels[0].clone();
            let body = [&count.to_be_bytes()[..], &[7; 5000]].concat();
            let mut sending = Box::pin(async move { channel.send(peer, &body).await.map(drop) });
            match (&mut sending).now_or_never() {
                Some(result) => {
                    result.unwrap();
                    sent.push(count);
                }
                None => waiting.push((count, sending)),
            }
            if waiting.len() > 20 {
                let victim = (random >> 33) as usize % waiting.len();
                drop(waiting.remove(victim));
                cancelled += 1;
            }
            if random >> 60 == 0 {
                nodes.sleep(Duration::from_millis(1)).await;
                waiting.retain_mut(|(count, sending)| match sending.now_or_never() {
                    Some(result) => {
                        result.unwrap();
                        sent.push(*count);
                        false
                    }
                    None => true,
                });
            }
            if cancelled == 10_000 {
                break;
            }
        }
        for (count, sending) in waiting {
            sending.await.unwrap();
            sent.push(count);
        }
        done.store(true, Ordering::Relaxed);
        channels[0].send(peer, &u64::MAX.to_be_bytes()).await.unwrap();
        nodes.sleep(Duration::from_secs(60)).await;
        let stats = channels[0].stats(&peer).unwrap();
        assert_eq!((stats.messages, stats.waiting), (0, 0));
        let mut got = got.lock().unwrap().clone();
        assert_eq!(got.pop(), Some(u64::MAX));
        assert_eq!(got, sent, "those that were sent, in the order in which they were");
        drop(channels);
    });
    nodes.end();
}

#[test]
fn the_same_seed_gives_the_same_messages_at_the_same_times() {
    let trace = |conditions: Conditions| {
        let nodes = Nodes::new(conditions, 3);
        let trace = nodes.run(async {
            let channels = connected(&nodes, &small_marks()).await;
            let mut trace = Vec::new();
            for count in 0..30 {
                channels[0].send(nodes.peer(1 + count % 2), &number(count)).await.unwrap();
                let (peer, body) = message(&channels[1 + count % 2]).await;
                trace.push((nodes.simulation.now(), peer, number_of(&body)));
            }
            drop(channels);
            trace
        });
        nodes.end();
        trace
    };
    for conditions in orders() {
        assert_eq!(trace(conditions), trace(conditions));
    }
}
