//! Scenarios of nodes that are driven directly, as an event loop drives them.

use std::{num::NonZeroU32, time::Duration};

use septa_core::yamux::MemoryPool;

use crate::{
    Crypto, Cut, Failed, LinkOptions, Menu, Run, Scenario,
    plan::FaultKind::{DialRefused, Duplicate, Fin, Flip, Insert, Partition, Reset, Stall, Truncate},
    scenarios::{
        idle::{Crowd, Options as CrowdOptions},
        pair::{Options, Pair},
    },
};

/// How long the two may take to have a connection again, and a whole round on it: what they have is silent until the
/// write stalls, an effort has just begun in vain, the longest backoff passes, and another effort ends well.
const RECOVERY: Duration = Duration::from_secs(120);
/// Bytes of all streams in some seeds, and of one stream in the others.
const MANY: u64 = 1_200_000;
const FEW: u64 = 100_000;
/// Rounds of which the ends of two are waited for, and one is under way.
const ROUNDS: u64 = 3;
/// The bytes in a second that the worst link carries each way, records and waits for credit included.
const LEAST_RATE: u64 = 50_000;
const DIALER: NonZeroU32 = NonZeroU32::MIN;
const LISTENER: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// Two nodes that move bytes both ways over one connection, of which every one is compared.
pub(super) struct Transfer;

impl Scenario for Transfer {
    fn name(&self) -> &str {
        "pair"
    }

    fn nodes(&self) -> u32 {
        2
    }

    fn menu(&self, _nodes: u32) -> Menu {
        Menu {
            length: Duration::from_secs(20),
            faults: vec![Flip, Truncate, Duplicate, Insert, Reset, Fin, Stall, Partition, DialRefused],
            most: 4,
            pairs: vec![(DIALER, LISTENER)],
            // Only the listener is dialed.
            hosts: vec![LISTENER],
            links: true,
            crypto: None,
        }
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let mut luck = run.simulation.draw_seed("pair").public_stream();
        let mut options = Options {
            streams: 1 + (luck.next_u64() % 4) as usize,
            bytes: 1,
            provider: run.plan.crypto.provider(),
            is_checked: true,
        };
        // In one seed of four a stream carries more than its window, which must be granted again and again.
        let is_much = luck.next_u64().is_multiple_of(4) && !chops(run.plan.link);
        let most = if is_much { MANY / options.streams as u64 } else { FEW };
        options.bytes += (luck.next_u64() % most) >> (luck.next_u64() % if most > FEW { 2 } else { 8 });
        let in_all = options.streams as u64 * options.bytes;
        let recovery = RECOVERY + Duration::from_secs(ROUNDS * in_all / LEAST_RATE);
        run.simulation.set_max_steps(100_000_000);
        let pair = Pair::start(&run.simulation, &options);
        run.chaos()?;
        let (before, finished) = (pair.rounds(), pair.finished());
        run.comes("transfers are whole", recovery, || {
            let rounds = pair.rounds() - before;
            let [dialer, listener] = [0, 1].map(|end| (pair.finished()[end] - finished[end]) / options.streams as u64);
            match rounds.min(dialer).min(listener) {
                0 | 1 => Err(format!("{rounds} rounds, as far as the dialer sees, {listener} as the listener does")),
                _ => Ok(()),
            }
        })?;
        pair.end();
        run.comes("no task outlives its node", Duration::from_secs(60), || {
            match run.simulation.tasks_of(DIALER) + run.simulation.tasks_of(LISTENER) {
                0 => Ok(()),
                _ => Err(run.simulation.live_tasks().join(", ")),
            }
        })
    }
}

/// So much in pieces of some bytes would take minutes.
fn chops(link: LinkOptions) -> bool {
    [link.read_cut, link.write_cut].iter().any(|cut| match cut {
        Cut::Whole => false,
        Cut::Fixed(most) | Cut::Random(most) => *most < 64,
    })
}

/// Bytes that an end of an idle connection may hold on the average.
const IDLE: usize = 4 * 1024;

/// Peers that keep a connection to one of a few hubs, and mostly say nothing.
pub(super) struct IdlePeers;

impl Scenario for IdlePeers {
    fn name(&self) -> &str {
        "idle-peers"
    }

    fn nodes(&self) -> u32 {
        10_000
    }

    fn menu(&self, _nodes: u32) -> Menu {
        // Twenty thousand ends of handshakes with real ciphers take a minute.
        Menu { length: Duration::from_secs(60), crypto: Some(Crypto::Fast), ..Menu::calm() }
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let hubs = 1 + run.nodes as usize / 2500;
        let options = CrowdOptions {
            hubs,
            peers: (run.nodes as usize).saturating_sub(hubs),
            length: run.plan.heal,
            provider: run.plan.crypto.provider(),
            is_checked: true,
            memory: MemoryPool::default(),
        };
        let unmet = |wish: &str, why: String| Err(Failed::Unmet { wish: wish.to_owned(), why });
        if options.peers == 0 {
            return unmet("there are peers", format!("{} hosts are hubs", run.nodes));
        }
        run.simulation.set_max_steps(1_000_000_000);
        let crowd = Crowd::start(&run.simulation, &options);
        run.chaos()?;
        // Nobody was lost, which the peers themselves look at.
        match crowd.outcome().hellos {
            hellos if hellos == options.peers as u64 => {}
            hellos => return unmet("everybody says hello once", format!("{hellos} of {} have", options.peers)),
        }
        // What has come was taken, and no window is larger than at first.
        match (options.memory.used(), options.memory.lent()) {
            (0, 0) => {}
            (used, lent) => return unmet("idle memory returns", format!("{used} bytes are used, {lent} lent")),
        }
        run.comes("no task outlives its node", Duration::from_secs(60), || match run.simulation.live_tasks().len() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        })?;
        match (crowd.outcome().held, 2 * options.peers * IDLE) {
            (0, _) => unmet("idle connections are looked at", "none was".to_owned()),
            (held, most) if held > most => {
                unmet("idle connections hold little", format!("{held} bytes, and at most {most} are allowed"))
            }
            _ => Ok(()),
        }
    }
}
