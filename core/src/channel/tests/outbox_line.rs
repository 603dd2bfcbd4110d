//! Senders that wait: their order, and what becomes of the places of those who give up.

use alloc::{collections::VecDeque, vec, vec::Vec};

use crate::channel::{Config, Epoch, Outbox, PushError, Pushed, Ticket, Watermarks};

const MESSAGE: &[u8; 9] = b"a message";
const ENCODED: usize = 10;

fn open(high_messages: usize, low_messages: usize) -> Outbox {
    let watermarks = Watermarks { high_messages, low_messages, ..Watermarks::default() };
    let mut outbox = Outbox::new(&Config { watermarks, ..Config::default() });
    outbox.stream_opened(Epoch::FIRST);
    outbox
}

fn fill(outbox: &mut Outbox) {
    while outbox.is_ready() {
        outbox.push(MESSAGE).unwrap();
    }
}

fn wait(outbox: &mut Outbox) -> Ticket {
    let mut ticket = None;
    assert_eq!(outbox.enter(&mut ticket, MESSAGE), Err(PushError::Full));
    ticket.unwrap()
}

#[test]
fn a_hundred_and_fifty_blocked_senders_are_admitted_in_the_order_of_their_arrival() {
    const HIGH: usize = 10;
    const LOW: usize = 2;
    let mut outbox = open(HIGH, LOW);
    fill(&mut outbox);
    let senders: Vec<Ticket> = (0..150).map(|_| wait(&mut outbox)).collect();
    let mut admitted = Vec::new();
    while outbox.stats().messages > 0 {
        outbox.transmitted(ENCODED);
        let level = outbox.stats().messages;
        if level > LOW {
            assert_eq!(outbox.next_to_wake(), None, "nobody goes on at {level}, low + 1 included");
        }
        while let Some(ticket) = outbox.next_to_wake() {
            assert_eq!(outbox.next_to_wake(), None, "one at a time");
            assert_eq!(outbox.push(MESSAGE), Err(PushError::Full), "nobody overtakes");
            assert_eq!(outbox.enter(&mut Some(ticket), MESSAGE), Ok(Pushed::Queued));
            assert!(outbox.stats().messages <= HIGH);
            admitted.push(ticket);
        }
        if level == LOW && admitted.len() < senders.len() {
            assert_eq!(outbox.stats().messages, HIGH, "they go on until the level is high again");
        }
    }
    assert_eq!(admitted, senders);
    assert_eq!((outbox.stats().waiting, outbox.stats().sent_messages), (0, 160));
}

#[test]
fn those_behind_may_not_enter_before_the_first() {
    let mut outbox = open(4, 1);
    fill(&mut outbox);
    let (first, second) = (wait(&mut outbox), wait(&mut outbox));
    outbox.transmitted(3 * ENCODED);
    assert_eq!(outbox.next_to_wake(), Some(first));
    let mut ticket = Some(second);
    assert_eq!(outbox.enter(&mut ticket, MESSAGE), Err(PushError::Full));
    assert_eq!(ticket, Some(second), "it keeps its place");
    assert_eq!(outbox.push(MESSAGE), Err(PushError::Full));
    let third = wait(&mut outbox);
    assert!(first < second && second < third);
    assert_eq!(outbox.enter(&mut Some(first), MESSAGE), Ok(Pushed::Queued));
    assert_eq!(outbox.next_to_wake(), Some(second));
}

#[test]
fn a_sender_that_was_woken_and_gives_up_passes_its_turn_on() {
    let mut outbox = open(4, 1);
    fill(&mut outbox);
    let senders: Vec<Ticket> = (0..5).map(|_| wait(&mut outbox)).collect();
    outbox.leave(senders[1]);
    outbox.transmitted(3 * ENCODED);
    assert_eq!(outbox.next_to_wake(), Some(senders[0]));
    outbox.leave(senders[0]);
    assert_eq!(outbox.next_to_wake(), Some(senders[2]));
    outbox.leave(senders[3]);
    assert_eq!(outbox.next_to_wake(), None, "the first has been told");
    assert_eq!(outbox.enter(&mut Some(senders[2]), MESSAGE), Ok(Pushed::Queued));
    assert_eq!(outbox.next_to_wake(), Some(senders[4]));
    outbox.leave(senders[4]);
    outbox.leave(senders[4]);
    assert_eq!(outbox.push(MESSAGE), Ok(Pushed::Queued), "nobody waits any more");
}

