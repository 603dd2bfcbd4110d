//! A Septa node that is connected to a [`RustPeer`], and what both ends do with streams.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use septa_core::{ExpectedPeer, Identity, Multiaddr, PeerId, ProtocolId, Role, Seed, connection::Config};
use septa_driver::{Connection, Endpoint, Listener, ReadError, Stream, WriteError};
use septa_interop::{ECHO, RustPeer, RustPeerConfig, SINK, WAIT};

/// The bound of a scenario. Far above what it needs; a machine that is busy with other things must not
/// make a test fail.
pub(crate) const SCENARIO: Duration = Duration::from_secs(120);

/// Names a test for each role of Septa, of an `async fn(Role)`.
macro_rules! as_dialer_and_as_listener {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            use septa_core::Role;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn as_dialer() {
                $crate::support::within(super::$scenario(Role::Dialer)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn as_listener() {
                $crate::support::within(super::$scenario(Role::Listener)).await;
            }
        }
    )*};
}
pub(crate) use as_dialer_and_as_listener;

/// Waits for a whole scenario, or a part that has no bound of its own.
pub(crate) async fn within<T>(scenario: impl Future<Output = T>) -> T {
    tokio::time::timeout(SCENARIO, scenario).await.expect("the scenario does not end")
}

/// Both ends of one connection.
pub(crate) struct Pair {
    pub(crate) rust: RustPeer,
    pub(crate) septa: Endpoint,
    pub(crate) connection: Connection,
    _listener: Option<Listener>,
}

impl Pair {
    /// A connection to a peer that keeps idle ones.
    pub(crate) async fn new(role: Role) -> Self {
        Self::with(role, patient()).await
    }

    /// A connection in which Septa has `role`.
    pub(crate) async fn with(role: Role, config: RustPeerConfig) -> Self {
        let rust = RustPeer::spawn(config);
        let septa = endpoint();
        let (connection, listener) = match role {
            Role::Dialer => {
                let expected = ExpectedPeer::Exactly(septa_id(rust.peer_id()));
                let connection = septa.connect(&listen_addr(&rust).await, expected).await.unwrap();
                (connection, None)
            }
            Role::Listener => {
                let listener = listen(&septa).await;
                let dial = rust.dial(rust_addr(&listener.local_addr()), Some(rust_id(septa.peer_id())));
                let (dialed, accepted) = tokio::join!(dial, listener.accept());
                dialed.unwrap();
                (accepted.unwrap(), Some(listener))
            }
        };
        assert_eq!(connection.role(), role);
        assert_eq!(connection.peer_id(), septa_id(rust.peer_id()));
        Self { rust, septa, connection, _listener: listener }
    }

    /// Who Septa is, in libp2p's words.
    pub(crate) fn septa_peer(&self) -> libp2p::PeerId {
        rust_id(self.septa.peer_id())
    }

    /// Septa opens a stream.
    pub(crate) async fn we_open(&self, protocol: StreamProtocol) -> Stream {
        self.connection.open_stream(&[id(&protocol)]).await.unwrap()
    }

    /// rust-libp2p opens a stream; its end and ours.
    pub(crate) async fn they_open(&self, protocol: StreamProtocol) -> (libp2p::Stream, Stream) {
        let open = self.rust.open_stream(self.septa_peer(), protocol.clone());
        let (opened, accepted) = tokio::join!(open, self.connection.accept_stream());
        let accepted = accepted.unwrap();
        assert_eq!(accepted.protocol(), Some(id(&protocol)));
        (opened.unwrap(), accepted)
    }

    /// Echoes every stream that the peer opens from now on.
    pub(crate) fn serve_echo(&self) {
        let connection = self.connection.clone();
        tokio::spawn(async move {
            while let Ok(stream) = connection.accept_stream().await {
                tokio::spawn(echo_back(stream));
            }
        });
    }

    /// Shows that what happened did not harm the connection.
    pub(crate) async fn assert_works(&self) {
        assert_eq!(self.connection.close_reason(), None);
        echo(self.we_open(ECHO).await, &payload(1000, 17)).await;
    }
}

/// A peer that keeps idle connections.
pub(crate) fn patient() -> RustPeerConfig {
    RustPeerConfig { idle_timeout: Some(Duration::from_secs(300)), ..RustPeerConfig::default() }
}

/// A Septa node that serves [`ECHO`] and [`SINK`]; what it does with the streams is up to the test.
pub(crate) fn endpoint() -> Endpoint {
    let seeds = septa_tokio::TokioRuntime::current().unwrap();
    let identity = Identity::generate(septa_driver::Runtime::seed(&seeds));
    // What is written must be able to leave on the slowest machine.
    let config = Config { drain_timeout: Duration::from_secs(10), ..Config::default() };
    let builder =
        Endpoint::builder(identity).connection_config(config).serve([id(&ECHO), id(&SINK)]).serve_perf(u64::MAX);
    septa_tokio::build(builder).unwrap()
}

/// Somebody who is not there.
pub(crate) fn stranger() -> PeerId {
    Identity::generate(Seed::from_bytes([9; 32])).peer_id()
}

pub(crate) async fn listen(septa: &Endpoint) -> Listener {
    septa.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap()
}

/// Lets `rust` listen.
pub(crate) async fn listen_addr(rust: &RustPeer) -> Multiaddr {
    septa_addr(&rust.listen().await.unwrap())
}

pub(crate) fn id(protocol: &StreamProtocol) -> ProtocolId {
    ProtocolId::new(protocol.as_ref()).unwrap()
}

pub(crate) fn septa_id(peer: libp2p::PeerId) -> PeerId {
    PeerId::from_bytes(&peer.to_bytes()).unwrap()
}

pub(crate) fn rust_id(peer: PeerId) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(peer.as_bytes()).unwrap()
}

pub(crate) fn septa_addr(addr: &libp2p::Multiaddr) -> Multiaddr {
    addr.to_string().parse().unwrap()
}

pub(crate) fn rust_addr(addr: &Multiaddr) -> libp2p::Multiaddr {
    addr.to_string().parse().unwrap()
}

/// Bytes without a period that frames or buffers could hide behind.
pub(crate) fn payload(length: usize, salt: u64) -> Vec<u8> {
    let mut state = salt | 1;
    let mut bytes = Vec::with_capacity(length);
    for _ in 0..length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.push((state >> 56) as u8);
    }
    bytes
}

/// Sends `sent` while reading what comes back, finishes, reads to the end and compares. The stream may
/// belong to either end.
pub(crate) async fn echo(stream: impl AsyncRead + AsyncWrite, sent: &[u8]) {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        writer.write_all(sent).await?;
        writer.close().await
    };
    let mut received = Vec::new();
    let ((), _) = within(async { futures::try_join!(write, reader.read_to_end(&mut received)) }).await.unwrap();
    assert!(received == sent, "of {} bytes {} came back, or they changed", sent.len(), received.len());
}

/// Why a stream that was to be echoed failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EchoError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Copies what the peer sends until it finishes, then finishes too.
pub(crate) async fn echo_back(mut stream: Stream) -> Result<(), EchoError> {
    while let Some(mut chunk) = stream.read_chunk().await? {
        stream.write_chunk(&mut chunk).await?;
    }
    Ok(stream.finish()?)
}

/// Reads to the end of a stream of Septa's; the error that came instead, after what came before it.
pub(crate) async fn read_all(stream: &mut Stream) -> (Vec<u8>, Result<(), ReadError>) {
    let mut bytes = Vec::new();
    loop {
        match tokio::time::timeout(WAIT, stream.read_chunk()).await.expect("nothing more comes") {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (bytes, Ok(())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}
