//! Each limit, at its bound and one past it.

use std::vec::Vec;

use super::support::*;
use crate::yamux::{Config, Violation};

#[test]
fn a_remote_that_opens_and_resets_in_a_loop_leaves_no_state_and_is_stopped() {
    let mut session = listener(quiet());
    let limit = Config::default().max_unaccepted_resets;
    for i in 0..limit {
        let stream = 1 + 2 * i;
        recv(&mut session, &[update(SYN, stream, 0), update(RST, stream, 0)]).unwrap();
    }
    assert!(session.is_idle());
    assert!(session.accept_queue.entries() <= 34, "{}", session.accept_queue.entries());
    let next: Vec<_> = [update(SYN, 5001, 0), update(RST, 5001, 0)].into();
    assert_eq!(recv(&mut session, &next), Err(Violation::RapidReset));
}
