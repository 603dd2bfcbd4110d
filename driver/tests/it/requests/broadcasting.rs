//! The same request, or message, for many peers.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join};
use septa_core::Identity;
use septa_driver::{
    channel::{ChannelOptions, Received, SendError, TrySendError, Watermarks},
    requests::{RequestError, RequestOptions},
    runtime::Runtime,
};

use super::{ENOUGH, MODES, connect, connected, millis_since};
use crate::{node::Nodes, world::calm};

#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn pause(host: &dyn Runtime, length: Duration) {
    let mut timer = host.timer();
    timer.reset(Some(host.now().saturating_add(length)));
    poll_fn(|cx| timer.poll_expired(cx)).await;
}

#[test]
fn each_peer_has_its_result_and_so_many_are_asked_at_once() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 8);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let gauge = Arc::new(Gauge::default());
            for (number, requests) in requests.iter().enumerate().skip(1) {
                let (requests, gauge, host) = (requests.clone(), gauge.clone(), nodes.hosts[number].clone());
                nodes.simulation.spawn("server", async move {
                    while let Some(request) = requests.next().await {
                        let under_way = gauge.now.fetch_add(1, Ordering::Relaxed) + 1;
                        gauge.most.fetch_max(under_way, Ordering::Relaxed);
                        // The second one is slow, the third one dead.
                        match number {
                            2 => pause(&*host, Duration::from_secs(4)).await,
                            3 => request.cancelled().await,
                            _ => {}
                        }
                        gauge.now.fetch_sub(1, Ordering::Relaxed);
                        let answer = [request.body(), &[number as u8][..]].concat();
                        let _ = request.respond(&answer);
                    }
                });
            }
            let stranger = Identity::from_ed25519_seed([100; 32]).peer_id();
            let peers: Vec<_> = (1..8).map(|number| nodes.peer(number)).chain([stranger, nodes.peer(1)]).collect();
            let begin = nodes.simulation.now();
            let body = Bytes::from(vec![7; 2000]);
            let results = requests[0].broadcast(peers, body.clone(), Duration::from_secs(5), 3).await;
            assert_eq!(results.len(), 8, "one for each, however often it is named");
            for number in 1..8 {
                let peer = nodes.peer(number);
                match number {
                    3 => assert_eq!(results[&peer], Err(RequestError::TimedOut { peer }), "{mode:?}"),
                    _ => assert_eq!(results[&peer], Ok([&body, &[number as u8][..]].concat().into()), "{mode:?}"),
                }
            }
            assert_eq!(results[&stranger], Err(RequestError::NotConnected { peer: stranger }));
            assert_eq!(gauge.most.load(Ordering::Relaxed), 3, "{mode:?}");
            // The stranger's turn comes when the slow one is done or those before it are.
            let took = millis_since(&nodes, begin);
            assert!((5000..10_000).contains(&took), "{took}");
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn of_a_broadcast_that_is_dropped_nothing_goes_on() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 5);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let peers: Vec<_> = (1..5).map(|number| nodes.peer(number)).collect();
            let broadcast = requests[0].broadcast(peers.clone(), Bytes::from_static(b"?"), ENOUGH, 3);
            let mut broadcast = Box::pin(broadcast);
            let mut asked = Vec::new();
            while asked.len() < 3 {
                assert!((&mut broadcast).now_or_never().is_none());
                nodes.sleep(Duration::from_millis(10)).await;
                asked.extend(requests[1..].iter().filter_map(|requests| requests.next().now_or_never()).flatten());
            }
            drop(broadcast);
            for request in &asked {
                request.cancelled().await;
            }
            nodes.sleep(Duration::from_secs(1)).await;
            assert!(requests[4].next().now_or_never().is_none(), "its turn never came");
            for peer in &peers {
                assert_eq!(requests[0].stats(peer).unwrap_or_default().pending, 0, "{mode:?}");
            }
            drop((asked, requests));
        });
        nodes.end();
    }
}

#[test]
fn a_broadcast_to_nobody_is_done() {
    let nodes = Nodes::new(calm(), 1);
    nodes.run(async {
        let requests = connected(&nodes, MODES[0], &RequestOptions::default()).await;
        assert!(requests[0].broadcast([], Bytes::new(), ENOUGH, 0).await.is_empty());
        drop(requests);
    });
    nodes.end();
}

#[test]
fn a_message_reaches_all_but_those_that_take_nothing() {
    let nodes = Nodes::new(calm(), 4);
    nodes.run(async {
        let mut options = ChannelOptions::default();
        options.config.watermarks = Watermarks { high_messages: 4, low_messages: 2, ..Watermarks::default() };
        let channels: Vec<_> =
            nodes.nodes.iter().map(|node| node.channel_with("chat", options.clone()).unwrap()).collect();
        for number in 1..4 {
            connect(&nodes, number).await;
        }
        let stuck = nodes.peer(2);
        while channels[0].try_send(stuck, &vec![7; 500_000]).is_ok() {
            nodes.sleep(Duration::from_millis(10)).await;
        }
        let stranger = Identity::from_ed25519_seed([100; 32]).peer_id();
        let peers: Vec<_> = (1..4).map(|number| nodes.peer(number)).chain([stranger]).collect();
        let begin = nodes.simulation.now();
        let message = Bytes::from(vec![8; 2000]);
        let broadcast = channels[0].broadcast(peers.clone(), &message, Duration::from_secs(5), 1);
        let read = async {
            let mut bodies = Vec::new();
            for number in [1, 3] {
                let Some(Received::Message { body, .. }) = channels[number].recv().await else { panic!() };
                bodies.push((millis_since(&nodes, begin), body));
            }
            bodies
        };
        let (results, bodies) = join(broadcast, read).await;
        assert!(bodies.iter().all(|(_, body)| *body == message));
        assert!(bodies[0].0 < 100 && (5000..5100).contains(&bodies[1].0), "one at a time: the third one has waited");
        for (peer, result) in results {
            match result {
                Ok(_) => assert_ne!(peer, stuck, "and for a stranger it waits for a connection"),
                Err(error) => assert!(matches!(error, TrySendError::Full { peer, .. } if peer == stuck)),
            }
        }
        channels[0].close();
        let closed = channels[0].broadcast(peers, &message, ENOUGH, 2).await;
        assert_eq!(closed.len(), 4);
        let is_closed = |result: &Result<_, _>| matches!(result, Err(TrySendError::Failed(SendError::Closed { .. })));
        assert!(closed.values().all(is_closed));
        drop(channels);
    });
    nodes.end();
}
