//! What a peer that is slow, dead or lying does to a channel.

use std::time::Duration;

use futures_util::{AsyncWriteExt, FutureExt};
use septa_core::{ProtocolId, connection::codes};
use septa_driver::{
    Channel, ReadError, RefuseReason, Stream, WriteError,
    channel::{ChannelOptions, DropReason, MESSAGE_OVERHEAD, Received, SendError, TrySendError},
};

use super::{connected_to, message, number, small_marks};
use crate::{node::Nodes, world::calm};

const CHAT: ProtocolId = ProtocolId::from_static("/septa/channel/chat/1.0.0");

/// Node 0 has the channel; node 1 knows how to abuse it.
pub(super) async fn victim(nodes: &Nodes, options: ChannelOptions) -> Channel {
    let channel = nodes.nodes[0].channel_with("chat", options).unwrap();
    connected_to(nodes, 1).await;
    nodes.sleep(Duration::from_millis(50)).await;
    channel
}

async fn attack(nodes: &Nodes) -> Stream {
    nodes.nodes[1].open_stream(&nodes.peer(0), &[CHAT]).await.unwrap()
}

/// With which code the other end has reset a stream, if it has. It may have ended its half before.
pub(super) async fn reset_code(nodes: &Nodes, stream: &mut Stream) -> Option<u32> {
    nodes.sleep(Duration::from_millis(100)).await;
    let error = stream.write_all(b"x").await.err()?;
    match error.get_ref().and_then(|source| source.downcast_ref()) {
        // Its end may come before the answer to the protocol was looked at.
        Some(WriteError::Reset(code) | WriteError::Refused(RefuseReason::Reset(code))) => Some(*code),
        _ => panic!("{error}"),
    }
}

/// Its length in three bytes, then the message.
fn frame(len: u16) -> Vec<u8> {
    let prefix = [(len & 0x7f) as u8 | 0x80, (len >> 7) as u8 | 0x80, 0];
    [&prefix[..], &vec![7; usize::from(len)]].concat()
}

/// The same in the shortest form, which is the only one that is allowed.
pub(super) fn short_frame(body: &[u8]) -> Vec<u8> {
    let (low, high) = ((body.len() & 0x7f) as u8, u8::try_from(body.len() >> 7).unwrap());
    if high == 0 { [&[low], body].concat() } else { [&[low | 0x80, high], body].concat() }
}

#[test]
fn streams_that_end_at_once_leave_nothing_behind() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = victim(&nodes, ChannelOptions::default()).await;
        for round in 0..2000 {
            let mut stream = attack(&nodes).await;
            stream.close().await.unwrap();
            assert_eq!(stream.read_chunk().await, Ok(None), "round {round}");
        }
        nodes.sleep(Duration::from_secs(1)).await;
        assert_eq!(channel.received(&nodes.peer(1)), None);
        let mut stream = attack(&nodes).await;
        stream.write_all(&short_frame(b"honest")).await.unwrap();
        assert_eq!(message(&channel).await.1, b"honest");
        drop((channel, stream));
    });
    nodes.end();
}

/// Nobody takes what came; the peer ends each stream and opens another one.
#[test]
fn one_full_stream_after_the_other_does_not_fill_memory() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = victim(&nodes, ChannelOptions::default()).await;
        let mut refused = 0;
        for _ in 0..50 {
            let mut stream = attack(&nodes).await;
            let _ = stream.write_all(&short_frame(&[7; 100])).await;
            let end = stream.read_chunk().await;
            refused += usize::from(end == Err(ReadError::Reset(codes::stream::RESOURCE_LIMIT)));
            let _ = stream.close().await;
            nodes.sleep(Duration::from_millis(50)).await;
        }
        let stats = channel.received(&nodes.peer(1)).unwrap();
        assert_eq!((stats.messages, stats.bytes, refused), (4, 400, 46));
        for _ in 0..4 {
            message(&channel).await;
        }
        assert_eq!(channel.received(&nodes.peer(1)), None);
        assert_eq!(channel.totals().1.received_messages, 4);
        drop(channel);
    });
    nodes.end();
}

