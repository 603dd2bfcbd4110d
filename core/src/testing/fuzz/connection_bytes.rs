//! One connection against bytes: in the clear, or behind an honest Noise handshake.

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::time::Duration;

use super::{Input, fast_crypto::FastCrypto};
use crate::{
    Connection, ExpectedPeer, Instant, Link, ProtocolId, Role, Seed,
    connection::{Admission, Config, DenyReason, Event, MAX_RECV, StreamId, TRANSMIT_BUFFER},
    testing::{RawPeer, credentials_with},
    varint,
    yamux::INITIAL_WINDOW,
};

/// Input: role and limits, then a list of operations: bytes from the peer, calls of the application, and
/// time. In the second mode the bytes are sealed as an authenticated peer seals them, and may be frames,
/// negotiation messages or anything else.
///
/// Asserts that whatever comes, input is taken, memory keeps to its bound, events are bounded and `Closed`
/// is the last of them; that with the clock run forward the connection ends or is open and waits for its
/// peer; and that a closed one says and wants nothing more.
pub fn connection_bytes(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let role = if choice & 1 == 0 { Role::Listener } else { Role::Dialer };
    let mut config = Config { protocols: [SERVED].into_iter().collect(), ..Config::default() };
    let yamux = Arc::make_mut(&mut config.yamux);
    yamux.max_streams = MAX_STREAMS;
    yamux.send_quota = SEND_QUOTA;
    yamux.max_window = MAX_WINDOW;
    yamux.memory_budget = MAX_GRANTED;
    yamux.max_empty_frames = 64;
    if choice & 2 == 2 {
        config.admission = Admission::Manual;
    }
    config.validate().expect("limits that fit each other");
    let peer = if choice & 4 == 0 { Peer::Stranger(Box::new(stranger(role, config))) } else { sealing(role, config) };
    let mut world = World { peer, now: Instant::EPOCH, held: Vec::new(), closed: false };
    while !input.is_empty() {
        world.step(&mut input);
        world.check();
    }
    world.wind_up();
}

const SERVED: ProtocolId = ProtocolId::from_static("/fuzz/1");
const OTHER: ProtocolId = ProtocolId::from_static("/none/1");
const MAX_STREAMS: usize = 4;
/// A window may double twice, if no other one does.
const MAX_WINDOW: u32 = 4 * INITIAL_WINDOW;
const MAX_GRANTED: usize = (MAX_STREAMS + 3) * INITIAL_WINDOW as usize;
const SEND_QUOTA: usize = 16 * 1024;

/// Who is at the other end.
enum Peer {
    /// Its bytes arrive as they are.
    Stranger(Box<Connection>),
    /// It has completed the handshake and seals what it says.
    Sealing(Box<RawPeer>),
}

fn stranger(role: Role, config: Config) -> Connection {
    let seed = Seed::from_bytes([8; 32]);
    let link = match role {
        Role::Dialer => Link::dialer(ExpectedPeer::Any, seed),
        Role::Listener => Link::listener(seed),
    };
    Connection::new(link, Arc::new(config), credentials_with(1, Arc::new(FastCrypto)), Instant::EPOCH)
}

fn sealing(role: Role, config: Config) -> Peer {
    let mut peer = RawPeer::with_provider(role, config, Arc::new(FastCrypto));
    peer.upgrade();
    Peer::Sealing(Box::new(peer))
}

struct World {
    peer: Peer,
    now: Instant,
    held: Vec<StreamId>,
    closed: bool,
}

