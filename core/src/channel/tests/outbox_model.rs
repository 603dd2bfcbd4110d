//! The sending half against a plain account of the same rules.

use alloc::{collections::VecDeque, vec, vec::Vec};

use proptest::prelude::*;

use crate::channel::{
    Config, DropReason, Epoch, Lost, Outbox, PushError, Pushed, Ticket, Watermarks, WhenFull, message::encode,
};

const MARKS: Watermarks = Watermarks { high_messages: 6, low_messages: 3, high_bytes: 200, low_bytes: 90 };
const MAX_MESSAGE_LEN: usize = 80;
const SENDERS: usize = 8;
const MAX_WAITING: usize = 5;

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Enter(usize, usize),
    Leave(usize),
    Transmit(usize),
    Open,
    Lose,
    Finish,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let len = || prop_oneof![0..10_usize, 0..=MAX_MESSAGE_LEN + 1];
    prop_oneof![
        20 => len().prop_map(Op::Push),
        20 => (0..SENDERS, len()).prop_map(|(sender, len)| Op::Enter(sender, len)),
        6 => (0..SENDERS).prop_map(Op::Leave),
        20 => prop_oneof![1..10_usize, 1..150_usize].prop_map(Op::Transmit),
        4 => Just(Op::Open),
        2 => Just(Op::Lose),
        1 => Just(Op::Finish),
        1 => Just(Op::Close),
    ]
}

/// Encoded messages in a list, senders in a list, and the rules one by one.
#[derive(Default)]
struct Model {
    messages: VecDeque<Vec<u8>>,
    sent: usize,
    line: VecDeque<usize>,
    blocked: bool,
    stream: Option<Epoch>,
    finished: bool,
    closed: bool,
    dropped: [u64; 4],
}

impl Model {
    fn bytes(&self) -> usize {
        self.messages.iter().map(Vec::len).sum()
    }

    fn is_high(&self) -> bool {
        self.messages.len() >= MARKS.high_messages || self.bytes() >= MARKS.high_bytes
    }

    fn update(&mut self) {
        if self.is_high() {
            self.blocked = true;
        } else if self.messages.len() <= MARKS.low_messages && self.bytes() <= MARKS.low_bytes {
            self.blocked = false;
        }
    }

    fn push(&mut self, sender: Option<usize>, message: &[u8], when_full: WhenFull) -> &'static str {
        if self.finished || self.closed {
            return "closed";
        }
        if message.len() > MAX_MESSAGE_LEN {
            self.dropped[0] += 1;
            return "too long";
        }
        match when_full {
            WhenFull::Wait => {
                if self.blocked || !self.line.is_empty() && self.line.front().copied() != sender {
                    return "full";
                }
            }
            WhenFull::DropNewest => {
                if self.is_high() {
                    self.dropped[1] += 1;
                    return "dropped";
                }
            }
            WhenFull::DropOldest => {
                let begun = usize::from(self.sent > 0);
                while self.is_high() && self.messages.len() > begun {
                    self.messages.remove(begun);
                    self.dropped[1] += 1;
                }
            }
        }
        self.messages.push_back(encode(&[message], MAX_MESSAGE_LEN).unwrap());
        self.update();
        "queued"
    }

    fn lose_stream(&mut self) -> Option<Lost> {
        let epoch = self.stream.take()?;
        if self.sent == 0 {
            return None;
        }
        self.messages.pop_front();
        self.sent = 0;
        self.dropped[2] += 1;
        self.update();
        Some(Lost { epoch })
    }

    fn transmit(&mut self, len: usize) {
        self.sent += len;
        while self.messages.front().is_some_and(|first| first.len() <= self.sent) {
            self.sent -= self.messages.pop_front().unwrap().len();
        }
        self.update();
    }
}

fn name(outcome: Result<Pushed, PushError>) -> &'static str {
    match outcome {
        Ok(Pushed::Queued) => "queued",
        Ok(Pushed::Dropped) => "dropped",
        Err(PushError::TooLong(_)) => "too long",
        Err(PushError::Full) => "full",
        Err(PushError::TooManyWaiting) => "too many",
        Err(PushError::Closed) => "closed",
    }
}

