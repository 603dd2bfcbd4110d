//! Futures of endpoints and connections, dropped at every poll.

use std::sync::Arc;

use futures_util::future::join;
use septa_core::connection::{CloseReason, Config, HandshakeMode};

use super::{
    ends::{Ends, any_addr},
    polled::{at_every_poll, polled},
    world::{ECHO, LONG, OTHER, World, exchange, serve_echo},
};

/// A connect that is given up takes its connection along, and the next one works.
pub async fn connect(ends: &Ends) {
    let world = World::new(ends);
    let listener = Arc::new(world.listen().await);
    let addr = listener.local_addr();
    world.serve(listener);
    at_every_poll(async |polls| {
        let connected = polled(polls, world.alice.connect(&addr, world.bobs_id())).await;
        let is_done = connected.is_some();
        drop(connected);
        ends.eventually(|| world.alice.stats().connections == 0 && world.alice.stats().live_tasks == 0).await;
        exchange(&world.alice.connect(&addr, world.bobs_id()).await.unwrap(), b"next").await;
        is_done
    })
    .await;
    world.end().await;
}

/// A listen that is given up takes no address; an accept that is given up loses no connection.
pub async fn listen_and_accept(ends: &Ends) {
    let world = World::new(ends);
    at_every_poll(async |polls| {
        let listening = polled(polls, world.bob.listen(&any_addr())).await;
        let is_done = listening.is_some();
        drop(listening);
        ends.eventually(|| world.bob.listen_addrs().is_empty()).await;
        is_done
    })
    .await;
    let listener = world.listen().await;
    at_every_poll(async |polls| {
        let (early, near) = join(polled(polls, listener.accept()), world.connect(&listener)).await;
        let is_done = early.is_some();
        let far = match early {
            Some(far) => far.unwrap(),
            None => listener.accept().await.unwrap(),
        };
        serve_echo(&ends.listener, far);
        exchange(&near, b"accepted").await;
        is_done
    })
    .await;
    world.end().await;
}

/// Who gives up to wait for the end can wait again.
pub async fn close_and_closed(ends: &Ends) {
    let world = World::new(ends);
    let listener = world.listen().await;
    at_every_poll(async |polls| {
        let (near, far) = join(world.connect(&listener), listener.accept()).await;
        let far = far.unwrap();
        let (early, ()) = join(polled(polls, far.closed()), async {
            near.ping().await.unwrap();
            near.close(3);
        })
        .await;
        assert_eq!(far.closed().await, CloseReason::Remote { code: 3 });
        assert_eq!(near.closed().await, CloseReason::Local);
        early.is_some()
    })
    .await;
    world.end().await;
}

/// Pings and questions that are given up are not in the way of later ones.
pub async fn ping_and_identify(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    serve_echo(&ends.listener, far);
    at_every_poll(async |polls| {
        let pinged = polled(polls, near.ping()).await;
        ends.until_answered(async || near.ping().await).await;
        matches!(pinged, Some(Ok(_)))
    })
    .await;
    at_every_poll(async |polls| {
        let identified = polled(polls, near.identify()).await;
        ends.until_answered(async || near.identify().await).await;
        matches!(identified, Some(Ok(_)))
    })
    .await;
    at_every_poll(async |polls| {
        let known = near.remote_identify().map_or(0, |known| known.revision());
        world.bob.serve([ECHO, OTHER].into_iter().take(2 - polls % 2));
        let identify = ends.until_answered(async || near.identify().await);
        let (early, _) = join(polled(polls, near.remote_identify_after(known)), identify).await;
        assert!(near.remote_identify_after(known).await.unwrap().revision() > known);
        early.is_some()
    })
    .await;
    exchange(&near, b"next").await;
    world.end().await;
}

/// A measurement that is given up ends on both ends.
pub async fn perf(ends: &Ends) {
    let world = World::with(ends, |alice| alice, |bob| bob.serve_perf(1_000_000));
    let (near, far, _listener) = world.connected().await;
    at_every_poll(async |polls| {
        let measured = polled(polls, near.perf(100_000, 100_000, |_| {})).await;
        matches!(measured, Some(Ok(_)))
    })
    .await;
    ends.until_answered(async || near.perf(100_000, 100_000, |_| {}).await).await;
    serve_echo(&ends.listener, far);
    exchange(&near, b"next").await;
    world.end().await;
}

/// No message is lost, and a decision that was made stands.
pub async fn handshakes(ends: &Ends) {
    let config = Config { handshake: HandshakeMode::APPLICATION, ..Config::default() };
    let world =
        World::with(ends, |alice| alice.connection_config(config.clone()), |bob| bob.connection_config(config.clone()));
    let listener = world.listen().await;
    at_every_poll(async |polls| {
        let (near, far) = join(world.connect(&listener), listener.accept()).await;
        let far = far.unwrap();
        let mut is_done = true;
        near.handshake_send(b"hello").unwrap();
        let message = match polled(polls, far.handshake_recv()).await {
            Some(message) => message,
            None => {
                is_done = false;
                far.handshake_recv().await
            }
        };
        assert_eq!(message.unwrap().unwrap(), b"hello"[..]);
        let nears = async {
            let finalized = polled(polls, near.finalize()).await;
            if polls == 0 {
                // It was never polled, so nothing was decided.
                near.finalize().await.unwrap();
            }
            let ready = polled(polls, near.ready()).await;
            near.ready().await.unwrap();
            finalized.is_some() && ready.is_some()
        };
        let (nears, finalized) = join(nears, far.finalize()).await;
        finalized.unwrap();
        is_done &= nears;
        serve_echo(&ends.listener, far);
        exchange(&near, b"ready").await;
        is_done
    })
    .await;
    world.end().await;
}

/// A shutdown that is given up goes on, and can be waited for again.
pub async fn shutdown(ends: &Ends) {
    at_every_poll(async |polls| {
        let world = World::new(ends);
        let (near, far, _listener) = world.connected().await;
        let (_stream, _inbound) = world.stream(&near, &far).await;
        let early = polled(polls, world.bob.shutdown(LONG)).await;
        if polls > 0 {
            assert!(near.closed().await != CloseReason::Local);
            ends.eventually(|| world.bob.stats().live_tasks == 0).await;
        }
        world.end().await;
        early.is_some()
    })
    .await;
}
