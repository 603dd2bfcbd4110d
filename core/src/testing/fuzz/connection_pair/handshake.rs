//! What the applications say in their handshake, and what each end must make of it.

use alloc::{string::String, vec, vec::Vec};

use super::{Input, NOT_SERVED, SERVED, World};
use crate::{
    ProtocolId,
    channel::handshake::{CommandError, MAX_MESSAGE_LEN, MAX_MESSAGES, MAX_REASON_LEN, MAX_WAITING, Party},
    connection::HandshakeError,
    testing::End,
};

/// Bytes that one end says in messages at most. More would only fill memory.
const MAX_SAID: usize = 512 * 1024;

/// By end.
#[derive(Default)]
pub(super) struct Handshakes {
    /// The application takes part; else the connection does it alone.
    pub(super) by_application: [bool; 2],
    /// Lengths of the messages that were sent; what is in them follows from their places.
    sent: [Vec<usize>; 2],
    /// How many of the other end's messages were taken.
    taken: [usize; 2],
    finalized: [bool; 2],
    rejected: [Option<u8>; 2],
    /// What the application serves instead of [`SERVED`], as it last said.
    prepared: [Option<ProtocolId>; 2],
    pub(super) ready: [bool; 2],
}

impl Handshakes {
    pub(super) fn new(by_application: [bool; 2]) -> Self {
        Self { by_application, ..Self::default() }
    }

    /// The protocol that inbound streams of one end agree on.
    pub(super) fn served(&self, end: End) -> ProtocolId {
        self.prepared[end as usize].clone().unwrap_or(SERVED)
    }

    /// Bytes that may wait at one end because of the handshake.
    pub(super) fn memory(&self, end: End) -> usize {
        if !self.by_application[end as usize] {
            return 0;
        }
        let said: usize = self.sent[end as usize].iter().map(|len| len + 64).sum();
        said + (MAX_WAITING + 1) * (MAX_MESSAGE_LEN + 64) + 8 * 1024
    }
}

fn message(end: End, number: usize, len: usize) -> Vec<u8> {
    vec![(number as u8).wrapping_mul(31) ^ end as u8; len]
}

impl World {
    /// Both applications take part and are not done: time may end it.
    pub(super) fn is_shaking(&self) -> bool {
        self.handshakes.by_application != [false; 2] && !self.handshakes.ready.iter().all(|ready| *ready)
    }

    pub(super) fn handshake_step(&mut self, end: End, input: &mut Input<'_>) {
        match input.below(6) {
            0 => self.say(end, input),
            1 => drop(self.hear(end)),
            2 => self.finalize(end),
            3 => self.reject(end, input),
            _ => self.prepare(end, input),
        }
    }

    /// The application says something.
    fn say(&mut self, end: End, input: &mut Input<'_>) {
        let (place, now) = (end as usize, self.pair.now);
        let (number, len) = (self.handshakes.sent[place].len(), input.size() / 4);
        if self.handshakes.sent[place].iter().sum::<usize>() + len.min(MAX_MESSAGE_LEN) > MAX_SAID {
            return;
        }
        let before = self.may_command(end);
        let said = self.pair.connection(end).handshake_send(now, &message(end, number, len));
        match &said {
            Ok(()) => {
                assert!(before && !self.handshakes.finalized[place] && len <= MAX_MESSAGE_LEN && number < MAX_MESSAGES);
                self.handshakes.sent[place].push(len);
            }
            Err(HandshakeError::Command(CommandError::TooLong)) => assert!(len > MAX_MESSAGE_LEN),
            Err(HandshakeError::Command(CommandError::TooManyMessages)) => assert_eq!(number, MAX_MESSAGES),
            Err(error) => self.check_refusal(end, error, before),
        }
    }

    /// The application takes all that there is. True if there was something.
    pub(super) fn hear(&mut self, end: End) -> bool {
        let place = end as usize;
        let before = self.handshakes.taken[place];
        while let Some(heard) = self.pair.connection(end).handshake_recv() {
            let number = self.handshakes.taken[place];
            let len = self.handshakes.sent[end.other() as usize].get(number).copied();
            let expected = message(end.other(), number, len.expect("a message from nowhere"));
            assert!(heard == expected, "another message than was sent");
            self.handshakes.taken[place] += 1;
        }
        self.handshakes.taken[place] > before
    }

