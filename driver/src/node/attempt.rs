//! One attempt to reach a peer: a name is resolved or an address connected, until the core has enough of it.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use septa_core::{
    Multiaddr,
    node::{AttemptId, DialFailure},
};

use super::shared::NodeShared;
use crate::target::Target;

/// How the core calls an attempt off.
#[derive(Default)]
pub(super) struct Abort(Mutex<AbortState>);

#[derive(Default)]
struct AbortState {
    aborted: bool,
    task: Option<Waker>,
}

impl Abort {
    pub(super) fn abort(&self) {
        let task = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.aborted = true;
            state.task.take()
        };
        task.into_iter().for_each(Waker::wake);
    }

    fn poll_aborted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.aborted {
            return Poll::Ready(());
        }
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// What is to be done with an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Resolve,
    Dial,
}

/// Makes the attempt on a task of its own, which ends when `abort` says so.
pub(super) fn start(node: &Arc<NodeShared>, id: AttemptId, addr: Multiaddr, step: Step, abort: Arc<Abort>) {
    let attempt = {
        let node = node.clone();
        async move {
            let work = async {
                match step {
                    Step::Resolve => resolve(&node, id, &addr).await,
                    Step::Dial => dial(&node, id, &addr).await,
                }
            };
            let mut work = pin!(work);
            poll_fn(|cx| match abort.poll_aborted(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => work.as_mut().poll(cx),
            })
            .await;
            // The node may wait for nothing but this.
            node.tell(|state, _| state.attempts.remove(&id));
        }
    };
    node.endpoint.spawn("dial", attempt);
}

async fn resolve(node: &Arc<NodeShared>, id: AttemptId, addr: &Multiaddr) {
    let Some(target) = Target::of(addr) else { return node.dial_failed(id, DialFailure::Other) };
    match target.resolve(&*node.endpoint.runtime).await {
        Ok(addrs) => {
            let addrs: Vec<Multiaddr> = addrs.into_iter().map(Multiaddr::from_socket_addr).collect();
            node.tell(|state, now| state.core.handle_resolved(now, id, &addrs));
        }
        Err(_) => node.dial_failed(id, DialFailure::ResolveFailed),
    }
}

async fn dial(node: &Arc<NodeShared>, id: AttemptId, addr: &Multiaddr) {
    let Some(Target::Addr(addr)) = Target::of(addr) else { return node.dial_failed(id, DialFailure::Other) };
    match node.endpoint.runtime.connect(addr).await {
        Ok(socket) => node.dialed(id, socket),
        Err(error) => node.dial_failed(id, failure(error.kind())),
    }
}

fn failure(kind: io::ErrorKind) -> DialFailure {
    match kind {
        io::ErrorKind::ConnectionRefused => DialFailure::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            DialFailure::Unreachable
        }
        io::ErrorKind::TimedOut => DialFailure::TimedOut,
        _ => DialFailure::Other,
    }
}
