//! Requests and their answers between nodes, in both modes.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::future::{Either, join, join_all, join3, select};
use septa_core::{
    PeerId, ProtocolId,
    node::{Config, RateLimits},
};

use super::{
    ends::{Ends, any_addr},
    polled::{at_every_poll, polled},
    world::{LONG, identity, pattern},
};
use crate::{
    node::{Node, NodeBuilder},
    requests::{RequestError, RequestOptions, Requests, RespondError},
};

const EXCHANGE: ProtocolId = ProtocolId::from_static("/test/exchange/1");
/// Long enough for what works, short enough for what does not.
const MOMENT: Duration = Duration::from_millis(50);

/// Alice is connected to bob, and both ask and answer.
struct World {
    alice: Node,
    bob: Node,
    near: Requests,
    far: Requests,
}

impl World {
    /// One in each mode.
    async fn both(ends: &Ends) -> [Self; 2] {
        let mut options = RequestOptions::default();
        // One that is left would block the next one.
        options.config.max_pending = 2;
        let many = Self::with(ends, |node| node.requests("contract", options.clone()).unwrap()).await;
        let one = Self::with(ends, |node| node.exchanges(EXCHANGE, options.clone()).unwrap()).await;
        [many, one]
    }

    async fn with(ends: &Ends, open: impl Fn(&Node) -> Requests) -> Self {
        let alice = builder(1).build(ends.dialer.clone()).unwrap();
        let bob = builder(2).build(ends.listener.clone()).unwrap();
        let (near, far) = (open(&alice), open(&bob));
        let addr = bob.listen(&any_addr()).await.unwrap();
        alice.connect_to(&addr).await.unwrap();
        Self { alice, bob, near, far }
    }

    /// Runs `future` while bob answers.
    async fn answered<T>(&self, future: impl Future<Output = T>) -> T {
        match select(pin!(future), pin!(answer(&self.far))).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => panic!("the answerer has ended"),
        }
    }

    async fn end(self) {
        join(self.alice.shutdown(LONG), self.bob.shutdown(LONG)).await;
        for node in [&self.alice, &self.bob] {
            assert_eq!((node.live_tasks(), node.stats().connections, node.health().panicked_tasks), (0, 0, 0));
        }
    }
}

fn builder(seed: u8) -> NodeBuilder {
    // All come from one address, and faster than strangers may.
    let mut rates = RateLimits::inbound_connects();
    (rates.prefix.burst, rates.overall.burst) = (100_000, 100_000);
    let config = Config { connect_rates: rates, handshake_rates: rates, ..Config::default() };
    Node::builder(identity(seed)).config(config)
}

fn backwards(body: &[u8]) -> Bytes {
    body.iter().rev().copied().collect()
}

/// Answers everything with itself, backwards. The peer may have given up.
async fn answer(requests: &Requests) {
    while let Some(request) = requests.next().await {
        let answer = backwards(request.body());
        let _ = request.respond(&answer);
    }
}

async fn ask(requests: &Requests, peer: PeerId, size: usize) {
    let body = pattern(size);
    let got = requests.request(peer, &body, LONG).await.unwrap();
    assert!(got == backwards(&body), "{} bytes came for {size}", got.len());
}

/// Both ends ask and answer at once, more than may be pending.
pub async fn every_request_has_its_answer(ends: &Ends) {
    for world in World::both(ends).await {
        let (alice, bob) = (world.alice.peer_id(), world.bob.peer_id());
        let sizes = [0, 1, 127, 128, 20_000, 300_000, 5, 1024 * 1024];
        let asks = |requests, peer| join_all(sizes.iter().cycle().take(24).map(move |size| ask(requests, peer, *size)));
        let asking = join(asks(&world.near, bob), asks(&world.far, alice));
        match select(pin!(asking), pin!(join(answer(&world.near), answer(&world.far)))).await {
            Either::Left(_) => {}
            Either::Right(_) => panic!("the answerers have ended"),
        }
        world.end().await;
    }
}

/// Who does not answer in time is not waited for, and hears it.
pub async fn a_request_has_its_deadline(ends: &Ends) {
    for world in World::both(ends).await {
        let peer = world.bob.peer_id();
        let hold = async {
            let request = world.far.next().await.unwrap();
            request.cancelled().await;
            assert_eq!(request.respond(b"late"), Err(RespondError::Cancelled));
        };
        // It may take longer than the deadline until the first one is sent.
        let give_up = async {
            let mut timeout = MOMENT;
            loop {
                let failed = world.near.request(peer, b"?", timeout).await;
                assert_eq!(failed, Err(RequestError::TimedOut { peer }));
                timeout *= 2;
            }
        };
        if let Either::Right(((), _)) = select(pin!(hold), pin!(give_up)).await {
            panic!("it was answered");
        }
        world.answered(ask(&world.near, peer, 100)).await;
        world.end().await;
    }
}

/// A request that is dropped takes nobody's place.
pub async fn cancelled_requests(ends: &Ends) {
    for world in World::both(ends).await {
        let peer = world.bob.peer_id();
        let body = pattern(100_000);
        world
            .answered(at_every_poll(async |polls| {
                let mut done = 0;
                for _ in 0..5 {
                    done += usize::from(polled(polls, world.near.request(peer, &body, LONG)).await.is_some());
                }
                ask(&world.near, peer, 100).await;
                done == 5
            }))
            .await;
        world.end().await;
    }
}

/// Who waits for an answer or a request when all is closed hears it, at both ends.
pub async fn close_wakes_who_asks_and_who_answers(ends: &Ends) {
    for world in World::both(ends).await {
        let (alice, bob) = (world.alice.peer_id(), world.bob.peer_id());
        let close = async {
            let request = world.far.next().await.unwrap();
            world.near.close();
            request.cancelled().await;
        };
        let (asked, next, ()) = join3(world.near.request(bob, b"?", LONG), world.near.next(), close).await;
        assert_eq!(asked, Err(RequestError::Closed { protocol: world.near.protocol().clone() }));
        assert!(next.is_none());
        let refused = world.far.request(alice, b"?", LONG).await;
        assert!(matches!(refused, Err(RequestError::Unsupported { .. })), "{refused:?}");
        world.end().await;
    }
}

/// Each peer has its result: the one that answers, and the one that does not know the protocol.
pub async fn a_broadcast_has_a_result_for_each(ends: &Ends) {
    for world in World::both(ends).await {
        let carol = builder(3).build(ends.listener.clone()).unwrap();
        let addr = carol.listen(&any_addr()).await.unwrap();
        world.alice.connect_to(&addr).await.unwrap();
        let (bob, carol_id) = (world.bob.peer_id(), carol.peer_id());
        let body = Bytes::from(pattern(5000));
        let broadcast = world.near.broadcast([carol_id, bob], body.clone(), LONG, 2);
        let results = world.answered(broadcast).await;
        let expected = [(bob, Ok(backwards(&body))), (carol_id, Err(RequestError::Unsupported { peer: carol_id }))];
        assert_eq!(results, BTreeMap::from(expected));
        join(carol.shutdown(LONG), world.end()).await;
    }
}