    pub(super) fn finalize(&mut self, end: End) {
        let (place, now, before) = (end as usize, self.pair.now, self.may_command(end));
        match self.pair.connection(end).finalize(now) {
            Ok(()) => {
                assert!(before && !self.handshakes.finalized[place], "finalized twice");
                self.handshakes.finalized[place] = true;
            }
            Err(error) => self.check_refusal(end, &error, before),
        }
    }

    fn reject(&mut self, end: End, input: &mut Input<'_>) {
        let (place, now, before) = (end as usize, self.pair.now, self.may_command(end));
        let (code, len) = (input.byte(), 2 * usize::from(input.byte()));
        let reason: String = core::iter::repeat_n('a', len).collect();
        match self.pair.connection(end).reject(now, code, &reason) {
            Ok(()) => {
                assert!(before && len <= MAX_REASON_LEN && !self.pair.connection(end).is_ready());
                self.handshakes.rejected[place] = Some(code);
                self.disturbed = true;
            }
            Err(HandshakeError::Command(CommandError::ReasonTooLong)) => assert!(len > MAX_REASON_LEN),
            Err(HandshakeError::Command(CommandError::Finalized)) => panic!("it is not too late before the end"),
            Err(error) => self.check_refusal(end, &error, before),
        }
    }

    fn prepare(&mut self, end: End, input: &mut Input<'_>) {
        let (now, is_ready) = (self.pair.now, self.handshakes.ready[end as usize]);
        let protocol = if input.below(4) == 0 { NOT_SERVED } else { SERVED };
        match self.pair.connection(end).prepare(now, [protocol.clone()].into_iter().collect()) {
            Ok(()) => {
                assert!(self.handshakes.by_application[end as usize] && !is_ready);
                self.handshakes.prepared[end as usize] = Some(protocol);
            }
            Err(HandshakeError::NotOpen) => panic!("it may come before the connection is open"),
            Err(error) => self.check_refusal(end, &error, false),
        }
    }

    /// A command of the handshake may be taken, as far as anybody outside can tell.
    fn may_command(&mut self, end: End) -> bool {
        let place = end as usize;
        let is_open = self.pair.connection(end).is_open();
        is_open && self.handshakes.by_application[place] && self.handshakes.rejected[place].is_none()
    }

    /// A command was refused with `error`: that must be true.
    fn check_refusal(&mut self, end: End, error: &HandshakeError, may: bool) {
        let place = end as usize;
        let connection = self.pair.connection(end);
        let is_true = match error {
            HandshakeError::Automatic => !self.handshakes.by_application[place],
            HandshakeError::NotOpen => !may,
            HandshakeError::Closing | HandshakeError::ConnectionLost(_) => !connection.is_open() && self.disturbed,
            HandshakeError::Command(CommandError::Finalized) => self.handshakes.finalized[place],
            HandshakeError::Command(CommandError::Over) => {
                connection.is_ready() || connection.rejection().is_some() || self.disturbed
            }
            HandshakeError::Command(_) => false,
        };
        assert!(is_true, "refused with {error:?}");
    }

    /// Streams of the application are possible now.
    pub(super) fn handle_ready(&mut self, end: End) {
        let place = end as usize;
        assert!(!core::mem::replace(&mut self.handshakes.ready[place], true), "ready twice");
        if self.handshakes.by_application[place] {
            assert_eq!(self.handshakes.finalized, [true; 2], "ready before both are");
            assert_eq!(self.handshakes.by_application, [true; 2], "ready without the other application");
        }
    }

    /// What was said has arrived, unless somebody did not want to hear.
    pub(super) fn check_handshakes(&mut self) {
        for end in End::BOTH {
            self.hear(end);
            let (here, there) = (end as usize, end.other() as usize);
            if self.handshakes.by_application[here] && self.handshakes.ready[here] {
                assert_eq!(self.handshakes.taken[here], self.handshakes.sent[there].len(), "something was not heard");
            }
            if let Some(rejection) = self.pair.connection(end).rejection() {
                let by = if rejection.by == Party::Local { here } else { there };
                assert_eq!(self.handshakes.rejected[by], Some(rejection.code), "nobody has rejected anybody");
            }
        }
    }
}
