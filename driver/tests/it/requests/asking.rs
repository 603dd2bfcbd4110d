//! Requests that are answered, and deadlines at each stage of those that are not.

use std::time::Duration;

use futures_util::future::{join, join_all};
use septa_driver::requests::{Refusal, RequestError, RequestOptions};
use septa_sim::{LinkOptions, Order};

use super::{
    ENOUGH, MODES, Mode, ask, backwards, bodies, connect, connected, frame, framed, listen, millis_since, say, serve,
    taken,
};
use crate::{
    node::Nodes,
    world::{Conditions, calm, conditions, pattern},
};

#[test]
fn every_request_has_its_answer_both_ways() {
    for conditions in conditions(8) {
        for mode in MODES {
            let nodes = Nodes::new(conditions, 2);
            nodes.run(async {
                let requests = connected(&nodes, mode, &RequestOptions::default()).await;
                requests.iter().for_each(|requests| serve(&nodes, requests));
                let asked =
                    [0, 1, 100, 127, 128, 5000, 20_000].into_iter().flat_map(|size| [(0, 1, size), (1, 0, size)]);
                let all = asked.map(|(from, to, size)| {
                    let (requests, peer) = (&requests, nodes.peer(to));
                    async move {
                        let answer = requests[from].request(peer, &pattern(size), ENOUGH).await.unwrap();
                        assert!(answer == backwards(&pattern(size)), "{mode:?} {conditions:?}");
                    }
                });
                join_all(all).await;
                let stats = requests[0].stats(&nodes.peer(1)).unwrap_or_default();
                assert_eq!((stats.pending, stats.waiting), (0, 0));
                drop(requests);
            });
            nodes.end();
        }
    }
}

#[test]
fn answers_may_come_in_any_order() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let peer = nodes.peer(1);
            let asking: Vec<_> = (0..5).map(|number| ask(&nodes, &requests[0], peer, &[number], ENOUGH)).collect();
            let mut asked = taken(&nodes, &requests[1]).await;
            assert_eq!(bodies(&asked), [[0], [1], [2], [3], [4]], "{mode:?}");
            for request in asked.drain(..).rev() {
                assert_eq!(request.peer(), nodes.peer(0));
                let answer = [request.body()[0], 100];
                request.respond(&answer).unwrap();
            }
            for (number, answer) in join_all(asking).await.into_iter().enumerate() {
                assert_eq!(answer.unwrap(), &[number as u8, 100][..]);
            }
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn a_request_waits_for_a_connection_until_its_deadline() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let near = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            let far = mode.open(&nodes, 1, RequestOptions::default()).unwrap();
            let (peer, begin) = (nodes.peer(1), nodes.simulation.now());
            let failed = near.request(peer, b"anybody there?", Duration::from_secs(5)).await;
            assert_eq!(failed, Err(RequestError::NotConnected { peer }), "{mode:?}");
            assert_eq!(millis_since(&nodes, begin), 5000);
            nodes.sleep(Duration::from_millis(1)).await;
            assert_eq!(near.stats(&peer), None, "nothing is left");
            serve(&nodes, &far);
            let later = async {
                nodes.sleep(Duration::from_secs(2)).await;
                connect(&nodes, 1).await;
            };
            let (answer, ()) = join(near.request(peer, b"and now?", Duration::from_secs(5)), later).await;
            assert_eq!(answer.unwrap(), "?won dna");
            assert_eq!(nodes.nodes[0].known_peers(), [peer], "known because the test has dialed");
        });
        nodes.end();
    }
}

