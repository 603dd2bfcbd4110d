//! The simulator itself: time, order, TCP and its faults.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_driver::runtime::{Acceptor, Runtime, Socket};
use septa_sim::{Cut, LinkOptions, Order, Simulation, Stalled};

async fn read_all(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match poll_fn(|cx| socket.reader.poll_read(cx, &mut buffer)).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

async fn write_all(socket: &mut Socket, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let count = poll_fn(|cx| socket.writer.poll_write(cx, data)).await?;
        data = &data[count..];
    }
    Ok(())
}

async fn pair(a: &Arc<dyn Runtime>, b: &Arc<dyn Runtime>, b_addr: SocketAddr) -> (Socket, Socket) {
    let mut acceptor: Box<dyn Acceptor> = b.listen(b_addr).await.unwrap();
    let near = a.connect(acceptor.local_addr().unwrap()).await.unwrap();
    let far = poll_fn(|cx| acceptor.poll_accept(cx)).await.unwrap();
    (near, far)
}

fn world(seed: u64, order: Order) -> (Simulation, Arc<dyn Runtime>, Arc<dyn Runtime>, SocketAddr) {
    let simulation = Simulation::with_order(seed, order);
    let (a, b) = (simulation.host("a"), simulation.host("b"));
    let b_addr = SocketAddr::new(simulation.ip(2), 0);
    (simulation, a, b, b_addr)
}

#[test]
fn a_deadlock_names_the_tasks_that_wait() {
    let simulation = Simulation::new(1);
    simulation.host("a").spawn("dreamer", Box::pin(std::future::pending()));
    let stalled = simulation.block_on(std::future::pending::<()>());
    assert_eq!(stalled, Err(Stalled::Deadlock { tasks: vec!["a: dreamer".to_owned()] }));
}

#[test]
fn timers_fire_in_order_and_time_jumps() {
    let simulation = Simulation::new(1);
    let log = Arc::new(Mutex::new(Vec::new()));
    for seconds in [3, 1, 2] {
        let (sleep, log) = (simulation.sleep(Duration::from_secs(seconds)), log.clone());
        simulation.spawn("sleeper", async move {
            sleep.await;
            log.lock().unwrap().push(seconds);
        });
    }
    simulation.block_on(simulation.sleep(Duration::from_secs(10))).unwrap();
    assert_eq!(*log.lock().unwrap(), [1, 2, 3]);
    assert_eq!(simulation.now().as_nanos(), 10_000_000_000);
    assert!(simulation.live_tasks().is_empty());
}

/// The simulator waits by timers, too, which nothing in the world has asked for.
#[test]
fn only_timers_of_hosts_count() {
    let simulation = Simulation::new(1);
    simulation.run_for(Duration::from_secs(1)).unwrap();
    simulation.block_on(simulation.sleep(Duration::from_secs(1))).unwrap();
    assert_eq!((simulation.stats().timers, simulation.stats().events()), (0, 0));
    let mut timer = simulation.host("a").timer();
    timer.reset(Some(simulation.now().saturating_add(Duration::from_secs(1))));
    simulation.block_on(poll_fn(|cx| timer.poll_expired(cx))).unwrap();
    assert_eq!((simulation.stats().timers, simulation.stats().events()), (1, 1));
}

#[test]
fn a_panic_ends_one_task_and_is_reported() {
    let simulation = Simulation::new(1);
    simulation.spawn("bad", async { panic!("on purpose") });
    simulation.block_on(simulation.sleep(Duration::from_secs(1))).unwrap();
    let panics = simulation.take_panics();
    assert_eq!((panics[0].task.as_str(), panics[0].message.as_str()), ("bad", "on purpose"));
    assert!(simulation.live_tasks().is_empty());
}

