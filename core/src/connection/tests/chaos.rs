//! Random applications over a random transport: whatever they do, the promises hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec,
};

use proptest::prelude::*;

use super::*;

/// What one application does next. Streams are picked by a number modulo those that it holds.
#[derive(Clone, Debug)]
enum Op {
    Open {
        several: bool,
    },
    Write {
        pick: usize,
        len: usize,
    },
    Read {
        pick: usize,
        len: usize,
    },
    Finish(usize),
    Reset(usize),
    Stop(usize),
    Release(usize),
    Close,
    /// Only one direction moves, so that the ends see each other late.
    Transmit,
    Deliver,
    Settle,
}

fn op() -> impl Strategy<Value = (End, Op)> {
    let end = prop_oneof![Just(End::Dialer), Just(End::Listener)];
    let len = || prop_oneof![1usize..50, 1usize..5_000, 1usize..400_000];
    let op = prop_oneof![
        4 => any::<bool>().prop_map(|several| Op::Open { several }),
        8 => (0usize..9, len()).prop_map(|(pick, len)| Op::Write { pick, len }),
        6 => (0usize..9, len()).prop_map(|(pick, len)| Op::Read { pick, len }),
        3 => (0usize..9).prop_map(Op::Finish),
        1 => (0usize..9).prop_map(Op::Reset),
        1 => (0usize..9).prop_map(Op::Stop),
        2 => (0usize..9).prop_map(Op::Release),
        1 => Just(Op::Close),
        4 => Just(Op::Transmit),
        4 => Just(Op::Deliver),
        4 => Just(Op::Settle),
    ];
    (end, op)
}

/// What happens to the transport and the clock.
#[derive(Clone, Debug)]
enum Fate {
    Nothing,
    /// `handle_timeout` with a time that is long past.
    Past,
    /// `handle_timeout` although nothing is due, or early.
    Now,
    /// Time passes and the driver tells it late.
    Later(u64),
    /// To the next timer or arrival.
    Step,
    Blocked,
    Transmitted,
    Admit,
    Deny,
    Cut,
    End,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        20 => Just(Fate::Nothing),
        2 => Just(Fate::Past),
        2 => Just(Fate::Now),
        2 => (0u64..4_000).prop_map(Fate::Later),
        2 => Just(Fate::Step),
        1 => Just(Fate::Blocked),
        2 => Just(Fate::Transmitted),
        4 => Just(Fate::Admit),
        1 => Just(Fate::Deny),
        1 => Just(Fate::Cut),
        1 => Just(Fate::End),
    ]
}

/// What was written into one direction of a stream, and what came out.
#[derive(Default, PartialEq, Debug)]
struct Direction {
    sent: Vec<u8>,
    finished: bool,
    received: Vec<u8>,
}

struct World {
    pair: Pair,
    held: [Vec<StreamId>; 2],
    /// By stream and the end that writes.
    directions: BTreeMap<(StreamId, usize), Direction>,
    closed: [usize; 2],
}

impl World {
    fn new(config: PairConfig, open: bool) -> Self {
        let pair = if open { Pair::open(config) } else { Pair::new(config) };
        Self { pair, held: Default::default(), directions: BTreeMap::new(), closed: [0; 2] }
    }

