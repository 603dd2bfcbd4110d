//! One direction of a TCP connection.

mod ending;
mod faults;
mod under_way;

#[cfg(test)]
mod tests;

use std::{
    io,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use septa_core::Instant;

use crate::{
    draws::Draws,
    fired::{Fired, FiredBetween},
    link::LinkOptions,
    network::HostId,
    plan::{FaultKind, Tamper},
    schedule::{Alarm, AlarmId, Schedule},
    world::NOBODY,
};
use ending::Ending;
use faults::Faults;
pub(crate) use faults::StallId;
use under_way::UnderWay;

/// What pipes have in common that were made under the same options.
pub(crate) struct Common {
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) fired: Arc<Fired>,
    pub(crate) options: LinkOptions,
}

/// Bytes on their way from one end to the other, and what the one end has the other know: its end of output, that it was
/// closed, that the connection is reset. All of it arrives in the order in which it was sent, and none while a fault
/// stalls the pipe.
///
/// There are two for each connection, and thousands of connections: what most of them do not need is in boxes.
pub(crate) struct Pipe {
    common: Arc<Common>,
    /// The hosts at its ends.
    from: HostId,
    to: HostId,
    luck: Draws,
    under_way: Option<Box<UnderWay>>,
    carried: u64,
    /// When the line has sent everything that was written.
    line_free: Instant,
    /// When what was written last arrives: nothing overtakes it.
    last_arrival: Instant,
    ending: Option<Box<Ending>>,
    reader: Option<Waker>,
    /// Wakes the reader when the first of what is under way arrives. It may have gone off.
    arrival: Option<AlarmId>,
    /// Who waits for room.
    writer: Option<Waker>,
    other_writer: Option<Box<OtherWriter>>,
    /// The reader's end was closed.
    is_abandoned: bool,
    faults: Option<Box<Faults>>,
}

/// Who waits at the reader's end for room in the other direction, and what wakes it when it is told.
#[derive(Default)]
struct OtherWriter {
    /// None once it is woken.
    waker: Option<Waker>,
    /// It may have gone off.
    news: Option<AlarmId>,
}

/// What a pipe has taken.
pub(crate) struct Written {
    /// Of what was offered.
    pub(crate) count: usize,
    /// What goes on its way instead, if a fault has changed it.
    pub(crate) changed: Option<Vec<u8>>,
}

impl Pipe {
    pub(crate) fn new(common: Arc<Common>, (from, to): (HostId, HostId), luck: Draws) -> Self {
        Self {
            common,
            from,
            to,
            luck,
            under_way: None,
            carried: 0,
            line_free: Instant::EPOCH,
            last_arrival: Instant::EPOCH,
            ending: None,
            reader: None,
            arrival: None,
            writer: None,
            other_writer: None,
            is_abandoned: false,
            faults: None,
        }
    }

