//! Writes down what happens, for a report.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use septa_core::Instant;

use crate::{
    network::HostId,
    observer::Event,
    plan::{Fault, FaultKind},
    report::{ConnectionBar, FaultBar, HostLane, Level, Note, Report, Span},
    trace::TraceHash,
};

// What a long run may cost. Past each of these the oldest entry makes room for the next: what is near to a failure is
// near to the end.

/// Hosts. Those past it are not in the report, nor is what happens to them.
const MAX_HOSTS: usize = 20_000;
/// Lives of one host.
const MAX_LIVES: usize = 1_000;
/// Connections.
const MAX_CONNECTIONS: usize = 20_000;
/// Faults.
const MAX_FAULTS: usize = 1_000;
/// Notes.
const MAX_NOTES: usize = 20_000;
/// Characters of a note.
const MAX_NOTE_LEN: usize = 1_000;

/// What has happened since a record is kept.
pub(crate) struct Recorder {
    begin: Instant,
    heal: Option<Instant>,
    /// The first is number 1.
    hosts: Vec<HostLane>,
    /// By their numbers, which only grow.
    connections: BTreeMap<u64, Connection>,
    faults: VecDeque<Struck>,
    notes: VecDeque<Note>,
    omitted: u64,
}

struct Connection {
    bar: ConnectionBar,
    ends: [End; 2],
    /// An end has read the end of the other's output, which had not ended it.
    is_cut: bool,
}

#[derive(Default)]
struct End {
    has_read: bool,
    has_ended: bool,
}

struct Struck {
    fault: Fault,
    from: Instant,
    to: Option<Instant>,
    fired: u64,
}

impl Recorder {
    pub(crate) fn new<'n>(now: Instant, hosts: impl Iterator<Item = (&'n str, bool)>) -> Self {
        let mut recorder = Self {
            begin: now,
            heal: None,
            hosts: Vec::new(),
            connections: BTreeMap::new(),
            faults: VecDeque::new(),
            notes: VecDeque::new(),
            omitted: 0,
        };
        hosts.for_each(|(name, is_up)| recorder.add_host(now, name, is_up));
        recorder
    }

    pub(crate) fn hear(&mut self, now: Instant, event: Event<'_>) {
        match event {
            Event::Host { name } => self.add_host(now, name, true),
            Event::Boot { host } => self.boot(now, host),
            Event::Crash { host } => {
                if let Some(life) = self.life(host) {
                    life.to.get_or_insert(now);
                }
            }
            // The size of a report does not grow with the steps of a run.
            Event::Ran { .. } | Event::Alarm { .. } | Event::DialFailed { .. } => {}
            Event::Connected { socket, dialer, listener } => self.connect(now, socket, dialer, listener),
            Event::Sent { socket, bytes } => {
                if let Some((connection, end)) = self.connection(socket) {
                    connection.add_sent(end, bytes.len());
                }
            }
            Event::Read { socket, count } => {
                if let Some((connection, end)) = self.connection(socket) {
                    connection.read(now, end, count);
                }
            }
            // Somebody has ended that direction, which is told where it happens. The other one may live on.
            Event::Failed { why: io::ErrorKind::BrokenPipe, .. } => {}
            Event::Failed { socket, why } => self.close(now, socket, |name| format!("{why}, as {name} finds")),
            Event::Ended { socket } => {
                if let Some((connection, end)) = self.connection(socket) {
                    connection.ends[end].has_ended = true;
                }
            }
            Event::Closed { socket, has_unread } => self.close(now, socket, |name| match has_unread {
                true => format!("reset: {name} closed it and had not read everything"),
                false => format!("closed by {name}"),
            }),
            Event::FaultBegins { fault } => {
                let struck = Struck { fault, from: now, to: None, fired: 0 };
                push(&mut self.faults, struck, MAX_FAULTS, &mut self.omitted);
            }
            Event::FaultEnds { fault } => {
                let lasting = self.faults.iter_mut().find(|struck| struck.fault == fault && struck.to.is_none());
                lasting.into_iter().for_each(|struck| struck.to = Some(now));
            }
            Event::Fired { kind, from, to } => self.fired(kind, from, to),
            Event::Healed => self.heal = Some(now),
            Event::Note { host, text } => {
                let text = text.chars().take(MAX_NOTE_LEN).collect();
                let note = Note { at: now, host: place(host), level: Level::Info, text };
                push(&mut self.notes, note, MAX_NOTES, &mut self.omitted);
            }
        }
    }

    /// What there is to report until now. Nobody here knows the scenario, its plan or how to run it again.
    pub(crate) fn report(&self, now: Instant, hash: TraceHash) -> Report {
        Report {
            scenario: String::new(),
            seed: 0,
            hash: Some(hash),
            plan: String::new(),
            command: String::new(),
            begin: self.begin,
            end: now,
            heal: self.heal,
            hosts: self.hosts.clone(),
            connections: self.connections.values().map(|connection| connection.bar.clone()).collect(),
            faults: self.faults.iter().map(|struck| struck.bar(now)).collect(),
            notes: self.notes.iter().cloned().collect(),
            failure: None,
            omitted: self.omitted,
        }
    }

    fn add_host(&mut self, now: Instant, name: &str, is_up: bool) {
        if self.hosts.len() >= MAX_HOSTS {
            self.omitted += 1;
            return;
        }
        let lives = if is_up { vec![Span { from: now, to: None }] } else { Vec::new() };
        self.hosts.push(HostLane { name: name.to_owned(), lives });
    }

    /// The first program of a host starts when the host is made, and its life goes on.
    fn boot(&mut self, now: Instant, host: HostId) {
        let Some(lane) = place(host).and_then(|place| self.hosts.get_mut(place)) else { return };
        if lane.lives.last().is_some_and(|life| life.to.is_none()) {
            return;
        }
        if lane.lives.len() >= MAX_LIVES {
            lane.lives.remove(0);
            self.omitted += 1;
        }
        lane.lives.push(Span { from: now, to: None });
    }

    fn connect(&mut self, now: Instant, socket: u64, dialer: HostId, listener: HostId) {
        let (Some(dialer), Some(listener)) = (place(dialer), place(listener)) else { return };
        if self.connections.len() >= MAX_CONNECTIONS {
            self.connections.pop_first();
            self.omitted += 1;
        }
        let id = socket / 2;
        let bar = ConnectionBar {
            id,
            dialer,
            listener,
            opened: now,
            established: None,
            closed: None,
            end: String::new(),
            sent: 0,
            received: 0,
        };
        self.connections.insert(id, Connection { bar, ends: Default::default(), is_cut: false });
    }

    /// Only the first reason is the reason.
    fn close(&mut self, now: Instant, socket: u64, why: impl FnOnce(&str) -> String) {
        let Some(connection) = self.connections.get_mut(&(socket / 2)) else { return };
        connection.ends[end_of(socket)].has_ended = true;
        if connection.bar.closed.is_some() {
            return;
        }
        let host = [connection.bar.dialer, connection.bar.listener][end_of(socket)];
        let lane = self.hosts.get(host);
        let name = lane.map_or("a host", |lane| &lane.name);
        let is_down = lane.and_then(|lane| lane.lives.last()).is_some_and(|life| life.to.is_some());
        let why = if is_down { format!("{name} went down") } else { why(name) };
        connection.bar.closed = Some(now);
        connection.bar.end = if connection.is_cut { format!("cut short by a fault, then {why}") } else { why };
    }

    /// The connection that a socket belongs to, and which end it is: 0 has dialed.
    fn connection(&mut self, socket: u64) -> Option<(&mut Connection, usize)> {
        Some((self.connections.get_mut(&(socket / 2))?, end_of(socket)))
    }

    /// The last that a host has had.
    fn life(&mut self, host: HostId) -> Option<&mut Span> {
        self.hosts.get_mut(place(host)?)?.lives.last_mut()
    }

    /// Of several faults that may have done it, it was the last that has begun and is not over. Some strike only
    /// when they are over, such as a reset behind so many bytes.
    fn fired(&mut self, kind: FaultKind, from: HostId, to: HostId) {
        let may_be = |struck: &&mut Struck| struck.fault.kind() == kind && strikes(&struck.fault, from, to);
        let candidates = self.faults.iter_mut().rev().filter(may_be);
        // Stable, so that the last is the first of those that last, and of those that are over.
        if let Some(struck) = candidates.min_by_key(|struck| struck.to.is_some()) {
            struck.fired += 1;
        }
    }
}

