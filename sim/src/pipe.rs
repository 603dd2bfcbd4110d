//! One direction of a TCP connection.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use septa_core::{Instant, SeedStream};

use crate::{
    fired::Fired,
    link::LinkOptions,
    plan::{FaultKind, Tamper},
};

pub(crate) struct Pipe {
    options: LinkOptions,
    luck: SeedStream,
    segments: VecDeque<Segment>,
    held: usize,
    carried: u64,
    /// When the line has sent everything that was written.
    line_free: Instant,
    /// When what was written last arrives: nothing overtakes it.
    last_arrival: Instant,
    /// When the end of the output arrives, once the writer has ended it.
    end: Option<Instant>,
    reader: Option<Waker>,
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
    fired: Arc<Fired>,
}

struct Segment {
    arrives: Instant,
    bytes: VecDeque<u8>,
}

/// What a reader finds.
pub(crate) enum Read {
    /// This many bytes; 0 is the end.
    Bytes(usize),
    /// Nothing before this instant.
    NotBefore(Instant),
    /// Nothing until the other end does something.
    Wait,
}

impl Pipe {
    pub(crate) fn new(options: LinkOptions, luck: SeedStream, fired: Arc<Fired>) -> Self {
        Self {
            options,
            luck,
            segments: VecDeque::new(),
            held: 0,
            carried: 0,
            line_free: Instant::EPOCH,
            last_arrival: Instant::EPOCH,
            end: None,
            reader: None,
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

    pub(crate) fn read(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut [u8]) -> io::Result<Read> {
        self.reader = Some(cx.waker().clone());
        if self.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.stalls > 0 {
            return Ok(Read::Wait);
        }
        let Some(segment) = self.segments.front_mut() else {
            return Ok(match self.end {
                Some(arrives) if arrives <= now => Read::Bytes(0),
                Some(arrives) => Read::NotBefore(arrives),
                None => Read::Wait,
            });
        };
        if segment.arrives > now {
            return Ok(Read::NotBefore(segment.arrives));
        }
        let limit = self.options.read_cut.limit(&mut self.luck).min(out.len());
        let mut read = 0;
        while read < limit {
            let Some(segment) = self.segments.front_mut().filter(|segment| segment.arrives <= now) else { break };
            let count = io::Read::read(&mut segment.bytes, &mut out[read..limit])?;
            read += count;
            if segment.bytes.is_empty() {
                self.segments.pop_front();
            }
        }
        self.held -= read;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Ok(Read::Bytes(read))
    }

    /// Takes some of `data`. The caller resets the other direction too if this one says so.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, now: Instant, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_reset || self.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.options.capacity.saturating_sub(self.held);
        if room == 0 && !data.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = data.len().min(room).min(self.options.write_cut.limit(&mut self.luck));
        let arrives = self.occupy_line(now, count);
        let bytes = self.tampered(&data[..count]);
        self.carried += count as u64;
        self.held += bytes.len();
        match self.segments.back_mut().filter(|segment| segment.arrives == arrives) {
            Some(segment) => segment.bytes.extend(bytes),
            None if !bytes.is_empty() => self.segments.push_back(Segment { arrives, bytes: bytes.into() }),
            None => {}
        }
        self.held_back();
        if self.stalls == 0 {
            self.wake_reader();
        }
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
        self.options.reset_after.is_some_and(|limit| self.carried >= limit)
    }

    pub(crate) fn finish(&mut self, now: Instant) {
        if self.end.is_none() && !self.is_reset {
            self.end = Some(self.occupy_line(now, 0));
            self.wake_reader();
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
        self.held = 0;
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
        self.options.reset_after = Some(self.carried.saturating_add(bytes));
        self.is_reset_planned = true;
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

    /// What arrives of bytes that are written now.
    fn tampered(&mut self, written: &[u8]) -> Vec<u8> {
        let begin = self.carried;
        let end = begin + written.len() as u64;
        let due = self.tampers.partition_point(|(position, _)| *position < end);
        if due == 0 && self.swallows == 0 {
            return written.to_vec();
        }
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
        self.held > 0
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
