//! Peers that would have the application, or its room, for themselves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use septa_driver::{
    Requests,
    requests::{Request, RequestOptions},
};

use super::{ENOUGH, MODES, Mode, ask, bodies, connected, frame, framed, millis_since, raw, serve, taken};
use crate::{node::Nodes, world::calm};

/// Two at once of each peer, six in all.
fn few() -> RequestOptions {
    let mut options = RequestOptions { max_answering_in_all: 6, ..RequestOptions::default() };
    options.config.max_answering = 2;
    options
}

/// Node 2 asks node 0, which answers, although `held` are out.
async fn is_answered(nodes: &Nodes, requests: &[Requests], held: &[Request]) {
    assert_eq!(held.len(), 2);
    assert_eq!(requests[0].answering(), 2, "the application still works on what was cancelled");
    let asking = ask(nodes, &requests[2], nodes.peer(0), b"honest", ENOUGH);
    let asked = requests[0].next().await.unwrap();
    assert_eq!(asked.peer(), nodes.peer(2));
    asked.respond(b"yes").unwrap();
    assert_eq!(asking.await.unwrap(), "yes");
}

#[test]
fn a_peer_that_asks_and_cancels_has_its_share_of_the_application_and_no_more() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 3);
        nodes.run(async {
            let requests = connected(&nodes, mode, &few()).await;
            let mut held = Vec::new();
            for _ in 0..10 {
                let asking: Vec<_> =
                    (0..2).map(|_| ask(&nodes, &requests[1], nodes.peer(0), b"greedy", ENOUGH)).collect();
                held.extend(taken(&nodes, &requests[0]).await);
                drop(asking);
                nodes.sleep(Duration::from_millis(100)).await;
            }
            assert!(held.iter().all(Request::is_cancelled), "{mode:?}");
            is_answered(&nodes, &requests, &held).await;
            // When the application is done with them the next ones come.
            let asking = ask(&nodes, &requests[1], nodes.peer(0), b"again", ENOUGH);
            assert!(taken(&nodes, &requests[0]).await.is_empty());
            drop(held.pop());
            assert_eq!(bodies(&taken(&nodes, &requests[0]).await), [b"again"]);
            drop((asking, held));
            nodes.sleep(Duration::from_millis(100)).await;
            assert_eq!(requests[0].answering(), 0);
            drop(requests);
        });
        nodes.end();
    }
}

#[test]
fn a_peer_that_replaces_its_stream_has_its_share_and_no_more() {
    let nodes = Nodes::new(calm(), 3);
    nodes.run(async {
        let requests = connected(&nodes, Mode::Many, &few()).await;
        let greedy = [frame(0, 0, b"greedy"), frame(0, 1, b"greedy")].concat();
        let (mut held, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            streams.push(raw(&nodes, 1, 0, Mode::Many, &greedy).await);
            held.extend(taken(&nodes, &requests[0]).await);
        }
        is_answered(&nodes, &requests, &held).await;
        drop((held, streams, requests));
    });
    nodes.end();
}

/// Each of them hears that its peer has given up, also where the cancellations come behind requests that wait.
#[test]
fn cancellations_are_heard_behind_requests_for_which_there_is_no_room() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let requests = connected(&nodes, Mode::Many, &RequestOptions::default()).await;
        let asking: Vec<_> =
            (0..65).map(|number| ask(&nodes, &requests[1], nodes.peer(0), &[number], ENOUGH)).collect();
        let held = taken(&nodes, &requests[0]).await;
        assert_eq!(held.len(), 64);
        drop(asking);
        for request in &held {
            request.cancelled().await;
        }
        drop((held, requests));
    });
    nodes.end();
}

#[test]
fn cancellations_are_heard_however_much_waits_for_the_application() {
    let own = RequestOptions { max_received_bytes: 1, ..RequestOptions::default() };
    let of_all = RequestOptions { max_received_bytes_in_all: 1, ..RequestOptions::default() };
    // Who fills the room.
    for (from, options) in [(1, own), (2, of_all)] {
        let nodes = Nodes::new(calm(), 3);
        nodes.run(async {
            let requests = connected(&nodes, Mode::Many, &options).await;
            let asking = ask(&nodes, &requests[1], nodes.peer(0), b"taken", ENOUGH);
            let asked = requests[0].next().await.unwrap();
            let waiting = ask(&nodes, &requests[from], nodes.peer(0), b"waits", ENOUGH);
            nodes.sleep(Duration::from_millis(100)).await;
            let behind = ask(&nodes, &requests[1], nodes.peer(0), b"behind", ENOUGH);
            nodes.sleep(Duration::from_millis(100)).await;
            drop(asking);
            asked.cancelled().await;
            // The others have lost nothing.
            serve(&nodes, &requests[0]);
            assert_eq!(waiting.await.unwrap(), "stiaw");
            assert_eq!(behind.await.unwrap(), "dniheb");
            drop((asked, requests));
        });
        nodes.end();
    }
}

/// What breaks a rule is thrown out, however much others have waiting.
#[test]
fn a_violation_shows_however_much_waits_of_others() {
    let nodes = Nodes::new(calm(), 3);
    nodes.run(async {
        let options = RequestOptions { max_received_bytes_in_all: 1, ..RequestOptions::default() };
        let requests = connected(&nodes, Mode::Many, &options).await;
        let waiting = ask(&nodes, &requests[2], nodes.peer(0), b"waits", ENOUGH);
        nodes.sleep(Duration::from_millis(100)).await;
        let begin = nodes.simulation.now();
        let mut stream = raw(&nodes, 1, 0, Mode::Many, &frame(1, 0, b"an answer to nothing")).await;
        assert!(stream.read_chunk().await.is_err());
        assert!(millis_since(&nodes, begin) < 1000);
        assert!(requests[0].next().now_or_never().flatten().is_some());
        drop((waiting, requests));
    });
    nodes.end();
}

/// A request is not read before there is room for all of it.
#[test]
fn requests_that_come_in_at_once_are_bounded_of_a_peer_and_of_all() {
    let nodes = Nodes::new(calm(), 4);
    nodes.run(async {
        let options = RequestOptions {
            max_received_bytes: 1_000_000,
            max_received_bytes_in_all: 2_500_000,
            ..RequestOptions::default()
        };
        let requests = connected(&nodes, Mode::One, &options).await;
        nodes.sleep(Duration::from_millis(100)).await;
        let whole = framed(&[7; 900_000]);
        let sent = Arc::new(AtomicUsize::new(0));
        for from in 1..4 {
            for _ in 0..5 {
                let mut stream = raw(&nodes, from, 0, Mode::One, &whole[..100]).await;
                let (whole, sent) = (whole.clone(), sent.clone());
                nodes.simulation.spawn("asker", async move {
                    if stream.send(&whole[100..]).await.is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                        while let Ok(Some(_)) = stream.read_chunk().await {}
                    }
                });
            }
        }
        nodes.sleep(Duration::from_secs(1)).await;
        // Two of one peer and one of another, as it comes.
        assert_eq!(sent.load(Ordering::Relaxed), 3);
        // Each that is taken makes room for another one.
        serve(&nodes, &requests[0]);
        nodes.sleep(Duration::from_secs(1)).await;
        assert_eq!(sent.load(Ordering::Relaxed), 15);
        drop(requests);
    });
    nodes.end();
}
