use septa_core::Identity;

use super::*;

fn peer(seed: u8) -> PeerId {
    Identity::from_ed25519_seed([seed; 32]).peer_id()
}

fn state(peer: PeerId, state: PeerState) -> Event {
    Event::State { peer, state }
}

fn all(subscriber: &mut Subscriber) -> Vec<Event> {
    std::iter::from_fn(|| subscriber.pop()).collect()
}

/// Pushes everything that waits out.
fn flood(subscriber: &mut Subscriber) {
    let noisy = peer(200);
    for _ in 0..MAX_WAITING_EVENTS / 2 {
        subscriber.push(state(noisy, PeerState::Connecting));
        subscriber.push(state(noisy, PeerState::Disconnected));
    }
}

#[test]
fn as_many_events_wait_as_may_and_one_more_costs_the_oldest() {
    let mut subscriber = Subscriber::default();
    flood(&mut subscriber);
    assert_eq!((subscriber.waiting.len(), subscriber.lost), (MAX_WAITING_EVENTS, 0));
    subscriber.push(state(peer(1), PeerState::Connecting));
    assert_eq!((subscriber.waiting.len(), subscriber.lost), (MAX_WAITING_EVENTS, 1));
}

#[test]
fn the_latest_state_of_each_peer_comes_before_what_came_later() {
    let mut subscriber = Subscriber::default();
    for now in [PeerState::Connecting, PeerState::Connected, PeerState::Established] {
        subscriber.push(state(peer(1), now));
    }
    subscriber.push(state(peer(2), PeerState::Backoff));
    flood(&mut subscriber);
    let events = all(&mut subscriber);
    let mut first = vec![state(peer(1), PeerState::Established), state(peer(2), PeerState::Backoff)];
    first.sort_by_key(Event::peer);
    assert_eq!(events[..2], first);
    assert_eq!(events.len(), MAX_WAITING_EVENTS + 2);
    assert_eq!(subscriber.lost, 4);
}

#[test]
fn a_peer_that_came_and_went_unseen_leaves_nothing_but_one_that_was_seen_does() {
    let mut subscriber = Subscriber::default();
    subscriber.push(state(peer(1), PeerState::Established));
    assert_eq!(all(&mut subscriber).len(), 1);
    for number in 1..100 {
        subscriber.push(state(peer(number), PeerState::Established));
        subscriber.push(state(peer(number), PeerState::Disconnected));
    }
    flood(&mut subscriber);
    assert_eq!(subscriber.behind.len(), 1, "a slow subscriber does not collect strangers");
    assert_eq!(subscriber.pop(), Some(state(peer(1), PeerState::Disconnected)));
    assert!(subscriber.shown.is_empty());
}

#[test]
fn a_filter_without_a_choice_lets_everything_through_and_others_what_they_name() {
    let event = state(peer(1), PeerState::Backoff);
    for (filter, expected) in [
        (EventFilter::new(), true),
        (EventFilter::new().peer(peer(1)), true),
        (EventFilter::new().peer(peer(2)), false),
        (EventFilter::new().peer(peer(2)).peer(peer(1)), true),
        (EventFilter::new().kind(EventKind::Opened), false),
        (EventFilter::new().kind(EventKind::Opened).kind(EventKind::State), true),
        (EventFilter::new().state(PeerState::Established), false),
        (EventFilter::new().state(PeerState::Established).state(PeerState::Backoff), true),
        (EventFilter::new().peer(peer(1)).state(PeerState::Established), false),
    ] {
        assert_eq!(filter.matches(&event), expected, "{filter:?}");
    }
}
