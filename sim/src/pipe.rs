//! One direction of a TCP connection.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use septa_core::Instant;

use crate::{
    draws::Draws,
    fired::FiredBetween,
    link::LinkOptions,
    plan::{FaultKind, Tamper},
    schedule::{Alarm, AlarmId, Schedule},
    tampering::Tampering,
    world::NOBODY,
};

/// Room for bytes that an empty pipe keeps, so that small messages allocate nothing and idle connections hold little.
const IDLE_CAPACITY: usize = 256;

/// Bytes on their way from one end to the other, and what the one end has the other know: its end of output, that it was
/// closed, that the connection is reset. All of it arrives in the order in which it was sent, and none while a fault
/// stalls the pipe.
pub(crate) struct Pipe {
    schedule: Arc<Schedule>,
    options: Arc<LinkOptions>,
    luck: Draws,
    /// What is held, and of what parts it is made.
    bytes: VecDeque<u8>,
    segments: VecDeque<Segment>,
    carried: u64,
    /// When the line has sent everything that was written.
    line_free: Instant,
    /// When what was written last arrives: nothing overtakes it.
    last_arrival: Instant,
    /// When the end of the output arrives, once the writer has ended it.
    end: Option<Instant>,
    /// When the reader's end learns that the connection is reset.
    reset: Option<Instant>,
    /// When the reader's end learns that nobody takes what it sends.
    closed: Option<Instant>,
    /// It has learned of the reset, or of either. That it does not forget, whatever stalls the pipe later.
    has_failed: bool,
    is_told: bool,
    reader: Option<Waker>,
    /// Wakes the reader when the first of what is under way arrives. It may have gone off.
    arrival: Option<AlarmId>,
    writer: Option<Waker>,
    /// Who waits at the reader's end for room in the other direction, and what wakes it when it is told.
    other_writer: Option<Waker>,
    news: Option<AlarmId>,
    /// The reader's end was closed.
    is_abandoned: bool,
    /// How many faults keep everything from arriving now. Nothing says so to either end.
    stalls: u32,
    /// Those that have not held anything back yet.
    idle_stalls: Vec<StallId>,
    tampering: Tampering,
    /// After so many bytes a plan resets the connection.
    planned_reset: Option<u64>,
    fired: FiredBetween,
}

/// A fault that stalls pipes. Others of its kind may do so at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct StallId {
    pub(crate) number: u64,
    pub(crate) kind: FaultKind,
}

/// Bytes that arrive at once.
struct Segment {
    arrives: Instant,
    len: usize,
}

/// What a pipe has taken.
pub(crate) struct Written {
    /// Of what was offered.
    pub(crate) count: usize,
    /// What goes on its way instead, if a fault has changed it.
    pub(crate) changed: Option<Vec<u8>>,
}

impl Pipe {
    pub(crate) fn new(schedule: Arc<Schedule>, options: Arc<LinkOptions>, luck: Draws, fired: FiredBetween) -> Self {
        Self {
            schedule,
            options,
            luck,
            bytes: VecDeque::new(),
            segments: VecDeque::new(),
            carried: 0,
            line_free: Instant::EPOCH,
            last_arrival: Instant::EPOCH,
            end: None,
            reset: None,
            closed: None,
            has_failed: false,
            is_told: false,
            reader: None,
            arrival: None,
            writer: None,
            other_writer: None,
            news: None,
            is_abandoned: false,
            stalls: 0,
            idle_stalls: Vec::new(),
            tampering: Tampering::default(),
            planned_reset: None,
            fired,
        }
    }

