//! Two sessions over a transport that cuts anywhere, against a model of what each stream must deliver.

use std::{
    collections::{BTreeMap, VecDeque},
    vec,
    vec::Vec,
};

use bytes::Bytes;
use core::time::Duration;
use proptest::prelude::*;

use super::support::*;
use crate::{
    Instant,
    yamux::{
        Config, Event, MemoryLimits, MemoryPool, Priority, ReadError, Session, StreamId, WriteError,
        header::{Flags, HEADER_LEN, Header, Kind},
        stream::{Opening, RecvHalf, Stream},
    },
};

/// What was written into one direction of a stream and not read yet.
#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    finished: bool,
}

struct World {
    sides: [Session; 2],
    /// Bytes on their way from each side.
    wires: [VecDeque<u8>; 2],
    /// Everything that each side ever sent, for a look at the frames.
    logs: [Vec<u8>; 2],
    /// The streams that each side's application holds.
    held: [Vec<StreamId>; 2],
    model: BTreeMap<(StreamId, usize), Direction>,
    resets: Vec<StreamId>,
    next_byte: u8,
    now: Instant,
}

impl World {
    fn new(config: &Config) -> Self {
        Self {
            sides: [dialer(config.clone()), listener(config.clone())],
            wires: [VecDeque::new(), VecDeque::new()],
            logs: [Vec::new(), Vec::new()],
            held: [Vec::new(), Vec::new()],
            model: BTreeMap::new(),
            resets: Vec::new(),
            next_byte: 0,
            now: NOW,
        }
    }

    fn fresh(&mut self, n: usize) -> Vec<u8> {
        (0..n)
            .map(|_| {
                self.next_byte = self.next_byte.wrapping_mul(5).wrapping_add(7);
                self.next_byte
            })
            .collect()
    }

    fn pick(&self, side: usize, pick: usize) -> Option<StreamId> {
        let held = &self.held[side];
        (!held.is_empty()).then(|| held[pick % held.len()])
    }

    fn open(&mut self, side: usize) -> Option<StreamId> {
        let id = self.sides[side].open().ok()?;
        self.held[side].push(id);
        Some(id)
    }

    fn accept(&mut self, side: usize) -> Option<StreamId> {
        let id = self.sides[side].accept()?;
        self.held[side].push(id);
        Some(id)
    }

    fn write(&mut self, side: usize, id: StreamId, n: usize, shared: bool) -> Result<usize, WriteError> {
        let data = self.fresh(n);
        let written = if shared {
            self.sides[side].write_chunk(id, &mut Bytes::from(data.clone()))?
        } else {
            self.sides[side].write(id, &data)?
        };
        self.model.entry((id, side)).or_default().bytes.extend(&data[..written]);
        Ok(written)
    }

    fn finish(&mut self, side: usize, id: StreamId) {
        if self.sides[side].finish(id).is_ok() {
            self.model.entry((id, side)).or_default().finished = true;
        }
    }

    /// Reads at most `n` bytes one of three ways and compares; true at the end of the stream.
    fn read(&mut self, side: usize, id: StreamId, n: usize, how: usize) -> Result<(usize, bool), ReadError> {
        let session = &mut self.sides[side];
        let got = match how % 3 {
            0 => {
                let mut out = vec![0; n];
                let count = session.read(id, &mut out)?;
                out[..count].to_vec()
            }
            1 => session.read_chunk(id, n)?.unwrap_or_default().to_vec(),
            _ => {
                let mut got = session.peek(id)?.to_vec();
                got.truncate(n);
                session.consume(id, got.len());
                got
            }
        };
        let sent = self.model.entry((id, 1 - side)).or_default();
        assert!(got.len() <= sent.bytes.len(), "bytes from nowhere on {id}");
        let expected: Vec<u8> = sent.bytes.drain(..got.len()).collect();
        assert_eq!(got, expected, "wrong bytes on {id}");
        if got.is_empty() {
            assert!(sent.finished && sent.bytes.is_empty(), "an early end on {id}");
        }
        Ok((got.len(), got.is_empty()))
    }

