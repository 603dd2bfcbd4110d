//! Writes down everything that happens, as lines of text.

mod plain;
mod sealed;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io,
    sync::Arc,
};

use septa_core::Instant;

pub(crate) use sealed::Sealed;
use wire::Wire;

use crate::{network::HostId, observer::Event, report::escape, stats::Counters};

/// Bytes of text that are written. What comes later is counted: a file that fills the disk shows nobody anything.
const MAX_LEN: u64 = 1 << 30;
/// Sockets at once whose bytes are taken apart; each may hold a part of a record. Of others it is said how much they send.
const MAX_SOCKETS: usize = 20_000;
/// Characters of a text of somebody else.
const MAX_TEXT: usize = 1_000;
/// Names up to this length stand in a column.
const COLUMN: usize = 12;

/// How an export has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exported {
    /// Lines that were written.
    pub lines: u64,
    /// Lines for which there was no room in 1 GiB.
    pub omitted: u64,
}

/// A writer, and what is needed to say in words what happens.
pub(crate) struct Exporter {
    out: Box<dyn io::Write + Send>,
    /// Bytes that may still be written.
    room: u64,
    done: Exported,
    /// Nothing is written behind it.
    error: Option<io::Error>,
    counters: Arc<Counters>,
    sealed: Arc<Sealed>,
    /// The first is number 1.
    hosts: Vec<String>,
    sockets: BTreeMap<u64, Socket>,
}

struct Socket {
    host: HostId,
    wire: Wire,
}

/// When, and in which step.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    step: u64,
}

impl Exporter {
    pub(crate) fn new<'n>(
        out: Box<dyn io::Write + Send>,
        counters: Arc<Counters>,
        hosts: impl Iterator<Item = &'n str>,
    ) -> Self {
        Self {
            out,
            room: MAX_LEN,
            done: Exported::default(),
            error: None,
            counters,
            sealed: Arc::default(),
            hosts: hosts.map(|name| escape::line(name, MAX_TEXT)).collect(),
            sockets: BTreeMap::new(),
        }
    }

    /// Where the plaintext of records is looked for.
    pub(crate) fn sealed(&self) -> &Arc<Sealed> {
        &self.sealed
    }

    /// The writer, flushed.
    pub(crate) fn finish(mut self) -> io::Result<(Exported, Box<dyn io::Write + Send>)> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.done.omitted > 0 {
            writeln!(self.out, "# {} lines more were left out", self.done.omitted)?;
        }
        self.out.flush()?;
        Ok((self.done, self.out))
    }

    pub(crate) fn hear(&mut self, at: Instant, event: Event<'_>) {
        let moment = Moment { at, step: self.counters.stats().steps };
        match event {
            Event::Host { name } => {
                self.hosts.push(escape::line(name, MAX_TEXT));
                let host = HostId::try_from(self.hosts.len()).unwrap_or(HostId::MAX);
                self.say(moment, host, format_args!("is there"));
            }
            Event::Boot { host } => self.say(moment, host, format_args!("starts")),
            Event::Crash { host } => self.say(moment, host, format_args!("goes down")),
            Event::Ran { host, task } => {
                let task = escape::line(task, MAX_TEXT);
                self.say(moment, host, format_args!("runs {task}"));
            }
            Event::Alarm { host, is_late } => {
                self.say(moment, host, format_args!("an alarm goes off{}", if is_late { ", late" } else { "" }));
            }
            Event::DialFailed { dialer, remote, why } => {
                self.say(moment, dialer, format_args!("cannot dial {remote}: {why}"));
            }
            Event::Connected { socket, dialer, listener } => self.connected(moment, socket, dialer, listener),
            Event::Sent { socket, bytes } => self.sent(moment, socket, bytes),
            Event::Read { socket, count: 0 } => self.say_of(moment, socket, format_args!("reads the end")),
            Event::Read { socket, count } => self.say_of(moment, socket, format_args!("reads {count} bytes")),
            Event::Failed { socket, why } => self.say_of(moment, socket, format_args!("fails: {why}")),
            Event::Ended { socket } => self.say_of(moment, socket, format_args!("ends its output")),
            Event::Closed { socket, has_unread } => {
                let unread = if has_unread { " with unread input" } else { "" };
                self.say_of(moment, socket, format_args!("is closed{unread}"));
                self.sockets.remove(&socket);
            }
            Event::FaultBegins { fault } => self.say(moment, 0, format_args!("fault '{fault}' begins")),
            Event::FaultEnds { fault } => self.say(moment, 0, format_args!("fault '{fault}' is over")),
            Event::Fired { kind, from, to } if from == to => {
                self.say(moment, to, format_args!("a fault changes something: {kind}"));
            }
            Event::Fired { kind, from, to } => {
                let from = self.name(from).to_owned();
                self.say(moment, to, format_args!("a fault changes something on the way from {from}: {kind}"));
            }
            Event::Healed => self.say(moment, 0, format_args!("all faults are over")),
            Event::Note { host, text } => {
                let text = escape::line(text, MAX_TEXT);
                self.say(moment, host, format_args!("notes: {text}"));
            }
        }
    }

    fn connected(&mut self, moment: Moment, socket: u64, dialer: HostId, listener: HostId) {
        let name = self.name(listener).to_owned();
        self.say(moment, dialer, format_args!("connection {} to {name} is made", socket / 2));
        for (socket, host, wire) in [(socket, dialer, Wire::dialer()), (socket + 1, listener, Wire::listener())] {
            if self.sockets.len() < MAX_SOCKETS {
                self.sockets.insert(socket, Socket { host, wire });
            }
        }
    }

    fn sent(&mut self, moment: Moment, id: u64, bytes: &[u8]) {
        self.say_of(moment, id, format_args!("sends {} bytes", bytes.len()));
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        let sealed = self.sealed.clone();
        socket.wire.take(bytes, &sealed, &mut |what| {
            self.say(moment, socket.host, format_args!("connection {} > {what}", id / 2));
        });
        self.sockets.insert(id, socket);
    }

    /// A line about a connection, by the host whose socket it is.
    fn say_of(&mut self, moment: Moment, socket: u64, what: fmt::Arguments<'_>) {
        let host = self.sockets.get(&socket).map_or(0, |socket| socket.host);
        self.say(moment, host, format_args!("connection {} {what}", socket / 2));
    }

    fn say(&mut self, moment: Moment, host: HostId, what: fmt::Arguments<'_>) {
        if self.error.is_some() {
            return;
        }
        let (nanos, step) = (moment.at.as_nanos(), moment.step);
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let mut line = String::with_capacity(128);
        // A String takes everything.
        let _ = writeln!(line, "{seconds:>6}.{rest:09}s {step:>8}  {:<COLUMN$}  {what}", self.name(host));
        match self.room.checked_sub(line.len() as u64) {
            // Nothing behind a gap: what is there is there in full.
            Some(room) if self.done.omitted == 0 => {
                self.room = room;
                self.done.lines += 1;
                self.error = self.out.write_all(line.as_bytes()).err();
            }
            _ => self.done.omitted += 1,
        }
    }

    fn name(&self, host: HostId) -> &str {
        let place = usize::try_from(host).ok().and_then(|host| host.checked_sub(1));
        place.and_then(|place| self.hosts.get(place)).map_or("-", String::as_str)
    }
}
