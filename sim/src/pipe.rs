//! One direction of a TCP connection.

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
    world::NOBODY,
};

/// Room for bytes that an empty pipe keeps, so that small messages allocate nothing and idle connections hold little.
const IDLE_CAPACITY: usize = 256;

pub(crate) struct Pipe {
    schedule: Arc<Schedule>,
    options: Arc<LinkOptions>,
    /// As in the options, until a plan says otherwise.
    reset_after: Option<u64>,
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
    reader: Option<Waker>,
    /// Wakes the reader when the first of the segments arrives. It may have gone off.
    arrival: Option<AlarmId>,
    writer: Option<Waker>,
    is_reset: bool,
    /// How many faults keep everything from arriving now. Nothing says so to either end.
    stalls: u32,
    /// Those that have not held anything back yet.
    idle_stalls: Vec<FaultKind>,
    /// It was reset while nothing arrived: that arrives when something does again.
    has_pending_reset: bool,
    /// What a plan does to the bytes that come, by how many came before.
    tampers: Vec<(u64, Tamper)>,
    /// Bytes that are still to be swallowed.
    swallows: u64,
    /// The reset that is due was asked for by a plan.
    is_reset_planned: bool,
    fired: FiredBetween,
}

/// Bytes that arrive at once.
struct Segment {
    arrives: Instant,
    len: usize,
}

impl Pipe {
    pub(crate) fn new(schedule: Arc<Schedule>, options: Arc<LinkOptions>, luck: Draws, fired: FiredBetween) -> Self {
        Self {
            schedule,
            reset_after: options.reset_after,
            options,
            luck,
            bytes: VecDeque::new(),
            segments: VecDeque::new(),
            carried: 0,
            line_free: Instant::EPOCH,
            last_arrival: Instant::EPOCH,
            end: None,
            reader: None,
            arrival: None,
            writer: None,
            is_reset: false,
            stalls: 0,
            idle_stalls: Vec::new(),
            has_pending_reset: false,
            tampers: Vec::new(),
            swallows: 0,
            is_reset_planned: false,
            fired,
        }
    }

