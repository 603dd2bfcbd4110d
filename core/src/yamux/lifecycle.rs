//! How streams begin and end from our side, and the notes to the application.

use alloc::{boxed::Box, vec::Vec};

use super::{
    OpenError, Priority, Session, StreamId,
    memory::Account,
    scheduler::{Popped, Ready, Ring, Streams},
    session::OwnGoAway,
    stream::{Opening, RecvHalf, SendHalf, Stream},
};

impl Session {
    /// Opens a stream. Nothing is sent before the first write or [`finish`](Self::finish): SYN rides
    /// on the first frame.
    pub fn open(&mut self) -> Result<StreamId, OpenError> {
        let id = match self.can_open() {
            Ok(id) => id,
            Err(error) => {
                if error == OpenError::Blocked {
                    self.open_armed = true;
                    self.pending.open_unblocked = false;
                }
                return Err(error);
            }
        };
        self.next_id = id.get().checked_add(2).and_then(StreamId::new);
        self.streams.insert(id, Box::new(Stream::new(Opening::Unsent, self.now)));
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.stats.streams_opened = self.stats.streams_opened.saturating_add(1);
        Ok(id)
    }

    /// The next stream that the remote opened, in the order in which they arrived. Acknowledges it.
    /// After `None`, [`Event::Incoming`](super::Event::Incoming) follows once when there is one.
    pub fn accept(&mut self) -> Option<StreamId> {
        let id = loop {
            match self.accept_queue.pop(&mut self.streams) {
                Popped::Nothing => {
                    self.incoming_armed = true;
                    self.pending.incoming = false;
                    return None;
                }
                Popped::Stale => {}
                Popped::Stream(id, stream) => {
                    stream.opening = Opening::AckDue;
                    break id;
                }
            }
        };
        self.notify_readable(id);
        self.refresh(id);
        Some(id)
    }

    /// From now on inbound streams are reset with `code`. Those that wait for
    /// [`accept`](Self::accept) stay.
    pub fn refuse_inbound(&mut self, code: u32) {
        self.refusing = Some(code);
    }

    /// Queues the GoAway, once; later calls do nothing. It is framed when nothing else can be framed
    /// (data without credit does not hold it up), and nothing is framed after it. Peers drop all
    /// streams when they see it: wait for [`is_flushed`](Self::is_flushed) first if they matter.
    pub fn go_away(&mut self, code: u32) {
        if self.own_go_away == OwnGoAway::None {
            self.own_go_away = OwnGoAway::Queued(code);
        }
    }

    /// A keep-alive ping that waits for other frames leaves now.
    pub(crate) fn ping_now(&mut self) {
        self.pinger.hurry();
    }

    /// A ping leaves now unless one is on its way, so that a living remote is heard within a round trip. False
    /// if there are no keep-alive pings.
    pub(crate) fn probe(&mut self) -> bool {
        self.pinger.probe()
    }

    /// The transport is over: nothing is framed from now on and what waits for it is dropped. What was
    /// received stays readable until its stream is released, which then frees it at once.
    pub(crate) fn end(&mut self) {
        self.own_go_away = OwnGoAway::Sent;
        self.owed.clear();
        let released = self.streams.iter().filter(|(_, stream)| stream.released);
        let released: Vec<StreamId> = released.map(|(id, _)| *id).collect();
        for id in released {
            self.forget(id);
        }
        for stream in self.streams.values_mut() {
            stream.send.clear(&mut self.spares);
        }
        self.spares.drop_all();
    }

