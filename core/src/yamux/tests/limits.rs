//! Each limit, at its bound and one past it.

use core::time::Duration;
use std::{vec, vec::Vec};

use super::support::*;
use crate::yamux::{
    Config, ConfigError, Event, FLOOD_INTERVAL, KeepAlive, MemoryLimits, MemoryPool, OpenError, Violation, WriteError,
    header::Kind::{Ping, WindowUpdate},
};

#[test]
fn the_stream_limit_refuses_inbound_and_blocks_outbound_streams() {
    let mut session = listener(Config { max_streams: 3, ..quiet() });
    let own = session.open().unwrap();
    recv(&mut session, &[update(SYN, 1, 0), update(SYN, 3, 0), data(SYN, 5, b"refused"), data(NONE, 5, b"late")])
        .unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 5, 0x1002)]);
    assert_eq!((session.stream_count(), session.stats().streams_refused), (3, 1));
    assert_eq!(session.open(), Err(OpenError::Blocked));
    assert_eq!(events(&mut session), [Event::Incoming]);
    session.release(own);
    assert_eq!(events(&mut session), [Event::OpenUnblocked]);
    assert!(session.open().is_ok());
}

#[test]
fn the_accept_backlog_refuses_what_goes_beyond() {
    let mut session = listener(Config { accept_backlog: 2, ..quiet() });
    recv(&mut session, &[update(SYN, 1, 0), update(SYN, 3, 0), update(SYN, 5, 0)]).unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 5, 0x1002)]);
    session.accept().unwrap();
    recv(&mut session, &[update(SYN, 7, 0)]).unwrap();
    assert_eq!([session.accept(), session.accept(), session.accept()], [Some(id(3)), Some(id(7)), None]);
}

#[test]
fn the_ack_backlog_blocks_until_an_answer_comes() {
    let mut session = dialer(Config { ack_backlog: 2, ..quiet() });
    let first = session.open().unwrap();
    session.write(first, b"x").unwrap();
    session.open().unwrap();
    assert_eq!(session.open(), Err(OpenError::Blocked));
    assert_eq!(session.open(), Err(OpenError::Blocked));
    sent(&mut session);
    assert_eq!(events(&mut session), []);
    recv(&mut session, &[update(ACK, 1, 0)]).unwrap();
    assert_eq!(events(&mut session), [Event::OpenUnblocked], "exactly once");
    session.open().unwrap();
    assert_eq!(session.open(), Err(OpenError::Blocked));
    recv(&mut session, &[update(RST, 1, 0)]).unwrap();
    assert_eq!(session.open(), Err(OpenError::Blocked), "that slot was free already");
}

#[test]
fn a_refusing_session_resets_new_streams_with_its_code() {
    let mut session = accepted();
    session.refuse_inbound(0x1007);
    recv(&mut session, &[update(SYN, 3, 0), data(NONE, 1, b"still served")]).unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 3, 0x1007)]);
    assert_eq!(session.accept(), None);
    assert_eq!(read_all(&mut session, id(1)).0, b"still served");
}

#[test]
fn pongs_are_bounded() {
    let mut session = listener(quiet());
    let pings: Vec<_> = (0..8).map(|n| frame(Ping, SYN, 0, n)).collect();
    recv(&mut session, &pings).unwrap();
    assert_eq!(sent(&mut session).len(), 8);
    recv(&mut session, &pings).unwrap();
    assert_eq!(recv(&mut session, &pings[..1]), Err(Violation::PingFlood));
}

#[test]
fn resets_of_refused_streams_are_bounded() {
    let mut session = listener(quiet());
    session.refuse_inbound(1);
    for i in 0..1024 {
        recv(&mut session, &[update(SYN, 1 + 2 * i, 0)]).unwrap();
    }
    assert_eq!(recv(&mut session, &[update(SYN, 4001, 0)]), Err(Violation::RapidReset));
}

