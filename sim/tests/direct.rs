//! Nodes that are driven directly, in the simulated world.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Waker},
    time::Duration,
};

use septa_core::{
    Connection, ConnectionId, Identity, Instant, Multiaddr, PeerId, ProtocolId, Role,
    connection::{Event, ReadError},
    crypto::{Provider, RustCrypto},
    node::{self, Intent},
};
use septa_sim::{
    Cut, FastCrypto, LinkOptions, Order, Simulation, TraceHash,
    direct::{Application, Context, Direct, Setup},
    scenarios::{idle, mesh, pair},
};

const ECHO: ProtocolId = ProtocolId::from_static("/test/echo");

fn identity(number: u8) -> Identity {
    Identity::from_ed25519_seed([number; 32])
}

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// Dials its targets, sends each a word, and hears it from the target; logs everything that happens.
struct Talker {
    log: Log,
    targets: Vec<(PeerId, Multiaddr)>,
    /// Ends when so many words came back.
    words: usize,
}

impl Talker {
    fn log(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }
}

impl Application for Talker {
    fn started(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        for (peer, addr) in &self.targets {
            cx.node().add_peer(now, *peer, std::slice::from_ref(addr), Intent::Persistent).unwrap();
        }
    }

    fn node_event(&mut self, _: &mut Context<'_>, event: node::Event) {
        match event {
            node::Event::Opened { .. } => self.log("opened"),
            node::Event::Closed { reason, .. } => self.log(format!("closed: {reason}")),
            node::Event::DialFailed { .. } => self.log("dial failed"),
            _ => {}
        }
    }

    fn connection_event(&mut self, cx: &mut Context<'_>, _: ConnectionId, connection: &mut Connection, event: Event) {
        let mut buffer = [0; 100];
        match event {
            Event::Ready if connection.role() == Role::Dialer => {
                let id = connection.open(cx.now(), &[ECHO]).unwrap();
                connection.stream(id).write(b"word").unwrap();
                connection.stream(id).finish().unwrap();
                assert_eq!(connection.stream(id).read(&mut buffer), Err(ReadError::Blocked));
            }
            Event::Incoming => {
                while let Some(id) = connection.accept() {
                    let count = connection.stream(id).read(&mut buffer).unwrap();
                    connection.stream(id).write(&buffer[..count]).unwrap();
                    connection.stream(id).finish().unwrap();
                    assert_eq!(connection.stream(id).read(&mut buffer), Ok(0));
                    connection.stream(id).release();
                }
            }
            Event::Readable { id } => {
                let count = connection.stream(id).read(&mut buffer).unwrap();
                self.log(String::from_utf8_lossy(&buffer[..count]));
                self.words -= 1;
                if self.words == 0 {
                    cx.end();
                }
            }
            _ => {}
        }
    }
}

fn talker(log: &Log, targets: Vec<(PeerId, Multiaddr)>) -> Talker {
    let words = targets.len();
    Talker { log: log.clone(), targets, words }
}

fn target(simulation: &Simulation, number: u8) -> (PeerId, Multiaddr) {
    (identity(number).peer_id(), Multiaddr::from_socket_addr(SocketAddr::new(simulation.ip(number.into()), 4001)))
}

fn listening(simulation: &Simulation, number: u8) -> Setup {
    let listen = vec![SocketAddr::new(simulation.ip(number.into()), 4001)];
    Setup { listen, ..Setup::serving(identity(number), &[ECHO]) }
}

fn run_for(simulation: &Simulation, seconds: u64) {
    simulation.block_on(simulation.sleep(Duration::from_secs(seconds))).unwrap();
    assert_eq!(simulation.take_panics(), []);
}

