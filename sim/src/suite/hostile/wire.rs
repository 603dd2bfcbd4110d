//! A connection of somebody who is honest through Noise and then says whatever is wanted.

use std::{future::poll_fn, io, mem, sync::Arc, task::Poll};

use septa_core::{
    ExpectedPeer, Identity, ProtocolId, Role, SeedStream,
    connection::{NOISE, YAMUX},
    multistream::{Dialer, Listener, Progress},
    noise::{Credentials, Handshake, MAX_RECORD_PLAINTEXT, RECORD_HEADER_LEN, RECORD_OVERHEAD, Sealer},
};
use septa_driver::runtime::{Runtime, Socket, SocketReader, SocketWriter};

use super::super::party::draw;

/// One of them.
pub(super) struct Wire {
    pub(super) role: Role,
    reader: Box<dyn SocketReader>,
    writer: Box<dyn SocketWriter>,
    sealer: Option<Sealer>,
    /// What came and was not looked at.
    input: Vec<u8>,
    /// What comes is thrown away. Otherwise it waits in the sockets.
    pub(super) is_reading: bool,
    luck: SeedStream,
}

impl Wire {
    pub(super) fn new(socket: Socket, role: Role, luck: SeedStream) -> Self {
        let Socket { reader, writer, .. } = socket;
        Self { role, reader, writer, sealer: None, input: Vec::new(), is_reading: true, luck }
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.luck, below)
    }

    pub(super) fn garbage(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.luck.fill(&mut bytes);
        bytes
    }

    /// Agrees on Noise and on Yamux, and shows who it is.
    pub(super) async fn upgrade(&mut self, runtime: &dyn Runtime, identity: &Identity) -> io::Result<()> {
        self.negotiate(NOISE).await?;
        let mut seed = runtime.seed();
        let credentials = Arc::new(Credentials::new(identity, runtime.provider(), seed.child("credentials")));
        let seed = seed.child("handshake");
        let mut handshake = match self.role {
            Role::Dialer => Handshake::initiator(credentials, ExpectedPeer::Any, &[YAMUX], seed),
            Role::Listener => Handshake::responder(credentials, ExpectedPeer::Any, &[YAMUX], seed),
        };
        loop {
            let mut out = [0; 1024];
            let count = handshake.poll_transmit(&mut out);
            self.write(&out[..count]).await?;
            if handshake.is_finished() {
                break;
            }
            if !handshake.wants_transmit() {
                self.read_more().await?;
                let taken = handshake.handle_recv(&self.input).map_err(io::Error::other)?;
                self.input.drain(..taken);
            }
        }
        let finished = handshake.finish().map_err(|_| io::ErrorKind::Other)?;
        self.sealer = Some(finished.sealer);
        Ok(())
    }

    async fn negotiate(&mut self, protocol: ProtocolId) -> io::Result<()> {
        let (mut dialer, mut listener) =
            (Dialer::single(protocol.clone()), Listener::new([protocol].into_iter().collect()));
        loop {
            let mut out = [0; 256];
            let count = match self.role {
                Role::Dialer => dialer.poll_transmit(&mut out),
                Role::Listener => listener.poll_transmit(&mut out),
            };
            self.write(&out[..count]).await?;
            let taken = match self.role {
                Role::Dialer => dialer.handle_recv(&self.input),
                Role::Listener => listener.handle_recv(&self.input),
            };
            let (taken, progress) = taken.map_err(io::Error::other)?;
            self.input.drain(..taken);
            match progress {
                Progress::Agreed(_) if self.role == Role::Listener => {
                    let count = listener.poll_transmit(&mut out);
                    return self.write(&out[..count]).await;
                }
                Progress::Agreed(_) => return Ok(()),
                Progress::Unsupported => return Err(io::ErrorKind::Unsupported.into()),
                Progress::Pending => self.read_more().await?,
            }
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let count = poll_fn(|cx| self.reader.poll_read(cx, &mut buffer)).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[poll_fn(|cx| self.writer.poll_write(cx, bytes)).await?..];
        }
        Ok(())
    }

    /// Sends bytes as they are, and throws away what comes meanwhile.
    pub(super) async fn send_raw(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| {
                if self.is_reading
                    && let Poll::Ready(ended) = poll_drain(&mut *self.reader, cx)
                {
                    return Poll::Ready(Err(ended));
                }
                self.writer.poll_write(cx, bytes)
            });
            bytes = &bytes[count.await?..];
        }
        Ok(())
    }

    /// Sends plaintext in records that are cut anywhere.
    pub(super) async fn send(&mut self, mut plaintext: &[u8]) -> io::Result<()> {
        while !plaintext.is_empty() {
            let most = MAX_RECORD_PLAINTEXT >> self.draw(17);
            let (now, rest) = plaintext.split_at(plaintext.len().min(most.max(1)));
            plaintext = rest;
            let mut record = vec![0; now.len() + RECORD_OVERHEAD];
            record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + now.len()].copy_from_slice(now);
            let Some(sealer) = &mut self.sealer else { return Err(io::ErrorKind::NotConnected.into()) };
            sealer.seal_in_place(&mut record, now.len()).map_err(io::Error::other)?;
            self.send_raw(&record).await?;
        }
        Ok(())
    }

    /// Waits until the other end is gone.
    pub(super) async fn ended(&mut self) {
        mem::take(&mut self.input);
        poll_fn(|cx| poll_drain(&mut *self.reader, cx)).await;
    }
}

/// Reads until there is nothing; ready when the other end is gone.
fn poll_drain(reader: &mut dyn SocketReader, cx: &mut std::task::Context<'_>) -> Poll<io::Error> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match reader.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(0)) => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Pending => return Poll::Pending,
        }
    }
}
