//! A Yamux session: two honest ends against a model of what they must deliver, and one end against frames
//! of any kind.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};
use core::time::Duration;

use super::Input;
use crate::{
    Instant, Role,
    yamux::{
        Config, Event, HEADER_LEN, INITIAL_WINDOW, MemoryLimits, MemoryPool, Priority, ReadError, Session, StreamId,
        Violation, WriteError, recode_header,
    },
};

/// Input: limits, then a list of operations of both applications, of the transport and of the clock, in the
/// second mode also frames that the remote makes up.
///
/// Asserts for two honest ends that what is read is a prefix of what was written, and all of it in the end
/// unless the stream was cut off, that Readable and Writable are true and no reader is left asleep, and that
/// nothing is left when everybody has let go. Against any remote: that memory keeps to budget and hard cap,
/// frames to their length and to the credit, that a violation is final, that the session speaks well-formed
/// frames, and that a silent remote is noticed.
pub fn yamux_session(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() && !world.over {
        world.step(&mut input);
        world.check();
    }
    world.wind_up();
}

const SPARE_BLOCKS: usize = 16;
/// Inbound streams that a remote may reset before they are accepted.
const MAX_UNACCEPTED_RESETS: u32 = 8;
/// Frames that move nothing, in a row.
const MAX_EMPTY_FRAMES: u32 = 64;
/// An ACK, a FIN or a window update, and a reset.
const EMPTY_FRAMES_OF_A_STREAM: usize = 3;
const DIALER: usize = 0;
const LISTENER: usize = 1;

/// Codes of resets, by who causes them.
const BY_RESET: u32 = 1;
const BY_STOP: u32 = 2;
const BY_LIMIT: u32 = 0x1002;
const BY_SHUTDOWN: u32 = 0x1007;

/// One direction of a stream, in counts of bytes: their values follow from their places.
#[derive(Default)]
struct Direction {
    written: usize,
    read: usize,
    finished: bool,
}

