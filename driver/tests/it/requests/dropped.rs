//! Tasks that a runtime drops: whoever waits for them hears it.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{AbortHandle, abortable},
};
use septa_core::{Identity, Instant, Seed};
use septa_driver::{
    Node,
    requests::{RequestError, RequestOptions},
    runtime::{Acceptor, BoxFuture, Runtime, Socket, Timer},
};
use septa_sim::Simulation;

use super::{ENOUGH, MODES, Mode, ask, connect, serve};
use crate::{node::Nodes, world::calm};

/// A host that drops tasks of one name.
#[derive(Debug)]
struct Dropping {
    host: Arc<dyn Runtime>,
    victim: &'static str,
    fate: Mutex<Fate>,
}

#[derive(Debug, Default)]
struct Fate {
    live: Vec<AbortHandle>,
    /// No more begin, either.
    is_sealed: bool,
}

impl Dropping {
    fn drop_tasks(&self) {
        let mut fate = self.fate.lock().unwrap();
        fate.live.drain(..).for_each(|task| task.abort());
    }

    fn begin_none(&self, is_sealed: bool) {
        self.fate.lock().unwrap().is_sealed = is_sealed;
    }
}

impl Runtime for Dropping {
    fn now(&self) -> Instant {
        self.host.now()
    }
    fn unix_time(&self) -> Duration {
        self.host.unix_time()
    }
    fn timer(&self) -> Box<dyn Timer> {
        self.host.timer()
    }
    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        if name != self.victim {
            return self.host.spawn(name, task);
        }
        let (task, handle) = abortable(task);
        let is_sealed = {
            let mut fate = self.fate.lock().unwrap();
            fate.live.push(handle);
            fate.is_sealed
        };
        if is_sealed {
            drop(task);
        } else {
            self.host.spawn(name, Box::pin(task.map(drop)));
        }
    }
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.host.spawn_blocking(work);
    }
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        self.host.connect(addr)
    }
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        self.host.listen(addr)
    }
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.host.resolve(host, port)
    }
    fn seed(&self) -> Seed {
        self.host.seed()
    }
}

/// Two nodes, of which the first drops tasks of this name.
fn nodes(victim: &'static str) -> (Nodes, Arc<Dropping>) {
    let simulation = Arc::new(Simulation::with_order(1, calm().order));
    let dropping = Arc::new(Dropping { host: simulation.host("host 0"), victim, fate: Mutex::default() });
    let hosts: Vec<Arc<dyn Runtime>> = vec![dropping.clone(), simulation.host("host 1")];
    let nodes = hosts
        .iter()
        .zip(1..)
        .map(|(host, seed)| Node::builder(Identity::from_ed25519_seed([seed; 32])).build(host.clone()).unwrap());
    (Nodes { nodes: nodes.collect(), simulation, hosts }, dropping)
}

#[test]
fn without_the_task_that_reads_a_stream_what_was_asked_on_it_is_cancelled() {
    for mode in MODES {
        let (nodes, dropping) = nodes("requests from a peer");
        nodes.run(async {
            let requests = [0, 1].map(|number| mode.open(&nodes, number, RequestOptions::default()).unwrap());
            connect(&nodes, 1).await;
            let near = nodes.peer(0);
            let asking = ask(&nodes, &requests[1], near, b"?", ENOUGH);
            let asked = requests[0].next().await.unwrap();
            dropping.drop_tasks();
            asked.cancelled().await;
            let failed = asking.await;
            assert!(
                matches!(failed, Err(RequestError::Lost { .. } | RequestError::Refused { .. })),
                "{mode:?} {failed:?}"
            );
            // One that never runs takes no place.
            dropping.begin_none(true);
            for _ in 0..200 {
                assert!(requests[1].request(near, b"?", ENOUGH).await.is_err());
            }
            dropping.begin_none(false);
            serve(&nodes, &requests[0]);
            assert_eq!(requests[1].request(near, b"ab", ENOUGH).await.unwrap(), "ba");
            drop((asked, requests));
        });
        nodes.end();
    }
}

#[test]
fn without_the_task_of_a_stream_that_was_asked_on_all_that_was_asked_is_lost() {
    let (nodes, dropping) = nodes("requests to a peer");
    nodes.run(async {
        let requests = [0, 1].map(|number| Mode::Many.open(&nodes, number, RequestOptions::default()).unwrap());
        connect(&nodes, 1).await;
        let peer = nodes.peer(1);
        let asking = ask(&nodes, &requests[0], peer, b"?", ENOUGH);
        let asked = requests[1].next().await.unwrap();
        dropping.drop_tasks();
        assert_eq!(asking.await, Err(RequestError::Lost { peer }));
        asked.cancelled().await;
        serve(&nodes, &requests[1]);
        assert_eq!(requests[0].request(peer, b"ab", ENOUGH).await.unwrap(), "ba");
        drop((asked, requests));
    });
    nodes.end();
}

#[test]
fn without_the_task_that_takes_streams_in_all_is_closed() {
    for mode in MODES {
        let (nodes, dropping) = nodes("requests");
        nodes.run(async {
            let requests = [0, 1].map(|number| mode.open(&nodes, number, RequestOptions::default()).unwrap());
            connect(&nodes, 1).await;
            let asking = ask(&nodes, &requests[0], nodes.peer(1), b"?", ENOUGH);
            let asked = requests[1].next().await.unwrap();
            let drop_tasks = async { dropping.drop_tasks() };
            let (next, ()) = futures_util::future::join(requests[0].next(), drop_tasks).await;
            assert!(next.is_none(), "{mode:?}");
            assert!(matches!(asking.await, Err(RequestError::Closed { .. })));
            asked.cancelled().await;
            drop((asked, requests));
        });
        nodes.end();
        // One that never runs.
        let (nodes, dropping) = nodes_without_listener();
        nodes.run(async {
            let requests = mode.open(&nodes, 0, RequestOptions::default()).unwrap();
            assert!(requests.next().await.is_none());
            drop((requests, dropping));
        });
        nodes.end();
    }
}

fn nodes_without_listener() -> (Nodes, Arc<Dropping>) {
    let (nodes, dropping) = nodes("requests");
    dropping.begin_none(true);
    (nodes, dropping)
}