#[test]
fn resets_of_streams_that_break_rules_or_that_the_application_resets_are_bounded_too() {
    for accepts in [false, true] {
        let mut session = listener(quiet());
        let mut result = Ok(());
        for i in 0..1025 {
            let stream = 1 + 2 * i;
            assert_eq!(result, Ok(()), "{i}");
            result = recv(&mut session, &[data(SYN.with(FIN), stream, b"")]);
            match accepts.then(|| session.accept()).flatten() {
                Some(stream) => session.reset(stream, 1),
                None => result = result.and(recv(&mut session, &[data(NONE, stream, b"late")])),
            }
            assert!(session.owed.resets() <= 1024 + session.stream_count());
        }
        assert_eq!(result, Err(Violation::RapidReset));
    }
}

#[test]
fn an_empty_session_has_nothing_on_the_heap_and_is_small() {
    let session = dialer(Config::default());
    assert_eq!(session.memory_used(), 0);
    assert!(size_of::<crate::yamux::Session>() <= 560, "{}", size_of::<crate::yamux::Session>());
    assert!(size_of::<crate::yamux::stream::Stream>() <= 240, "{}", size_of::<crate::yamux::stream::Stream>());
    assert!(size_of::<Event>() <= 64);
}

#[test]
fn a_remote_that_opens_and_resets_in_a_loop_leaves_no_state_and_is_stopped() {
    let mut session = listener(quiet());
    let churn = |i: u32| {
        if i.is_multiple_of(2) { vec![update(SYN, 1, 0), update(RST, 1, 0)] } else { vec![update(SYN.with(RST), 1, 0)] }
    };
    let limit = Config::default().max_unaccepted_resets;
    for i in 0..limit {
        recv(&mut session, &churn(i)).unwrap();
    }
    assert!(session.is_idle());
    assert!(session.accept_queue.entries() <= 34);
    let later = NOW.saturating_add(FLOOD_INTERVAL);
    session.handle_recv(later, &[]).unwrap();
    for i in 0..limit {
        recv(&mut session, &churn(i)).unwrap();
    }
    assert_eq!(recv(&mut session, &churn(0)), Err(Violation::RapidReset));
}

#[test]
fn stale_ring_entries_are_bounded_however_streams_come_and_go() {
    let mut session = listener(quiet());
    for i in 0..2000 {
        let stream = 1 + 2 * (i % 3);
        recv(&mut session, &[data(SYN, stream, b"x")]).unwrap();
        assert_eq!(session.accept(), Some(id(stream)));
        session.read(id(stream), &mut [0; 9]).unwrap();
        assert!(session.read(id(stream), &mut [0; 9]).is_err());
        recv(&mut session, &[data(NONE, stream, b"y")]).unwrap();
        session.write(id(stream), b"z").unwrap();
        recv(&mut session, &[update(RST, stream, 0)]).unwrap();
        session.release(id(stream));
        for ring in [&session.accept_queue, &session.events, &session.control, session.ready.ring()] {
            assert!(ring.entries() <= 34 && ring.is_empty());
        }
    }
    assert_eq!((events(&mut session), session.wants_transmit()), (vec![Event::Incoming], false));
}

#[test]
fn empty_frames_are_bounded_between_progress() {
    let config = Config { max_empty_frames: 5, ..quiet() };
    let empties =
        [data(NONE, 1, b""), update(NONE, 1, 0), update(NONE, 1, 1), frame(Ping, ACK, 0, 0), update(NONE, 77, 0)];
    let mut session = accepted();
    session.config = config.into();
    for progress in [data(NONE, 1, b"x"), update(SYN, 3, 0)] {
        recv(&mut session, &empties).unwrap();
        recv(&mut session, &[progress]).unwrap();
    }
    recv(&mut session, &empties).unwrap();
    session.write(id(1), b"x").unwrap();
    sent(&mut session);
    recv(&mut session, &empties).unwrap();
    session.handle_recv(NOW.saturating_add(FLOOD_INTERVAL), &[]).unwrap();
    recv(&mut session, &empties).unwrap();
    assert_eq!(recv(&mut session, &empties[..1]), Err(Violation::EmptyFrameFlood));
}