    fn apply(&mut self, end: End, op: &Op) {
        let now = self.pair.now;
        let held = &self.held[end as usize];
        let pick = |pick: &usize| held.get(pick % held.len().max(1)).copied();
        match op {
            Op::Open { several } => {
                let protocols = if *several { &[OTHER, ECHO][..] } else { &[ECHO][..] };
                let opened = self.pair.connection(end).open(now, protocols);
                self.held[end as usize].extend(opened.ok());
            }
            Op::Write { pick: number, len } => {
                if let Some(id) = pick(number) {
                    let _ = self.write(end, id, *len);
                }
            }
            Op::Read { pick: number, len } => {
                if let Some(id) = pick(number) {
                    let _ = self.read(end, id, *len);
                }
            }
            Op::Finish(number) => {
                if let Some(id) = pick(number) {
                    let finished = self.pair.connection(end).stream(id).finish();
                    self.directions.entry((id, end as usize)).or_default().finished |= finished.is_ok();
                }
            }
            Op::Stop(number) => {
                if let Some(id) = pick(number) {
                    self.pair.connection(end).stream(id).stop(2);
                }
            }
            Op::Reset(number) | Op::Release(number) => {
                if let Some(id) = pick(number) {
                    if matches!(op, Op::Reset(_)) {
                        self.pair.connection(end).stream(id).reset(1);
                    }
                    self.release(end, id);
                }
            }
            Op::Close => self.pair.connection(end).close(now, 0),
            Op::Transmit => drop(self.pair.transmit(end)),
            Op::Deliver => drop(self.pair.deliver(end)),
            Op::Settle => self.pair.settle(),
        }
    }

    fn write(&mut self, end: End, id: StreamId, len: usize) -> Result<usize, WriteError> {
        let direction = self.directions.entry((id, end as usize)).or_default();
        let start = direction.sent.len();
        let data: Vec<u8> = (start..start + len).map(|at| at.wrapping_mul(31).to_le_bytes()[0] ^ end as u8).collect();
        let written = self.pair.connection(end).stream(id).write(&data);
        direction.sent.extend(&data[..written.clone().unwrap_or(0)]);
        written
    }

    fn read(&mut self, end: End, id: StreamId, len: usize) -> Result<usize, ReadError> {
        let mut buffer = alloc::vec![0; len];
        let got = self.pair.connection(end).stream(id).read(&mut buffer);
        let direction = self.directions.entry((id, end.other() as usize)).or_default();
        direction.received.extend(&buffer[..got.clone().unwrap_or(0)]);
        let prefix = direction.sent.get(..direction.received.len());
        assert!(prefix == Some(&direction.received[..]), "{end:?} read from {id} what was not written");
        if got == Ok(0) {
            let whole = direction.finished && direction.received.len() == direction.sent.len();
            assert!(whole, "{end:?} saw an early end of {id}");
        }
        got
    }

    fn release(&mut self, end: End, id: StreamId) {
        self.held[end as usize].retain(|held| *held != id);
        self.pair.connection(end).stream(id).release();
    }

    /// Takes the events of one end, and those that acting on them makes, and checks that each is true.
    fn handle_events(&mut self, end: End) {
        while self.handle_some_events(end) {}
    }

    fn handle_some_events(&mut self, end: End) -> bool {
        let mut events = events(&mut self.pair, end);
        events.extend(core::iter::from_fn(|| self.pair.connection(end).poll_event()));
        let distinct: BTreeSet<String> = events.iter().map(|event| std::format!("{event:?}")).collect();
        assert_eq!(distinct.len(), events.len(), "an event twice without a call in between: {events:?}");
        assert!(events.is_empty() || self.closed[end as usize] == 0, "{events:?} after Closed");
        if let Some(at) = events.iter().position(|event| *event == Event::Closed) {
            assert_eq!(at + 1, events.len(), "Closed comes last");
            self.closed[end as usize] += 1;
        }
        let some = !events.is_empty();
        for event in events {
            match event {
                Event::Incoming => {
                    let id = self.pair.connection(end).accept().expect("Incoming was announced");
                    self.held[end as usize].push(id);
                    while let Some(id) = self.pair.connection(end).accept() {
                        self.held[end as usize].push(id);
                    }
                }
                Event::Readable { id } => assert_ne!(self.read(end, id, 1000), Err(ReadError::Blocked), "{id}"),
                Event::Writable { id } => assert_ne!(self.write(end, id, 1000), Err(WriteError::Blocked), "{id}"),
                Event::OpenUnblocked => {
                    let now = self.pair.now;
                    // The peer may have taken the place since; then the event comes again.
                    let opened = self.pair.connection(end).open(now, &[ECHO]);
                    self.held[end as usize].extend(opened.ok());
                }
                _ => {}
            }
        }
        some
    }