    fn transmit(&mut self, side: usize, room: usize) -> usize {
        let mut out = vec![0; room];
        let wanted = self.sides[side].wants_transmit();
        let n = self.sides[side].poll_transmit(self.now, &mut out);
        assert_eq!(wanted, n > 0);
        self.wires[side].extend(&out[..n]);
        self.logs[side].extend(&out[..n]);
        n
    }

    fn deliver(&mut self, from: usize, n: usize) -> usize {
        let n = n.min(self.wires[from].len());
        let piece: Vec<u8> = self.wires[from].drain(..n).collect();
        self.sides[1 - from].handle_recv(self.now, &piece).unwrap();
        self.note_refusals();
        n
    }

    /// Both ends ping, with the first frames of a stream, and learn that a round trip takes a second.
    fn measure_round_trip(&mut self) {
        let id = self.open(0).unwrap();
        self.write(0, id, 1, false).unwrap();
        for side in [0, 1, 0] {
            self.transmit(side, 100);
            self.now = self.now.saturating_add(Duration::from_millis(500));
            self.deliver(side, usize::MAX);
        }
        assert!(self.sides.iter().all(|session| session.rtt() == Some(Duration::from_secs(1))));
    }

    fn settle(&mut self) {
        while self.sides.iter().any(|session| session.wants_transmit()) {
            for side in 0..2 {
                while self.transmit(side, 50_000) > 0 {}
                self.deliver(side, usize::MAX);
            }
        }
        for side in 0..2 {
            self.deliver(side, usize::MAX);
        }
        if self.sides.iter().any(|session| session.wants_transmit()) {
            self.settle();
        }
    }

    /// A stream refused at a limit is reset, which the schedule alone does not tell.
    fn note_refusals(&mut self) {
        for session in &self.sides {
            self.resets.extend(session.owed.reset_ids());
        }
    }

    /// A stream that went because memory was short. If both ends had finished, no reset tells of it.
    fn note_shed(&mut self, side: usize, id: StreamId) {
        assert!(self.sides[side].stats().streams_shed > 0);
        self.resets.push(id);
    }

    fn check_bounds(&self) {
        let pool = &self.sides[0].config.memory;
        assert_eq!(pool.lent(), self.sides.iter().map(|session| session.account.lent()).sum::<usize>());
        assert!(pool.lent() <= pool.limits().window_loans);
        let occupied = |session: &Session| session.streams.values().map(|stream| stream.recv.capacity()).sum::<usize>();
        assert_eq!(pool.used(), self.sides.iter().map(occupied).sum::<usize>());
        assert!(pool.used() <= pool.limits().hard_cap);
        for session in &self.sides {
            assert!(session.receive_memory_used() <= session.config.memory_budget);
            let sending = session.config.max_streams * (session.config.send_quota + 2 * 16_384);
            assert!(session.memory_used() <= session.config.memory_budget + sending + 16 * 16_384);
            assert!(session.events.len() <= session.stream_count());
            for ring in [&session.accept_queue, &session.events, &session.control, session.ready.ring()] {
                assert!(ring.len() <= session.stream_count());
                assert!(ring.entries() <= 2 * session.stream_count() + 33);
            }
            assert!(session.ready.is_consistent(&session.streams));
            for (id, stream) in &session.streams {
                let window = &stream.recv_window;
                let unread = stream.recv.len() as u32;
                if stream.recv_half == RecvHalf::Open {
                    assert!(window.credit() + window.consumed() + unread <= window.target(), "{id} grants too much");
                }
                assert!(stream.recv.capacity() <= window.target() as usize, "{id} holds too much");
                assert!(window.target() <= session.config.max_window);
            }
            let open_credit = |stream: &Stream| match stream.recv_half {
                RecvHalf::Open => stream.recv_window.credit() as usize,
                // No credit is of use to a remote that has finished.
                _ => 0,
            };
            let promised = session.streams.values().map(|stream| open_credit(stream) + stream.recv.len());
            let lent = session.account.lent();
            assert!(promised.sum::<usize>() <= session.config.max_streams * 256 * 1024 + lent);
            assert_eq!(session.streams.values().map(|stream| stream.recv_window.extra()).sum::<usize>(), lent);
            assert!(lent <= session.config.memory_budget - session.config.max_streams * 256 * 1024);
        }
    }

