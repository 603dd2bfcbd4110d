//! multistream-select: either end against bytes, and against the other.

use alloc::{vec, vec::Vec};

use super::Input;
use crate::{
    ProtocolId, ProtocolSet,
    multistream::{Dialer, Error, Listener, MAX_NEGOTIATION_LEN, MAX_PROPOSALS, Progress},
};

/// Input: what the dialer proposes, where the answer is cut, the answer as tokens, and
/// what a real listener supports.
///
/// Asserts that it does not matter where the answer is cut, that an outcome is final and leaves what
/// follows to the caller, that an end of stream makes one, that nothing else is agreed on and no more sent
/// than was to be proposed, and that against a real listener both ends agree on the first common proposal.
pub fn multistream_dialer(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let proposals = names(&mut input);
    let make = || match (kind % 3, &*proposals) {
        (0, [first, ..]) => Dialer::single(first.clone()),
        (1, [first, ..]) => Dialer::optimistic(first.clone()),
        _ => Dialer::new(proposals.iter().cloned()).expect("one to 64 proposals"),
    };
    let supported = names(&mut input);
    let mut cuts = cuts(&mut input);
    let answer = remote_bytes(&mut input);

    let most_sent = HEADER_MESSAGE + proposals.len() * MAX_NAME_MESSAGE;
    if let Ok(Progress::Agreed(name)) = check_splits(&make, &mut cuts, &answer, most_sent) {
        assert!(proposals.contains(&name), "{name:?} was not proposed");
    }
    let tried = if kind % 3 == 2 { &*proposals } else { &proposals[..1] };
    check_pair(make(), tried, supported, &mut cuts);
}

/// Input: what the listener supports, where the proposals are cut, the proposals as
/// tokens.
///
/// Asserts the same as [`multistream_dialer`] without the pair, and that what is agreed on is supported.
pub fn multistream_listener(data: &[u8]) {
    let mut input = Input::new(data);
    let supported: ProtocolSet = names(&mut input).into_iter().collect();
    let mut cuts = cuts(&mut input);
    let proposals = remote_bytes(&mut input);

    let most_sent = HEADER_MESSAGE + MAX_PROPOSALS * REFUSAL_MESSAGE + MAX_NAME_MESSAGE;
    let make = || Listener::new(supported.clone());
    if let Ok(Progress::Agreed(name)) = check_splits(&make, &mut cuts, &proposals, most_sent) {
        assert!(supported.get(name.as_str()).is_some(), "{name:?} is not supported");
    }
}

const HEADER_MESSAGE: usize = 20;
const REFUSAL_MESSAGE: usize = 4;
/// The longest name with its length and newline.
const MAX_NAME_MESSAGE: usize = 258;

/// Up to 64 names, of which the last of the pool is as long as a name may be.
fn names(input: &mut Input<'_>) -> Vec<ProtocolId> {
    let count = 1 + input.below(MAX_PROPOSALS);
    (0..count).map(|_| name(input.below(NAMES.len() + 1))).collect()
}

fn name(index: usize) -> ProtocolId {
    match NAMES.get(index) {
        Some(name) => ProtocolId::from_static(name),
        None => ProtocolId::new(&("/long".repeat(51))).expect("255 bytes"),
    }
}

const NAMES: [&str; 7] = ["/a", "/b", "/ab", "/noise", "/yamux/1.0.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"];

fn cuts<'a>(input: &mut Input<'a>) -> Input<'a> {
    let len = input.byte().into();
    Input::new(input.bytes(len))
}

/// What the other end says: messages that a negotiation has, perhaps repeated, and bytes of any kind.
fn remote_bytes(input: &mut Input<'_>) -> Vec<u8> {
    // Twice what a negotiation takes, and one token more.
    let mut out = Vec::with_capacity(2 * MAX_NEGOTIATION_LEN + 2048);
    while !input.is_empty() && out.len() <= 2 * MAX_NEGOTIATION_LEN {
        let token = input.byte();
        match token {
            0 => push_message(&mut out, b"/multistream/1.0.0\n"),
            1 => push_message(&mut out, b"na\n"),
            2 => push_message(&mut out, b"ls\n"),
            3..16 => push_message(&mut out, &[name(usize::from(token) - 3).as_str().as_bytes(), b"\n"].concat()),
            16..32 => {
                let message = [name(usize::from(token) % 8).as_str().as_bytes(), b"\n"].concat();
                for _ in 0..input.byte() {
                    if out.len() <= 2 * MAX_NEGOTIATION_LEN {
                        push_message(&mut out, &message);
                    }
                }
            }
            32..64 => {
                let len = input.byte().into();
                push_message(&mut out, input.bytes(len));
            }
            64..128 => out.extend_from_slice(input.bytes(usize::from(token) - 63)),
            128.. => {
                let byte = input.byte();
                out.resize(out.len() + (usize::from(token) - 127) * 8, byte);
            }
        }
    }
    out
}

fn push_message(out: &mut Vec<u8>, text: &[u8]) {
    crate::varint::encode_to(u64::try_from(text.len()).expect("short"), out);
    out.extend_from_slice(text);
}

