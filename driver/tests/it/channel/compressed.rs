//! Channels whose messages are compressed.

use std::time::Duration;

use futures_util::{AsyncWriteExt, FutureExt};
use septa_core::{ProtocolId, connection::codes};
use septa_driver::{
    Stream,
    channel::{ChannelError, ChannelOptions, CompressionLevel, MESSAGE_OVERHEAD, SendError},
};

use super::{
    connected, connected_to,
    hostile::{reset_code, short_frame, victim},
    message, orders,
};
use crate::{
    node::{LONG, Nodes},
    world::{calm, conditions, pattern},
};

const COMPRESSED: ProtocolId = ProtocolId::from_static("/septa/channel/chat/1.0.0/zstd");

fn compressed() -> ChannelOptions {
    ChannelOptions { compression: Some(CompressionLevel::default()), ..ChannelOptions::default() }
}

/// A message as another implementation may send it, without its length in front: its raw length, and a frame with one
/// block that is not compressed.
fn stored(body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap();
    let block = (u32::from(len) << 3 | 1).to_le_bytes();
    [&[len, 0x28, 0xb5, 0x2f, 0xfd, 0x20, len], &block[..3], body].concat()
}

async fn attack(nodes: &Nodes) -> Stream {
    nodes.nodes[1].open_stream(&nodes.peer(0), &[COMPRESSED]).await.unwrap()
}

#[test]
fn messages_arrive_whole_and_in_order_both_ways_and_short_on_the_wire() {
    for conditions in conditions(4) {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let channels = connected(&nodes, &compressed()).await;
            assert_eq!(channels[0].protocol(), &COMPRESSED);
            let repeated = b"again and ".repeat(2000);
            for (from, to) in [(0, 1), (1, 0)] {
                for body in [&pattern(0)[..], &pattern(1), &pattern(5000), &repeated, &pattern(3)] {
                    channels[from].send(nodes.peer(to), body).await.unwrap();
                    let (peer, received) = message(&channels[to]).await;
                    assert!(peer == nodes.peer(from) && received == body, "{conditions:?}");
                }
                let sent = channels[from].totals().0.sent_bytes;
                assert!(sent < 6000, "25,004 bytes became {sent}");
            }
            drop(channels);
        });
        nodes.end();
    }
}

#[test]
fn the_longest_message_passes_although_it_gets_longer_and_one_byte_more_does_not() {
    for conditions in orders() {
        let nodes = Nodes::new(conditions, 2);
        nodes.run(async {
            let mut options = compressed();
            options.config.max_message_len = 100_000;
            let channels = connected(&nodes, &options).await;
            // Each number once, scrambled: not to be compressed.
            let scrambled: Vec<u8> = (0..12_501_u64)
                .flat_map(|number| {
                    (number ^ 0x5555)
                        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                        .rotate_left(29)
                        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                        .to_be_bytes()
                })
                .collect();
            let longest = &scrambled[..100_000];
            let peer = nodes.peer(1);
            channels[0].send(peer, longest).await.unwrap();
            assert!(message(&channels[1]).await.1 == longest);
            assert!(channels[0].totals().0.sent_bytes > 100_000, "it was to get longer");
            let error = channels[0].send(peer, &scrambled[..100_001]).await.unwrap_err();
            let SendError::TooLong { error, .. } = error else { panic!("{error}") };
            assert_eq!((error.len, error.max), (100_001, 100_000));
            drop(channels);
        });
        nodes.end();
    }
}

#[test]
fn a_broadcast_reaches_everybody() {
    let nodes = Nodes::new(calm(), 4);
    nodes.run(async {
        let channels = connected(&nodes, &compressed()).await;
        let body = b"to all of you, to all of you".repeat(100);
        let sent = channels[0].broadcast((1..4).map(|number| nodes.peer(number)), &body, LONG, 2).await;
        assert!(sent.len() == 3 && sent.values().all(Result::is_ok), "{sent:?}");
        for channel in &channels[1..] {
            assert!(message(channel).await.1 == body);
        }
        drop(channels);
    });
    nodes.end();
}

/// Such a peer does not take the channel: what is sent waits until it does.
#[test]
fn a_peer_that_has_it_off_gets_nothing_until_it_has_it_on() {
    for (near, far) in [(compressed(), ChannelOptions::default()), (ChannelOptions::default(), compressed())] {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let sender = nodes.nodes[0].channel_with("chat", near.clone()).unwrap();
            let other = nodes.nodes[1].channel_with("chat", far).unwrap();
            connected_to(&nodes, 1).await;
            sender.send(nodes.peer(1), b"nobody understands me").await.unwrap();
            nodes.sleep(Duration::from_secs(60)).await;
            assert!(other.recv().now_or_never().is_none());
            let stats = sender.stats(&nodes.peer(1)).unwrap();
            assert_eq!((stats.messages, stats.sent_messages), (1, 0));
            // Each of the two is a channel of its own.
            let same = nodes.nodes[1].channel_with("chat", near).unwrap();
            assert_eq!(message(&same).await.1, b"nobody understands me");
            drop((sender, other, same));
        });
        nodes.end();
    }
}

