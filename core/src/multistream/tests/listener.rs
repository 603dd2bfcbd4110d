use super::*;
use crate::multistream::MAX_PROPOSALS;

#[test]
fn header_and_proposal_in_one_piece_are_answered_and_the_rest_is_left_alone() {
    let mut input = messages(&[HEADER, "/yamux/1.0.0"]);
    input.extend_from_slice(b"\x13/multistream/1.0.0\n and data");
    let (outcome, leftover, sent) = feed_every_split(|| listener(&[NOISE, YAMUX]), &input);
    assert_eq!(outcome, Ok(Progress::Agreed(YAMUX)));
    assert_eq!(leftover, b"\x13/multistream/1.0.0\n and data");
    assert_eq!(sent, messages(&[HEADER, "/yamux/1.0.0"]));
}

#[test]
fn it_is_silent_until_the_header_came_and_then_greets_a_dialer_that_waits() {
    let mut listener = listener(&[NOISE]);
    assert!(!listener.wants_transmit());
    let header = message(HEADER);
    listener.handle_recv(&header[..19]).unwrap();
    assert!(!listener.wants_transmit());
    listener.handle_recv(&header[19..]).unwrap();
    assert_eq!(drain(&mut listener), header, "a dialer that proposes only after our header is not left waiting");
    assert_eq!(listener.handle_recv(&message("/noise")), Ok((8, Progress::Agreed(NOISE))));
    assert_eq!(drain(&mut listener), message("/noise"));
}

#[test]
fn anything_but_the_header_first_is_an_error() {
    for first in ["/noise", "na", "ls", "", "/multistream/1.0.1", "/multistream/1.0.0 "] {
        let (outcome, _, sent) = feed_every_split(|| listener(&[NOISE]), &message(first));
        assert_eq!((outcome, sent), (Err(Error::HeaderExpected), vec![]), "{first:?}");
    }
}

#[test]
fn unknown_names_ls_and_texts_that_are_no_names_are_refused() {
    for text in ["/tls/1.0.0", "/noise ", "/Noise", "/nois", "ls", "na", "", "noise", "/noise\n", "\u{e9}"] {
        let (outcome, _, sent) = feed_every_split(|| greeted(&[NOISE]), &messages(&[text, "/noise"]));
        assert_eq!(outcome, Ok(Progress::Agreed(NOISE)), "{text:?}");
        assert_eq!(sent, messages(&["na", "/noise"]), "{text:?}");
    }
}

#[test]
fn a_second_header_is_an_error() {
    let (outcome, ..) = feed_every_split(|| listener(&[NOISE]), &messages(&[HEADER, HEADER]));
    assert_eq!(outcome, Err(Error::HeaderRepeated));
}

#[test]
fn what_a_lazy_dialer_sent_behind_a_refused_name_is_not_a_violation() {
    let garbage: [&[u8]; 6] = [&[0], &[0xff; 32], &[0x80, 0], b"\x05hello", b"\x02\xff\n", &message(HEADER)];
    for garbage in garbage {
        let mut input = messages(&[HEADER, "/other"]);
        input.extend_from_slice(garbage);
        let (outcome, _, sent) = feed_every_split(|| listener(&[NOISE]), &input);
        assert_eq!(outcome, Ok(Progress::Unsupported), "{garbage:x?}");
        assert_eq!(sent, messages(&[HEADER, "na"]), "the refusal still leaves");
    }
}

#[test]
fn the_end_after_a_refusal_means_unsupported_and_before_it_is_an_error() {
    let input = messages(&[HEADER, "/other", "/noise"]);
    for end in 0..input.len() {
        let mut listener = listener(&[NOISE]);
        listener.handle_recv(&input[..end]).unwrap();
        let expected = if end < 28 { Err(Error::UnexpectedEof) } else { Ok(Progress::Unsupported) };
        assert_eq!(listener.handle_eof(), expected, "after {end} bytes");
    }
    let mut agreed = listener(&[NOISE]);
    agreed.handle_recv(&input).unwrap();
    assert_eq!(agreed.handle_eof(), Ok(Progress::Agreed(NOISE)), "an agreement stands");
    assert_eq!(drain(&mut agreed), messages(&[HEADER, "na", "/noise"]), "and is still answered");
}

