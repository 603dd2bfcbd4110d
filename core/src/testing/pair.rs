//! Two connections joined by an in-memory transport in virtual time.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec, vec::Vec};
use core::time::Duration;

use super::credentials_with;
use crate::{
    Connection, ExpectedPeer, Instant, Link, Seed,
    connection::{Config, Event, MIN_TRANSMIT, NoRoom, RecordOpener, RecordSealer, TRANSMIT_BUFFER},
    crypto::{Provider, RustCrypto},
    seed::SeedStream,
};

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The dialing end.
    Dialer,
    /// The listening end.
    Listener,
}

impl End {
    /// Both ends, the dialer first.
    pub const BOTH: [Self; 2] = [Self::Dialer, Self::Listener];

    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

/// How the transport cuts the byte stream: the room of one
/// [`poll_transmit`](Connection::poll_transmit), at least [`MIN_TRANSMIT`], and what one read returns.
#[derive(Debug)]
pub enum Cuts {
    /// Everything at once.
    Whole,
    /// At most this many bytes at a time.
    Every(usize),
    /// Between 1 and `max` bytes at a time, drawn from the seed.
    Random {
        /// Where the sizes come from.
        seed: Seed,
        /// Longest piece in bytes.
        max: usize,
    },
}

enum Cutter {
    Whole,
    Every(usize),
    Random(Box<SeedStream>, usize),
}

impl Cutter {
    fn next(&mut self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Every(max) => (*max).max(1),
            Self::Random(stream, max) => {
                let max = u64::try_from(*max).unwrap_or(u64::MAX).max(1);
                usize::try_from(stream.next_u64().checked_rem(max).unwrap_or(0)).unwrap_or(0).saturating_add(1)
            }
        }
    }
}

/// What a [`Pair`] is made of.
#[derive(Debug)]
pub struct PairConfig {
    /// Limits of the dialing end.
    pub dialer: Config,
    /// Limits of the listening end.
    pub listener: Config,
    /// Travel time of every byte.
    pub latency: Duration,
    /// How the transport cuts.
    pub cuts: Cuts,
    /// Where both ends' randomness comes from.
    pub seed: Seed,
    /// The ends whose record side works beside the connection, as soon as it can be detached.
    pub detached: &'static [End],
    /// The cryptography of both ends.
    pub provider: Arc<dyn Provider>,
}

impl Default for PairConfig {
    fn default() -> Self {
        Self {
            dialer: Config::default(),
            listener: Config::default(),
            latency: Duration::ZERO,
            cuts: Cuts::Whole,
            seed: Seed::from_bytes([9; 32]),
            detached: &[],
            provider: Arc::new(RustCrypto),
        }
    }
}

/// One end of a [`Pair`] and what is on its way to it.
#[derive(Debug)]
pub struct Side {
    /// The connection; call it as an application would.
    pub connection: Connection,
    /// Events in the order they came, until a test takes them.
    pub events: VecDeque<Event>,
    inbox: VecDeque<(Instant, Arrival)>,
    shut_down: bool,
    detach: bool,
    records: Option<(RecordSealer, RecordOpener)>,
}

impl Side {
    fn poll_transmit<'o>(&mut self, now: Instant, out: &'o mut [u8]) -> &'o [u8] {
        if self.detach && self.records.is_none() {
            self.records = self.connection.detach_records();
        }
        if let Some((sealer, _)) = &mut self.records {
            let framed = self.connection.poll_frames(now, out).unwrap_or_default();
            return sealer.seal(framed).unwrap_or_default();
        }
        let n = self.connection.poll_transmit(now, out).unwrap_or_default();
        out.get(..n).unwrap_or_default()
    }

    /// How many bytes the connection or its record side takes now.
    fn recv_room(&self) -> usize {
        if self.records.is_some() { TRANSMIT_BUFFER } else { self.connection.recv_room() }
    }

    fn handle_recv(&mut self, now: Instant, data: &mut [u8]) -> Result<(), NoRoom> {
        match &mut self.records {
            Some((_, opener)) => {
                self.connection.handle_opened(now, &opener.open(data));
                Ok(())
            }
            None => self.connection.handle_recv(now, data),
        }
    }
}

#[derive(Debug)]
enum Arrival {
    Bytes(Vec<u8>),
    Eof,
}

/// Two connections, joined by a lossless transport with latency and cuts, in virtual time.
///
/// Every run with the same configuration and the same calls is the same run.
pub struct Pair {
    /// The dialing end.
    pub dialer: Side,
    /// The listening end.
    pub listener: Side,
    /// The time at both ends.
    pub now: Instant,
    latency: Duration,
    cutter: Cutter,
    scratch: Vec<u8>,
}

impl Pair {
    /// Two ends that have not said a word yet: identity 1 dials identity 2.
    pub fn new(config: PairConfig) -> Self {
        let PairConfig { dialer, listener, latency, cuts, mut seed, detached, provider } = config;
        let now = Instant::EPOCH.saturating_add(Duration::from_secs(1));
        let [ours, theirs] = [1, 2].map(|number| credentials_with(number, provider.clone()));
        let link = Link::dialer(ExpectedPeer::Exactly(theirs.peer_id()), seed.child("dialer"));
        let dialer = Connection::new(link, Arc::new(dialer), ours, now);
        let link = Link::listener(seed.child("listener"));
        let listener = Connection::new(link, Arc::new(listener), theirs, now);
        let mut pair = Self::join(dialer, listener, now, latency, cuts);
        for end in detached {
            pair.side(*end).detach = true;
        }
        pair
    }

