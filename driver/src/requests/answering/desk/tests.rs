use septa_core::{Identity, channel::rpc::Server};

use super::{super::machine::Machine, *};
use crate::requests::Config;

fn stream(desk: &Desk, peer: u8) -> Arc<AskedOn> {
    let peer = Identity::from_ed25519_seed([peer; 32]).peer_id();
    let machine = Machine::Many(Server::new(&Config::default()));
    Arc::new(AskedOn::new(peer, desk.next_number(), machine, desk.room(None, 1)))
}

/// Takes a stream in that nobody opened.
fn admit(desk: &Desk, stream: &Arc<AskedOn>) {
    desk.lock().peers.entry(stream.peer).or_default().active += 1;
    assert!(desk.admit(None, stream));
}

fn next(desk: &Desk) -> Option<Arc<AskedOn>> {
    match desk.poll_next(&mut None, &Context::from_waker(Waker::noop())) {
        Poll::Ready(next) => next,
        Poll::Pending => None,
    }
}

/// A thread may have found something on a stream just before another one ended it, and tell the desk after.
#[test]
fn a_stream_that_has_left_gets_no_turn_and_takes_nobody_elses() {
    let desk = Desk::new(1, 1, 1);
    let [gone, second, other] = [1, 1, 2].map(|peer| stream(&desk, peer));
    [&gone, &second, &other].into_iter().for_each(|stream| admit(&desk, stream));
    desk.announce(&other, &mut Woken::default());
    let out = next(&desk).unwrap();
    desk.leave(&gone);
    desk.announce(&gone, &mut Woken::default());
    desk.stall(&gone);
    desk.leave(&second);
    assert_eq!(desk.lock().peers.len(), 1, "the other one's");
    assert!(desk.lock().stalled.is_empty());
    desk.announce(&other, &mut Woken::default());
    desk.release(out.peer);
    assert!(Arc::ptr_eq(&next(&desk).unwrap(), &other));
}

#[test]
fn of_a_peer_without_streams_what_is_out_is_remembered_until_it_is_not() {
    let desk = Desk::new(10, 2, 1);
    for _ in 0..2 {
        let stream = stream(&desk, 1);
        admit(&desk, &stream);
        desk.announce(&stream, &mut Woken::default());
        assert!(next(&desk).is_some());
        desk.leave(&stream);
    }
    let stream = stream(&desk, 1);
    admit(&desk, &stream);
    desk.announce(&stream, &mut Woken::default());
    assert!(next(&desk).is_none(), "two are out");
    desk.leave(&stream);
    desk.release(stream.peer);
    desk.release(stream.peer);
    let state = desk.lock();
    assert!(state.peers.is_empty() && state.turns.is_empty());
    assert_eq!(state.out, 0);
}