struct World {
    sides: [Session; 2],
    /// Bytes on their way from each side.
    wires: [VecDeque<u8>; 2],
    held: [Vec<StreamId>; 2],
    /// By stream and the side that writes.
    directions: BTreeMap<(StreamId, usize), Direction>,
    /// Streams that somebody reset, stopped or let go of early.
    cut: BTreeSet<StreamId>,
    /// Readers that wait for `Readable`, by stream and side; every stream begins with one.
    waiting: BTreeSet<(StreamId, usize)>,
    /// Body bytes that the dialer may send on each stream, if the listener is made up.
    credit: BTreeMap<u32, u64>,
    made_up: bool,
    /// A session was told to go away, broke off or missed a ping.
    leaving: bool,
    over: bool,
    config: Config,
    now: Instant,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let made_up = input.bool();
        let limits = input.byte();
        let max_streams = 1 + usize::from(limits & 3);
        let memory = input.byte();
        // Windows may double twice, and memory may not even suffice for the initial ones.
        let extra = [0, 3 * INITIAL_WINDOW][usize::from(memory & 1)];
        let hard_cap = (1 + usize::from(memory >> 1 & 7)) * INITIAL_WINDOW as usize + 16 * 1024;
        let window_loans = if memory & 0x10 == 0 { hard_cap } else { 0 };
        let mut config = Config {
            max_streams,
            accept_backlog: 1 + usize::from(limits >> 2 & 3),
            ack_backlog: 1 + usize::from(limits >> 4 & 3),
            send_quota: 1 + input.size() % (64 * 1024),
            max_frame_body: 1 + input.size() % (20 * 1024),
            max_unaccepted_resets: MAX_UNACCEPTED_RESETS,
            spare_blocks: SPARE_BLOCKS,
            max_empty_frames: MAX_EMPTY_FRAMES,
            max_window: INITIAL_WINDOW + extra,
            memory_budget: max_streams * INITIAL_WINDOW as usize + extra as usize,
            memory: MemoryPool::new(MemoryLimits { window_loans, hard_cap }),
            ..Config::default()
        };
        if limits & 0x80 == 0 {
            config.keep_alive = None;
        }
        config.validate().expect("limits that fit each other");
        // A made-up remote may be of either role; its own session is not used.
        let roles =
            if made_up && limits & 0x40 != 0 { [Role::Listener, Role::Dialer] } else { [Role::Dialer, Role::Listener] };
        let now = Instant::EPOCH;
        Self {
            sides: roles.map(|role| Session::new(role, config.clone(), now)),
            wires: Default::default(),
            held: Default::default(),
            directions: BTreeMap::new(),
            cut: BTreeSet::new(),
            waiting: BTreeSet::new(),
            credit: BTreeMap::new(),
            made_up,
            leaving: false,
            over: false,
            config,
            now,
        }
    }

    /// The sides that run.
    fn live(&self) -> core::ops::Range<usize> {
        if self.made_up { DIALER..LISTENER } else { DIALER..LISTENER + 1 }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        let side = if self.made_up { DIALER } else { usize::from(op >> 7) };
        match op & 0x7f {
            0..10 => drop(self.open(side)),
            10..20 => drop(self.accept(side)),
            20..36 => {
                let (id, len) = (self.pick(side, input), input.size());
                if let Some(id) = id {
                    let _ = self.write(side, id, len);
                }
            }
            36..50 => {
                let (id, len, how) = (self.pick(side, input), input.size() + 1, input.byte());
                if let Some(id) = id {
                    let _ = self.read(side, id, len, how);
                }
            }
            50..56 => {
                if let Some(id) = self.pick(side, input)
                    && self.sides[side].finish(id).is_ok()
                {
                    self.directions.entry((id, side)).or_default().finished = true;
                }
            }
            56..60 => {
                let Some(id) = self.pick(side, input) else { return };
                self.cut.insert(id);
                self.sides[side].reset(id, BY_RESET);
                self.release(side, id);
            }
            60..63 => {
                let Some(id) = self.pick(side, input) else { return };
                self.cut.insert(id);
                self.sides[side].stop(id, BY_STOP);
                // A stream that was finished is gone with that; releasing what is not there does nothing.
                self.release(side, id);
            }
            63..68 => {
                let Some(id) = self.pick(side, input) else { return };
                self.cut.insert(id);
                self.release(side, id);
            }
            68..72 => {
                let (id, priority) = (self.pick(side, input), input.below(3));
                let priority = [Priority::Low, Priority::Normal, Priority::High][priority];
                id.into_iter().for_each(|id| self.sides[side].set_priority(id, priority));
            }
            72..86 => drop(self.transmit(side, 13 + input.size() % 40_000)),
            86..100 => drop(self.deliver(side, 1 + input.size())),
            100..106 => self.settle(),
            106..110 => {
                self.now = self.now.saturating_add(Duration::from_millis(input.u16().into()));
                self.tell_time();
            }
            110..112 => {
                self.leaving = true;
                self.sides[side].go_away(input.byte().into());
            }
            112 => self.sides[side].refuse_inbound(BY_LIMIT),
            113..116 => self.pump(side, input),
            116 => self.pick(side, input).into_iter().for_each(|id| self.sides[side].cork(id)),
            117 => self.pick(side, input).into_iter().for_each(|id| self.sides[side].uncork(id)),
            _ => self.make_up_frame(input),
        }
        self.take_events();
    }

    /// Writes so much that windows matter, to a reader that keeps up or does not.
    fn pump(&mut self, side: usize, input: &mut Input<'_>) {
        let Some(id) = self.pick(side, input) else { return };
        let (rounds, reads) = (input.below(16), input.bool());
        for _ in 0..rounds {
            let _ = self.write(side, id, self.config.send_quota);
            self.settle();
            self.take_events();
            if reads && self.held[1 - side].contains(&id) {
                let _ = self.read(1 - side, id, 64 * 1024, 0);
            }
        }
    }

    /// A frame of the remote's choice; in a world of honest ends nothing.
    fn make_up_frame(&mut self, input: &mut Input<'_>) {
        if !self.made_up {
            return;
        }
        let shape = input.byte();
        let flags = input.byte();
        let stream = input.byte() % 10;
        let mut length = match shape >> 4 {
            0..8 => input.byte().into(),
            8..12 => u32::try_from(input.size()).expect("20 bits"),
            _ => u32::from_le_bytes(input.array()),
        };
        let body = if shape & 8 == 0 { length.min(300 * 1024) } else { input.byte().into() };
        let kind = shape & 3;
        if shape & 4 == 4 && kind == 0 {
            length = body;
        }
        let [l0, l1, l2, l3] = length.to_be_bytes();
        let header = [0, kind, 0, flags, 0, 0, 0, stream, l0, l1, l2, l3];
        self.wires[LISTENER].extend(header);
        if kind == 0 {
            self.wires[LISTENER].extend(core::iter::repeat_n(flags, body as usize));
        }
        if kind == 1 {
            *self.credit.entry(stream.into()).or_insert(INITIAL_WINDOW.into()) += u64::from(length);
        }
    }

    fn pick(&self, side: usize, input: &mut Input<'_>) -> Option<StreamId> {
        let held = &self.held[side];
        held.get(input.below(held.len())).copied()
    }

    fn open(&mut self, side: usize) -> Option<StreamId> {
        let id = self.sides[side].open().ok()?;
        self.held[side].push(id);
        self.waiting.insert((id, side));
        Some(id)
    }

    fn accept(&mut self, side: usize) -> Option<StreamId> {
        let id = self.sides[side].accept()?;
        assert!(!self.held[side].contains(&id), "{id} is accepted twice");
        self.held[side].push(id);
        self.waiting.insert((id, side));
        if self.made_up {
            // Only a made-up remote uses the id of a stream that is over again.
            self.directions.remove(&(id, side));
            *self.credit.entry(id.get()).or_default() += u64::from(INITIAL_WINDOW);
        }
        Some(id)
    }

    fn release(&mut self, side: usize, id: StreamId) {
        self.sides[side].release(id);
        self.waiting.remove(&(id, side));
        self.held[side].retain(|held| *held != id);
    }

    fn write(&mut self, side: usize, id: StreamId, len: usize) -> Result<usize, WriteError> {
        let direction = self.directions.entry((id, side)).or_default();
        let len = len.min(self.config.send_quota + 1);
        let data: Vec<u8> = (direction.written..direction.written + len).map(|at| byte_at(id, side, at)).collect();
        let written = self.sides[side].write(id, &data);
        match written {
            Ok(written) => {
                assert!(!direction.finished && written <= len && (written > 0 || len == 0));
                direction.written += written;
            }
            Err(WriteError::Reset(code)) => self.check_reset(side, id, code),
            Err(WriteError::Finished) => assert!(self.leaving || direction.finished, "{id} is not finished"),
            Err(WriteError::Unknown) => panic!("the application holds {id}"),
            Err(WriteError::ResourceLimit) => self.check_shed(side, id),
            Err(WriteError::Blocked) => {}
        }
        written
    }

    fn read(&mut self, side: usize, id: StreamId, len: usize, how: u8) -> Result<usize, ReadError> {
        let session = &mut self.sides[side];
        let got = match how % 3 {
            0 => {
                let mut out = vec![0; len.min(64 * 1024)];
                session.read(id, &mut out).map(|count| out[..count].to_vec())
            }
            1 => session.read_chunk(id, len).map(|chunk| chunk.map(|chunk| chunk.to_vec()).unwrap_or_default()),
            _ => session.peek(id).map(|front| front[..front.len().min(len)].to_vec()),
        };
        if matches!(got, Err(ReadError::Blocked)) {
            self.waiting.insert((id, side));
        } else {
            assert!(!self.waiting.contains(&(id, side)), "a reader of {id} was not woken");
        }
        let got = match got {
            Ok(got) => got,
            Err(error) => {
                match error {
                    ReadError::Reset(code) => self.check_reset(side, id, code),
                    ReadError::Unknown => panic!("the application holds {id}"),
                    ReadError::ResourceLimit => self.check_shed(side, id),
                    ReadError::Blocked => {}
                }
                return Err(error);
            }
        };
        if how % 3 == 2 {
            self.sides[side].consume(id, got.len());
        }
        if !self.made_up {
            let direction = self.directions.entry((id, 1 - side)).or_default();
            let place = direction.read..direction.read + got.len();
            assert!(place.end <= direction.written, "bytes from nowhere on {id}");
            assert!(place.zip(&got).all(|(at, byte)| *byte == byte_at(id, 1 - side, at)), "wrong bytes on {id}");
            direction.read += got.len();
            if got.is_empty() {
                assert!(direction.finished && direction.read == direction.written, "an early end of {id}");
            }
        }
        Ok(got.len())
    }

    fn check_reset(&mut self, side: usize, id: StreamId, code: u32) {
        let stats = self.sides[1 - side].stats();
        let refused = matches!(code, BY_LIMIT | BY_SHUTDOWN) && stats.streams_refused + stats.streams_shed > 0;
        assert!(self.made_up || refused || self.cut.contains(&id), "nobody reset {id} with {code}");
        self.cut.insert(id);
    }

    /// The stream was reset because receive memory was short.
    fn check_shed(&mut self, side: usize, id: StreamId) {
        assert!(self.sides[side].stats().streams_shed > 0, "{id} was not reset for want of memory");
        self.cut.insert(id);
    }

    fn transmit(&mut self, side: usize, room: usize) -> usize {
        let mut out = vec![0; room];
        let session = &mut self.sides[side];
        let (wanted, failed) = (session.wants_transmit(), session.violation().is_some());
        let len = session.poll_transmit(self.now, &mut out);
        assert_eq!(wanted, len > 0, "wants_transmit says what poll_transmit does");
        let frames = self.check_frames(&out[..len]);
        assert!(!failed || frames <= 1, "a session that has failed says no more than goodbye");
        if !self.made_up {
            self.wires[side].extend(&out[..len]);
        }
        len
    }

    /// Checks that `bytes` are whole frames within their limits, and counts them.
    fn check_frames(&mut self, mut bytes: &[u8]) -> usize {
        let mut frames = 0;
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
            assert_eq!(recode_header(*header).as_ref(), Ok(header), "a frame that we would refuse");
            let [_, kind, _, flags, s0, s1, s2, s3, l0, l1, l2, l3] = *header;
            let (stream, length) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([l0, l1, l2, l3]));
            assert_eq!(stream == 0, kind > 1, "session frames have no stream, others have one");
            let body = if kind == 0 { length as usize } else { 0 };
            assert!(body <= self.config.max_frame_body, "a body of {body} bytes");
            assert!(flags & 1 == 0 || flags & 2 == 0 || kind == 2, "SYN with ACK");
            if self.made_up && kind == 0 {
                let credit = self.credit.entry(stream).or_insert(INITIAL_WINDOW.into());
                *credit = credit.checked_sub(length.into()).expect("no more than the remote granted");
            }
            bytes = &rest[body..];
            frames += 1;
        }
        assert!(bytes.is_empty(), "part of a frame");
        frames
    }

    /// Moves at most `len` bytes from the wire of `from` to the other side.
    fn deliver(&mut self, from: usize, len: usize) -> usize {
        let from = if self.made_up { LISTENER } else { from };
        let wire = &mut self.wires[from];
        let piece: Vec<u8> = wire.drain(..len.min(wire.len())).collect();
        let session = &mut self.sides[1 - from];
        let before = session.violation();
        let outcome = session.handle_recv(self.now, &piece);
        let refused = usize::try_from(session.stats().streams_refused).unwrap_or(usize::MAX);
        assert_eq!(outcome.err(), session.violation());
        assert!(before.is_none() || before == session.violation(), "a violation is final");
        // Those who cut many streams off, before they are accepted or without any data, or open many for which there is
        // no room, look like an attacker.
        let hasty = match outcome {
            Err(Violation::RapidReset) => self.cut.len() > MAX_UNACCEPTED_RESETS as usize,
            Err(Violation::EmptyFrameFlood) => {
                (EMPTY_FRAMES_OF_A_STREAM * self.cut.len()).saturating_add(refused) > MAX_EMPTY_FRAMES as usize
            }
            _ => false,
        };
        assert!(self.made_up || outcome.is_ok() || hasty, "{outcome:?} between honest ends, {} cut", self.cut.len());
        self.leaving |= outcome.is_err() || session.remote_go_away().is_some();
        piece.len()
    }

    fn settle(&mut self) {
        loop {
            let mut moved = 0;
            for side in self.live() {
                while self.sides[side].wants_transmit() {
                    moved += self.transmit(side, 64 * 1024);
                }
                moved += self.deliver(side, usize::MAX);
            }
            if moved == 0 {
                return;
            }
        }
    }

    fn tell_time(&mut self) {
        for side in self.live() {
            let late = self.sides[side].handle_timeout(self.now).is_err();
            assert!(!late || self.config.keep_alive.is_some());
            self.over |= late;
            let due = self.sides[side].poll_timeout();
            assert!(late || due.is_none_or(|due| due > self.now), "a timer in the past");
        }
    }

    /// Takes all events and checks that what they announce is so.
    fn take_events(&mut self) {
        for side in self.live() {
            let mut most = 3 + 2 * self.config.max_streams;
            while let Some(event) = self.sides[side].poll_event() {
                most = most.checked_sub(1).expect("more events than there are conditions");
                match event {
                    // Unless the remote has reset the stream since, which only `accept` finds.
                    Event::Incoming => drop(self.accept(side)),
                    Event::Readable(id) => {
                        self.waiting.remove(&(id, side));
                        let got = self.read(side, id, 100, 0);
                        assert_ne!(got, Err(ReadError::Blocked), "Readable({id}) is not true");
                    }
                    Event::Writable(id) => {
                        let got = self.write(side, id, 100);
                        assert_ne!(got, Err(WriteError::Blocked), "Writable({id}) is not true");
                    }
                    // Unless the remote has taken the place since; then the event comes again.
                    Event::OpenUnblocked => drop(self.open(side)),
                    Event::GoAway { .. } => self.leaving = true,
                }
            }
        }
    }

    fn check(&self) {
        let pool = &self.config.memory;
        let used: usize = self.live().map(|side| self.sides[side].receive_memory_used()).sum();
        assert_eq!(pool.used(), used);
        assert!(used <= pool.limits().hard_cap && pool.lent() <= pool.limits().window_loans, "{pool:?}");
        for side in self.live() {
            let session = &self.sides[side];
            assert!(session.receive_memory_used() <= self.config.memory_budget, "{}", session.receive_memory_used());
            assert!(session.stream_count() <= self.config.max_streams);
        }
    }

    /// Delivers and reads what is left, lets go of everything, and runs the clock to its end.
    fn wind_up(&mut self) {
        if !self.over {
            self.deliver_everything();
        }
        for side in self.live() {
            while self.accept(side).is_some() {}
            // Letting go unblocks an `open` that waits, and so makes one more stream to let go of.
            while !self.held[side].is_empty() {
                self.held[side].clone().into_iter().for_each(|id| self.release(side, id));
                self.take_events();
            }
        }
        self.settle();
        if !self.made_up && !self.over && !self.leaving {
            for session in &self.sides {
                assert!(session.is_idle() && session.is_flushed());
                assert!(session.memory_used() <= (SPARE_BLOCKS + 1) * 16 * 1024);
            }
            assert_eq!((self.config.memory.used(), self.config.memory.lent()), (0, 0), "memory is not given back");
        }
        self.run_clock();
        for side in self.live() {
            let session = &mut self.sides[side];
            session.go_away(0);
            self.transmit(side, 64 * 1024);
            while self.sides[side].wants_transmit() {
                self.transmit(side, 64 * 1024);
            }
            let session = &mut self.sides[side];
            assert_eq!(session.poll_timeout(), None, "a timer after the end");
            let mut most = 3 + 2 * self.config.max_streams;
            while session.poll_event().is_some() {
                most = most.checked_sub(1).expect("events without end");
            }
        }
    }

    fn deliver_everything(&mut self) {
        for side in self.live() {
            self.held[side].iter().for_each(|id| self.sides[side].uncork(*id));
        }
        loop {
            self.settle();
            self.take_events();
            let mut moved = 0;
            for side in self.live() {
                while self.accept(side).is_some() {
                    moved += 1;
                }
                self.take_events();
                for id in self.held[side].clone() {
                    while let Ok(len @ 1..) = self.read(side, id, 64 * 1024, 0) {
                        moved += len;
                    }
                }
            }
            if moved == 0 && !self.live().any(|side| self.sides[side].wants_transmit()) {
                break;
            }
        }
        if self.made_up || self.leaving {
            return;
        }
        for ((id, side), direction) in &self.directions {
            let whole = direction.read == direction.written;
            assert!(
                whole || self.cut.contains(id),
                "side {side} wrote {} on {id}, {} were read",
                direction.written,
                direction.read
            );
        }
    }

    /// The remote says nothing more: a session that pings gives up, one that does not has no timer.
    fn run_clock(&mut self) {
        for side in self.live() {
            let pings = self.config.keep_alive.is_some();
            let mut steps = 0;
            while let Some(due) = self.sides[side].poll_timeout() {
                steps += 1;
                assert!(pings && steps < 8, "timers without end");
                self.now = self.now.max(due);
                if self.sides[side].handle_timeout(self.now).is_err() {
                    break;
                }
                while self.sides[side].wants_transmit() {
                    self.transmit(side, 64 * 1024);
                }
            }
        }
    }
}

/// What stands at `at` in the bytes that `side` writes on `id`.
fn byte_at(id: StreamId, side: usize, at: usize) -> u8 {
    let [low, high, ..] = at.to_le_bytes();
    let [id, ..] = id.get().to_le_bytes();
    low.wrapping_mul(31) ^ high.wrapping_mul(17) ^ id.wrapping_mul(5) ^ u8::try_from(side).unwrap_or(0)
}
