//! One direction of a TCP connection.

use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll, Waker},
    time::Duration,
};

use septa_core::{Instant, SeedStream};

use crate::link::LinkOptions;

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
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Intact,
    /// Nothing arrives and nothing says so.
    Cut,
    Reset,
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
    pub(crate) fn new(options: LinkOptions, luck: SeedStream) -> Self {
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
            state: State::Intact,
        }
    }

    pub(crate) fn read(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut [u8]) -> io::Result<Read> {
        self.reader = Some(cx.waker().clone());
        match self.state {
            State::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
            State::Cut => return Ok(Read::Wait),
            State::Intact => {}
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
        if self.state == State::Reset || self.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.options.capacity.saturating_sub(self.held);
        if room == 0 && !data.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = data.len().min(room).min(self.options.write_cut.limit(&mut self.luck));
        self.held += count;
        self.carried += count as u64;
        let arrives = self.occupy_line(now, count);
        match self.segments.back_mut().filter(|segment| segment.arrives == arrives) {
            Some(segment) => segment.bytes.extend(&data[..count]),
            None if count > 0 => self.segments.push_back(Segment { arrives, bytes: data[..count].to_vec().into() }),
            None => {}
        }
        if self.state == State::Intact {
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
        if self.end.is_none() && self.state != State::Reset {
            self.end = Some(self.occupy_line(now, 0));
            self.wake_reader();
        }
    }

    /// Both ends fail from now on. On a cut link nobody hears of it.
    pub(crate) fn reset(&mut self) {
        if self.state == State::Cut {
            return;
        }
        self.state = State::Reset;
        self.segments.clear();
        self.held = 0;
        self.wake_reader();
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    pub(crate) fn cut(&mut self) {
        if self.state == State::Intact {
            self.state = State::Cut;
        }
    }

    pub(crate) fn heal(&mut self) {
        if self.state == State::Cut {
            self.state = State::Intact;
            self.wake_reader();
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
