//! The handshake as a machine: its table, its limits, and every cut.

use alloc::{string::String, vec, vec::Vec};

use bytes::Bytes;

use crate::channel::{
    handshake::{
        CommandError, Error, Handshake, MAX_MESSAGE_LEN, MAX_MESSAGES, MAX_REASON_LEN, MAX_WAITING, Party, Rejection,
    },
    message,
};

fn app(body: &[u8]) -> Vec<u8> {
    message::encode(&[&[0], body], usize::MAX).unwrap()
}

const FINALIZE: [u8; 2] = [1, 1];

fn reject(code: u8, reason: &[u8]) -> Vec<u8> {
    message::encode(&[&[2, code], reason], usize::MAX).unwrap()
}

/// All that the machine has to say.
fn sent(machine: &mut Handshake) -> Vec<u8> {
    let mut all = Vec::new();
    while machine.wants_transmit() {
        let mut out = [0; 7];
        let n = machine.poll_transmit(&mut out);
        assert!(n > 0);
        all.extend_from_slice(&out[..n]);
    }
    assert_eq!(machine.poll_transmit(&mut [0; 7]), 0);
    all
}

/// Hands over all of `data`, as the driver of a stream does, and takes the messages.
fn recv_all(machine: &mut Handshake, mut data: &[u8]) -> Result<Vec<Bytes>, Error> {
    let mut messages = Vec::new();
    while !data.is_empty() {
        let taken = machine.handle_recv(data)?;
        assert!(taken > 0);
        data = &data[taken..];
        messages.extend(core::iter::from_fn(|| machine.recv()));
    }
    Ok(messages)
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Name {
    Talking,
    WeFinalized,
    TheyFinalized,
    Finalizing,
    Ready,
    Rejected,
    Failed,
}
use Name::*;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Input {
    Send,
    Finalize,
    Reject,
    AllSent,
    RecvApp,
    RecvFinalize,
    RecvReject,
    End,
    Nonsense,
}

const INPUTS: [Input; 9] = [
    Input::Send,
    Input::Finalize,
    Input::Reject,
    Input::AllSent,
    Input::RecvApp,
    Input::RecvFinalize,
    Input::RecvReject,
    Input::End,
    Input::Nonsense,
];

/// A machine in that state, reached by the shortest way.
fn machine_in(state: Name) -> Handshake {
    let mut machine = Handshake::new();
    match state {
        Talking => {}
        WeFinalized => {
            machine.finalize().unwrap();
            sent(&mut machine);
        }
        TheyFinalized => assert_eq!(machine.handle_recv(&FINALIZE), Ok(2)),
        Finalizing => {
            assert_eq!(machine.handle_recv(&FINALIZE), Ok(2));
            machine.finalize().unwrap();
        }
        Ready => {
            machine = machine_in(WeFinalized);
            assert_eq!(machine.handle_recv(&FINALIZE), Ok(2));
        }
        Rejected => assert_eq!(machine.handle_recv(&reject(1, b"no")), Ok(5)),
        Failed => assert_eq!(machine.handle_recv(&[0]), Err(Error::Empty)),
    }
    machine
}

/// Which state the machine is in, told by its behaviour only.
fn name_of(machine: &mut Handshake) -> Name {
    if machine.rejection().is_some() {
        Rejected
    } else if machine.is_ready() {
        Ready
    } else if machine.handle_recv(b"").is_err() {
        Failed
    } else {
        let we = machine.finalize().is_err();
        sent(machine);
        match (we, machine.is_ready()) {
            (false, false) => Talking,
            (false, true) => TheyFinalized,
            (true, false) => WeFinalized,
            (true, true) => Finalizing,
        }
    }
}

/// Applies `input`; false if it was refused or is an error.
fn apply(machine: &mut Handshake, input: Input) -> bool {
    match input {
        Input::Send => machine.send(b"x").is_ok(),
        Input::Finalize => machine.finalize().is_ok(),
        Input::Reject => machine.reject(1, "no").is_ok(),
        Input::AllSent => {
            sent(machine);
            true
        }
        Input::RecvApp => machine.handle_recv(&app(b"x")).is_ok(),
        Input::RecvFinalize => machine.handle_recv(&FINALIZE).is_ok(),
        Input::RecvReject => machine.handle_recv(&reject(1, b"no")).is_ok(),
        Input::End => machine.handle_eof().is_ok(),
        Input::Nonsense => machine.handle_recv(&[1, 9]).is_ok(),
    }
}

#[test]
fn every_state_takes_every_input_as_the_table_says() {
    // The columns are those of `INPUTS`. `Err` is the state after something was refused or failed.
    let table: [(Name, [Result<Name, Name>; 9]); 7] = [
        (
            Talking,
            [
                Ok(Talking),
                Ok(WeFinalized),
                Ok(Rejected),
                Ok(Talking),
                Ok(Talking),
                Ok(TheyFinalized),
                Ok(Rejected),
                Err(Failed),
                Err(Failed),
            ],
        ),
        (
            WeFinalized,
            [
                Err(WeFinalized),
                Err(WeFinalized),
                Ok(Rejected),
                Ok(WeFinalized),
                Ok(WeFinalized),
                Ok(Ready),
                Ok(Rejected),
                Err(Failed),
                Err(Failed),
            ],
        ),
        (
            TheyFinalized,
            [
                Ok(TheyFinalized),
                Ok(Finalizing),
                Ok(Rejected),
                Ok(TheyFinalized),
                Err(Failed),
                Err(Failed),
                Ok(Rejected),
                Err(Failed),
                Err(Failed),
            ],
        ),
        (
            Finalizing,
            [
                Err(Finalizing),
                Err(Finalizing),
                Ok(Rejected),
                Ok(Ready),
                Err(Failed),
                Err(Failed),
                Ok(Rejected),
                Err(Failed),
                Err(Failed),
            ],
        ),
        (
            Ready,
            [
                Err(Ready),
                Err(Ready),
                Err(Ready),
                Ok(Ready),
                Err(Failed),
                Err(Failed),
                Ok(Rejected),
                Ok(Ready),
                Err(Failed),
            ],
        ),
        (
            Rejected,
            [
                Err(Rejected),
                Err(Rejected),
                Err(Rejected),
                Ok(Rejected),
                Ok(Rejected),
                Ok(Rejected),
                Ok(Rejected),
                Ok(Rejected),
                Ok(Rejected),
            ],
        ),
        (
            Failed,
            [
                Err(Failed),
                Err(Failed),
                Err(Failed),
                Ok(Failed),
                Err(Failed),
                Err(Failed),
                Err(Failed),
                Err(Failed),
                Err(Failed),
            ],
        ),
    ];
    for (state, row) in table {
        assert_eq!(name_of(&mut machine_in(state)), state);
        for (input, expected) in INPUTS.into_iter().zip(row) {
            let mut machine = machine_in(state);
            let accepted = apply(&mut machine, input);
            let next = name_of(&mut machine);
            assert_eq!(if accepted { Ok(next) } else { Err(next) }, expected, "{state:?} x {input:?}");
        }
    }
}

#[test]
fn a_finalize_that_waits_to_be_sent_makes_nobody_ready() {
    let mut machine = Handshake::new();
    machine.send(b"first").unwrap();
    machine.finalize().unwrap();
    assert_eq!(machine.handle_recv(&FINALIZE), Ok(2));
    assert!(!machine.is_ready());
    assert_eq!(machine.handle_eof(), Err(Error::UnexpectedEof));
    let mut machine = machine_in(Finalizing);
    assert_eq!(machine.poll_transmit(&mut [0; 1]), 1);
    assert!(!machine.is_ready(), "half of it is not it");
    assert_eq!(machine.poll_transmit(&mut [0; 1]), 1);
    assert!(machine.is_ready());
}

#[test]
fn two_machines_shake_hands_whatever_the_cuts() {
    let one_way = [app(b"hello"), app(b""), app(&[7; 300]), FINALIZE.to_vec()].concat();
    for cut in 0..=one_way.len() {
        let (mut left, mut right) = (Handshake::new(), Handshake::new());
        for machine in [&mut left, &mut right] {
            for body in [&b"hello"[..], b"", &[7; 300]] {
                machine.send(body).unwrap();
            }
            machine.finalize().unwrap();
            assert_eq!(sent(machine), one_way);
        }
        for machine in [&mut left, &mut right] {
            let (head, tail) = one_way.split_at(cut);
            let mut messages = recv_all(machine, head).unwrap();
            assert_eq!(machine.is_ready(), tail.is_empty());
            messages.extend(recv_all(machine, tail).unwrap());
            assert_eq!(messages, [&b"hello"[..], b"", &[7; 300]]);
            assert!(machine.is_ready());
            assert_eq!(machine.handle_eof(), Ok(()));
            assert_eq!(machine.memory_used(), 0);
        }
    }
}

#[test]
fn each_direction_has_64_messages_of_64_kib_and_no_more() {
    let (mut sender, mut receiver) = (Handshake::new(), Handshake::new());
    assert_eq!(sender.send(&vec![0; MAX_MESSAGE_LEN + 1]), Err(CommandError::TooLong));
    for _ in 0..MAX_MESSAGES {
        sender.send(&vec![1; MAX_MESSAGE_LEN]).unwrap();
        let mut encoded = vec![0; MAX_MESSAGE_LEN + 8];
        let n = sender.poll_transmit(&mut encoded);
        assert_eq!(recv_all(&mut receiver, &encoded[..n]).unwrap(), [vec![1; MAX_MESSAGE_LEN]]);
    }
    assert_eq!(sender.send(b""), Err(CommandError::TooManyMessages));
    sender.finalize().unwrap();
    assert_eq!(receiver.handle_recv(&app(b"")), Err(Error::TooManyMessages));
    let mut receiver = Handshake::new();
    let too_long = message::Error::TooLong { max: MAX_MESSAGE_LEN + 1 };
    assert_eq!(receiver.handle_recv(&app(&vec![1; MAX_MESSAGE_LEN + 1])[..3]), Err(too_long.into()));
}

#[test]
fn input_waits_while_the_application_has_messages_to_take() {
    let mut machine = Handshake::new();
    let flood = [app(b"a").repeat(MAX_WAITING + 1), FINALIZE.to_vec()].concat();
    let taken = machine.handle_recv(&flood).unwrap();
    assert_eq!((taken, machine.waiting()), (3 * MAX_WAITING, MAX_WAITING));
    assert_eq!(machine.handle_recv(&flood[taken..]), Ok(0));
    assert_eq!(machine.recv(), Some(Bytes::from_static(b"a")));
    assert_eq!(machine.handle_recv(&flood[taken..]), Ok(3));
    // At the end of the connection all that has come is taken.
    machine.take_all();
    assert_eq!(machine.handle_recv(&flood[taken + 3..]), Ok(2));
    assert_eq!(name_of(&mut machine), TheyFinalized);
}

#[test]
fn a_rejection_says_who_and_why() {
    let longest = "\u{e9}".repeat(MAX_REASON_LEN / 2);
    let (mut left, mut right) = (Handshake::new(), Handshake::new());
    assert_eq!(left.reject(1, &(longest.clone() + "x")), Err(CommandError::ReasonTooLong));
    left.send(b"sorry").unwrap();
    left.reject(200, &longest).unwrap();
    let said = sent(&mut left);
    assert_eq!(recv_all(&mut right, &said).unwrap(), [&b"sorry"[..]]);
    let reason = longest.into_boxed_str();
    assert_eq!(left.rejection(), Some(&Rejection { by: Party::Local, code: 200, reason: reason.clone() }));
    assert_eq!(right.rejection(), Some(&Rejection { by: Party::Remote, code: 200, reason }));
    // Whatever was to be said is void now.
    let mut talking = Handshake::new();
    talking.send(b"unsaid").unwrap();
    assert_eq!(talking.handle_recv(&reject(0, b"")), Ok(3));
    assert!(!talking.wants_transmit());
}

#[test]
fn messages_that_break_a_rule_are_refused() {
    let too_long = String::from("x").repeat(MAX_REASON_LEN + 1);
    let table: [(Vec<u8>, Error); 10] = [
        (vec![0], Error::Empty),
        (vec![1, 3], Error::UnknownKind(3)),
        (vec![2, 255, 0], Error::UnknownKind(255)),
        (vec![2, 1, 0], Error::FinalizeWithBody),
        (vec![1, 2], Error::RejectionWithoutCode),
        (reject(1, &[0xff]), Error::ReasonNotUtf8),
        (reject(1, too_long.as_bytes()), Error::ReasonTooLong),
        ([FINALIZE, FINALIZE].concat(), Error::FinalizedTwice),
        ([FINALIZE.to_vec(), app(b"")].concat(), Error::MessageAfterFinalize),
        (vec![0x80, 0], message::Error::LengthNotMinimal.into()),
    ];
    for (bytes, error) in table {
        for cut in 0..bytes.len() {
            let mut machine = Handshake::new();
            machine.send(b"x").unwrap();
            let (head, tail) = bytes.split_at(cut);
            let outcome = recv_all(&mut machine, head).and_then(|_| recv_all(&mut machine, tail));
            assert_eq!(outcome, Err(error), "{bytes:x?} cut at {cut}");
            assert!(!machine.wants_transmit(), "there is nobody to say it to");
        }
    }
    let longest = "x".repeat(MAX_REASON_LEN);
    assert!(recv_all(&mut Handshake::new(), &reject(1, longest.as_bytes())).is_ok());
}
