use super::super::{MAX_MESSAGE_LEN, MAX_NEGOTIATION_LEN, MAX_PROPOSALS};
use super::*;

/// Inputs that are no message, and the rule that each breaks.
fn malformed() -> Vec<(Vec<u8>, Error)> {
    vec![
        (vec![0], Error::EmptyMessage),
        (vec![0x80, 0], Error::LengthNotMinimal),
        (vec![0x81, 0], Error::LengthNotMinimal),
        (vec![0x80, 0x80], Error::LengthTooLong),
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f], Error::LengthTooLong),
        (vec![0x81, 0x08], Error::MessageTooLong),
        (vec![0xff, 0x7f], Error::MessageTooLong),
        (vec![2, b'n', b'a'], Error::MissingNewline),
        (vec![1, b'a'], Error::MissingNewline),
        (vec![3, b'/', 0xc3, b'\n'], Error::NotUtf8),
        (vec![3, 0xc0, 0x80, b'\n'], Error::NotUtf8),
    ]
}

#[test]
fn what_is_not_a_message_is_refused_by_name_first_and_later() {
    for (bytes, error) in malformed() {
        let later = [message(HEADER), bytes.clone()].concat();
        assert_eq!(feed_every_split(|| dialer(&[NOISE]), &bytes).0, Err(error));
        assert_eq!(feed_every_split(|| dialer(&[NOISE]), &later).0, Err(error));
        assert_eq!(feed_every_split(|| listener(&[NOISE]), &bytes).0, Err(error));
        assert_eq!(feed_every_split(|| listener(&[NOISE]), &later).0, Err(error));
    }
}

#[test]
fn a_message_of_1024_bytes_is_read_and_a_longer_one_refused_from_its_length() {
    let longest = "x".repeat(MAX_MESSAGE_LEN - 1);
    let (outcome, _, sent) = feed_every_split(|| greeted(&[NOISE]), &message(&longest));
    assert_eq!((outcome, sent), (Ok(Progress::Pending), message("na")));
    assert_eq!(greeted(&[NOISE]).handle_recv(&[0x81, 0x08]), Err(Error::MessageTooLong), "1025");
}

#[test]
fn only_a_message_in_pieces_is_buffered_and_never_more_than_one() {
    let longest = message(&"x".repeat(MAX_MESSAGE_LEN - 1));
    let mut whole = greeted(&[NOISE]);
    whole.handle_recv(&longest).unwrap();
    assert_eq!(whole.buffered(), 0, "a whole message is read where it lies");

    let mut pieces = greeted(&[NOISE]);
    pieces.handle_recv(&longest[..2]).unwrap();
    assert_eq!(pieces.buffered(), 0, "a length alone is no reason to allocate");
    for byte in longest[2..].chunks(1) {
        pieces.handle_recv(byte).unwrap();
        assert!(pieces.buffered() <= MAX_MESSAGE_LEN, "{}", pieces.buffered());
    }
    pieces.handle_recv(&message("/noise")).unwrap();
    assert_eq!(pieces.buffered(), 0, "the end frees the buffer");
    assert!(size_of::<Dialer>() <= 256 && size_of::<Listener>() <= 256);

    let mut dialer = dialer(&[NOISE]);
    dialer.handle_recv(&messages(&[HEADER, "/noise"])[..25]).unwrap();
    assert!(dialer.buffered() > 0);
    dialer.handle_recv(b"se\n").unwrap();
    assert_eq!(dialer.buffered(), 0);
}

#[test]
fn the_sixty_fourth_proposal_may_agree_and_the_next_one_is_too_many() {
    let refused = MAX_PROPOSALS - 1;
    let mut last = greeted(&[NOISE]);
    for _ in 0..refused {
        assert_eq!(last.handle_recv(&message("/x")), Ok((4, Progress::Pending)));
    }
    assert_eq!(last.handle_recv(&message("/noise")), Ok((8, Progress::Agreed(NOISE))));

    for proposal in ["/noise", "/x", "ls"] {
        let mut texts = vec!["/x"; MAX_PROPOSALS];
        texts.push(proposal);
        let (outcome, ..) = feed(&mut greeted(&[NOISE]), &[&messages(&texts)]);
        assert_eq!(outcome, Err(Error::TooManyProposals), "{proposal}");
    }
    let mut sixty_four = greeted(&[NOISE]);
    sixty_four.handle_recv(&messages(&vec!["/x"; MAX_PROPOSALS])).unwrap();
    assert_eq!(sixty_four.handle_eof(), Ok(Progress::Unsupported));
}