    /// Aborts both halves with `code` and forgets the stream: unsent and unread data is dropped, and
    /// so is what the remote still sends. What was [corked](Self::cork) leaves first if there is credit for
    /// it. Does nothing if there is no such stream.
    pub fn reset(&mut self, id: StreamId, code: u32) {
        let can_flush = self.can_flush();
        let Some(stream) = self.held_stream(id) else { return };
        // A reset does not wait for credit: a remote that grants none would hold the stream up.
        if core::mem::take(&mut stream.corked) && stream.can_send_all() && can_flush {
            self.stop(id, code);
            self.let_go(id, SendHalf::Aborting);
            // A reset after `stop` has the last word.
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.reset_after_fin = Some(code);
            }
        } else {
            self.abort(id, code);
        }
    }

    /// [`reset`](Self::reset), also of streams that the application does not hold.
    pub(super) fn abort(&mut self, id: StreamId, code: u32) {
        let Some(stream) = self.streams.get(&id) else { return };
        let remote_knows = stream.opening != Opening::Unsent;
        if remote_knows && !stream.is_closed() && !stream.is_reset() {
            self.owe_reset(id, code);
        }
        self.forget(id);
    }

    /// The application reads no more; reads fail with `Unknown` from now on.
    ///
    /// While our half is open, input is dropped and its credit returned, so that the remote does not
    /// stall. Once our half is finished, now or later, nobody needs the stream: it is reset with `code`,
    /// after the FIN, and forgotten.
    pub fn stop(&mut self, id: StreamId, code: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.is_held()) else { return };
        if stream.send_half == SendHalf::Finished && stream.recv_half == RecvHalf::Open {
            return self.abort(id, code);
        }
        stream.reset_after_fin.get_or_insert(code);
        stream.stopped = true;
        stream.readable = false;
        let occupied = stream.recv.capacity();
        stream.drop_received(&mut self.spares);
        self.account.recount(occupied, stream.recv.capacity());
        self.refresh(id);
    }

    /// The application lets go of the stream.
    ///
    /// If it has not finished, or the remote has not, the stream is reset with code 0; after a
    /// [`finish`](Self::finish) not before queued data and the FIN are framed. The stream is live
    /// until then: a remote that grants no credit holds it up.
    pub fn release(&mut self, id: StreamId) {
        let can_flush = self.can_flush();
        let Some(stream) = self.held_stream(id) else { return };
        if stream.send_half == SendHalf::Finishing && can_flush {
            self.stop(id, 0);
            self.let_go(id, SendHalf::Finishing);
        } else {
            self.reset(id, 0);
        }
    }

    /// Frames can still leave.
    fn can_flush(&self) -> bool {
        self.failed.is_none() && self.own_go_away != OwnGoAway::Sent
    }

    /// The application's handle is gone; the stream lives until what is queued was framed.
    fn let_go(&mut self, id: StreamId, send_half: SendHalf) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.send_half = send_half;
        stream.released = true;
        (stream.readable, stream.writable) = (false, false);
        self.refresh(id);
    }

    /// Changes the stream's share of the way out; see [`Priority`]. The remote is not told: what it sends
    /// is its own affair. Does nothing if there is no such stream.
    pub fn set_priority(&mut self, id: StreamId, priority: Priority) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.is_held()) {
            self.ready.set_priority(stream, priority);
        }
    }

    /// [`held`] of this session's streams.
    pub(super) fn held_stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        held(&mut self.streams, id)
    }

    fn can_open(&self) -> Result<StreamId, OpenError> {
        if self.failed.is_some() || self.own_go_away != OwnGoAway::None {
            return Err(OpenError::Closing);
        }
        if self.remote_go_away.is_some() {
            return Err(OpenError::GoneAway);
        }
        let id = self.next_id.ok_or(OpenError::IdsExhausted)?;
        let full = self.streams.len() >= self.config.max_streams || self.unacknowledged >= self.config.ack_backlog;
        if full { Err(OpenError::Blocked) } else { Ok(id) }
    }

    /// Tells an `open` that was blocked to try again, if it would end otherwise now.
    pub(super) fn unblock_open(&mut self) {
        if self.open_armed && self.can_open() != Err(OpenError::Blocked) {
            self.open_armed = false;
            self.pending.open_unblocked = true;
        }
    }

    /// The remote has answered our SYN, by whatever frame.
    pub(super) fn acknowledge(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.opening == Opening::SynSent {
            stream.opening = Opening::Established;
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            self.unblock_open();
        }
    }

    pub(super) fn owe_reset(&mut self, id: StreamId, code: u32) {
        if self.can_flush() {
            self.owed.push_reset(id, code);
        }
    }

    /// Removes the stream and everything that points to it. What the remote may still send for it
    /// is added to the allowance for unknown streams.
    pub(super) fn forget(&mut self, id: StreamId) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        if stream.is_unacknowledged() {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
        }
        if stream.opening != Opening::Unsent && stream.recv_half == RecvHalf::Open {
            self.ghost_allowance = self.ghost_allowance.saturating_add(stream.recv_window.credit().into());
        }
        self.account.give_back(stream.recv_window.extra());
        self.account.recount(stream.recv.capacity(), 0);
        stream.recv.clear(&mut self.spares);
        stream.send.clear(&mut self.spares);
        for ring in [&mut self.accept_queue, &mut self.events, &mut self.control] {
            ring.withdraw(&mut stream);
            ring.compact(&mut self.streams);
        }
        self.ready.withdraw(&mut stream);
        self.ready.compact(&mut self.streams);
        if self.streams.is_empty() {
            self.spares.drop_smallest();
        }
        self.unblock_open();
    }

    /// [`place`] for the stream `id`.
    pub(super) fn refresh(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            place(id, stream, &mut self.control, &mut self.ready, &mut self.account);
        }
    }

    /// [`tell_readable`] for the stream `id`.
    pub(super) fn notify_readable(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            tell_readable(id, stream, &mut self.events);
        }
    }

    /// [`tell_writable`] for the stream `id`.
    pub(super) fn notify_writable(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            tell_writable(id, stream, &mut self.events, self.config.send_quota);
        }
    }
}

/// A stream that was opened or accepted and not released. Others do not exist for the application, whatever
/// ids it names.
pub(super) fn held(streams: &mut Streams, id: StreamId) -> Option<&mut Stream> {
    streams.get_mut(&id).map(|stream| &mut **stream).filter(|stream| stream.is_held())
}

/// Puts the stream into the transmit rings that its state asks for, and out of the others. Gives back
/// what its window has borrowed once that is of no more use.
pub(super) fn place(id: StreamId, stream: &mut Stream, control: &mut Ring, ready: &mut Ready, account: &mut Account) {
    if stream.is_drained() {
        account.give_back(stream.recv_window.give_up_extra());
    }
    if stream.has_control() {
        control.insert(id, stream);
    } else {
        control.withdraw(stream);
    }
    if stream.is_ready() {
        ready.insert(id, stream);
    } else {
        ready.withdraw(stream);
    }
}

/// Makes an event if the application waits for something to read, and there is.
pub(super) fn tell_readable(id: StreamId, stream: &mut Stream, events: &mut Ring) {
    let known = stream.opening != Opening::Unaccepted && !stream.stopped;
    if known && stream.is_readable() && core::mem::take(&mut stream.read_armed) {
        stream.readable = true;
        events.insert(id, stream);
    }
}

/// Makes an event if the application waits to write, and may or will never again.
pub(super) fn tell_writable(id: StreamId, stream: &mut Stream, events: &mut Ring, quota: usize) {
    let changed = stream.is_reset() || stream.send.len() <= quota / 2;
    if changed && !stream.released && core::mem::take(&mut stream.write_armed) {
        stream.writable = true;
        events.insert(id, stream);
    }
}