#[test]
fn a_second_stream_breaks_the_protocol_only_while_the_first_is_open() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut options = ChannelOptions::default();
        options.config.max_received_messages = 1;
        let channel = victim(&nodes, options).await;
        let mut first = attack(&nodes).await;
        for body in [b"1", b"2", b"3"] {
            first.write_all(&short_frame(body)).await.unwrap();
            first.flush().await.unwrap();
            nodes.sleep(Duration::from_millis(50)).await;
        }
        let mut second = attack(&nodes).await;
        let refused = second.read_chunk().await;
        assert_eq!(refused, Err(ReadError::Reset(codes::stream::PROTOCOL_VIOLATION)));
        // Ended, although nobody has read that far yet: what comes on the next one stays behind it.
        first.close().await.unwrap();
        let mut third = attack(&nodes).await;
        third.write_all(&short_frame(b"4")).await.unwrap();
        third.flush().await.unwrap();
        nodes.sleep(Duration::from_millis(50)).await;
        for body in [b"1", b"2", b"3", b"4"] {
            assert_eq!(message(&channel).await.1, body);
        }
        drop((channel, first, second, third));
    });
    nodes.end();
}

#[test]
fn many_peers_together_have_no_more_than_the_channel_keeps() {
    let nodes = Nodes::new(calm(), 6);
    nodes.run(async {
        let options = ChannelOptions { max_received_bytes: 300_000, ..ChannelOptions::default() };
        let victim = nodes.nodes[0].channel_with("chat", options).unwrap();
        let mut senders = Vec::new();
        for from in 1..6 {
            connected_to(&nodes, from).await;
            let channel = nodes.nodes[from].channel("chat").unwrap();
            for count in 0..10 {
                channel.send(nodes.peer(0), &number(count)).await.unwrap();
            }
            senders.push(channel);
        }
        nodes.sleep(Duration::from_secs(5)).await;
        let waiting = victim.totals().1;
        let counted = waiting.bytes + waiting.messages * MESSAGE_OVERHEAD;
        assert!((300_000..300_000 + 5 * 64 * 1024).contains(&counted), "{waiting:?}");
        for _ in 0..50 {
            message(&victim).await;
        }
        assert_eq!(victim.totals().1.bytes, 0);
        drop((victim, senders));
    });
    nodes.end();
}

/// Each occupies a block and a place in a queue.
#[test]
fn messages_of_no_bytes_do_not_fill_memory() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let options = ChannelOptions { max_received_bytes: 10 * MESSAGE_OVERHEAD, ..ChannelOptions::default() };
        let channel = victim(&nodes, options).await;
        let mut stream = attack(&nodes).await;
        for _ in 0..30 {
            stream.write_all(&short_frame(b"")).await.unwrap();
            stream.flush().await.unwrap();
            nodes.sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(channel.totals().1.messages, 10);
        for _ in 0..30 {
            assert_eq!(message(&channel).await.1, b"");
        }
        drop((channel, stream));
    });
    nodes.end();
}

