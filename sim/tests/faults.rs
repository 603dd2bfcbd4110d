//! Faults of the network: what they do to sockets, when they count, and when they are over.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, time::Duration};

use septa_driver::runtime::{Acceptor, Runtime, Socket};
use septa_sim::{
    LinkOptions, Simulation, Stalled,
    plan::{FaultKind, Plan},
};

struct World {
    simulation: Simulation,
    near: Arc<dyn Runtime>,
    far: Arc<dyn Runtime>,
    addr: SocketAddr,
    acceptor: Box<dyn Acceptor>,
}

impl World {
    /// Two hosts, the second of which listens, and these faults.
    fn new(plan: &str) -> Self {
        Self::with_latency(0, plan)
    }

    /// The same with so many milliseconds one way.
    fn with_latency(millis: u64, plan: &str) -> Self {
        Self::of_seed(1, millis, plan)
    }

    fn of_seed(seed: u64, millis: u64, plan: &str) -> Self {
        let simulation = Simulation::new(seed);
        simulation.set_link(LinkOptions { latency: Duration::from_millis(millis), ..LinkOptions::default() });
        let (near, far) = (simulation.host("near"), simulation.host("far"));
        let addr = SocketAddr::new(simulation.ip(2), 7);
        let acceptor = simulation.block_on(far.listen(addr)).unwrap().unwrap();
        simulation.play(&plan.parse::<Plan>().unwrap().faults).unwrap();
        Self { simulation, near, far, addr, acceptor }
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.simulation.block_on(future).unwrap()
    }

    fn connect(&mut self) -> (Socket, Socket) {
        let near = self.run(self.near.connect(self.addr)).unwrap();
        let acceptor = &mut self.acceptor;
        let far = self.simulation.block_on(poll_fn(|cx| acceptor.poll_accept(cx))).unwrap().unwrap();
        (near, far)
    }

    fn sleep(&self, millis: u64) {
        self.run(self.simulation.sleep(Duration::from_millis(millis)));
    }

    fn millis(&self) -> u64 {
        self.simulation.now().as_nanos() / 1_000_000
    }

    fn write(&self, socket: &mut Socket, data: &[u8]) -> io::Result<usize> {
        self.run(poll_fn(|cx| socket.writer.poll_write(cx, data)))
    }

    fn read(&self, socket: &mut Socket) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 100];
        let count = self.run(poll_fn(|cx| socket.reader.poll_read(cx, &mut buffer)))?;
        Ok(buffer[..count].to_vec())
    }

    fn fired(&self) -> Vec<(FaultKind, u64)> {
        self.simulation.faults_fired().into_iter().collect()
    }
}

#[test]
fn a_stall_holds_up_one_direction_and_what_was_sent_arrives_when_it_is_over() {
    let mut world = World::new("at 10ms for 90ms stall 1>2");
    let (mut near, mut far) = world.connect();
    world.sleep(20);
    world.write(&mut near, b"there").unwrap();
    world.write(&mut far, b"back").unwrap();
    assert_eq!(world.read(&mut near).unwrap(), b"back");
    assert_eq!(world.millis(), 20, "the other direction is as it was");
    assert_eq!(world.read(&mut far).unwrap(), b"there");
    assert_eq!(world.millis(), 100);
    assert_eq!(world.fired(), [(FaultKind::Stall, 1)]);
}

#[test]
fn a_stall_of_nothing_does_not_count() {
    let mut world = World::new("at 10ms for 90ms stall 1>2\nat 10ms reset 1-2 after=0\nat 10ms for 1s dial 1 refused");
    let (_near, _far) = world.connect();
    world.sleep(200);
    assert_eq!(world.fired(), []);
}

#[test]
fn a_partition_is_for_both_directions_and_for_connections_that_are_made_in_it() {
    let mut world = World::new("at 10ms for 90ms partition 1-2");
    let (mut near, mut far) = world.connect();
    world.sleep(20);
    world.write(&mut near, b"there").unwrap();
    world.write(&mut far, b"back").unwrap();
    assert_eq!(world.read(&mut far).unwrap(), b"there");
    assert_eq!(world.read(&mut near).unwrap(), b"back");
    assert_eq!(world.millis(), 100);
    // The one that was read second had come by then.
    assert_eq!(world.fired(), [(FaultKind::Partition, 1)]);
}