    /// Reads what has arrived; 0 bytes are the end.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.is_reset(now) {
            self.ending().has_failed = true;
            self.stop_waiting();
            self.under_way = None;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match self.next_arrival() {
            Some(arrives) if arrives <= now && !self.is_stalled() => self.stop_waiting(),
            next => {
                self.wait(cx.waker(), next, now);
                return Poll::Pending;
            }
        }
        let limit = self.common.options.read_cut.limit(&mut self.luck).min(out.len());
        let count = self.under_way.as_mut().map_or(0, |under_way| under_way.take(now, &mut out[..limit]));
        self.under_way.take_if(|under_way| under_way.len() == 0);
        if count > 0
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
        Poll::Ready(Ok(count))
    }

    /// When the first of what the reader has not seen arrives: bytes, or their end behind them, or a reset.
    fn next_arrival(&self) -> Option<Instant> {
        let bytes = self.under_way.as_ref().and_then(|under_way| under_way.next_arrival());
        let Some(ending) = &self.ending else { return bytes };
        [bytes.or(ending.end), ending.reset].into_iter().flatten().min()
    }

    /// What is to be known of its end, from now on if there was nothing.
    fn ending(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    fn has_ended(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.end.is_some())
    }

    /// A reset is on its way, or has arrived.
    fn has_reset(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.reset.is_some())
    }

    fn is_reset(&self, now: Instant) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.is_reset(self.is_stalled(), now))
    }

    fn is_stalled(&self) -> bool {
        self.faults.as_ref().is_some_and(|faults| faults.stalls > 0)
    }

    /// Whether it is known at the reader's end that whatever it sends is lost.
    pub(crate) fn is_told(&mut self, now: Instant) -> bool {
        let is_stalled = self.is_stalled();
        let Some(ending) = &mut self.ending else { return false };
        ending.is_told |= !is_stalled && ending.news_arrive().is_some_and(|at| at <= now);
        ending.is_told
    }

    fn news_arrive(&self) -> Option<Instant> {
        self.ending.as_ref()?.news_arrive()
    }

    fn wait(&mut self, waker: &Waker, next: Option<Instant>, now: Instant) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(waker),
            reader => *reader = Some(waker.clone()),
        }
        self.count_held_back(now);
        match next {
            Some(arrives) if !self.is_stalled() => self.await_arrival(arrives),
            _ => self.stop_arrival(),
        }
    }

    /// Has the reader woken when something arrives; not before, as it would find nothing.
    fn await_arrival(&mut self, arrives: Instant) {
        let Some(reader) = &self.reader else { return };
        set_alarm(&self.common.schedule, &mut self.arrival, reader, arrives);
    }

    /// The reader has what it has waited for. Whoever finds nothing the next time says so again.
    fn stop_waiting(&mut self) {
        self.reader = None;
        self.stop_arrival();
    }

    fn stop_arrival(&mut self) {
        if let Some(id) = self.arrival.take() {
            self.common.schedule.stop(id);
        }
    }

    /// Takes some of `data`.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, now: Instant, data: &[u8]) -> Poll<io::Result<Written>> {
        if self.has_ended() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let held = self.under_way.as_ref().map_or(0, |under_way| under_way.len());
        let room = self.common.options.capacity.max(1).saturating_sub(held);
        if room == 0 && !data.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = data.len().min(room).min(self.common.options.write_cut.limit(&mut self.luck));
        let arrives = self.occupy_line(now, count);
        let begin = self.carried;
        self.carried += count as u64;
        let changed = self.tamper_with(begin, &data[..count]);
        let sent = changed.as_deref().unwrap_or(&data[..count]);
        if !sent.is_empty() {
            self.under_way.get_or_insert_default().push(arrives, sent);
        }
        self.tell_reader(now);
        Poll::Ready(Ok(Written { count, changed }))
    }

    /// What goes on its way instead of bytes that are written at this place, if a fault changes them.
    fn tamper_with(&mut self, begin: u64, written: &[u8]) -> Option<Vec<u8>> {
        // What nobody can read any more is not worth changing, and would not count.
        let is_read = !self.has_reset() && !self.is_abandoned;
        let tampering = &mut self.faults.as_mut()?.tampering;
        let fired = self.common.fired_between(self.from, self.to);
        let strikes = is_read && tampering.strikes(begin + written.len() as u64);
        strikes.then(|| tampering.apply(begin, written, &mut self.luck, &fired))
    }

    /// Has `waker` woken when the reader's end is told that whatever it sends is lost.
    pub(crate) fn await_news(&mut self, waker: &Waker, now: Instant) {
        match &mut self.other_writer.get_or_insert_default().waker {
            Some(writer) => writer.clone_from(waker),
            writer => *writer = Some(waker.clone()),
        }
        self.tell_writer(now);
    }

    /// Nobody waits at the reader's end for room in the other direction any more.
    pub(crate) fn forget_writer(&mut self) {
        if let Some(id) = self.other_writer.take().and_then(|other| other.news) {
            self.common.schedule.stop(id);
        }
    }

    /// Sends this many bytes behind those that wait, and returns when they arrive.
    fn occupy_line(&mut self, now: Instant, count: usize) -> Instant {
        let nanos = |bandwidth: u64| (count as u128 * 1_000_000_000).div_ceil(u128::from(bandwidth.max(1)));
        let takes = self.common.options.bandwidth.map_or(0, nanos);
        let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        self.line_free = self.line_free.max(now).saturating_add(takes);
        let arrives = self.line_free.saturating_add(self.common.options.draw_latency(&mut self.luck));
        self.last_arrival = self.last_arrival.max(arrives);
        self.last_arrival
    }

    pub(crate) fn finish(&mut self, now: Instant) {
        if !self.has_ended() && !self.has_reset() {
            self.ending().end = Some(self.occupy_line(now, 0));
            self.tell_reader(now);
        }
    }

    /// The writer's end is closed, and takes nothing any more either.
    pub(crate) fn close(&mut self, now: Instant) {
        let was_open = !self.has_ended();
        self.finish(now);
        let told = self.ending().end.filter(|_| was_open);
        self.ending().closed = Some(told.unwrap_or_else(|| self.occupy_line(now, 0)));
        self.tell_writer(now);
    }

    /// The reader's end fails once this arrives, behind all that was sent before: what it has not read by then is lost.
    /// False if that changes nothing.
    pub(crate) fn reset(&mut self, now: Instant) -> bool {
        if self.has_reset() {
            return false;
        }
        self.ending().reset = Some(self.occupy_line(now, 0));
        self.tell_reader(now);
        self.tell_writer(now);
        !self.is_abandoned
    }

    /// As [`reset`](Self::reset), and it is there at once.
    pub(crate) fn reset_at_once(&mut self, now: Instant) {
        let reset = &mut self.ending().reset;
        *reset = Some(reset.map_or(now, |at| at.min(now)));
        self.tell_reader(now);
        self.tell_writer(now);
    }

    /// The reader's end is closed. What is under way is for nobody.
    pub(crate) fn abandon(&mut self, now: Instant) {
        self.count_held_back(now);
        self.is_abandoned = true;
        self.stop_waiting();
        self.forget_writer();
    }

    /// Nothing arrives any more, until it is [resumed](Self::resume) as often.
    pub(crate) fn stall(&mut self, why: Option<StallId>) {
        let faults = self.faults.get_or_insert_default();
        faults.stalls += 1;
        faults.idle_stalls.extend(why);
    }

    /// One of the stalls is over.
    pub(crate) fn resume(&mut self, why: Option<StallId>, now: Instant) {
        self.count_held_back(now);
        if let Some(faults) = &mut self.faults {
            faults.idle_stalls.retain(|idle| Some(*idle) != why);
            faults.stalls = faults.stalls.saturating_sub(1);
        }
        self.tell_reader(now);
        self.tell_writer(now);
    }

    /// The connection is reset so many bytes later, or before if that is asked for already.
    pub(crate) fn plan_reset(&mut self, bytes: u64) {
        let after = self.carried.saturating_add(bytes);
        let planned = &mut self.faults.get_or_insert_default().planned_reset;
        *planned = Some(planned.map_or(after, |other| other.min(after)));
    }

    /// No plan does anything to what comes from now on.
    pub(crate) fn call_off(&mut self) {
        if let Some(faults) = &mut self.faults {
            faults.tampering.call_off();
            faults.planned_reset = None;
        }
    }

    /// Nobody resets the connection by a plan, as it is reset already.
    pub(crate) fn forget_planned_reset(&mut self) {
        self.faults.iter_mut().for_each(|faults| faults.planned_reset = None);
    }

    /// Resets this direction if it has carried all that it may, and counts it if that is a plan's doing. The caller resets
    /// the other direction too if this one says so.
    pub(crate) fn reset_if_exhausted(&mut self, now: Instant) -> bool {
        let planned = self.faults.as_mut().and_then(|faults| faults.planned_reset.take_if(|at| self.carried >= *at));
        let is_planned = planned.is_some();
        if !is_planned && self.common.options.reset_after.is_none_or(|limit| self.carried < limit) {
            return false;
        }
        let is_new = self.reset(now);
        if is_new && is_planned {
            self.common.fired_between(self.from, self.to).add(FaultKind::Reset);
        }
        is_new
    }

    /// Ends it although its writer has not, and counts that if it changes something.
    pub(crate) fn cut_short(&mut self, now: Instant) {
        if !self.has_ended() && !self.has_reset() && !self.is_abandoned {
            self.finish(now);
            self.common.fired_between(self.from, self.to).add(FaultKind::Fin);
        }
    }

    /// Changes bytes so many bytes later.
    pub(crate) fn tamper(&mut self, how: Tamper, after: u64) {
        let after = self.carried.saturating_add(after);
        self.faults.get_or_insert_default().tampering.add(after, how);
    }

    /// Counts the faults that keep from somebody what would be here now.
    fn count_held_back(&mut self, now: Instant) {
        if self.faults.as_ref().is_none_or(|faults| faults.idle_stalls.is_empty()) {
            return;
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let reader_waits = self.reader.is_some() && is_due(self.next_arrival());
        let other_waits = self.other_writer.as_ref().is_some_and(|other| other.waker.is_some());
        let writer_waits = other_waits && is_due(self.news_arrive());
        if reader_waits || writer_waits {
            let fired = self.common.fired_between(self.from, self.to);
            let idle = self.faults.iter_mut().flat_map(|faults| faults.idle_stalls.drain(..));
            idle.for_each(|stall| fired.add(stall.kind));
        }
    }

    /// Whether bytes have arrived that nobody has read.
    pub(crate) fn has_unread(&self, now: Instant) -> bool {
        let arrival = self.under_way.as_ref().and_then(|under_way| under_way.next_arrival());
        arrival.is_some_and(|arrives| arrives <= now) && !self.is_stalled() && !self.is_reset(now)
    }

    /// Something is under way, or nothing holds it up any more: the reader hears of it when it arrives.
    fn tell_reader(&mut self, now: Instant) {
        if self.is_stalled() {
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
        if self.is_stalled() {
            return self.count_held_back(now);
        }
        let (Some(arrives), Some(other)) = (self.news_arrive(), &mut self.other_writer) else { return };
        match &other.waker {
            Some(writer) if arrives > now => set_alarm(&self.common.schedule, &mut other.news, writer, arrives),
            _ => other.waker.take().into_iter().for_each(Waker::wake),
        }
    }
}

impl Common {
    fn fired_between(&self, from: HostId, to: HostId) -> FiredBetween<'_> {
        FiredBetween { fired: &self.fired, from, to }
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