/// What waits behind the end of a stream is more than half of the room, which is when others would read on, and the end
/// was not read while another peer held up its own messages, too.
#[test]
fn a_peer_that_holds_up_its_own_messages_reads_on_as_soon_as_there_is_room() {
    let nodes = Nodes::new(calm(), 3);
    nodes.run(async {
        let mut options = ChannelOptions { max_received_bytes: 20_000, ..ChannelOptions::default() };
        options.config.max_received_messages = 1;
        let victim = nodes.nodes[0].channel_with("chat", options).unwrap();
        let (alice, bob) = (1, 2);
        connected_to(&nodes, alice).await;
        connected_to(&nodes, bob).await;
        nodes.sleep(Duration::from_millis(50)).await;
        let open = async |from: usize| nodes.nodes[from].open_stream(&nodes.peer(0), &[CHAT]).await.unwrap();
        let send = async |stream: &mut Stream, lens: &[usize]| {
            for len in lens {
                stream.write_all(&short_frame(&vec![7; *len])).await.unwrap();
            }
            stream.flush().await.unwrap();
            nodes.sleep(Duration::from_millis(50)).await;
        };
        let end = async |stream: &mut Stream| {
            stream.close().await.unwrap();
            nodes.sleep(Duration::from_millis(50)).await;
        };
        let (mut bobs, mut alices) = (open(bob).await, open(alice).await);
        send(&mut bobs, &[10]).await;
        send(&mut bobs, &[11, 12]).await;
        end(&mut bobs).await;
        send(&mut alices, &[13]).await;
        end(&mut alices).await;
        let mut second = open(bob).await;
        send(&mut second, &[10_000]).await;
        end(&mut second).await;
        let mut third = open(bob).await;
        send(&mut third, &[14]).await;
        let mut last = open(alice).await;
        send(&mut last, &[12_000]).await;
        for len in [10, 13, 11, 12, 10_000, 14, 12_000] {
            let taken = message(&victim).now_or_never().map(|(_, body)| body.len());
            assert_eq!(taken, Some(len));
            nodes.sleep(Duration::from_millis(50)).await;
        }
        drop((victim, bobs, alices, second, third, last));
    });
    nodes.end();
}

#[test]
fn a_length_that_is_not_the_shortest_ends_the_stream() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = victim(&nodes, ChannelOptions::default()).await;
        let mut stream = attack(&nodes).await;
        stream.write_all(&short_frame(b"before")).await.unwrap();
        stream.write_all(&frame(100)).await.unwrap();
        assert_eq!(reset_code(&nodes, &mut stream).await, Some(codes::stream::PROTOCOL_VIOLATION));
        assert_eq!(message(&channel).await.1, b"before");
        assert!(channel.recv().now_or_never().is_none());
        drop((channel, stream));
    });
    nodes.end();
}

/// Only the length of it was sent, so no more can have been read.
#[test]
fn a_message_that_is_too_long_is_refused_for_its_length_alone() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let mut options = ChannelOptions::default();
        options.config.max_message_len = 1000;
        let channel = victim(&nodes, options).await;
        let mut stream = attack(&nodes).await;
        // 1,001.
        stream.write_all(&[0xe9, 0x07]).await.unwrap();
        assert_eq!(reset_code(&nodes, &mut stream).await, Some(codes::stream::PROTOCOL_VIOLATION));
        drop((channel, stream));
    });
    nodes.end();
}

/// The acceptor of a stream ends its half and has nothing to say on it.
#[test]
fn a_peer_that_answers_where_it_must_not_gets_no_messages() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let channel = nodes.nodes[0].channel("chat").unwrap();
        let mut incoming = nodes.nodes[1].accept(CHAT).unwrap();
        connected_to(&nodes, 1).await;
        let peer = nodes.peer(1);
        channel.send(peer, b"hello").await.unwrap();
        let mut stream = incoming.next().await.unwrap().stream;
        stream.write_all(b"chatter").await.unwrap();
        assert_eq!(stream.read_chunk().await, Err(ReadError::Reset(0)));
        assert!(incoming.next().now_or_never().is_none(), "not at once");
        let mut again = incoming.next().await.unwrap().stream;
        again.close().await.unwrap();
        assert_eq!(again.read_chunk().await, Ok(Some("\x05hello".into())));
        drop((channel, incoming, stream, again));
    });
    nodes.end();
}

/// The peer is connected before it opens the channel.
#[test]
fn nothing_is_lost_to_a_peer_that_does_not_speak_the_protocol_yet() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let near = nodes.nodes[0].channel("chat").unwrap();
        connected_to(&nodes, 1).await;
        for count in 0..100_u8 {
            near.send(nodes.peer(1), &[count]).await.unwrap();
            nodes.sleep(Duration::from_millis(300)).await;
        }
        let opened = nodes.nodes[0].connection(&nodes.peer(1)).unwrap().stats().streams_opened;
        assert!(opened < 10, "{opened} tries in 30 seconds");
        let far = nodes.nodes[1].channel("chat").unwrap();
        for count in 0..100 {
            assert_eq!(message(&far).await.1, [count]);
        }
        drop((near, far));
    });
    nodes.end();
}