trait Machine {
    fn recv(&mut self, data: &[u8]) -> Result<(usize, Progress), Error>;
    fn eof(&mut self) -> Result<Progress, Error>;
    fn transmit(&mut self, out: &mut [u8]) -> usize;
    fn wants(&self) -> bool;
}

macro_rules! machine {
    ($type:ty) => {
        impl Machine for $type {
            fn recv(&mut self, data: &[u8]) -> Result<(usize, Progress), Error> {
                self.handle_recv(data)
            }
            fn eof(&mut self) -> Result<Progress, Error> {
                self.handle_eof()
            }
            fn transmit(&mut self, out: &mut [u8]) -> usize {
                self.poll_transmit(out)
            }
            fn wants(&self) -> bool {
                self.wants_transmit()
            }
        }
    };
}
machine!(Dialer);
machine!(Listener);

/// Takes all output, `room` bytes at a time.
fn drain(machine: &mut impl Machine, room: usize) -> Vec<u8> {
    let (mut sent, mut out) = (Vec::new(), vec![0; room]);
    while machine.wants() {
        let len = machine.transmit(&mut out);
        assert!(len > 0, "a machine that wants to transmit does");
        sent.extend_from_slice(&out[..len]);
    }
    assert_eq!(machine.transmit(&mut out), 0, "a machine that wants nothing sends nothing");
    sent
}

/// Feeds `data` whole to one machine and cut to another, and returns the outcome that both must have.
///
/// What the machines have to say first is taken first, and the rest after all input: an answer in the same
/// piece as the refusal before it is too early, and one in the next piece would not be.
fn check_splits<M: Machine>(
    make: &impl Fn() -> M,
    cuts: &mut Input<'_>,
    data: &[u8],
    most_sent: usize,
) -> Result<Progress, Error> {
    let (mut whole, mut split) = (make(), make());
    let first = drain(&mut whole, 1 + cuts.below(64));
    assert_eq!(drain(&mut split, 4096), first);

    let outcome = whole.recv(data);
    let (mut cut_outcome, mut taken) = (split.recv(&[]), 0);
    cuts.cut(data, |piece| {
        let pending = matches!(cut_outcome, Ok((_, Progress::Pending)));
        cut_outcome = split.recv(piece);
        if let Ok((count, progress)) = &cut_outcome {
            assert!(*progress != Progress::Pending || *count == piece.len(), "all is taken until the end");
            assert!(pending || *count == 0, "something is taken after the end");
            taken += count;
        }
    });
    match (&outcome, &cut_outcome) {
        (Ok((count, progress)), Ok((_, cut_progress))) => {
            assert_eq!(progress, cut_progress);
            // After a refusal what follows is worthless, and so is how much of it was looked at.
            assert!(*count == taken || *progress == Progress::Unsupported, "{count} and {taken} bytes are taken");
        }
        (outcome, cut_outcome) => assert_eq!(outcome, cut_outcome),
    }
    let sent = drain(&mut whole, 1 + cuts.below(64));
    assert_eq!(drain(&mut split, 4096), sent);
    assert!(first.len() + sent.len() <= most_sent, "{} bytes were sent", first.len() + sent.len());

    let end = whole.eof();
    assert_ne!(end, Ok(Progress::Pending), "the end of the stream decides");
    match &outcome {
        Ok((_, Progress::Pending)) => {}
        Ok((taken, progress)) => assert!(*taken <= MAX_NEGOTIATION_LEN && end.as_ref() == Ok(progress)),
        Err(error) => assert_eq!(end.as_ref(), Err(error)),
    }
    assert_eq!(whole.recv(b"\x03na\n"), end.clone().map(|progress| (0, progress)), "an outcome is final");
    assert_eq!(whole.eof(), end);
    end
}

/// Lets a real dialer talk to a real listener.
fn check_pair(mut dialer: Dialer, proposals: &[ProtocolId], supported: Vec<ProtocolId>, cuts: &mut Input<'_>) {
    let supported: ProtocolSet = supported.into_iter().collect();
    let expected = proposals.iter().find(|name| supported.get(name.as_str()).is_some());
    let mut listener = Listener::new(supported.clone());
    let (mut dialed, mut listened) = (Progress::Pending, Progress::Pending);
    while dialer.wants_transmit() || listener.wants_transmit() {
        let to_listener = drain(&mut dialer, 1 + cuts.below(64));
        cuts.cut(&to_listener, |piece| listened = listener.handle_recv(piece).expect("the dialer is honest").1);
        let to_dialer = drain(&mut listener, 1 + cuts.below(64));
        cuts.cut(&to_dialer, |piece| dialed = dialer.handle_recv(piece).expect("the listener is honest").1);
    }
    match expected {
        Some(name) => {
            let agreed = Progress::Agreed(name.clone());
            assert_eq!((&dialed, &listened), (&agreed, &agreed));
        }
        None => {
            assert_eq!(dialed, Progress::Unsupported);
            assert_eq!(listener.handle_eof(), Ok(Progress::Unsupported));
        }
    }
}
