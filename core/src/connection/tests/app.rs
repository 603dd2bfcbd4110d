//! Applications that act only on events, a few bytes at a time: what the arming rule promises to.

use alloc::collections::BTreeMap;

use super::*;

/// Sends `data` on one stream, reads the echo, finishes, and waits for the peer's end.
pub(super) struct Sender {
    data: Vec<u8>,
    sent: usize,
    pub(super) echoed: Vec<u8>,
    pub(super) done: bool,
}

/// Sends back what it receives and finishes when the peer has.
#[derive(Default)]
struct Echo {
    pending: Vec<u8>,
    ended: bool,
}

/// All streams of one end.
pub(super) struct App {
    /// Most bytes that one call reads or writes.
    step: usize,
    pub(super) senders: BTreeMap<StreamId, Sender>,
    echoes: BTreeMap<StreamId, Echo>,
}

impl App {
    pub(super) fn new(step: usize) -> Self {
        Self { step, senders: BTreeMap::new(), echoes: BTreeMap::new() }
    }

    /// Opens a stream that sends `data`. Its first write is the only call not caused by an event.
    pub(super) fn send(&mut self, connection: &mut Connection, now: Instant, data: Vec<u8>) {
        let id = connection.open(now, &[ECHO]).unwrap();
        self.senders.insert(id, Sender { data, sent: 0, echoed: Vec::new(), done: false });
        self.write_on(connection, id);
    }

    pub(super) fn handle_event(&mut self, connection: &mut Connection, event: Event) {
        match event {
            Event::Incoming => {
                while let Some(id) = connection.accept() {
                    self.echoes.insert(id, Echo::default());
                }
            }
            Event::Readable { id } => self.read_on(connection, id),
            Event::Writable { id } => self.write_on(connection, id),
            Event::Negotiated { .. } | Event::OpenUnblocked | Event::Secured { .. } | Event::Open | Event::Ready => {}
            Event::Refused { .. } | Event::Closed | Event::HandshakeReadable => panic!("{event:?}"),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.senders.values().all(|sender| sender.done) && self.echoes.is_empty()
    }

    fn read_on(&mut self, connection: &mut Connection, id: StreamId) {
        let mut buffer = alloc::vec![0; self.step];
        loop {
            match connection.stream(id).read(&mut buffer) {
                Ok(n) => {
                    let bytes = &buffer[..n];
                    if let Some(sender) = self.senders.get_mut(&id) {
                        sender.echoed.extend_from_slice(bytes);
                        sender.done |= n == 0;
                    } else if let Some(echo) = self.echoes.get_mut(&id) {
                        echo.pending.extend_from_slice(bytes);
                        echo.ended |= n == 0;
                        self.write_on(connection, id);
                    }
                    if n == 0 {
                        if self.senders.contains_key(&id) {
                            connection.stream(id).release();
                        }
                        return;
                    }
                }
                Err(ReadError::Blocked) => return,
                Err(error) => panic!("stream {id}: {error}"),
            }
        }
    }

    fn write_on(&mut self, connection: &mut Connection, id: StreamId) {
        loop {
            let (rest, ended) = match (self.senders.get(&id), self.echoes.get(&id)) {
                (Some(sender), _) => (&sender.data[sender.sent..], true),
                (_, Some(echo)) => (&echo.pending[..], echo.ended),
                _ => return,
            };
            if rest.is_empty() {
                if ended {
                    let _ = connection.stream(id).finish();
                    if self.echoes.remove(&id).is_some() {
                        connection.stream(id).release();
                    }
                }
                return;
            }
            let step = rest.len().min(self.step);
            match connection.stream(id).write(&rest[..step]) {
                Ok(n) => {
                    if let Some(sender) = self.senders.get_mut(&id) {
                        sender.sent += n;
                    } else if let Some(echo) = self.echoes.get_mut(&id) {
                        echo.pending.drain(..n);
                    }
                }
                Err(WriteError::Blocked) => return,
                Err(error) => panic!("stream {id}: {error}"),
            }
        }
    }
}

/// Runs both applications on nothing but events until both are done; panics if they stall.
pub(super) fn run(pair: &mut Pair, dialer: &mut App, listener: &mut App) {
    for _ in 0..1_000_000 {
        pair.settle();
        let mut acted = false;
        for (end, app) in [(End::Dialer, &mut *dialer), (End::Listener, &mut *listener)] {
            while let Some(event) = pair.side(end).events.pop_front() {
                app.handle_event(pair.connection(end), event);
                acted = true;
            }
        }
        if dialer.is_done() && listener.is_done() {
            return;
        }
        if !acted {
            assert!(pair.step(), "stalled: no event, nothing in flight and no timer");
        }
    }
    panic!("no end after a million rounds");
}
