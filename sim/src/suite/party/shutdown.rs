//! The end of all nodes, behind which nothing is left.

use std::{sync::atomic::Ordering, time::Duration};

use septa_core::PeerId;
use septa_driver::Node;

use super::{LAST_KEYS, Party, lock};
use crate::{
    Failed,
    suite::{
        exchange::{self, EXCHANGE},
        waiting::within,
    },
};

/// How long a node may take to shut down.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// Bytes that a node writes just before it shuts down: some records.
const LAST_WORDS: usize = 40_000;

impl Party<'_> {
    /// All shut down and nothing is left.
    pub(in crate::suite) fn shut_down(&self) -> Result<(), Failed> {
        self.shared.is_well.store(false, Ordering::Relaxed);
        let nodes: Vec<Node> = (0..self.hosts.len()).filter_map(|place| self.node(place)).collect();
        for (place, node) in nodes.iter().enumerate() {
            let listener = self.pairs().find(|(one, other)| *one == place && *other > place);
            match listener.and_then(|(_, other)| self.node(other)) {
                Some(listener) => self.shut_down_speaking(node, &listener.peer_id(), LAST_KEYS | place as u64)?,
                None => self.shut_down_in_time(node)?,
            }
        }
        let tasks = || self.hosts.iter().map(|host| self.run.simulation.tasks_of(*host)).sum::<usize>();
        self.run.comes("no task outlives its node", Duration::from_secs(60), || match tasks() {
            0 => Ok(()),
            _ => Err(self.run.simulation.live_tasks().join(", ")),
        })?;
        for node in &nodes {
            let stats = node.stats();
            let places = [stats.connections, stats.inbound, stats.pending_inbound, stats.dialing, stats.queued];
            if node.live_tasks() != 0 || places != [0; 5] {
                let why = format!("{} has {stats:?}", node.peer_id());
                return Err(Failed::Unmet { wish: "a node that was shut down holds nothing".to_owned(), why });
            }
        }
        self.memory_returns("all memory is given back in the end", false)
    }

    fn shut_down_in_time(&self, node: &Node) -> Result<(), Failed> {
        let shutdown = within(&**node.runtime(), 2 * SHUTDOWN, node.shutdown(SHUTDOWN));
        match self.run.simulation.block_on(shutdown)? {
            Some(()) => Ok(()),
            None => {
                let why = format!("{} has {:?}", node.peer_id(), node.stats());
                Err(Failed::Unmet { wish: "a shutdown ends in time".to_owned(), why })
            }
        }
    }

    /// Shuts a node down that has just written something, which arrives nevertheless.
    fn shut_down_speaking(&self, node: &Node, listener: &PeerId, key: u64) -> Result<(), Failed> {
        let speak = async {
            let mut stream = node.open_stream(listener, &[EXCHANGE]).await.ok()?;
            stream.negotiated().await.ok()?;
            // Before the task of the connection has its turn.
            exchange::write(&mut stream, key, LAST_WORDS).await.ok()?;
            within(&**node.runtime(), 2 * SHUTDOWN, node.shutdown(SHUTDOWN)).await
        };
        let wish = "what is written before a shutdown arrives";
        if self.run.simulation.block_on(speak)?.is_none() {
            let why = format!("{} could not write to {listener} and shut down", node.peer_id());
            return Err(Failed::Unmet { wish: wish.to_owned(), why });
        }
        self.run.comes(wish, Duration::from_secs(10), || match lock(&self.shared.arrived).contains(&key) {
            true => Ok(()),
            false => Err(format!("{listener} has not heard all of {}", node.peer_id())),
        })
    }
}