#[test]
fn a_dial_waits_until_nothing_stands_in_either_direction() {
    for fault in ["partition 1-2", "stall 1>2", "stall 2>1"] {
        let mut world = World::new(&format!("at 0s for 100ms {fault}"));
        world.sleep(1);
        let (mut near, mut far) = world.connect();
        assert_eq!(world.millis(), 100, "{fault}");
        let fired: Vec<u64> = world.fired().into_iter().map(|(_, count)| count).collect();
        assert_eq!(fired, [1], "{fault}");
        world.write(&mut near, b"there").unwrap();
        assert_eq!(world.read(&mut far).unwrap(), b"there");
        assert_eq!(world.millis(), 100);
    }
}

/// The second begins when the dial is held up already.
#[test]
fn a_dial_that_is_held_up_by_one_fault_behind_the_other_counts_both() {
    let mut world = World::new("at 0s for 100ms stall 1>2\nat 50ms for 100ms partition 1-2");
    world.sleep(1);
    world.connect();
    assert_eq!((world.millis(), world.fired()), (150, vec![(FaultKind::Stall, 1), (FaultKind::Partition, 1)]));

    let mut world = World::new("at 0s for 100ms stall 1>2\nat 50ms for 40ms partition 1-2");
    world.sleep(1);
    world.connect();
    assert_eq!((world.millis(), world.fired()), (100, vec![(FaultKind::Stall, 1)]), "the second made no difference");
}

