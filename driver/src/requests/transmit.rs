//! What a machine has to say, written to its stream.

use std::task::{Context, Poll};

use bytes::Bytes;
use septa_core::{
    channel::rpc::{Client, Server, exchange::Requester},
    connection::WriteError,
};

use crate::stream::Stream;

/// A machine that has bytes for its stream.
pub(super) trait Source {
    fn wants_transmit(&self) -> bool;
    fn peek_shared(&self) -> Option<Bytes>;
    fn peek_transmit(&self) -> &[u8];
    fn transmitted(&mut self, len: usize);
}

macro_rules! sources {
    ($($machine:ty)*) => {
        $(impl Source for $machine {
            fn wants_transmit(&self) -> bool {
                <$machine>::wants_transmit(self)
            }

            fn peek_shared(&self) -> Option<Bytes> {
                <$machine>::peek_shared(self)
            }

            fn peek_transmit(&self) -> &[u8] {
                <$machine>::peek_transmit(self)
            }

            fn transmitted(&mut self, len: usize) {
                <$machine>::transmitted(self, len);
            }
        })*
    };
}

sources! { Client Server Requester }

/// Writes what the stream takes. Ready once nothing is left.
pub(super) fn write(cx: &mut Context<'_>, stream: &Stream, source: &mut impl Source) -> Poll<Result<(), WriteError>> {
    while source.wants_transmit() {
        let written = match source.peek_shared() {
            Some(mut chunk) => stream.poll_write_chunk(cx, &mut chunk),
            None => stream.poll_write_slice(cx, source.peek_transmit()),
        };
        match written {
            Poll::Ready(Ok(count)) => source.transmitted(count),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(()))
}
