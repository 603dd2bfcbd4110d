//! `septa echo`.

use septa_core::ProtocolId;
use serde_json::json;

use crate::{args::DialArgs, echo, failure::Failure, world::World};

/// Sends `bytes` over `streams` streams, compares the echo and prints the speed.
pub(crate) async fn run(
    world: &World,
    args: DialArgs,
    protocol: ProtocolId,
    bytes: u64,
    streams: u16,
) -> Result<(), Failure> {
    super::dial(world, &args, |connection| async move {
        let report = echo::run(&connection, &protocol, bytes, streams, world.seed()).await?;
        let rate = report.megabytes_per_second();
        world.output.print(
            format_args!("{bytes} bytes echoed over {streams} streams and compared: {rate:.1} MB/s"),
            json!({ "ok": true, "bytes": bytes, "streams": streams, "MBps": rate }),
        );
        Ok(())
    })
    .await
}
