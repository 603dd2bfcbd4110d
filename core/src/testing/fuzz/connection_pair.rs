//! Two connections, the applications on them and the transport between them, against a model.

mod handshake;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::time::Duration;

use self::handshake::Handshakes;
use super::{Input, fast_crypto::FastCrypto};
use crate::{
    Instant, ProtocolId,
    connection::{
        Admission, Config, DenyReason, Event, HandshakeMode, MAX_RECV, OpenError, ReadError, StreamId, WriteError,
    },
    testing::{Cuts, End, Pair, PairConfig},
    yamux::{INITIAL_WINDOW, Priority},
};

/// Input: limits, which end's application takes part in the handshake, and the transport, then a list of operations:
/// open, accept, write, read, finish, reset, stop, release, close, the steps of the application's handshake, move one
/// direction or both, time, and faults of the transport.
///
/// Asserts that what is read is a prefix of what was written; that all of it arrives, and that nobody
/// stalls, unless the stream or the connection was cut off; that a handshake is done where both applications want it
/// and what they say in it arrives; that each event is true, comes once and is not missing; that
/// memory keeps to what streams may hold; and that in the end each side has closed exactly once and
/// nothing is left of it.
pub fn connection_pair(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.step(&mut input);
        for end in End::BOTH {
            world.handle_events(end);
        }
        world.check();
    }
    world.deliver_everything();
    world.wind_up();
}

const SERVED: ProtocolId = ProtocolId::from_static("/fuzz/1");
const NOT_SERVED: ProtocolId = ProtocolId::from_static("/none/1");
const MAX_STREAMS: usize = 4;
/// A window may double twice, if no other one does.
const MAX_WINDOW: u32 = 4 * INITIAL_WINDOW;
const MAX_GRANTED: usize = (MAX_STREAMS + 3) * INITIAL_WINDOW as usize;
const SEND_QUOTA: usize = 32 * 1024;

/// One direction of a stream, in counts of bytes: their values follow from their places.
#[derive(Default)]
struct Direction {
    written: usize,
    read: usize,
    finished: bool,
}

