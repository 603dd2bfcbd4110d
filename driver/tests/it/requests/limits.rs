//! Every limit, at the bound and past it.

use std::time::Duration;

use futures_util::{
    FutureExt,
    future::{join, join_all, join3},
};
use septa_core::{Identity, channel::message};
use septa_driver::{
    node::Intent,
    requests::{Config, Refusal, RequestError, RequestOptions, RequestsError, RespondError, Violation, Watermarks},
};
use septa_sim::Order;

use super::{ENOUGH, MODES, Mode, ask, bodies, connect, connected, in_line, serve, taken};
use crate::{
    node::Nodes,
    world::{Conditions, calm},
};

fn options(config: Config) -> RequestOptions {
    RequestOptions { config, ..RequestOptions::default() }
}

#[test]
fn beyond_those_that_may_be_pending_callers_wait_and_beyond_those_they_are_refused() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let config = Config { max_pending: 5, max_waiting: 3, ..Config::default() };
            let requests = connected(&nodes, mode, &options(config)).await;
            let peer = nodes.peer(1);
            serve(&nodes, &requests[1]);
            assert!(requests[0].request(peer, b"the stream is open", ENOUGH).await.is_ok());
            let asking: Vec<_> = (0..8).map(|number| in_line(&requests[0], peer, &[number], ENOUGH)).collect();
            let stats = requests[0].stats(&peer).unwrap();
            assert_eq!((stats.pending, stats.waiting), (5, 3), "{mode:?}");
            let refused = requests[0].request(peer, b"?", ENOUGH).now_or_never();
            assert_eq!(refused, Some(Err(RequestError::TooManyWaiting { peer })));
            assert!(join_all(asking).await.iter().all(Result::is_ok));
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn callers_that_wait_are_admitted_in_the_order_in_which_they_came() {
    for order in [Order::Fifo, Order::Seeded] {
        for mode in MODES {
            let nodes = Nodes::new(Conditions { order, ..calm() }, 2);
            nodes.run(async {
                let config = Config { max_pending: 10, ..Config::default() };
                let requests = connected(&nodes, mode, &options(config)).await;
                let peer = nodes.peer(1);
                let asking: Vec<_> = (0..150).map(|number| in_line(&requests[0], peer, &[number], ENOUGH)).collect();
                let answer = async {
                    for _ in 0..150 {
                        let asked = requests[1].next().await.unwrap();
                        let number = asked.body()[0];
                        asked.respond(b"").unwrap();
                        assert!(requests[0].stats(&peer).is_none_or(|stats| stats.pending <= 10));
                        seen(number);
                    }
                };
                let (answers, ()) = join(join_all(asking), answer).await;
                assert!(answers.iter().all(Result::is_ok), "{mode:?} {order:?}");
                drop(requests);
            });
            let order_of_arrival = SEEN.take();
            // On streams of their own, requests that are under way at once may overtake each other.
            if mode == Mode::Many {
                assert_eq!(order_of_arrival, (0..150).collect::<Vec<u8>>(), "{order:?}");
            } else {
                for (at, number) in order_of_arrival.iter().enumerate() {
                    assert!(at.abs_diff(usize::from(*number)) < 20, "{order:?} {number} at {at}");
                }
            }
            nodes.end();
        }
    }
}

thread_local! {
    static SEEN: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn seen(number: u8) {
    SEEN.with_borrow_mut(|seen| seen.push(number));
}

/// There is room, but whoever waits has not got to it yet.
#[test]
fn nobody_overtakes_who_waits() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let config = Config { max_pending: 1, ..Config::default() };
            let requests = connected(&nodes, mode, &options(config)).await;
            let peer = nodes.peer(1);
            let [first, second] = [b"1", b"2"].map(|body| in_line(&requests[0], peer, body, ENOUGH));
            let answer = async { requests[1].next().await.unwrap().respond(b"").unwrap() };
            let (answered, ()) = join(first, answer).await;
            answered.unwrap();
            let third = in_line(&requests[0], peer, b"3", ENOUGH);
            let stats = requests[0].stats(&peer).unwrap();
            assert_eq!((stats.pending, stats.waiting), (0, 2), "{mode:?}");
            let answer = async {
                for expected in ["2", "3"] {
                    let asked = requests[1].next().await.unwrap();
                    assert_eq!(asked.body(), expected, "{mode:?}");
                    asked.respond(b"").unwrap();
                }
            };
            // Polled in the wrong order.
            let (third, second, ()) = join3(third, second, answer).await;
            assert!(second.is_ok() && third.is_ok());
            drop(requests);
        });
        nodes.end();
    }
}

