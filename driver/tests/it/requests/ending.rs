//! Connections that are lost, handles that are closed, nodes that end.

use std::time::Duration;

use futures_util::future::{join, join3};
use septa_driver::{
    node::{Intent, PeerState},
    requests::{Refusal, RequestError, RequestOptions, RequestsError, RespondError},
};

use super::{ENOUGH, MODES, Mode, ask, connect, connected, listen, serve, taken};
use crate::{
    node::{LONG, Nodes, states, until},
    world::calm,
};

#[test]
fn what_was_under_way_is_lost_with_the_connection_and_what_follows_is_answered_on_the_next() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let near = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            let far = mode.open(&nodes, 1, RequestOptions::default()).unwrap();
            let (alice, peer) = (&nodes.nodes[0], nodes.peer(1));
            let addr = listen(&nodes, 1).await;
            let mut seen = states(alice, peer);
            alice.add_peer(peer, &[addr], Intent::Persistent).unwrap();
            until(&mut seen, PeerState::Established).await;
            let asking = ask(&nodes, &near, peer, b"?", ENOUGH);
            let asked = far.next().await.unwrap();
            nodes.sleep(Duration::from_secs(5)).await;
            nodes.simulation.reset_connections();
            assert_eq!(asking.await, Err(RequestError::Lost { peer }), "{mode:?}");
            asked.cancelled().await;
            assert_eq!(asked.respond(b"!"), Err(RespondError::Cancelled));
            serve(&nodes, &far);
            // Before it is back.
            assert_eq!(near.request(peer, b"ab", ENOUGH).await.unwrap(), "ba");
            until(&mut seen, PeerState::Established).await;
        });
        nodes.end();
    }
}

/// It would be lost there, although the stream still takes it.
#[test]
fn nothing_is_asked_on_a_connection_that_closes() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let near = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            let far = mode.open(&nodes, 1, RequestOptions::default()).unwrap();
            serve(&nodes, &far);
            let (alice, peer) = (&nodes.nodes[0], nodes.peer(1));
            let addr = listen(&nodes, 1).await;
            alice.add_peer(peer, &[addr], Intent::Persistent).unwrap();
            assert_eq!(near.request(peer, b"ab", ENOUGH).await.unwrap(), "ba");
            alice.connection(&peer).unwrap().close(0);
            assert_eq!(near.request(peer, b"cd", ENOUGH).await.unwrap(), "dc", "{mode:?}: on the next one");
        });
        nodes.end();
    }
}

/// The request that the application has, and the one for which there was no room.
#[test]
fn an_answerer_without_room_hears_that_the_connection_is_lost() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let mut options = RequestOptions::default();
            options.config.max_answering = 1;
            let requests = connected(&nodes, mode, &options).await;
            let asking = [b"a", b"b"].map(|body| ask(&nodes, &requests[0], nodes.peer(1), body, ENOUGH));
            let asked = taken(&nodes, &requests[1]).await.pop().unwrap();
            nodes.nodes[0].connection(&nodes.peer(1)).unwrap().close(0);
            asked.cancelled().await;
            for asking in asking {
                assert_eq!(asking.await, Err(RequestError::Lost { peer: nodes.peer(1) }), "{mode:?}");
            }
            drop((asked, requests));
        });
        nodes.end();
    }
}

#[test]
fn closing_wakes_everybody_at_both_ends() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let mut options = RequestOptions::default();
            options.config.max_pending = 1;
            let requests = connected(&nodes, mode, &options).await;
            let (near, far) = (nodes.peer(0), nodes.peer(1));
            let protocol = requests[0].protocol().clone();
            // One is sent, one waits, one is for somebody who is not there.
            let asking = [b"a", b"b"].map(|body| ask(&nodes, &requests[0], far, body, ENOUGH));
            let nobody = ask(&nodes, &requests[0], near, b"c", ENOUGH);
            let at_peer = taken(&nodes, &requests[1]).await.pop().unwrap();
            // One is out, one is answered.
            let from_peer = ask(&nodes, &requests[1], near, b"d", ENOUGH);
            let here = requests[0].next().await.unwrap();
            let closing = async {
                nodes.sleep(Duration::from_secs(1)).await;
                requests[0].close();
            };
            let (next, (), ()) = join3(requests[0].next(), here.cancelled(), closing).await;
            assert!(next.is_none());
            for asking in asking.into_iter().chain([nobody]) {
                assert_eq!(asking.await, Err(RequestError::Closed { protocol: protocol.clone() }), "{mode:?}");
            }
            assert_eq!(here.respond(b"!"), Err(RespondError::Cancelled));
            at_peer.cancelled().await;
            let why = match mode {
                Mode::Many => Refusal::Reason("no more requests are answered".into()),
                Mode::One => Refusal::Reset(0),
            };
            assert_eq!(from_peer.await, Err(RequestError::Refused { peer: near, why }));
            // Nothing more is asked or answered.
            let late = requests[0].request(far, b"e", ENOUGH).await;
            assert_eq!(late, Err(RequestError::Closed { protocol }));
            assert!(requests[0].next().await.is_none());
            let refused = requests[1].request(near, b"f", ENOUGH).await;
            assert_eq!(refused, Err(RequestError::Unsupported { peer: near }));
            // The name is free again.
            assert!(matches!(mode.open(&nodes, 1, options.clone()), Err(RequestsError::Accept(_))));
            drop(mode.open(&nodes, 0, options).unwrap());
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn what_was_answered_before_the_end_still_leaves() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let mut requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let asking = ask(&nodes, &requests[0], nodes.peer(1), b"?", ENOUGH);
            let server = requests.pop().unwrap();
            let asked = server.next().await.unwrap();
            // More than the window takes at once.
            asked.respond(&vec![7; 900_000]).unwrap();
            drop(server);
            assert_eq!(asking.await.unwrap(), vec![7; 900_000], "{mode:?}");
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn whoever_waits_when_the_node_ends_hears_it() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let protocol = requests[0].protocol().clone();
            let (near, far) = (nodes.peer(0), nodes.peer(1));
            let asking = ask(&nodes, &requests[0], far, b"?", ENOUGH);
            let nobody = ask(&nodes, &requests[0], near, b"?", ENOUGH);
            let asked = requests[1].next().await.unwrap();
            let ((asking, nobody), next, ()) =
                join3(join(asking, nobody), requests[0].next(), nodes.nodes[0].shutdown(LONG)).await;
            assert!(matches!(asking, Err(RequestError::Closed { .. } | RequestError::Lost { .. })), "{asking:?}");
            assert_eq!(nobody, Err(RequestError::Closed { protocol: protocol.clone() }), "{mode:?}");
            assert!(next.is_none());
            asked.cancelled().await;
            assert_eq!(requests[0].request(far, b"?", ENOUGH).await, Err(RequestError::Closed { protocol }));
            assert!(mode.open(&nodes, 0, RequestOptions::default()).is_err());
            drop((asked, requests));
        });
        nodes.end();
    }
}

#[test]
fn the_last_handle_closes_all_the_others_nothing() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let near = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            let far = mode.open(&nodes, 1, RequestOptions::default()).unwrap();
            connect(&nodes, 1).await;
            serve(&nodes, &far);
            drop(far);
            drop(near.clone());
            assert_eq!(near.request(nodes.peer(1), b"ab", ENOUGH).await.unwrap(), "ba", "{mode:?}");
            drop(near);
            nodes.sleep(Duration::from_secs(2)).await;
            mode.open(&nodes, 0, RequestOptions::default()).unwrap();
        });
        nodes.end();
    }
}
