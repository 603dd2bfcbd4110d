//! Peers that break rules, or time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{join, join_all},
};
use septa_core::channel::rpc;
use septa_driver::{
    ReadError, Stream, WriteError,
    requests::{RequestError, RequestOptions, Violation},
};

use super::{ENOUGH, MODES, Mode, ask, connect, frame, framed, millis_since, raw, say, serve, taken};
use crate::{node::Nodes, world::calm};

/// Reads until the stream ends, and returns how.
async fn ended(stream: &mut Stream) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.read_chunk().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[test]
fn an_asker_that_breaks_a_rule_loses_its_stream_and_may_come_again() {
    let cases: [(&str, Mode, Vec<u8>); 5] = [
        ("an answer to nothing", Mode::Many, frame(1, 0, b"")),
        ("numbers that do not grow by one", Mode::Many, [frame(0, 0, b""), frame(0, 5, b"")].concat()),
        ("too long", Mode::Many, vec![0x80, 0x80, 0x80, 0x01]),
        ("too long", Mode::One, vec![0x80, 0x80, 0x80, 0x01]),
        ("two requests", Mode::One, [framed(b"a"), framed(b"b")].concat()),
    ];
    for (what, mode, said) in cases {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let far = mode.open(&nodes, 1, RequestOptions::default()).unwrap();
            connect(&nodes, 1).await;
            let mut stream = raw(&nodes, 0, 1, mode, &said).await;
            assert_eq!(ended(&mut stream).await, Err(ReadError::Reset(0x1004)), "{what}");
            nodes.sleep(Duration::from_millis(100)).await;
            let left = taken(&nodes, &far).await;
            assert!(left.is_empty(), "{what}: what came with it is not wanted");
            let asked = match mode {
                Mode::Many => frame(0, 0, b"ab"),
                Mode::One => framed(b"ab"),
            };
            let mut stream = raw(&nodes, 0, 1, mode, &asked).await;
            let request = far.next().await.unwrap();
            assert_eq!(request.body(), "ab");
            request.respond(b"ba").unwrap();
            stream.finish().unwrap();
            let answer = match mode {
                Mode::Many => frame(1, 0, b"ba"),
                Mode::One => framed(b"ba"),
            };
            assert_eq!(ended(&mut stream).await, Ok(answer), "{what}");
        });
        nodes.end();
    }
}

#[test]
fn an_answerer_that_breaks_a_rule_fails_all_that_was_asked_of_it() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = Mode::Many.open(&nodes, 0, RequestOptions::default()).unwrap();
        let streams = nodes.nodes[1].accept(Mode::Many.protocol()).unwrap();
        let _kept = say(&nodes, streams, vec![frame(1, 1, b"fine"), frame(0, 0, b"and you?")]);
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        let (first, second) = join(near.request(peer, b"?", ENOUGH), near.request(peer, b"??", ENOUGH)).await;
        let error = Violation::Stream(rpc::Error::UnexpectedKind(0));
        assert_eq!(first, Err(RequestError::Violation { peer, error }));
        assert_eq!(second.unwrap(), "fine", "which came before");
    });
    nodes.end();
}

#[test]
fn a_stream_that_ends_without_an_answer_has_lost_it() {
    for mode in MODES {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let near = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            let mut streams = nodes.nodes[1].accept(mode.protocol()).unwrap();
            connect(&nodes, 1).await;
            let peer = nodes.peer(1);
            let finish = async {
                let mut inbound = streams.next().await.unwrap();
                let _ = inbound.stream.read_chunk().await;
                inbound.stream.finish().unwrap();
                inbound.stream
            };
            let (failed, _stream) = join(near.request(peer, b"?", ENOUGH), finish).await;
            assert_eq!(failed, Err(RequestError::Lost { peer }), "{mode:?}");
        });
        nodes.end();
    }
}

