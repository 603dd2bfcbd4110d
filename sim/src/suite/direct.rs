//! Scenarios of nodes that are driven directly, as an event loop drives them.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    Crypto, Failed, Menu, Run, Scenario,
    plan::FaultKind::{DialRefused, Duplicate, Fin, Flip, Insert, Partition, Reset, Stall, Truncate},
    scenarios::{
        idle::{Crowd, Options as CrowdOptions},
        pair::{Options, Pair},
    },
};

/// How long the two may take to have a connection again, and a whole round on it: what they have is silent until the
/// write stalls, an effort has just begun in vain, the longest backoff passes, and another effort ends well.
const RECOVERY: Duration = Duration::from_secs(120);
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
        let options = Options {
            streams: 1 + (luck.next_u64() % 4) as usize,
            bytes: 1 + ((luck.next_u64() % 100_000) >> (luck.next_u64() % 8)),
            provider: run.plan.crypto.provider(),
            is_checked: true,
        };
        run.simulation.set_max_steps(100_000_000);
        let pair = Pair::start(&run.simulation, &options);
        run.chaos()?;
        let (before, finished) = (pair.rounds(), pair.finished());
        run.comes("transfers are whole", RECOVERY, || {
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
        run.comes("no task outlives its node", Duration::from_secs(60), || match run.simulation.live_tasks().len() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        })
    }
}
