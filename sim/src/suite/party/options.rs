//! How the nodes of a party are made, what they do, and how long that may take.

use std::{sync::Arc, time::Duration};

use septa_core::{
    connection::{self, HandshakeMode},
    node::Event,
};
use septa_driver::node::{Backoff, Config, InboundStream};

use super::{Member, member::MAX_EXCHANGES};

/// Every link carries so many bytes a second.
const LEAST_BANDWIDTH: u64 = 100_000;
/// What a receiver takes at once on the average at least, if it is the receiver that is slow.
const PIECE: u64 = 4096;
/// Pieces that are less, such as the head of an exchange.
const SMALL_PIECES: u64 = 16;
/// Longer than it takes to dial, to upgrade and to settle over the slowest link, if nothing hinders that.
const UNHINDERED: Duration = Duration::from_secs(5);

/// How the nodes of a party are made, and what they do.
#[derive(Clone)]
pub(in crate::suite) struct Options {
    /// Who wants a connection to whom, by place: kept up as long as both live.
    pub(in crate::suite) wishes: Vec<(usize, usize)>,
    pub(in crate::suite) config: Config,
    pub(in crate::suite) connection: connection::Config,
    /// An exchange begins so often on each node, with a peer that it wants.
    pub(in crate::suite) exchange_every: Duration,
    /// The most bytes that one exchange carries.
    pub(in crate::suite) exchange_bytes: u64,
    /// How long a receiver pauses behind each piece.
    pub(in crate::suite) pause: Duration,
    /// What each life of a node does besides.
    pub(in crate::suite) pastime: Pastime,
    /// Sees each stream for exchanges that comes in.
    pub(in crate::suite) on_stream: OnStream,
    /// Sees what each node says.
    pub(in crate::suite) on_event: OnEvent,
    /// Streams to one peer that stay open when all is quiet.
    pub(in crate::suite) lasting_streams: usize,
    /// Connections that each node keeps besides.
    pub(in crate::suite) guests: usize,
}

/// Begins what one life of a node does.
pub(in crate::suite) type Pastime = Arc<dyn Fn(Member) + Send + Sync>;

pub(in crate::suite) type OnEvent = Arc<dyn Fn(&Member, &Event) + Send + Sync>;

pub(in crate::suite) type OnStream = Arc<dyn Fn(&Member, &InboundStream) + Send + Sync>;

impl Options {
    /// Exchanges of up to 50 kB, two a second, and efforts at least every 4 s.
    pub(in crate::suite) fn new(wishes: Vec<(usize, usize)>) -> Self {
        let backoff = Backoff { max: Duration::from_secs(4), ..Backoff::default() };
        Self {
            wishes,
            config: Config { backoff, ..Config::default() },
            connection: connection::Config::default(),
            exchange_every: Duration::from_millis(500),
            exchange_bytes: 50_000,
            pause: Duration::ZERO,
            pastime: Arc::new(|_| {}),
            on_stream: Arc::new(|_, _| {}),
            on_event: Arc::new(|_, _| {}),
            lasting_streams: 0,
            guests: 0,
        }
    }

    /// How long an exchange may take when all is well and others go on beside it.
    pub(super) fn longest_exchange(&self, length: u64) -> Duration {
        let under_way = Duration::from_secs(8);
        let pieces = u32::try_from(length / PIECE + SMALL_PIECES).unwrap_or(u32::MAX);
        under_way
            + self.pause.saturating_mul(pieces)
            + Duration::from_secs(2 * MAX_EXCHANGES * length / LEAST_BANDWIDTH)
    }

    /// How long it takes until a silent peer is given up.
    pub(super) fn found_silent(&self) -> Duration {
        let keep_alive = self.connection.yamux.keep_alive.unwrap_or_default();
        keep_alive.interval + keep_alive.timeout
    }

    /// Silent peers are given up sooner than usual: within the time for which faults may strike.
    pub(super) fn is_impatient(&self) -> bool {
        self.connection.yamux.keep_alive != connection::Config::default().yamux.keep_alive
    }

    /// How long after everything is well again a pair that wants each other may take to talk: an effort that has just
    /// begun in vain ends, the longest backoff passes, and another one ends well. Only where dials or upgrades may hang an
    /// effort takes longer than the link asks for. Where one end may not have heard that the former connection is over, its
    /// writes stall first.
    pub(in crate::suite) fn reconnect_bound(&self, hides_ends: bool, hangs: bool) -> Duration {
        let effort = match hangs {
            true => self.config.dial_timeout + self.connection.upgrade_timeout,
            false => UNHINDERED,
        };
        let silent = match hides_ends {
            true if self.is_impatient() => self.found_silent().max(self.connection.write_stall_timeout),
            true => self.connection.write_stall_timeout,
            false => Duration::ZERO,
        };
        let handshake = match self.connection.handshake {
            HandshakeMode::Application { timeout } => timeout + self.config.cooldown,
            HandshakeMode::Automatic => Duration::ZERO,
        };
        silent + 2 * (effort + handshake) + self.config.backoff.max + self.config.settle_timeout
    }
}