#[test]
fn a_sender_that_comes_too_early_keeps_its_place() {
    let mut outbox = open(2, 0);
    fill(&mut outbox);
    let ticket = wait(&mut outbox);
    let mut held = Some(ticket);
    assert_eq!(outbox.enter(&mut held, MESSAGE), Err(PushError::Full), "too early");
    assert_eq!(held, Some(ticket));
    outbox.transmitted(2 * ENCODED);
    assert_eq!((outbox.next_to_wake(), outbox.next_to_wake()), (Some(ticket), None));
    assert_eq!(outbox.enter(&mut held, MESSAGE), Ok(Pushed::Queued));
    assert_eq!(held, None);
}

#[test]
fn as_many_senders_wait_as_may_and_no_more() {
    let watermarks = Watermarks { high_messages: 1, low_messages: 0, ..Watermarks::default() };
    let mut outbox = Outbox::new(&Config { watermarks, max_waiting: 3, ..Config::default() });
    fill(&mut outbox);
    let tickets: Vec<Ticket> = (0..3).map(|_| wait(&mut outbox)).collect();
    let mut ticket = None;
    assert_eq!(outbox.enter(&mut ticket, MESSAGE), Err(PushError::TooManyWaiting));
    assert_eq!((ticket, outbox.stats().waiting), (None, 3));
    assert_eq!(outbox.enter(&mut Some(tickets[2]), MESSAGE), Err(PushError::Full), "who waits may go on waiting");
    outbox.leave(tickets[1]);
    wait(&mut outbox);
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

#[test]
fn after_ten_thousand_cancels_no_place_is_missing() {
    const HIGH: usize = 16;
    let mut outbox = open(HIGH, 5);
    let mut numbers = Numbers(0x5eed);
    let (mut line, mut cancels, mut admitted) = (VecDeque::new(), 0, 0);
    while cancels < 10_000 {
        fill(&mut outbox);
        for _ in 0..numbers.below(30) {
            line.push_back(wait(&mut outbox));
        }
        for _ in 0..numbers.below(20) {
            outbox.transmitted(ENCODED);
            // Some give up before they are woken, and some of those who are woken give up then.
            if !line.is_empty() && numbers.below(2) == 0 {
                outbox.leave(line.remove(numbers.below(line.len())).unwrap());
                cancels += 1;
            }
            while let Some(ticket) = outbox.next_to_wake() {
                assert_eq!(Some(ticket), line.pop_front(), "in order of arrival");
                if numbers.below(3) == 0 {
                    outbox.leave(ticket);
                    cancels += 1;
                } else {
                    assert_eq!(outbox.enter(&mut Some(ticket), MESSAGE), Ok(Pushed::Queued));
                    admitted += 1;
                }
                assert!(outbox.stats().messages <= HIGH);
            }
            assert_eq!(outbox.stats().waiting, line.len());
        }
        for ticket in line.drain(..) {
            outbox.leave(ticket);
            cancels += 1;
        }
    }
    assert!(admitted > 1000, "{admitted}");
    outbox.transmitted(usize::MAX);
    assert_eq!((outbox.stats().messages, outbox.stats().waiting), (0, 0));
    let room = (0..).take_while(|_| outbox.push(MESSAGE).is_ok()).count();
    assert_eq!(room, HIGH);
}

#[test]
fn places_are_given_up_in_any_order() {
    let mut outbox = open(1, 0);
    fill(&mut outbox);
    let mut senders: Vec<Ticket> = (0..4096).map(|_| wait(&mut outbox)).collect();
    let mut numbers = Numbers(7);
    while senders.len() > 1 {
        let ticket = senders.swap_remove(numbers.below(senders.len()));
        outbox.leave(ticket);
    }
    outbox.transmitted(ENCODED);
    assert_eq!(vec![outbox.next_to_wake().unwrap()], senders);
}