    fn suffer(&mut self, end: End, fate: &Fate) {
        let now = self.pair.now;
        let connection = self.pair.connection(end);
        match fate {
            Fate::Nothing => {}
            Fate::Past => connection.handle_timeout(Instant::EPOCH),
            Fate::Now => {
                connection.handle_timeout(now);
                assert!(connection.poll_timeout().is_none_or(|next| next > now), "a timer in the past");
            }
            Fate::Later(millis) => {
                self.pair.now = now.saturating_add(Duration::from_millis(*millis));
                self.suffer(end, &Fate::Now);
            }
            Fate::Step => drop(self.pair.step()),
            Fate::Blocked => connection.handle_transmit_blocked(now),
            Fate::Transmitted => connection.handle_transmitted(now),
            Fate::Admit => connection.admit(now),
            Fate::Deny => connection.deny(now, DenyReason::Limit),
            Fate::Cut => connection.handle_io_error(now),
            Fate::End => connection.handle_recv_eof(now),
        }
    }

    fn check(&mut self) {
        for end in End::BOTH {
            let held = self.held[end as usize].len();
            let connection = self.pair.connection(end);
            // Every stream holds at most its window and its quota, in blocks that are at most full size.
            let bound = (connection.stats().streams.max(held) + 1) * (256 + 2 * 16 + 256) * 1024 + 3 * MAX_RECV;
            assert!(connection.memory_used() <= bound, "{} bytes with {held} streams", connection.memory_used());
            assert!(connection.stats().streams <= Config::default().yamux.max_streams);
            if connection.is_closed() {
                assert_eq!((connection.poll_timeout(), connection.wants_transmit()), (None, false));
                assert!(connection.close_reason().is_some());
            }
        }
    }

    /// Everybody closes, reads what is left and lets go: nothing is left over.
    fn wind_up(&mut self) {
        for end in End::BOTH {
            let now = self.pair.now;
            self.pair.connection(end).close(now, 0);
        }
        let ended =
            self.pair.run_until(|pair| pair.dialer.connection.is_closed() && pair.listener.connection.is_closed());
        assert!(ended, "{:?} {:?}", self.pair.dialer.connection, self.pair.listener.connection);
        for end in End::BOTH {
            self.handle_events(end);
            assert_eq!(self.closed[end as usize], 1);
            while let Some(id) = self.pair.connection(end).accept() {
                self.held[end as usize].push(id);
            }
            for id in self.held[end as usize].clone() {
                while matches!(self.read(end, id, 100_000), Ok(n) if n > 0) {}
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_happens_the_promises_hold(
        steps in proptest::collection::vec((op(), fate()), 1..120),
        seed: [u8; 32],
        (manual, pings, open) in any::<(bool, bool, bool)>(),
        detached in prop_oneof![Just(&[][..]), Just(&End::BOTH[..1]), Just(&End::BOTH[..])],
        max in prop_oneof![60usize..300, 300usize..100_000],
        latency in prop_oneof![Just(0u64), 0u64..1_000],
    ) {
        let mut config = PairConfig {
            cuts: Cuts::Random { seed: crate::Seed::from_bytes(seed), max },
            latency: Duration::from_millis(latency),
            detached,
            ..echo_pair()
        };
        for config in [&mut config.dialer, &mut config.listener] {
            Arc::make_mut(&mut config.yamux).keep_alive = pings.then(Default::default);
            Arc::make_mut(&mut config.yamux).max_streams = 5;
        }
        if manual && !open {
            config.listener.admission = Admission::Manual;
        }
        let mut world = World::new(config, open);
        for ((end, op), fate) in &steps {
            let op = match op {
                Op::Write { pick, len } => Op::Write { pick: *pick, len: (*len).min(max * 500) },
                op => op.clone(),
            };
            world.apply(*end, &op);
            world.suffer(*end, fate);
            for end in End::BOTH {
                world.handle_events(end);
            }
            world.check();
        }
        world.wind_up();
    }
}
