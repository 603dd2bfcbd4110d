//! `septa perf`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use septa_core::protocol::perf::{Progress, Report};
use septa_driver::Connection;
use serde_json::json;

use crate::{args::DialArgs, failure::Failure, output::Output, world::World};

/// How often `--verbose` tells how far it is.
const TICK: Duration = Duration::from_secs(1);

/// Sends `upload` bytes, gets `download` back, and prints how fast that was.
pub(crate) async fn run(
    world: &World,
    args: DialArgs,
    upload: u64,
    download: u64,
    verbose: bool,
) -> Result<(), Failure> {
    if upload == 0 && download == 0 {
        return Err(Failure::usage("there is nothing to measure; pass --upload or --download"));
    }
    let output = world.output;
    super::dial(world, &args, |connection| measure(connection, upload, download, verbose, output)).await
}

async fn measure(
    connection: Connection,
    upload: u64,
    download: u64,
    verbose: bool,
    output: Output,
) -> Result<(), Failure> {
    let counters = Arc::new(Counters::default());
    // A task of its own: a run that never has to wait would not let a timer beside it have its turn.
    let ticker = verbose.then(|| AbortOnDrop(tokio::spawn(tick(counters.clone(), output))));
    let run = connection.perf(upload, download, |progress| counters.set(progress));
    let report = run.await.map_err(|error| {
        Failure::new(format_args!("perf failed: {error}"), "check that the peer serves perf; septa listen needs --perf")
    })?;
    drop(ticker);
    let Report { amounts, upload_time, download_time, .. } = report;
    let (up, down) = (rate(amounts.uploaded, upload_time), rate(amounts.downloaded, download_time));
    let line = |verb, bytes, time: Duration, rate| {
        format!("{verb} {bytes} bytes in {:.3} s: {rate:.1} MB/s", time.as_secs_f64())
    };
    let lines = [
        (upload > 0).then(|| line("sent", amounts.uploaded, upload_time, up)),
        (download > 0).then(|| line("received", amounts.downloaded, download_time, down)),
    ];
    output.print(
        lines.into_iter().flatten().collect::<Vec<_>>().join("\n"),
        json!({
            "ok": true,
            "peer": connection.peer_id().to_string(),
            "upload_bytes": amounts.uploaded,
            "upload_seconds": upload_time.as_secs_f64(),
            "upload_MBps": up,
            "download_bytes": amounts.downloaded,
            "download_seconds": download_time.as_secs_f64(),
            "download_MBps": down,
        }),
    );
    Ok(())
}

/// Prints each second what moved in it.
async fn tick(counters: Arc<Counters>, output: Output) {
    let mut ticks = tokio::time::interval(TICK);
    // The first tick is at once.
    ticks.tick().await;
    let mut last = Progress::default();
    for second in 1_u64.. {
        ticks.tick().await;
        let now = counters.get();
        let moved = now.uploaded - last.uploaded + (now.downloaded - last.downloaded);
        let rate = rate(moved, TICK);
        output.print(
            format_args!("{second} s: {rate:.1} MB/s; {} bytes sent, {} received", now.uploaded, now.downloaded),
            json!({
                "event": "progress",
                "seconds": second,
                "uploaded": now.uploaded,
                "downloaded": now.downloaded,
                "MBps": rate,
            }),
        );
        last = now;
    }
}

/// Millions of bytes per second.
fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64().max(1e-9) / 1e6
}

/// How far the run is, for another task to read.
#[derive(Default)]
struct Counters {
    uploaded: AtomicU64,
    downloaded: AtomicU64,
}

impl Counters {
    fn set(&self, progress: Progress) {
        self.uploaded.store(progress.uploaded, Ordering::Relaxed);
        self.downloaded.store(progress.downloaded, Ordering::Relaxed);
    }

    fn get(&self) -> Progress {
        let [uploaded, downloaded] = [&self.uploaded, &self.downloaded].map(|count| count.load(Ordering::Relaxed));
        Progress { uploaded, downloaded }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
