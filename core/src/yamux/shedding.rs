//! What goes when the receive memory of the node is short: the stream with the most unread bytes.

use super::{
    Session, StreamId,
    receive::RESET_RESOURCE_LIMIT,
    stream::{RecvHalf, SendHalf},
};

impl Session {
    /// When memory is getting short, a session with more than its share loses its fattest streams, so that
    /// those with less need not. Looks at every stream for each that goes, but only then.
    pub(super) fn shed_above_share(&mut self) {
        while self.account.is_above_share() && self.shed_fattest() {}
    }

    /// Makes room for `more` bytes of this stream when memory is exhausted: something of this session's goes, at
    /// last the stream itself. Looks at every stream.
    pub(super) fn make_room(&mut self, id: StreamId, more: usize) {
        self.shed_fattest();
        if !self.account.has_room(more) {
            self.shed(id);
        }
    }

    /// False if there is none with unread bytes.
    fn shed_fattest(&mut self) -> bool {
        let unread = self.streams.iter().filter(|(_, stream)| stream.recv.capacity() > 0);
        let fattest = unread.max_by_key(|(_, stream)| stream.recv.capacity()).map(|(id, _)| *id);
        fattest.map(|id| self.shed(id)).is_some()
    }

    /// Resets the stream and drops what it has received. An application that holds it is told why.
    fn shed(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.recv_half != RecvHalf::Shed) else {
            return;
        };
        self.stats.streams_shed = self.stats.streams_shed.saturating_add(1);
        let dropped = u64::try_from(stream.recv.len()).unwrap_or(u64::MAX);
        self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(dropped);
        if !stream.is_held() {
            return self.abort(id, RESET_RESOURCE_LIMIT);
        }
        let occupied = stream.recv.capacity();
        stream.recv.clear(&mut self.spares);
        self.account.recount(occupied, stream.recv.capacity());
        if !stream.is_closed() && !stream.is_reset() {
            self.owe_reset(id, RESET_RESOURCE_LIMIT);
        }
        self.apply_reset(id, RecvHalf::Shed, SendHalf::Shed);
    }
}