/// The peer reads nothing: what waits for it stays below the mark.
#[test]
fn callers_wait_at_the_watermark() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let watermarks = Watermarks { high_messages: 10, low_messages: 5, ..Watermarks::default() };
        let near = Mode::Many.open(&nodes, 0, options(Config { watermarks, ..Config::default() })).unwrap();
        let far = RequestOptions { max_received_bytes: 1, ..RequestOptions::default() };
        let far = Mode::Many.open(&nodes, 1, far).unwrap();
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        let mut asking = Vec::new();
        for _ in 0..200 {
            asking.push(ask(&nodes, &near, peer, &[7; 100_000], ENOUGH));
            nodes.sleep(Duration::from_millis(5)).await;
        }
        let stats = near.stats(&peer).unwrap();
        assert_eq!(stats.queued_messages, 10);
        assert_eq!(stats.pending + stats.waiting, 200);
        serve(&nodes, &far);
        assert!(join_all(asking).await.iter().all(Result::is_ok));
    });
    nodes.end();
}

#[test]
fn so_many_peers_are_asked_at_once() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 1);
        nodes.run(async {
            let options = RequestOptions { max_peers: 2, ..RequestOptions::default() };
            let requests = mode.open(&nodes, 0, options).unwrap();
            let peers: Vec<_> = (100..103).map(|seed| Identity::from_ed25519_seed([seed; 32]).peer_id()).collect();
            let mut asking: Vec<_> = peers[..2].iter().map(|peer| in_line(&requests, *peer, b"?", ENOUGH)).collect();
            let refused = requests.request(peers[2], b"?", ENOUGH).await;
            assert_eq!(refused, Err(RequestError::TooManyPeers { max: 2 }), "{mode:?}");
            drop(asking.pop());
            nodes.sleep(Duration::from_millis(1)).await;
            asking.push(in_line(&requests, peers[2], b"?", ENOUGH));
            drop((asking, requests));
        });
        nodes.end();
    }
}

#[test]
fn a_message_of_the_maximum_passes_and_one_byte_more_is_refused_at_both_ends() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let small = options(Config { max_message_len: 1000, ..Config::default() });
            let near = mode.open(&nodes, 0, small.clone()).unwrap();
            let far = mode.open(&nodes, 1, small).unwrap();
            connect(&nodes, 1).await;
            let peer = nodes.peer(1);
            let asking = ask(&nodes, &near, peer, &[7; 1000], ENOUGH);
            let asked = far.next().await.unwrap();
            assert_eq!(asked.body(), &[7; 1000][..]);
            asked.respond(&[8; 1000]).unwrap();
            assert_eq!(asking.await.unwrap(), &[8; 1000][..], "{mode:?}");
            // One byte more is not even sent.
            let refused = near.request(peer, &[7; 1001], ENOUGH).await;
            assert!(
                matches!(refused, Err(RequestError::TooLong { error, .. }) if (error.len, error.max) == (1001, 1000))
            );
            let asking = ask(&nodes, &near, peer, b"?", ENOUGH);
            let asked = far.next().await.unwrap();
            let refused = asked.respond(&[8; 1001]);
            assert!(matches!(refused, Err(RespondError::TooLong(error)) if (error.len, error.max) == (1001, 1000)));
            assert!(matches!(asking.await, Err(RequestError::Refused { .. })));
        });
        nodes.end();
    }
}

