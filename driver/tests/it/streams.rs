//! Streams as the application sees them.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    AsyncReadExt, AsyncWriteExt,
    future::{join, join_all},
};
use septa_driver::{OpenStreamError, ReadError, RefuseReason, WriteError};
use septa_sim::TraceHash;

use crate::world::{Conditions, ECHO, NO_ERROR, OTHER, World, calm, conditions, echo, pattern, read_to_end};

/// Three streams echoed at once; what the application saw, and the trace of the run.
fn echo_run(conditions: Conditions, length: usize) -> (Vec<Vec<u8>>, TraceHash) {
    let world = World::new(conditions);
    let echoed = world.run(async {
        let (near, far, _listener) = world.connected().await;
        world.serve_echo(far);
        let one = |number: usize| {
            let near = near.clone();
            async move {
                let payload = pattern(length + number);
                let (mut reader, mut writer) = near.open_stream(&[ECHO]).await.unwrap().split();
                let write = async {
                    writer.write_all(&payload).await.unwrap();
                    writer.close().await.unwrap();
                };
                let mut received = Vec::new();
                let (read, ()) = join(reader.read_to_end(&mut received), write).await;
                read.unwrap();
                assert!(received == payload, "stream {number}");
                received
            }
        };
        join_all((0..3).map(one)).await
    });
    let trace = world.simulation.trace();
    world.end();
    (echoed, trace)
}

#[test]
fn every_byte_comes_back_whatever_the_order_and_the_cuts() {
    for conditions in conditions(12) {
        let length = if conditions.link.capacity < 5000 { 2000 } else { 40_000 };
        let (echoed, trace) = echo_run(conditions, length);
        assert_eq!(echoed.iter().map(Vec::len).collect::<Vec<_>>(), [length, length + 1, length + 2]);
        assert_eq!(echo_run(conditions, length).1, trace, "not deterministic: {conditions:?}");
    }
}

#[test]
fn chunks_go_both_ways() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            let mut chunk = Bytes::from(pattern(20_000));
            stream.write_chunk(&mut chunk).await.unwrap();
            assert!(chunk.is_empty());
            stream.finish().unwrap();
            let mut inbound = far.accept_stream().await.unwrap();
            assert_eq!(inbound.protocol(), Some(ECHO));
            let mut received = Vec::new();
            while let Some(chunk) = inbound.read_chunk().await.unwrap() {
                received.extend_from_slice(&chunk);
            }
            assert!(received == pattern(20_000));
        });
        world.end();
    }
}

#[test]
fn each_half_ends_by_itself() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            stream.write_all(b"question").await.unwrap();
            stream.close().await.unwrap();
            assert_eq!(stream.write_all(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            let mut inbound = far.accept_stream().await.unwrap();
            assert_eq!(read_to_end(&mut inbound).await.unwrap(), b"question");
            // The other half still works, long after.
            world.simulation.sleep(std::time::Duration::from_secs(60)).await;
            inbound.write_all(b"answer").await.unwrap();
            inbound.close().await.unwrap();
            assert_eq!(read_to_end(&mut stream).await.unwrap(), b"answer");
        });
        world.end();
    }
}

#[test]
fn a_reset_carries_its_code() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            let mut inbound = far.accept_stream().await.unwrap();
            inbound.read_exact(&mut [0]).await.unwrap();
            stream.reset(0x2a);
            assert_eq!(inbound.read_chunk().await, Err(ReadError::Reset(0x2a)));
            let error = inbound.write_all(b"y").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let source = error.get_ref().and_then(|source| source.downcast_ref::<WriteError>());
            assert_eq!(source, Some(&WriteError::Reset(0x2a)));
        });
        world.end();
    }
}

#[test]
fn a_dropped_stream_is_reset_and_a_finished_one_is_not() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let mut dropped = near.open_stream(&[ECHO]).await.unwrap();
        dropped.write_all(b"x").await.unwrap();
        let mut inbound = far.accept_stream().await.unwrap();
        drop(dropped);
        inbound.read_exact(&mut [0]).await.ok();
        assert_eq!(inbound.read_chunk().await, Err(ReadError::Reset(0)));

        let mut finished = near.open_stream(&[ECHO]).await.unwrap();
        finished.write_all(b"x").await.unwrap();
        finished.finish().unwrap();
        let mut inbound = far.accept_stream().await.unwrap();
        inbound.finish().unwrap();
        assert_eq!(read_to_end(&mut finished).await.unwrap(), b"");
        drop(finished);
        assert_eq!(read_to_end(&mut inbound).await.unwrap(), b"x");
    });
    world.end();
}

#[test]
fn an_unsupported_protocol_is_refused() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, _far, _listener) = world.connected().await;
            let mut optimistic = near.open_stream(&[OTHER]).await.unwrap();
            let refused = Err(ReadError::Refused(RefuseReason::Unsupported));
            assert_eq!(optimistic.read_chunk().await, refused);
            let error = optimistic.negotiated().await.unwrap_err();
            assert_eq!(error, OpenStreamError::Refused(RefuseReason::Unsupported));
            let unknown = septa_core::ProtocolId::from_static("/test/unknown/1");
            let error = near.open_stream(&[OTHER, unknown]).await.unwrap_err();
            assert_eq!(error, OpenStreamError::Refused(RefuseReason::Unsupported));
            assert!(matches!(near.open_stream(&[]).await, Err(OpenStreamError::InvalidProposals(_))));
        });
        world.end();
    }
}

