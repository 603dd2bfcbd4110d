use super::super::InvalidProposals;
use super::*;

#[test]
fn an_echo_agrees_and_what_follows_is_left_alone() {
    let mut input = messages(&[HEADER, "/noise"]);
    input.extend_from_slice(b"\x03na\nfirst bytes of noise");
    let (outcome, leftover, sent) = feed_every_split(|| dialer(&[NOISE, TLS]), &input);
    assert_eq!(outcome, Ok(Progress::Agreed(NOISE)));
    assert_eq!(leftover, b"\x03na\nfirst bytes of noise");
    assert_eq!(sent, b"");
}

#[test]
fn a_refusal_brings_the_next_proposal_without_a_header() {
    let mut dialer = dialer(&[NOISE, TLS, YAMUX]);
    assert_eq!(dialer.handle_recv(&messages(&[HEADER, "na"])), Ok((24, Progress::Pending)));
    assert_eq!(dialer.proposed(), &TLS);
    assert_eq!(drain(&mut dialer), message("/tls/1.0.0"));
    assert_eq!(dialer.handle_recv(&message("na")), Ok((4, Progress::Pending)));
    assert_eq!(drain(&mut dialer), message("/yamux/1.0.0"));
    assert_eq!(dialer.handle_recv(&message("/yamux/1.0.0")), Ok((14, Progress::Agreed(YAMUX))));
}

#[test]
fn the_last_refusal_means_unsupported() {
    let (outcome, ..) = feed_every_split(|| dialer(&[NOISE]), &messages(&[HEADER, "na"]));
    assert_eq!(outcome, Ok(Progress::Unsupported));
}

#[test]
fn the_end_of_the_stream_means_unsupported_wherever_it_comes() {
    let input = messages(&[HEADER, "/noise"]);
    for end in 0..input.len() {
        let mut dialer = dialer(&[NOISE, TLS]);
        assert_eq!(dialer.handle_recv(&input[..end]), Ok((end, Progress::Pending)));
        assert_eq!(dialer.handle_eof(), Ok(Progress::Unsupported), "after {end} bytes");
    }
    let mut agreed = dialer(&[NOISE]);
    agreed.handle_recv(&input).unwrap();
    assert_eq!(agreed.handle_eof(), Ok(Progress::Agreed(NOISE)), "an agreement stands");
}

#[test]
fn anything_but_the_header_first_is_an_error() {
    for first in ["/noise", "na", "ls", "", "/multistream/1.0.1", "/multistream/1.0.0 ", "/multistream/1.0.0\r"] {
        let (outcome, ..) = feed_every_split(|| dialer(&[NOISE]), &message(first));
        assert_eq!(outcome, Err(Error::HeaderExpected), "{first:?}");
    }
}

#[test]
fn any_other_answer_is_an_error() {
    for answer in ["/tls/1.0.0", "/noise ", "/noise\n", "/Noise", "ls", "NA", "na ", ""] {
        let (outcome, ..) = feed_every_split(|| dialer(&[NOISE, TLS]), &messages(&[HEADER, answer]));
        assert_eq!(outcome, Err(Error::UnexpectedMessage), "{answer:?}");
    }
    let (outcome, ..) = feed_every_split(|| dialer(&[NOISE]), &messages(&[HEADER, HEADER]));
    assert_eq!(outcome, Err(Error::HeaderRepeated));
}

#[test]
fn the_listeners_header_may_come_before_ours_has_left() {
    let mut dialer = Dialer::single(NOISE);
    assert_eq!(dialer.handle_recv(&message(HEADER)), Ok((20, Progress::Pending)));
    assert_eq!(drain(&mut dialer), messages(&[HEADER, "/noise"]));
    assert_eq!(dialer.handle_recv(&message("/noise")), Ok((8, Progress::Agreed(NOISE))));
}

#[test]
fn an_answer_to_a_proposal_that_has_not_left_is_an_error() {
    for answer in ["/noise", "na"] {
        for left in 0..28 {
            let mut dialer = Dialer::new([NOISE, TLS]).unwrap();
            assert_eq!(dialer.poll_transmit(&mut vec![0; left]), left);
            let outcome = dialer.handle_recv(&messages(&[HEADER, answer]));
            assert_eq!(outcome, Err(Error::ReplyTooEarly), "{answer} after {left} of 28 bytes");
        }
    }
}

#[test]
fn a_listener_cannot_refuse_in_advance() {
    let mut dialer = dialer(&[NOISE, TLS, YAMUX]);
    assert_eq!(dialer.handle_recv(&messages(&[HEADER, "na", "na"])), Err(Error::ReplyTooEarly));
}

#[test]
fn two_dialers_do_not_agree_by_accident() {
    let mut left = Dialer::single(NOISE);
    let mut right = Dialer::single(TLS);
    let (from_left, from_right) = (drain(&mut left), drain(&mut right));
    assert_eq!(left.handle_recv(&from_right), Err(Error::UnexpectedMessage));
    assert_eq!(right.handle_recv(&from_left), Err(Error::UnexpectedMessage));
}

#[test]
fn an_optimistic_dialer_sends_the_same_bytes_and_takes_a_refusal() {
    let mut dialer = Dialer::optimistic(PING);
    assert!(dialer.is_optimistic() && !Dialer::single(PING).is_optimistic());
    assert_eq!(drain(&mut dialer), messages(&[HEADER, "/ipfs/ping/1.0.0"]));
    assert_eq!(dialer.handle_recv(&messages(&[HEADER, "na"])), Ok((24, Progress::Unsupported)));
    assert_eq!(dialer.proposed(), &PING);
}

#[test]
fn the_list_of_proposals_has_bounds() {
    assert_eq!(Dialer::new([]).err(), Some(InvalidProposals::Empty));
    assert_eq!(Dialer::new(core::iter::repeat_n(NOISE, 65)).err(), Some(InvalidProposals::TooMany));
    assert_eq!(Dialer::new(core::iter::repeat(NOISE)).err(), Some(InvalidProposals::TooMany), "an endless list ends");

    let mut longest = dialer(&vec![NOISE; 64]);
    longest.handle_recv(&message(HEADER)).unwrap();
    for _ in 1..64 {
        assert_eq!(longest.handle_recv(&message("na")), Ok((4, Progress::Pending)));
        assert_eq!(drain(&mut longest), message("/noise"));
    }
    assert_eq!(longest.handle_recv(&message("na")), Ok((4, Progress::Unsupported)));
}

#[test]
fn an_end_is_final() {
    let mut agreed = dialer(&[NOISE]);
    agreed.handle_recv(&messages(&[HEADER, "/noise"])).unwrap();
    assert_eq!(agreed.handle_recv(b"data"), Ok((0, Progress::Agreed(NOISE))));

    let mut refused = dialer(&[NOISE]);
    refused.handle_recv(&messages(&[HEADER, "na"])).unwrap();
    assert_eq!(refused.handle_recv(&message("/noise")), Ok((0, Progress::Unsupported)));
    assert_eq!(refused.handle_eof(), Ok(Progress::Unsupported));

    let mut failed = dialer(&[NOISE]);
    assert_eq!(failed.handle_recv(&message("na")), Err(Error::HeaderExpected));
    assert_eq!(failed.handle_recv(&messages(&[HEADER, "/noise"])), Err(Error::HeaderExpected));
    assert_eq!(failed.handle_eof(), Err(Error::HeaderExpected));
}
