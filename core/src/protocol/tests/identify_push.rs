use core::time::Duration;
use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::identify::{Oracle, addr, example, key, prefixed, protocol, receive, receive_message};
use crate::crypto::RustCrypto;
use crate::peer_record::{Format, SealError, SignedPeerRecord};
use crate::protocol::identify::*;
use crate::{Identity, Instant, Multiaddr, peer_record, signed_envelope};

fn at(millis: u64) -> Instant {
    Instant::EPOCH.saturating_add(Duration::from_millis(millis))
}

fn record(signer: u8, seq: u64, addrs: &[Multiaddr]) -> SignedPeerRecord {
    let identity = Identity::from_ed25519_seed([signer; 32]);
    let sealed: Result<_, SealError> = SignedPeerRecord::seal(&identity, &RustCrypto, Format::Common, seq, addrs);
    sealed.unwrap()
}

/// What the peer with key 1 says, as it is received.
fn said(fields: Info) -> Received {
    let stream = Info { public_key: Some(key(1)), ..fields }.encode().unwrap();
    receive(&stream).unwrap()
}

fn with_record(envelope: &[u8]) -> Received {
    said(Info { signed_peer_record: Some(envelope.to_vec()), ..example() })
}

/// A push of js: addresses, record and protocols, nothing else.
fn js_push(addrs: &[Multiaddr], protocols: &[&str], record: Option<&SignedPeerRecord>) -> Received {
    receive_message(&Oracle {
        listen_addrs: addrs.iter().map(|addr| addr.as_bytes().to_vec()).collect(),
        protocols: protocols.iter().map(|name| (*name).into()).collect(),
        signed_peer_record: record.map(|record| record.envelope().to_vec()),
        ..Oracle::default()
    })
}

#[test]
fn addresses_that_the_peer_has_signed_are_told_from_those_it_claims() {
    let signed = [addr("/ip4/192.0.2.7/tcp/7")];
    let record = record(1, 5, &signed);
    let received = with_record(record.envelope());
    assert_eq!(received.peer_record, ClaimedRecord::Valid(record));
    assert_eq!(received.addrs(), signed);
    assert_eq!(received.info.listen_addrs, example().listen_addrs);
    assert_eq!(received.info.signed_peer_record, None);

    let without = said(example());
    assert_eq!(without.peer_record, ClaimedRecord::Absent);
    assert_eq!(without.addrs(), example().listen_addrs);
}

#[test]
fn a_record_of_somebody_else_or_with_a_wrong_signature_is_never_used() {
    let signed = [addr("/ip4/192.0.2.7/tcp/7")];
    let other = with_record(record(2, 5, &signed).envelope());
    assert_eq!(other.peer_record, ClaimedRecord::OtherPeer(key(2).peer_id()));

    let mut forged = record(1, 5, &signed).envelope().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = with_record(&forged);
    let bad_signature = peer_record::Error::Envelope(signed_envelope::Error::BadSignature);
    assert_eq!(forged.peer_record, ClaimedRecord::Unusable(bad_signature));

    let junk = with_record(&[1, 2, 3]);
    assert!(matches!(junk.peer_record, ClaimedRecord::Unusable(peer_record::Error::Envelope(_))));
    for received in [other, forged, junk] {
        assert_eq!(received.addrs(), example().listen_addrs, "the rest of the message counts");
        let mut remote = RemoteInfo::default();
        let ticket = remote.ticket();
        remote.pushed(ticket, &received);
        assert_eq!((remote.peer_record(), remote.addrs()), (None, &example().listen_addrs[..]));
    }
}

#[test]
fn a_claimed_address_that_names_another_peer_is_left_out() {
    let plain = addr("/ip4/192.0.2.1/tcp/1");
    let own = plain.with_peer(key(1).peer_id()).unwrap();
    let other = plain.with_peer(key(2).peer_id()).unwrap();
    let received = said(Info { listen_addrs: vec![other.clone(), plain.clone(), own.clone(), other], ..example() });
    assert_eq!((received.info.listen_addrs, received.dropped), (vec![plain, own], 2));
}

