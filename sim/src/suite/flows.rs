//! What was sent on channels, and whether what comes can be.

use std::collections::{BTreeMap, BTreeSet};

use septa_core::{PeerId, channel::Epoch};

use super::label::Label;
use crate::Referee;

const CONTENT: &str = "a message arrives as it was sent, from whom it was sent, where it was sent to";
const ORDER: &str = "messages arrive at most once and in order";
const GAPS: &str = "within one epoch no message is missing";
const CANCELLED: &str = "what was not sent does not arrive";
const LOST: &str = "a loss is told once for each connection, and something is lost";

/// Which life of which node sends to whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FlowId {
    pub(super) place: u32,
    pub(super) life: u32,
    pub(super) to: PeerId,
}

/// All flows of a run.
#[derive(Debug, Default)]
pub(super) struct Flows(BTreeMap<FlowId, Flow>);

/// What one life of a node has sent to one peer.
#[derive(Debug)]
pub(super) struct Flow {
    from: PeerId,
    /// By number.
    fates: Vec<Fate>,
    /// The number behind that which came last.
    next: usize,
    /// The life of the receiver and the epoch in which it came.
    epoch: Option<(u32, Epoch)>,
    /// Those before.
    past: BTreeSet<(u32, Epoch)>,
    pub(super) received: u64,
    /// The connections on which a loss was told.
    lost: BTreeSet<Epoch>,
}

/// What became of a message, as its sender sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Pending,
    Sent,
    NotSent,
}

impl Flows {
    /// Takes the next number.
    pub(super) fn begin(&mut self, id: FlowId, from: PeerId) -> usize {
        let flow = self.0.entry(id).or_insert_with(|| Flow::new(from));
        flow.fates.push(Fate::Pending);
        flow.fates.len() - 1
    }

    /// The sender has said that it takes the message, or not.
    pub(super) fn end(&mut self, id: FlowId, number: usize, is_sent: bool) {
        let place = self.0.get_mut(&id).and_then(|flow| flow.fates.get_mut(number));
        place.into_iter().for_each(|place| *place = if is_sent { Fate::Sent } else { Fate::NotSent });
    }

    /// A message came to `to`, which lives for the `life`-th time. True if others of its flow came on another connection.
    pub(super) fn receive(
        &mut self,
        (to, life): (PeerId, u32),
        from: PeerId,
        epoch: Epoch,
        body: &[u8],
        referee: &Referee,
    ) -> bool {
        let Some((id, number)) = read(body, to) else {
            referee.blame(CONTENT, format!("{} bytes from {from} to {to}", body.len()));
            return false;
        };
        let Some(flow) = self.0.get_mut(&id).filter(|flow| flow.from == from && number < flow.fates.len()) else {
            referee.blame(CONTENT, format!("number {number} of {id:?} came from {from}"));
            return false;
        };
        let is_new = flow.epoch.is_some_and(|before| before != (life, epoch));
        if let Err((invariant, why)) = flow.receive(number, (life, epoch)) {
            referee.blame(invariant, format!("number {number} of {id:?} in epoch {epoch}: {why}"));
        }
        is_new
    }

    /// The sender was told that a message is lost.
    pub(super) fn lose(&mut self, id: FlowId, epoch: Epoch, referee: &Referee) {
        let Some(flow) = self.0.get_mut(&id) else {
            return referee.blame(LOST, format!("{id:?}, of which nothing was sent"));
        };
        if !flow.lost.insert(epoch) {
            referee.blame(LOST, format!("{id:?} in epoch {epoch}, twice"));
        }
    }

    pub(super) fn of(&self, id: FlowId) -> Option<&Flow> {
        self.0.get(&id)
    }

    /// How many messages one life of a node has sent, and how many losses it was told of.
    pub(super) fn sums(&self, place: u32, life: u32) -> (u64, u64) {
        let flows = self.0.iter().filter(|(id, _)| (id.place, id.life) == (place, life));
        flows.fold((0, 0), |(sent, lost), (_, flow)| (sent + flow.sent(), lost + flow.lost.len() as u64))
    }
}

impl Flow {
    fn new(from: PeerId) -> Self {
        Self {
            from,
            fates: Vec::new(),
            next: 0,
            epoch: None,
            past: BTreeSet::new(),
            received: 0,
            lost: BTreeSet::new(),
        }
    }

    fn receive(&mut self, number: usize, epoch: (u32, Epoch)) -> Result<(), (&'static str, String)> {
        if self.fates[number] != Fate::Sent {
            return Err((CANCELLED, format!("it is {:?}", self.fates[number])));
        }
        if number < self.next {
            return Err((ORDER, format!("{} had come", self.next - 1)));
        }
        let passed = &self.fates[self.next..number];
        if passed.contains(&Fate::Pending) {
            return Err((ORDER, "one that began to wait before it still does".to_owned()));
        }
        let missing = passed.iter().filter(|fate| **fate == Fate::Sent).count();
        match self.epoch.replace(epoch) {
            Some(before) if before == epoch && missing > 0 => {
                return Err((GAPS, format!("{missing} are missing behind {}", self.next)));
            }
            // Of two connections that were made at once the older one may be the one that stays. But none comes back.
            Some(before) if before != epoch && (!self.past.insert(before) || self.past.contains(&epoch)) => {
                return Err((ORDER, format!("epoch {} had begun", before.1)));
            }
            _ => {}
        }
        self.next = number + 1;
        self.received += 1;
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.fates.iter().filter(|fate| **fate == Fate::Sent).count() as u64
    }

    /// Nothing is under way, what was sent last has come, and no more losses were told than there are.
    pub(super) fn is_at_rest(&self) -> Result<(), String> {
        if self.fates.contains(&Fate::Pending) {
            return Err("somebody still sends".to_owned());
        }
        let last = self.fates.iter().rposition(|fate| *fate == Fate::Sent);
        if last.is_some_and(|last| last + 1 != self.next) {
            return Err(format!("{last:?} was sent last, and came as far as {}", self.next));
        }
        match self.sent().checked_sub(self.received) {
            Some(missing) if self.lost.len() as u64 <= missing => Ok(()),
            _ => Err(format!("{} sent, {} received, {} lost", self.sent(), self.received, self.lost.len())),
        }
    }
}

/// A message of this length, or a little longer if it must be.
pub(super) fn write(id: FlowId, number: usize, length: usize) -> Vec<u8> {
    Label { place: id.place, life: id.life, number: number as u64 }.write(length)
}

fn read(body: &[u8], to: PeerId) -> Option<(FlowId, usize)> {
    let Label { place, life, number } = Label::read(body)?;
    Some((FlowId { place, life, to }, usize::try_from(number).ok()?))
}
