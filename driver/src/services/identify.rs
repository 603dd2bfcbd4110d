//! Identify both ways, and pushes both ways.

use std::sync::Arc;

use septa_core::{
    Instant, PublicKey,
    connection::{RefuseReason, codes},
    protocol::identify::{
        Dialer, EncodeError, Listener, PROTOCOL, PUSH_PROTOCOL, PushDialer, PushListener, PushOutcome, Received,
        RemoteInfo, TIMEOUT, Ticket,
    },
};

use super::{Answered, refused_or};
use crate::{
    connection::{Connection, open},
    error::{IdentifyError, OpenStreamError},
    shared::Shared,
    stream::Stream,
    time::{after, within},
    waiters::Woken,
};

/// Asks the peer who it is.
pub(crate) async fn identify(connection: &Connection) -> Result<Received, IdentifyError> {
    let shared = connection.handle().shared();
    // Before the question leaves: a push that comes from now on is not older than the answer.
    let ticket = ticket(shared);
    let mut stream = connection.open_stream(&[PROTOCOL]).await?;
    stream.negotiated().await?;
    // Nothing is sent; a stream that cannot be ended will say so when it is read.
    let _ = stream.finish();
    let Some(authenticated) = connection.remote_public_key() else {
        let reason = connection.closed().await;
        return Err(IdentifyError::Open(OpenStreamError::ConnectionLost(reason)));
    };
    let received = read(shared, authenticated, &mut stream).await?;
    learn(shared, |remote| remote.identified(ticket, &received));
    Ok(received)
}

pub(super) async fn answer(answered: &Answered, mut stream: Stream) {
    let shared = &answered.shared;
    let Some(listener) = own_message(shared) else {
        return stream.reset(codes::stream::NO_ERROR);
    };
    if write(listener, &mut stream).await.is_ok() && stream.finish().is_ok() {
        let runtime = &*shared.endpoint.runtime;
        let _ = within(runtime, after(runtime, TIMEOUT), stream.read_to_end()).await;
    }
}

/// The place of a stream that begins now.
pub(super) fn ticket(shared: &Arc<Shared>) -> Ticket {
    shared.task(|inner| inner.services().remote.get_or_insert_default().ticket())
}

/// Reads what the peer has changed.
pub(super) async fn answer_push(answered: &Answered, ticket: Ticket, mut stream: Stream) {
    let shared = &answered.shared;
    let key = shared.task(|inner| inner.core().ok().and_then(|core| core.remote_public_key()));
    let Some(authenticated) = key else { return };
    match read(shared, authenticated, &mut stream).await {
        Ok(received) => {
            learn(shared, |remote| remote.pushed(ticket, &received));
            let _ = stream.finish();
        }
        Err(_) => stream.reset(codes::stream::PROTOCOL_VIOLATION),
    }
}

/// What identify tells of this node has changed: pushes it to the peer, now or when the last push is
/// long enough ago. Whether that will happen.
pub(crate) fn identify_changed(shared: &Arc<Shared>) -> bool {
    let (possible, idle) = shared.task(|inner| {
        // A peer that has not been told anything yet is told the new state when it asks.
        if inner.opened().is_none() || inner.reason().is_some() {
            return (false, false);
        }
        let push = &mut inner.services().push;
        (!push.is_unsupported(), push.changed())
    });
    if idle {
        let task = push_changes(shared.clone());
        shared.endpoint.spawn("push", task);
    }
    possible
}

/// Pushes until nothing has changed since the last push, or the connection ends.
async fn push_changes(shared: Arc<Shared>) {
    let runtime = &*shared.endpoint.runtime;
    while let Some(due) = shared.task(|inner| inner.services().push.poll_due()) {
        let ending = shared.wait(|inner| &mut inner.phase, |inner| inner.reason());
        if due > runtime.now() && within(runtime, due, ending).await.is_some() {
            return;
        }
        // The timer knows better than the clock whether it is time. A second task, begun between the end of one
        // push and the look at the next, finds that started.
        if !shared.task(|inner| inner.services().push.start(runtime.now().max(due))) {
            continue;
        }
        let outcome = match within(runtime, after(runtime, TIMEOUT), push(&shared)).await {
            Some(Ok(())) => PushOutcome::Sent,
            Some(Err(OpenStreamError::Refused(RefuseReason::Unsupported))) => PushOutcome::Unsupported,
            Some(Err(_)) | None => PushOutcome::Failed,
        };
        shared.task(|inner| inner.services().push.finished(outcome));
    }
}

/// One push. The message leaves together with the proposal.
async fn push(shared: &Arc<Shared>) -> Result<(), OpenStreamError> {
    let mut stream = Stream::of_service(shared, open(shared, &[PUSH_PROTOCOL]).await?);
    let Some(message): Option<PushDialer> = own_message(shared) else { return Ok(()) };
    // A stream that cannot be written says why when it is asked what it came to.
    if write(message, &mut stream).await.is_ok() {
        let _ = stream.finish();
    }
    stream.negotiated().await?;
    stream.read_to_end().await;
    Ok(())
}

/// What this node says of itself, shortened until it is short enough to be sent.
fn own_message(shared: &Shared) -> Option<Listener> {
    let mut info = shared.endpoint.identify_info(shared.local, shared.remote);
    loop {
        match Listener::new(&info) {
            Ok(listener) => return Some(listener),
            // The record says again what the addresses say.
            Err(EncodeError::TooLong { .. }) => {
                let record = info.signed_peer_record.take().map(drop);
                let protocol = || info.protocols.pop().map(drop);
                record.or_else(protocol).or_else(|| info.listen_addrs.pop().map(drop))?;
            }
            Err(_) => return None,
        }
    }
}

async fn write(mut listener: Listener, stream: &mut Stream) -> Result<(), septa_core::connection::WriteError> {
    let mut buffer = [0; 1024];
    while listener.wants_transmit() {
        let length = listener.poll_transmit(&mut buffer);
        stream.write_all(buffer.get(..length).unwrap_or_default()).await?;
    }
    Ok(())
}

/// Reads what the peer says of itself.
async fn read(shared: &Shared, authenticated: PublicKey, stream: &mut Stream) -> Result<Received, IdentifyError> {
    let runtime = &*shared.endpoint.runtime;
    let mut reader: PushListener = Dialer::new(authenticated, runtime.now());
    let deadline = reader.poll_timeout().unwrap_or(Instant::NEVER);
    loop {
        let received = match within(runtime, deadline, stream.read_chunk()).await {
            None => reader.handle_timeout(runtime.now().max(deadline))?,
            Some(Ok(None)) => reader.handle_eof()?,
            Some(Ok(Some(chunk))) => reader.handle_recv(&chunk)?,
            Some(Err(error)) => return Err(refused_or(error, IdentifyError::Open, IdentifyError::Read)),
        };
        if let Some(received) = received {
            return Ok(received);
        }
    }
}

/// Notes what the peer has said and tells those who wait for it.
fn learn(shared: &Arc<Shared>, change: impl FnOnce(&mut RemoteInfo)) {
    let mut woken = Woken::default();
    shared.task(|inner| {
        let services = inner.services();
        let remote = services.remote.get_or_insert_default();
        let before = remote.revision();
        change(remote);
        if remote.revision() != before {
            services.informed.wake_into(&mut woken);
        }
    });
    woken.wake();
}