#[test]
fn two_nodes_find_each_other_talk_and_part() {
    let (simulation, direct, log) = (Simulation::new(1), Direct::checked(), Log::default());
    direct.start(&simulation.host("one"), listening(&simulation, 1), talker(&Log::default(), Vec::new())).unwrap();
    let dialer = Setup::serving(identity(2), &[ECHO]);
    direct.start(&simulation.host("two"), dialer, talker(&log, vec![target(&simulation, 1)])).unwrap();
    run_for(&simulation, 10);
    assert_eq!(direct.violations(), []);
    assert_eq!(log.lock().unwrap()[..2], ["opened", "word"]);
    assert!(log.lock().unwrap()[2].starts_with("closed"));
    assert_eq!(simulation.live_tasks(), ["one: node"]);
    let counts = direct.counts();
    assert_eq!(counts.connections, 2);
    assert!(counts.deliveries >= 6 && counts.bytes > 500, "{counts:?}");
}

#[test]
fn one_node_talks_to_many_at_the_same_time() {
    let (simulation, direct, log) = (Simulation::with_order(1, Order::Seeded), Direct::checked(), Log::default());
    let cut = Cut::Random(40);
    simulation.set_link(LinkOptions {
        read_cut: cut,
        write_cut: cut,
        capacity: 500,
        latency: Duration::from_millis(3),
        jitter: Duration::from_millis(20),
        ..LinkOptions::default()
    });
    for number in 1..=20 {
        let host = simulation.host(&number.to_string());
        direct.start(&host, listening(&simulation, number), talker(&Log::default(), Vec::new())).unwrap();
    }
    let targets = (1..=20).map(|number| target(&simulation, number)).collect();
    direct.start(&simulation.host("hub"), Setup::serving(identity(99), &[ECHO]), talker(&log, targets)).unwrap();
    run_for(&simulation, 60);
    assert_eq!(direct.violations(), []);
    let log = log.lock().unwrap();
    for what in ["opened", "word"] {
        assert_eq!(log.iter().filter(|line| *line == what).count(), 20, "{log:?}");
    }
    assert!(!simulation.live_tasks().contains(&"hub: node".to_owned()));
}

#[test]
fn a_peer_that_is_not_there_yet_is_dialed_again() {
    let (simulation, direct, log) = (Simulation::new(1), Direct::checked(), Log::default());
    let one = simulation.host("one");
    let dialer = Setup::serving(identity(2), &[ECHO]);
    direct.start(&simulation.host("two"), dialer, talker(&log, vec![target(&simulation, 1)])).unwrap();
    run_for(&simulation, 1);
    assert_eq!(log.lock().unwrap()[..], ["dial failed"]);
    direct.start(&one, listening(&simulation, 1), talker(&Log::default(), Vec::new())).unwrap();
    run_for(&simulation, 10);
    assert_eq!(log.lock().unwrap()[1..3], ["opened", "word"]);
    assert_eq!(direct.violations(), []);
}

#[test]
fn a_listener_whose_accepts_fail_accepts_again_a_little_later() {
    let (simulation, direct, log) = (Simulation::new(1), Direct::checked(), Log::default());
    direct.start(&simulation.host("one"), listening(&simulation, 1), talker(&Log::default(), Vec::new())).unwrap();
    run_for(&simulation, 1);
    simulation.fail_accepts(SocketAddr::new(simulation.ip(1), 4001), std::io::ErrorKind::Other, 3);
    let dialer = Setup::serving(identity(2), &[ECHO]);
    direct.start(&simulation.host("two"), dialer, talker(&log, vec![target(&simulation, 1)])).unwrap();
    run_for(&simulation, 1);
    assert_eq!(log.lock().unwrap()[..2], ["opened", "word"]);
}

#[test]
fn a_node_that_cannot_listen_is_reported_and_ends() {
    let (simulation, direct) = (Simulation::new(1), Direct::new());
    let seen = Log::default();
    let reported = seen.clone();
    direct.on_violation(move |violation| reported.lock().unwrap().push(violation.to_string()));
    // The address is that of another host.
    direct.start(&simulation.host("one"), listening(&simulation, 2), talker(&Log::default(), Vec::new())).unwrap();
    run_for(&simulation, 1);
    assert!(direct.violations()[0].what.starts_with("it cannot listen at 10.0.0.2:4001"));
    assert_eq!(direct.violations()[0].cause(), "a node listens where it is to");
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert_eq!(simulation.live_tasks().len(), 0);
}