impl Connection {
    fn add_sent(&mut self, end: usize, count: usize) {
        let bytes = [&mut self.bar.sent, &mut self.bar.received].into_iter().nth(end);
        bytes.into_iter().for_each(|bytes| *bytes += count as u64);
    }

    fn read(&mut self, now: Instant, end: usize, count: usize) {
        if count == 0 {
            self.is_cut |= !self.ends[1 - end].has_ended;
            return;
        }
        self.ends[end].has_read = true;
        if self.ends.iter().all(|end| end.has_read) {
            self.bar.established.get_or_insert(now);
        }
    }
}

impl Struck {
    fn bar(&self, now: Instant) -> FaultBar {
        FaultBar {
            from: self.from,
            to: self.to.unwrap_or(now),
            hosts: self.fault.hosts().filter_map(|host| place(host.get())).collect(),
            text: self.fault.to_string(),
            fired: self.fired,
        }
    }
}

/// Whether a fault has to do with what goes from one host to another. Those of one host have to do with what is done to it.
fn strikes(fault: &Fault, from: HostId, to: HostId) -> bool {
    let mut hosts = fault.hosts().map(std::num::NonZeroU32::get);
    match (fault, hosts.next(), hosts.next()) {
        (Fault::Partition { .. } | Fault::Reset { .. }, Some(one), Some(other)) => {
            [(one, other), (other, one)].contains(&(from, to))
        }
        (_, Some(one), Some(other)) => (from, to) == (one, other),
        (_, one, _) => one == Some(to),
    }
}

fn push<T>(list: &mut VecDeque<T>, entry: T, limit: usize, omitted: &mut u64) {
    if list.len() >= limit {
        list.pop_front();
        *omitted += 1;
    }
    list.push_back(entry);
}

/// Hosts are counted from 1; 0 is nobody.
fn place(host: HostId) -> Option<usize> {
    usize::try_from(host).ok()?.checked_sub(1)
}

fn end_of(socket: u64) -> usize {
    usize::from(socket % 2 == 1)
}