#[test]
fn what_another_implementation_has_compressed_is_understood() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = victim(&nodes, compressed()).await;
        let mut stream = attack(&nodes).await;
        for body in [&b""[..], b"1", b"stored, not compressed"] {
            stream.write_all(&short_frame(&stored(body))).await.unwrap();
            stream.flush().await.unwrap();
            assert_eq!(message(&channel).await.1, body);
        }
        drop((channel, stream));
    });
    nodes.end();
}

#[test]
fn a_message_that_does_not_inflate_ends_its_stream_and_no_other() {
    let bad: [&[u8]; 4] = [b"not a frame", &stored(b"cut")[..5], &[stored(b"two"), stored(b"two")].concat(), b""];
    for bad in bad {
        let nodes = Nodes::new(calm(), 2);
        nodes.run(async {
            let channel = victim(&nodes, compressed()).await;
            let mut stream = attack(&nodes).await;
            for body in [&stored(b"before"), bad, &stored(b"behind")] {
                stream.write_all(&short_frame(body)).await.unwrap();
            }
            stream.flush().await.unwrap();
            // It is noticed when it is taken.
            nodes.sleep(Duration::from_secs(1)).await;
            assert_eq!(message(&channel).await.1, b"before");
            assert!(channel.recv().now_or_never().is_none(), "neither the bad one nor what is behind it");
            assert_eq!(reset_code(&nodes, &mut stream).await, Some(codes::stream::PROTOCOL_VIOLATION));
            nodes.sleep(Duration::from_secs(1)).await;
            assert_eq!(channel.received(&nodes.peer(1)), None, "nothing is left of it");
            let mut next = attack(&nodes).await;
            next.write_all(&short_frame(&stored(b"another stream"))).await.unwrap();
            assert_eq!(message(&channel).await.1, b"another stream");
            drop((channel, stream, next));
        });
        nodes.end();
    }
}

/// All that filled the room is dropped at once, and nothing else would wake who waits for it.
#[test]
fn messages_that_do_not_inflate_make_room_for_others() {
    let nodes = Nodes::new(calm(), 3);
    nodes.run(async {
        let options = ChannelOptions { max_received_bytes: 6 * MESSAGE_OVERHEAD, ..compressed() };
        let channel = victim(&nodes, options).await;
        connected_to(&nodes, 2).await;
        let mut stream = attack(&nodes).await;
        stream.write_all(&short_frame(b"bad").repeat(6)).await.unwrap();
        stream.flush().await.unwrap();
        nodes.sleep(Duration::from_secs(1)).await;
        let mut honest = nodes.nodes[2].open_stream(&nodes.peer(0), &[COMPRESSED]).await.unwrap();
        honest.write_all(&short_frame(&stored(b"good"))).await.unwrap();
        honest.flush().await.unwrap();
        nodes.sleep(Duration::from_secs(1)).await;
        let waiting = [1, 2].map(|number| channel.received(&nodes.peer(number)).unwrap().messages);
        assert_eq!(waiting, [6, 0], "there is no room for the good one");
        assert_eq!(message(&channel).await.1, b"good");
        drop((channel, stream, honest));
    });
    nodes.end();
}

/// The stream is over when its message is found to be bad: the next one is not held up.
#[test]
fn a_message_that_does_not_inflate_at_the_end_of_a_stream_is_dropped() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = victim(&nodes, compressed()).await;
        let mut first = attack(&nodes).await;
        first.write_all(&short_frame(b"bad")).await.unwrap();
        first.close().await.unwrap();
        nodes.sleep(Duration::from_secs(1)).await;
        let mut second = attack(&nodes).await;
        second.write_all(&short_frame(&stored(b"good"))).await.unwrap();
        second.flush().await.unwrap();
        nodes.sleep(Duration::from_secs(1)).await;
        assert_eq!(message(&channel).await.1, b"good");
        drop((channel, first, second));
    });
    nodes.end();
}

/// 20 bytes that would become 128 KiB, and one that says so.
#[test]
fn a_bomb_does_not_go_off() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut options = compressed();
        options.config.max_message_len = 1000;
        let channel = victim(&nodes, options).await;
        let run = (128 * 1024_u32) << 3 | 1 << 1 | 1;
        let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38][..], &run.to_le_bytes()[..3], &[0]].concat();
        // 1,000 and 131,072.
        for announced in [&[0xe8, 0x07][..], &[0x80, 0x80, 0x08]] {
            let mut stream = attack(&nodes).await;
            stream.write_all(&short_frame(&[announced, &frame].concat())).await.unwrap();
            stream.flush().await.unwrap();
            nodes.sleep(Duration::from_secs(1)).await;
            assert!(channel.recv().now_or_never().is_none());
            assert_eq!(reset_code(&nodes, &mut stream).await, Some(codes::stream::PROTOCOL_VIOLATION));
        }
        drop(channel);
    });
    nodes.end();
}

#[test]
fn only_named_channels_can_be_compressed() {
    let nodes = Nodes::new(calm(), 1);
    nodes.run(async {
        let foreign = nodes.nodes[0].shared_channel(ProtocolId::from_static("/elsewhere/1.0.0"), compressed());
        assert_eq!(foreign.unwrap_err(), ChannelError::ForeignCompression);
    });
    nodes.end();
}