#[test]
fn messages_for_a_peer_that_stays_away_are_kept_for_so_long_and_no_longer() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let options = ChannelOptions { keep: Duration::from_secs(100), ..small_marks() };
        let channel = nodes.nodes[0].channel_with("chat", options).unwrap();
        let away = nodes.peer(1);
        for count in 0..10 {
            channel.try_send(away, &number(count)).unwrap();
        }
        let waits = channel.send(away, b"waits");
        let looks = async {
            nodes.sleep(Duration::from_secs(99)).await;
            assert_eq!(channel.stats(&away).unwrap().messages, 10);
        };
        let (sent, ()) = futures_util::future::join(waits, looks).await;
        assert!(matches!(sent, Err(SendError::PeerGone { peer, .. }) if peer == away), "{sent:?}");
        assert_eq!(channel.stats(&away), None);
        let (totals, _) = channel.totals();
        assert_eq!((totals.dropped.get(DropReason::PeerGone), totals.messages, totals.waiting), (10, 0, 0));
        // What is sent now waits for as long again.
        channel.try_send(away, b"later").unwrap();
        drop(channel);
    });
    nodes.end();
}

#[test]
fn a_channel_has_messages_for_so_many_peers_and_no_more() {
    let nodes = Nodes::new(calm(), 4);
    nodes.run(async {
        let options = ChannelOptions { max_peers: 2, ..ChannelOptions::default() };
        let channel = nodes.nodes[0].channel_with("chat", options).unwrap();
        channel.try_send(nodes.peer(1), b"one").unwrap();
        channel.try_send(nodes.peer(2), b"two").unwrap();
        let third = nodes.peer(3);
        let refused = channel.try_send(third, b"three");
        assert!(matches!(refused, Err(TrySendError::Failed(SendError::TooManyPeers { max: 2, .. }))), "{refused:?}");
        assert!(matches!(channel.send(third, b"three").await, Err(SendError::TooManyPeers { .. })));
        assert!(matches!(channel.ready(third).await, Err(SendError::TooManyPeers { .. })));
        // What is too long is refused without a place.
        let long = vec![0; 2 << 20];
        assert!(matches!(channel.send(third, &long).await, Err(SendError::TooLong { .. })));
        // Both have gone to where they were to go: there is room again.
        let far: Vec<Channel> = (1..3).map(|number| nodes.nodes[number].channel("chat").unwrap()).collect();
        for number in 1..3 {
            connected_to(&nodes, number).await;
            message(&far[number - 1]).await;
            nodes.nodes[number].disconnect(nodes.peer(0)).unwrap();
        }
        nodes.sleep(Duration::from_secs(20)).await;
        channel.try_send(third, b"three").unwrap();
        drop((channel, far));
    });
    nodes.end();
}

#[test]
fn losses_that_nobody_hears_of_are_bounded() {
    let nodes = Nodes::new(calm(), 2);
    nodes.run(async {
        let options = ChannelOptions { ..small_marks() };
        let channel = nodes.nodes[0].channel_with("chat", options).unwrap();
        let mut incoming = nodes.nodes[1].accept(CHAT).unwrap();
        connected_to(&nodes, 1).await;
        // Longer than a window: each is under way when its stream is cut.
        let long = vec![7; 900_000];
        let mut lost = 0;
        for _ in 0..1100 {
            channel.send(nodes.peer(1), &long).await.unwrap();
            let mut stream = incoming.next().await.unwrap().stream;
            stream.close().await.unwrap();
            stream.read_chunk().await.unwrap();
            nodes.sleep(Duration::from_secs(61)).await;
            stream.reset(9);
            lost += 1;
        }
        nodes.sleep(Duration::from_secs(61)).await;
        let mut heard = 0;
        while let Some(Some(Received::Lost { .. })) = channel.recv().now_or_never() {
            heard += 1;
        }
        assert_eq!((lost, heard), (1100, 1024));
        drop((channel, incoming));
    });
    nodes.end();
}
