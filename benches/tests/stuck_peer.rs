//! Fifty peers over loopback TCP, one of which never reads: what that costs the sender, and what it costs the others.

#![allow(clippy::disallowed_methods, reason = "what the sender allocates is counted on its own thread")]

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use futures_util::future::{join, join_all};
use septa_benches::CountingAllocator;
use septa_core::{Identity, Multiaddr, PeerId, connection, yamux::INITIAL_WINDOW};
use septa_driver::{
    Channel, Node,
    channel::{ChannelOptions, Received, TrySendError, Watermarks},
};
use septa_tokio::TokioRuntime;
use tokio::{runtime::Builder, sync::oneshot};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PEERS: usize = 50;
/// The one that does not read. Neither the first nor the last that is sent to.
const STUCK: usize = 17;
/// Messages for each of the others.
const MESSAGES: usize = 400;
const MESSAGE_LEN: usize = 1024;
/// The same with the length in front.
const ENCODED_LEN: usize = MESSAGE_LEN + 2;
/// Questions and answers on another channel to the stuck peer.
const QUESTIONS: usize = 200;
/// Far more than it takes, so that only a hang fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a connection that was busy keeps for a while.
const BLOCK: usize = 16 * 1024;
/// What may wait for each peer ...
const HIGH_BYTES: usize = 2 * 1024 * 1024;
/// ... and so little that what the stuck peer's stream takes does not bring it down to this.
const LOW_BYTES: usize = 256 * 1024;

fn options() -> ChannelOptions {
    let watermarks =
        Watermarks { high_messages: 100_000, low_messages: 50_000, high_bytes: HIGH_BYTES, low_bytes: LOW_BYTES };
    let mut options = ChannelOptions::default();
    options.config.watermarks = watermarks;
    // Of the receiver: then its stream's window fills.
    options.config.max_received_messages = 64;
    options
}

fn message(number: usize) -> Vec<u8> {
    let mut message = vec![7; MESSAGE_LEN];
    message[..8].copy_from_slice(&(number as u64).to_be_bytes());
    message
}

/// Takes the messages with these numbers, in order.
async fn take(channel: &Channel, numbers: std::ops::Range<usize>) {
    for number in numbers {
        match channel.recv().await {
            Some(Received::Message { body, .. }) => assert_eq!(body, message(number)),
            other => panic!("instead of message {number}: {other:?}"),
        }
    }
}

fn node(seed: u8, runtime: &Arc<TokioRuntime>) -> Node {
    Node::builder(Identity::from_ed25519_seed([seed; 32])).build(runtime.clone()).unwrap()
}

fn run(case: impl Future<Output = ()>) {
    let tokio = Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async { tokio::time::timeout(PATIENCE, case).await.expect("something hangs") });
}

/// How the receivers are told to go on.
struct Cues {
    /// The stuck peer reads at last: so many messages.
    read: oneshot::Receiver<usize>,
    end: oneshot::Receiver<()>,
}

/// The fifty peers, on a thread of their own, so that what the sender allocates is counted alone.
async fn receive(addrs: mpsc::Sender<Vec<(PeerId, Multiaddr)>>, cues: Cues) {
    let runtime = Arc::new(TokioRuntime::current().unwrap());
    let nodes: Vec<Node> = (0..PEERS).map(|number| node(100 + number as u8, &runtime)).collect();
    let mut listening = Vec::new();
    for node in &nodes {
        listening.push((node.peer_id(), node.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap()));
    }
    let news: Vec<Channel> = nodes.iter().map(|node| node.channel_with("news", options()).unwrap()).collect();
    let questions = nodes[STUCK].channel("questions").unwrap();
    addrs.send(listening).unwrap();

    let read = join_all((0..PEERS).map(|number| take(&news[number], 0..1)));
    read.await;
    let others = join_all((0..PEERS).filter(|number| *number != STUCK).map(|number| take(&news[number], 1..MESSAGES)));
    let answer = async {
        while let Some(Received::Message { peer, body, .. }) = questions.recv().await {
            questions.send(peer, &body).await.unwrap();
        }
    };
    let stuck = async {
        let sent = cues.read.await.unwrap();
        take(&news[STUCK], 1..sent).await;
        cues.end.await.unwrap();
        questions.close();
    };
    join(others, join(answer, stuck)).await;
    for node in &nodes {
        node.shutdown(PATIENCE).await;
        assert_eq!(node.health().panicked_tasks, 0);
    }
}

