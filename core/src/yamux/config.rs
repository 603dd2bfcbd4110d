//! The limits of a session.

use alloc::vec::Vec;
use core::{fmt, time::Duration};

use super::MemoryPool;
use crate::buf::BLOCK_LEN;

/// Credit that every stream starts with in each direction, in bytes (yamux spec, flow control).
///
/// It is granted by the protocol, before any frame and without a way to refuse, so a session must be
/// able to hold this much for every stream it allows.
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// The limits of a [`Session`](super::Session). Check with [`validate`](Config::validate).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Live streams, both ways, unaccepted ones and those the application still holds included.
    /// Stops a flood of streams, each of which may fill a window. An inbound stream beyond it is
    /// reset with code 0x1002, an outbound one is refused with `Blocked`.
    pub max_streams: usize,
    /// Inbound streams that wait for `accept`. Stops a flood of streams faster than the application
    /// takes them; one more is reset with code 0x1002.
    pub accept_backlog: usize,
    /// Outbound streams that the remote has not acknowledged. Peers reset what goes beyond their own
    /// backlog of 256, so `open` returns `Blocked` instead.
    pub ack_backlog: usize,
    /// Bytes written and not yet framed, per stream. A remote that grants no credit or does not read
    /// cannot make the session hold more than this for a stream.
    pub send_quota: usize,
    /// Longest body of an outgoing data frame, in bytes. Peers close at more than 1 MiB.
    pub max_frame_body: usize,
    /// Unsent answers to pings. A remote that pings without reading gets `PingFlood` beyond it.
    pub max_pending_pongs: usize,
    /// Unsent resets with which a stream may still be opened. A remote that opens streams to have
    /// them refused or reset, without reading the resets, gets `RapidReset` beyond it; so the queue
    /// holds at most this many and one for each live stream.
    pub max_pending_resets: usize,
    /// Inbound streams that the remote itself resets before they were accepted, in each
    /// [`FLOOD_INTERVAL`](super::FLOOD_INTERVAL). Such streams leave no state and would otherwise
    /// cost processor time without limit; beyond it `RapidReset`.
    pub max_unaccepted_resets: u32,
    /// Frames in succession that move nothing (no body, no new stream that is not refused, while no
    /// data is sent either), in each [`FLOOD_INTERVAL`](super::FLOOD_INTERVAL). Stops an endless stream
    /// of empty data frames, window updates, pings and streams that there is no room for; beyond it
    /// `EmptyFrameFlood`.
    pub max_empty_frames: u32,
    /// Longest receive window of a stream, in bytes. Windows begin with [`INITIAL_WINDOW`] and double
    /// while the application reads so fast that the window may be what limits the stream, that is, half
    /// of it in less than two round trips. 32 MiB fill a link of 1 Gbit/s with a round trip of 200 ms; a
    /// remote that delays its pongs gains no more than this.
    pub max_window: u32,
    /// When to ping; `None` never pings: a silent remote is not noticed, and windows do not grow.
    pub keep_alive: Option<KeepAlive>,
    /// Drained blocks of 16 KiB that the session keeps for reuse, until its next keep-alive tick if it has
    /// them; a driver can take them sooner. A session that was busy once must not hold more than that, beside one
    /// block of 256 bytes. They are not received data: neither [`memory_budget`](Self::memory_budget) nor the pool
    /// counts them.
    pub spare_blocks: usize,
    /// Bytes that the remote can make the session hold in receive blocks. The promise is kept by
    /// granted credit: `max_streams` x [`INITIAL_WINDOW`] must fit, and the windows of all streams
    /// together grow by no more than the rest.
    pub memory_budget: usize,
    /// The receive memory that the sessions of a node share: what windows borrow to grow, and the cap on
    /// unread data. Sessions share it if their configs are clones of one.
    pub memory: MemoryPool,
}