#[test]
fn a_dialer_that_never_reads_makes_at_most_sixty_four_refusals_wait() {
    let mut listener = listener(&[NOISE]);
    listener.handle_recv(&message(HEADER)).unwrap();
    let error = (0..10_000).find_map(|_| listener.handle_recv(&message("/x")).err());
    assert_eq!(error, Some(Error::TooManyProposals));
    let sent = drain(&mut listener);
    assert_eq!(sent, messages(&[vec![HEADER], vec!["na"; MAX_PROPOSALS]].concat()));
    assert_eq!(sent.len(), 20 + 4 * MAX_PROPOSALS);
}

#[test]
fn refusals_that_come_while_earlier_ones_leave_are_all_sent_once() {
    let mut listener = listener(&[NOISE]);
    listener.handle_recv(&messages(&[HEADER, "/x"])).unwrap();
    let mut out = [0; 22];
    assert_eq!(listener.poll_transmit(&mut out), 22, "header and half a refusal");
    listener.handle_recv(&messages(&["/x", "/noise"])).unwrap();
    let sent = [out.to_vec(), drain(&mut listener)].concat();
    assert_eq!(sent, messages(&[HEADER, "na", "na", "/noise"]));
}

#[test]
fn endless_refusals_end_with_the_list_of_the_dialer() {
    let mut dialer = dialer(&[NOISE, TLS]);
    dialer.handle_recv(&message(HEADER)).unwrap();
    let mut ends = Vec::new();
    for _ in 0..1000 {
        ends.push(dialer.handle_recv(&message("na")).unwrap());
        drain(&mut dialer);
    }
    assert_eq!(ends[..3], [(4, Progress::Pending), (4, Progress::Unsupported), (0, Progress::Unsupported)]);
}

#[test]
fn a_negotiation_as_long_as_its_bound_is_read_and_one_byte_more_refused() {
    let filler = "x".repeat(MAX_MESSAGE_LEN - 1);
    let mut texts = vec![HEADER];
    texts.extend(vec![filler.as_str(); 16]);
    let fixed = messages(&texts);
    // One more refusal fills up to the echo, which ends exactly at the bound.
    let room = MAX_NEGOTIATION_LEN - fixed.len() - message("/noise").len();
    for (padding, expected) in [(room - 2, Ok(Progress::Agreed(NOISE))), (room - 1, Err(Error::TooManyBytes))] {
        let padding = "x".repeat(padding);
        let input = [fixed.clone(), messages(&[&padding, "/noise"])].concat();
        assert_eq!(input.len() > MAX_NEGOTIATION_LEN, expected.is_err());
        assert_eq!(feed(&mut listener(&[NOISE]), &[&input]).0, expected);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(feed(&mut listener(&[NOISE]), &bytes).0, expected);
    }
    let over = [fixed, messages(&[&filler])].concat();
    let refused = feed(&mut listener(&[NOISE]), &[&over[..over.len() - 500]]);
    assert_eq!(refused.0, Err(Error::TooManyBytes), "refused before the body has come");
}

#[test]
fn a_dialer_may_propose_as_many_of_the_longest_names_as_it_can() {
    let longest = ProtocolId::new(&(String::from("/") + &"x".repeat(254))).unwrap();
    let mut dialer = Dialer::new(vec![longest; MAX_PROPOSALS]).unwrap();
    let mut listener = listener(&[NOISE]);
    let mut outcome = Progress::Pending;
    while outcome == Progress::Pending {
        listener.handle_recv(&drain(&mut dialer)).unwrap();
        outcome = dialer.handle_recv(&drain(&mut listener)).unwrap().1;
    }
    assert_eq!(outcome, Progress::Unsupported);
    assert_eq!(listener.handle_eof(), Ok(Progress::Unsupported));
}
