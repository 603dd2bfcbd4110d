//! Channels that speak somebody else's protocol, both ends on one stream.

use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt};
use septa_core::{ProtocolId, connection::codes};
use septa_driver::{
    Channel, ReadError, Stream,
    channel::{ChannelOptions, Received},
    node::IncomingStreams,
};

use super::{connected_to, message, number, number_of, orders, small_marks};
use crate::{
    node::Nodes,
    world::{calm, conditions, pattern},
};

const FOREIGN: ProtocolId = ProtocolId::from_static("/elsewhere/1.0.0");

fn open(nodes: &Nodes, number: usize) -> Channel {
    nodes.nodes[number].shared_channel(FOREIGN, ChannelOptions::default()).unwrap()
}

/// Streams of the protocol that node 0 has agreed on with node 1.
fn streams(nodes: &Nodes) -> u64 {
    let info = nodes.nodes[0].peer_info(&nodes.peer(1)).unwrap();
    let protocols = info.connections.iter().flat_map(|connection| &connection.protocols);
    protocols.filter(|stats| stats.protocol == FOREIGN).map(|stats| stats.streams).sum()
}

/// A peer that knows nothing of channels.
async fn foreigner(streams: &mut IncomingStreams) -> Stream {
    streams.next().await.unwrap().stream
}

/// Reads a message shorter than 128 bytes.
async fn read_frame(stream: &mut Stream) -> Vec<u8> {
    let mut len = [0];
    stream.read_exact(&mut len).await.unwrap();
    let mut body = vec![0; len[0].into()];
    stream.read_exact(&mut body).await.unwrap();
    body
}

async fn write_frame(stream: &mut Stream, body: &[u8]) {
    stream.write_all(&[&[u8::try_from(body.len()).unwrap()], body].concat()).await.unwrap();
    stream.flush().await.unwrap();
}

#[test]
fn both_ends_send_on_the_stream_that_the_first_has_opened() {
    for conditions in conditions(8) {
        for (first, second) in [(0, 1), (1, 0)] {
            let nodes = Nodes::new(conditions, 2);
            nodes.run(async {
                let channels = [open(&nodes, 0), open(&nodes, 1)];
                connected_to(&nodes, 1).await;
                for size in [0, 1, 127, 128, 20_000, 3] {
                    for (from, to) in [(first, second), (second, first)] {
                        channels[from].send(nodes.peer(to), &pattern(size)).await.unwrap();
                        let (peer, body) = message(&channels[to]).await;
                        assert!(peer == nodes.peer(from) && body == pattern(size), "{conditions:?}");
                    }
                }
                assert_eq!(streams(&nodes), 1, "{conditions:?}");
                drop(channels);
            });
            nodes.end();
        }
    }
}

#[test]
fn when_both_open_at_once_all_arrives_and_the_dialers_stream_stays() {
    for conditions in conditions(16) {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let channels = [open(&nodes, 0), open(&nodes, 1)];
            connected_to(&nodes, 1).await;
            for round in 0..3 {
                for (from, to) in [(0, 1), (1, 0)] {
                    for size in [7, 3000, round] {
                        channels[from].send(nodes.peer(to), &pattern(size)).await.unwrap();
                    }
                }
                for to in [1, 0] {
                    let mut sizes = Vec::new();
                    for _ in 0..3 {
                        let body = message(&channels[to]).await.1;
                        assert!(body == pattern(body.len()), "{conditions:?}");
                        sizes.push(body.len());
                    }
                    // Those before the change of streams may be overtaken by those behind it.
                    sizes.sort_unstable();
                    assert_eq!(sizes, [round, 7, 3000], "{conditions:?}");
                }
            }
            assert!(streams(&nodes) <= 2, "{conditions:?}");
            // Of two the listener has ended its own: what node 0 still sends and reads is on that of the dialer.
            let before = streams(&nodes);
            for (from, to) in [(0, 1), (1, 0)] {
                channels[from].send(nodes.peer(to), b"settled").await.unwrap();
                assert_eq!(message(&channels[to]).await.1, b"settled");
            }
            assert_eq!(streams(&nodes), before, "{conditions:?}");
            drop(channels);
        });
        nodes.end();
    }
}

