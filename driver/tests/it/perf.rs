//! Perf: bytes there and back, and who may ask for them.

use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt, future::join};
use septa_core::{
    connection::codes,
    protocol::perf::{CHUNK_LEN, Error, MAX_INBOUND_STREAMS, PROTOCOL, Progress, STALL_TIMEOUT},
};
use septa_driver::{Connection, OpenStreamError, PerfError, ReadError, RefuseReason};
use septa_sim::LinkOptions;

use crate::world::{Conditions, World, calm, conditions, read_to_end};

fn serving(conditions: Conditions, max_download: u64) -> World {
    World::with(conditions, |alice| alice, |bob| bob.serve_perf(max_download))
}

async fn assert_runs(near: &Connection, upload: u64, download: u64) {
    let mut last = Progress::default();
    let report = near.perf(upload, download, |progress| {
        assert!(progress.uploaded >= last.uploaded && progress.downloaded >= last.downloaded);
        last = progress;
    });
    let amounts = Progress { uploaded: upload, downloaded: download };
    assert_eq!(report.await.unwrap().amounts, amounts);
    assert_eq!(last, amounts, "progress tells of the last byte");
}

#[test]
fn every_byte_goes_there_and_back() {
    for conditions in conditions(8) {
        let world = serving(conditions, u64::MAX);
        world.run(async {
            let (near, _far, _listener) = world.connected().await;
            for (upload, download) in [(0, 0), (1, 0), (0, 1), (2000, 3000)] {
                assert_runs(&near, upload, download).await;
            }
        });
        world.end();
    }
}

#[test]
fn amounts_may_be_longer_than_a_window() {
    let world = serving(calm(), u64::MAX);
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        assert_runs(&near, 20 * CHUNK_LEN as u64 + 1, 30 * CHUNK_LEN as u64 - 1).await;
    });
    world.end();
}

#[test]
fn the_times_are_those_of_the_network() {
    let link = LinkOptions { latency: Duration::from_millis(30), ..LinkOptions::default() };
    let world = serving(Conditions { link, ..calm() }, u64::MAX);
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let report = near.perf(10, 10, |_| {}).await.unwrap();
        assert_eq!((report.upload_time, report.download_time), (Duration::from_millis(60), Duration::ZERO));
    });
    world.end();
}

#[test]
fn perf_is_not_served_unless_asked_for() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let refused = PerfError::Open(OpenStreamError::Refused(RefuseReason::Unsupported));
        assert_eq!(near.perf(1, 1, |_| {}).await, Err(refused));
        assert!(!near.identify().await.unwrap().info.protocols.contains(&PROTOCOL));
        near.ping().await.unwrap();
    });
    world.end();
}

#[test]
fn an_application_may_serve_perf_itself() {
    let world = World::with(calm(), |alice| alice, |bob| bob.serve([PROTOCOL]));
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let own = async {
            let mut stream = far.accept_stream().await.unwrap();
            assert_eq!(read_to_end(&mut stream).await.unwrap(), [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
            stream.write_all(b"hi").await.unwrap();
            stream.close().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        };
        let (report, ()) = join(near.perf(3, 2, |_| {}), own).await;
        assert_eq!(report.unwrap().amounts, Progress { uploaded: 3, downloaded: 2 });
    });
    world.end();
}

#[test]
fn a_download_past_the_limit_is_refused() {
    let world = serving(calm(), 1000);
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        assert!(near.perf(0, 1000, |_| {}).await.is_ok());
        let error = near.perf(0, 1001, |_| {}).await.unwrap_err();
        assert_eq!(error, PerfError::Read(ReadError::Reset(codes::stream::RESOURCE_LIMIT)));
    });
    world.end();
}

#[test]
fn too_many_runs_at_once_are_reset() {
    let world = serving(calm(), u64::MAX);
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let mut streams = Vec::new();
        for _ in 0..MAX_INBOUND_STREAMS {
            let mut stream = near.open_stream(&[PROTOCOL]).await.unwrap();
            stream.negotiated().await.unwrap();
            streams.push(stream);
        }
        let refused = OpenStreamError::Refused(RefuseReason::Reset(codes::stream::RESOURCE_LIMIT));
        assert_eq!(near.perf(1, 1, |_| {}).await, Err(PerfError::Open(refused)));
        // A header that is cut off, and one slot is free again.
        let mut cut = streams.pop().unwrap();
        cut.write_all(&[0; 7]).await.unwrap();
        cut.close().await.unwrap();
        assert_eq!(cut.read_chunk().await, Err(ReadError::Reset(codes::stream::PROTOCOL_VIOLATION)));
        assert!(near.perf(1, 1, |_| {}).await.is_ok());
    });
    world.end();
}

#[test]
fn a_peer_that_stands_still_is_given_up_at_both_ends() {
    let world = World::with(calm(), |alice| alice.serve_perf(u64::MAX), |bob| bob.serve([PROTOCOL]));
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let start = world.simulation.now();
        // Nobody reads this, and it is more than fits the windows.
        let error = near.perf(10 << 20, 0, |_| {}).await.unwrap_err();
        assert_eq!(error, PerfError::Protocol(Error::Stalled));
        assert!(world.simulation.now().saturating_duration_since(start) >= STALL_TIMEOUT);

        let start = world.simulation.now();
        let mut silent = far.open_stream(&[PROTOCOL]).await.unwrap();
        assert_eq!(silent.read_chunk().await, Err(ReadError::Reset(codes::stream::PROTOCOL_VIOLATION)));
        assert!(world.simulation.now().saturating_duration_since(start) >= STALL_TIMEOUT);
        near.ping().await.unwrap();
    });
    world.end();
}
