//! What rust-libp2p really does on the wire, frame by frame. The harness's documentation lists these facts
//! and other tests lean on them; a new release that changes one fails here, where the cause is plain.
//!
//! The other end is no libp2p: after Noise and the agreement on Yamux, frames are written by hand.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{PeerId, core::upgrade::OutboundConnectionUpgrade as _, identity::Keypair, multiaddr::Protocol, noise};
use septa_interop::{ECHO, Event, RESET, RustPeer, RustPeerConfig, WAIT};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;

const SYN: u16 = 1;
const ACK: u16 = 2;
const FIN: u16 = 4;
const RST: u16 = 8;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Frame {
    kind: u8,
    flags: u16,
    id: u32,
    length: u32,
    body: Vec<u8>,
}

/// The dialer's end of a connection to a [`RustPeer`].
struct Session {
    io: noise::Output<Compat<TcpStream>>,
    local: PeerId,
}

impl Session {
    async fn dial(peer: &RustPeer) -> Self {
        let address = peer.listen().await.unwrap();
        let port = address.iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        let mut socket = TcpStream::connect(("127.0.0.1", port.unwrap())).await.unwrap().compat();
        agree(&mut socket, "/noise").await;
        let key = Keypair::generate_ed25519();
        let handshake = noise::Config::new(&key).unwrap().upgrade_outbound(socket, "/noise");
        let (remote, mut io) = handshake.await.unwrap();
        assert_eq!(remote, peer.peer_id());
        agree(&mut io, "/yamux/1.0.0").await;
        let local = key.public().to_peer_id();
        let session = Self { io, local };
        peer.wait_for(WAIT, |event| matches!(event, Event::ConnectionEstablished { .. }).then_some(())).await.unwrap();
        session
    }

    async fn send(&mut self, kind: u8, flags: u16, id: u32, length: u32, body: &[u8]) {
        let mut frame = vec![0, kind];
        frame.extend(flags.to_be_bytes());
        frame.extend(id.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.extend(body);
        self.io.write_all(&frame).await.unwrap();
        self.io.flush().await.unwrap();
    }

    async fn send_data(&mut self, flags: u16, id: u32, body: &[u8]) {
        self.send(DATA, flags, id, body.len() as u32, body).await;
    }

    /// The next frame; `None` at the end of the connection, however it came.
    async fn next(&mut self, limit: Duration) -> Option<Frame> {
        tokio::time::timeout(limit, self.read_frame()).await.expect("no frame in time")
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        let mut header = [0; 12];
        self.io.read_exact(&mut header).await.ok()?;
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let (kind, length) = (header[1], word(8));
        let mut body = vec![0; if kind == DATA { length as usize } else { 0 }];
        self.io.read_exact(&mut body).await.ok()?;
        Some(Frame { kind, flags: u16::from_be_bytes([header[2], header[3]]), id: word(4), length, body })
    }

    /// The next frame that is about stream `id`, or about the session for 0. Skips everything else: the
    /// peer opens streams of its own for ping and identify.
    async fn next_of(&mut self, id: u32) -> Option<Frame> {
        loop {
            let frame = self.next(WAIT).await?;
            let own_ping = frame.kind == PING && frame.flags == SYN;
            if frame.id == id && !own_ping {
                return Some(frame);
            }
        }
    }

    /// Opens a stream and negotiates `protocol` in one frame. Returns once the peer has agreed.
    async fn open(&mut self, id: u32, protocol: &str) {
        self.send_data(SYN, id, &negotiation(protocol)).await;
        let mut agreed = Vec::new();
        let mut flags = 0;
        while agreed.len() < negotiation(protocol).len() {
            let frame = self.next_of(id).await.expect("the stream is accepted");
            flags |= frame.flags;
            agreed.extend(frame.body);
        }
        assert_eq!((agreed, flags), (negotiation(protocol), ACK), "the answer echoes and acknowledges");
    }

    /// Shows that the connection is alive, and that everything sent before was processed.
    async fn ping(&mut self, opaque: u32) {
        self.send(PING, SYN, 0, opaque, &[]).await;
        assert_eq!(self.next_of(0).await, Some(session_frame(PING, ACK, opaque)));
    }
}

/// Proposes `protocol`, which the listener must echo.
async fn agree(io: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) {
    io.write_all(&negotiation(protocol)).await.unwrap();
    io.flush().await.unwrap();
    let mut answer = vec![0; negotiation(protocol).len()];
    io.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, negotiation(protocol));
}

fn negotiation(protocol: &str) -> Vec<u8> {
    let mut bytes = b"\x13/multistream/1.0.0\n".to_vec();
    bytes.push(u8::try_from(protocol.len() + 1).unwrap());
    bytes.extend(protocol.as_bytes());
    bytes.push(b'\n');
    bytes
}

fn session_frame(kind: u8, flags: u16, length: u32) -> Frame {
    Frame { kind, flags, id: 0, length, body: Vec::new() }
}

