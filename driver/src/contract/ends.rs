//! What the suite runs on.

use std::{fmt, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use septa_core::Multiaddr;

use crate::{
    runtime::{Runtime, Timer},
    time::{after, within},
};

/// A case that takes longer hangs. The longest take seconds, and on a slow machine that is busy a minute.
const HANGS: Duration = Duration::from_secs(600);

type BlockOn = dyn Fn(Pin<Box<dyn Future<Output = ()> + '_>>);

/// The runtimes of two ends that reach each other over loopback, and a way to wait for a future. Both may be the same.
///
/// `localhost` must resolve on the dialer's.
pub struct Ends {
    pub(super) dialer: Arc<dyn Runtime>,
    pub(super) listener: Arc<dyn Runtime>,
    block_on: Box<BlockOn>,
}

impl Ends {
    /// `block_on` runs a future to its end while the tasks of both runtimes run too.
    pub fn new(
        dialer: Arc<dyn Runtime>,
        listener: Arc<dyn Runtime>,
        block_on: impl Fn(Pin<Box<dyn Future<Output = ()> + '_>>) + 'static,
    ) -> Self {
        Self { dialer, listener, block_on: Box::new(block_on) }
    }

    /// Runs one case. Panics if it fails or hangs.
    pub fn run(&self, case: impl AsyncFnOnce(&Self)) {
        (self.block_on)(Box::pin(async {
            let runtime = &*self.dialer;
            within(runtime, after(runtime, HANGS), case(self)).await.expect("the case hangs");
        }));
    }

    /// Lets time pass. Only for what has no other sign, and never so that a case would fail on a slow machine.
    pub(super) async fn pause(&self) {
        let mut timer: Box<dyn Timer> = self.dialer.timer();
        timer.reset(Some(after(&*self.dialer, Duration::from_millis(1))));
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
    }

    /// Asks until there is an answer. A peer answers only so many questions at once, and may not have noticed yet that an
    /// earlier one is over.
    pub(super) async fn until_answered<T, E>(&self, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(_) => self.pause().await,
            }
        }
    }

    /// Waits until `condition` is true, of which nobody tells.
    pub(super) async fn eventually(&self, mut condition: impl FnMut() -> bool) {
        while !condition() {
            self.pause().await;
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends").field("dialer", &self.dialer).field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// A free port of the loopback address.
pub(super) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(super) fn any_addr() -> Multiaddr {
    Multiaddr::from_socket_addr(any_port())
}
