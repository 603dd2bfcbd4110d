//! What was sent on channels, and whether what comes can be.

use std::collections::{BTreeMap, BTreeSet};

use septa_core::{PeerId, channel::Epoch};

use super::label::Label;
use crate::Referee;

const CONTENT: &str = "a message arrives as it was sent, from whom it was sent, where it was sent to";
const ORDER: &str = "messages arrive at most once, and in order within one epoch";
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
    /// The number behind the highest that has come.
    next: usize,
    /// The numbers of the first and of the last that have come in each epoch of each life of the receiver.
    spans: BTreeMap<(u32, Epoch), (usize, usize)>,
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
        let is_new = !flow.spans.is_empty() && !flow.spans.contains_key(&(life, epoch));
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
        Self { from, fates: Vec::new(), next: 0, spans: BTreeMap::new(), received: 0, lost: BTreeSet::new() }
    }

    fn receive(&mut self, number: usize, epoch: (u32, Epoch)) -> Result<(), (&'static str, String)> {
        if self.fates[number] != Fate::Sent {
            return Err((CANCELLED, format!("it is {:?}", self.fates[number])));
        }
        if self.fates[self.next.min(number)..number].contains(&Fate::Pending) {
            return Err((ORDER, "one that began to wait before it still does".to_owned()));
        }
        // One stream is sent on at a time, but of two connections that were made at once the one that gives way may be the
        // slower one: then what is left of it comes behind what came first on the other.
        let is_within = |(first, last): (usize, usize)| (first..=last).contains(&number);
        if let Some((other, span)) = self.spans.iter().find(|(_, span)| is_within(**span)) {
            return Err((ORDER, format!("{span:?} had come in epoch {}", other.1)));
        }
        if let Some((_, last)) = self.spans.get(&epoch).copied() {
            if number < last {
                return Err((ORDER, format!("{last} had come")));
            }
            let missing = self.fates[last + 1..number].iter().filter(|fate| **fate == Fate::Sent).count();
            if missing > 0 {
                return Err((GAPS, format!("{missing} are missing behind {last}")));
            }
        }
        self.spans.entry(epoch).or_insert((number, number)).1 = number;
        self.next = self.next.max(number + 1);
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

#[cfg(test)]
mod tests {
    use septa_core::Identity;

    use super::*;

    /// Of messages that all were sent, the numbers that come and in which epochs. What becomes of the last.
    fn receive(come: &[(usize, u64)]) -> Result<(), &'static str> {
        let mut flow = Flow::new(Identity::from_ed25519_seed([7; 32]).peer_id());
        flow.fates = vec![Fate::Sent; 10];
        let mut last = Ok(());
        for (number, epoch) in come {
            assert_eq!(last, Ok(()), "only the last may be wrong");
            let epoch = (1..*epoch).fold(Epoch::FIRST, |epoch, _| epoch.next());
            last = flow.receive(*number, (0, epoch)).map_err(|(invariant, _)| invariant);
        }
        last
    }

    #[test]
    fn what_is_left_of_a_connection_may_come_behind_the_next_one() {
        assert_eq!(receive(&[(0, 1), (3, 2), (1, 1), (4, 2), (2, 1)]), Ok(()));
    }

    #[test]
    fn a_message_is_not_to_come_twice_nor_out_of_order_nor_with_a_gap_before_it() {
        assert_eq!(receive(&[(0, 1), (0, 1)]), Err(ORDER));
        assert_eq!(receive(&[(0, 1), (0, 2)]), Err(ORDER));
        assert_eq!(receive(&[(1, 1), (0, 1)]), Err(ORDER));
        assert_eq!(receive(&[(0, 1), (1, 1), (2, 2), (1, 2)]), Err(ORDER));
        assert_eq!(receive(&[(0, 1), (2, 1)]), Err(GAPS));
        // What lies between went over another connection: this one was given up and is used again.
        assert_eq!(receive(&[(0, 1), (1, 2), (2, 1)]), Err(GAPS));
    }
}