struct World {
    pair: Pair,
    held: [Vec<StreamId>; 2],
    /// By stream and the end that writes.
    directions: BTreeMap<(StreamId, usize), Direction>,
    /// Streams that somebody reset, stopped or let go of, or that were refused.
    cut: BTreeSet<StreamId>,
    /// Streams for which `Readable` is owed, by stream and end. A new one waits only for data and only while
    /// the connection is open, one whose read was blocked, which is true here, for anything.
    readers: BTreeMap<(StreamId, usize), bool>,
    /// Writers that wait for `Writable`.
    writers: BTreeSet<(StreamId, usize)>,
    /// Somebody closed the connection, denied the peer or broke the transport, or a timer may have.
    disturbed: bool,
    closed: [usize; 2],
    handshakes: Handshakes,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let choice = input.byte();
        let by_application = if choice & 0x80 == 0 { 0 } else { input.byte() };
        let by_application = [by_application & 1 == 1, by_application & 2 == 2];
        let config = |manual: bool, by_application: bool| {
            let mut config = Config { protocols: [SERVED].into_iter().collect(), ..Config::default() };
            let yamux = Arc::make_mut(&mut config.yamux);
            yamux.max_streams = MAX_STREAMS;
            yamux.send_quota = SEND_QUOTA;
            yamux.max_window = MAX_WINDOW;
            yamux.memory_budget = MAX_GRANTED;
            if choice & 1 == 0 {
                yamux.keep_alive = None;
            }
            if manual {
                config.admission = Admission::Manual;
            }
            if by_application {
                config.handshake = HandshakeMode::Application { timeout: Duration::from_secs(30) };
            }
            config.validate().expect("limits that fit each other");
            config
        };
        let manual = choice & 2 == 2;
        let cuts = match input.byte() {
            0 => Cuts::Whole,
            size => Cuts::Every(usize::from(size) * if choice & 4 == 4 { 1 } else { 97 }),
        };
        let detached: &[&[End]] = &[&[], &[End::Dialer], &[End::Listener], &End::BOTH];
        let config = PairConfig {
            dialer: config(false, by_application[0]),
            listener: config(manual, by_application[1]),
            latency: Duration::from_millis(u64::from(input.byte()) * if choice & 8 == 8 { 3 } else { 0 }),
            cuts,
            detached: detached[usize::from(choice >> 4 & 3)],
            provider: Arc::new(FastCrypto),
            ..PairConfig::default()
        };
        // A pair that is open already has forgotten its events.
        let is_new = manual || by_application != [false; 2] || choice & 0x40 == 0x40;
        let pair = if is_new { Pair::new(config) } else { Pair::open(config) };
        Self {
            pair,
            held: Default::default(),
            directions: BTreeMap::new(),
            cut: BTreeSet::new(),
            readers: BTreeMap::new(),
            writers: BTreeSet::new(),
            // Of two that do not agree on how to shake hands one gives up.
            disturbed: by_application[0] != by_application[1],
            closed: [0; 2],
            handshakes: Handshakes::new(by_application),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        let end = if op & 0x80 == 0 { End::Dialer } else { End::Listener };
        let now = self.pair.now;
        match op & 0x7f {
            0..8 => {
                let protocols: &[ProtocolId] = match input.below(4) {
                    0 | 1 => &[SERVED],
                    2 => &[NOT_SERVED, SERVED],
                    _ => &[NOT_SERVED],
                };
                let opened = self.pair.connection(end).open(now, protocols);
                self.hold(end, opened.ok());
            }
            8..12 => self.handshake_step(end, input),
            12..18 => self.accept(end),
            18..38 => {
                let (id, len) = (self.pick(end, input), input.size());
                id.into_iter().for_each(|id| drop(self.write(end, id, len)));
            }
            38..54 => {
                let (id, len) = (self.pick(end, input), input.size() + 1);
                id.into_iter().for_each(|id| drop(self.read(end, id, len)));
            }
            54..60 => {
                let id = self.pick(end, input);
                id.into_iter().for_each(|id| self.finish(end, id));
            }
            60..66 => {
                let Some(id) = self.pick(end, input) else { return };
                self.cut.insert(id);
                match op % 3 {
                    0 => self.pair.connection(end).stream(id).reset(1),
                    1 => self.pair.connection(end).stream(id).stop(2),
                    _ => {}
                }
                self.release(end, id);
            }
            66..69 => {
                let (id, priority) = (self.pick(end, input), input.below(3));
                let priority = [Priority::Low, Priority::Normal, Priority::High][priority];
                id.into_iter().for_each(|id| self.pair.connection(end).stream(id).set_priority(priority));
            }
            69..79 => drop(self.pair.transmit(end)),
            79..89 => drop(self.pair.deliver(end)),
            89..99 => self.pair.settle(),
            99..105 => {
                // A peer that is not admitted in time is given up, and so is a handshake.
                self.disturbed |= !self.is_open() || self.is_shaking();
                self.pair.step();
            }
            105..109 => {
                self.disturbed = true;
                self.pair.now = now.saturating_add(Duration::from_millis(u64::from(input.u16()) / 8));
                self.tell_time(end);
            }
            109..111 => {
                self.pair.connection(end).handle_timeout(Instant::EPOCH);
                self.tell_time(end);
            }
            111..114 => self.pair.connection(end).admit(now),
            114 => self.pair.connection(end).handle_transmitted(now),
            115 => {
                self.pair.connection(end).handle_transmit_blocked(now);
                self.pair.connection(end).handle_transmitted(now);
            }
            116..120 => self.pump(end, input),
            _ => self.disturb(end, op),
        }
    }