    /// Reads what has arrived; 0 bytes are the end.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let next = if self.stalls > 0 { None } else { self.next_arrival() };
        match next {
            Some(arrives) if arrives <= now => self.stop_arrival(),
            next => {
                self.set_reader(cx.waker());
                if let Some(arrives) = next {
                    self.await_arrival(arrives);
                }
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

    /// When the first of what has not been read arrives; the end, if that is all.
    fn next_arrival(&self) -> Option<Instant> {
        self.segments.front().map(|segment| segment.arrives).or(self.end)
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

    fn set_reader(&mut self, waker: &Waker) {
        match &mut self.reader {
            Some(reader) if reader.will_wake(waker) => {}
            reader => {
                *reader = Some(waker.clone());
                // It would wake the one before.
                self.stop_arrival();
            }
        }
    }

    /// Has the reader woken when something arrives; not before, as it would find nothing.
    fn await_arrival(&mut self, arrives: Instant) {
        let Some(reader) = &self.reader else { return };
        if self.arrival.as_ref().is_some_and(|id| self.schedule.is_set_for(id, reader)) {
            return;
        }
        let alarm = Alarm { waker: reader.clone(), host: NOBODY, deadline: arrives, is_late: false };
        self.stop_arrival();
        self.arrival = Some(self.schedule.set(Some(arrives), alarm));
    }

    fn stop_arrival(&mut self) {
        if let Some(id) = self.arrival.take() {
            self.schedule.stop(id);
        }
    }

    /// Takes some of `data`. The caller resets the other direction too if this one says so.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, now: Instant, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_reset || self.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.options.capacity.saturating_sub(self.bytes.len());
        if room == 0 && !data.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = data.len().min(room).min(self.options.write_cut.limit(&mut self.luck));
        let arrives = self.occupy_line(now, count);
        let held = self.bytes.len();
        if self.is_tampered(count) {
            let bytes = self.tampered(&data[..count]);
            self.bytes.extend(bytes);
        } else {
            self.bytes.extend(&data[..count]);
        }
        self.carried += count as u64;
        let len = self.bytes.len() - held;
        match self.segments.back_mut().filter(|segment| segment.arrives == arrives) {
            Some(segment) => segment.len += len,
            None if len > 0 => self.segments.push_back(Segment { arrives, len }),
            None => {}
        }
        self.held_back();
        self.tell_reader(now);
        Poll::Ready(Ok(count))
    }

    /// Sends this many bytes behind those that wait, and returns when they arrive.
    fn occupy_line(&mut self, now: Instant, count: usize) -> Instant {
        let nanos = |bandwidth: u64| (count as u128 * 1_000_000_000).div_ceil(u128::from(bandwidth.max(1)));
        let takes = self.options.bandwidth.map_or(0, nanos);
        let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        self.line_free = self.line_free.max(now).saturating_add(takes);
        let arrives = self.line_free.saturating_add(self.options.latency).saturating_add(self.draw_jitter());
        self.last_arrival = self.last_arrival.max(arrives);
        self.last_arrival
    }

    fn draw_jitter(&mut self) -> Duration {
        match u64::try_from(self.options.jitter.as_nanos()).unwrap_or(u64::MAX) {
            0 => Duration::ZERO,
            most => Duration::from_nanos(self.luck.next_u64() % most.saturating_add(1).max(1)),
        }
    }

    /// Whether this direction has carried all that it may.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.reset_after.is_some_and(|limit| self.carried >= limit)
    }

    pub(crate) fn finish(&mut self, now: Instant) {
        if self.end.is_none() && !self.is_reset {
            self.end = Some(self.occupy_line(now, 0));
            self.tell_reader(now);
        }
    }

    /// Both ends fail from now on. While nothing arrives nobody hears of it.
    pub(crate) fn reset(&mut self) {
        if self.stalls > 0 {
            self.has_pending_reset = true;
            return;
        }
        self.is_reset = true;
        self.segments.clear();
        self.bytes.clear();
        self.stop_arrival();
        self.wake_reader();
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Nothing arrives any more, until it is [resumed](Self::resume) as often.
    pub(crate) fn stall(&mut self, why: Option<FaultKind>) {
        self.stalls += 1;
        self.idle_stalls.extend(why);
        self.held_back();
    }

    pub(crate) fn resume(&mut self) {
        self.stalls = self.stalls.saturating_sub(1);
        if self.stalls > 0 {
            return;
        }
        self.idle_stalls.clear();
        if std::mem::take(&mut self.has_pending_reset) {
            self.reset();
        } else {
            self.wake_reader();
        }
    }

    /// The connection is reset so many bytes later.
    pub(crate) fn reset_after(&mut self, bytes: u64) {
        self.reset_after = Some(self.carried.saturating_add(bytes));
        self.is_reset_planned = true;
    }

    /// No plan does anything to what comes from now on.
    pub(crate) fn call_off(&mut self) {
        self.tampers.clear();
        self.swallows = 0;
        if std::mem::take(&mut self.is_reset_planned) {
            self.reset_after = self.options.reset_after;
        }
    }

    /// Tells whether the reset that is due now is one that a plan has asked for, and counts that.
    pub(crate) fn count_reset(&mut self) {
        if std::mem::take(&mut self.is_reset_planned) {
            self.fired.add(FaultKind::Reset);
        }
    }

    /// Ends it although its writer has not. True if that changes something.
    pub(crate) fn cut_short(&mut self, now: Instant) {
        if self.end.is_none() && !self.is_reset {
            self.finish(now);
            self.fired.add(FaultKind::Fin);
        }
    }

    /// Changes bytes so many bytes later.
    pub(crate) fn tamper(&mut self, how: Tamper, after: u64) {
        self.tampers.push((self.carried.saturating_add(after), how));
        self.tampers.sort_by_key(|(position, _)| *position);
    }

    /// Something happens to so many bytes that are written now.
    fn is_tampered(&self, count: usize) -> bool {
        let end = self.carried + count as u64;
        self.swallows > 0 || self.tampers.first().is_some_and(|(position, _)| *position < end)
    }

    /// What arrives of bytes that are written now.
    fn tampered(&mut self, written: &[u8]) -> Vec<u8> {
        let begin = self.carried;
        let end = begin + written.len() as u64;
        let due = self.tampers.partition_point(|(position, _)| *position < end);
        let due: Vec<(u64, Tamper)> = self.tampers.drain(..due).collect();
        let mut due = due.into_iter().peekable();
        let mut arrives = Vec::with_capacity(written.len());
        for (offset, byte) in (begin..end).zip(written.iter().copied()) {
            let mut byte = byte;
            while let Some((_, how)) = due.next_if(|(position, _)| *position <= offset) {
                let rest = &written[usize::try_from(offset - begin).unwrap_or(0)..];
                self.fired.add(how.kind());
                match how {
                    Tamper::Flip => byte ^= 1 << (self.luck.next_u64() % 8),
                    Tamper::Truncate(len) => self.swallows += u64::from(len),
                    Tamper::Duplicate(len) => arrives.extend(rest.iter().take(len.into())),
                    Tamper::Insert(len) => arrives.extend((0..len).map(|_| self.luck.next_u64().to_be_bytes()[0])),
                }
            }
            if self.swallows > 0 {
                self.swallows -= 1;
            } else {
                arrives.push(byte);
            }
        }
        arrives
    }

    /// Counts the faults that keep from arriving what is here now.
    fn held_back(&mut self) {
        if !self.segments.is_empty() {
            self.idle_stalls.drain(..).for_each(|kind| self.fired.add(kind));
        }
    }

    /// Whether bytes are held that nobody has read.
    pub(crate) fn has_unread(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Something was written, or the end: the reader hears of it when that arrives.
    fn tell_reader(&mut self, now: Instant) {
        if self.stalls > 0 {
            return;
        }
        match self.next_arrival() {
            Some(arrives) if arrives > now => self.await_arrival(arrives),
            _ => self.wake_reader(),
        }
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.stop_arrival();
    }
}
