//! A program without `std` that links and runs septa-core.
//!
//! It has its own panic handler, so a dependency of septa-core that brings `std` in, at any depth, ends
//! the build with "found duplicate lang item `panic_impl`" (E0152). To see that this check can fail, add
//! a crate that uses `std` to `[dependencies]` here, or of core, and name it in this file:
//!
//! ```text
//! $ cargo add --manifest-path core/tests/no_std/Cargo.toml tempfile
//! $ echo 'use tempfile as _;' >> core/tests/no_std/src/main.rs
//! $ cargo build --manifest-path core/tests/no_std/Cargo.toml
//! error[E0152]: found duplicate lang item `panic_impl`
//! ```
//!
//! The C runtime only starts it: `main` is called by its start-up code, and a failed check leaves with
//! its `abort`. Nothing of the C library is used for memory, time or randomness.
#![no_std]
#![no_main]

extern crate alloc;

mod arena;

use core::{ffi::c_int, hint::black_box, panic::PanicInfo, time::Duration};

use alloc::{string::ToString, sync::Arc, vec};

use septa_core::{
    Connection, ExpectedPeer, Identity, Instant, Link, PeerId, ProtocolId, PublicKey, Seed,
    connection::{Config, TRANSMIT_BUFFER},
    crypto::RustCrypto,
    identity::Error,
    multistream::{Dialer, Listener, Progress},
    noise::Credentials,
};

#[link(name = "c")]
unsafe extern "C" {
    safe fn abort() -> !;
}

#[global_allocator]
static ARENA: arena::Arena = arena::Arena::new();

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    abort()
}

/// The shipped `alloc` was built to unwind and refers to these two; with `panic = "abort"` nobody calls them.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// See [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    abort()
}

/// Exit code 0: everything below gave what it should.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const u8) -> c_int {
    seeds_and_time();
    identities();
    key_types();
    negotiation();
    connections();
    0
}

/// `black_box` on the way in and out: the compiler may neither fold this at build time nor drop it.
fn seeds_and_time() {
    let mut seed = Seed::from_bytes(black_box([7; 32]));
    let first = seed.child("first").secret_stream().next_key();
    let second = seed.child("second").secret_stream().next_key();
    assert!(black_box(first) != black_box(second));

    let start = Instant::from_nanos(black_box(1));
    assert!(start.saturating_add(Duration::from_secs(1)) > start);

    let text = alloc::format!("{:?}", black_box(start));
    assert!(!black_box(text).is_empty());
}

fn identities() {
    let identity = Identity::generate(Seed::from_bytes(black_box([9; 32])));
    let signature = identity.sign(&RustCrypto, black_box(b"message"));
    assert!(identity.public_key().verify(b"message", &signature).is_ok());
    assert!(identity.public_key().verify(b"another", &signature).is_err());
    assert!(identity.peer_id().public_key().as_ref() == Some(identity.public_key()));
}

/// Keys of other types are understood with their features. Without, the error names what is missing.
fn key_types() {
    let types = [("RSA", "rsa", 0), ("secp256k1", "secp256k1", 2), ("ECDSA", "ecdsa", 3)];
    for (key_type, feature, number) in types {
        let missing = Error::FeatureDisabled { key_type, feature };
        let understood = PublicKey::from_protobuf(black_box(&[8, number, 0x12, 0])) != Err(missing);
        assert!(understood == cfg!(feature = "keys"));
        assert!(missing.to_string().contains(feature));
    }
    // The secp256k1 key of the libp2p peer-ids spec, which its peer id contains.
    let peer: PeerId = black_box("16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY").parse().unwrap();
    assert!(peer.public_key().is_some() == cfg!(feature = "keys"));
    assert!(peer.public_key().is_none_or(|key| key.verify(b"message", b"signature").is_err()));
}

fn negotiation() {
    let echo = ProtocolId::new(black_box("/echo/1.0.0")).unwrap();
    let mut dialer = Dialer::single(echo.clone());
    let mut listener = Listener::new([echo.clone()].into_iter().collect());
    let mut wire = [0; 256];
    while dialer.wants_transmit() || listener.wants_transmit() {
        let sent = dialer.poll_transmit(&mut wire);
        assert!(listener.handle_recv(&wire[..sent]).is_ok());
        let sent = listener.poll_transmit(&mut wire);
        if let Ok((_, Progress::Agreed(agreed))) = dialer.handle_recv(&wire[..sent]) {
            assert!(agreed == echo);
            return;
        }
    }
    panic!("the ends agreed on nothing");
}

/// Two connections shake hands in memory, and one byte goes there and back.
fn connections() {
    let echo = ProtocolId::from_static("/echo/1.0.0");
    let now = Instant::EPOCH;
    let credentials = |number: u8| {
        let identity = Identity::generate(Seed::from_bytes(black_box([number; 32])));
        Arc::new(Credentials::new(&identity, Arc::new(RustCrypto), Seed::from_bytes([number; 32])))
    };
    let (one, two) = (credentials(1), credentials(2));
    let expected = ExpectedPeer::Exactly(two.peer_id());
    let config = Arc::new(Config { protocols: [echo.clone()].into_iter().collect(), ..Config::default() });
    let seed = |number: u8| Seed::from_bytes(black_box([number; 32]));
    let mut dialer = Connection::new(Link::dialer(expected, seed(3)), config.clone(), one, now);
    let mut listener = Connection::new(Link::listener(seed(4)), config, two, now);
    settle(&mut dialer, &mut listener, now);
    assert!(dialer.is_open() && listener.is_open());

    let id = dialer.open(now, &[echo]).unwrap();
    assert!(dialer.stream(id).write(black_box(b"!")) == Ok(1));
    settle(&mut dialer, &mut listener, now);
    assert!(listener.accept() == Some(id));
    let mut byte = [0; 2];
    assert!(listener.stream(id).read(&mut byte) == Ok(1));
    assert!(listener.stream(id).write(&byte[..1]) == Ok(1));
    settle(&mut dialer, &mut listener, now);
    assert!(dialer.stream(id).read(&mut byte) == Ok(1));
    assert!(byte[0] == b'!');
}

/// Carries bytes between the two until neither has any.
fn settle(dialer: &mut Connection, listener: &mut Connection, now: Instant) {
    let mut wire = vec![0; TRANSMIT_BUFFER];
    while dialer.wants_transmit() || listener.wants_transmit() {
        let sent = dialer.poll_transmit(now, &mut wire).unwrap();
        assert!(listener.handle_recv(now, &mut wire[..sent]).is_ok());
        let sent = listener.poll_transmit(now, &mut wire).unwrap();
        assert!(dialer.handle_recv(now, &mut wire[..sent]).is_ok());
        while dialer.poll_event().is_some() || listener.poll_event().is_some() {}
    }
}