    /// Writes so much that windows matter, to a reader that keeps up or does not.
    fn pump(&mut self, end: End, input: &mut Input<'_>) {
        let Some(id) = self.pick(end, input) else { return };
        let (rounds, reads) = (input.below(16), input.bool());
        for _ in 0..rounds {
            let _ = self.write(end, id, SEND_QUOTA);
            self.pair.settle();
            End::BOTH.into_iter().for_each(|end| self.handle_events(end));
            if reads && self.held[end.other() as usize].contains(&id) {
                let _ = self.read(end.other(), id, 64 * 1024);
            }
        }
    }

    /// What ends a connection.
    fn disturb(&mut self, end: End, op: u8) {
        self.disturbed = true;
        let now = self.pair.now;
        let connection = self.pair.connection(end);
        match op % 5 {
            0 => connection.deny(now, DenyReason::Limit),
            1 => connection.handle_io_error(now),
            2 => connection.handle_recv_eof(now),
            3 => connection.handle_transmit_blocked(now),
            _ => connection.close(now, 0),
        }
    }

    fn is_open(&self) -> bool {
        self.pair.dialer.connection.is_open() && self.pair.listener.connection.is_open()
    }

    fn tell_time(&mut self, end: End) {
        let now = self.pair.now;
        let connection = self.pair.connection(end);
        connection.handle_timeout(now);
        assert!(connection.poll_timeout().is_none_or(|due| due > now), "a timer in the past");
    }

    fn pick(&self, end: End, input: &mut Input<'_>) -> Option<StreamId> {
        let held = &self.held[end as usize];
        held.get(input.below(held.len())).copied()
    }

    fn accept(&mut self, end: End) {
        while let Some(id) = self.pair.connection(end).accept() {
            assert!(!self.held[end as usize].contains(&id), "{id} is accepted twice");
            assert_eq!(self.pair.connection(end).stream(id).protocol(), Some(&self.handshakes.served(end)));
            self.hold(end, Some(id));
        }
    }

    fn hold(&mut self, end: End, id: Option<StreamId>) {
        self.held[end as usize].extend(id);
        self.readers.extend(id.map(|id| ((id, end as usize), false)));
    }

    fn write(&mut self, end: End, id: StreamId, len: usize) -> Result<usize, WriteError> {
        let direction = self.directions.entry((id, end as usize)).or_default();
        let len = len.min(SEND_QUOTA + 1);
        let data: Vec<u8> = (direction.written..direction.written + len).map(|at| byte_at(id, end, at)).collect();
        let written = self.pair.connection(end).stream(id).write(&data);
        if written == Err(WriteError::Blocked) {
            self.writers.insert((id, end as usize));
        }
        match &written {
            Ok(written) => {
                assert!(!direction.finished && *written <= len && (*written > 0 || len == 0));
                direction.written += written;
            }
            Err(WriteError::Reset(_) | WriteError::Refused(_)) => drop(self.cut.insert(id)),
            Err(WriteError::Finished) => assert!(direction.finished || self.disturbed, "{id} is not finished"),
            Err(WriteError::Unknown) => panic!("the application holds {id}"),
            Err(WriteError::ConnectionLost(_)) => assert!(self.disturbed, "the connection is lost"),
            Err(_) => {}
        }
        written
    }

    fn read(&mut self, end: End, id: StreamId, len: usize) -> Result<usize, ReadError> {
        let mut buffer = vec![0; len.min(64 * 1024)];
        let got = self.pair.connection(end).stream(id).read(&mut buffer);
        if got == Err(ReadError::Blocked) {
            self.readers.insert((id, end as usize), true);
        } else if let Some(was_blocked) = self.readers.get(&(id, end as usize)) {
            let first_data = matches!(got, Ok(1..)) && self.is_open();
            assert!(!was_blocked && !first_data, "a reader of {id} was not woken for {got:?}");
        }
        let direction = self.directions.entry((id, end.other() as usize)).or_default();
        match &got {
            Ok(len) => {
                let place = direction.read..direction.read + len;
                assert!(place.end <= direction.written, "bytes from nowhere on {id}");
                let as_written = place.zip(&buffer).all(|(at, byte)| *byte == byte_at(id, end.other(), at));
                assert!(as_written, "wrong bytes on {id}");
                direction.read += len;
                if *len == 0 {
                    assert!(direction.finished && direction.read == direction.written, "an early end of {id}");
                }
            }
            // A limit may have refused it, too.
            Err(ReadError::Reset(_) | ReadError::Refused(_)) => drop(self.cut.insert(id)),
            Err(ReadError::Unknown) => panic!("the application holds {id}"),
            Err(ReadError::ConnectionLost(_)) => assert!(self.disturbed, "the connection is lost"),
            Err(_) => {}
        }
        got
    }

