//! multistream-select from either end, as the connection and its streams use it.

use alloc::vec::Vec;

use crate::{
    ProtocolId, ProtocolSet, Role,
    multistream::{self, Dialer, InvalidProposals, Listener, Progress},
};

/// Enough for a header and the longest proposal or reply.
const STEP: usize = 320;

/// One negotiation: the dialing end proposes, the listening end chooses.
#[derive(Debug)]
pub(super) enum Negotiation {
    Dialer(Dialer),
    Listener(Listener),
}

impl Negotiation {
    /// Negotiates `protocol` for the connection itself.
    pub(super) fn of_connection(role: Role, protocol: ProtocolId) -> Self {
        match role {
            Role::Dialer => Self::Dialer(Dialer::single(protocol)),
            Role::Listener => Self::Listener(Listener::new([protocol].into_iter().collect())),
        }
    }

    /// Proposes `protocols` on a stream; a single one optimistically.
    pub(super) fn of_outbound_stream(protocols: &[ProtocolId]) -> Result<Self, InvalidProposals> {
        match protocols {
            [only] => Ok(Self::Dialer(Dialer::optimistic(only.clone()))),
            several => Dialer::new(several.iter().cloned()).map(Self::Dialer),
        }
    }

    pub(super) fn of_inbound_stream(served: ProtocolSet) -> Self {
        Self::Listener(Listener::new(served))
    }

    /// The same, but what is not served waits for [`release`](Self::release).
    pub(super) fn of_early_stream(served: ProtocolSet) -> Self {
        Self::Listener(Listener::holding(served))
    }

    /// A proposal waits for [`release`](Self::release).
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Self::Listener(listener) if listener.is_held())
    }

    /// From now on, what is not in `served` is refused.
    pub(super) fn release(&mut self, served: ProtocolSet) -> Result<Progress, multistream::Error> {
        match self {
            Self::Listener(listener) => listener.release(served),
            Self::Dialer(_) => Ok(Progress::Pending),
        }
    }

    /// The application may write before the answer.
    pub(super) fn is_optimistic(&self) -> bool {
        matches!(self, Self::Dialer(dialer) if dialer.is_optimistic())
    }

    pub(super) fn handle_recv(&mut self, data: &[u8]) -> Result<(usize, Progress), multistream::Error> {
        match self {
            Self::Dialer(dialer) => dialer.handle_recv(data),
            Self::Listener(listener) => listener.handle_recv(data),
        }
    }

    pub(super) fn handle_eof(&mut self) -> Result<Progress, multistream::Error> {
        match self {
            Self::Dialer(dialer) => dialer.handle_eof(),
            Self::Listener(listener) => listener.handle_eof(),
        }
    }

    pub(super) fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        match self {
            Self::Dialer(dialer) => dialer.poll_transmit(out),
            Self::Listener(listener) => listener.poll_transmit(out),
        }
    }

    /// Appends everything there is to send.
    pub(super) fn drain_into(&mut self, out: &mut Vec<u8>) {
        let mut step = [0; STEP];
        loop {
            let n = self.poll_transmit(&mut step);
            match step.get(..n) {
                Some(bytes) if n > 0 => out.extend_from_slice(bytes),
                _ => return,
            }
        }
    }
}