impl World {
    fn connection(&mut self) -> &mut Connection {
        match &mut self.peer {
            Peer::Stranger(connection) => connection,
            Peer::Sealing(peer) => &mut peer.connection,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let id = self.held.get(input.below(self.held.len())).copied();
        match input.byte() {
            0..60 => {
                let len = input.byte().into();
                self.receive(input.bytes(len));
            }
            60..110 => {
                let message = frame(input);
                self.receive(&message);
            }
            110..130 => {
                let message = negotiation_message(input);
                self.receive(&message);
            }
            130..140 => {
                let protocols: &[ProtocolId] = if input.bool() { &[SERVED] } else { &[OTHER, SERVED] };
                let opened = self.connection().open(now, protocols);
                self.held.extend(opened.ok());
            }
            140..170 => {
                let data = vec![1; input.size().min(SEND_QUOTA + 1)];
                id.into_iter().for_each(|id| drop(self.connection().stream(id).write(&data)));
            }
            170..190 => {
                let mut buffer = vec![0; input.size().min(64 * 1024)];
                id.into_iter().for_each(|id| drop(self.connection().stream(id).read(&mut buffer)));
            }
            190..200 => id.into_iter().for_each(|id| drop(self.connection().stream(id).finish())),
            200..205 => id.into_iter().for_each(|id| self.connection().stream(id).reset(1)),
            205..210 => id.into_iter().for_each(|id| self.connection().stream(id).stop(2)),
            210..215 => id.into_iter().for_each(|id| self.release(id)),
            215..225 => drop(self.transmit()),
            225..235 => {
                self.now = now.saturating_add(Duration::from_millis(input.u16().into()));
                self.tell_time();
            }
            235..240 => self.connection().admit(now),
            240 => self.connection().deny(now, DenyReason::Banned),
            241 => self.connection().handle_transmit_blocked(now),
            242 => self.connection().handle_transmitted(now),
            243 => self.connection().handle_recv_eof(now),
            244 => self.connection().handle_io_error(now),
            245..248 => self.connection().close(now, 0),
            248.. => {
                let Some(due) = self.connection().poll_timeout() else { return };
                self.now = now.max(due);
                self.tell_time();
            }
        }
        self.take_events();
    }

    /// Gives bytes to the connection, sealed if the peer can.
    fn receive(&mut self, bytes: &[u8]) {
        let now = self.now;
        // A driver does not read while there is no room; only a peer that waits for admission meets that.
        if self.connection().recv_room() < bytes.len() + 32 {
            return;
        }
        match &mut self.peer {
            Peer::Stranger(connection) => {
                assert_eq!(connection.handle_recv(now, &mut bytes.to_vec()), Ok(()));
            }
            Peer::Sealing(peer) => {
                peer.now = now;
                peer.send(bytes);
            }
        }
    }

    fn transmit(&mut self) -> usize {
        let now = self.now;
        let mut out = vec![0; TRANSMIT_BUFFER];
        let connection = self.connection();
        let wanted = connection.wants_transmit();
        let len = connection.poll_transmit(now, &mut out).expect("there is room");
        assert_eq!(wanted, len > 0, "wants_transmit says what poll_transmit does");
        len
    }

    fn drain(&mut self) {
        // At most what all streams may send, and a pong, reset or goodbye for each thing received.
        let mut most = 1000;
        while self.transmit() > 0 {
            most -= 1;
            assert!(most > 0, "output without end");
        }
    }

    fn tell_time(&mut self) {
        let now = self.now;
        self.connection().handle_timeout(now);
        assert!(self.connection().poll_timeout().is_none_or(|due| due > now), "a timer in the past");
    }

    fn take_events(&mut self) {
        let mut most = 200;
        while let Some(event) = self.connection().poll_event() {
            most -= 1;
            assert!(most > 0, "events without end");
            assert!(!self.closed, "{event:?} after Closed");
            match event {
                Event::Closed => self.closed = true,
                Event::Incoming => {
                    let before = self.held.len();
                    while let Some(id) = self.connection().accept() {
                        self.held.push(id);
                    }
                    assert!(self.held.len() > before, "Incoming is not true");
                }
                _ => {}
            }
        }
        let is_closed = self.connection().is_closed();
        assert_eq!(self.closed, is_closed);
    }

    fn release(&mut self, id: StreamId) {
        self.held.retain(|held| *held != id);
        self.connection().stream(id).release();
    }

    fn check(&mut self) {
        let connection = self.connection();
        let each = SEND_QUOTA + 2 * 17 * 1024;
        let bound = MAX_GRANTED + (MAX_STREAMS + 1) * each + 3 * MAX_RECV;
        assert!(connection.memory_used() <= bound, "{} bytes", connection.memory_used());
        assert!(connection.stats().streams <= MAX_STREAMS);
    }

    /// Runs the clock with a peer that says nothing more, then closes.
    fn wind_up(&mut self) {
        let mut steps = 0;
        self.drain();
        self.take_events();
        while let Some(due) = self.connection().poll_timeout() {
            steps += 1;
            assert!(steps < 64, "timers without end");
            self.now = self.now.max(due);
            self.tell_time();
            self.drain();
            self.take_events();
            self.check();
        }
        // Every phase has a timer, and a peer that answers no ping is given up.
        assert!(self.connection().is_closed(), "neither closed nor waiting for anything");
        let now = self.now;
        self.connection().close(now, 0);
        self.connection().handle_timeout(Instant::NEVER);
        self.connection().handle_recv_eof(now);
        assert_eq!(self.connection().handle_recv(now, &mut [0; 64]), Ok(()));
        while let Some(id) = self.connection().accept() {
            self.held.push(id);
        }
        for id in core::mem::take(&mut self.held) {
            self.connection().stream(id).release();
        }
        self.take_events();
        assert_eq!(self.transmit(), 0);
        let connection = self.connection();
        assert!(connection.close_reason().is_some() && !connection.wants_shutdown());
        assert_eq!((connection.poll_timeout(), connection.poll_event()), (None, None));
        assert_eq!(connection.stats().streams, 0);
        assert!(connection.memory_used() < 4096, "{} bytes are left", connection.memory_used());
    }
}

/// A frame that is well formed or nearly so.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let [shape, flags, stream] = input.array();
    let len = usize::from(input.byte()) << (shape >> 6 << 2);
    let body: &[u8] = if shape & 3 == 0 { input.bytes(len) } else { &[] };
    let length = if shape & 4 == 0 && shape & 3 == 0 { body.len() } else { len };
    let length = u32::try_from(length).expect("20 bits").to_be_bytes();
    let mut frame = vec![u8::from(shape & 0x38 == 0x38), shape & 3, 0, flags, 0, 0, 0, stream & 15];
    frame.extend(length);
    frame.extend_from_slice(body);
    frame
}

/// What opens a connection or a stream, in a data frame of its own stream if it is to.
fn negotiation_message(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    let mut body = Vec::new();
    for text in ["/multistream/1.0.0", ["/fuzz/1", "/none/1", "/noise", "na"][usize::from(choice & 3)]] {
        varint::encode_to(u64::try_from(text.len() + 1).expect("short"), &mut body);
        body.extend_from_slice(text.as_bytes());
        body.push(b'\n');
    }
    if choice & 4 == 0 {
        return body;
    }
    let length = u8::try_from(body.len()).expect("short");
    let mut frame = vec![0, 0, 0, choice >> 3 & 1, 0, 0, 0, choice >> 4, 0, 0, 0, length];
    frame.extend(body);
    frame
}