    fn finish(&mut self, end: End, id: StreamId) {
        if self.pair.connection(end).stream(id).finish().is_ok() {
            self.writers.remove(&(id, end as usize));
            self.directions.entry((id, end as usize)).or_default().finished = true;
        }
    }

    fn release(&mut self, end: End, id: StreamId) {
        self.held[end as usize].retain(|held| *held != id);
        self.readers.remove(&(id, end as usize));
        self.writers.remove(&(id, end as usize));
        self.pair.connection(end).stream(id).release();
    }

    /// Takes all events of one end, also those that acting on them makes, and checks that each is true.
    fn handle_events(&mut self, end: End) {
        let mut most = 1000;
        loop {
            let events = core::mem::take(&mut self.pair.side(end).events);
            let mut events: Vec<Event> = events.into_iter().collect();
            events.extend(core::iter::from_fn(|| self.pair.connection(end).poll_event()));
            if events.is_empty() {
                return;
            }
            most -= 1;
            assert!(most > 0, "events without end");
            for (at, event) in events.iter().enumerate() {
                assert!(!events[..at].contains(event), "{event:?} twice without a call in between");
                assert_eq!(self.closed[end as usize], 0, "{event:?} after Closed");
                self.handle_event(end, event);
            }
        }
    }

    fn handle_event(&mut self, end: End, event: &Event) {
        let now = self.pair.now;
        match event {
            Event::Incoming => {
                let before = self.held[end as usize].len();
                self.accept(end);
                assert!(self.held[end as usize].len() > before, "Incoming is not true");
            }
            Event::Readable { id } => {
                self.readers.remove(&(*id, end as usize));
                assert_ne!(self.read(end, *id, 1000), Err(ReadError::Blocked), "Readable({id}) is not true");
            }
            Event::Writable { id } => {
                self.writers.remove(&(*id, end as usize));
                assert_ne!(self.write(end, *id, 1000), Err(WriteError::Blocked), "Writable({id}) is not true");
            }
            Event::OpenUnblocked => {
                let opened = self.pair.connection(end).open(now, &[SERVED]);
                // The peer may have taken the place since; then the event comes again.
                assert!(!matches!(opened, Err(OpenError::NotOpen | OpenError::NotReady)), "OpenUnblocked is not true");
                self.hold(end, opened.ok());
            }
            Event::Refused { id, .. } => {
                self.cut.insert(*id);
                self.readers.remove(&(*id, end as usize));
                self.writers.remove(&(*id, end as usize));
            }
            Event::Closed => self.closed[end as usize] += 1,
            Event::Ready => self.handle_ready(end),
            Event::HandshakeReadable => assert!(self.hear(end), "HandshakeReadable is not true"),
            Event::Secured { .. } | Event::Open | Event::Negotiated { .. } => {}
        }
    }

