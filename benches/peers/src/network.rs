//! A swarm in a task, and handles on it.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, OnceLock},
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, SwarmBuilder,
    multiaddr::Protocol,
    noise,
    swarm::{
        ConnectionId, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use septa_race_scenarios::{Failure, Network, Server, StreamMessages};
use tokio::sync::{mpsc, oneshot};

use crate::behaviour::{Behaviour, Request};

/// A node: TCP, Noise and Yamux as rust-libp2p sets them up by default, and no other protocol than the one
/// that is raced.
pub(crate) struct RustLibp2p {
    commands: mpsc::Sender<Command>,
    server: Arc<OnceLock<Arc<Server>>>,
}

/// A connection that was dialed.
pub(crate) struct Connection {
    id: ConnectionId,
    requests: mpsc::Sender<Request>,
    commands: mpsc::Sender<Command>,
}

impl Network for RustLibp2p {
    type Connection = Connection;
    type Stream = Stream;
    type Messages = StreamMessages<Self>;

    fn new() -> Result<Self, Failure> {
        let behaviour = Behaviour::default();
        let server = behaviour.server.clone();
        let swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
            .with_behaviour(|_| behaviour)?
            // The default of 128 drops the streams that exceed it, in silence.
            .with_swarm_config(|swarm| swarm.with_max_negotiating_inbound_streams(512))
            .build();
        let (commands, inbox) = mpsc::channel(128);
        let task =
            Task { swarm, server: server.clone(), dials: HashMap::new(), closing: HashMap::new(), listening: None };
        tokio::spawn(task.run(inbox));
        Ok(Self { commands, server })
    }

    async fn listen(&self, server: Arc<Server>) -> Result<String, Failure> {
        self.server.set(server).map_err(|_| "this node listens already")?;
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Listen(reply)).await?;
        answer.await?
    }

    async fn dial(&self, address: &str) -> Result<Connection, Failure> {
        let mut address: Multiaddr = address.parse()?;
        let Some(Protocol::P2p(peer)) = address.pop() else { return Err("the address names no peer".into()) };
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Dial(address, peer, reply)).await?;
        let (id, requests) = answer.await??;
        Ok(Connection { id, requests, commands: self.commands.clone() })
    }

    async fn open(connection: &Connection) -> Result<Stream, Failure> {
        let (reply, answer) = oneshot::channel();
        connection.requests.send(reply).await?;
        answer.await?
    }

    async fn messages(&self, address: &str) -> Result<StreamMessages<Self>, Failure> {
        StreamMessages::dial(self, address).await
    }

    async fn close(connection: Connection) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        connection.commands.send(Command::Close(connection.id, reply)).await?;
        answer.await?
    }
}

type Reply<T> = oneshot::Sender<Result<T, Failure>>;
type Dialed = (ConnectionId, mpsc::Sender<Request>);

enum Command {
    Listen(Reply<String>),
    Dial(Multiaddr, PeerId, Reply<Dialed>),
    Close(ConnectionId, Reply<()>),
}

struct Task {
    swarm: Swarm<Behaviour>,
    server: Arc<OnceLock<Arc<Server>>>,
    listening: Option<Reply<String>>,
    dials: HashMap<ConnectionId, Reply<Dialed>>,
    closing: HashMap<ConnectionId, Reply<()>>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut commanded = true;
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = inbox.recv(), if commanded => match command {
                    Some(command) => self.on_command(command),
                    // Connections live on without their node, as Septa's do.
                    None => commanded = false,
                },
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Listen(reply) => match "/ip4/127.0.0.1/tcp/0".parse().map(|address| self.swarm.listen_on(address))
            {
                Ok(Ok(_)) => self.listening = Some(reply),
                outcome => answer(reply, Err(format!("cannot listen: {outcome:?}").into())),
            },
            Command::Dial(address, peer, reply) => {
                let options = DialOpts::peer_id(peer).addresses(vec![address]).condition(PeerCondition::Always).build();
                let connection = options.connection_id();
                match self.swarm.dial(options) {
                    Ok(()) => drop(self.dials.insert(connection, reply)),
                    Err(error) => answer(reply, Err(with_sources(&error).into())),
                }
            }
            Command::Close(connection, reply) => {
                if self.swarm.close_connection(connection) {
                    self.closing.insert(connection, reply);
                } else {
                    answer(reply, Err("the connection was lost".into()));
                }
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<std::convert::Infallible>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                let address = address.with(Protocol::P2p(*self.swarm.local_peer_id()));
                if let Some(reply) = self.listening.take() {
                    answer(reply, Ok(address.to_string()));
                }
            }
            SwarmEvent::ConnectionEstablished { connection_id: id, .. } => {
                if let (Some(reply), Some(requests)) = (self.dials.remove(&id), self.swarm.behaviour_mut().take(id)) {
                    answer(reply, Ok((id, requests)));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id: id, error, .. } => {
                if let Some(reply) = self.dials.remove(&id) {
                    answer(reply, Err(with_sources(&error).into()));
                }
            }
            SwarmEvent::ConnectionClosed { connection_id: id, cause, .. } => {
                if let Some(reply) = self.closing.remove(&id) {
                    answer(reply, cause.map_or(Ok(()), |cause| Err(with_sources(&cause).into())));
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                if let Some(server) = self.server.get() {
                    server.failed(with_sources(&error));
                }
            }
            _ => {}
        }
    }
}

/// The asker may have given up.
fn answer<T>(reply: Reply<T>, result: Result<T, Failure>) {
    let _ = reply.send(result);
}

/// libp2p keeps the reason in the sources of an error.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