/// Asks for its timer a few times, and for none in the end.
struct Sleeper(Arc<Mutex<Vec<Instant>>>);

impl Application for Sleeper {
    fn started(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(Some(Instant::from_nanos(9)));
        cx.set_timer(Some(Instant::from_nanos(5)));
    }

    fn connection_event(&mut self, _: &mut Context<'_>, _: ConnectionId, _: &mut Connection, _: Event) {}

    fn timer(&mut self, cx: &mut Context<'_>) {
        let calls = {
            let mut calls = self.0.lock().unwrap();
            calls.push(cx.now());
            calls.len()
        };
        match calls {
            // Already past.
            1 => cx.set_timer(Some(Instant::from_nanos(3))),
            2 => cx.set_timer(Some(Instant::from_nanos(20))),
            _ => cx.report("late"),
        }
    }
}

#[test]
fn the_timer_of_an_application_comes_when_it_was_asked_for_and_not_otherwise() {
    let (simulation, direct, calls) = (Simulation::new(1), Direct::checked(), Arc::default());
    direct.start(&simulation.host("one"), Setup::serving(identity(1), &[]), Sleeper(Arc::clone(&calls))).unwrap();
    run_for(&simulation, 1);
    assert_eq!(*calls.lock().unwrap(), [5, 5, 20].map(Instant::from_nanos));
    let violations = direct.violations();
    assert_eq!((violations.len(), violations[0].what.as_str()), (1, "late"));
    assert_eq!(violations[0].cause(), "the application finds nothing wrong: late");
    assert_eq!(violations[0].at, Instant::from_nanos(20));
}

#[test]
fn a_node_that_moves_to_another_task_keeps_its_timer() {
    let (simulation, direct, calls) = (Simulation::new(1), Direct::checked(), Arc::default());
    let sleeper = Sleeper(Arc::clone(&calls));
    let node = direct.node(simulation.host("one"), Setup::serving(identity(1), &[]), sleeper).unwrap();
    let mut node = Box::pin(node);
    assert!(node.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    simulation.spawn("another task", node);
    run_for(&simulation, 1);
    assert_eq!(*calls.lock().unwrap(), [5, 5, 20].map(Instant::from_nanos));
}

/// All of them end at once, and a node keeps no more than 4096 events that nobody has asked for.
#[test]
fn a_hub_tells_of_more_connections_than_its_node_keeps_events() {
    let simulation = Simulation::new(1);
    let length = Duration::from_secs(10);
    let options = idle::Options { hubs: 1, peers: 5000, length, is_checked: true, ..Default::default() };
    simulation.set_max_steps(100_000_000);
    let crowd = idle::Crowd::start(&simulation, &options);
    simulation.run_for(length + Duration::from_secs(60)).unwrap();
    assert_eq!(crowd.outcome().hellos, 5000);
    assert_eq!(simulation.live_tasks().len(), 0);
}

/// Ends at once, and when its connection is closed, fills its node with so many events that it drops the one that says so.
struct Careless;

impl Careless {
    fn turn_somebody_away(cx: &mut Context<'_>) {
        let (now, addr) = (cx.now(), Multiaddr::from_socket_addr("10.0.0.9:9".parse().unwrap()));
        let endpoints = node::Endpoints { local: addr.clone(), remote: addr };
        assert!(cx.node().handle_incoming(now, endpoints).is_err(), "it is shutting down");
    }
}

impl Application for Careless {
    fn node_event(&mut self, cx: &mut Context<'_>, event: node::Event) {
        let is_first = matches!(event, node::Event::Denied { .. }) && cx.node().lost_events() == 0;
        while is_first && cx.node().lost_events() == 0 {
            Self::turn_somebody_away(cx);
        }
    }

    fn connection_event(&mut self, cx: &mut Context<'_>, _: ConnectionId, _: &mut Connection, event: Event) {
        match event {
            Event::Ready => cx.end(),
            Event::Closed => Self::turn_somebody_away(cx),
            _ => {}
        }
    }
}

/// Dials, and says nothing.
struct Visitor((PeerId, Multiaddr));

impl Application for Visitor {
    fn started(&mut self, cx: &mut Context<'_>) {
        let (now, (peer, addr)) = (cx.now(), self.0.clone());
        cx.node().add_peer(now, peer, &[addr], Intent::Persistent).unwrap();
    }

    fn connection_event(&mut self, _: &mut Context<'_>, _: ConnectionId, _: &mut Connection, _: Event) {}
}

#[test]
fn events_that_a_node_has_dropped_are_not_missed() {
    let (simulation, direct) = (Simulation::new(1), Direct::checked());
    direct.start(&simulation.host("one"), listening(&simulation, 1), Careless).unwrap();
    let visitor = Visitor(target(&simulation, 1));
    direct.start(&simulation.host("two"), Setup::serving(identity(2), &[ECHO]), visitor).unwrap();
    run_for(&simulation, 60);
    assert_eq!(direct.violations(), []);
    assert_eq!(simulation.live_tasks(), ["two: node"], "the other one has ended");
}

fn transfer(seed: u64, provider: Arc<dyn Provider>) -> (septa_sim::direct::Counts, TraceHash) {
    let simulation = Simulation::with_order(seed, Order::Seeded);
    let cut = Cut::Random(3000);
    simulation.set_link(LinkOptions {
        read_cut: cut,
        write_cut: cut,
        capacity: 20_000,
        latency: Duration::from_micros(300),
        ..LinkOptions::default()
    });
    let options = pair::Options { streams: 3, bytes: 300_000, provider, is_checked: true };
    let counts = pair::run(&simulation, &options).unwrap();
    assert_eq!(simulation.take_panics(), []);
    (counts, simulation.trace())
}

#[test]
fn streams_bring_both_ends_what_the_other_one_has_sent() {
    for provider in [Arc::new(FastCrypto) as Arc<dyn Provider>, Arc::new(RustCrypto)] {
        let (counts, _) = transfer(1, provider);
        assert!(counts.bytes > 2 * 3 * 300_000, "{counts:?}");
        assert!(counts.deliveries > counts.bytes / 3000, "{counts:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_another_seed_is_another() {
    let run = |seed| transfer(seed, Arc::new(FastCrypto));
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1);
}

#[test]
fn a_mesh_loses_no_message() {
    let simulation = Simulation::new(1);
    simulation.set_link(LinkOptions { latency: Duration::from_millis(20), ..LinkOptions::default() });
    let options = mesh::Options { nodes: 20, length: Duration::from_secs(20), is_checked: true, ..Default::default() };
    let outcome = mesh::run(&simulation, &options).unwrap();
    assert_eq!(outcome.sent, outcome.received);
    // Until it is connected, a node sends nothing.
    assert!(outcome.sent > 20 * 150, "{outcome:?}");
    assert_eq!(outcome.counts.connections, 20 * 8);
}

#[test]
fn a_crowd_says_hello_and_stays() {
    let simulation = Simulation::new(1);
    let options = idle::Options { peers: 200, is_checked: true, ..Default::default() };
    let outcome = idle::run(&simulation, &options).unwrap();
    assert_eq!(outcome.hellos, 200);
    assert_eq!(outcome.counts.connections, 400);
    // Both ends of each ask every 15 seconds whether the other one is there.
    assert!(outcome.counts.timers > 400 * 6, "{outcome:?}");
}