#[test]
fn refused_streams_whose_resets_are_read_are_bounded_between_progress() {
    let mut session = accepted();
    session.config = Config { max_streams: 1, max_empty_frames: 5, max_pending_resets: 1, ..quiet() }.into();
    let mut stream = 1;
    let mut refuse = |session: &mut _, body: &[u8]| {
        stream += 2;
        recv(session, &[if body.is_empty() { update(SYN, stream, 0) } else { data(SYN, stream, body) }])?;
        assert_eq!(sent(session), [(WindowUpdate, RST, stream, 0x1002)]);
        Ok(())
    };
    for body in [b"".as_slice(), b"unread", b""] {
        for _ in 0..5 {
            refuse(&mut session, body).unwrap();
        }
        recv(&mut session, &[data(NONE, 1, b"x")]).unwrap();
    }
    for _ in 0..5 {
        refuse(&mut session, b"").unwrap();
    }
    assert_eq!(refuse(&mut session, b"unread"), Err(Violation::EmptyFrameFlood));
    assert_eq!(session.stats().streams_refused, 21);
}

#[test]
fn the_send_quota_blocks_and_half_of_it_unblocks() {
    let mut session = dialer(Config { send_quota: 300_000, max_frame_body: 10_000, ..quiet() });
    let stream = session.open().unwrap();
    assert_eq!(session.write(stream, &[0; 400_000]), Ok(300_000));
    assert_eq!(events(&mut session), []);
    assert_eq!(session.write(stream, b"x"), Err(WriteError::Blocked));
    assert_eq!(session.write(stream, b""), Ok(0));
    let mut out = vec![0; 15 * 10_012 - 1];
    assert!(session.poll_transmit(NOW, &mut out) > 0);
    assert_eq!(events(&mut session), [], "just over half is left");
    assert!(session.poll_transmit(NOW, &mut out[..13]) > 0);
    assert_eq!(events(&mut session), [Event::Writable(stream)]);
    sent(&mut session);
    assert_eq!(events(&mut session), [], "once");
}

#[test]
fn a_data_frame_is_not_cut_to_a_tiny_one_behind_others_but_always_moves_alone() {
    let mut session = accepted();
    session.write(id(1), &[0; 20_000]).unwrap();
    let mut out = vec![0; 16_396 + 12 + 1023];
    assert_eq!(session.poll_transmit(NOW, &mut out), 16_396);
    let (mut first, mut second) = (accepted(), vec![0; 13]);
    first.write(id(1), &[0; 20_000]).unwrap();
    assert_eq!(first.poll_transmit(NOW, &mut second), 13);
    assert_eq!(first.poll_transmit(NOW, &mut second[..12]), 0);
}

#[test]
fn writable_streams_take_turns() {
    let mut session = dialer(quiet());
    for _ in 0..3 {
        let stream = session.open().unwrap();
        session.write(stream, &[0; 40_000]).unwrap();
    }
    let mut out = vec![0; 300_000];
    let n = session.poll_transmit(NOW, &mut out);
    let order: Vec<_> = parse(&out[..n]).iter().map(|(header, _)| header.stream).collect();
    assert_eq!(order, [1, 3, 5, 1, 3, 5, 1, 3, 5]);
}

#[test]
fn small_writes_leave_as_one_frame() {
    let mut session = accepted();
    for _ in 0..100 {
        session.write(id(1), &[0; 100]).unwrap();
    }
    assert_eq!(sent(&mut session).len(), 1);
}

#[test]
fn what_one_stream_occupies_never_exceeds_its_window() {
    for step in [1usize, 255, 3000, 20_000] {
        let mut session = accepted();
        let mut pending = 0;
        for round in 0..2000 {
            let credit = session.streams[&id(1)].recv_window.credit() as usize;
            recv(&mut session, &[data(NONE, 1, &vec![0; step.min(credit)])]).unwrap();
            pending += step.min(credit);
            if round % 7 == 0 {
                let part = if round % 2 == 0 { step / 2 + 1 } else { 5 };
                pending -= session.read_chunk(id(1), part).unwrap_or_default().unwrap_or_default().len();
                sent(&mut session);
            }
            assert!(session.receive_memory_used() <= 256 * 1024, "{step} {round} {}", session.receive_memory_used());
        }
        assert_eq!(session.streams[&id(1)].recv.len(), pending);
    }
}