fn data_frame(flags: u16, id: u32, body: &[u8]) -> Frame {
    Frame { kind: DATA, flags, id, length: body.len() as u32, body: body.to_vec() }
}

fn patient() -> RustPeer {
    RustPeer::spawn(RustPeerConfig { idle_timeout: Some(Duration::from_secs(300)), ..RustPeerConfig::default() })
}

#[tokio::test]
async fn its_first_ping_comes_at_once_and_its_streams_open_with_data() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    let (mut pinged, mut opened) = (false, false);
    while !(pinged && opened) {
        let frame = session.next(Duration::from_secs(5)).await.unwrap();
        pinged |= frame == session_frame(PING, SYN, 0);
        if frame.flags & SYN != 0 && frame.kind != PING {
            assert_eq!((frame.kind, frame.id % 2), (DATA, 0), "{frame:?}");
            assert!(frame.length > 0);
            opened = true;
        }
    }
}

#[tokio::test]
async fn disconnecting_sends_go_away_zero() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    peer.disconnect(session.local).await.unwrap();
    assert_eq!(session.next_of(0).await, Some(session_frame(GO_AWAY, 0, 0)));
    assert_eq!(session.next_of(0).await, None);
}

#[tokio::test]
async fn an_idle_connection_ends_without_go_away() {
    let idle_timeout = Some(Duration::from_millis(200));
    let peer = RustPeer::spawn(RustPeerConfig { idle_timeout, ..RustPeerConfig::default() });
    let mut session = Session::dial(&peer).await;
    // Its identify stream counts as long as nobody answers it, so refuse what it opens.
    loop {
        match session.next(WAIT).await {
            Some(frame) if frame.kind == GO_AWAY => panic!("{frame:?}"),
            Some(frame) if frame.kind == DATA && frame.flags == SYN => {
                session.send(WINDOW_UPDATE, RST, frame.id, 0, &[]).await;
            }
            Some(_) => {}
            None => break,
        }
    }
}

#[tokio::test]
async fn a_pong_nobody_asked_for_is_a_protocol_error_that_ends_nothing() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.send(PING, ACK, 0, 4711, &[]).await;
    assert_eq!(session.next_of(0).await, Some(session_frame(GO_AWAY, 0, 1)));
    session.ping(1).await;
}

#[tokio::test]
async fn frames_for_unknown_streams_are_ignored() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.send_data(0, 7, b"nobody").await;
    session.send(WINDOW_UPDATE, 0, 7, 1, &[]).await;
    session.send_data(FIN, 7, b"").await;
    session.send(WINDOW_UPDATE, RST, 7, 0, &[]).await;
    session.ping(1).await;
}

#[tokio::test]
async fn a_dropped_stream_is_reset_by_a_data_frame() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.open(1, RESET.as_ref()).await;
    session.send_data(0, 1, b"stop").await;
    assert_eq!(session.next_of(1).await, Some(data_frame(RST, 1, b"")));
}

#[tokio::test]
async fn a_dropped_stream_that_was_finished_is_finished_instead() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.open(1, RESET.as_ref()).await;
    session.send_data(FIN, 1, b"stop").await;
    assert_eq!(session.next_of(1).await, Some(data_frame(FIN, 1, b"")));
}

#[tokio::test]
async fn credit_in_the_opening_window_update_is_added() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.send(WINDOW_UPDATE, SYN, 1, 0, &[]).await;
    session.ping(1).await;
    session.send(WINDOW_UPDATE, SYN, 3, u32::MAX - 256 * 1024 + 1, &[]).await;
    assert_eq!(session.next_of(0).await, Some(session_frame(GO_AWAY, 0, 1)));
}

#[tokio::test]
async fn a_frame_over_one_mebibyte_ends_the_connection_without_go_away() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.open(1, ECHO.as_ref()).await;
    session.send(DATA, 0, 1, (1 << 20) + 1, &[]).await;
    assert_eq!(session.next_of(0).await, None);
}

#[tokio::test]
async fn data_past_the_window_is_a_protocol_error() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.send_data(SYN, 1, &vec![0; 256 * 1024 + 1]).await;
    assert_eq!(session.next_of(0).await, Some(session_frame(GO_AWAY, 0, 1)));
}

#[tokio::test]
async fn the_stream_past_the_limit_is_refused_by_go_away_that_ends_nothing() {
    for (kind, code) in [(DATA, 2), (WINDOW_UPDATE, 1)] {
        let peer = patient();
        let mut session = Session::dial(&peer).await;
        // Its own streams count too: more than 512 of ours overflow for sure.
        for index in 0..513 {
            session.send(kind, SYN, 2 * index + 1, 0, &[]).await;
        }
        assert_eq!(session.next_of(0).await, Some(session_frame(GO_AWAY, 0, code)));
    }
}

#[tokio::test]
async fn any_go_away_ends_the_connection() {
    let peer = patient();
    let mut session = Session::dial(&peer).await;
    session.send(GO_AWAY, 0, 0, 0x1004, &[]).await;
    assert_eq!(session.next_of(0).await, None);
}
