//! Ends that have no room or no patience for each other.

use std::time::Duration;

use futures_util::{FutureExt, future::join_all};
use septa_driver::{
    ReadError, Stream,
    node::Intent,
    requests::{RequestError, RequestOptions},
};

use super::{ENOUGH, MODES, Mode, ask, connect, connected, framed, in_line, listen, millis_since, raw, serve, taken};
use crate::{node::Nodes, world::calm};

/// They wait unread, so that only their peer's resets tell of them.
#[test]
fn streams_that_were_given_up_while_they_waited_keep_nobody_out() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut few = RequestOptions { max_waiting_streams: 3, ..RequestOptions::default() };
        few.config.max_answering = 2;
        let near = Mode::One.open(&nodes, 0, RequestOptions::default()).unwrap();
        let far = Mode::One.open(&nodes, 1, few).unwrap();
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        let _answered = [b"a", b"b"].map(|body| ask(&nodes, &near, peer, body, ENOUGH));
        let held = taken(&nodes, &far).await;
        assert_eq!(held.len(), 2);
        for _ in 0..3 {
            let failed = join_all((0..3).map(|_| near.request(peer, b"?", Duration::from_secs(1)))).await;
            assert_eq!(failed, vec![Err(RequestError::TimedOut { peer }); 3], "none is refused");
        }
        let waiting = ask(&nodes, &near, peer, b"ab", ENOUGH);
        nodes.sleep(Duration::from_secs(1)).await;
        drop(held);
        serve(&nodes, &far);
        assert_eq!(waiting.await.unwrap(), "ba");
    });
    nodes.end();
}

/// More than the peer takes at once wait at the asker.
#[test]
fn as_many_exchanges_as_may_wait_are_asked_of_a_peer_with_the_same_options() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let requests = connected(&nodes, Mode::One, &RequestOptions::default()).await;
        let peer = nodes.peer(1);
        let asking: Vec<_> = (0..1000).map(|_| in_line(&requests[0], peer, b"ab", ENOUGH)).collect();
        let stats = requests[0].stats(&peer).unwrap();
        assert_eq!((stats.pending, stats.waiting), (64 + 64, 1000 - 64 - 64));
        let serving = async {
            nodes.sleep(Duration::from_secs(1)).await;
            serve(&nodes, &requests[1]);
        };
        let (answers, ()) = futures_util::future::join(join_all(asking), serving).await;
        let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
        assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed[0]);
        drop(requests);
    });
    nodes.end();
}

#[test]
fn who_waits_in_line_for_a_peer_that_is_connected_has_timed_out() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let mut options = RequestOptions::default();
            options.config.max_pending = 1;
            let requests = connected(&nodes, mode, &options).await;
            let peer = nodes.peer(1);
            let _first = ask(&nodes, &requests[0], peer, b"?", ENOUGH);
            let held = taken(&nodes, &requests[1]).await;
            let failed = requests[0].request(peer, b"??", Duration::from_secs(1)).await;
            assert_eq!(failed, Err(RequestError::TimedOut { peer }), "{mode:?}");
            drop((held, requests));
        });
        nodes.end();
    }
}

#[test]
fn a_reset_in_the_middle_of_an_answer_is_no_refusal() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = Mode::One.open(&nodes, 0, RequestOptions::default()).unwrap();
        let mut streams = nodes.nodes[1].accept(Mode::One.protocol()).unwrap();
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        let asking = ask(&nodes, &near, peer, b"?", ENOUGH);
        let mut stream = streams.next().await.unwrap().stream;
        stream.send(&framed(&[7; 1000])[..500]).await.unwrap();
        nodes.sleep(Duration::from_secs(1)).await;
        stream.reset(0);
        assert_eq!(asking.await, Err(RequestError::Lost { peer }));
    });
    nodes.end();
}

/// The stream of requests would keep it for as long as streams may.
#[test]
fn a_connection_that_gives_way_is_not_held_by_a_stream_on_which_nothing_is_asked() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = Mode::Many.open(&nodes, 0, RequestOptions::default()).unwrap();
        let far = Mode::Many.open(&nodes, 1, RequestOptions::default()).unwrap();
        serve(&nodes, &far);
        let (alice, peer) = (&nodes.nodes[0], nodes.peer(1));
        let addr = listen(&nodes, 1).await;
        alice.add_peer(peer, &[addr], Intent::Persistent).unwrap();
        assert_eq!(near.request(peer, b"ab", ENOUGH).await.unwrap(), "ba");
        let connection = alice.connection(&peer).unwrap();
        let begin = nodes.simulation.now();
        connection.close(0);
        connection.closed().await;
        assert!(millis_since(&nodes, begin) < 3000, "{}", millis_since(&nodes, begin));
        assert!(near.stats(&peer).is_none_or(|stats| stats.pending == 0));
        assert!(far.next().now_or_never().is_none());
    });
    nodes.end();
}
/// A peer that has asked, and whose stream the test reads.
async fn asked_raw(nodes: &Nodes) -> Stream {
    let mut stream = raw(nodes, 0, 1, Mode::One, &framed(b"?")).await;
    stream.finish().unwrap();
    stream
}

#[test]
fn an_answer_that_is_not_read_is_given_up_in_time() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut options = RequestOptions::default();
        // More than the stream keeps until the peer reads it.
        options.config.max_message_len = 4 * 1024 * 1024;
        options.config.watermarks.high_bytes = 8 * 1024 * 1024;
        let far = Mode::One.open(&nodes, 1, options).unwrap();
        connect(&nodes, 1).await;
        let [mut idle, mut slow] = [asked_raw(&nodes).await, asked_raw(&nodes).await];
        let answer = vec![7; 4 * 1024 * 1024];
        for _ in 0..2 {
            far.next().await.unwrap().respond(&answer).unwrap();
        }
        let mut received = 0;
        for wanted in [200_000, 400_000, 600_000] {
            nodes.sleep(Duration::from_secs(5)).await;
            while received < wanted {
                received += slow.read_chunk().await.unwrap().unwrap().len();
            }
        }
        assert!(received < 1_000_000, "{received}");
        while let Some(chunk) = slow.read_chunk().await.unwrap() {
            received += chunk.len();
        }
        assert_eq!(received, framed(&answer).len(), "it was slow, and did read");
        // Its window grew once by itself, when the round trip time was known.
        nodes.sleep(Duration::from_secs(10)).await;
        let mut left = 0;
        let failed = loop {
            match idle.read_chunk().await {
                Ok(Some(chunk)) => left += chunk.len(),
                ended => break ended,
            }
        };
        assert_eq!(failed, Err(ReadError::Reset(0)));
        assert!(left < 2_000_000, "{left} bytes had left before");
        nodes.sleep(Duration::from_secs(2)).await;
        assert_eq!(far.answering_stats(&nodes.peer(0)), None);
    });
    nodes.end();
}