fn when_full() -> impl Strategy<Value = WhenFull> {
    prop_oneof![3 => Just(WhenFull::Wait), 1 => Just(WhenFull::DropNewest), 1 => Just(WhenFull::DropOldest)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn an_outbox_follows_the_rules(ops in prop::collection::vec(op(), 1..150), when_full in when_full()) {
        let config = Config {
            watermarks: MARKS,
            max_message_len: MAX_MESSAGE_LEN,
            max_waiting: MAX_WAITING,
            when_full,
            ..Config::default()
        };
        let (mut outbox, mut model) = (Outbox::new(&config), Model::default());
        let mut tickets: [Option<Ticket>; SENDERS] = [None; SENDERS];
        let (mut content, mut epoch, mut woken) = (0_u8, Epoch::FIRST, None);
        for op in ops {
            content = content.wrapping_add(1);
            match op {
                Op::Push(len) => {
                    let message = vec![content; len];
                    prop_assert_eq!(name(outbox.push(&message)), model.push(None, &message, when_full));
                }
                Op::Enter(sender, len) => {
                    let message = vec![content; len];
                    let mut expected = model.push(Some(sender), &message, when_full);
                    let waits = model.line.contains(&sender);
                    if expected == "full" && !waits {
                        match model.line.len() < MAX_WAITING {
                            true => model.line.push_back(sender),
                            false => expected = "too many",
                        }
                    } else if expected != "full" {
                        model.line.retain(|other| *other != sender);
                    }
                    prop_assert_eq!(name(outbox.enter(&mut tickets[sender], &message)), expected);
                    prop_assert_eq!(tickets[sender].is_some(), expected == "full");
                    woken = woken.filter(|woken| *woken != sender);
                }
                Op::Leave(sender) => {
                    if let Some(ticket) = tickets[sender].take() {
                        outbox.leave(ticket);
                        model.line.retain(|other| *other != sender);
                        woken = woken.filter(|woken| *woken != sender);
                    }
                }
                Op::Transmit(len) => {
                    let bytes: Vec<u8> = model.messages.iter().flatten().skip(model.sent).copied().collect();
                    let bytes = if model.stream.is_some() { bytes } else { Vec::new() };
                    let len = len.min(outbox.peek_transmit().len());
                    prop_assert!(bytes.starts_with(outbox.peek_transmit()));
                    prop_assert_eq!(outbox.peek_transmit().is_empty(), bytes.is_empty());
                    outbox.transmitted(len);
                    model.transmit(len);
                }
                Op::Open => {
                    epoch = epoch.next();
                    prop_assert_eq!(outbox.stream_opened(epoch), model.lose_stream());
                    model.stream = Some(epoch);
                }
                Op::Lose => prop_assert_eq!(outbox.stream_lost(), model.lose_stream()),
                Op::Finish => {
                    outbox.finish();
                    model.finished = true;
                }
                Op::Close => {
                    let begun = model.stream.filter(|_| model.sent > 0).map(|epoch| Lost { epoch });
                    prop_assert_eq!(outbox.close(DropReason::PeerGone), begun);
                    model.dropped[3] += model.messages.len() as u64;
                    model = Model { closed: true, line: model.line, dropped: model.dropped, ..Model::default() };
                }
            }
            while let Some(ticket) = outbox.next_to_wake() {
                let sender = tickets.iter().position(|held| *held == Some(ticket));
                prop_assert_eq!(sender, model.line.front().copied(), "only the first is woken");
                if model.finished || model.closed {
                    tickets[sender.unwrap()] = None;
                    model.line.pop_front();
                } else {
                    prop_assert!(!model.blocked && woken != sender, "and only once, when it may go on");
                    woken = sender;
                }
            }
            let over = model.finished || model.closed;
            if !over && !model.blocked {
                prop_assert_eq!(woken, model.line.front().copied(), "whoever may go on knows it");
            }
            let stats = outbox.stats();
            prop_assert_eq!((stats.messages, stats.bytes), (model.messages.len(), model.bytes()));
            prop_assert_eq!(stats.waiting, model.line.len());
            let reasons = [DropReason::TooLong, DropReason::BufferFull, DropReason::StreamLost, DropReason::PeerGone];
            prop_assert_eq!(reasons.map(|reason| stats.dropped.get(reason)), model.dropped);
            if when_full != WhenFull::DropOldest {
                prop_assert!(stats.messages <= MARKS.high_messages);
                prop_assert!(stats.bytes < MARKS.high_bytes + MAX_MESSAGE_LEN + 1);
            }
            prop_assert_eq!(outbox.wants_stream(), model.stream.is_none() && !model.messages.is_empty());
            prop_assert_eq!(outbox.wants_transmit(), model.stream.is_some() && !model.messages.is_empty());
            prop_assert_eq!(outbox.is_finished(), over && model.messages.is_empty());
            let is_ready = when_full != WhenFull::Wait || !model.blocked && model.line.is_empty();
            prop_assert_eq!(outbox.is_ready(), !over && is_ready);
        }
    }
}
