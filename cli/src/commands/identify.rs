//! `septa identify`.

use septa_core::protocol::identify::{Info, Received};
use septa_driver::Connection;
use serde_json::json;

use crate::{
    args::DialArgs,
    failure::Failure,
    output::{Output, untrusted},
    world::World,
};

/// Asks the peer who it is and prints its answer.
pub(crate) async fn run(world: &World, args: DialArgs) -> Result<(), Failure> {
    super::dial(world, &args, |connection| identify(connection, world.output)).await
}

async fn identify(connection: Connection, output: Output) -> Result<(), Failure> {
    let received = connection.identify().await.map_err(|error| {
        Failure::new(format_args!("identify failed: {error}"), "check that the peer serves identify")
    })?;
    let addresses: Vec<String> = received.addrs().iter().map(ToString::to_string).collect();
    let Received { info, peer_record, .. } = received;
    let (peer, signed) = (connection.peer_id(), peer_record.valid().is_some());
    let protocols: Vec<String> = info.protocols.iter().map(|protocol| untrusted(protocol.as_str())).collect();
    output.print(
        text(&peer.to_string(), &info, (&addresses, signed), &protocols),
        json!({
            "ok": true,
            "peer": peer.to_string(),
            "agent": info.agent_version,
            "protocol_version": info.protocol_version,
            "listen_addresses": addresses,
            "addresses_signed": signed,
            "observed_address": info.observed_addr.as_ref().map(ToString::to_string),
            "protocols": protocols,
        }),
    );
    Ok(())
}

fn text(peer: &str, info: &Info, (addresses, signed): (&[String], bool), protocols: &[String]) -> String {
    let observed = info.observed_addr.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let mut lines = vec![
        format!("peer id           {peer}"),
        format!("agent             {}", info.agent_version.as_deref().unwrap_or("-")),
        format!("protocol version  {}", info.protocol_version.as_deref().unwrap_or("-")),
        format!("sees us as        {observed}"),
    ];
    let mark = if signed { " (signed)" } else { "" };
    lines.extend(addresses.iter().map(|address| format!("listens on        {address}{mark}")));
    lines.extend(protocols.iter().map(|protocol| format!("serves            {protocol}")));
    lines.join("\n")
}
