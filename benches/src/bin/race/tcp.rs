//! Plain TCP through tokio: the floor. A connection is its only stream.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use septa_race_scenarios::{Failure, Messages, Network, READ_LEN, Server, read_to_end};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

pub(crate) struct Tcp;

impl Network for Tcp {
    type Connection = Mutex<Option<TcpStream>>;
    type Stream = Compat<TcpStream>;
    type Messages = Framed;

    fn new() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn listen(&self, server: Arc<Server>) -> Result<String, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, server.clone()))),
                    Err(error) => server.failed(error),
                }
            }
        });
        Ok(address.to_string())
    }

    async fn dial(&self, address: &str) -> Result<Self::Connection, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Mutex::new(Some(stream)))
    }

    async fn open(connection: &Self::Connection) -> Result<Self::Stream, Failure> {
        let stream = connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(stream.ok_or("TCP has only one stream")?.compat())
    }

    async fn messages(&self, address: &str) -> Result<Framed, Failure> {
        let stream = Self::open(&self.dial(address).await?).await?;
        Ok(Framed(BufWriter::with_capacity(READ_LEN, stream)))
    }

    async fn count_messages(stream: &mut Self::Stream, _: usize) -> io::Result<u64> {
        let mut frames = Frames::default();
        read_to_end(stream, |piece| frames.read(piece)).await?;
        Ok(frames.count)
    }

    /// Its stream, which is the connection, was dropped.
    async fn close(_: Self::Connection) -> Result<(), Failure> {
        Ok(())
    }
}

async fn serve(stream: TcpStream, server: Arc<Server>) {
    let _counted = server.connection();
    match stream.set_nodelay(true) {
        Ok(()) => server.serve::<Tcp>(stream.compat()).await,
        Err(error) => server.failed(error),
    }
}

/// Messages behind prefixes of four bytes, collected until there are 64 KiB.
pub(crate) struct Framed(BufWriter<Compat<TcpStream>>);

impl Messages for Framed {
    async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.0.write_all(&u32::try_from(message.len())?.to_be_bytes()).await?;
        Ok(self.0.write_all(message).await?)
    }

    async fn finish(mut self) -> Result<u64, Failure> {
        self.0.close().await?;
        let mut received = [0; 8];
        self.0.get_mut().read_exact(&mut received).await?;
        Ok(u64::from_be_bytes(received))
    }
}

/// Finds the messages in what is read.
#[derive(Default)]
struct Frames {
    /// A message, or a prefix, that is not whole yet.
    begun: Vec<u8>,
    count: u64,
}

impl Frames {
    fn read(&mut self, piece: &[u8]) {
        self.begun.extend_from_slice(piece);
        let mut rest = &self.begun[..];
        while let Some((prefix, behind)) = rest.split_first_chunk() {
            let Some((message, behind)) = behind.split_at_checked(u32::from_be_bytes(*prefix) as usize) else { break };
            std::hint::black_box(message);
            self.count += 1;
            rest = behind;
        }
        let left = rest.len();
        self.begun.drain(..self.begun.len() - left);
    }
}
