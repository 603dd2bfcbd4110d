//! What a connection tells the node that it belongs to, and hears from it.

use alloc::boxed::Box;

use super::{Connection, phase::Phase};
use crate::{
    Instant,
    link::{ConnectionMessage, NodeMessage, Query, Report, ToConnection, ToNode},
};

/// How far a connection that belongs to a node has told of its life. It only moves forwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
enum Told {
    #[default]
    Nothing,
    Secured,
    Opened,
    Ready,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Reporting {
    told: Told,
    /// A question of the node that is not answered yet.
    query: Option<Query>,
    /// Frames that had come when the query did; `None` if the peer cannot be asked for one.
    frames_before: Option<u64>,
    /// The last probe that was answered.
    probe: u32,
}

impl Connection {
    /// Takes a message of the node to which the connection belongs. Without a node it does nothing.
    pub fn handle_node(&mut self, now: Instant, message: ToConnection) {
        self.advance(now);
        if self.reporting.is_none() {
            return;
        }
        match message.0 {
            ConnectionMessage::Admission(Ok(())) => self.admit(now),
            ConnectionMessage::Admission(Err(reason)) => self.deny(now, reason),
            ConnectionMessage::Policy(protocols) => self.serve(protocols),
            ConnectionMessage::Query(query) => self.query(query),
            ConnectionMessage::Retire { code } => self.retire(now, code),
            ConnectionMessage::Close { code } => self.close(now, code),
            ConnectionMessage::Retired => {}
        }
    }

    /// The next message for the node to which the connection belongs. Ask after any call, as for events; none
    /// follows the one that [is the last](ToNode::is_last).
    #[must_use]
    pub fn poll_node(&mut self) -> Option<ToNode> {
        let told = self.reporting.as_ref()?.told;
        let is_closed = self.is_closed();
        let (next, message) = match told {
            Told::Closed => return None,
            _ if is_closed => {
                let reason = self.close_reason().cloned()?;
                (Told::Closed, NodeMessage::Closed { reason, last: Box::new(self.report()) })
            }
            Told::Nothing => (Told::Secured, NodeMessage::Secured { peer: self.peer()? }),
            Told::Secured | Told::Opened if self.is_ready() => (Told::Ready, NodeMessage::Opened { is_ready: true }),
            Told::Secured if matches!(self.phase, Phase::Open(_)) => {
                (Told::Opened, NodeMessage::Opened { is_ready: false })
            }
            Told::Secured | Told::Opened | Told::Ready => {
                self.answer_query()?;
                (told, NodeMessage::Report(Box::new(self.report())))
            }
        };
        self.reporting.as_mut()?.told = next;
        Some(ToNode(message))
    }

    /// Whether [`poll_node`](Self::poll_node) has a message. Costs little: a driver asks after every call.
    pub fn wants_node(&self) -> bool {
        let Some(reporting) = &self.reporting else { return false };
        match reporting.told {
            Told::Closed => false,
            _ if self.is_closed() => self.reason.is_some(),
            Told::Nothing => self.peer().is_some(),
            Told::Secured if matches!(self.phase, Phase::Open(_)) => true,
            Told::Secured | Told::Opened if self.is_ready() => true,
            Told::Secured | Told::Opened | Told::Ready => self.has_answer(),
        }
    }

    fn query(&mut self, query: Query) {
        let frames_before = self.frames_received();
        let can_probe = match &mut self.phase {
            Phase::Open(streams) => streams.session.probe(),
            _ => false,
        };
        let Some(reporting) = &mut self.reporting else { return };
        reporting.query = Some(query);
        // Without pings nothing can be said of a peer that is silent, so it counts as heard.
        reporting.frames_before = can_probe.then_some(frames_before);
    }

    /// The query is over, if it can be answered now.
    fn answer_query(&mut self) -> Option<()> {
        if !self.has_answer() {
            return None;
        }
        let reporting = self.reporting.as_mut()?;
        let Query::Probe(probe) = reporting.query.take()?;
        reporting.probe = probe;
        Some(())
    }

    fn has_answer(&self) -> bool {
        let Some(reporting) = self.reporting.as_ref().filter(|reporting| reporting.query.is_some()) else {
            return false;
        };
        reporting.frames_before.is_none_or(|before| self.frames_received() > before)
    }

    fn frames_received(&self) -> u64 {
        self.streams().map_or(0, |streams| streams.session.stats().frames_received)
    }

    fn report(&self) -> Report {
        let probe = self.reporting.as_ref().map_or(0, |reporting| reporting.probe);
        Report { stats: self.stats(), rtt: self.rtt(), probe }
    }
}
