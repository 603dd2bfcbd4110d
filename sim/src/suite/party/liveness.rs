//! What must come to be so again when nothing goes wrong any more.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use septa_core::node::PeerState;
use septa_driver::node::PeerInfo;

use super::{ALONE_KEYS, Party, lock, other_end};
use crate::{
    Failed,
    suite::{
        exchange::{self, EXCHANGE},
        waiting::{sleep, within},
    },
};

/// Pings have gone both ways on each connection, and those that got no answer are over.
const PINGED: Duration = Duration::from_secs(40);
/// Bytes that are exchanged with nothing beside them, less than half a window, and how long that may take.
const ALONE: u64 = 60_000;
const ALONE_TAKES: Duration = Duration::from_secs(5);
/// How long everything rests in the end.
const REST: Duration = Duration::from_secs(60);

impl Party<'_> {
    /// Liveness: everything that [`come_together`](Self::come_together), [`come_to_rest`](Self::come_to_rest) and
    /// [`shut_down`](Self::shut_down) ask for.
    pub(in crate::suite) fn settle(&self) -> Result<(), Failed> {
        self.come_together()?;
        self.come_to_rest()?;
        self.shut_down()
    }

    /// Those that want each other come to have one connection, and exchanges over it end well.
    pub(in crate::suite) fn come_together(&self) -> Result<(), Failed> {
        self.shared.is_healed.store(true, Ordering::Relaxed);
        let bound = self.shared.options.reconnect_bound(self.shared.hides_ends, self.shared.hangs);
        self.run.comes("one connection to each wanted peer", bound, || self.all_are_settled())?;
        // What was on its way when the last fault ended has come.
        self.exchanges_end_well(bound)?;
        if self.shared.is_tampered {
            // What was changed and has not been looked at is found when the next ping comes.
            self.run.simulation.run_for(PINGED)?;
        } else if self.shared.hides_ends && self.shared.options.is_impatient() {
            // The answers that a fault has held up may have come too late.
            self.run.simulation.run_for(self.shared.options.found_silent())?;
        }
        self.run.comes("one connection to each wanted peer", bound, || self.all_are_settled())?;
        self.shared.is_well.store(true, Ordering::Relaxed);
        self.exchanges_end_well(bound)
    }

    fn exchanges_end_well(&self, bound: Duration) -> Result<(), Failed> {
        let options = &self.shared.options;
        let before = lock(&self.shared.finished).clone();
        self.run.comes("exchanges end well", bound + options.longest_exchange(options.exchange_bytes), || {
            let finished = lock(&self.shared.finished);
            match self.pairs().find(|pair| finished.get(pair) <= before.get(pair)) {
                Some((one, other)) => Err(format!("none from node {} to node {} has", one + 1, other + 1)),
                None => Ok(()),
            }
        })
    }

    /// Nobody begins anything any more, and what is under way ends.
    pub(in crate::suite) fn come_to_rest(&self) -> Result<(), Failed> {
        self.shared.is_quiet.store(true, Ordering::Relaxed);
        self.run.comes("all exchanges end", Duration::from_secs(60), || {
            match self.shared.under_way.load(Ordering::Relaxed) {
                0 => Ok(()),
                count => Err(format!("{count} are under way")),
            }
        })?;
        self.run.comes("all streams end", Duration::from_secs(60), || self.streams_are_over())?;
        self.run.comes("no connection is left that nobody wants", Duration::from_secs(60), || {
            self.nothing_else_is_left()
        })?;
        // Long enough for a forgotten timer to strike.
        self.run.simulation.run_for(REST)?;
        let left = self.nothing_else_is_left();
        left.map_err(|why| Failed::Unmet { wish: "no connection is made that nobody wants".to_owned(), why })?;
        self.all_are_settled()
            .map_err(|why| Failed::Unmet { wish: "one connection per peer after settling".to_owned(), why })?;
        self.memory_returns("idle memory returns", self.shared.options.lasting_streams > 0)?;
        self.exchange_alone()
    }

    /// No received bytes are held, and unless streams go on no window is larger than at first.
    pub(super) fn memory_returns(&self, wish: &str, may_be_lent: bool) -> Result<(), Failed> {
        let pool = &self.shared.options.connection.yamux.memory;
        self.run.comes(wish, Duration::from_secs(1), || match (pool.used(), pool.lent()) {
            (0, lent) if lent == 0 || may_be_lent => Ok(()),
            (used, lent) => Err(format!("{used} bytes are used, {lent} lent")),
        })
    }

    /// With nothing else that could wake anybody, exchanges take no longer than the links ask for.
    fn exchange_alone(&self) -> Result<(), Failed> {
        let wish = "an exchange with nothing beside it is quick";
        if !self.shared.options.pause.is_zero() {
            return Ok(());
        }
        for place in 0..self.hosts.len() {
            let Some((_, other)) = self.pairs().find(|(one, _)| *one == place) else { continue };
            let (Some(node), Some(peer)) = (self.node(place), self.node(other).map(|node| node.peer_id())) else {
                continue;
            };
            let exchange = async {
                let mut stream = node.open_stream(&peer, &[EXCHANGE]).await?;
                // The answer to the proposal would wake somebody, too.
                stream.negotiated().await?;
                sleep(&**node.runtime(), Duration::from_secs(1)).await;
                exchange::send(&mut stream, ALONE_KEYS | place as u64, ALONE, &self.shared.referee).await
            };
            let outcome = self.run.simulation.block_on(within(&**node.runtime(), ALONE_TAKES, exchange))?;
            let why = match outcome {
                Some(Ok(())) => continue,
                Some(Err(error)) => error.to_string(),
                None => format!("it takes longer than {ALONE_TAKES:?}"),
            };
            let why = format!("{ALONE} bytes from {} to {peer}: {why}", node.peer_id());
            return Err(Failed::Unmet { wish: wish.to_owned(), why });
        }
        Ok(())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        self.shared.options.wishes.iter().copied()
    }

    fn all_are_settled(&self) -> Result<(), String> {
        self.pairs().try_for_each(|pair| self.is_settled(pair))
    }

    /// Both ends have one connection, and it is the same.
    fn is_settled(&self, (one, other): (usize, usize)) -> Result<(), String> {
        let names = format!("nodes {} and {}", one + 1, other + 1);
        let (Some(a), Some(b)) = (self.node(one), self.node(other)) else {
            return Err(format!("{names}: one is down"));
        };
        let ends = [(&a, b.peer_id()), (&b, a.peer_id())].map(|(node, peer)| {
            let info = node.peer_info(&peer).ok_or_else(|| format!("{names}: unknown"))?;
            match info {
                PeerInfo { state: PeerState::Established, ref connections, .. } if connections.len() == 1 => Ok(info),
                PeerInfo { state, connections, .. } => {
                    Err(format!("{names}: {state:?}, {} connections", connections.len()))
                }
            }
        });
        let [a, b] = ends;
        let (a, b) = (a?, b?);
        let (a, b) = (&a.connections[0], &b.connections[0]);
        if (&a.local, &a.remote) == (&b.remote, &b.local) { Ok(()) } else { Err(format!("{names}: two connections")) }
    }

    /// Each node has a connection to each of its partners and guests, and makes no other one.
    fn nothing_else_is_left(&self) -> Result<(), String> {
        for (place, node) in (0..self.hosts.len()).filter_map(|place| Some((place, self.node(place)?))) {
            let partners: BTreeSet<usize> = self.pairs().filter_map(|pair| other_end(pair, place)).collect();
            let (stats, wanted) = (node.stats(), partners.len() + self.shared.options.guests);
            if (stats.connections, stats.pending_inbound, stats.dialing) != (wanted, 0, 0) {
                return Err(format!("node {} has {} connections of {wanted}: {stats:?}", place + 1, stats.connections));
            }
        }
        Ok(())
    }

    fn streams_are_over(&self) -> Result<(), String> {
        for node in (0..self.hosts.len()).filter_map(|place| self.node(place)) {
            for peer in node.known_peers() {
                let streams = node.connection(&peer).map_or(0, |connection| connection.stats().streams);
                // Ping keeps one open now and then, identify another.
                if streams > 2 + self.shared.options.lasting_streams {
                    return Err(format!("{} has {streams} streams to {peer}", node.peer_id()));
                }
            }
        }
        Ok(())
    }
}
