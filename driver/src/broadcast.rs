//! The same thing done for many peers, so many at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use septa_core::{PeerId, channel::Broadcast};

/// Runs what `start` returns for each of `peers`, at most `max_parallel` at once, and gathers the results. Those are polled
/// that were woken, in the order in which they were. Dropping the future drops all of them.
pub(crate) async fn broadcast<R, F: Future<Output = R>>(
    peers: impl IntoIterator<Item = PeerId>,
    max_parallel: usize,
    mut start: impl FnMut(PeerId) -> F,
) -> BTreeMap<PeerId, R> {
    let mut books = Broadcast::new(peers, max_parallel);
    let woken = Arc::new(WokenPeers::default());
    let mut running: BTreeMap<PeerId, (Pin<Box<F>>, Waker)> = BTreeMap::new();
    poll_fn(|cx| {
        let mut due = woken.take(cx.waker());
        loop {
            for peer in due {
                let Some((future, waker)) = running.get_mut(&peer) else { continue };
                if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                    running.remove(&peer);
                    books.finish(peer, result);
                }
            }
            let Some(peer) = books.next_to_start() else { break };
            let waker = Waker::from(Arc::new(PeerWaker { peer, woken: woken.clone() }));
            running.insert(peer, (Box::pin(start(peer)), waker));
            due = vec![peer];
        }
        if books.is_done() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    books.into_results().collect()
}

/// The peers whose futures are to be polled.
#[derive(Default)]
struct WokenPeers(Mutex<Due>);

#[derive(Default)]
struct Due {
    /// Each once, in the order in which they were woken.
    order: Vec<PeerId>,
    peers: BTreeSet<PeerId>,
    /// Who polls them.
    task: Option<Waker>,
}

impl WokenPeers {
    fn take(&self, task: &Waker) -> Vec<PeerId> {
        let mut due = self.lock();
        due.task = Some(task.clone());
        due.peers.clear();
        std::mem::take(&mut due.order)
    }

    fn wake(&self, peer: PeerId) {
        let task = {
            let mut due = self.lock();
            if due.peers.insert(peer) {
                due.order.push(peer);
            }
            due.task.clone()
        };
        task.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct PeerWaker {
    peer: PeerId,
    woken: Arc<WokenPeers>,
}

impl Wake for PeerWaker {
    fn wake(self: Arc<Self>) {
        self.woken.wake(self.peer);
    }
}
