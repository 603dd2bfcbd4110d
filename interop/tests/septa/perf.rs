//! Perf, in both directions.

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use septa_core::{Role, protocol::perf::Progress};
use septa_interop::{Event, PERF, WAIT};

use crate::support::{Pair, as_dialer_and_as_listener};

const AMOUNTS: [(u64, u64); 4] = [(0, 0), (0, 1), (100_001, 0), (3 << 20, (5 << 20) + 1)];

async fn we_measure_them(role: Role) {
    let pair = Pair::new(role).await;
    for (index, (upload, download)) in AMOUNTS.into_iter().enumerate() {
        let report = pair.connection.perf(upload, download, |_| {}).await.unwrap();
        assert_eq!(report.amounts, Progress { uploaded: upload, downloaded: download });
        let served = pair.rust.wait_for_nth(WAIT, index, |event| match event {
            Event::StreamServed { protocol, bytes, error, .. } if *protocol == PERF => Some((*bytes, error.clone())),
            _ => None,
        });
        assert_eq!(served.await.unwrap(), (upload, None));
    }
}

async fn they_measure_us(role: Role) {
    let pair = Pair::new(role).await;
    for (upload, download) in AMOUNTS {
        let mut stream = pair.rust.open_stream(pair.septa_peer(), PERF).await.unwrap();
        stream.write_all(&download.to_be_bytes()).await.unwrap();
        stream.write_all(&vec![7; upload as usize]).await.unwrap();
        stream.close().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len() as u64, download);
    }
}

as_dialer_and_as_listener! {
    we_measure_them
    they_measure_us
}
