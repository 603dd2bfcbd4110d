//! The runtime itself: time, tasks and sockets.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures_util::future::join;
use septa_core::Instant;

use super::{
    ends::{Ends, any_port},
    polled::{at_every_poll, polled},
    spawned::{spawn, spawn_blocking},
    world::pattern,
};
use crate::{
    runtime::{Acceptor, Socket, SocketReader, SocketWriter, Timer},
    time::after,
};

const SHORT: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3600);

fn is_expired(timer: &mut dyn Timer) -> bool {
    timer.poll_expired(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// A timer is ready from its deadline on until it is reset, and never if it is not armed.
pub async fn timers_fire_from_their_deadline_on(ends: &Ends) {
    for runtime in [&ends.dialer, &ends.listener] {
        let mut timer = runtime.timer();
        assert!(!is_expired(&mut *timer));
        let deadline = after(&**runtime, SHORT);
        timer.reset(Some(deadline));
        poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(runtime.now() >= deadline);
        assert!(is_expired(&mut *timer), "it is ready only once");
        for never in [None, Some(Instant::NEVER), Some(after(&**runtime, HOUR))] {
            timer.reset(never);
            assert!(!is_expired(&mut *timer), "{never:?}");
        }
        // An earlier deadline than the one for which it was polled.
        timer.reset(Some(after(&**runtime, SHORT)));
        poll_fn(|cx| timer.poll_expired(cx)).await;
        timer.reset(Some(Instant::EPOCH));
        poll_fn(|cx| timer.poll_expired(cx)).await;
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A timer moves between tasks: it wakes the one that has polled it last.
pub async fn a_timer_wakes_who_polled_it_last(ends: &Ends) {
    for runtime in [&ends.dialer, &ends.listener] {
        let mut timer = runtime.timer();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        timer.reset(Some(after(&**runtime, SHORT)));
        let first = timer.poll_expired(&mut Context::from_waker(Waker::noop()));
        let second = timer.poll_expired(&mut Context::from_waker(&woken.clone().into()));
        if first.is_pending() && second.is_pending() {
            ends.eventually(|| woken.0.load(Ordering::SeqCst)).await;
        }
        poll_fn(|cx| timer.poll_expired(cx)).await;
    }
}

/// Time does not run backwards, and no seed comes twice.
pub async fn the_clock_goes_on_and_seeds_differ(ends: &Ends) {
    for runtime in [&ends.dialer, &ends.listener] {
        let before = runtime.now();
        ends.pause().await;
        assert!(runtime.now() >= before);
        let mut keys: Vec<[u8; 32]> = (0..100).map(|_| runtime.seed().secret_stream().next_key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 100);
    }
}

/// A panic ends one task, or one piece of blocking work, and nobody else hears of it.
pub async fn a_panic_ends_one_task_alone(ends: &Ends) {
    for runtime in [&*ends.dialer, &*ends.listener] {
        let bystander = spawn(runtime, "bystander", futures_util::future::pending::<()>());
        for number in 0..10 {
            let panicking = spawn(runtime, "panicking", async { panic!("on purpose") });
            assert_eq!(panicking.await, None::<()>);
            assert_eq!(spawn(runtime, "good", async move { number }).await, Some(number));
            let panicking = spawn_blocking(runtime, || panic!("on purpose"));
            assert_eq!(panicking.await, None::<()>);
            assert_eq!(spawn_blocking(runtime, move || number).await, Some(number));
        }
        assert_eq!(polled(1, bystander).await, None);
    }
}

/// Names and addresses resolve, with the port.
pub async fn names_resolve(ends: &Ends) {
    for (host, loopback) in [("localhost", None), ("127.0.0.1", Some(SocketAddr::from(([127, 0, 0, 1], 7))))] {
        let addrs = ends.dialer.resolve(host, 7).await.unwrap();
        assert!(!addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 7), "{addrs:?}");
        assert!(loopback.is_none_or(|loopback| addrs == [loopback]));
    }
    at_every_poll(async |polls| polled(polls, ends.dialer.resolve("localhost", 7)).await.is_some()).await;
}

async fn accept(acceptor: &mut dyn Acceptor) -> io::Result<Socket> {
    poll_fn(|cx| acceptor.poll_accept(cx)).await
}

async fn pair(ends: &Ends) -> (Socket, Socket) {
    let mut acceptor = ends.listener.listen(any_port()).await.unwrap();
    let addr = acceptor.local_addr().unwrap();
    let (near, far) = join(ends.dialer.connect(addr), accept(&mut *acceptor)).await;
    (near.unwrap(), far.unwrap())
}

async fn write_all(writer: &mut dyn SocketWriter, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let count = poll_fn(|cx| writer.poll_write(cx, data)).await?;
        data = &data[count..];
    }
    Ok(())
}

/// Reads until the end, or until there are so many bytes.
async fn read(reader: &mut dyn SocketReader, most: usize) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while all.len() < most {
        let room = buffer.len().min(most - all.len());
        match poll_fn(|cx| reader.poll_read(cx, &mut buffer[..room])).await? {
            0 => break,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(all)
}

async fn shut_down(socket: &mut Socket) {
    poll_fn(|cx| socket.writer.poll_shutdown(cx)).await.unwrap();
}

/// Both directions carry bytes, and each ends by itself.
pub async fn sockets_carry_bytes_both_ways_and_end_by_halves(ends: &Ends) {
    let (mut near, mut far) = pair(ends).await;
    assert_eq!((near.local, near.remote), (far.remote, far.local));
    let data = pattern(300_000);
    let there = join(write_all(&mut *near.writer, &data), read(&mut *far.reader, data.len()));
    let back = join(write_all(&mut *far.writer, &data), read(&mut *near.reader, data.len()));
    let ((sent_there, came_there), (sent_back, came_back)) = join(there, back).await;
    sent_there.and(sent_back).unwrap();
    assert!(came_there.unwrap() == data && came_back.unwrap() == data);

    shut_down(&mut near).await;
    assert_eq!(read(&mut *far.reader, 1).await.unwrap(), b"");
    write_all(&mut *far.writer, b"still").await.unwrap();
    assert_eq!(read(&mut *near.reader, 5).await.unwrap(), b"still");
    // The end of the output comes from the shutdown, and the socket closes with its last half.
    drop(far.reader);
    drop(far.writer);
    assert!(read(&mut *near.reader, 1).await.is_ok_and(|rest| rest.is_empty()));
}

/// A full socket wakes its writer once there is room.
pub async fn a_socket_that_nobody_reads_takes_no_more_until_somebody_does(ends: &Ends) {
    const LENGTH: usize = 64 * 1024 * 1024;
    let (mut near, mut far) = pair(ends).await;
    let data = pattern(251 * 257);
    let mut written = 0;
    let mut write = |cx: &mut Context<'_>, written: &mut usize| {
        let from = *written % data.len();
        near.writer.poll_write(cx, &data[from..]).map(|count| *written += count.unwrap())
    };
    while write(&mut Context::from_waker(Waker::noop()), &mut written).is_ready() {
        assert!(written < LENGTH, "the socket takes everything");
    }
    let length = written + 3 * data.len();
    let writing = async {
        while written < length {
            poll_fn(|cx| write(cx, &mut written)).await;
        }
        written
    };
    let reading = async {
        let (mut buffer, mut count) = (vec![0; 100_000], 0);
        while count < length {
            let read = poll_fn(|cx| far.reader.poll_read(cx, &mut buffer)).await.unwrap();
            assert_ne!(read, 0, "the input ends too early");
            assert!((count..).zip(&buffer[..read]).all(|(at, byte)| data[at % data.len()] == *byte));
            count += read;
        }
        count
    };
    let (written, read) = join(writing, reading).await;
    assert!(written >= length && read <= written);
}

/// Who connects to a port on which nobody listens is refused, and who listens on a port that is taken fails.
pub async fn nobody_listens_or_somebody_does_already(ends: &Ends) {
    let acceptor = ends.listener.listen(any_port()).await.unwrap();
    let addr = acceptor.local_addr().unwrap();
    assert_ne!(addr.port(), 0);
    let taken = ends.listener.listen(addr).await.err().unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    drop(acceptor);
    let refused = ends.dialer.connect(addr).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

/// Dropping a future that connects, and leaving off to wait for a connection, loses no connection of others.
pub async fn dropped_waits_for_sockets_lose_nothing(ends: &Ends) {
    at_every_poll(async |polls| polled(polls, ends.listener.listen(any_port())).await.is_some()).await;
    let mut acceptor = ends.listener.listen(any_port()).await.unwrap();
    let addr = acceptor.local_addr().unwrap();
    at_every_poll(async |polls| {
        // Nobody hears of it if somebody connects now.
        drop(acceptor.poll_accept(&mut Context::from_waker(Waker::noop())));
        let early = polled(polls, ends.dialer.connect(addr)).await;
        let near = ends.dialer.connect(addr).await.unwrap();
        // What was given up may come first.
        while !accept(&mut *acceptor).await.is_ok_and(|far| far.remote == near.local) {}
        early.is_some()
    })
    .await;
}
