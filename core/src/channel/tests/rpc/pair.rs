//! A client and a server, and any network between them.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec,
    vec::Vec,
};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Ask { len: usize, seconds: u64 },
    Cancel(prop::sample::Index),
    ToServer(usize),
    ToClient(usize),
    Respond(prop::sample::Index, usize),
    Refuse(prop::sample::Index),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..300_usize, 1..20_u64).prop_map(|(len, seconds)| Op::Ask { len, seconds }),
        2 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        6 => (1..400_usize).prop_map(Op::ToServer),
        6 => (1..400_usize).prop_map(Op::ToClient),
        5 => (any::<prop::sample::Index>(), 0..300_usize).prop_map(|(pick, len)| Op::Respond(pick, len)),
        1 => any::<prop::sample::Index>().prop_map(Op::Refuse),
        1 => (0..4_u64).prop_map(Op::Wait),
    ]
}

/// Both ends, what is under way between them, and what each request should become.
struct World {
    client: Client,
    server: Server,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    now: u64,
    /// Requests that have not ended, with their bodies and deadlines.
    open: BTreeMap<RequestId, (Vec<u8>, u64)>,
    asked: BTreeMap<RequestId, Vec<u8>>,
    /// What the server has said: a response, or `None` for a refusal.
    said: BTreeMap<RequestId, Option<Vec<u8>>>,
    bodies: BTreeMap<RequestId, Vec<u8>>,
    ended: usize,
}

impl World {
    fn new() -> Self {
        Self {
            client: Client::new(&config()),
            server: Server::new(&config()),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            now: 0,
            open: BTreeMap::new(),
            asked: BTreeMap::new(),
            said: BTreeMap::new(),
            bodies: BTreeMap::new(),
            ended: 0,
        }
    }

    fn move_to_server(&mut self, len: usize) {
        let piece = self.client.peek_transmit();
        let piece = piece[..len.min(piece.len())].to_vec();
        self.client.transmitted(piece.len());
        self.to_server.extend(piece);
        if self.server.wants_input() {
            let chunk: Vec<u8> = self.to_server.drain(..len.min(self.to_server.len())).collect();
            self.server.handle_chunk(&mut Bytes::from(chunk));
        }
        self.poll_server();
    }

    fn poll_server(&mut self) {
        while let Some(asked) = self.server.poll_asked() {
            match asked {
                Asked::Request { id, body } => {
                    assert_eq!(self.bodies[&id], body);
                    assert!(self.asked.insert(id, body.to_vec()).is_none(), "asked once");
                }
                Asked::Cancelled { id } => {
                    assert!(!self.open.contains_key(&id));
                    self.asked.remove(&id).unwrap();
                }
            }
            assert!(self.asked.len() <= config().max_answering);
        }
        assert_eq!(self.server.failure(), None);
    }

    fn move_to_client(&mut self, len: usize) {
        let piece = self.server.peek_transmit();
        let piece = piece[..len.min(piece.len())].to_vec();
        self.server.transmitted(piece.len());
        self.to_client.extend(piece);
        if self.client.wants_input() {
            let chunk: Vec<u8> = self.to_client.drain(..len.min(self.to_client.len())).collect();
            self.client.handle_chunk(&mut Bytes::from(chunk));
        }
        self.poll_client();
        self.poll_server();
    }

    fn poll_client(&mut self) {
        while let Some(Answer { id, outcome }) = self.client.poll_answer() {
            let (_, deadline) = self.open.remove(&id).expect("a request ends once");
            self.ended += 1;
            match outcome {
                Outcome::Response(body) => assert_eq!(self.said[&id].as_ref().unwrap(), &body),
                Outcome::Refused(reason) => assert!(&*reason == "no" && self.said[&id].is_none()),
                Outcome::TimedOut => assert!(deadline <= self.now),
                Outcome::Lost => panic!("the stream is there"),
            }
        }
        assert_eq!(self.client.failure(), None);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        self.client.handle_timeout(at(self.now));
        self.poll_client();
        assert!(self.open.values().all(|(_, deadline)| *deadline > self.now), "a deadline has passed");
    }

    fn pick(&self, pick: prop::sample::Index) -> Option<RequestId> {
        let ids: Vec<RequestId> = self.asked.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[pick.index(ids.len())])
    }

    fn respond(&mut self, id: RequestId, len: usize) {
        let body = vec![!(len as u8); len];
        self.server.respond(id, &body).unwrap();
        self.asked.remove(&id);
        self.said.insert(id, Some(body));
        self.poll_server();
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Ask { len, seconds } => {
                let body = vec![len as u8; len];
                let outcome = self.client.request(at(self.now), &body, Duration::from_secs(seconds));
                assert!(outcome.is_ok() || self.open.len() == config().max_pending || self.client.wants_transmit());
                if let Ok(id) = outcome {
                    self.open.insert(id, (body.clone(), self.now + seconds));
                    self.bodies.insert(id, body);
                }
            }
            Op::Cancel(pick) => {
                let ids: Vec<RequestId> = self.open.keys().copied().collect();
                if !ids.is_empty() {
                    let id = ids[pick.index(ids.len())];
                    self.client.cancel(id);
                    self.open.remove(&id);
                    self.ended += 1;
                }
            }
            Op::ToServer(len) => self.move_to_server(len),
            Op::ToClient(len) => self.move_to_client(len),
            Op::Respond(pick, len) => {
                if let Some(id) = self.pick(pick) {
                    self.respond(id, len);
                }
            }
            Op::Refuse(pick) => {
                if let Some(id) = self.pick(pick) {
                    self.server.refuse(id, "no").unwrap();
                    self.asked.remove(&id);
                    self.said.insert(id, None);
                    self.poll_server();
                }
            }
            Op::Wait(seconds) => self.wait(seconds),
        }
        assert_eq!(self.client.stats().pending, self.open.len());
        assert_eq!(self.server.stats().answering, self.asked.len());
        let (asks, answers) = (self.client.stats(), self.server.stats());
        assert!(asks.queued_messages <= 8 + config().max_pending && answers.queued_messages <= 8 + 3);
    }
}

proptest! {
    #[test]
    fn each_request_ends_once_with_what_the_server_said(ops in prop::collection::vec(op(), 1..200)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        // The network is good from now on and the server answers everything: all ends, and long before a deadline.
        for _ in 0..200 {
            world.move_to_server(usize::MAX);
            while let Some(id) = world.asked.keys().next().copied() {
                world.respond(id, id.get() as usize % 300);
            }
            world.move_to_client(usize::MAX);
        }
        prop_assert!(world.open.is_empty());
        prop_assert_eq!(world.ended, world.bodies.len());
        let stats = world.client.stats();
        prop_assert_eq!(stats.answers + stats.cancelled + stats.timed_out, world.bodies.len() as u64);
        prop_assert_eq!(stats.unknown, 0, "an honest server answers only what was asked");
        world.client.finish();
        world.server.handle_eof();
        prop_assert_eq!(world.server.poll_asked(), None);
        prop_assert!(world.client.is_finished() && world.server.is_finished());
    }
}
