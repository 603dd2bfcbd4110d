//! What may go wrong in a scenario, and what of it does for a seed.

use std::{num::NonZeroU32, time::Duration};

use septa_core::{Seed, SeedStream};

use crate::{
    Crypto, Cut, LinkOptions, Order,
    plan::{DialFault, Fault, FaultKind, Plan, Restart, Tamper, Timed},
};

/// What may go wrong. Each seed takes a part of it: two runs that each do half of everything find more than two that do
/// all of it a little (swarm testing).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Menu {
    /// How long faults may strike.
    pub length: Duration,
    /// The kinds of faults.
    pub faults: Vec<FaultKind>,
    /// Faults of one kind in a run, at most.
    pub most: u32,
    /// Who talks to whom: faults of the network strike there.
    pub pairs: Vec<(NonZeroU32, NonZeroU32)>,
    /// Hosts that may crash, whose clocks may go wrong, and so on.
    pub hosts: Vec<NonZeroU32>,
    /// Connections may be slow, narrow and cut into small pieces.
    pub links: bool,
    /// The ciphers of all runs; `None` if the seed says which, one in eight being real.
    pub crypto: Option<Crypto>,
}

/// What the worst link carries, in bytes a second.
const LEAST_BANDWIDTH: u64 = 100_000;
/// One run in so many uses real ciphers.
const REAL_CRYPTO: u64 = 8;

impl Menu {
    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            length: Duration::ZERO,
            faults: Vec::new(),
            most: 0,
            pairs: Vec::new(),
            hosts: Vec::new(),
            links: false,
            crypto: None,
        }
    }

    /// What goes wrong for this seed: the same each time.
    pub fn draw(&self, seed: u64) -> Plan {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut luck = Luck(Seed::from_bytes(bytes).child("plan").public_stream());
        let mut plan = Plan { heal: self.length, ..Plan::calm(seed) };
        plan.order = if luck.one_in(4) { Order::Fifo } else { Order::Seeded };
        let of_seed = if seed.is_multiple_of(REAL_CRYPTO) { Crypto::Real } else { Crypto::Fast };
        plan.crypto = self.crypto.unwrap_or(of_seed);
        if self.links {
            plan.link = luck.link();
        }
        for kind in &self.faults {
            if luck.one_in(2) {
                for _ in 0..=luck.below(self.most.max(1).into()) {
                    self.add(*kind, &mut plan, &mut luck);
                }
            }
        }
        plan.faults.sort_by_key(|timed| timed.at);
        plan
    }

    fn add(&self, kind: FaultKind, plan: &mut Plan, luck: &mut Luck) {
        let Some(fault) = self.fault(kind, luck) else { return };
        let at = luck.duration_below(self.length * 3 / 4);
        let length = if fault.lasts() { luck.length(self.length / 4) } else { Duration::ZERO };
        match fault {
            // Nobody dials who is connected. So the host loses a connection first, and the others have time to come back.
            Fault::Dial { to, .. } => {
                let is_of_host = |(one, other): &&(NonZeroU32, NonZeroU32)| *one == to || *other == to;
                if let Some((one, other)) = self.pairs.iter().find(is_of_host).copied() {
                    plan.faults.push(Timed {
                        at,
                        length: Duration::ZERO,
                        fault: Fault::Reset { one, other, after: 0 },
                    });
                }
                plan.faults.push(Timed { at, length: length.max(self.length / 4), fault });
            }
            fault => plan.faults.push(Timed { at, length, fault }),
        }
    }

    /// `None` if there is nobody whom it could strike.
    fn fault(&self, kind: FaultKind, luck: &mut Luck) -> Option<Fault> {
        let pair = luck.choose(&self.pairs).copied();
        let direction = pair.map(|(one, other)| if luck.one_in(2) { (one, other) } else { (other, one) });
        let host = luck.choose(&self.hosts).copied();
        let (after, len) = (luck.size(1 << 16), u16::try_from(luck.size(1 << 12)).unwrap_or(1));
        let tamper = |how| direction.map(|(from, to)| Fault::Tamper { from, to, how, after });
        let dial = |how| host.map(|to| Fault::Dial { to, how });
        let restart = if luck.one_in(3) { Restart::New } else { Restart::Same };
        match kind {
            FaultKind::Stall => direction.map(|(from, to)| Fault::Stall { from, to }),
            FaultKind::Partition => pair.map(|(one, other)| Fault::Partition { one, other }),
            FaultKind::Reset => pair.map(|(one, other)| Fault::Reset { one, other, after }),
            FaultKind::Fin => direction.map(|(from, to)| Fault::Fin { from, to }),
            FaultKind::Flip => tamper(Tamper::Flip),
            FaultKind::Truncate => tamper(Tamper::Truncate(len)),
            FaultKind::Duplicate => tamper(Tamper::Duplicate(len)),
            FaultKind::Insert => tamper(Tamper::Insert(len)),
            FaultKind::DialRefused => dial(DialFault::Refused),
            FaultKind::DialUnreachable => dial(DialFault::Unreachable),
            FaultKind::DialHanging => dial(DialFault::Hanging),
            FaultKind::BacklogFull => dial(DialFault::BacklogFull),
            FaultKind::Nat => dial(DialFault::Nat),
            FaultKind::Crash => host.map(|host| Fault::Crash { host, restart }),
            FaultKind::TornStore => host.map(|host| Fault::TornStore { host, restart: Restart::Same }),
            FaultKind::ClockPause => host.map(|host| Fault::ClockPause { host }),
            FaultKind::CalendarJump => {
                let seconds = i64::try_from(luck.size(1 << 26)).unwrap_or(1);
                host.map(|host| Fault::CalendarJump { host, seconds: if luck.one_in(2) { seconds } else { -seconds } })
            }
            FaultKind::ClockDrift => {
                let ppm = i32::try_from(luck.size(1 << 19)).unwrap_or(1);
                host.map(|host| Fault::ClockDrift { host, ppm: if luck.one_in(2) { ppm } else { -ppm } })
            }
            FaultKind::LateTimers => {
                let by = luck.length(Duration::from_secs(1));
                host.map(|host| Fault::LateTimers { host, by })
            }
            FaultKind::SpuriousWakes => host.map(|host| Fault::SpuriousWakes { host }),
        }
    }
}