/// The listener has begun a message that the dialer does not take yet; then the dialer opens a stream, too.
#[test]
fn a_message_is_not_torn_between_two_streams() {
    for conditions in orders() {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let near = nodes.nodes[0].shared_channel(FOREIGN, small_marks()).unwrap();
            let far = nodes.nodes[1].shared_channel(FOREIGN, small_marks()).unwrap();
            connected_to(&nodes, 1).await;
            let mut streams = Vec::new();
            // Node 1 has listened; its messages fill the window of a stream of its own in the middle of one.
            let mut sent = 0;
            while far.send(nodes.peer(0), &number(sent)).now_or_never().is_some() {
                sent += 1;
                nodes.sleep(Duration::from_millis(10)).await;
            }
            // The dialer opens another one although it could use that: as if both had begun at once.
            let connection = nodes.nodes[0].connection(&nodes.peer(1)).unwrap();
            let mut other = connection.open_stream(&[FOREIGN]).await.unwrap();
            write_frame(&mut other, b"from a second stream").await;
            assert_eq!(message(&far).await.1, b"from a second stream");
            streams.push(other);
            // All of the messages come, whole: on the first stream what was begun, the rest on the other one.
            let mut numbers = Vec::new();
            while let Some(Some(Received::Message { body, .. })) = {
                nodes.sleep(Duration::from_millis(50)).await;
                near.recv().now_or_never()
            } {
                assert_eq!(body.len(), 60_008);
                numbers.push(number_of(&body));
            }
            let other = &mut streams[0];
            let mut rest = Vec::new();
            while numbers.len() + rest.len() < sent {
                let mut prefix = [0; 3];
                other.read_exact(&mut prefix).await.unwrap();
                assert_eq!(prefix, [0xe8, 0xd4, 0x03], "the length of a whole message");
                let mut body = vec![0; 60_008];
                other.read_exact(&mut body).await.unwrap();
                rest.push(number_of(&body));
            }
            assert!(!numbers.is_empty() && !rest.is_empty(), "{} and {}", numbers.len(), rest.len());
            numbers.extend(rest);
            assert_eq!(numbers, (0..sent).collect::<Vec<_>>(), "{conditions:?}");
            drop((near, far, streams));
        });
        nodes.end();
    }
}

#[test]
fn a_peer_that_knows_no_channels_exchanges_messages_and_may_end_its_half() {
    for conditions in conditions(4) {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let channel = open(&nodes, 0);
            let mut incoming = nodes.nodes[1].accept(FOREIGN).unwrap();
            connected_to(&nodes, 1).await;
            let peer = nodes.peer(1);
            for round in 0..3_u8 {
                channel.send(peer, &[round]).await.unwrap();
                let mut stream = foreigner(&mut incoming).await;
                assert_eq!(read_frame(&mut stream).await, [round]);
                write_frame(&mut stream, b"answer").await;
                assert_eq!(message(&channel).await.1, b"answer");
                stream.close().await.unwrap();
                // This end ends it, too, and takes another one for what comes then.
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                assert!(rest.is_empty(), "{conditions:?}");
            }
            // A stream that the peer opens is used for answers.
            let mut theirs = nodes.nodes[1].open_stream(&nodes.peer(0), &[FOREIGN]).await.unwrap();
            write_frame(&mut theirs, b"asked").await;
            assert_eq!(message(&channel).await.1, b"asked");
            channel.send(peer, b"told").await.unwrap();
            assert_eq!(read_frame(&mut theirs).await, b"told");
            drop((channel, incoming, theirs));
        });
        nodes.end();
    }
}

#[test]
fn a_second_stream_of_the_peer_is_refused_while_the_first_is_open() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = open(&nodes, 0);
        connected_to(&nodes, 1).await;
        let peer = nodes.peer(0);
        nodes.sleep(Duration::from_millis(50)).await;
        let mut first = nodes.nodes[1].open_stream(&peer, &[FOREIGN]).await.unwrap();
        write_frame(&mut first, b"one").await;
        assert_eq!(message(&channel).await.1, b"one");
        let mut second = nodes.nodes[1].open_stream(&peer, &[FOREIGN]).await.unwrap();
        write_frame(&mut second, b"two").await;
        let refused = second.read_chunk().await;
        assert_eq!(refused, Err(ReadError::Reset(codes::stream::PROTOCOL_VIOLATION)));
        first.close().await.unwrap();
        assert_eq!(first.read_chunk().await, Ok(None), "nobody sends on it");
        let mut third = nodes.nodes[1].open_stream(&peer, &[FOREIGN]).await.unwrap();
        write_frame(&mut third, b"three").await;
        assert_eq!(message(&channel).await.1, b"three");
        drop((channel, first, second, third));
    });
    nodes.end();
}

#[test]
fn a_peer_that_does_not_speak_it_yet_gets_the_message_later() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = open(&nodes, 0);
        connected_to(&nodes, 1).await;
        near.send(nodes.peer(1), b"early").await.unwrap();
        nodes.sleep(Duration::from_secs(20)).await;
        // A handful of tries, not one for each round trip.
        let opened = nodes.nodes[0].connection(&nodes.peer(1)).unwrap().stats().streams_opened;
        assert!(opened < 10, "{opened} tries in 20 seconds");
        let far = open(&nodes, 1);
        assert_eq!(message(&far).await.1, b"early");
        drop((near, far));
    });
    nodes.end();
}

#[test]
fn closing_ends_the_stream_after_what_was_sent() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = open(&nodes, 0);
        let mut incoming = nodes.nodes[1].accept(FOREIGN).unwrap();
        connected_to(&nodes, 1).await;
        near.send(nodes.peer(1), b"last").await.unwrap();
        let mut stream = foreigner(&mut incoming).await;
        assert_eq!(read_frame(&mut stream).await, b"last");
        near.close();
        assert_eq!(stream.read_chunk().await, Ok(None));
        // Whoever never ends its half is cut off in the end.
        nodes.sleep(Duration::from_secs(11)).await;
        assert_eq!(stream.write_all(b"x").await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        drop((near, incoming, stream));
    });
    nodes.end();
}
