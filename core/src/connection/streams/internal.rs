//! The stream of the application handshake, and those that wait until it is done.

use alloc::vec::Vec;

use super::{Entry, EntryState, Streams, Surroundings};
use crate::{
    connection::{RefuseReason, negotiation::Negotiation},
    multistream::Progress,
    yamux::{self, Session, StreamId},
};

impl Streams {
    /// Opens a stream for the connection itself. It has no deadline of its own.
    pub(in crate::connection) fn open_internal(
        &mut self,
        negotiation: Negotiation,
        around: &mut Surroundings<'_>,
    ) -> Result<StreamId, yamux::OpenError> {
        let id = self.open(negotiation, around)?;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.internal = true;
            self.deadlines.remove(entry.deadline, id);
        }
        Ok(id)
    }

    /// The connection's own stream, and its session.
    pub(in crate::connection) fn internal(&mut self, id: StreamId) -> Option<(&mut Session, &mut Entry)> {
        let entry = self.entries.get_mut(&id).filter(|entry| entry.internal)?;
        Some((&mut self.session, entry))
    }

    /// The connection has said all on its own stream. The peer has as long as for a negotiation to end it, too:
    /// else it would hold the stream for ever.
    pub(in crate::connection) fn finish_internal(&mut self, id: StreamId, around: &Surroundings<'_>) {
        let Some((session, entry)) = self.internal(id) else { return };
        // If the peer has reset it, reading will tell.
        let _ = session.finish(id);
        entry.deadline = around.negotiation_deadline();
        self.deadlines.insert(around.negotiation_deadline(), id);
    }

    /// The connection cuts its own stream off.
    pub(in crate::connection) fn reset_internal(&mut self, id: StreamId, code: u32) {
        self.session.reset(id, code);
        self.release_internal(id);
    }

    /// The connection gives its own stream up.
    pub(in crate::connection) fn release_internal(&mut self, id: StreamId) {
        self.session.release(id);
        if let Some(entry) = self.entries.remove(&id) {
            self.deadlines.remove(entry.deadline, id);
        }
    }

    /// Answers the streams that were held: everything that will be served is served now.
    pub(in crate::connection) fn release_held(&mut self, around: &mut Surroundings<'_>) {
        let early = |entry: &Entry| entry.unaccepted && matches!(entry.state, EntryState::Negotiating(_));
        let ids: Vec<StreamId> = self.entries.iter().filter(|(_, entry)| early(entry)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.is_waiting_for_ready() {
                entry.deadline = around.negotiation_deadline();
                self.deadlines.insert(entry.deadline, id);
            }
            let EntryState::Negotiating(negotiation) = &mut entry.state else { continue };
            let progress = negotiation.release(around.served.clone());
            entry.transmit_negotiation(id, &mut self.session);
            match progress {
                Ok(Progress::Agreed(protocol)) => self.agree(id, protocol, around),
                Ok(_) => self.drive_negotiation(id, around),
                Err(error) => self.refuse(id, RefuseReason::Protocol(error), around),
            }
        }
    }
}
