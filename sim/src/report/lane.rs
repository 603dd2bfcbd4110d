//! One lane of the timeline: what happened at a host, or to the run as a whole.

use std::fmt::Write as _;

use super::{
    ConnectionBar, Failure, FaultBar, Level, NAME_LIMIT, Note, Report,
    axis::Axis,
    escape,
    events::{self, time},
    item::{Item, Rows},
    selection::{Selection, lifetime},
};

/// The row of the host itself and of notes.
const HEAD_HEIGHT: usize = 20;
/// The rows of connections share about this height, but none is higher or lower than these.
const ROWS_HEIGHT: usize = 160;
const ROW_HEIGHTS: std::ops::RangeInclusive<usize> = 3..=15;
/// A row of at least this height has room for a label.
const LABEL_HEIGHT: usize = 11;
/// Characters of a label; the rest is in the details.
const LABEL_LIMIT: usize = 60;

/// Writes lanes and counts the bars for which they had no room.
pub(super) struct Lanes<'r> {
    report: &'r Report,
    selection: &'r Selection,
    axis: Axis,
    /// The drawn connections of each host, by index.
    connections: Vec<Vec<usize>>,
    pub(super) unfit: usize,
}

impl<'r> Lanes<'r> {
    pub(super) fn new(report: &'r Report, selection: &'r Selection, axis: Axis) -> Self {
        let mut connections = vec![Vec::new(); report.hosts.len()];
        for index in &selection.connections {
            let Some(connection) = report.connections.get(*index) else { continue };
            let other = (connection.listener != connection.dialer).then_some(connection.listener);
            for end in [Some(connection.dialer), other].into_iter().flatten() {
                if let Some(list) = connections.get_mut(end) {
                    list.push(*index);
                }
            }
        }
        Self { report, selection, axis, connections, unfit: 0 }
    }

    /// The lane of the run itself: its phases, every fault, and what belongs to no host.
    pub(super) fn run(&mut self, out: &mut String) {
        let mut items = self.phases();
        let bars = self.faults().map(|(index, fault)| {
            let class = if fault.fired == 0 { "fault idle" } else { "fault" };
            self.fault(index, fault, class)
        });
        let height = self.stack(bars.collect(), &mut items);
        items.extend(self.marks(None));
        self.lane(out, None, &items, height);
    }

    /// The lane of a host.
    pub(super) fn host(&mut self, out: &mut String, host: usize) {
        let mut items = self.bands(host);
        items.extend(self.lives(host));
        let indexes = self.connections.get(host).into_iter().flatten();
        let bars = indexes
            .filter_map(|index| Some((*index, self.report.connections.get(*index)?)))
            .map(|(index, connection)| self.connection(index, connection, host));
        let height = self.stack(bars.collect(), &mut items);
        items.extend(self.marks(Some(host)));
        self.lane(out, Some(host), &items, height);
    }

    /// Puts bars into rows under the head of a lane, and returns the height of the lane.
    fn stack(&mut self, bars: Vec<Item>, items: &mut Vec<Item>) -> usize {
        let rows = Rows::pack(&bars);
        let height = (ROWS_HEIGHT / rows.count.max(1)).clamp(*ROW_HEIGHTS.start(), *ROW_HEIGHTS.end());
        for (mut bar, place) in bars.into_iter().zip(rows.places) {
            let Some(row) = place else {
                self.unfit += 1;
                continue;
            };
            (bar.top, bar.height) = (HEAD_HEIGHT + row * height, Some(height - 1));
            if height < LABEL_HEIGHT {
                bar.label.clear();
            }
            items.push(bar);
        }
        HEAD_HEIGHT + rows.count * height + 3
    }

    fn faults(&self) -> impl Iterator<Item = (usize, &'r FaultBar)> {
        let faults = &self.report.faults;
        self.selection.faults.iter().filter_map(|index| Some((*index, faults.get(*index)?)))
    }

    fn phases(&self) -> Vec<Item> {
        let (begin, end) = (self.report.begin, self.report.end);
        let phase = |class, from, to, name: &str| Item {
            class,
            key: format!("phase-{name}"),
            from,
            to,
            top: 2,
            height: Some(15),
            pending: None,
            label: name.to_owned(),
            details: format!("{name}\nfrom {} to {}", time(from), time(to)),
        };
        match self.report.heal {
            Some(heal) => vec![
                phase("phase safety", begin, heal, "safety phase"),
                phase("phase liveness", heal, end, "liveness phase"),
            ],
            None => vec![phase("phase", begin, end, "the run")],
        }
    }

    fn fault(&self, index: usize, fault: &FaultBar, class: &'static str) -> Item {
        let whom = events::names(self.report, &fault.hosts);
        let struck = if whom.is_empty() { String::new() } else { format!("\nat {whom}") };
        let text = escape::line(&fault.text, events::TEXT_LIMIT);
        let from = time(fault.from);
        let times =
            if fault.to > fault.from { format!("from {from} to {}", time(fault.to)) } else { format!("at {from}") };
        Item {
            class,
            key: format!("fault-{index}"),
            from: fault.from,
            to: fault.to,
            top: 0,
            height: None,
            pending: None,
            label: escape::line(&fault.text, LABEL_LIMIT),
            details: format!("fault: {text}{struck}\n{times}; {}", events::fired(fault)),
        }
    }

    /// The faults that strike a host, over all of its lane.
    fn bands(&self, host: usize) -> Vec<Item> {
        self.faults()
            .filter(|(index, _)| self.selection.bands.contains(&(*index, host)))
            .map(|(index, fault)| {
                let class = if fault.fired == 0 { "band idle" } else { "band" };
                self.fault(index, fault, class)
            })
            .collect()
    }

