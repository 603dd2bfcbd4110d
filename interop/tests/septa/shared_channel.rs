//! A channel on a protocol of rust-libp2p's that frames its messages by unsigned varints.

use futures::{SinkExt as _, StreamExt as _};
use septa_core::{Identity, PeerId, Role, Seed};
use septa_driver::{
    Channel, Node,
    channel::{ChannelOptions, Received},
};
use septa_interop::{FRAMES, Frames, RustPeer, frames};

use crate::support::{
    as_dialer_and_as_listener, id, listen_addr, patient, payload, rust_addr, rust_id, septa_id, within,
};

/// Around the bounds of one, two and three bytes of length, and the longest.
const LENGTHS: [usize; 8] = [0, 1, 127, 128, 16_383, 16_384, 300_000, 1 << 20];

struct World {
    node: Node,
    rust: RustPeer,
    channel: Channel,
    peer: PeerId,
}

impl World {
    async fn new(role: Role) -> Self {
        let identity = Identity::generate(Seed::from_bytes([41; 32]));
        let node = septa_tokio::build_node(Node::builder(identity)).unwrap();
        let channel = node.shared_channel(id(&FRAMES), ChannelOptions::default()).unwrap();
        let rust = RustPeer::spawn(patient());
        let peer = septa_id(rust.peer_id());
        match role {
            Role::Dialer => {
                let addr = listen_addr(&rust).await.with_peer(peer).unwrap();
                node.connect_to(&addr).await.unwrap();
            }
            Role::Listener => {
                let addr = node.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap();
                rust.dial(rust_addr(&addr), Some(rust_id(node.peer_id()))).await.unwrap();
            }
        }
        Self { node, rust, channel, peer }
    }

    /// rust-libp2p opens a stream.
    async fn they_open(&self) -> Frames {
        frames(self.rust.open_stream(rust_id(self.node.peer_id()), FRAMES).await.unwrap())
    }

    async fn send(&self, message: &[u8]) {
        self.channel.send(self.peer, message).await.unwrap();
    }

    async fn received(&self) -> Vec<u8> {
        match within(self.channel.recv()).await {
            Some(Received::Message { peer, body, .. }) if peer == self.peer => body.to_vec(),
            other => panic!("no message but {other:?}"),
        }
    }

    async fn end(self) {
        self.node.shutdown(septa_interop::WAIT).await;
    }
}

fn reversed(mut message: Vec<u8>) -> Vec<u8> {
    message.reverse();
    message
}

async fn they_answer_what_we_send(role: Role) {
    let world = World::new(role).await;
    for length in LENGTHS {
        world.send(&payload(length, 3)).await;
        assert!(world.received().await == reversed(payload(length, 3)), "{length} bytes");
    }
    world.end().await;
}

async fn we_answer_on_the_stream_that_they_have_opened(role: Role) {
    let world = World::new(role).await;
    let mut theirs = world.they_open().await;
    for length in LENGTHS {
        theirs.send(payload(length, 5).into()).await.unwrap();
        assert!(world.received().await == payload(length, 5), "{length} bytes");
        world.send(&reversed(payload(length, 5))).await;
        let answer = within(theirs.next()).await.unwrap().unwrap();
        assert!(answer == reversed(payload(length, 5)), "{length} bytes");
    }
    // They are done, and so are we with that stream; the next message opens one of ours.
    theirs.close().await.unwrap();
    assert!(within(theirs.next()).await.is_none());
    world.send(b"anybody?").await;
    assert_eq!(world.received().await, b"?ydobyna");
    world.end().await;
}

/// What this end sends arrives on one of the two streams, and it reads both.
async fn both_open_at_once(role: Role) {
    let world = World::new(role).await;
    let (mut theirs, ()) = tokio::join!(world.they_open(), world.send(b"ours"));
    theirs.send(b"theirs".to_vec().into()).await.unwrap();
    let (mut ours_arrived, mut theirs_arrived) = (false, false);
    while !(ours_arrived && theirs_arrived) {
        tokio::select! {
            message = within(theirs.next()) => {
                assert_eq!(message.unwrap().unwrap(), &b"ours"[..]);
                ours_arrived = true;
            }
            message = world.received() => match &message[..] {
                b"theirs" => theirs_arrived = true,
                // Answered on our stream.
                b"sruo" => ours_arrived = true,
                other => panic!("{other:?}"),
            },
        }
    }
    world.end().await;
}

as_dialer_and_as_listener! {
    they_answer_what_we_send
    we_answer_on_the_stream_that_they_have_opened
    both_open_at_once
}
