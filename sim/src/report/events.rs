//! The run as a list of events.

use std::{fmt::Write as _, time::Duration};

use septa_core::Instant;

use super::{ConnectionBar, FaultBar, Level, Report, escape};

/// Characters of one text that are shown: a reason of a close can be as long as its sender likes.
pub(super) const TEXT_LIMIT: usize = 400;
/// Hosts of a fault that are named.
const HOSTS_NAMED: usize = 8;
/// Names up to this length stand in a column.
const COLUMN: usize = 16;

/// Something that happened.
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) host: Option<usize>,
    /// One line, safe to print.
    pub(super) what: String,
}

/// Everything that happened, in the order of time; at one instant hosts, faults, connections and notes, in this order.
pub(super) fn events(report: &Report) -> Vec<Event> {
    let mut events = Vec::new();
    of_hosts(report, &mut events);
    of_faults(report, &mut events);
    of_connections(report, &mut events);
    for note in &report.notes {
        let text = escape::line(&note.text, TEXT_LIMIT);
        let what = match note.level {
            Level::Info => text,
            Level::Warning => format!("warning: {text}"),
        };
        events.push(Event { at: note.at, host: note.host, what });
    }
    if let Some(heal) = report.heal {
        events.push(Event { at: heal, host: None, what: "the safety phase ends, liveness begins".to_owned() });
    }
    if let Some(failure) = &report.failure {
        let invariant = escape::line(&failure.invariant, TEXT_LIMIT);
        let message = escape::line(&failure.message, TEXT_LIMIT);
        let what = format!("FAILED in step {}: {invariant}: {message}", failure.step);
        events.push(Event { at: failure.at, host: failure.host, what });
    }
    events.sort_by_key(|event| event.at);
    events
}

fn of_hosts(report: &Report, events: &mut Vec<Event>) {
    for (host, lane) in report.hosts.iter().enumerate() {
        for (life, span) in lane.lives.iter().enumerate() {
            let what = if life == 0 { "starts" } else { "comes back" };
            events.push(Event { at: span.from, host: Some(host), what: what.to_owned() });
            if let Some(to) = span.to {
                events.push(Event { at: to, host: Some(host), what: "goes down".to_owned() });
            }
        }
    }
}

fn of_faults(report: &Report, events: &mut Vec<Event>) {
    for fault in &report.faults {
        let host = if let [host] = fault.hosts[..] { Some(host) } else { None };
        let text = escape::line(&fault.text, TEXT_LIMIT);
        let fired = fired(fault);
        if fault.to <= fault.from {
            events.push(Event { at: fault.from, host, what: format!("fault '{text}' strikes, {fired}") });
            continue;
        }
        events.push(Event { at: fault.from, host, what: format!("fault '{text}' begins") });
        events.push(Event { at: fault.to, host, what: format!("fault '{text}' is over, {fired}") });
    }
}

fn of_connections(report: &Report, events: &mut Vec<Event>) {
    for connection in &report.connections {
        let subject = format!("connection {} to {}", connection.id, report.name(connection.listener));
        let mut push = |at, what| events.push(Event { at, host: Some(connection.dialer), what });
        push(connection.opened, format!("{subject} opened"));
        if let Some(at) = connection.established {
            push(at, format!("{subject} established"));
        }
        if let Some(at) = connection.closed {
            push(at, format!("{subject} closed: {}, {}", end(connection), bytes(connection)));
        }
    }
}

pub(super) fn end(connection: &ConnectionBar) -> String {
    if connection.end.is_empty() { "no reason given".to_owned() } else { escape::line(&connection.end, TEXT_LIMIT) }
}

pub(super) fn bytes(connection: &ConnectionBar) -> String {
    format!("{} bytes there, {} back", connection.sent, connection.received)
}

pub(super) fn fired(fault: &FaultBar) -> String {
    match fault.fired {
        0 => "never changed anything".to_owned(),
        1 => "changed something once".to_owned(),
        times => format!("changed something {times} times"),
    }
}

/// The names of hosts, as far as there is room.
pub(super) fn names(report: &Report, hosts: &[usize]) -> String {
    let mut names: Vec<String> = hosts.iter().take(HOSTS_NAMED).map(|host| report.name(*host)).collect();
    if hosts.len() > HOSTS_NAMED {
        names.push(format!("{} more", hosts.len() - HOSTS_NAMED));
    }
    names.join(", ")
}

/// As a plan writes it: `1.5s`.
pub(super) fn time(at: Instant) -> String {
    if at == Instant::EPOCH { "0s".to_owned() } else { format!("{:?}", Duration::from_nanos(at.as_nanos())) }
}

pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {}, seed {}", escape::line(&report.scenario, TEXT_LIMIT), report.seed);
    for line in report.plan.lines() {
        let _ = writeln!(out, "# plan: {}", escape::line(line, TEXT_LIMIT));
    }
    if let Some(hash) = report.hash {
        let _ = writeln!(out, "# hash: {hash}");
    }
    let _ = writeln!(out, "# again: {}", escape::line(&report.command, TEXT_LIMIT));
    let _ = writeln!(out, "# from {} to {}", time(report.begin), time(report.end));
    if report.omitted > 0 {
        let _ = writeln!(out, "# {} entries were not recorded", report.omitted);
    }
    for line in lines(report, &events(report)) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// One line for each event.
pub(super) fn lines(report: &Report, events: &[Event]) -> Vec<String> {
    let width = (0..report.hosts.len()).map(|host| report.name(host).chars().count()).max().unwrap_or(1).min(COLUMN);
    let line = |event: &Event| {
        let nanos = event.at.as_nanos();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let host = event.host.map_or_else(|| "-".to_owned(), |host| report.name(host));
        format!("{seconds:>6}.{rest:09}s  {host:<width$}  {}", event.what)
    };
    events.iter().map(line).collect()
}
