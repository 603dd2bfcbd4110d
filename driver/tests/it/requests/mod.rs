//! Requests and answers between nodes, in both modes.

mod answering;
mod asking;
mod broadcasting;
mod cancelling;
mod dropped;
mod ending;
mod hostile;
mod limits;
mod occupying;
mod patience;

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{AbortHandle, BoxFuture, abortable},
};
use septa_core::{Instant, Multiaddr, PeerId, ProtocolId, varint};
use septa_driver::{
    Requests, Stream,
    node::IncomingStreams,
    requests::{Request, RequestError, RequestOptions, RequestsError},
};

use crate::node::Nodes;

const NAME: &str = "sum";
const MANY: &str = "/septa/rpc/sum/1.0.0";
const ONE: &str = "/test/sum/1";

/// Long enough for anything that works.
const ENOUGH: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Many requests on one stream.
    Many,
    /// One on each.
    One,
}

const MODES: [Mode; 2] = [Mode::Many, Mode::One];

impl Mode {
    fn open(self, nodes: &Nodes, number: usize, options: RequestOptions) -> Result<Requests, RequestsError> {
        match self {
            Self::Many => nodes.nodes[number].requests(NAME, options),
            Self::One => nodes.nodes[number].exchanges(ProtocolId::from_static(ONE), options),
        }
    }

    fn protocol(self) -> ProtocolId {
        match self {
            Self::Many => ProtocolId::from_static(MANY),
            Self::One => ProtocolId::from_static(ONE),
        }
    }
}

/// Node 0 is connected to all others, and all have opened the requests.
async fn connected(nodes: &Nodes, mode: Mode, options: &RequestOptions) -> Vec<Requests> {
    let requests = (0..nodes.nodes.len()).map(|number| mode.open(nodes, number, options.clone()).unwrap()).collect();
    for number in 1..nodes.nodes.len() {
        connect(nodes, number).await;
    }
    requests
}

/// Connects node 0 to another one.
async fn connect(nodes: &Nodes, number: usize) {
    let addr = listen(nodes, number).await;
    nodes.nodes[0].connect_to(&addr).await.unwrap();
}

async fn listen(nodes: &Nodes, number: usize) -> Multiaddr {
    nodes.nodes[number].listen(&nodes.addr(number as u32)).await.unwrap()
}

/// Answers everything with itself, backwards, until all is closed.
fn serve(nodes: &Nodes, requests: &Requests) {
    let requests = requests.clone();
    nodes.simulation.spawn("server", async move {
        while let Some(request) = requests.next().await {
            let body = backwards(request.body());
            let _ = request.respond(&body);
        }
    });
}

fn backwards(body: &[u8]) -> Vec<u8> {
    body.iter().rev().copied().collect()
}

type Outcome = Result<Bytes, RequestError>;

/// A request in a task of its own, which is dropped with this.
struct Asking {
    outcome: Arc<Mutex<(Option<Outcome>, Option<Waker>)>>,
    abort: AbortHandle,
}

impl Future for Asking {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let (outcome, waker) = &mut *self.outcome.lock().unwrap();
        *waker = Some(cx.waker().clone());
        outcome.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// Asks, in a task of its own.
fn ask(nodes: &Nodes, requests: &Requests, peer: PeerId, body: &[u8], timeout: Duration) -> Asking {
    let (task, abort) = abortable(by_hand(requests, peer, body, timeout));
    let outcome = Arc::new(Mutex::new((None, None)));
    let into = outcome.clone();
    nodes.simulation.spawn("asker", async move {
        if let Ok(outcome) = task.await {
            let mut into = into.lock().unwrap();
            into.0 = Some(outcome);
            into.1.take().into_iter().for_each(Waker::wake);
        }
    });
    Asking { outcome, abort }
}

/// A request to be polled by hand.
fn by_hand(requests: &Requests, peer: PeerId, body: &[u8], timeout: Duration) -> BoxFuture<'static, Outcome> {
    let (requests, body) = (requests.clone(), body.to_vec());
    async move { requests.request(peer, &body, timeout).await }.boxed()
}

/// [`by_hand`], polled once, so that it has its place in the line.
fn in_line(requests: &Requests, peer: PeerId, body: &[u8], timeout: Duration) -> BoxFuture<'static, Outcome> {
    let mut asking = by_hand(requests, peer, body, timeout);
    assert!((&mut asking).now_or_never().is_none(), "answered at once");
    asking
}

/// What can be taken without waiting, after a while.
async fn taken(nodes: &Nodes, requests: &Requests) -> Vec<Request> {
    nodes.sleep(Duration::from_millis(100)).await;
    let mut all = Vec::new();
    while let Some(next) = requests.next().now_or_never() {
        all.extend(next);
    }
    all
}

fn bodies(requests: &[Request]) -> Vec<&[u8]> {
    requests.iter().map(|request| &request.body()[..]).collect()
}

fn millis_since(nodes: &Nodes, begin: Instant) -> u128 {
    nodes.simulation.now().saturating_duration_since(begin).as_millis()
}

/// A message as it goes onto a stream, behind its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut buffer = [0; varint::MAX_LEN];
    [varint::encode(message.len() as u64, &mut buffer), message].concat()
}

/// A message of the stream of many: its kind, the number of the request, a body.
fn frame(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
    framed(&[&[kind, number], body].concat())
}

/// A stream of one node to another one, which answers.
async fn raw(nodes: &Nodes, from: usize, to: usize, mode: Mode, said: &[u8]) -> Stream {
    let mut stream = nodes.nodes[from].open_stream(&nodes.peer(to), &[mode.protocol()]).await.unwrap();
    stream.send(said).await.unwrap();
    stream
}

/// Says `words` on the first stream that a peer opens, once something came, and leaves it open.
fn say(nodes: &Nodes, mut streams: IncomingStreams, words: Vec<Vec<u8>>) -> Arc<Mutex<Option<Stream>>> {
    let kept = Arc::new(Mutex::new(None));
    let into = Arc::downgrade(&kept);
    nodes.simulation.spawn("a peer of few words", async move {
        let Some(mut inbound) = streams.next().await else { return };
        let _ = inbound.stream.read_chunk().await;
        for word in words {
            let _ = inbound.stream.send(&word).await;
        }
        if let Some(into) = into.upgrade() {
            *into.lock().unwrap() = Some(inbound.stream);
        }
        while streams.next().await.is_some() {}
    });
    kept
}