/// Sends to the stuck peer until it takes no more, and returns the number of the next message.
async fn fill(news: &Channel, stuck: PeerId, mut next: usize) -> usize {
    loop {
        match news.try_send(stuck, &message(next)) {
            Ok(_) => next += 1,
            Err(TrySendError::Full { .. }) => return next,
            Err(error) => panic!("{error}"),
        }
        // Everybody else has a turn, as in an application with other things to do.
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_peer_that_never_reads_costs_the_watermark_and_nothing_to_forty_nine_others() {
    let (addrs, listening) = mpsc::channel();
    let (read, on_read) = oneshot::channel();
    let (end, on_end) = oneshot::channel();
    let receivers = thread::spawn(|| run(receive(addrs, Cues { read: on_read, end: on_end })));
    let peers = listening.recv().unwrap();
    run(async {
        let sender = node(1, &Arc::new(TokioRuntime::current().unwrap()));
        let news = sender.channel_with("news", options()).unwrap();
        let questions = sender.channel("questions").unwrap();
        let stuck = peers[STUCK].0;
        join_all(peers.iter().map(|(_, addr)| sender.connect_to(addr)))
            .await
            .into_iter()
            .for_each(|peer| drop(peer.unwrap()));
        // All streams are open, and nothing waits: what is held now is not held for messages.
        let first = message(0);
        join_all(peers.iter().map(|(peer, _)| news.send(*peer, &first))).await;
        ask(&questions, stuck, 1).await;
        drained(&news, &peers).await;
        let before = CountingAllocator::live_bytes();

        let others = peers.iter().map(|(peer, _)| *peer).filter(|peer| *peer != stuck);
        let flood = join_all(others.map(async |peer| {
            for number in 1..MESSAGES {
                news.send(peer, &message(number)).await.unwrap();
            }
        }));
        let (next, _, ()) =
            futures_util::future::join3(fill(&news, stuck, 1), flood, ask(&questions, stuck, QUESTIONS)).await;
        let others: Vec<_> = peers.iter().filter(|(peer, _)| *peer != stuck).cloned().collect();
        drained(&news, &others).await;
        // As long as a connection lasts, however long it is silent.
        ask(&questions, stuck, QUESTIONS).await;
        assert!(matches!(news.try_send(stuck, &message(next)), Err(TrySendError::Full { .. })));

        let stats = news.stats(&stuck).unwrap();
        let with_stuck = CountingAllocator::live_bytes() - before;
        assert!(stats.bytes > LOW_BYTES && stats.bytes < HIGH_BYTES + ENCODED_LEN, "{stats:?}");
        // What has left is in the stream in front of its window, in the window, and with the receiver.
        let quota = connection::Config::default().yamux.send_quota;
        let with_receiver = (options().config.max_received_messages + 1) * ENCODED_LEN;
        assert!(stats.sent_bytes as usize <= quota + INITIAL_WINDOW as usize + with_receiver, "{stats:?}");

        // It reads at last, and gets every message that was taken for it. What is freed by that was held for it.
        read.send(next).unwrap();
        drained(&news, &peers).await;
        let without = CountingAllocator::live_bytes() - before;
        let held = with_stuck - without;
        // What waits and what the stream took; and of the whole 1/16 for the lengths of messages and for what is left over
        // in the blocks that hold them.
        let most = (HIGH_BYTES + ENCODED_LEN + quota) / 16 * 17;
        println!(
            "for the stuck peer {next} messages of {MESSAGE_LEN} bytes were taken; {} were sent ({} bytes), {} waited ({} \
             bytes of {HIGH_BYTES}); {held} bytes of heap were held for it, of at most {most}",
            stats.sent_messages, stats.sent_bytes, stats.messages, stats.bytes
        );
        assert!(held > stats.bytes as isize && held <= most as isize, "{held}");
        println!("for all {PEERS} peers, when nothing waits: {without} bytes");
        // The empty blocks that connections keep until their next keep-alive: one of each, and as many of the one that was
        // stuck as its stream had.
        assert!(without <= (PEERS * BLOCK + quota + 64 * 1024) as isize, "{without}");
        end.send(()).unwrap();
        sender.shutdown(PATIENCE).await;
        assert_eq!(sender.health().panicked_tasks, 0);
    });
    receivers.join().unwrap();
}

/// Sends questions to a peer, each of which is answered before the next one.
async fn ask(questions: &Channel, peer: PeerId, count: usize) {
    for number in 0..count {
        questions.send(peer, &message(number)).await.unwrap();
        take(questions, number..number + 1).await;
    }
}

/// Waits until nothing waits for these peers.
async fn drained(channel: &Channel, peers: &[(PeerId, Multiaddr)]) {
    let waits = |peer: &PeerId| channel.stats(peer).is_some_and(|stats| stats.messages > 0);
    while peers.iter().any(|(peer, _)| waits(peer)) {
        tokio::task::yield_now().await;
    }
}
