//! Sending: with a place in the line, or not at all.

use std::{future::poll_fn, sync::Arc, task::Poll};

use septa_core::{
    PeerId,
    channel::{DropReason, Payload, PushError, Pushed, Ticket, message::TooLong},
};

use super::{
    ChannelShared, SendError, TrySendError,
    form::Encoded,
    outgoing::{Gone, Outgoing},
};

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
                #[cfg(not(septa_mutant = "place-in-line-lost"))]
                state.outbox.leave(ticket);
            });
        }
    }
}

/// What a look at the messages for a peer came to.
enum Outcome {
    /// The task that sent what there was has ended meanwhile.
    Again,
    /// The peer was given up while the sender waited.
    GivenUp,
    Done(Result<Pushed, PushError>),
}

pub(super) async fn send(
    channel: &Arc<ChannelShared>,
    peer: PeerId,
    message: &Encoded<'_>,
) -> Result<Pushed, SendError> {
    channel.check_len(peer, message)?;
    loop {
        let mut place = Place { outgoing: channel.outgoing(peer)?, ticket: None };
        let outcome = poll_fn(|cx| {
            let Place { outgoing, ticket } = &mut place;
            let (outcome, must_start) = outgoing.with(|state| {
                match state.gone {
                    Some(Gone::GivenUp) if ticket.take().is_some() => return (Poll::Ready(Outcome::GivenUp), false),
                    Some(_) => {
                        *ticket = None;
                        return (Poll::Ready(Outcome::Again), false);
                    }
                    None => {}
                }
                let outcome = match state.outbox.enter(ticket, message.payload()) {
                    Err(PushError::Full) => {
                        if let Some(ticket) = ticket {
                            state.senders.insert(*ticket, cx.waker().clone());
                        }
                        Poll::Pending
                    }
                    outcome => Poll::Ready(Outcome::Done(outcome)),
                };
                (outcome, state.must_start())
            });
            if must_start {
                outgoing.start(channel);
            }
            outcome
        })
        .await;
        match outcome {
            Outcome::Again => {}
            Outcome::GivenUp => return Err(channel.given_up(peer)),
            Outcome::Done(outcome) => return outcome.map_err(|error| channel.send_error(peer, error)),
        }
    }
}

pub(super) fn try_send(
    channel: &Arc<ChannelShared>,
    peer: PeerId,
    message: &Encoded<'_>,
) -> Result<Pushed, TrySendError> {
    channel.check_len(peer, message)?;
    loop {
        let outgoing = channel.outgoing(peer)?;
        let (outcome, must_start) = outgoing.with(|state| match state.gone {
            Some(_) => (None, false),
            None => (Some(state.outbox.push(message.payload())), state.must_start()),
        });
        if must_start {
            outgoing.start(channel);
        }
        match outcome {
            None => {}
            Some(Err(PushError::Full)) => return Err(TrySendError::Full { peer, channel: channel.protocol.clone() }),
            Some(outcome) => return Ok(outcome.map_err(|error| channel.send_error(peer, error))?),
        }
    }
}

pub(super) async fn ready(channel: &Arc<ChannelShared>, peer: PeerId) -> Result<(), SendError> {
    let Some(outgoing) = channel.find(peer)? else { return channel.check_open() };
    let mut waiting = Waiting { outgoing: &outgoing, key: None };
    poll_fn(|cx| {
        let Waiting { outgoing, key } = &mut waiting;
        outgoing.with(|state| {
            if state.gone.is_some() || state.outbox.is_ready() || channel.is_closed() {
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
        if self.key.is_some() {
            self.outgoing.with(|state| state.ready.forget(self.key));
        }
    }
}

impl ChannelShared {
    /// The message as it is sent.
    pub(super) fn encode<'m>(&self, message: Payload<'m>) -> Encoded<'m> {
        self.form.encode(message, self.options.config.max_message_len)
    }

    fn check_open(&self) -> Result<(), SendError> {
        if self.is_closed() { Err(SendError::Closed { channel: self.protocol.clone() }) } else { Ok(()) }
    }

    /// Before anything is begun for the peer.
    fn check_len(&self, peer: PeerId, message: &Encoded<'_>) -> Result<(), SendError> {
        let (len, max) = (message.len, self.options.config.max_message_len);
        if len <= max {
            return Ok(());
        }
        self.lock_peers().past.dropped.add(DropReason::TooLong, 1);
        Err(self.send_error(peer, PushError::TooLong(TooLong { len, max })))
    }

    fn given_up(&self, peer: PeerId) -> SendError {
        if self.is_closed() {
            return SendError::Closed { channel: self.protocol.clone() };
        }
        SendError::PeerGone { peer, channel: self.protocol.clone(), kept: self.options.keep }
    }

    fn send_error(&self, peer: PeerId, error: PushError) -> SendError {
        let channel = self.protocol.clone();
        match error {
            PushError::TooLong(error) => SendError::TooLong { peer, channel, error },
            PushError::TooManyWaiting => SendError::TooManyWaiting { peer, channel },
            _ => SendError::Closed { channel },
        }
    }
}