/// It holds places and asks nothing: they are taken from it in time.
#[test]
fn half_a_request_has_so_much_time() {
    let nodes = Nodes::new(calm(), 3);
    nodes.run(async {
        let mut options = RequestOptions::default();
        options.config.max_answering = 2;
        let far = Mode::One.open(&nodes, 1, options).unwrap();
        serve(&nodes, &far);
        connect(&nodes, 1).await;
        let begin = nodes.simulation.now();
        let half = &framed(&[7; 1000])[..500];
        let mut stuck = [raw(&nodes, 0, 1, Mode::One, half).await, raw(&nodes, 0, 1, Mode::One, half).await];
        let mut honest = raw(&nodes, 0, 1, Mode::One, &framed(b"ab")).await;
        honest.finish().unwrap();
        assert_eq!(ended(&mut honest).await, Ok(framed(b"ba")), "when a place is free");
        assert_eq!(millis_since(&nodes, begin), 10_000);
        for stream in &mut stuck {
            assert_eq!(ended(stream).await, Err(ReadError::Reset(0)));
        }
    });
    nodes.end();
}

/// Its stream is reset all the same, though the request that it does not read can never leave.
#[test]
fn an_answerer_that_breaks_a_rule_and_does_not_read_loses_its_stream() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = Mode::Many.open(&nodes, 0, RequestOptions::default()).unwrap();
        let mut streams = nodes.nodes[1].accept(Mode::Many.protocol()).unwrap();
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        let mut kept = Vec::new();
        for _ in 0..3 {
            let asking: Vec<_> = (0..4).map(|_| ask(&nodes, &near, peer, &[7; 1_000_000], ENOUGH)).collect();
            let mut stream = streams.next().await.unwrap().stream;
            nodes.sleep(Duration::from_secs(1)).await;
            stream.send(&frame(0, 0, b"and you?")).await.unwrap();
            for failed in join_all(asking).await {
                assert!(matches!(failed, Err(RequestError::Violation { .. })), "{failed:?}");
            }
            nodes.sleep(Duration::from_secs(1)).await;
            assert_eq!(stream.send(b"?").await, Err(WriteError::Reset(0x1004)));
            kept.push(stream);
        }
    });
    nodes.end();
}

/// The peer has lost the first one: its answers are not waited for.
#[test]
fn a_second_stream_of_a_connection_replaces_the_first() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let far = Mode::Many.open(&nodes, 1, RequestOptions::default()).unwrap();
        connect(&nodes, 1).await;
        let mut first = raw(&nodes, 0, 1, Mode::Many, &frame(0, 0, b"first")).await;
        let asked = far.next().await.unwrap();
        let mut second = raw(&nodes, 0, 1, Mode::Many, &frame(0, 0, b"second")).await;
        asked.cancelled().await;
        assert!(matches!(ended(&mut first).await, Err(ReadError::Reset(_))));
        let asked = far.next().await.unwrap();
        assert_eq!(asked.body(), "second");
        asked.respond(b"yes").unwrap();
        second.finish().unwrap();
        assert_eq!(ended(&mut second).await, Ok(frame(1, 0, b"yes")));
        // However many it opens, one is left.
        let mut streams = Vec::new();
        for _ in 0..100 {
            streams.push(raw(&nodes, 0, 1, Mode::Many, &frame(0, 0, b"again")).await);
        }
        let left = taken(&nodes, &far).await;
        assert_eq!(left.iter().filter(|request| !request.is_cancelled()).count(), 1);
    });
    nodes.end();
}

/// It asks and never reads an answer.
#[test]
fn an_asker_that_does_not_read_stops_itself_only() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut options = RequestOptions::default();
        options.config.watermarks.high_bytes = 500_000;
        options.config.watermarks.low_bytes = 100_000;
        let far = Mode::Many.open(&nodes, 1, options).unwrap();
        let asker = Mode::Many.open(&nodes, 0, RequestOptions::default()).unwrap();
        connect(&nodes, 1).await;
        let asked: Vec<u8> = (0..100).flat_map(|number| frame(0, number, b"?")).collect();
        let stream = raw(&nodes, 0, 1, Mode::Many, &asked).await;
        let body = Bytes::from(vec![7; 100_000]);
        let mut answered = 0;
        loop {
            nodes.sleep(Duration::from_millis(100)).await;
            let Some(next) = far.next().now_or_never() else { break };
            next.unwrap().respond(&body).unwrap();
            answered += 1;
        }
        let stats = far.answering_stats(&nodes.peer(0)).unwrap();
        assert!(answered < 80, "{answered}");
        assert!(stats.queued_bytes < 500_000 + 65 * 100_010, "{stats:?}");
        // This end asks as it likes.
        serve(&nodes, &asker);
        assert_eq!(far.request(nodes.peer(0), b"ab", ENOUGH).await.unwrap(), "ba");
        drop(stream);
    });
    nodes.end();
}