#[test]
fn an_end_that_takes_less_does_not_take_more_from_one_that_sends_it() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let small = options(Config { max_message_len: 1000, ..Config::default() });
            let requests = [mode.open(&nodes, 0, RequestOptions::default()), mode.open(&nodes, 1, small)];
            let [large, small] = requests.map(Result::unwrap);
            connect(&nodes, 1).await;
            // A request that is too long: its stream is reset, and the application hears nothing of it.
            let (near, far) = (nodes.peer(0), nodes.peer(1));
            let failed = large.request(far, &[7; 1001], ENOUGH).await;
            match mode {
                Mode::Many => assert_eq!(failed, Err(RequestError::Lost { peer: far })),
                Mode::One => {
                    assert_eq!(failed, Err(RequestError::Refused { peer: far, why: Refusal::Reset(0x1004) }));
                }
            }
            assert!(small.next().now_or_never().is_none());
            // An answer that is too long.
            let asking = ask(&nodes, &small, near, b"?", ENOUGH);
            large.next().await.unwrap().respond(&[8; 1001]).unwrap();
            let failed = asking.await;
            assert!(matches!(failed, Err(RequestError::Violation { .. })), "{mode:?} {failed:?}");
            if let (Mode::One, Err(RequestError::Violation { error: Violation::Exchange(error), .. })) = (mode, failed)
            {
                assert_eq!(error, message::Error::TooLong { max: 1000 }.into());
            }
            // What fits still passes, both ways.
            serve(&nodes, &large);
            serve(&nodes, &small);
            assert_eq!(large.request(far, b"ab", ENOUGH).await.unwrap(), "ba");
            assert_eq!(small.request(near, b"ab", ENOUGH).await.unwrap(), "ba");
        });
        nodes.end();
    }
}

#[test]
fn a_reason_that_is_too_long_is_not_sent() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let requests = connected(&nodes, Mode::Many, &RequestOptions::default()).await;
        let asking = [b"a", b"b"].map(|body| ask(&nodes, &requests[0], nodes.peer(1), body, ENOUGH));
        let mut asked = taken(&nodes, &requests[1]).await;
        assert!(matches!(asked.remove(0).refuse(&"x".repeat(1025)), Err(RespondError::TooLong(_))));
        asked.remove(0).refuse(&"x".repeat(1024)).unwrap();
        let why: Vec<_> = join_all(asking).await;
        let expected = ["the request was dropped".to_owned(), "x".repeat(1024)]
            .map(|reason| Err(RequestError::Refused { peer: nodes.peer(1), why: Refusal::Reason(reason.into()) }));
        assert_eq!(why, expected);
        drop(requests);
    });
    nodes.end();
}

/// More streams than are answered wait; more than may wait are reset.
#[test]
fn of_streams_that_ask_one_thing_so_many_wait() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut options = RequestOptions { max_waiting_streams: 3, ..RequestOptions::default() };
        options.config.max_answering = 2;
        let asker = Mode::One.open(&nodes, 0, RequestOptions::default()).unwrap();
        let requests = [asker, Mode::One.open(&nodes, 1, options).unwrap()];
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        let mut asking: Vec<_> = (0..6).map(|number| ask(&nodes, &requests[0], peer, &[number], ENOUGH)).collect();
        let mut held = taken(&nodes, &requests[1]).await;
        assert_eq!(bodies(&held), [[0], [1]]);
        let refused = asking.pop().unwrap().await;
        assert_eq!(refused, Err(RequestError::Refused { peer, why: Refusal::Reset(0x1002) }));
        let mut order = Vec::new();
        while !held.is_empty() {
            for request in held.drain(..) {
                order.push(request.body()[0]);
                request.respond(b"").unwrap();
            }
            held = taken(&nodes, &requests[1]).await;
        }
        assert_eq!(order, [0, 1, 2, 3, 4]);
        assert!(join_all(asking).await.iter().all(Result::is_ok));
        drop(requests);
    });
    nodes.end();
}

#[test]
fn options_and_names_that_cannot_work_are_refused() {
    let nodes = Nodes::new(calm(), 1);
    let node = &nodes.nodes[0];
    nodes.run(async {
        let broken = options(Config { max_pending: 0, ..Config::default() });
        assert!(matches!(node.requests("sum", broken), Err(RequestsError::Config(_))));
        assert!(matches!(node.requests("not a name", RequestOptions::default()), Err(RequestsError::Name(_))));
        let peer = Identity::from_ed25519_seed([100; 32]).peer_id();
        node.add_peer(peer, &[], Intent::Dormant).unwrap();
        let requests = node.requests("sum", RequestOptions::default()).unwrap();
        assert_eq!(requests.protocol().as_str(), "/septa/rpc/sum/1.0.0");
        assert_eq!(requests.answering_stats(&peer), None);
    });
    nodes.end();
}