/// When a session pings the remote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepAlive {
    /// Time from one ping to the next.
    pub interval: Duration,
    /// Longest wait for the answer.
    pub timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(15), timeout: Duration::from_secs(20) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: 256,
            accept_backlog: 256,
            ack_backlog: 256,
            send_quota: 256 * 1024,
            max_frame_body: 16 * 1024,
            max_pending_pongs: 8,
            max_pending_resets: 1024,
            max_unaccepted_resets: 1024,
            max_empty_frames: 16 * 1024,
            max_window: 32 * 1024 * 1024,
            keep_alive: Some(KeepAlive::default()),
            spare_blocks: 64,
            memory_budget: 128 * 1024 * 1024,
            memory: MemoryPool::default(),
        }
    }
}

impl Config {
    /// Checks the limits against each other and reports everything that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let keep_alive_is_zero = self.keep_alive.is_some_and(|k| k.interval.is_zero() || k.timeout.is_zero());
        let zero = [
            ("max_streams", self.max_streams == 0),
            ("accept_backlog", self.accept_backlog == 0),
            ("ack_backlog", self.ack_backlog == 0),
            ("send_quota", self.send_quota == 0),
            ("max_frame_body", self.max_frame_body == 0),
            ("max_pending_pongs", self.max_pending_pongs == 0),
            ("max_pending_resets", self.max_pending_resets == 0),
            ("max_unaccepted_resets", self.max_unaccepted_resets == 0),
            ("max_empty_frames", self.max_empty_frames == 0),
            ("keep_alive", keep_alive_is_zero),
        ];
        let mut errors: Vec<ConfigError> =
            zero.iter().filter(|(_, is_zero)| *is_zero).map(|(name, _)| ConfigError::Zero(name)).collect();
        if self.max_frame_body > MAX_FRAME_BODY {
            errors.push(ConfigError::FrameBodyTooLong);
        }
        if self.max_window < INITIAL_WINDOW {
            errors.push(ConfigError::WindowTooSmall);
        }
        if self.guaranteed() > self.memory_budget {
            errors.push(ConfigError::OverBudget);
        } else if window_extra(self.max_window) > self.max_tuned_extra() {
            errors.push(ConfigError::WindowOverBudget);
        }
        if self.memory.limits().hard_cap < MIN_HARD_CAP {
            errors.push(ConfigError::HardCapTooSmall);
        }
        if self.memory.limits().window_loans > self.memory.limits().hard_cap {
            errors.push(ConfigError::LoansOverCap);
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }

    /// By how much the windows of all streams together may grow, in bytes.
    pub(super) fn max_tuned_extra(&self) -> usize {
        self.memory_budget.saturating_sub(self.guaranteed())
    }

    /// What the initial windows of all streams grant.
    fn guaranteed(&self) -> usize {
        self.max_streams.saturating_mul(INITIAL_WINDOW as usize)
    }
}

fn window_extra(window: u32) -> usize {
    usize::try_from(window.saturating_sub(INITIAL_WINDOW)).unwrap_or(usize::MAX)
}

/// Everything that is wrong with a [`Config`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The single errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "; " })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigErrors {}

/// One thing that is wrong with a [`Config`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The named limit is zero, which would stop the session from working.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// Peers close the connection at frames of more than 1 MiB.
    #[error("max_frame_body must not exceed 1 MiB")]
    FrameBodyTooLong,
    /// The initial windows of all streams together exceed the memory budget.
    #[error("max_streams times the initial window of 256 KiB exceeds memory_budget")]
    OverBudget,
    /// Every stream begins with 256 KiB (yamux spec, flow control).
    #[error("max_window must be at least 256 KiB")]
    WindowTooSmall,
    /// The memory budget does not have room for one window of `max_window` beside the initial ones.
    #[error("max_window exceeds what memory_budget leaves beside max_streams times 256 KiB")]
    WindowOverBudget,
    /// Not even one stream could use its window.
    #[error("the hard cap of the memory pool must be at least 272 KiB")]
    HardCapTooSmall,
    /// Windows would grow only for their streams to be reset.
    #[error("the memory pool lends more to windows than its hard cap")]
    LoansOverCap,
}

/// rust-yamux refuses longer bodies.
const MAX_FRAME_BODY: usize = 1024 * 1024;

/// A block is kept in hand beside what is occupied.
const MIN_HARD_CAP: usize = INITIAL_WINDOW as usize + BLOCK_LEN;
