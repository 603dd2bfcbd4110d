//! A connection of somebody who is honest through Noise and then says whatever is wanted.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::{
    ExpectedPeer, Identity, ProtocolId, Role, SeedStream,
    connection::{NOISE, YAMUX},
    multistream::{Dialer, Listener, Progress},
    noise::{Credentials, Handshake, MAX_RECORD_PLAINTEXT, Opener, RECORD_HEADER_LEN, RECORD_OVERHEAD, Sealer},
};
use septa_driver::runtime::{Runtime, Socket, SocketReader, SocketWriter};

use super::{
    super::party::draw,
    frames::{ACK, PING, header},
    inbox::Inbox,
};

/// One of them.
pub(super) struct Wire {
    pub(super) role: Role,
    reader: Box<dyn SocketReader>,
    writer: Box<dyn SocketWriter>,
    records: Option<(Sealer, Opener)>,
    /// What came and was not looked at.
    input: Vec<u8>,
    /// What is to be written, and how much of it is.
    output: (Vec<u8>, usize),
    pub(super) inbox: Inbox,
    /// Otherwise what comes waits in the sockets.
    pub(super) is_reading: bool,
    /// Pings are answered as soon as they are heard.
    pub(super) answers_pings: bool,
    luck: SeedStream,
}

impl Wire {
    pub(super) fn new(socket: Socket, role: Role, luck: SeedStream) -> Self {
        let Socket { reader, writer, .. } = socket;
        Self {
            role,
            reader,
            writer,
            records: None,
            input: Vec::new(),
            output: (Vec::new(), 0),
            inbox: Inbox::default(),
            is_reading: true,
            answers_pings: true,
            luck,
        }
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.luck, below)
    }

    pub(super) fn garbage(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.luck.fill(&mut bytes);
        bytes
    }

    /// The id of the first stream that is the attacker's to open: those of dialers are odd.
    pub(super) fn first_id(&self) -> u32 {
        if self.role == Role::Dialer { 1 } else { 2 }
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
        let mut is_first = true;
        loop {
            let mut out = [0; 1024];
            let count = handshake.poll_transmit(&mut out);
            self.write(&out[..count]).await?;
            if handshake.is_finished() {
                break;
            }
            if !handshake.wants_transmit() {
                // A dialer may have sent its first message behind its proposal.
                if self.input.is_empty() || !is_first {
                    self.read_more().await?;
                }
                is_first = false;
                let taken = handshake.handle_recv(&self.input).map_err(io::Error::other)?;
                self.input.drain(..taken);
            }
        }
        let finished = handshake.finish().map_err(|_| io::ErrorKind::Other)?;
        self.records = Some((finished.sealer, finished.opener));
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

    /// Sends bytes as they are, and hears what comes meanwhile.
    pub(super) async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.0.extend_from_slice(bytes);
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.until(|wire| wire.output.0.is_empty()).await
    }

    /// Sends plaintext in records that are cut anywhere.
    pub(super) async fn send(&mut self, mut plaintext: &[u8]) -> io::Result<()> {
        while !plaintext.is_empty() {
            let most = MAX_RECORD_PLAINTEXT >> self.draw(17);
            let (now, rest) = plaintext.split_at(plaintext.len().min(most.max(1)));
            plaintext = rest;
            self.seal(now)?;
        }
        self.flush().await
    }

    /// Sends plaintext in one record.
    pub(super) async fn send_at_once(&mut self, plaintext: &[u8]) -> io::Result<()> {
        self.seal(plaintext)?;
        self.flush().await
    }

    fn seal(&mut self, plaintext: &[u8]) -> io::Result<()> {
        let Some((sealer, _)) = &mut self.records else { return Err(io::ErrorKind::NotConnected.into()) };
        let begin = self.output.0.len();
        self.output.0.resize(begin + plaintext.len() + RECORD_OVERHEAD, 0);
        let record = &mut self.output.0[begin..];
        record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + plaintext.len()].copy_from_slice(plaintext);
        sealer.seal_in_place(record, plaintext.len()).map_err(io::Error::other)?;
        Ok(())
    }

    /// Answers the pings that wait for that.
    pub(super) fn answer_pings(&mut self) -> io::Result<()> {
        let pongs: Vec<u8> =
            self.inbox.take_pings().into_iter().flat_map(|value| header(PING, ACK, 0, value)).collect();
        if pongs.is_empty() { Ok(()) } else { self.seal(&pongs) }
    }

    /// Ends the output.
    pub(super) async fn hang_up(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.writer.poll_shutdown(cx)).await
    }

    /// Waits until this is so.
    pub(super) async fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) -> io::Result<()> {
        poll_fn(|cx| {
            let moved = self.poll_move(cx);
            if holds(self) { Poll::Ready(Ok(())) } else { moved.map(Err) }
        })
        .await
    }

    /// Waits until the other end is gone.
    pub(super) async fn ended(&mut self) {
        self.is_reading = true;
        let _ = self.until(|_| false).await;
    }

    /// Reads and writes until both are blocked; ready when the other end is gone.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut buffer = [0; 16 * 1024];
        while self.is_reading {
            match self.reader.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Ok(count)) => {
                    if let Err(error) = self.hear(&buffer[..count]) {
                        return Poll::Ready(error);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => break,
            }
        }
        let (bytes, written) = &mut self.output;
        while *written < bytes.len() {
            match self.writer.poll_write(cx, &bytes[*written..]) {
                Poll::Ready(Ok(count)) => *written += count,
                // What it has said last may still come.
                Poll::Ready(Err(error)) if !self.is_reading => return Poll::Ready(error),
                Poll::Ready(Err(_)) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        bytes.clear();
        *written = 0;
        Poll::Pending
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((_, opener)) = &mut self.records else { return Ok(()) };
        self.input.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(header) = self.input[taken..].first_chunk::<RECORD_HEADER_LEN>() {
            let end = taken + RECORD_HEADER_LEN + usize::from(u16::from_be_bytes(*header));
            let Some(record) = self.input.get_mut(taken..end) else { break };
            let plaintext = opener.open_in_place(record).map_err(io::Error::other)?;
            self.inbox.take(plaintext);
            taken = end;
        }
        self.input.drain(..taken);
        if self.answers_pings { self.answer_pings() } else { Ok(()) }
    }
}
