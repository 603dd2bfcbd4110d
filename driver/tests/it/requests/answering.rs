//! The answering end: what it takes, in which order, and what it leaves to wait.

use std::time::Duration;

use futures_util::{FutureExt, future::join_all};
use septa_driver::requests::RequestOptions;

use super::{ENOUGH, MODES, Mode, ask, bodies, connected, serve, taken};
use crate::{node::Nodes, world::calm};

#[test]
fn an_application_that_never_answers_gets_so_many_and_others_are_not_held_up() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 4);
        nodes.run(async {
            let mut options = RequestOptions::default();
            options.config.max_answering = 4;
            let requests = connected(&nodes, mode, &options).await;
            let answerer = nodes.peer(0);
            let asking: Vec<_> = (0..20).map(|number| ask(&nodes, &requests[1], answerer, &[number], ENOUGH)).collect();
            let mut held = taken(&nodes, &requests[0]).await;
            assert_eq!(bodies(&held), [[0], [1], [2], [3]], "{mode:?}");
            assert_eq!(requests[0].answering(), 4);
            // Nobody else is concerned.
            for number in 0..10 {
                let other = ask(&nodes, &requests[2], answerer, &[100 + number], ENOUGH);
                let asked = requests[0].next().await.unwrap();
                assert_eq!(asked.peer(), nodes.peer(2));
                asked.respond(b"you go first").unwrap();
                assert_eq!(other.await.unwrap(), "you go first");
            }
            // One answer makes room for one.
            held.remove(0).respond(b"").unwrap();
            held.extend(taken(&nodes, &requests[0]).await);
            assert_eq!(bodies(&held), [[1], [2], [3], [4]]);
            // All of them make room for the rest, in order.
            let mut order = Vec::new();
            while !held.is_empty() {
                for request in held.drain(..) {
                    order.push(request.body()[0]);
                    request.respond(b"").unwrap();
                }
                held = taken(&nodes, &requests[0]).await;
            }
            assert_eq!(order, (1..20).collect::<Vec<_>>(), "{mode:?}");
            assert!(join_all(asking).await.iter().all(Result::is_ok));
            assert_eq!(requests[0].answering(), 0);
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn so_many_are_out_in_all_and_peers_take_turns() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 4);
        nodes.run(async {
            let options = RequestOptions { max_answering_in_all: 6, ..RequestOptions::default() };
            let requests = connected(&nodes, mode, &options).await;
            let answerer = nodes.peer(0);
            // The first one asks much, and before the others do.
            let asking: Vec<_> = [(1, 30), (2, 5), (3, 5)]
                .into_iter()
                .flat_map(|(from, count)| (0..count).map(move |number| (from, number)))
                .map(|(from, number)| ask(&nodes, &requests[from], answerer, &[from as u8, number], ENOUGH))
                .collect();
            let mut held = taken(&nodes, &requests[0]).await;
            assert_eq!(held.len(), 6, "{mode:?}");
            for peer in 1..4 {
                let own = held.iter().filter(|request| request.peer() == nodes.peer(peer)).count();
                assert_eq!(own, 2, "{mode:?}: each has had two turns");
            }
            assert!(requests[0].next().now_or_never().is_none());
            // Whoever waits hears that there is room.
            let next = requests[0].next();
            let (next, ()) = futures_util::future::join(next, async {
                nodes.sleep(Duration::from_secs(1)).await;
                drop(held.remove(0));
            })
            .await;
            assert!(next.is_some());
            drop((next, held));
            serve(&nodes, &requests[0]);
            let answered = join_all(asking).await.iter().filter(|answer| answer.is_ok()).count();
            assert_eq!(answered, 40 - 7, "all but those that were dropped");
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn several_takers_each_get_their_own() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            (0..5).for_each(|_| serve(&nodes, &requests[1]));
            let answers =
                join_all((0..100).map(|number| ask(&nodes, &requests[0], nodes.peer(1), &[number, 0], ENOUGH))).await;
            for (number, answer) in answers.into_iter().enumerate() {
                assert_eq!(answer.unwrap(), &[0, number as u8][..]);
            }
            drop(requests);
        });
        nodes.end();
    }
}

/// What a peer asks of a node that only asks waits within limits, and runs into its own deadline.
#[test]
fn of_a_node_that_takes_nothing_requests_do_not_pile_up() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let mut options = RequestOptions { max_received_bytes: 100_000, ..RequestOptions::default() };
            options.config.max_held = 1;
            let requests = connected(&nodes, mode, &options).await;
            serve(&nodes, &requests[1]);
            let body = vec![7; 60_000];
            let asking: Vec<_> =
                (0..100).map(|_| ask(&nodes, &requests[1], nodes.peer(0), &body, Duration::from_secs(5))).collect();
            nodes.sleep(Duration::from_secs(1)).await;
            let waiting = requests[0].answering_stats(&nodes.peer(1)).unwrap().waiting;
            match mode {
                // The second one has reached the limit, and one is held; the rest is in the window and at the peer.
                Mode::Many => assert_eq!(waiting, 2 + 1),
                Mode::One => assert_eq!(waiting, 2),
            }
            // Meanwhile it asks itself.
            assert_eq!(requests[0].request(nodes.peer(1), b"ab", ENOUGH).await.unwrap(), "ba");
            assert!(join_all(asking).await.iter().all(Result::is_err));
            nodes.sleep(Duration::from_secs(1)).await;
            let next = requests[0].next().now_or_never();
            assert!(mode == Mode::Many || next.is_none(), "all of them were cancelled");
            drop((next, requests));
        });
        nodes.end();
    }
}

/// Each peer is below its own limit; together they reach that of all.
#[test]
fn what_waits_is_limited_for_all_peers_together() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 4);
        nodes.run(async {
            let mut options = RequestOptions { max_received_bytes_in_all: 200_000, ..RequestOptions::default() };
            options.config.max_held = 1;
            let requests = connected(&nodes, mode, &options).await;
            let body = vec![7; 60_000];
            let asking: Vec<_> =
                (0..30).map(|number| ask(&nodes, &requests[1 + number % 3], nodes.peer(0), &body, ENOUGH)).collect();
            nodes.sleep(Duration::from_secs(1)).await;
            let waiting = || {
                let of_peer = |number| requests[0].answering_stats(&nodes.peer(number)).map(|stats| stats.waiting);
                (1..4).filter_map(of_peer).sum::<usize>()
            };
            // Beside what is limited, one for each stream.
            let held = || {
                let streams =
                    (1..4).filter(|number| requests[0].answering_stats(&nodes.peer(*number)).is_some()).count();
                if mode == Mode::Many { streams } else { 0 }
            };
            assert_eq!(waiting(), 4 + held(), "{mode:?}: the last one has reached the limit");
            // Those that are taken, those that are cancelled and those whose connection is lost make room.
            let mut taken: Vec<_> = (0..2).map(|_| requests[0].next().now_or_never().unwrap().unwrap()).collect();
            nodes.sleep(Duration::from_secs(1)).await;
            assert_eq!(waiting(), 4 + held(), "{mode:?}");
            nodes.nodes[1].connection(&nodes.peer(0)).unwrap().close(0);
            nodes.sleep(Duration::from_secs(1)).await;
            taken.retain(|request| !request.is_cancelled());
            assert_eq!(waiting(), 4 + held(), "{mode:?}");
            drop(taken);
            serve(&nodes, &requests[0]);
            let answered = join_all(asking).await.iter().filter(|answer| answer.is_ok()).count();
            assert!((18..=20).contains(&answered), "{mode:?}: {answered}");
            drop(requests);
        });
        nodes.end();
    }
}