/// What is drawn.
struct Luck(SeedStream);

impl Luck {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn choose<'i, T>(&mut self, items: &'i [T]) -> Option<&'i T> {
        let index = self.below(items.len() as u64);
        items.get(usize::try_from(index).unwrap_or(0))
    }

    /// From 1 to `most`, small ones as often as large ones: each power of two is as likely as the next.
    fn size(&mut self, most: u64) -> u64 {
        let powers = u64::from(most.max(1).ilog2()) + 1;
        let power = 1 << self.below(powers);
        (power + self.below(power)).min(most)
    }

    fn duration_below(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(bound.as_micros()).unwrap_or(u64::MAX)))
    }

    /// From a millisecond on, short ones as often as long ones.
    fn length(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.size(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
    }

    /// One that is perfect now and then, and otherwise has some of all faults.
    fn link(&mut self) -> LinkOptions {
        let mut link = LinkOptions::default();
        if self.one_in(4) {
            return link;
        }
        if self.one_in(2) {
            link.capacity = usize::try_from(self.size(1 << 18)).unwrap_or(1).max(64);
        }
        if !self.one_in(3) {
            link.latency = self.length(Duration::from_millis(200));
        }
        if self.one_in(2) {
            link.jitter = self.length(Duration::from_millis(50));
        }
        if self.one_in(4) {
            link.bandwidth = Some(self.size(1 << 24).max(LEAST_BANDWIDTH));
        }
        // One direction carries no more than the capacity in each latency, with its jitter. Whoever shall come right again
        // needs some.
        let needed = (link.latency + link.jitter).as_micros() * u128::from(LEAST_BANDWIDTH) / 1_000_000;
        link.capacity = link.capacity.max(usize::try_from(needed).unwrap_or(usize::MAX));
        link.read_cut = self.cut();
        link.write_cut = self.cut();
        link
    }

    fn cut(&mut self) -> Cut {
        let size = usize::try_from(self.size(1 << 14)).unwrap_or(1);
        match self.below(4) {
            0 => Cut::Fixed(size),
            1 => Cut::Random(size),
            _ => Cut::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn host(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn menu() -> Menu {
        Menu {
            length: Duration::from_secs(60),
            faults: FaultKind::ALL.to_vec(),
            most: 3,
            pairs: vec![(host(1), host(2))],
            hosts: vec![host(1), host(2)],
            links: true,
            crypto: None,
        }
    }

    #[test]
    fn a_seed_takes_a_part_and_always_the_same_and_seeds_together_take_all() {
        let mut taken = BTreeSet::new();
        for seed in 0..50 {
            let plan = menu().draw(seed);
            assert_eq!(plan, menu().draw(seed));
            let kinds: BTreeSet<FaultKind> = plan.faults.iter().map(|timed| timed.fault.kind()).collect();
            assert!(kinds.len() < FaultKind::ALL.len());
            assert!(plan.faults.iter().all(|timed| timed.at < menu().length && timed.length <= menu().length / 4));
            taken.extend(kinds);
        }
        assert_eq!(taken, BTreeSet::from(FaultKind::ALL));
    }

    #[test]
    fn a_plan_that_was_drawn_can_be_written_and_read() {
        for seed in 0..50 {
            let plan = menu().draw(seed);
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
    }

    #[test]
    fn where_there_is_nobody_nothing_strikes() {
        let nobody = Menu { pairs: Vec::new(), hosts: Vec::new(), ..menu() };
        assert!((0..20).all(|seed| nobody.draw(seed).faults.is_empty()));
        assert_eq!(Menu::calm().draw(3).link, LinkOptions::default());
    }
}