    fn check(&mut self) {
        for end in End::BOTH {
            let held = self.held[end as usize].len();
            let handshake = self.handshakes.memory(end);
            let connection = self.pair.connection(end);
            // Beside what windows grant every stream holds its quota, in blocks that are at most full size.
            let each = SEND_QUOTA + 2 * 17 * 1024;
            let bound = MAX_GRANTED + (connection.stats().streams.max(held) + 1) * each + 3 * MAX_RECV + handshake;
            assert!(connection.memory_used() <= bound, "{} bytes with {held} streams", connection.memory_used());
            assert!(connection.stats().streams <= MAX_STREAMS);
            if connection.is_closed() {
                assert_eq!((connection.poll_timeout(), connection.wants_transmit()), (None, false));
                assert!(connection.close_reason().is_some());
            }
        }
    }

    /// Lets both ends read everything, and then finish: nobody may wait for ever.
    fn deliver_everything(&mut self) {
        self.exchange(false);
        if self.is_open() {
            let held = |(id, end): &&(StreamId, usize)| self.held[1 - end].contains(id) && !self.cut.contains(id);
            let asleep = self.writers.iter().find(held);
            assert_eq!(asleep, None, "a writer was not woken");
        }
        self.exchange(true);
        let reason = self.pair.dialer.connection.close_reason();
        assert!(self.is_open() || self.disturbed, "nobody closed the connection: {reason:?}");
        if !self.is_open() {
            return;
        }
        assert!(self.disturbed || !self.is_shaking(), "the handshake stalls");
        for ((id, writer), direction) in &self.directions {
            let both_hold = self.held.iter().all(|held| held.contains(id));
            let whole = direction.read == direction.written && direction.finished;
            assert!(whole || !both_hold || self.cut.contains(id), "end {writer} stalls on {id}");
        }
    }

    fn exchange(&mut self, finish: bool) {
        let mut idle = 0;
        // Without progress for longer than any timeout: with pings there is always a next step.
        while idle < 64 {
            idle += 1;
            self.pair.settle();
            let now = self.pair.now;
            self.pair.listener.connection.admit(now);
            for end in End::BOTH {
                self.handle_events(end);
                if self.handshakes.by_application[end as usize] && !self.handshakes.ready[end as usize] {
                    self.hear(end);
                    self.finalize(end);
                }
                for id in self.held[end as usize].clone() {
                    if finish {
                        self.finish(end, id);
                    }
                    while let Ok(1..) = self.read(end, id, 64 * 1024) {
                        idle = 0;
                    }
                }
                self.handle_events(end);
                self.accept(end);
            }
            if !self.pair.step() {
                idle += 16;
            }
        }
    }

    /// Everybody closes, reads what is left and lets go: nothing is left over.
    fn wind_up(&mut self) {
        self.disturbed = true;
        for end in End::BOTH {
            let now = self.pair.now;
            self.pair.connection(end).close(now, 0);
        }
        let ended =
            self.pair.run_until(|pair| pair.dialer.connection.is_closed() && pair.listener.connection.is_closed());
        assert!(ended, "{:?} {:?}", self.pair.dialer.connection, self.pair.listener.connection);
        self.check_handshakes();
        for end in End::BOTH {
            self.handle_events(end);
            assert_eq!(self.closed[end as usize], 1, "{end:?} has not closed once");
            self.accept(end);
            for id in self.held[end as usize].clone() {
                while let Ok(1..) = self.read(end, id, 64 * 1024) {}
                assert_ne!(self.read(end, id, 1), Err(ReadError::Blocked));
                self.release(end, id);
            }
            let connection = self.pair.connection(end);
            assert_eq!(connection.stats().streams, 0);
            assert!(connection.memory_used() < 4096, "{} bytes are left", connection.memory_used());
            assert_eq!((connection.poll_event(), connection.poll_timeout()), (None, None));
        }
        self.check();
    }
}

/// What stands at `at` in the bytes that `end` writes on `id`.
fn byte_at(id: StreamId, end: End, at: usize) -> u8 {
    let [low, high, ..] = at.to_le_bytes();
    let [id, ..] = id.get().to_le_bytes();
    low.wrapping_mul(31) ^ high.wrapping_mul(17) ^ id.wrapping_mul(5) ^ end as u8
}
