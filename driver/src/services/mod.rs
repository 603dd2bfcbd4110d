//! Ping, identify and perf: answered for the application, and asked on its behalf.

mod identify;
mod perf;
mod ping;

use std::{sync::Arc, time::Duration};

use septa_core::{
    ProtocolId,
    connection::{ReadError, StreamId},
    protocol,
    protocol::identify::{PushSchedule, RemoteInfo},
};

pub(crate) use self::{
    identify::{identify, identify_changed},
    perf::perf,
    ping::ping,
};
use crate::{error::OpenStreamError, shared::Shared, stream::Stream, waiters::Waiters};

/// Identify streams that are answered at the same time on one connection. Stops a peer that opens
/// many to make us hold an answer for each; one more is reset.
pub(crate) const MAX_IDENTIFY_STREAMS: usize = 10;
/// How long a stream that has served its purpose waits for the peer's end of it.
const GOODBYE: Duration = Duration::from_secs(1);

/// A protocol that the endpoint itself serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    Ping,
    Identify,
    IdentifyPush,
    Perf,
}

/// What the services keep of one connection.
#[derive(Debug)]
pub(crate) struct ServiceState {
    serves_perf: bool,
    counts: ServiceCounts,
    /// What the peer has said of itself. Boxed: most connections never hear anything.
    remote: Option<Box<RemoteInfo>>,
    push: PushSchedule,
    /// Who waits for the peer to say more of itself.
    pub(crate) informed: Waiters,
}

impl ServiceState {
    pub(crate) fn new(serves_perf: bool) -> Self {
        Self {
            serves_perf,
            counts: ServiceCounts::default(),
            remote: None,
            push: PushSchedule::default(),
            informed: Waiters::default(),
        }
    }

    /// The service with this protocol.
    pub(crate) fn of(&self, protocol: &ProtocolId) -> Option<Service> {
        match () {
            () if *protocol == protocol::ping::PROTOCOL => Some(Service::Ping),
            () if *protocol == protocol::identify::PROTOCOL => Some(Service::Identify),
            () if *protocol == protocol::identify::PUSH_PROTOCOL => Some(Service::IdentifyPush),
            () if *protocol == protocol::perf::PROTOCOL && self.serves_perf => Some(Service::Perf),
            () => None,
        }
    }

    /// Counts one more stream, or refuses it.
    pub(crate) fn begin(&mut self, service: Service) -> bool {
        let (count, max) = self.counts.entry(service);
        let admitted = *count < max;
        *count += usize::from(admitted);
        admitted
    }

    fn end(&mut self, service: Service) {
        *self.counts.entry(service).0 -= 1;
    }

    /// What the peer has said of itself, if it has.
    pub(crate) fn remote_identify(&self) -> Option<&RemoteInfo> {
        self.remote.as_deref().filter(|remote| remote.revision() > 0)
    }
}

/// How many streams of one connection each service answers now.
#[derive(Debug, Default)]
struct ServiceCounts {
    ping: usize,
    identify: usize,
    identify_push: usize,
    perf: usize,
}

impl ServiceCounts {
    /// How many there are and how many there may be.
    fn entry(&mut self, service: Service) -> (&mut usize, usize) {
        match service {
            Service::Ping => (&mut self.ping, protocol::ping::MAX_INBOUND_STREAMS),
            Service::Identify => (&mut self.identify, MAX_IDENTIFY_STREAMS),
            Service::IdentifyPush => (&mut self.identify_push, protocol::identify::MAX_INBOUND_PUSHES),
            Service::Perf => (&mut self.perf, protocol::perf::MAX_INBOUND_STREAMS),
        }
    }
}

/// Answers an inbound stream on a task of its own.
pub(crate) fn spawn(shared: &Arc<Shared>, id: StreamId, service: Service) {
    let answered = Answered { shared: shared.clone(), service };
    let stream = Stream::of_service(shared, id);
    let endpoint = &shared.endpoint;
    match service {
        Service::Ping => endpoint.spawn("ping", async move { ping::answer(&answered, stream).await }),
        Service::Identify => endpoint.spawn("identify", async move { identify::answer(&answered, stream).await }),
        Service::IdentifyPush => {
            // Now, not when the task first runs: pushes are ordered as they arrived.
            let ticket = identify::ticket(shared);
            endpoint.spawn("identify push", async move { identify::answer_push(&answered, ticket, stream).await });
        }
        Service::Perf => endpoint.spawn("perf", async move { perf::answer(&answered, stream).await }),
    }
}

fn refused_or<E>(error: ReadError, open: fn(OpenStreamError) -> E, read: fn(ReadError) -> E) -> E {
    match error {
        ReadError::Refused(reason) => open(OpenStreamError::Refused(reason)),
        error => read(error),
    }
}

/// Counts a service stream down when its task ends, however it ends.
struct Answered {
    shared: Arc<Shared>,
    service: Service,
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.shared.task(|inner| inner.services().end(self.service));
    }
}