#[test]
fn a_peer_that_never_answers_costs_the_time_that_was_given() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let (peer, begin) = (nodes.peer(1), nodes.simulation.now());
            let asking = ask(&nodes, &requests[0], peer, b"?", Duration::from_secs(3));
            let asked = taken(&nodes, &requests[1]).await.pop().unwrap();
            let (failed, ()) = join(asking, asked.cancelled()).await;
            assert_eq!(failed, Err(RequestError::TimedOut { peer }), "{mode:?}");
            assert_eq!(millis_since(&nodes, begin), 3000);
            assert!(asked.respond(b"too late").is_err(), "the peer has heard of it");
            if mode == Mode::Many {
                assert_eq!(requests[0].stats(&peer).unwrap().timed_out, 1);
            }
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn of_no_time_at_all_nothing_comes() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            serve(&nodes, &requests[1]);
            let peer = nodes.peer(1);
            let failed = requests[0].request(peer, b"?", Duration::ZERO).await;
            assert!(
                matches!(failed, Err(RequestError::TimedOut { .. } | RequestError::NotConnected { .. })),
                "{failed:?}"
            );
            let answer = requests[0].request(peer, b"?", Duration::MAX).await;
            assert_eq!(answer.unwrap(), "?");
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn half_an_answer_is_none() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let near = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            let half = match mode {
                Mode::Many => frame(1, 0, &[7; 1000]),
                Mode::One => framed(&[7; 1000]),
            };
            let streams = nodes.nodes[1].accept(mode.protocol()).unwrap();
            let kept = say(&nodes, streams, vec![half[..500].to_vec()]);
            connect(&nodes, 1).await;
            let (peer, begin) = (nodes.peer(1), nodes.simulation.now());
            let failed = near.request(peer, b"?", Duration::from_secs(3)).await;
            assert_eq!(failed, Err(RequestError::TimedOut { peer }), "{mode:?}");
            assert_eq!(millis_since(&nodes, begin), 3000);
            // The rest of it comes after all, and is dropped.
            let mut stream = kept.lock().unwrap().take().unwrap();
            let _ = stream.send(&half[500..]).await;
            nodes.sleep(Duration::from_millis(100)).await;
            if mode == Mode::Many {
                let stats = near.stats(&peer).unwrap();
                assert_eq!((stats.late, stats.timed_out, stats.pending), (1, 1, 0));
            }
        });
        nodes.end();
    }
}

#[test]
fn answers_that_are_late_double_or_to_nothing_are_counted_and_dropped() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = Mode::Many.open(&nodes, 0, RequestOptions::default()).unwrap();
        let streams = nodes.nodes[1].accept(Mode::Many.protocol()).unwrap();
        let words = vec![frame(1, 0, b"yes"), frame(1, 0, b"yes, yes"), frame(1, 77, b"by the way")];
        let kept = say(&nodes, streams, words);
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        assert_eq!(near.request(peer, b"?", ENOUGH).await.unwrap(), "yes");
        let failed = near.request(peer, b"??", Duration::from_secs(1)).await;
        assert_eq!(failed, Err(RequestError::TimedOut { peer }));
        let mut stream = kept.lock().unwrap().take().unwrap();
        stream.send(&frame(1, 1, b"oh, that one")).await.unwrap();
        nodes.sleep(Duration::from_millis(100)).await;
        let stats = near.stats(&peer).unwrap();
        assert_eq!((stats.answers, stats.late, stats.duplicate, stats.unknown), (1, 1, 1, 1));
        // All of that has left the stream as it was.
        stream.send(&frame(1, 2, b"here")).await.unwrap();
        assert_eq!(near.request(peer, b"???", ENOUGH).await.unwrap(), "here");
    });
    nodes.end();
}

/// Over a line with a delay, so that the answer and the news that it is not wanted cross.
#[test]
fn an_answer_that_crosses_the_deadline_is_late() {
    let link = LinkOptions { latency: Duration::from_millis(100), ..LinkOptions::default() };
    let nodes = Nodes::new(Conditions { link, ..calm() }, 2);
    nodes.run(async {
        let requests = connected(&nodes, Mode::Many, &RequestOptions::default()).await;
        let peer = nodes.peer(1);
        let asking = ask(&nodes, &requests[0], peer, b"?", Duration::from_secs(2));
        let answering = async {
            let asked = requests[1].next().await.unwrap();
            nodes.sleep(Duration::from_millis(1850)).await;
            asked.respond(b"just about").unwrap();
        };
        let (failed, ()) = join(asking, answering).await;
        assert_eq!(failed, Err(RequestError::TimedOut { peer }));
        nodes.sleep(Duration::from_secs(1)).await;
        assert_eq!(requests[0].stats(&peer).unwrap().late, 1);
        assert_eq!(requests[1].answering_stats(&nodes.peer(0)).unwrap().unknown_cancels, 1);
        drop(requests);
    });
    nodes.end();
}

