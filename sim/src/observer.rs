//! Who watches a run, and what is told to whom.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use septa_core::{Instant, crypto::Provider};

use crate::{
    export::{Exported, Exporter},
    network::HostId,
    plan::{Fault, FaultKind},
    recorder::Recorder,
    report::Report,
    schedule::Schedule,
    stats::Counters,
    trace::TraceHash,
};

/// Something that has happened. Sockets are named by a number that is even for who has dialed; the number of who was
/// dialed is the one behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'e> {
    /// There is a host more, and it is up.
    Host { name: &'e str },
    /// A host starts.
    Boot { host: HostId },
    /// A host goes down. What it had is dropped behind this.
    Crash { host: HostId },
    /// A task is about to run. Host 0 is nobody's.
    Ran { host: HostId, task: &'e str },
    /// An alarm wakes somebody.
    Alarm { host: HostId, is_late: bool },
    /// A dial came to nothing.
    DialFailed { dialer: HostId, remote: SocketAddr, why: io::ErrorKind },
    /// A connection was made. The socket is that of the dialer.
    Connected { socket: u64, dialer: HostId, listener: HostId },
    /// A socket took bytes to send.
    Sent { socket: u64, bytes: &'e [u8] },
    /// Bytes were read from a socket; 0 are the end.
    Read { socket: u64, count: usize },
    /// A socket failed.
    Failed { socket: u64, why: io::ErrorKind },
    /// A socket ended its output.
    Ended { socket: u64 },
    /// A socket was closed, with input that nobody had read, or without.
    Closed { socket: u64, has_unread: bool },
    /// A fault begins. What it does comes behind this.
    FaultBegins { fault: Fault },
    /// It is over. What it does as it ends comes before this.
    FaultEnds { fault: Fault },
    /// A fault of this kind has changed something between these two, or on the second alone.
    Fired { kind: FaultKind, from: HostId, to: HostId },
    /// No fault strikes any more.
    Healed,
    /// Somebody says something.
    Note { host: HostId, text: &'e str },
}

/// Tells those who keep a record what happens. While nobody does, it costs one look at a flag.
///
/// It changes nothing in the world, and asks it for nothing but the time: so whoever holds a lock may tell it something.
pub(crate) struct Observer {
    is_on: AtomicBool,
    schedule: Arc<Schedule>,
    counters: Arc<Counters>,
    audience: Mutex<Audience>,
}

#[derive(Default)]
struct Audience {
    recorder: Option<Recorder>,
    exporter: Option<Exporter>,
}

impl Observer {
    pub(crate) fn new(schedule: Arc<Schedule>, counters: Arc<Counters>) -> Self {
        Self { is_on: AtomicBool::new(false), schedule, counters, audience: Mutex::default() }
    }

    /// Records from now on, in a world with these hosts, each of which is up or not.
    pub(crate) fn record<'n>(&self, hosts: impl Iterator<Item = (&'n str, bool)>) {
        let recorder = Recorder::new(self.schedule.now(), hosts);
        self.lock(|audience| audience.recorder = Some(recorder));
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Writes down everything from now on, in a world with these hosts.
    pub(crate) fn export<'n>(&self, out: Box<dyn io::Write + Send>, hosts: impl Iterator<Item = &'n str>) {
        let exporter = Exporter::new(out, self.counters.clone(), hosts);
        self.lock(|audience| audience.exporter = Some(exporter));
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Gives the writer back, if there is one.
    pub(crate) fn end_export(&self) -> io::Result<Option<(Exported, Box<dyn io::Write + Send>)>> {
        self.lock(|audience| audience.exporter.take()).map(Exporter::finish).transpose()
    }

    /// Whether somebody wants to know which tasks run.
    pub(crate) fn is_exporting(&self) -> bool {
        self.is_on.load(Ordering::Relaxed) && self.lock(|audience| audience.exporter.is_some())
    }

    /// The same cryptography. If there is an export, it shows what is sealed with it.
    pub(crate) fn watch(&self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        let sealed = self.lock(|audience| audience.exporter.as_ref().map(|exporter| exporter.sealed().clone()));
        match sealed {
            Some(sealed) => sealed.watch(provider),
            None => provider,
        }
    }

    pub(crate) fn report(&self, hash: TraceHash) -> Option<Report> {
        let now = self.schedule.now();
        self.lock(|audience| audience.recorder.as_ref().map(|recorder| recorder.report(now, hash)))
    }

    #[inline]
    pub(crate) fn tell(&self, event: Event<'_>) {
        if self.is_on.load(Ordering::Relaxed) {
            self.tell_all(self.schedule.now(), event);
        }
    }

    fn tell_all(&self, now: Instant, event: Event<'_>) {
        self.lock(|Audience { recorder, exporter }| {
            if let Some(recorder) = recorder {
                recorder.hear(now, event);
            }
            if let Some(exporter) = exporter {
                exporter.hear(now, event);
            }
        });
    }

    fn lock<T>(&self, f: impl FnOnce(&mut Audience) -> T) -> T {
        f(&mut self.audience.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