#[test]
fn what_is_absent_in_a_push_is_unchanged() {
    let mut remote = RemoteInfo::default();
    assert_eq!(remote.revision(), 0);
    let ticket = remote.ticket();
    remote.identified(ticket, &said(example()));
    assert_eq!((remote.info(), remote.revision()), (&example(), 1));

    let moved = [addr("/ip4/192.0.2.9/tcp/9")];
    let ticket = remote.ticket();
    remote.pushed(ticket, &js_push(&moved, &["/a", "/b"], Some(&record(1, 1, &moved))));
    let expected = Info { listen_addrs: moved.to_vec(), protocols: vec![protocol("/a"), protocol("/b")], ..example() };
    assert_eq!((remote.info(), remote.revision()), (&expected, 2), "lists are replaced, the rest is kept");
    assert_eq!(remote.addrs(), moved);

    let ticket = remote.ticket();
    remote.pushed(ticket, &js_push(&[], &[], None));
    assert_eq!((remote.info(), remote.revision()), (&expected, 2), "an empty push says nothing");
    assert!(remote.peer_record().is_some());
}

#[test]
fn an_answer_to_identify_is_complete() {
    let mut remote = RemoteInfo::default();
    let first = remote.ticket();
    remote.identified(first, &with_record(record(1, 1, &[addr("/ip4/192.0.2.7/tcp/7")]).envelope()));
    let second = remote.ticket();
    let bare = said(Info::default());
    remote.identified(second, &bare);
    assert_eq!((remote.info(), remote.peer_record(), remote.addrs()), (&bare.info, None, &[][..]));
}

#[test]
fn a_signed_record_without_addresses_takes_them_back() {
    let mut remote = RemoteInfo::default();
    let ticket = remote.ticket();
    remote.identified(ticket, &said(example()));
    let ticket = remote.ticket();
    remote.pushed(ticket, &js_push(&[], &["/a"], Some(&record(1, 2, &[]))));
    assert_eq!(remote.addrs(), []);
}

#[test]
fn addresses_without_a_record_replace_one_that_was_signed_before() {
    let mut remote = RemoteInfo::default();
    let ticket = remote.ticket();
    remote.pushed(ticket, &with_record(record(1, 9, &[addr("/ip4/192.0.2.7/tcp/7")]).envelope()));
    let later = [addr("/ip4/192.0.2.8/tcp/8")];
    let ticket = remote.ticket();
    remote.pushed(ticket, &js_push(&later, &[], None));
    assert_eq!((remote.peer_record(), remote.addrs()), (None, &later[..]));
}

#[test]
fn a_record_with_a_smaller_number_does_not_replace_one() {
    let [old, same, new] = [(1, 1), (2, 2), (3, 2)].map(|(port, seq)| {
        let addrs = [Multiaddr::from_socket_addr(([192, 0, 2, 1], port).into())];
        record(1, seq, &addrs)
    });
    let mut remote = RemoteInfo::default();
    for (sent, kept) in [(&same, &same), (&old, &same), (&new, &new)] {
        for identified in [false, true] {
            let ticket = remote.ticket();
            let received = with_record(sent.envelope());
            if identified {
                remote.identified(ticket, &received)
            } else {
                remote.pushed(ticket, &received)
            }
            assert_eq!(remote.peer_record(), Some(kept));
        }
    }
}

#[test]
fn of_messages_that_cross_the_one_that_began_later_wins() {
    let names = |name: &str| said(Info { protocols: vec![protocol(name)], ..example() });
    let mut in_order = RemoteInfo::default();
    let (asked, pushed) = (in_order.ticket(), in_order.ticket());
    in_order.identified(asked, &names("/old"));
    in_order.pushed(pushed, &js_push(&[], &["/new"], None));

    let mut crossed = RemoteInfo::default();
    let (asked, pushed) = (crossed.ticket(), crossed.ticket());
    crossed.pushed(pushed, &js_push(&[], &["/new"], None));
    crossed.identified(asked, &names("/old"));
    assert_eq!(crossed.info(), in_order.info(), "the late answer fills in what the push left out");
    assert_eq!(crossed.info().protocols, [protocol("/new")]);
    assert_eq!(crossed.info().agent_version, example().agent_version);

    let mut pushes = RemoteInfo::default();
    let (first, second) = (pushes.ticket(), pushes.ticket());
    pushes.pushed(second, &js_push(&[], &["/second"], None));
    pushes.pushed(first, &js_push(&[addr("/ip4/192.0.2.9/tcp/9")], &["/first"], None));
    assert_eq!(pushes.info().protocols, [protocol("/second")]);
    assert_eq!(pushes.addrs(), [addr("/ip4/192.0.2.9/tcp/9")]);
}

