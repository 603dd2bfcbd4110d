//! How a connection comes to be.
//!
//! | step | then | what may come of it |
//! |---|---|---|
//! | the dial goes there | after the latency, when nothing holds up that direction | nobody listens, too many wait, a [`DialFault`] |
//! | the answer comes back | after the latency, when nothing holds up either direction | the connection is there, at both ends, or an error |
//!
//! Whoever drops the future in between leaves nothing behind.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::Instant;
use septa_driver::runtime::Socket;

use crate::{
    network::{Held, HostId, Network},
    observer::Event,
    plan::DialFault,
    schedule::{Alarm, AlarmId},
    trace::Kind,
    world::NOBODY,
};

/// Dials from a host.
pub(crate) async fn dial(network: Arc<Network>, host: HostId, remote: SocketAddr) -> io::Result<Socket> {
    let dialed = go(&network, host, remote).await;
    if let Err(error) = &dialed {
        let entry = format!("{remote} {:?}", error.kind());
        network.trace.record(Kind::Dial, network.now(), host.into(), entry.as_bytes());
        network.observer.tell(Event::DialFailed { dialer: host, remote, why: error.kind() });
    }
    dialed
}

async fn go(network: &Arc<Network>, host: HostId, remote: SocketAddr) -> io::Result<Socket> {
    let to = network.host_of(host, remote.ip()).ok_or(io::ErrorKind::HostUnreachable)?;
    Passage::new(network, host, to, false).await;
    let fault = network.strike_dial(host, to, remote);
    if matches!(fault, Some(DialFault::Hanging | DialFault::Nat)) {
        return std::future::pending().await;
    }
    // What is asked for now is what the answer says; but who has gone by then does not accept it.
    let is_accepted = network.is_accepting(to, remote);
    Passage::new(network, host, to, true).await;
    match fault {
        Some(DialFault::Unreachable) => Err(io::ErrorKind::HostUnreachable.into()),
        _ if !is_accepted || fault == Some(DialFault::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
        _ => network.connect((host, to), remote, fault == Some(DialFault::BacklogFull)),
    }
}

/// A dial on its way there, or back. Nothing is in the way of a host to itself.
struct Passage<'n> {
    network: &'n Arc<Network>,
    dialer: HostId,
    to: HostId,
    is_back: bool,
    arrives: Instant,
    alarm: Option<AlarmId>,
    held: Held,
}

impl<'n> Passage<'n> {
    fn new(network: &'n Arc<Network>, dialer: HostId, to: HostId, is_back: bool) -> Self {
        let arrives = if dialer == to { network.now() } else { network.draw_arrival() };
        Self { network, dialer, to, is_back, arrives, alarm: None, held: Held::default() }
    }

    /// The directions that must be free: on the way back both, as the connection is used at once.
    fn ways(&self) -> [(HostId, HostId); 2] {
        let (there, back) = ((self.dialer, self.to), (self.to, self.dialer));
        [there, if self.is_back { back } else { there }]
    }

    fn stop_alarm(&mut self) {
        if let Some(id) = self.alarm.take() {
            self.network.schedule().stop(id);
        }
    }
}

impl Future for Passage<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let schedule = this.network.schedule();
        if this.network.now() < this.arrives {
            if !this.alarm.as_ref().is_some_and(|id| schedule.keep(id, cx.waker())) {
                this.stop_alarm();
                let (waker, deadline) = (cx.waker().clone(), this.arrives);
                let alarm = Alarm { waker, host: NOBODY, deadline, is_late: false };
                this.alarm = Some(schedule.set(Some(deadline), alarm));
            }
            return Poll::Pending;
        }
        this.stop_alarm();
        if this.dialer == this.to {
            return Poll::Ready(());
        }
        let ways = this.ways();
        this.network.pass(&ways, &mut this.held, cx.waker())
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.stop_alarm();
        if let Some(place) = self.held.place.take() {
            self.network.forget_dial(place);
        }
    }
}