#[test]
fn a_peer_that_does_not_serve_it_says_so_and_may_begin_to() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let near = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            connect(&nodes, 1).await;
            let (peer, begin) = (nodes.peer(1), nodes.simulation.now());
            let failed = join_all((0..10).map(|_| near.request(peer, b"?", ENOUGH))).await;
            assert_eq!(failed, vec![Err(RequestError::Unsupported { peer }); 10], "{mode:?}");
            assert!(millis_since(&nodes, begin) < 1000, "at once");
            serve(&nodes, &mode.open(&nodes, 1, RequestOptions::default()).unwrap());
            assert_eq!(near.request(peer, b"?", ENOUGH).await.unwrap(), "?");
        });
        nodes.end();
    }
}

#[test]
fn a_refusal_says_why_where_it_can() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let peer = nodes.peer(1);
            let asking = [b"a", b"b"].map(|body| ask(&nodes, &requests[0], peer, body, ENOUGH));
            let mut asked = taken(&nodes, &requests[1]).await.into_iter();
            asked.next().unwrap().refuse("not today").unwrap();
            drop(asked);
            let why = join_all(asking).await.into_iter().map(|failed| match failed {
                Err(RequestError::Refused { peer: by, why }) if by == peer => why,
                other => panic!("{other:?}"),
            });
            let expected = match mode {
                Mode::Many => ["not today", "the request was dropped"].map(|why| Refusal::Reason(why.into())),
                Mode::One => [0, 0].map(Refusal::Reset),
            };
            assert_eq!(why.collect::<Vec<_>>(), expected, "{mode:?}");
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn the_same_seed_gives_the_same_answers_at_the_same_times() {
    let trace = |mode: Mode, conditions: Conditions| {
        let nodes = Nodes::new(conditions, 3);
        let trace = nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            requests.iter().for_each(|requests| serve(&nodes, requests));
            let asked = (0..40_usize).map(|count| {
                let (nodes, requests, peer) = (&nodes, &requests[0], nodes.peer(1 + count % 2));
                async move {
                    let answer = requests.request(peer, &pattern(count * 100), ENOUGH).await.unwrap();
                    (nodes.simulation.now(), answer)
                }
            });
            let trace = join_all(asked).await;
            drop(requests);
            trace
        });
        let hash = nodes.simulation.trace();
        nodes.end();
        (trace, hash)
    };
    for order in [Order::Fifo, Order::Seeded] {
        for mode in MODES {
            let conditions = Conditions { order, ..calm() };
            assert_eq!(trace(mode, conditions), trace(mode, conditions));
        }
    }
}

/// Both dial at once, so that one of two connections gives way while requests are under way.
#[test]
fn requests_survive_that_one_of_two_connections_gives_way() {
    for conditions in conditions(8) {
        for mode in MODES {
            let nodes = Nodes::new(conditions, 2);
            nodes.run(async {
                let requests: Vec<_> =
                    (0..2).map(|number| mode.open(&nodes, number, RequestOptions::default()).unwrap()).collect();
                requests.iter().for_each(|requests| serve(&nodes, requests));
                let addrs = [listen(&nodes, 0).await, listen(&nodes, 1).await];
                let asking = (0..20).map(|count: usize| {
                    let (nodes, requests) = (&nodes, &requests);
                    async move {
                        nodes.sleep(Duration::from_millis(count as u64 / 4)).await;
                        let (from, to) = (count % 2, 1 - count % 2);
                        requests[from].request(nodes.peer(to), &pattern(count), ENOUGH).await
                    }
                });
                let dials = join(nodes.nodes[0].connect_to(&addrs[1]), nodes.nodes[1].connect_to(&addrs[0]));
                let (answers, _) = join(join_all(asking), dials).await;
                for (count, answer) in answers.into_iter().enumerate() {
                    assert!(answer.unwrap() == backwards(&pattern(count)), "{mode:?} {conditions:?}");
                }
                drop(requests);
            });
            nodes.end();
        }
    }
}