#[test]
fn of_several_protocols_the_first_supported_is_chosen() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let stream = near.open_stream(&[OTHER, ECHO]).await.unwrap();
            assert_eq!(stream.protocol(), Some(ECHO));
            assert_eq!(far.accept_stream().await.unwrap().protocol(), Some(ECHO));
        });
        world.end();
    }
}

#[test]
fn a_reader_that_never_reads_blocks_its_writer_and_nobody_else() {
    let world = World::new(calm());
    let written = Arc::new(Mutex::new(0));
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let mut greedy = near.open_stream(&[ECHO]).await.unwrap();
        let mut unread = {
            let written = written.clone();
            world.simulation.spawn("greedy writer", async move {
                while greedy.write_all(&[7; 1000]).await.is_ok() {
                    *written.lock().unwrap() += 1000;
                }
            });
            far.accept_stream().await.unwrap()
        };
        world.simulation.sleep(std::time::Duration::from_secs(1)).await;
        // One window on the far side, one quota on this one.
        let stuck = *written.lock().unwrap();
        assert!((256_000..=2 * 256 * 1024 + 32 * 1024).contains(&stuck), "{stuck}");

        world.serve_echo(far.clone());
        let mut other = near.open_stream(&[ECHO]).await.unwrap();
        other.write_all(&pattern(1_000_000)[..200_000]).await.unwrap();
        other.close().await.unwrap();
        assert!(read_to_end(&mut other).await.unwrap() == pattern(1_000_000)[..200_000]);
        assert_eq!(*written.lock().unwrap(), stuck);

        let mut all = vec![0; 1_000_000];
        unread.read_exact(&mut all).await.unwrap();
        assert!(all.iter().all(|byte| *byte == 7));
        near.close(NO_ERROR);
    });
    world.end();
}

#[test]
fn a_writer_learns_that_nobody_reads() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let mut inbound = far.accept_stream().await.unwrap();
        inbound.finish().unwrap();
        inbound.stop(5);
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 10_000]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
    world.end();
}

#[test]
fn a_hundred_streams_at_once() {
    for conditions in conditions(4) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            world.serve_echo(far);
            let one = |number: u32| {
                let near = near.clone();
                async move {
                    let mut stream = near.open_stream(&[ECHO]).await.unwrap();
                    stream.write_all(&number.to_be_bytes()).await.unwrap();
                    stream.close().await.unwrap();
                    assert_eq!(read_to_end(&mut stream).await.unwrap(), number.to_be_bytes());
                }
            };
            join_all((0..100).map(one)).await;
        });
        world.end();
    }
}

#[test]
fn more_streams_than_the_limit_wait_their_turn() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        world.serve_echo(far);
        let one = |_| {
            let near = near.clone();
            async move {
                let mut stream = near.open_stream(&[ECHO]).await.unwrap();
                stream.write_all(b"x").await.unwrap();
                stream.close().await.unwrap();
                assert_eq!(read_to_end(&mut stream).await.unwrap(), b"x");
            }
        };
        join_all((0..600).map(one)).await;
    });
    world.end();
}

#[test]
fn a_panic_of_the_application_disturbs_nobody() {
    let world = World::new(calm());
    let result = world.simulation.block_on(async {
        let (near, far, _listener) = world.connected().await;
        let mut bad = near.open_stream(&[ECHO]).await.unwrap();
        world.simulation.spawn("bad", async move {
            bad.write_all(b"x").await.unwrap();
            panic!("on purpose");
        });
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        let inbound = [far.accept_stream().await.unwrap()];
        world.simulation.spawn("good", async move {
            join_all(inbound.map(echo)).await;
        });
        world.serve_echo(far);
        stream.write_all(b"still here").await.unwrap();
        stream.close().await.unwrap();
        read_to_end(&mut stream).await.unwrap()
    });
    assert_eq!(result.unwrap(), b"still here");
    assert_eq!(world.simulation.take_panics().len(), 1);
    world.end();
}

#[test]
fn small_writes_leave_together() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        stream.negotiated().await.unwrap();
        let before = near.stats().records_sent;
        for _ in 0..1000 {
            stream.write_all(&[1; 100]).await.unwrap();
        }
        stream.close().await.unwrap();
        let mut inbound = far.accept_stream().await.unwrap();
        inbound.close().await.unwrap();
        assert_eq!(read_to_end(&mut inbound).await.unwrap().len(), 100_000);
        // 100 kB in records of 16 KiB, and not one for each write.
        let records = near.stats().records_sent - before;
        assert!((7..=10).contains(&records), "{records}");
    });
    world.end();
}

#[test]
fn a_refusal_that_came_before_anybody_asked_is_told() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let mut stream = near.open_stream(&[OTHER]).await.unwrap();
        world.simulation.sleep(Duration::from_secs(1)).await;
        assert_eq!(stream.negotiated().await, Err(OpenStreamError::Refused(RefuseReason::Unsupported)));
    });
    world.end();
}