    /// When the host was up, and when it was down.
    fn lives(&self, host: usize) -> Vec<Item> {
        let Some(lane) = self.report.hosts.get(host) else { return Vec::new() };
        let name = self.report.name(host);
        let mut items = Vec::new();
        for (index, life) in lane.lives.iter().enumerate() {
            if !self.selection.lives.contains(&(host, index)) {
                continue;
            }
            let until = life.to.map_or_else(|| "to the end".to_owned(), |to| format!("to {}", time(to)));
            let bar = |class, part: &str, from, to, details| Item {
                class,
                key: format!("{part}-{host}-{index}"),
                from,
                to,
                top: 7,
                height: Some(6),
                pending: None,
                label: String::new(),
                details,
            };
            let details = format!("{name} is up\nfrom {} {until}", time(life.from));
            items.push(bar("life", "up", life.from, life.to.unwrap_or(self.report.end), details));
            let Some(from) = life.to.filter(|to| *to < self.report.end) else { continue };
            let next = lane.lives.get(index + 1).map(|next| next.from);
            let until = next.map_or_else(|| "to the end".to_owned(), |to| format!("to {}", time(to)));
            let details = format!("{name} is down\nfrom {} {until}", time(from));
            items.push(bar("down", "down", from, next.unwrap_or(self.report.end), details));
        }
        items
    }

    fn connection(&self, index: usize, connection: &ConnectionBar, host: usize) -> Item {
        let (from, to) = lifetime(self.report, connection);
        let (dialer, listener) = (self.report.name(connection.dialer), self.report.name(connection.listener));
        let (class, arrow, other) = if connection.dialer == host {
            ("connection dialed", "\u{2192}", &listener)
        } else {
            ("connection accepted", "\u{2190}", &dialer)
        };
        let established = connection
            .established
            .map_or_else(|| "never established".to_owned(), |at| format!("established {}", time(at)));
        let end = match connection.closed {
            Some(at) => format!("closed {}: {}", time(at), events::end(connection)),
            None => "open to the end".to_owned(),
        };
        Item {
            class,
            key: format!("connection-{index}"),
            from,
            to,
            top: 0,
            height: None,
            pending: Some(connection.established.unwrap_or(to).min(to)),
            label: format!("{arrow} {} #{}", escape::line(other, LABEL_LIMIT), connection.id),
            details: format!(
                "connection {}: {dialer} dialed {listener}\nopened {}, {established}\n{end}\n{}",
                connection.id,
                time(connection.opened),
                events::bytes(connection)
            ),
        }
    }

    /// The notes of a lane, and its failure.
    fn marks(&self, host: Option<usize>) -> Vec<Item> {
        let notes = self.selection.notes.iter().filter_map(|index| Some((*index, self.report.notes.get(*index)?)));
        let mut marks: Vec<Item> =
            notes.filter(|(_, note)| note.host == host).map(|(index, note)| mark(index, note)).collect();
        marks.extend(self.report.failure.iter().filter(|failure| self.shown_at(failure) == host).map(failed));
        marks
    }

    /// The lane that a failure is shown in.
    fn shown_at(&self, failure: &Failure) -> Option<usize> {
        failure.host.filter(|host| *host < self.report.hosts.len())
    }

    fn lane(&self, out: &mut String, host: Option<usize>, items: &[Item], height: usize) {
        let failed = self.report.failure.as_ref().is_some_and(|failure| self.shown_at(failure) == host);
        let name = host.map_or_else(|| "the run".to_owned(), |host| self.report.name(host));
        let name = escape::html(&name);
        let class = match (host, failed) {
            (Some(_), false) => "lane host",
            (Some(_), true) => "lane host failed",
            (None, false) => "lane run",
            (None, true) => "lane run failed",
        };
        let number = host.map(|host| format!("<span class=\"number\">{}</span> ", host.saturating_add(1)));
        let cross = if failed { "<span class=\"cross\">\u{2717} failed</span>" } else { "" };
        let _ = write!(
            out,
            "<div class=\"{class}\" data-name=\"{name}\"><div class=\"name\" title=\"{name}\">{}<b>{name}</b>{cross}</div>\
             <svg class=\"track\" height=\"{height}\" role=\"group\" aria-label=\"{name}\">",
            number.unwrap_or_default()
        );
        items.iter().for_each(|item| item.write(out, self.axis));
        out.push_str("</svg></div>\n");
    }
}

fn mark(index: usize, note: &Note) -> Item {
    let text = escape::line(&note.text, events::TEXT_LIMIT);
    let (class, word) = match note.level {
        Level::Info => ("mark note", "note"),
        Level::Warning => ("mark note warning", "warning"),
    };
    Item {
        class,
        key: format!("note-{index}"),
        from: note.at,
        to: note.at,
        top: 3,
        height: Some(14),
        pending: None,
        label: String::new(),
        details: format!("{word} at {}\n{text}", time(note.at)),
    }
}

fn failed(failure: &Failure) -> Item {
    let invariant = escape::line(&failure.invariant, NAME_LIMIT);
    let message = escape::line(&failure.message, events::TEXT_LIMIT);
    Item {
        class: "mark failure",
        key: "failure".to_owned(),
        from: failure.at,
        to: failure.at,
        top: 3,
        height: Some(14),
        pending: None,
        label: String::new(),
        details: format!("failed at {}, step {}\n{invariant}: {message}", time(failure.at), failure.step),
    }
}
