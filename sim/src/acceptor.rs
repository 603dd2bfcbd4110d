//! Listeners of the simulated network.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use septa_driver::runtime::{Acceptor, Socket};

use crate::network::{HostId, Network};

/// Somebody who listens. Gone with it is what waits to be accepted.
pub(crate) struct SimAcceptor {
    network: Arc<Network>,
    host: HostId,
    local: SocketAddr,
}

impl SimAcceptor {
    pub(crate) fn new(network: Arc<Network>, host: HostId, local: SocketAddr) -> Self {
        Self { network, host, local }
    }
}

impl Acceptor for SimAcceptor {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        self.network.poll_accept(self.host, self.local.port(), cx)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Drop for SimAcceptor {
    fn drop(&mut self) {
        self.network.unlisten(self.host, self.local.port());
    }
}