#[test]
fn a_dial_takes_a_round_trip_and_so_does_its_refusal() {
    let mut world = World::with_latency(30, "");
    world.connect();
    assert_eq!(world.millis(), 60);
    let nobody = SocketAddr::new(world.addr.ip(), 8);
    assert_eq!(world.run(world.near.connect(nobody)).err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(world.millis(), 120);
    let itself = SocketAddr::new(world.simulation.ip(1), 9);
    let _acceptor = world.run(world.near.listen(itself)).unwrap();
    assert!(world.run(world.near.connect(itself)).is_ok());
    assert_eq!(world.millis(), 120, "a host reaches itself at once");
}

/// The answer finds the partition that the dial has not.
#[test]
fn a_dial_whose_answer_is_held_up_ends_when_it_comes() {
    let mut world = World::with_latency(30, "at 40ms for 100ms partition 1-2");
    world.connect();
    assert_eq!((world.millis(), world.fired()), (140, vec![(FaultKind::Partition, 1)]));
}

#[test]
fn a_dial_that_is_dropped_leaves_nothing_behind() {
    for (latency, plan) in [(30, ""), (0, "at 0s for 100ms partition 1-2")] {
        let mut world = World::with_latency(latency, plan);
        world.sleep(1);
        let mut dial = world.near.connect(world.addr);
        world.run(poll_fn(|cx| {
            assert!(dial.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        }));
        drop(dial);
        let acceptor = &mut world.acceptor;
        let accepted = world.simulation.block_on(poll_fn(|cx| acceptor.poll_accept(cx)));
        assert!(matches!(accepted, Err(Stalled::Deadlock { .. })), "nobody comes");
        // Nor does anybody wake for it.
        assert_eq!(world.millis(), if latency == 0 { 100 } else { 1 });
        assert_eq!(world.simulation.stats().connections, 0);
    }
}

#[test]
fn a_stall_that_is_over_before_anything_comes_does_not_count() {
    let mut world = World::new("at 10ms for 20ms stall 1>2\nat 20ms for 80ms partition 1-2");
    let (mut near, mut far) = world.connect();
    world.sleep(50);
    world.write(&mut near, b"there").unwrap();
    assert_eq!(world.read(&mut far).unwrap(), b"there");
    assert_eq!((world.millis(), world.fired()), (100, vec![(FaultKind::Partition, 1)]));
}

#[test]
fn a_stall_that_delays_nothing_does_not_count_and_one_that_delays_an_end_does() {
    let mut world = World::with_latency(50, "at 110ms for 20ms stall 1>2");
    let (mut near, mut far) = world.connect();
    world.sleep(15);
    world.write(&mut near, b"there").unwrap();
    assert_eq!(world.read(&mut far).unwrap(), b"there");
    assert_eq!((world.millis(), world.fired()), (165, vec![]), "it was over when they came");

    let mut world = World::new("at 10ms for 90ms stall 1>2");
    let (near, mut far) = world.connect();
    world.sleep(20);
    drop(near);
    assert_eq!(world.read(&mut far).unwrap(), b"");
    assert_eq!((world.millis(), world.fired()), (100, vec![(FaultKind::Stall, 1)]));
}

/// It has waited for the bytes before, and a writer for room, but neither does so any more.
#[test]
fn a_stall_does_not_count_for_whoever_has_stopped_waiting() {
    let mut world = World::with_latency(10, "at 100ms for 100ms partition 1-2");
    let (mut near, mut far) = world.connect();
    world.write(&mut near, b"early").unwrap();
    assert_eq!(world.read(&mut far).unwrap(), b"early");
    world.sleep(90);
    world.write(&mut near, b"late").unwrap();
    world.sleep(150);
    assert_eq!(world.fired(), [], "nobody reads");
    assert_eq!(world.read(&mut far).unwrap(), b"late");

    let mut world = World::with_latency(10, "at 100ms for 100ms stall 2>1");
    let (mut near, mut far) = world.connect();
    world.write(&mut near, &[0; 1 << 20]).unwrap();
    let mut has_room = false;
    world.run(poll_fn(|cx| {
        has_room = near.writer.poll_write(cx, b"x").is_ready();
        std::task::Poll::Ready(())
    }));
    assert!(!has_room);
    world.sleep(20);
    world.read(&mut far).unwrap();
    world.write(&mut near, b"x").unwrap();
    world.sleep(70);
    drop(far);
    world.sleep(150);
    assert_eq!(world.fired(), [], "nobody writes");
}

#[test]
fn a_dial_that_would_have_been_refused_anyway_does_not_count() {
    for how in ["refused", "backlog"] {
        let world = World::new(&format!("at 0s for 100ms dial 2 {how}"));
        world.sleep(1);
        let nobody = SocketAddr::new(world.addr.ip(), 8);
        assert_eq!(world.run(world.near.connect(nobody)).err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(world.fired(), []);
    }
}

#[test]
fn a_connection_is_reset_once() {
    let mut world = World::with_latency(50, "at 110ms reset 1-2 after=0\nat 110ms reset 1-2 after=1");
    let (mut near, mut far) = world.connect();
    world.sleep(20);
    // Neither knows of it yet.
    for _ in 0..3 {
        world.write(&mut near, b"there").unwrap();
        world.write(&mut far, b"back").unwrap();
    }
    world.sleep(50);
    for end in [&mut near, &mut far] {
        assert_eq!(world.write(end, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(world.read(end).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(world.fired(), [(FaultKind::Reset, 1)]);
}

#[test]
fn a_connection_that_is_closed_is_not_reset() {
    let mut world = World::new("at 10ms reset 1-2 after=0");
    let (mut near, far) = world.connect();
    drop(far);
    world.sleep(20);
    assert_eq!(world.write(&mut near, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(world.fired(), []);
}

#[test]
fn a_flip_of_a_byte_that_nobody_sees_does_not_count() {
    for (first, second) in [
        ("truncate len=3 after=0", "flip after=1"),
        ("truncate len=3 after=0", "flip after=0"),
        ("flip after=0", "truncate len=3 after=0"),
    ] {
        let mut world = World::new(&format!("at 10ms tamper 1>2 {first}\nat 10ms tamper 1>2 {second}"));
        let (mut near, mut far) = world.connect();
        world.sleep(20);
        world.write(&mut near, b"0123456789").unwrap();
        assert_eq!(world.read(&mut far).unwrap(), b"3456789");
        assert_eq!(world.fired(), [(FaultKind::Truncate, 1)], "{first}, {second}");
    }
}

/// The other end is closed, or the connection is reset, and the writer does not know yet.
#[test]
fn a_change_of_bytes_that_nobody_reads_does_not_count() {
    let mut world = World::with_latency(50, "at 110ms tamper 1>2 flip after=0");
    let (mut near, far) = world.connect();
    world.sleep(20);
    drop(far);
    world.write(&mut near, b"0123456789").unwrap();
    assert_eq!(world.fired(), []);

    let mut world = World::with_latency(50, "at 110ms reset 1-2 after=0\nat 110ms tamper 1>2 flip after=10");
    let (mut near, _far) = world.connect();
    world.sleep(20);
    for _ in 0..2 {
        world.write(&mut near, b"0123456789").unwrap();
    }
    assert_eq!(world.fired(), [(FaultKind::Reset, 1)]);
}

/// What is on its way to an end that is closed does not take back what that end has sent.
#[test]
fn a_close_sends_what_was_sent_before_and_takes_its_time() {
    let mut world = World::with_latency(50, "");
    let (mut near, mut far) = world.connect();
    world.write(&mut near, b"last words").unwrap();
    world.write(&mut far, b"under way").unwrap();
    drop(near);
    world.sleep(40);
    assert!(world.write(&mut far, b"nobody knows yet").is_ok());
    assert_eq!(world.read(&mut far).unwrap(), b"last words");
    assert_eq!(world.millis(), 150);
    assert_eq!(world.read(&mut far).unwrap(), b"");
    assert_eq!(world.write(&mut far, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_reset_comes_behind_what_was_sent_and_no_sooner_than_anything_else() {
    let mut world = World::with_latency(50, "");
    let (mut near, mut far) = world.connect();
    world.write(&mut far, b"unread").unwrap();
    world.sleep(60);
    world.write(&mut near, b"before").unwrap();
    world.sleep(10);
    drop(near);
    world.sleep(10);
    assert!(world.write(&mut far, b"nobody knows yet").is_ok());
    assert_eq!(world.read(&mut far).unwrap(), b"before");
    assert_eq!(world.millis(), 210);
    assert_eq!(world.read(&mut far).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(world.millis(), 220);
}

/// There is no room, and nobody will make some.
#[test]
fn a_writer_that_waits_hears_of_a_close_when_it_arrives() {
    let mut world = World::with_latency(50, "");
    let (near, mut far) = world.connect();
    world.write(&mut far, &[0; 1 << 20]).unwrap();
    drop(near);
    assert_eq!(world.write(&mut far, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(world.millis(), 150);
}

#[test]
fn the_trace_knows_what_is_on_the_line_and_what_is_read_and_who_was_dialed() {
    let tampered = |seed, plan| {
        let mut world = World::of_seed(seed, 0, plan);
        let (mut near, _far) = world.connect();
        world.sleep(20);
        world.write(&mut near, b"0123456789").unwrap();
        world.simulation.trace()
    };
    assert_eq!(tampered(1, ""), tampered(3, ""), "luck plays no part");
    let insert = "at 10ms tamper 1>2 insert len=9 after=0";
    assert_ne!(tampered(1, insert), tampered(3, insert), "other bytes are put in");

    let read = |room: usize| {
        let mut world = World::new("");
        let (mut near, mut far) = world.connect();
        world.write(&mut near, b"0123456789").unwrap();
        let mut buffer = vec![0; room];
        world.run(poll_fn(|cx| far.reader.poll_read(cx, &mut buffer))).unwrap();
        world.simulation.trace()
    };
    assert_ne!(read(9), read(10));

    let dialed = |port| {
        let world = World::new("");
        assert!(world.run(world.near.connect(SocketAddr::new(world.addr.ip(), port))).is_err());
        world.simulation.trace()
    };
    assert_ne!(dialed(8), dialed(9));
}

/// Two faults at once are over when both are.
#[test]
fn faults_that_overlap_add_up() {
    let mut world = World::new("at 1ms for 99ms partition 1-2\nat 50ms for 100ms stall 1>2");
    let (mut near, mut far) = world.connect();
    world.sleep(2);
    world.write(&mut near, b"there").unwrap();
    assert_eq!(world.read(&mut far).unwrap(), b"there");
    assert_eq!(world.millis(), 150);
}

#[test]
fn a_reset_in_a_partition_is_heard_of_when_it_is_over() {
    let mut world = World::new("at 1ms for 99ms partition 1-2");
    let (mut near, far) = world.connect();
    world.sleep(2);
    drop(far);
    world.write(&mut near, b"into the dark").unwrap();
    let end = world.read(&mut near);
    assert_eq!(end.unwrap_or_default(), b"", "the other end has closed it");
    assert_eq!(world.millis(), 100);
    assert_eq!(world.write(&mut near, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe, "nobody takes it");
    assert_eq!(world.fired(), [(FaultKind::Partition, 1)]);
}

#[test]
fn a_reset_comes_after_so_many_bytes_at_both_ends() {
    let mut world = World::new("at 10ms reset 1-2 after=3");
    let (mut near, mut far) = world.connect();
    world.write(&mut near, b"before").unwrap();
    assert_eq!(world.read(&mut far).unwrap(), b"before");
    world.sleep(20);
    world.write(&mut near, b"12").unwrap();
    assert_eq!(world.read(&mut far).unwrap(), b"12");
    let _ = world.write(&mut near, b"3");
    for end in [&mut near, &mut far] {
        assert_eq!(world.read(end).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(world.write(end, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
    assert_eq!(world.fired(), [(FaultKind::Reset, 1)]);
}

#[test]
fn an_end_that_nobody_has_sent_is_seen_and_the_other_direction_goes_on() {
    let mut world = World::new("at 10ms fin 1>2");
    let (mut near, mut far) = world.connect();
    world.write(&mut near, b"before").unwrap();
    world.sleep(20);
    assert_eq!(world.read(&mut far).unwrap(), b"before");
    assert_eq!(world.read(&mut far).unwrap(), b"");
    assert_eq!(world.write(&mut near, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    world.write(&mut far, b"back").unwrap();
    assert_eq!(world.read(&mut near).unwrap(), b"back");
    assert_eq!(world.fired(), [(FaultKind::Fin, 1)]);
}

#[test]
fn bytes_are_changed_where_the_plan_says() {
    for (how, kind) in [
        ("flip", FaultKind::Flip),
        ("truncate len=3", FaultKind::Truncate),
        ("duplicate len=3", FaultKind::Duplicate),
        ("insert len=3", FaultKind::Insert),
    ] {
        // In one write, and in one for each byte.
        for step in [10, 1] {
            let mut world = World::new(&format!("at 10ms tamper 1>2 {how} after=4"));
            let (mut near, mut far) = world.connect();
            world.write(&mut near, b"long before").unwrap();
            world.read(&mut far).unwrap();
            world.sleep(20);
            for piece in b"0123456789".chunks(step) {
                world.write(&mut near, piece).unwrap();
            }
            let got = world.read(&mut far).unwrap();
            let differs = |place: usize| got[place] ^ b"0123456789"[place];
            match kind {
                FaultKind::Flip => {
                    assert_eq!((got.len(), differs(4).count_ones()), (10, 1));
                    assert!((0..10).all(|place| place == 4 || differs(place) == 0));
                }
                FaultKind::Truncate => assert_eq!(got, b"0123789"),
                FaultKind::Duplicate if step == 1 => {
                    assert_eq!(got, b"01234456789", "no more than was written at once")
                }
                FaultKind::Duplicate => assert_eq!(got, b"0123456456789"),
                _ => assert!(got.len() == 13 && got.starts_with(b"0123") && got.ends_with(b"456789")),
            }
            assert_eq!(world.fired(), [(kind, 1)], "{how} in pieces of {step}");
        }
    }
}

#[test]
fn dials_fail_as_the_plan_says_until_it_is_over() {
    for (how, kind) in [("refused", FaultKind::DialRefused), ("unreachable", FaultKind::DialUnreachable)] {
        let mut world = World::new(&format!("at 0s for 100ms dial 2 {how}"));
        world.sleep(1);
        let error = world.run(world.near.connect(world.addr)).err().unwrap();
        let expected = match kind {
            FaultKind::DialRefused => io::ErrorKind::ConnectionRefused,
            _ => io::ErrorKind::HostUnreachable,
        };
        assert_eq!(error.kind(), expected);
        // Whoever is dialed can dial.
        let other_way = SocketAddr::new(world.simulation.ip(1), 7);
        assert_eq!(world.run(world.far.connect(other_way)).err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
        world.sleep(100);
        world.connect();
        assert_eq!(world.fired(), [(kind, 1)]);
    }
}

#[test]
fn a_dial_that_hangs_does_so_for_good() {
    let mut world = World::new("at 0s for 100ms dial 2 hanging");
    world.sleep(1);
    let dial = world.near.connect(world.addr);
    let patience = world.simulation.sleep(Duration::from_secs(60));
    world.run(async {
        let (mut dial, mut patience) = (dial, Box::pin(patience));
        poll_fn(|cx| {
            assert!(dial.as_mut().poll(cx).is_pending());
            patience.as_mut().poll(cx)
        })
        .await;
    });
    world.connect();
    assert_eq!(world.fired(), [(FaultKind::DialHanging, 1)]);
}

#[test]
fn where_too_many_wait_a_connection_is_made_and_reset_at_once() {
    let mut world = World::new("at 0s for 100ms dial 2 backlog");
    world.sleep(1);
    let mut near = world.run(world.near.connect(world.addr)).unwrap();
    assert_eq!(world.read(&mut near).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(world.write(&mut near, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    world.sleep(100);
    world.connect();
    assert_eq!(world.fired(), [(FaultKind::BacklogFull, 1)]);
}

#[test]
fn a_plan_that_strikes_a_host_that_there_is_not_is_refused_whole() {
    let simulation = Simulation::new(1);
    simulation.host("only");
    let plan: Plan = "at 0s crash 1 new\nat 1s for 1s stall 1>2".parse().unwrap();
    let error = simulation.play(&plan.faults).unwrap_err();
    assert_eq!(error.to_string(), "'stall 1>2' strikes a host that there is not");
    assert!(simulation.live_tasks().is_empty());
}