    /// Reads what has arrived; 0 bytes are the end.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.is_reset(now) {
            self.has_failed = true;
            self.stop_waiting();
            self.segments.clear();
            self.bytes = VecDeque::new();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match self.next_arrival() {
            Some(arrives) if arrives <= now && self.stalls == 0 => self.stop_waiting(),
            next => {
                self.wait(cx.waker(), next, now);
                return Poll::Pending;
            }
        }
        let limit = self.options.read_cut.limit(&mut self.luck).min(out.len());
        let mut count = 0;
        while count < limit {
            let Some(segment) = self.segments.front_mut().filter(|segment| segment.arrives <= now) else { break };
            let taken = segment.len.min(limit - count);
            segment.len -= taken;
            count += taken;
            if segment.len == 0 {
                self.segments.pop_front();
            }
        }
        self.take_bytes(&mut out[..count]);
        if count > 0
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
        Poll::Ready(Ok(count))
    }

    /// When the first of what the reader has not seen arrives: bytes, or their end behind them, or a reset.
    fn next_arrival(&self) -> Option<Instant> {
        let next = self.segments.front().map(|segment| segment.arrives).or(self.end);
        [next, self.reset].into_iter().flatten().min()
    }

    fn is_reset(&self, now: Instant) -> bool {
        self.reset.is_some_and(|at| self.has_failed || (at <= now && self.stalls == 0))
    }

    /// Whether it is known at the reader's end that whatever it sends is lost.
    pub(crate) fn is_told(&mut self, now: Instant) -> bool {
        self.is_told |= self.stalls == 0 && self.news_arrive().is_some_and(|at| at <= now);
        self.is_told
    }

    fn news_arrive(&self) -> Option<Instant> {
        [self.reset, self.closed].into_iter().flatten().min()
    }

    /// Fills `out` with the first bytes. There are as many.
    fn take_bytes(&mut self, out: &mut [u8]) {
        let (first, second) = self.bytes.as_slices();
        let in_first = out.len().min(first.len());
        let (from_first, from_second) = out.split_at_mut(in_first);
        from_first.copy_from_slice(&first[..in_first]);
        from_second.copy_from_slice(&second[..from_second.len()]);
        self.bytes.drain(..out.len());
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_CAPACITY {
            self.bytes = VecDeque::new();
        }
    }

    fn wait(&mut self, waker: &Waker, next: Option<Instant>, now: Instant) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(waker),
            reader => *reader = Some(waker.clone()),
        }
        self.count_held_back(now);
        match next {
            Some(arrives) if self.stalls == 0 => self.await_arrival(arrives),
            _ => self.stop_arrival(),
        }
    }

    /// Has the reader woken when something arrives; not before, as it would find nothing.
    fn await_arrival(&mut self, arrives: Instant) {
        let Some(reader) = &self.reader else { return };
        set_alarm(&self.schedule, &mut self.arrival, reader, arrives);
    }

    /// The reader has what it has waited for. Whoever finds nothing the next time says so again.
    fn stop_waiting(&mut self) {
        self.reader = None;
        self.stop_arrival();
    }

    fn stop_arrival(&mut self) {
        if let Some(id) = self.arrival.take() {
            self.schedule.stop(id);
        }
    }

    /// Takes some of `data`.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, now: Instant, data: &[u8]) -> Poll<io::Result<Written>> {
        if self.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.options.capacity.max(1).saturating_sub(self.bytes.len());
        if room == 0 && !data.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = data.len().min(room).min(self.options.write_cut.limit(&mut self.luck));
        let arrives = self.occupy_line(now, count);
        let begin = self.carried;
        self.carried += count as u64;
        // What nobody can read any more is not worth changing, and would not count.
        let is_read = self.reset.is_none() && !self.is_abandoned;
        let changed = (is_read && self.tampering.strikes(self.carried))
            .then(|| self.tampering.apply(begin, &data[..count], &mut self.luck, &self.fired));
        let sent = changed.as_deref().unwrap_or(&data[..count]);
        let len = sent.len();
        self.bytes.extend(sent);
        match self.segments.back_mut().filter(|segment| segment.arrives == arrives) {
            Some(segment) => segment.len += len,
            None if len > 0 => self.segments.push_back(Segment { arrives, len }),
            None => {}
        }
        self.tell_reader(now);
        Poll::Ready(Ok(Written { count, changed }))
    }

    /// Has `waker` woken when the reader's end is told that whatever it sends is lost.
    pub(crate) fn await_news(&mut self, waker: &Waker, now: Instant) {
        match &mut self.other_writer {
            Some(writer) => writer.clone_from(waker),
            writer => *writer = Some(waker.clone()),
        }
        self.tell_writer(now);
    }

    /// Nobody waits at the reader's end for room in the other direction any more.
    pub(crate) fn forget_writer(&mut self) {
        self.other_writer = None;
        self.stop_news();
    }

    /// Sends this many bytes behind those that wait, and returns when they arrive.
    fn occupy_line(&mut self, now: Instant, count: usize) -> Instant {
        let nanos = |bandwidth: u64| (count as u128 * 1_000_000_000).div_ceil(u128::from(bandwidth.max(1)));
        let takes = self.options.bandwidth.map_or(0, nanos);
        let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        self.line_free = self.line_free.max(now).saturating_add(takes);
        let arrives = self.line_free.saturating_add(self.options.draw_latency(&mut self.luck));
        self.last_arrival = self.last_arrival.max(arrives);
        self.last_arrival
    }

    pub(crate) fn finish(&mut self, now: Instant) {
        if self.end.is_none() && self.reset.is_none() {
            self.end = Some(self.occupy_line(now, 0));
            self.tell_reader(now);
        }
    }

    /// The writer's end is closed, and takes nothing any more either.
    pub(crate) fn close(&mut self, now: Instant) {
        let was_open = self.end.is_none();
        self.finish(now);
        let told = self.end.filter(|_| was_open);
        self.closed = Some(told.unwrap_or_else(|| self.occupy_line(now, 0)));
        self.tell_writer(now);
    }

    /// The reader's end fails once this arrives, behind all that was sent before: what it has not read by then is lost.
    /// False if that changes nothing.
    pub(crate) fn reset(&mut self, now: Instant) -> bool {
        if self.reset.is_some() {
            return false;
        }
        self.reset = Some(self.occupy_line(now, 0));
        self.tell_reader(now);
        self.tell_writer(now);
        !self.is_abandoned
    }

    /// As [`reset`](Self::reset), and it is there at once.
    pub(crate) fn reset_at_once(&mut self, now: Instant) {
        self.reset = Some(self.reset.map_or(now, |at| at.min(now)));
        self.tell_reader(now);
        self.tell_writer(now);
    }

    /// The reader's end is closed. What is under way is for nobody.
    pub(crate) fn abandon(&mut self, now: Instant) {
        self.count_held_back(now);
        self.is_abandoned = true;
        (self.reader, self.other_writer) = (None, None);
        self.stop_alarms();
    }

    /// Nothing arrives any more, until it is [resumed](Self::resume) as often.
    pub(crate) fn stall(&mut self, why: Option<StallId>) {
        self.stalls += 1;
        self.idle_stalls.extend(why);
    }

    /// One of the stalls is over.
    pub(crate) fn resume(&mut self, why: Option<StallId>, now: Instant) {
        self.count_held_back(now);
        self.idle_stalls.retain(|idle| Some(*idle) != why);
        self.stalls = self.stalls.saturating_sub(1);
        self.tell_reader(now);
        self.tell_writer(now);
    }

    /// The connection is reset so many bytes later, or before if that is asked for already.
    pub(crate) fn plan_reset(&mut self, bytes: u64) {
        let after = self.carried.saturating_add(bytes);
        self.planned_reset = Some(self.planned_reset.map_or(after, |other| other.min(after)));
    }

    /// No plan does anything to what comes from now on.
    pub(crate) fn call_off(&mut self) {
        self.tampering.call_off();
        self.planned_reset = None;
    }

    /// Nobody resets the connection by a plan, as it is reset already.
    pub(crate) fn forget_planned_reset(&mut self) {
        self.planned_reset = None;
    }

    /// Resets this direction if it has carried all that it may, and counts it if that is a plan's doing. The caller resets
    /// the other direction too if this one says so.
    pub(crate) fn reset_if_exhausted(&mut self, now: Instant) -> bool {
        let is_planned = self.planned_reset.take_if(|limit| self.carried >= *limit).is_some();
        if !is_planned && self.options.reset_after.is_none_or(|limit| self.carried < limit) {
            return false;
        }
        let is_new = self.reset(now);
        if is_new && is_planned {
            self.fired.add(FaultKind::Reset);
        }
        is_new
    }

    /// Ends it although its writer has not, and counts that if it changes something.
    pub(crate) fn cut_short(&mut self, now: Instant) {
        if self.end.is_none() && self.reset.is_none() && !self.is_abandoned {
            self.finish(now);
            self.fired.add(FaultKind::Fin);
        }
    }

    /// Changes bytes so many bytes later.
    pub(crate) fn tamper(&mut self, how: Tamper, after: u64) {
        self.tampering.add(self.carried.saturating_add(after), how);
    }

    /// Counts the faults that keep from somebody what would be here now.
    fn count_held_back(&mut self, now: Instant) {
        if self.idle_stalls.is_empty() {
            return;
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let reader_waits = self.reader.is_some() && is_due(self.next_arrival());
        let writer_waits = self.other_writer.is_some() && is_due(self.news_arrive());
        if reader_waits || writer_waits {
            self.idle_stalls.drain(..).for_each(|stall| self.fired.add(stall.kind));
        }
    }

    /// Whether bytes have arrived that nobody has read.
    pub(crate) fn has_unread(&self, now: Instant) -> bool {
        let has_arrived = self.segments.front().is_some_and(|segment| segment.arrives <= now);
        has_arrived && self.stalls == 0 && !self.is_reset(now)
    }

    /// Something is under way, or nothing holds it up any more: the reader hears of it when it arrives.
    fn tell_reader(&mut self, now: Instant) {
        if self.stalls > 0 {
            return self.count_held_back(now);
        }
        match self.next_arrival() {
            Some(arrives) if arrives > now => self.await_arrival(arrives),
            Some(_) => self.reader.take().into_iter().for_each(Waker::wake),
            None => {}
        }
    }

    /// The same for who writes in the other direction.
    fn tell_writer(&mut self, now: Instant) {
        if self.stalls > 0 {
            return self.count_held_back(now);
        }
        match (self.news_arrive(), &self.other_writer) {
            (Some(arrives), Some(writer)) if arrives > now => {
                set_alarm(&self.schedule, &mut self.news, writer, arrives);
            }
            (Some(_), _) => self.other_writer.take().into_iter().for_each(Waker::wake),
            (None, _) => {}
        }
    }

    fn stop_alarms(&mut self) {
        self.stop_arrival();
        self.stop_news();
    }

    fn stop_news(&mut self) {
        if let Some(id) = self.news.take() {
            self.schedule.stop(id);
        }
    }
}

/// Has `waker` woken at an instant, by the alarm that is there if it has not gone off.
fn set_alarm(schedule: &Schedule, alarm: &mut Option<AlarmId>, waker: &Waker, at: Instant) {
    if alarm.as_ref().is_some_and(|id| schedule.keep(id, waker)) {
        return;
    }
    if let Some(id) = alarm.take() {
        schedule.stop(id);
    }
    let new = Alarm { waker: waker.clone(), host: NOBODY, deadline: at, is_late: false };
    *alarm = Some(schedule.set(Some(at), new));
}
