//! Sending: with a place in the line, or not at all.

use std::{future::poll_fn, sync::Arc, task::Poll};

use septa_core::{
    PeerId,
    channel::{Payload, PushError, Pushed, Ticket},
};

use super::{ChannelShared, SendError, TrySendError, outgoing::Outgoing};

/// A sender's place in the line of one peer.
struct Place {
    outgoing: Arc<Outgoing>,
    ticket: Option<Ticket>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.outgoing.with(|state| {
                state.senders.remove(&ticket);
                state.outbox.leave(ticket);
            });
        }
    }
}

/// The task that sent what there was has ended meanwhile.
struct Gone;

pub(super) async fn send(
    channel: &Arc<ChannelShared>,
    peer: PeerId,
    message: Payload<'_>,
) -> Result<Pushed, SendError> {
    loop {
        let mut place = Place { outgoing: channel.outgoing(peer)?, ticket: None };
        let outcome = poll_fn(|cx| {
            let Place { outgoing, ticket } = &mut place;
            let outcome = outgoing.with(|state| {
                if state.gone {
                    *ticket = None;
                    return Poll::Ready(Err(Gone));
                }
                match state.outbox.enter(ticket, message) {
                    Err(PushError::Full) => {
                        if let Some(ticket) = ticket {
                            state.senders.insert(*ticket, cx.waker().clone());
                        }
                        Poll::Pending
                    }
                    outcome => Poll::Ready(Ok(outcome)),
                }
            });
            outgoing.start(channel);
            outcome
        })
        .await;
        if let Ok(outcome) = outcome {
            return outcome.map_err(|error| channel.send_error(peer, error));
        }
    }
}

pub(super) fn try_send(
    channel: &Arc<ChannelShared>,
    peer: PeerId,
    message: Payload<'_>,
) -> Result<Pushed, TrySendError> {
    loop {
        let outgoing = channel.outgoing(peer)?;
        let outcome = outgoing.with(|state| (!state.gone).then(|| state.outbox.push(message)));
        outgoing.start(channel);
        match outcome {
            None => {}
            Some(Err(PushError::Full)) => return Err(TrySendError::Full { peer, name: channel.name.clone() }),
            Some(outcome) => return Ok(outcome.map_err(|error| channel.send_error(peer, error))?),
        }
    }
}

pub(super) async fn ready(channel: &Arc<ChannelShared>, peer: PeerId) -> Result<(), SendError> {
    // Where nothing waits there is room.
    let Some(outgoing) = channel.lock_peers().get(&peer).cloned() else { return channel.check_open() };
    let mut waiting = Waiting { outgoing: &outgoing, key: None };
    poll_fn(|cx| {
        let Waiting { outgoing, key } = &mut waiting;
        outgoing.with(|state| {
            if state.gone || state.outbox.is_ready() || channel.is_closed() {
                return Poll::Ready(());
            }
            state.ready.wait(key, cx.waker());
            Poll::Pending
        })
    })
    .await;
    channel.check_open()
}

/// A future's place among those that wait for room.
struct Waiting<'a> {
    outgoing: &'a Outgoing,
    key: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.outgoing.with(|state| state.ready.forget(self.key));
    }
}

impl ChannelShared {
    fn check_open(&self) -> Result<(), SendError> {
        if self.is_closed() { Err(SendError::Closed { name: self.name.clone() }) } else { Ok(()) }
    }

    fn send_error(&self, peer: PeerId, error: PushError) -> SendError {
        let name = self.name.clone();
        match error {
            PushError::TooLong(error) => SendError::TooLong { peer, name, error },
            PushError::TooManyWaiting => SendError::TooManyWaiting { peer, name },
            _ => SendError::Closed { name },
        }
    }
}