    /// With nothing in flight, what one side may send is what the other side has granted.
    fn check_credit(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            for (id, receiver) in &self.sides[to].streams {
                let Some(sender) = self.sides[from].streams.get(id) else { continue };
                let both_open =
                    receiver.recv_half == RecvHalf::Open && !sender.is_reset() && receiver.opening != Opening::Unsent;
                if both_open {
                    assert_eq!(sender.send_window.credit(), receiver.recv_window.credit(), "credit of {id} is lost");
                }
            }
        }
    }

    fn check_frames(&self) {
        for side in 0..2 {
            let (mut opened, mut acked): (Vec<u32>, Vec<u32>) = (vec![], vec![]);
            let mut log = &self.logs[side][..];
            while let Some(bytes) = log.first_chunk::<HEADER_LEN>() {
                let header = Header::decode(*bytes).unwrap();
                let body = if header.kind == Kind::Data { header.length as usize } else { 0 };
                log = &log[HEADER_LEN + body..];
                if header.kind == Kind::Ping {
                    continue;
                }
                let known = opened.contains(&header.stream) || header.stream % 2 == side as u32;
                if header.flags.has(Flags::SYN) {
                    assert!(!known && !header.flags.has(Flags::FIN), "SYN twice or with FIN");
                    opened.push(header.stream);
                    continue;
                }
                assert!(known, "a frame for a stream that was never announced");
                if header.flags.has(Flags::ACK) {
                    assert!(!acked.contains(&header.stream), "ACK twice");
                    assert_eq!(header.flags, Flags::ACK);
                    acked.push(header.stream);
                } else if !header.flags.has(Flags::RST) && header.stream % 2 == side as u32 {
                    assert!(acked.contains(&header.stream), "something before ACK");
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Open,
    Accept,
    Write(usize, usize, bool),
    Read(usize, usize, usize),
    Finish(usize),
    Reset(usize),
    Release(usize),
    SetPriority(usize, Priority),
    Transmit(usize),
    Deliver(usize),
    /// A stream's whole window at once.
    Flood(usize),
    Wait(u64),
    Settle,
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)]
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let n = || prop_oneof![1usize..40, 1usize..5_000, 1usize..150_000];
    let op = prop_oneof![
        2 => Just(Op::Open),
        2 => Just(Op::Accept),
        6 => (0usize..9, n(), any::<bool>()).prop_map(|(pick, n, shared)| Op::Write(pick, n, shared)),
        6 => (0usize..9, n(), 0usize..3).prop_map(|(pick, n, how)| Op::Read(pick, n, how)),
        1 => (0usize..9).prop_map(Op::Finish),
        1 => (0usize..9).prop_map(Op::Reset),
        1 => (0usize..9).prop_map(Op::Release),
        2 => (0usize..9, priority()).prop_map(|(pick, priority)| Op::SetPriority(pick, priority)),
        6 => (13usize..40_000).prop_map(Op::Transmit),
        6 => n().prop_map(Op::Deliver),
        4 => (0usize..9).prop_map(Op::Flood),
        3 => (1u64..50_000).prop_map(Op::Wait),
        1 => Just(Op::Settle),
    ];
    (0usize..2, op)
}

impl World {
    fn apply(&mut self, side: usize, op: Op) {
        match op {
            Op::Open => drop(self.open(side)),
            Op::Accept => drop(self.accept(side)),
            Op::Transmit(room) => drop(self.transmit(side, room)),
            Op::Deliver(n) => drop(self.deliver(side, n)),
            Op::Flood(pick) => {
                self.apply(side, Op::Write(pick, 256 * 1024, false));
                while self.transmit(side, 70_000) > 0 {}
                self.deliver(side, usize::MAX);
            }
            Op::Wait(micros) => self.now = self.now.saturating_add(Duration::from_micros(micros)),
            Op::Settle => {
                self.settle();
                self.check_credit();
            }
            Op::Write(pick, n, shared) => {
                let Some(id) = self.pick(side, pick) else { return };
                if let Err(WriteError::Reset(_) | WriteError::ResourceLimit) = self.write(side, id, n, shared) {
                    assert!(self.resets.contains(&id));
                }
            }
            Op::Read(pick, n, how) => {
                let Some(id) = self.pick(side, pick) else { return };
                match self.read(side, id, n, how) {
                    Ok(_) | Err(ReadError::Blocked) => {}
                    Err(ReadError::Reset(_)) => assert!(self.resets.contains(&id)),
                    Err(ReadError::ResourceLimit) => self.note_shed(side, id),
                    Err(ReadError::Unknown) => panic!("the application holds {id}"),
                }
            }
            Op::Finish(pick) => {
                if let Some(id) = self.pick(side, pick) {
                    self.finish(side, id);
                }
            }
            Op::SetPriority(pick, priority) => {
                if let Some(id) = self.pick(side, pick) {
                    self.sides[side].set_priority(id, priority);
                }
            }
            Op::Reset(pick) | Op::Release(pick) => {
                let Some(id) = self.pick(side, pick) else { return };
                self.held[side].retain(|held| *held != id);
                self.resets.push(id);
                if matches!(op, Op::Reset(_)) { self.sides[side].reset(id, 1) } else { self.sides[side].release(id) }
            }
        }
    }

    /// Reads whatever is left, without a reset everything must have come.
    fn drain(&mut self) {
        loop {
            self.settle();
            let mut moved = false;
            for side in 0..2 {
                while self.accept(side).is_some() {}
                for id in self.held[side].clone() {
                    loop {
                        match self.read(side, id, 70_000, 0) {
                            Ok((n, _)) if n > 0 => moved = true,
                            Err(ReadError::ResourceLimit) => break self.note_shed(side, id),
                            _ => break,
                        }
                    }
                }
            }
            if !moved && !self.sides.iter().any(|session| session.wants_transmit()) {
                break;
            }
        }
        self.check_credit();
        for ((id, _), direction) in &self.model {
            assert!(direction.bytes.is_empty() || self.resets.contains(id), "{id} did not deliver everything");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_delivers_every_byte_in_order(
        ops in proptest::collection::vec(op(), 1..120),
        extra in 0usize..4_000_000,
        window_loans in 0usize..6_000_000,
        hard_cap in prop_oneof![300_000usize..2_000_000, Just(512 << 20)],
    ) {
        let config = Config {
            max_streams: 6,
            accept_backlog: 4,
            ack_backlog: 4,
            max_window: (256 * 1024 + extra as u32).min(2_000_000),
            memory_budget: 6 * 256 * 1024 + extra,
            memory: MemoryPool::new(MemoryLimits { window_loans: window_loans.min(hard_cap), hard_cap }),
            ..Config::default()
        };
        config.validate().unwrap();
        let mut world = World::new(&config);
        world.measure_round_trip();
        for (side, op) in ops {
            world.apply(side, op);
            world.check_bounds();
        }
        world.drain();
        world.check_bounds();
        world.check_frames();
        drop(world);
        assert_eq!((config.memory.lent(), config.memory.used()), (0, 0), "everything came back");
    }

}

proptest! {
    // A case moves up to 3 MB through two debug builds of a session.
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// An echo whose both ends act on nothing but events, `n` bytes at a time.
    #[test]
    fn an_application_that_acts_on_events_alone_never_stalls(
        streams in 1usize..5,
        total in 1usize..400_000,
        sizes in (prop_oneof![400usize..900, 10_000usize..100_000], prop_oneof![400usize..900, 10_000usize..100_000]),
        room in 13usize..70_000,
        cut in 1usize..70_000,
        quota in prop_oneof![Just(1usize), 1usize..300_000],
    ) {
        let total = if quota < 400 { total.min(1000) } else if room < 200 || cut < 200 { total.min(40_000) } else { total };
        let config = Config { send_quota: quota, ..quiet() };
        echo(&config, streams, total, sizes, room, cut);
    }
}

#[test]
fn single_bytes_and_single_frames_pass_without_a_stall() {
    echo(&quiet(), 2, 2_000, (1, 1), 13, 1);
    echo(&Config { max_frame_body: 1, send_quota: 1, ..quiet() }, 2, 500, (3, 2), 13, 5);
}

/// The opener's progress on one stream.
struct Request {
    unsent: usize,
    finished: bool,
    answered: bool,
}

fn echo(config: &Config, streams: usize, total: usize, sizes: (usize, usize), room: usize, cut: usize) {
    let mut world = World::new(config);
    let mut requests: BTreeMap<StreamId, Request> = BTreeMap::new();
    let mut backlog: BTreeMap<StreamId, (VecDeque<u8>, bool, bool)> = BTreeMap::new();
    for _ in 0..streams {
        let id = world.open(0).unwrap();
        requests.insert(id, Request { unsent: total, finished: false, answered: false });
        push_request(&mut world, id, requests.get_mut(&id).unwrap(), sizes.0);
    }
    loop {
        let mut moved = 0;
        for side in 0..2 {
            moved += world.transmit(side, room);
            while world.wires[side].len() > cut {
                moved += world.deliver(side, cut);
            }
            moved += world.deliver(side, cut);
        }
        while let Some(event) = world.sides[0].poll_event() {
            moved += 1;
            match event {
                Event::Writable(id) => push_request(&mut world, id, requests.get_mut(&id).unwrap(), sizes.0),
                Event::Readable(id) => loop {
                    match world.read(0, id, sizes.1, 0) {
                        Ok((_, end)) if end => break requests.get_mut(&id).unwrap().answered = true,
                        Ok(_) => {}
                        Err(error) => break assert_eq!(error, ReadError::Blocked),
                    }
                },
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = world.sides[1].poll_event() {
            moved += 1;
            match event {
                Event::Incoming => while world.accept(1).is_some() {},
                Event::Readable(id) | Event::Writable(id) => {
                    bounce(&mut world, id, backlog.entry(id).or_default(), sizes)
                }
                other => panic!("{other:?}"),
            }
        }
        world.check_bounds();
        if moved == 0 && !world.sides.iter().any(|session| session.wants_transmit()) {
            break;
        }
    }
    assert!(requests.values().all(|request| request.finished && request.answered), "stalled");
    assert!(world.model.values().all(|direction| direction.bytes.is_empty() && direction.finished));
    world.check_credit();
    world.check_frames();
    for side in 0..2 {
        requests.keys().for_each(|id| world.sides[side].release(*id));
        assert!(world.sides[side].is_idle() && world.sides[side].is_flushed());
    }
}

fn push_request(world: &mut World, id: StreamId, request: &mut Request, size: usize) {
    while request.unsent > 0 {
        match world.write(0, id, size.min(request.unsent), request.unsent.is_multiple_of(2)) {
            Ok(n) => request.unsent -= n,
            Err(error) => return assert_eq!(error, WriteError::Blocked),
        }
    }
    world.finish(0, id);
    request.finished = true;
}

/// Reads only what it could write back, so that back-pressure goes all the way.
fn bounce(world: &mut World, id: StreamId, state: &mut (VecDeque<u8>, bool, bool), sizes: (usize, usize)) {
    let (pending, ended, finished) = state;
    loop {
        while !pending.is_empty() {
            let n = pending.len().min(sizes.1);
            match world.write(1, id, n, false) {
                Ok(written) => drop(pending.drain(..written)),
                Err(error) => return assert_eq!(error, WriteError::Blocked),
            }
        }
        if *ended {
            if !core::mem::replace(finished, true) {
                world.finish(1, id);
            }
            return;
        }
        match world.read(1, id, sizes.0, 1) {
            Ok((_, true)) => *ended = true,
            Ok((n, false)) => pending.extend(core::iter::repeat_n(0, n)),
            Err(error) => return assert_eq!(error, ReadError::Blocked),
        }
    }
}