#[test]
fn an_end_is_final() {
    let mut agreed = greeted(&[NOISE]);
    agreed.handle_recv(&message("/noise")).unwrap();
    assert_eq!(agreed.handle_recv(b"data"), Ok((0, Progress::Agreed(NOISE))));

    let mut refused = greeted(&[NOISE]);
    refused.handle_recv(&message("/other")).unwrap();
    assert_eq!(refused.handle_eof(), Ok(Progress::Unsupported));
    assert_eq!(refused.handle_recv(&message("/noise")), Ok((0, Progress::Unsupported)));

    let mut failed = listener(&[NOISE]);
    assert_eq!(failed.handle_recv(&message("na")), Err(Error::HeaderExpected));
    assert_eq!(failed.handle_recv(&messages(&[HEADER, "/noise"])), Err(Error::HeaderExpected));
    assert_eq!(failed.handle_eof(), Err(Error::HeaderExpected));
    assert!(!failed.wants_transmit());
}

fn holding(protocols: &[ProtocolId]) -> Listener {
    Listener::holding(protocols.iter().cloned().collect())
}

#[test]
fn while_holding_what_is_served_is_agreed_as_ever() {
    let (outcome, _, sent) = feed_every_split(|| holding(&[NOISE]), &messages(&[HEADER, "/noise"]));
    assert_eq!((outcome, sent), (Ok(Progress::Agreed(NOISE)), messages(&[HEADER, "/noise"])));
}

#[test]
fn a_proposal_that_is_held_is_decided_by_what_is_served_later() {
    let input = [messages(&[HEADER, "/yamux/1.0.0"]), b"data".to_vec()].concat();
    for cut in 0..input.len() {
        let mut held = holding(&[NOISE]);
        let (head, tail) = input.split_at(cut);
        let mut taken = 0;
        for piece in [head, tail] {
            taken += held.handle_recv(piece).unwrap().0;
        }
        assert!(held.is_held());
        assert_eq!(&input[taken..], b"data", "cut at {cut}");
        assert_eq!(held.handle_recv(b"data"), Ok((0, Progress::Pending)));
        assert_eq!(held.handle_eof(), Ok(Progress::Pending), "the end of the stream waits, too");
        assert_eq!(drain(&mut held), message(HEADER), "no answer");
        assert_eq!(held.release([YAMUX].into_iter().collect()), Ok(Progress::Agreed(YAMUX)));
        assert!(!held.is_held());
        assert_eq!(drain(&mut held), message("/yamux/1.0.0"));
    }
    let mut held = holding(&[NOISE]);
    held.handle_recv(&messages(&[HEADER, "/yamux/1.0.0"])).unwrap();
    assert_eq!(held.release([NOISE].into_iter().collect()), Ok(Progress::Pending));
    assert_eq!(drain(&mut held), messages(&[HEADER, "na"]));
    // From now on nothing is held.
    assert_eq!(held.handle_recv(&message("/other")), Ok((8, Progress::Pending)));
    assert_eq!(drain(&mut held), message("na"));
    assert_eq!(held.handle_recv(&message("/noise")), Ok((8, Progress::Agreed(NOISE))));
}

#[test]
fn what_can_never_be_served_is_not_held() {
    for text in ["ls", "na", "", "noise", "/noise\n"] {
        let (outcome, _, sent) = feed_every_split(|| holding(&[NOISE]), &messages(&[HEADER, text, "/noise"]));
        assert_eq!(outcome, Ok(Progress::Agreed(NOISE)), "{text:?}");
        assert_eq!(sent, messages(&[HEADER, "na", "/noise"]), "{text:?}");
    }
}

#[test]
fn holding_does_not_lift_the_limit_on_proposals() {
    let mut listener = holding(&[NOISE]);
    listener.handle_recv(&message(HEADER)).unwrap();
    for _ in 0..MAX_PROPOSALS {
        listener.handle_recv(&message("ls")).unwrap();
    }
    assert_eq!(listener.handle_recv(&message("/other")), Err(Error::TooManyProposals));
    assert_eq!(listener.release(ProtocolSet::default()), Err(Error::TooManyProposals));
}