#[test]
fn a_window_filled_behind_a_small_first_block_occupies_no_more_than_the_window() {
    for first in [1, 300, 16_383] {
        let mut session = accepted();
        recv(&mut session, &[data(NONE, 1, &vec![0; first]), data(NONE, 1, &[0])]).unwrap();
        recv(&mut session, &[data(NONE, 1, &vec![0; 256 * 1024 - 1 - first])]).unwrap();
        assert_eq!(session.receive_memory_used(), 256 * 1024);
    }
}

#[test]
fn a_session_keeps_one_small_block_as_long_as_there_are_streams() {
    let mut session = dialer(quiet());
    let streams = [session.open().unwrap(), session.open().unwrap()];
    for stream in streams {
        session.write(stream, b"small").unwrap();
    }
    sent(&mut session);
    assert_eq!(session.memory_used(), 256);
    session.reset(streams[0], 0);
    assert_eq!(session.memory_used(), 256);
    session.reset(streams[1], 0);
    assert_eq!(session.memory_used(), 0);
}

#[test]
fn a_drained_session_gives_its_spare_blocks_back_at_the_next_tick() {
    let mut session = dialer(Config::default());
    let stream = session.open().unwrap();
    session.write(stream, &[0; 200_000]).unwrap();
    let frames = sent(&mut session);
    assert_eq!(frames[0].0, Ping);
    assert_eq!(session.memory_used(), 13 * 16_384);
    assert!(session.memory_used() <= Config::default().spare_blocks * 16_384);
    session.handle_recv(NOW, &frame(Ping, ACK, 0, frames[0].3)).unwrap();
    let tick = session.poll_timeout().unwrap();
    session.handle_timeout(tick).unwrap();
    assert_eq!(session.memory_used(), 0);
}

#[test]
fn the_default_limits_are_valid_and_all_errors_are_reported_at_once() {
    assert_eq!(Config::default().validate(), Ok(()));
    let only = |config: Config| config.validate().unwrap_err().iter().cloned().collect::<Vec<_>>();
    assert_eq!(only(Config { max_streams: 513, ..Config::default() }), [ConfigError::OverBudget]);
    let extra = 32 * 1024 * 1024 - 256 * 1024;
    let tight = Config { memory_budget: 64 * 1024 * 1024 + extra, ..Config::default() };
    assert_eq!(tight.validate(), Ok(()));
    assert_eq!(only(Config { memory_budget: tight.memory_budget - 1, ..tight }), [ConfigError::WindowOverBudget]);
    let untuned = Config { memory_budget: 64 * 1024 * 1024, max_window: 256 * 1024, ..Config::default() };
    assert_eq!(untuned.validate(), Ok(()));
    assert_eq!(only(Config { max_window: 256 * 1024 - 1, ..untuned }), [ConfigError::WindowTooSmall]);
    let pool = |window_loans, hard_cap| MemoryPool::new(MemoryLimits { window_loans, hard_cap });
    let least = Config { memory: pool(272 * 1024, 272 * 1024), ..Config::default() };
    assert_eq!(least.validate(), Ok(()));
    assert_eq!(only(Config { memory: pool(272 * 1024 + 1, 272 * 1024), ..least.clone() }), [ConfigError::LoansOverCap]);
    assert_eq!(only(Config { memory: pool(0, 272 * 1024 - 1), ..least }), [ConfigError::HardCapTooSmall]);
    let zero = Some(KeepAlive { interval: Duration::ZERO, timeout: Duration::from_secs(1) });
    let wrong = Config {
        max_streams: usize::MAX,
        send_quota: 0,
        max_frame_body: 2 << 20,
        max_window: 0,
        keep_alive: zero,
        ..quiet()
    };
    let errors = wrong.validate().unwrap_err();
    let expected = [
        ConfigError::Zero("send_quota"),
        ConfigError::Zero("keep_alive"),
        ConfigError::FrameBodyTooLong,
        ConfigError::WindowTooSmall,
        ConfigError::OverBudget,
    ];
    assert!(errors.iter().eq(&expected), "{errors}");
}