    /// Joins two connections that were made at `now`.
    pub fn join(dialer: Connection, listener: Connection, now: Instant, latency: Duration, cuts: Cuts) -> Self {
        let cutter = match cuts {
            Cuts::Whole => Cutter::Whole,
            Cuts::Every(max) => Cutter::Every(max),
            Cuts::Random { mut seed, max } => Cutter::Random(Box::new(seed.public_stream()), max),
        };
        let side = |connection| Side {
            connection,
            events: VecDeque::new(),
            inbox: VecDeque::new(),
            shut_down: false,
            detach: false,
            records: None,
        };
        let scratch = vec![0; TRANSMIT_BUFFER];
        Self { dialer: side(dialer), listener: side(listener), now, latency, cutter, scratch }
    }

    /// A pair that is open at both ends, with the events up to there taken.
    pub fn open(config: PairConfig) -> Self {
        let mut pair = Self::new(config);
        pair.run_until(|pair| pair.dialer.connection.is_open() && pair.listener.connection.is_open());
        for end in End::BOTH {
            pair.side(end).events.clear();
        }
        pair
    }

    /// One end.
    pub fn side(&mut self, end: End) -> &mut Side {
        match end {
            End::Dialer => &mut self.dialer,
            End::Listener => &mut self.listener,
        }
    }

    /// One end's connection.
    pub fn connection(&mut self, end: End) -> &mut Connection {
        &mut self.side(end).connection
    }

    /// Moves bytes and collects events until nothing moves at this instant.
    pub fn settle(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for end in End::BOTH {
                moved |= self.transmit(end);
                moved |= self.deliver(end.other());
            }
        }
    }

    /// Settles, then moves time to the next arrival or timer and tells both ends. False if neither is
    /// left.
    pub fn step(&mut self) -> bool {
        self.settle();
        let Some(next) = self.next_instant() else { return false };
        self.now = self.now.max(next);
        for end in End::BOTH {
            let now = self.now;
            self.connection(end).handle_timeout(now);
        }
        self.settle();
        true
    }

    /// Steps until `done`; false if that did not happen within 100,000 steps or nothing was left to do.
    pub fn run_until(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        self.settle();
        for _ in 0..100_000 {
            if done(self) {
                return true;
            }
            if !self.step() {
                return done(self);
            }
        }
        false
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now.saturating_add(duration);
        self.settle();
        while self.next_instant().is_some_and(|next| next <= end) && self.step() {}
        self.now = end;
        self.settle();
    }

    /// Bytes on the way to `end`, which a test may look at or change.
    pub fn in_flight(&mut self, end: End) -> impl Iterator<Item = &mut Vec<u8>> {
        self.side(end).inbox.iter_mut().filter_map(|(_, arrival)| match arrival {
            Arrival::Bytes(bytes) => Some(bytes),
            Arrival::Eof => None,
        })
    }

    /// Hands out what `end` has to send, without delivering anything.
    pub fn transmit(&mut self, end: End) -> bool {
        let (now, latency) = (self.now, self.latency);
        let arrival = now.saturating_add(latency);
        let cutter = &mut self.cutter;
        let side = match end {
            End::Dialer => &mut self.dialer,
            End::Listener => &mut self.listener,
        };
        let mut sent = VecDeque::new();
        while side.connection.wants_transmit() {
            let room = cutter.next().clamp(MIN_TRANSMIT, TRANSMIT_BUFFER);
            let Some(buffer) = self.scratch.get_mut(..room) else { break };
            let bytes = side.poll_transmit(now, buffer);
            assert!(!bytes.is_empty(), "a connection that wants to transmit has something to transmit");
            sent.push_back((arrival, Arrival::Bytes(bytes.to_vec())));
        }
        let bytes = side.poll_transmit(now, &mut self.scratch);
        assert!(bytes.is_empty(), "a connection that has something to transmit says so");
        let over = side.connection.wants_shutdown() || side.connection.is_closed();
        if over && !core::mem::replace(&mut side.shut_down, true) {
            sent.push_back((arrival, Arrival::Eof));
        }
        while let Some(event) = side.connection.poll_event() {
            side.events.push_back(event);
        }
        let moved = !sent.is_empty();
        self.side(end.other()).inbox.append(&mut sent);
        moved
    }

    /// Delivers to `end` what has arrived, cut as configured.
    pub fn deliver(&mut self, end: End) -> bool {
        let now = self.now;
        let mut moved = false;
        loop {
            let piece = self.cutter.next();
            let side = self.side(end);
            let room = side.recv_room();
            let Some((arrives, arrival)) = side.inbox.front_mut() else { break };
            if *arrives > now || (room == 0 && !side.connection.is_closed()) {
                break;
            }
            match arrival {
                Arrival::Eof => {
                    side.inbox.pop_front();
                    side.connection.handle_recv_eof(now);
                }
                Arrival::Bytes(bytes) => {
                    let len = piece.min(room).min(bytes.len());
                    let mut head: Vec<u8> = bytes.drain(..len).collect();
                    if bytes.is_empty() {
                        side.inbox.pop_front();
                    }
                    if !side.connection.is_closed() && side.handle_recv(now, &mut head).is_err() {
                        break;
                    }
                }
            }
            moved = true;
            while let Some(event) = side.connection.poll_event() {
                side.events.push_back(event);
            }
        }
        moved
    }

    fn next_instant(&self) -> Option<Instant> {
        let sides = [&self.dialer, &self.listener];
        sides
            .into_iter()
            .flat_map(|side| {
                let arrival = side.inbox.front().map(|(arrives, _)| *arrives).filter(|arrives| *arrives > self.now);
                [arrival, side.connection.poll_timeout()]
            })
            .flatten()
            .min()
    }
}
