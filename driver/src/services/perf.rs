use septa_core::{
    Instant,
    connection::{WriteError, codes},
    protocol::perf::{Client, Error, PROTOCOL, Progress, Report, Server},
};

use super::{Answered, GOODBYE, refused_or};
use crate::{
    connection::Connection,
    error::{OpenStreamError, PerfError},
    stream::Stream,
    time::{Watch, after, within},
};

/// Sends `upload` bytes and gets `download` back.
pub(crate) async fn perf(
    connection: &Connection,
    upload: u64,
    download: u64,
    mut progress: impl FnMut(Progress),
) -> Result<Report, PerfError> {
    let runtime = &*connection.handle().shared().endpoint.runtime;
    let mut stream = connection.open_stream(&[PROTOCOL]).await?;
    // Otherwise the time of the negotiation counts.
    stream.negotiated().await?;
    let mut watch = Watch::new(runtime);
    let mut client = Client::new(upload, download, runtime.now());
    while let Some(mut chunk) = client.poll_transmit(runtime.now()) {
        let deadline = client.poll_timeout().unwrap_or(Instant::NEVER);
        match watch.within(deadline, stream.write_chunk(&mut chunk)).await {
            None => client.handle_timeout(runtime.now().max(deadline))?,
            Some(Ok(())) => progress(client.progress()),
            Some(Err(WriteError::Refused(reason))) => return Err(OpenStreamError::Refused(reason).into()),
            Some(Err(error)) => return Err(error.into()),
        }
    }
    stream.finish()?;
    loop {
        let deadline = client.poll_timeout().unwrap_or(Instant::NEVER);
        match watch.within(deadline, stream.read_chunk()).await {
            None => client.handle_timeout(runtime.now().max(deadline))?,
            Some(Ok(Some(chunk))) => {
                client.handle_recv(runtime.now(), &chunk)?;
                progress(client.progress());
            }
            Some(Ok(None)) => {
                if let Some(report) = client.handle_eof(runtime.now())? {
                    return Ok(report);
                }
            }
            Some(Err(error)) => return Err(refused_or(error, PerfError::Open, PerfError::Read)),
        }
    }
}

pub(super) async fn answer(answered: &Answered, mut stream: Stream) {
    match serve(answered, &mut stream).await {
        Some(Ok(())) => {
            let runtime = &*answered.shared.endpoint.runtime;
            let _ = within(runtime, after(runtime, GOODBYE), stream.read_to_end()).await;
        }
        Some(Err(Error::DownloadTooLong { .. })) => stream.reset(codes::stream::RESOURCE_LIMIT),
        Some(Err(_)) => stream.reset(codes::stream::PROTOCOL_VIOLATION),
        None => {}
    }
}

/// Counts, then sends; `None` if the stream breaks.
async fn serve(answered: &Answered, stream: &mut Stream) -> Option<Result<(), Error>> {
    let endpoint = &answered.shared.endpoint;
    let runtime = &*endpoint.runtime;
    let mut watch = Watch::new(runtime);
    let mut server = Server::new(endpoint.max_perf_download.unwrap_or(0), runtime.now());
    while !server.is_finished() {
        let deadline = server.poll_timeout().unwrap_or(Instant::NEVER);
        let step = match server.poll_transmit(runtime.now()) {
            Some(mut chunk) => {
                watch.within(deadline, stream.write_chunk(&mut chunk)).await.map(|sent| sent.ok().map(Ok))
            }
            None => watch.within(deadline, stream.read_chunk()).await.map(|read| match read.ok()? {
                Some(chunk) => Some(server.handle_recv(runtime.now(), &chunk)),
                None => Some(server.handle_eof(runtime.now())),
            }),
        };
        let outcome = match step {
            None => server.handle_timeout(runtime.now().max(deadline)),
            Some(outcome) => outcome?,
        };
        if let Err(error) = outcome {
            return Some(Err(error));
        }
    }
    stream.finish().ok().map(Ok)
}
