//! identify: messages of a stranger, and our own read back.

use alloc::vec::Vec;

use super::Input;
use crate::{
    Instant,
    protocol::identify::{
        ClaimedKey, ClaimedRecord, Dialer, Error, Info, Listener, MAX_LISTEN_ADDRS, MAX_PROTOCOLS, MAX_TEXT_LEN,
        Received, RemoteInfo,
    },
    testing::identity,
    varint,
};

/// Input: how to end and where to cut, then messages, each with its length or as they are.
///
/// Asserts that it does not matter where the input is cut, that a result comes exactly once, that the
/// clock alone ends what the peer leaves open, that nothing in a result is past its limit, that keys,
/// records and addresses are reported only if they are the authenticated peer's, that a result can be sent
/// and read again, and that a push that says the same again changes nothing.
pub fn identify(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let (framed, by_eof) = (choice & 1 == 1, choice & 2 == 2);
    let cuts_len = input.byte().into();
    let mut cuts = Input::new(input.bytes(cuts_len));
    let stream = if framed { framed_messages(&mut input) } else { input.rest().to_vec() };

    let mut whole = Reading::default();
    whole.recv(&stream);
    let mut split = Reading::default();
    cuts.cut(&stream, |piece| split.recv(piece));
    for reading in [&mut whole, &mut split] {
        reading.end(by_eof);
    }
    assert_eq!(whole.outcome, split.outcome);
    if let Some(Ok(received)) = whole.outcome {
        check_received(received);
    }
}

/// Messages with true lengths: the fuzzer need not find them.
fn framed_messages(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() {
        let len = input.u16().into();
        let message = input.bytes(len);
        varint::encode_to(u64::try_from(message.len()).unwrap_or(u64::MAX), &mut stream);
        stream.extend_from_slice(message);
    }
    stream
}

/// A dialer and the outcome that it came to.
struct Reading {
    dialer: Dialer,
    outcome: Option<Result<Received, Error>>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { dialer: Dialer::new(identity(1).public_key().clone(), Instant::EPOCH), outcome: None }
    }
}

impl Reading {
    fn recv(&mut self, data: &[u8]) {
        let step = self.dialer.handle_recv(data);
        self.note(step);
    }

    /// Ends the stream or lets the time run out, then asserts that nothing is left to wait for.
    fn end(&mut self, by_eof: bool) {
        if by_eof {
            let step = self.dialer.handle_eof();
            self.note(step);
        }
        while let Some(deadline) = self.dialer.poll_timeout() {
            let early = self.dialer.handle_timeout(Instant::EPOCH);
            assert_eq!(early, Ok(None), "a timer that is early");
            let step = self.dialer.handle_timeout(deadline);
            assert!(self.dialer.poll_timeout().is_none(), "the deadline comes once");
            self.note(step);
        }
        assert!(self.outcome.is_some(), "no outcome in the end");
        assert_eq!(self.dialer.is_finished(), self.outcome.as_ref().is_some_and(Result::is_ok));
        self.recv(b"\x00");
        let step = self.dialer.handle_eof();
        self.note(step);
    }

    fn note(&mut self, step: Result<Option<Received>, Error>) {
        match (step, &self.outcome) {
            (Ok(None), outcome) => assert!(!matches!(outcome, Some(Err(_))), "a failure is forgotten"),
            (Ok(Some(received)), None) => self.outcome = Some(Ok(received)),
            (Ok(Some(_)), Some(outcome)) => panic!("a second result after {outcome:?}"),
            (Err(error), None) => self.outcome = Some(Err(error)),
            (Err(error), Some(outcome)) => assert_eq!(outcome, &Err(error), "a failure is final"),
        }
    }
}

fn check_received(received: Received) {
    let mut known = RemoteInfo::default();
    for _ in 0..2 {
        let ticket = known.ticket();
        known.pushed(ticket, &received);
        assert_eq!((known.revision(), known.addrs()), (1, received.addrs()));
    }
    let Received { info, claimed_key, peer_record, .. } = received;
    let ours = identity(1);
    assert!(peer_record.valid().is_none_or(|record| record.public_key() == ours.public_key()));
    assert!(info.listen_addrs.iter().all(|addr| addr.peer_id().is_none_or(|peer| peer == ours.peer_id())));
    assert!(info.listen_addrs.len() <= MAX_LISTEN_ADDRS && info.protocols.len() <= MAX_PROTOCOLS);
    for text in [&info.protocol_version, &info.agent_version].into_iter().flatten() {
        assert!(text.len() <= MAX_TEXT_LEN && !text.chars().any(char::is_control), "{text:?}");
    }
    assert_eq!(info.signed_peer_record, None);
    match claimed_key {
        ClaimedKey::Same => assert_eq!(info.public_key.as_ref(), Some(ours.public_key())),
        _ => assert_eq!(info.public_key, None),
    }

    let info = Info { public_key: Some(ours.public_key().clone()), ..info };
    let Ok(mut listener) = Listener::new(&info) else { return };
    let mut again = Reading::default();
    let mut out = [0; 100];
    while listener.wants_transmit() {
        let len = listener.poll_transmit(&mut out);
        assert!(len > 0, "a listener that wants to transmit does");
        again.recv(&out[..len]);
    }
    assert!(listener.is_finished());
    again.end(true);
    let expected = Received { info, claimed_key: ClaimedKey::Same, peer_record: ClaimedRecord::Absent, dropped: 0 };
    assert_eq!(again.outcome, Some(Ok(expected)), "what is sent is what is read");
}
