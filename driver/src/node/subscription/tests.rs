use septa_core::Identity;

use super::*;

fn peer(number: u16) -> PeerId {
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    Identity::from_ed25519_seed(seed).peer_id()
}

/// Pushes an event to a subscriber of a node that knows nobody.
fn push(subscriber: &mut Subscriber, event: Event) {
    subscriber.push(event, &|_| false);
}

fn state(peer: PeerId, state: PeerState) -> Event {
    Event::State { peer, state }
}

fn all(subscriber: &mut Subscriber) -> Vec<Event> {
    std::iter::from_fn(|| subscriber.pop()).collect()
}

/// Pushes everything that waits out.
fn flood(subscriber: &mut Subscriber) {
    let noisy = peer(20_000);
    for _ in 0..MAX_WAITING_EVENTS / 2 {
        push(subscriber, state(noisy, PeerState::Connecting));
        push(subscriber, state(noisy, PeerState::Disconnected));
    }
}

#[test]
fn as_many_events_wait_as_may_and_one_more_costs_the_oldest() {
    let mut subscriber = Subscriber::default();
    flood(&mut subscriber);
    assert_eq!((subscriber.waiting.len(), subscriber.lost), (MAX_WAITING_EVENTS, 0));
    push(&mut subscriber, state(peer(1), PeerState::Connecting));
    assert_eq!((subscriber.waiting.len(), subscriber.lost), (MAX_WAITING_EVENTS, 1));
}

#[test]
fn the_latest_state_of_each_peer_comes_before_what_came_later() {
    let mut subscriber = Subscriber::default();
    for now in [PeerState::Connecting, PeerState::Connected, PeerState::Established] {
        push(&mut subscriber, state(peer(1), now));
    }
    push(&mut subscriber, state(peer(2), PeerState::Backoff));
    flood(&mut subscriber);
    let events = all(&mut subscriber);
    let mut first = vec![state(peer(1), PeerState::Established), state(peer(2), PeerState::Backoff)];
    first.sort_by_key(Event::peer);
    assert_eq!(events[..2], first);
    assert_eq!(events.len(), MAX_WAITING_EVENTS + 2);
    assert_eq!(subscriber.lost, 4);
}

/// With only this state let through, the subscriber has seen none of them before.
#[test]
fn that_a_peer_of_the_book_is_gone_is_not_lost_however_many_strangers_go() {
    let known: Vec<PeerId> = (1..=100).map(peer).collect();
    let is_known = |peer: &PeerId| known.contains(peer);
    let mut subscriber = Subscriber::default();
    known.iter().for_each(|peer| subscriber.push(state(*peer, PeerState::Disconnected), &is_known));
    for number in 1000..1000 + 4 * MAX_WAITING_EVENTS as u16 {
        subscriber.push(state(peer(number), PeerState::Disconnected), &is_known);
        assert!(subscriber.behind.len() <= MAX_WAITING_EVENTS + 2 * known.len());
    }
    let told: BTreeSet<_> = all(&mut subscriber).into_iter().filter_map(|event| event.peer()).collect();
    assert!(known.iter().all(|peer| told.contains(peer)));
}

#[test]
fn strangers_who_have_gone_are_kept_up_to_the_bound_and_those_that_were_shown_beyond_it() {
    let mut subscriber = Subscriber::default();
    push(&mut subscriber, state(peer(1), PeerState::Established));
    assert_eq!(all(&mut subscriber).len(), 1);
    let last = 2 * MAX_WAITING_EVENTS as u16;
    for number in 1..=last {
        push(&mut subscriber, state(peer(number), PeerState::Disconnected));
    }
    assert_eq!(subscriber.behind.len(), MAX_WAITING_EVENTS, "all of them still");
    push(&mut subscriber, state(peer(last + 1), PeerState::Disconnected));
    assert_eq!(subscriber.behind.len(), 1, "a slow subscriber does not collect strangers");
    assert_eq!(subscriber.pop(), Some(state(peer(1), PeerState::Disconnected)));
    assert!(subscriber.shown.is_empty());
}

/// What was seen of a stranger who left unseen would never be taken back.
#[test]
fn a_subscriber_that_is_not_told_who_has_gone_does_not_remember_whom_it_has_seen() {
    for filter in [EventFilter::new().state(PeerState::Established), EventFilter::new().kind(EventKind::Opened)] {
        let mut subscribers = Subscribers::default();
        let key = subscribers.add(filter, [peer(0)].into());
        let mut publish = |event| subscribers.publish(&event, &|_| false, &mut Woken::default());
        for number in 1..100 {
            publish(state(peer(number), PeerState::Established));
            publish(state(peer(number), PeerState::Disconnected));
        }
        while subscribers.take(key).is_some() {}
        let subscriber = &subscribers.subscribers[&key];
        assert!(subscriber.shown.is_empty() && subscriber.behind.is_empty());
    }
}

/// Its end is hidden, so nothing later tells that what has fallen behind is out of date.
#[test]
fn strangers_whose_end_is_hidden_do_not_stay_behind() {
    let mut subscribers = Subscribers::default();
    let key = subscribers.add(EventFilter::new().state(PeerState::Established), BTreeSet::new());
    for number in 1..=4 * MAX_WAITING_EVENTS as u16 {
        for now in [PeerState::Established, PeerState::Disconnected] {
            subscribers.publish(&state(peer(number), now), &|_| false, &mut Woken::default());
        }
        assert!(subscribers.subscribers[&key].behind.len() <= MAX_WAITING_EVENTS);
    }
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
