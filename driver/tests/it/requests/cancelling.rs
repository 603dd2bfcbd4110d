//! Requests that nobody wants any more.

use std::time::Duration;

use futures_util::{FutureExt, future::join};
use septa_driver::requests::{RequestOptions, RespondError};

use super::{ENOUGH, MODES, Mode, ask, bodies, by_hand, connected, in_line, serve, taken};
use crate::{
    cancel::polled,
    node::Nodes,
    world::{calm, pattern},
};

#[test]
fn whoever_answers_hears_that_nobody_waits_any_more() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let asking = ask(&nodes, &requests[0], nodes.peer(1), b"?", ENOUGH);
            let asked = requests[1].next().await.unwrap();
            assert!(!asked.is_cancelled());
            assert!(asked.cancelled().now_or_never().is_none());
            let give_up = async {
                nodes.sleep(Duration::from_secs(1)).await;
                drop(asking);
            };
            join(asked.cancelled(), give_up).await;
            assert!(asked.is_cancelled(), "{mode:?}");
            assert_eq!(asked.respond(b"!"), Err(RespondError::Cancelled));
            assert_eq!(requests[1].answering(), 0);
            drop(requests);
        });
        nodes.end();
    }
}

/// All that may be are being answered, and others wait behind them.
#[test]
fn a_cancellation_overtakes_requests_that_wait() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let mut options = RequestOptions::default();
            options.config.max_answering = 2;
            let requests = connected(&nodes, mode, &options).await;
            let mut asking: Vec<_> =
                (0..6).map(|number| ask(&nodes, &requests[0], nodes.peer(1), &[number], ENOUGH)).collect();
            let held = taken(&nodes, &requests[1]).await;
            assert_eq!(bodies(&held), [[0], [1]], "{mode:?}");
            // One that is being answered, and one that waits.
            drop(asking.remove(3));
            drop(asking.remove(1));
            held[1].cancelled().await;
            assert!(!held[0].is_cancelled());
            drop(held);
            serve(&nodes, &requests[1]);
            for asking in asking.split_off(1) {
                assert_eq!(asking.await.unwrap().len(), 1, "{mode:?}");
            }
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn what_was_cancelled_before_it_was_taken_is_not_taken() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let requests = connected(&nodes, mode, &RequestOptions::default()).await;
            let mut asking: Vec<_> =
                (0..5).map(|number| ask(&nodes, &requests[0], nodes.peer(1), &[number], ENOUGH)).collect();
            nodes.sleep(Duration::from_secs(1)).await;
            drop(asking.remove(3));
            drop(asking.remove(0));
            nodes.sleep(Duration::from_secs(1)).await;
            assert_eq!(bodies(&taken(&nodes, &requests[1]).await), [[1], [2], [4]], "{mode:?}");
            drop((asking, requests));
        });
        nodes.end();
    }
}

#[test]
fn a_request_dropped_at_any_of_its_polls_leaves_nothing() {
    for mode in MODES {
        let mut completed = 0;
        for polls in 0..20 {
            let nodes = Nodes::new(calm(), 2);
            nodes.run(async {
                let mut options = RequestOptions::default();
                options.config.max_pending = 2;
                let requests = connected(&nodes, mode, &options).await;
                serve(&nodes, &requests[1]);
                // More than may be pending, so that one that is left would block those that follow.
                let body = pattern(300_000);
                for _ in 0..4 {
                    let asked = requests[0].request(nodes.peer(1), &body, ENOUGH);
                    completed += usize::from(polled(polls, asked).await.is_some_and(|answer| answer.is_ok()));
                }
                let answer = requests[0].request(nodes.peer(1), b"abc", ENOUGH).await;
                assert_eq!(answer.unwrap(), "cba", "{mode:?} {polls}");
                nodes.sleep(Duration::from_secs(2)).await;
                let stats = requests[0].stats(&nodes.peer(1)).unwrap_or_default();
                assert_eq!((stats.pending, stats.waiting), (0, 0), "{mode:?} {polls}");
                assert_eq!(requests[1].answering(), 0);
                drop(requests);
            });
            nodes.end();
        }
        assert!(completed > 0, "the last ones had enough polls");
    }
}

#[test]
fn a_take_that_is_dropped_loses_no_request() {
    for mode in MODES {
        for polls in 0..4 {
            let nodes = Nodes::new(calm(), 2);
            nodes.run(async {
                let requests = connected(&nodes, mode, &RequestOptions::default()).await;
                let asking = ask(&nodes, &requests[0], nodes.peer(1), b"?", ENOUGH);
                let asked = match polled(polls, requests[1].next()).await {
                    Some(asked) => asked,
                    None => requests[1].next().await,
                };
                asked.unwrap().respond(b"!").unwrap();
                assert_eq!(asking.await.unwrap(), "!", "{mode:?} {polls}");
                drop(requests);
            });
            nodes.end();
        }
    }
}

/// Of those that wait, those that are sent and those that are answered, any may be dropped at any time.
#[test]
fn after_a_thousand_random_cancels_no_place_is_missing() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let mut options = RequestOptions::default();
            options.config.max_pending = 8;
            options.config.max_answering = 4;
            let requests = connected(&nodes, mode, &options).await;
            serve(&nodes, &requests[1]);
            let peer = nodes.peer(1);
            let mut random: u64 = 1;
            let (mut cancelled, mut answered) = (0, 0);
            let mut asking = Vec::new();
            while cancelled < 1000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut next = by_hand(&requests[0], peer, &pattern((random >> 54) as usize * 20), ENOUGH);
                assert!((&mut next).now_or_never().is_none());
                asking.push(next);
                if asking.len() > 20 {
                    drop(asking.remove((random >> 33) as usize % 20));
                    cancelled += 1;
                }
                if random >> 60 == 0 {
                    nodes.sleep(Duration::from_millis(1)).await;
                    asking.retain_mut(|asking| match asking.now_or_never() {
                        Some(answer) => {
                            answer.unwrap();
                            answered += 1;
                            false
                        }
                        None => true,
                    });
                }
            }
            assert!(answered > 100, "{mode:?}: {answered}");
            drop(asking);
            nodes.sleep(Duration::from_secs(2)).await;
            let stats = requests[0].stats(&peer).unwrap_or_default();
            assert_eq!((stats.pending, stats.waiting), (0, 0), "{mode:?}");
            assert_eq!(requests[1].answering(), 0, "{mode:?}");
            let answers = (0..8).map(|_| in_line(&requests[0], peer, b"all at once", ENOUGH)).collect::<Vec<_>>();
            if mode == Mode::Many {
                assert_eq!(requests[0].stats(&peer).unwrap().pending, 8);
            }
            for answer in answers {
                assert_eq!(answer.await.unwrap(), "ecno ta lla");
            }
            drop(requests);
        });
        nodes.end();
    }
}
