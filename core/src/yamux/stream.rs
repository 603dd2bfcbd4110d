//! One stream: its state, its queues and its credit.

use core::{fmt, num::NonZeroU32};

use super::{
    Priority,
    flow::{ReceiveWindow, SendWindow},
};
use crate::{
    Instant,
    buf::{ChunkQueue, SendQueue, SpareBlocks},
};

/// Identifies a stream within its session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU32);

impl StreamId {
    pub(super) fn new(id: u32) -> Option<Self> {
        NonZeroU32::new(id).map(Self)
    }

    /// The number on the wire.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// True if the connection's dialer opened it: those ids are odd.
    pub const fn is_dialer_initiated(self) -> bool {
        self.get() & 1 == 1
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a stream has moved so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamStats {
    /// Body bytes framed.
    pub bytes_sent: u64,
    /// Body bytes received.
    pub bytes_received: u64,
    /// Data frames framed.
    pub frames_sent: u64,
    /// Data frames received.
    pub frames_received: u64,
}

/// How far the opening of a stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    /// Opened here, and nothing sent: the remote does not know it. SYN rides on the first frame.
    Unsent,
    /// Our SYN left and the remote has not answered.
    SynSent,
    /// Opened by the remote and not accepted yet.
    Unaccepted,
    /// Accepted: ACK rides on the next frame, exactly once.
    AckDue,
    Established,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SendHalf {
    Open,
    /// The application finished; queued bytes and the FIN are still to be framed.
    Finishing,
    /// The FIN was framed.
    Finished,
    /// The application reset the stream while output was corked; that is still to be framed, then the reset.
    Aborting,
    /// The remote reset the stream.
    Reset(u32),
    /// We reset the stream because receive memory was short.
    Shed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RecvHalf {
    Open,
    /// The remote's FIN arrived.
    Finished,
    /// The remote reset the stream before its FIN.
    Reset(u32),
    /// We reset the stream because receive memory was short, and dropped what was unread.
    Shed,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) opening: Opening,
    pub(super) send_half: SendHalf,
    pub(super) recv_half: RecvHalf,
    pub(super) send: SendQueue,
    pub(super) recv: ChunkQueue,
    pub(super) send_window: SendWindow,
    pub(super) recv_window: ReceiveWindow,
    /// The application does not read any more: input is dropped and its credit returned.
    pub(super) stopped: bool,
    /// The application's handle is gone; the entry lives until its last frame is framed.
    pub(super) released: bool,
    /// Reset with this code once our FIN is framed, unless the remote has finished by then, or once what was
    /// corked is framed.
    pub(super) reset_after_fin: Option<u32>,
    /// A window update is to be sent.
    pub(super) update_due: bool,
    /// What is queued waits for more to be written, so that it leaves in the same frame.
    pub(super) corked: bool,
    /// The next change of the condition is to be told.
    pub(super) read_armed: bool,
    pub(super) write_armed: bool,
    /// Events that wait to be polled.
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) rings: RingFlags,
    pub(super) priority: Priority,
    /// Bytes that the stream may still send in its turn; 0 while it waits for one.
    pub(super) deficit: u32,
    pub(super) stats: StreamStats,
}

/// In which rings the stream stands, a bit for each.
#[derive(Debug, Default)]
pub(super) struct RingFlags(u8);

/// Names a ring.
#[derive(Clone, Copy, Debug)]
pub(super) enum RingName {
    Accept = 1,
    Events = 2,
    Control = 4,
    Ready = 8,
}

impl RingFlags {
    pub(super) fn has(&self, ring: RingName) -> bool {
        self.0 & ring as u8 != 0
    }

    /// False if the flag was set already.
    pub(super) fn set(&mut self, ring: RingName) -> bool {
        let was_set = self.has(ring);
        self.0 |= ring as u8;
        !was_set
    }

    /// True if the flag was set.
    pub(super) fn take(&mut self, ring: RingName) -> bool {
        let was_set = self.has(ring);
        self.0 &= !(ring as u8);
        was_set
    }
}

impl Stream {
    pub(super) fn new(opening: Opening, now: Instant) -> Self {
        Self {
            opening,
            send_half: SendHalf::Open,
            recv_half: RecvHalf::Open,
            send: SendQueue::default(),
            recv: ChunkQueue::default(),
            send_window: SendWindow::default(),
            recv_window: ReceiveWindow::new(now),
            stopped: false,
            released: false,
            reset_after_fin: None,
            update_due: false,
            corked: false,
            read_armed: true,
            write_armed: false,
            readable: false,
            writable: false,
            rings: RingFlags::default(),
            priority: Priority::default(),
            deficit: 0,
            stats: StreamStats::default(),
        }
    }

    /// We opened it and the remote has not answered.
    pub(super) fn is_unacknowledged(&self) -> bool {
        matches!(self.opening, Opening::Unsent | Opening::SynSent)
    }

    /// The application knows it and has not let go of it.
    pub(super) fn is_held(&self) -> bool {
        self.opening != Opening::Unaccepted && !self.released
    }

    /// The remote reset it, or we did while the application holds it.
    pub(super) fn is_reset(&self) -> bool {
        matches!(self.send_half, SendHalf::Reset(_) | SendHalf::Shed)
    }

    /// Both ends have finished.
    pub(super) fn is_closed(&self) -> bool {
        self.send_half == SendHalf::Finished && self.recv_half == RecvHalf::Finished
    }

    /// A read would return something other than `Blocked`.
    pub(super) fn is_readable(&self) -> bool {
        !self.recv.is_empty() || self.recv_half != RecvHalf::Open
    }

    /// A data frame or a FIN can be framed now.
    pub(super) fn is_ready(&self) -> bool {
        !self.corked && (self.has_sendable_data() || (self.send_half == SendHalf::Finishing && self.send.is_empty()))
    }

    pub(super) fn has_sendable_data(&self) -> bool {
        !self.send.is_empty() && self.send_window.credit() > 0
    }

    /// There are bytes to send, and credit for all of them.
    pub(super) fn can_send_all(&self) -> bool {
        let credit = usize::try_from(self.send_window.credit()).unwrap_or(usize::MAX);
        !self.send.is_empty() && self.send.len() <= credit
    }

    /// Written bytes or a FIN are still to be framed.
    pub(super) fn is_unflushed(&self) -> bool {
        !self.send.is_empty() || self.send_half == SendHalf::Finishing
    }

    /// The remote sends nothing more and everything was read: the window is of no more use.
    pub(super) fn is_drained(&self) -> bool {
        self.recv_half != RecvHalf::Open && self.recv.is_empty()
    }

    /// A frame other than data is to be sent.
    pub(super) fn has_control(&self) -> bool {
        self.update_due || (self.opening == Opening::AckDue && !self.corked)
    }

    /// Drops input that was received and returns its credit.
    pub(super) fn drop_received(&mut self, spares: &mut SpareBlocks) {
        self.recv.clear(spares);
        self.credit_consumed();
    }

    /// Turns bytes that left the receive queue into credit to return.
    pub(super) fn credit_consumed(&mut self) {
        let released = self.recv.take_released();
        self.consumed(released);
    }

    pub(super) fn consumed(&mut self, bytes: usize) {
        self.recv_window.consume(bytes);
        self.update_due = self.recv_half == RecvHalf::Open && self.recv_window.update_due();
    }

    pub(super) fn memory_used(&self) -> usize {
        self.recv.capacity().saturating_add(self.send.capacity())
    }
}