#[test]
fn nobody_listens_means_refused() {
    let (simulation, a, _b, mut addr) = world(1, Order::Fifo);
    addr.set_port(7);
    let error = simulation.block_on(a.connect(addr)).unwrap().err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn bytes_arrive_whole_whatever_the_cuts_and_half_close_works() {
    let payload: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    for cut in [Cut::Whole, Cut::Fixed(1), Cut::Fixed(7), Cut::Random(3000)] {
        let (simulation, a, b, addr) = world(3, Order::Seeded);
        simulation.set_link(LinkOptions { read_cut: cut, write_cut: cut, capacity: 5000, ..LinkOptions::default() });
        let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
        let sent = payload.clone();
        simulation.spawn("sender", async move {
            write_all(&mut near, &sent).await.unwrap();
            poll_fn(|cx| near.writer.poll_shutdown(cx)).await.unwrap();
            assert_eq!(read_all(&mut near).await.unwrap(), b"thanks");
        });
        let received = simulation.block_on(async move {
            let received = read_all(&mut far).await.unwrap();
            write_all(&mut far, b"thanks").await.unwrap();
            poll_fn(|cx| far.writer.poll_shutdown(cx)).await.unwrap();
            read_all(&mut far).await.unwrap();
            received
        });
        assert!(received.unwrap() == payload, "{cut:?}");
        assert_eq!(simulation.take_panics(), []);
    }
}

/// When each of these reads, of at most 1000 bytes, returned, in milliseconds, and how much it brought.
async fn arrivals(simulation: &Simulation, socket: &mut Socket) -> Vec<(u64, usize)> {
    let (mut arrivals, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        let count = poll_fn(|cx| socket.reader.poll_read(cx, &mut buffer)).await.unwrap();
        arrivals.push((simulation.now().as_nanos() / 1_000_000, count));
        if count == 0 {
            return arrivals;
        }
    }
}

#[test]
fn bandwidth_makes_what_is_written_wait_for_the_line() {
    let (simulation, a, b, addr) = world(1, Order::Fifo);
    let link = LinkOptions { bandwidth: Some(10_000), latency: Duration::from_millis(30), ..LinkOptions::default() };
    simulation.set_link(link);
    let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
    let arrived = simulation.block_on(async {
        write_all(&mut near, &[1; 500]).await.unwrap();
        write_all(&mut near, &[1; 200]).await.unwrap();
        write_all(&mut far, &[1; 100]).await.unwrap();
        simulation.sleep(Duration::from_secs(1)).await;
        // The line was idle, but has saved nothing up.
        write_all(&mut near, &[1; 500]).await.unwrap();
        poll_fn(|cx| near.writer.poll_shutdown(cx)).await.unwrap();
        arrivals(&simulation, &mut far).await
    });
    // The dial took 60 ms. What had come by the end of the second was read at once.
    assert_eq!(arrived.unwrap(), [(1060, 700), (1140, 500), (1140, 0)]);
    let back = simulation.block_on(poll_fn(|cx| near.reader.poll_read(cx, &mut [0; 1000])));
    assert_eq!(back.unwrap().unwrap(), 100);
}

#[test]
fn a_line_carries_what_it_holds_in_each_latency_or_its_bandwidth() {
    for (capacity, seconds) in [(1000, 10), (500, 20), (4000, 10)] {
        let (simulation, a, b, addr) = world(1, Order::Fifo);
        let latency = Duration::from_secs(1);
        simulation.set_link(LinkOptions {
            bandwidth: Some(1000),
            capacity,
            latency,
            write_cut: Cut::Fixed(1),
            ..LinkOptions::default()
        });
        let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
        simulation.spawn("sender", async move { write_all(&mut near, &[0; 10_000]).await.unwrap() });
        let took = simulation.block_on(async {
            let all = read_all(&mut far).await.unwrap();
            assert_eq!(all.len(), 10_000);
            // Two seconds for the dial.
            simulation.now().as_nanos() / 1_000_000_000 - 2
        });
        assert!(took.as_ref().is_ok_and(|took| took.abs_diff(seconds) <= 1), "{capacity}: {took:?}");
    }
}

#[test]
fn latency_takes_virtual_time() {
    let (simulation, a, b, addr) = world(1, Order::Fifo);
    simulation.set_link(LinkOptions { latency: Duration::from_millis(40), ..LinkOptions::default() });
    let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
    simulation
        .block_on(async {
            write_all(&mut near, b"ping").await.unwrap();
            drop(near);
            assert_eq!(read_all(&mut far).await.unwrap(), b"ping");
        })
        .unwrap();
    // There and back for the dial.
    assert_eq!(simulation.now().as_nanos(), 120_000_000);
}

#[test]
fn a_link_resets_after_so_many_bytes() {
    let (simulation, a, b, addr) = world(1, Order::Fifo);
    simulation.set_link(LinkOptions { reset_after: Some(10), write_cut: Cut::Fixed(4), ..LinkOptions::default() });
    let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
    simulation
        .block_on(async {
            let error = write_all(&mut near, &[0; 100]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(read_all(&mut far).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        })
        .unwrap();
}

#[test]
fn a_cut_network_is_silent_until_it_heals() {
    let (simulation, a, b, addr) = world(1, Order::Fifo);
    let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
    simulation.cut_network();
    simulation.spawn("writer", async move { write_all(&mut near, b"late").await.unwrap() });
    let stalled = simulation.block_on(read_all(&mut far));
    assert!(matches!(stalled, Err(Stalled::Deadlock { .. })), "{stalled:?}");
    simulation.heal_network();
    assert_eq!(simulation.block_on(read_all(&mut far)).unwrap().unwrap(), b"late");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed, order| {
        let (simulation, a, b, addr) = world(seed, order);
        let cut = Cut::Random(100);
        simulation.set_link(LinkOptions { read_cut: cut, write_cut: cut, ..LinkOptions::default() });
        let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
        simulation.spawn("sender", async move { write_all(&mut near, &[7; 10_000]).await.unwrap() });
        simulation.block_on(async move { read_all(&mut far).await.unwrap() }).unwrap();
        simulation.trace()
    };
    for order in [Order::Fifo, Order::Seeded] {
        assert_eq!(run(1, order), run(1, order));
        assert_ne!(run(1, order), run(2, order));
    }
}

#[test]
fn tasks_run_in_order_or_as_the_seed_says() {
    let run = |order| {
        let simulation = Simulation::with_order(1, order);
        let log = Arc::new(Mutex::new(Vec::new()));
        for number in 0..20 {
            let log = log.clone();
            simulation.spawn("task", async move { log.lock().unwrap().push(number) });
        }
        simulation.block_on(simulation.sleep(Duration::from_secs(1))).unwrap();
        log.lock().unwrap().clone()
    };
    let in_order: Vec<i32> = (0..20).collect();
    assert_eq!(run(Order::Fifo), in_order);
    let shuffled = run(Order::Seeded);
    assert_ne!(shuffled, in_order);
    assert_eq!(run(Order::Seeded), shuffled);
}

#[test]
fn a_wish_that_is_asked_for_all_the_time_comes_to_its_end() {
    let simulation = Simulation::new(1);
    let mut asked = 0;
    let wish = || {
        asked += 1;
        asked > 100
    };
    assert_eq!(simulation.run_until(Duration::from_secs(1), Duration::ZERO, wish), Ok(true));
    assert_eq!(simulation.run_until(Duration::from_nanos(9), Duration::ZERO, || false), Ok(false));
}

#[test]
fn a_line_without_room_has_some() {
    let (simulation, a, b, addr) = world(1, Order::Fifo);
    simulation.set_link(LinkOptions { capacity: 0, ..LinkOptions::default() });
    let (mut near, mut far) = simulation.block_on(pair(&a, &b, addr)).unwrap();
    simulation.spawn("sender", async move { write_all(&mut near, b"slowly").await.unwrap() });
    assert_eq!(simulation.block_on(read_all(&mut far)).unwrap().unwrap(), b"slowly");
}

#[test]
fn accepts_fail_where_somebody_listens() {
    let (simulation, _a, b, mut addr) = world(1, Order::Fifo);
    addr.set_port(7);
    assert!(!simulation.fail_accepts(addr, io::ErrorKind::Other, 1), "nobody does");
    let mut acceptor = simulation.block_on(b.listen(addr)).unwrap().unwrap();
    assert!(simulation.fail_accepts(addr, io::ErrorKind::Other, 1));
    let accepted = simulation.block_on(poll_fn(|cx| acceptor.poll_accept(cx))).unwrap();
    assert_eq!(accepted.err().unwrap().kind(), io::ErrorKind::Other);
}

/// Panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_of_what_is_dropped_with_the_world_is_not_lost() {
    let simulation = Simulation::new(1);
    let grenade = Grenade;
    simulation.spawn("holder", async move {
        let _grenade = grenade;
        std::future::pending().await
    });
    simulation.block_on(async {}).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(simulation))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "holder, when it was ended: on purpose");
}

#[test]
fn seeds_of_a_host_differ_and_repeat() {
    let keys = |root| {
        let simulation = Simulation::new(root);
        let host = simulation.host("a");
        [host.seed().secret_stream().next_key(), host.seed().secret_stream().next_key()]
    };
    assert_eq!(keys(1), keys(1));
    assert_ne!(keys(1), keys(2));
    assert_ne!(keys(1)[0], keys(1)[1]);
}