#[test]
fn the_first_message_counts_as_a_change_even_if_it_says_nothing() {
    let mut remote = RemoteInfo::default();
    let ticket = remote.ticket();
    remote.pushed(ticket, &js_push(&[], &[], None));
    assert_eq!(remote.revision(), 1);
}

#[test]
fn a_push_that_is_split_into_messages_is_joined() {
    let moved = [addr("/ip4/192.0.2.9/tcp/9")];
    let record = record(1, 1, &moved);
    let envelope = Oracle { signed_peer_record: Some(record.envelope().to_vec()), ..Oracle::default() };
    let first = Oracle { protocols: vec!["/a".into()], ..Oracle::default() };
    let stream = [&first, &envelope].map(|message| prefixed(&prost::Message::encode_to_vec(message))).concat();
    for cut in 0..=stream.len() {
        let mut listener = PushListener::new(key(1), Instant::EPOCH);
        assert_eq!(listener.handle_recv(&stream[..cut]), Ok(None));
        assert_eq!(listener.handle_recv(&stream[cut..]), Ok(None));
        let received = listener.handle_eof().unwrap().unwrap();
        assert_eq!(received.info.protocols, [protocol("/a")]);
        assert_eq!(received.peer_record.valid(), Some(&record));
    }
}

#[test]
fn a_push_is_due_at_once_then_not_before_its_interval() {
    let mut schedule = PushSchedule::default();
    assert_eq!(schedule.poll_due(), None);
    assert!(!schedule.start(at(5)), "nothing has changed");
    assert!(schedule.changed());
    assert!(!schedule.changed(), "it is pending already");
    assert!(schedule.start(at(5)));
    assert_eq!(schedule.poll_due(), None);
    schedule.finished(PushOutcome::Sent);
    assert_eq!(schedule.poll_due(), None, "nothing has changed since");

    assert!(schedule.changed());
    assert_eq!(schedule.poll_due(), Some(at(1005)));
    assert!(!schedule.start(at(1004)));
    assert!(schedule.start(at(1005)));
}

#[test]
fn changes_during_a_push_are_one_more_push() {
    for outcome in [PushOutcome::Sent, PushOutcome::Failed] {
        let mut schedule = PushSchedule::default();
        schedule.changed();
        assert!(schedule.start(at(0)));
        assert!(!schedule.changed(), "the task that pushes goes on");
        assert!(!schedule.changed());
        assert!(!schedule.start(at(9000)), "one at a time");
        schedule.finished(outcome);
        assert_eq!(schedule.poll_due(), Some(at(1000)));
        assert!(schedule.start(at(1000)));
        schedule.finished(outcome);
        assert_eq!(schedule.poll_due(), None, "a push that failed is not repeated");
        assert!(schedule.changed());
    }
}

#[test]
fn a_peer_without_the_protocol_is_left_alone() {
    let mut schedule = PushSchedule::default();
    schedule.finished(PushOutcome::Unsupported);
    assert!(!schedule.is_unsupported(), "nothing was started");
    schedule.changed();
    assert!(schedule.start(at(0)));
    schedule.changed();
    schedule.finished(PushOutcome::Unsupported);
    assert!(schedule.is_unsupported());
    assert!(!schedule.changed());
    assert_eq!(schedule.poll_due(), None);
}

/// One change, push or end of a push, at some time.
#[derive(Clone, Copy, Debug)]
enum Step {
    Change,
    Start,
    Finish,
    Wait(u64),
}

proptest! {
    #[test]
    fn every_change_is_followed_by_a_push_and_pushes_keep_their_distance(
        steps in prop::collection::vec(prop_oneof![
            Just(Step::Change), Just(Step::Start), Just(Step::Finish), (0..1500_u64).prop_map(Step::Wait)
        ], 0..100)
    ) {
        let (mut schedule, mut now, mut stale, mut starts) = (PushSchedule::default(), 0, false, Vec::new());
        let mut under_way = false;
        for step in steps {
            match step {
                Step::Change => { schedule.changed(); stale = true; }
                Step::Start => if schedule.start(at(now)) {
                    prop_assert!(!under_way);
                    (under_way, stale) = (true, false);
                    starts.push(now);
                },
                Step::Finish => { schedule.finished(PushOutcome::Sent); under_way = false; }
                Step::Wait(millis) => now += millis,
            }
            prop_assert!(under_way || stale == schedule.poll_due().is_some(), "a change is forgotten or invented");
        }
        prop_assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{:?}", starts);
    }
}
