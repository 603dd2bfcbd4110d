use proptest::prelude::*;
use zstd_safe::ResetDirective;

use super::*;

const MAX: usize = 64 * 1024;
/// What the documentation says.
const DECOMPRESSOR_MEMORY: usize = 128 * 1024;

fn codec() -> Codec {
    Codec::new(CompressionLevel::default())
}

fn inflate(message: &[u8]) -> Result<Bytes, DecompressError> {
    codec().decompress(message, MAX)
}

/// A message that announces `len` bytes and holds `frame`.
fn message(len: usize, frame: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    varint::encode_to(len as u64, &mut message);
    message.extend_from_slice(frame);
    message
}

fn frame_of(raw: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(raw.len()));
    zstd_safe::compress(&mut frame, raw, 3).unwrap();
    frame
}

/// A frame without a length of its own: a window descriptor, one block of `len` times the same byte, and no checksum.
fn run_of_zeros(window: u8, len: usize) -> Vec<u8> {
    let mut frame = [&MAGIC[..], &[0x00, window]].concat();
    let (is_last, run) = (1, 1);
    let header = is_last | run << 1 | len << 3;
    frame.extend_from_slice(&(header as u32).to_le_bytes()[..3]);
    frame.push(0);
    frame
}

/// Bytes that look random.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn a_message_comes_out_as_it_went_in_and_shorter_if_it_can_be() {
    let raw = b"all work and no play ".repeat(1000);
    let message = codec().compress(&raw);
    assert!(message.len() < raw.len() / 10, "{}", message.len());
    assert_eq!(message.capacity(), message.len(), "what waits in a queue occupies what it counts for");
    assert_eq!(inflate(&message).unwrap(), raw);
}

#[test]
fn a_message_that_cannot_be_compressed_stays_below_the_bound_of_the_wire() {
    for len in [0, 1, 127, 128, 1000, MAX - 1, MAX] {
        let raw = noise(len);
        let message = codec().compress(&raw);
        assert!(message.len() <= max_compressed_len(len), "{len}: {}", message.len());
        assert_eq!(inflate(&message).unwrap(), raw);
    }
    // What the documentation says of it.
    for max in [0, 1, MAX, 1024 * 1024, 64 * 1024 * 1024] {
        assert!(max_compressed_len(max) <= max + max / 256 + 64 + varint::MAX_LEN, "{max}");
    }
}

#[test]
fn the_longest_message_passes_and_one_byte_more_is_refused_before_anything_is_allocated() {
    let codec = codec();
    let longest = codec.compress(&vec![7; MAX]);
    assert_eq!(codec.decompress(&longest, MAX).unwrap().len(), MAX);
    let longer = codec.compress(&vec![7; MAX + 1]);
    assert_eq!(codec.decompress(&longer, MAX), Err(DecompressError::TooLong { max: MAX }));
    // Whatever is behind the length: it was not looked at.
    for announced in [MAX as u64 + 1, u64::from(u32::MAX) + 1, varint::MAX_VALUE] {
        let mut message = Vec::new();
        varint::encode_to(announced, &mut message);
        assert_eq!(inflate(&message), Err(DecompressError::TooLong { max: MAX }));
    }
}

#[test]
fn a_bomb_stops_at_the_announced_length() {
    // 14 bytes that become 128 KiB, announced as 1000.
    let bomb = message(1000, &run_of_zeros(0x38, 128 * 1024));
    let codec = codec();
    assert!(matches!(codec.decompress(&bomb, MAX), Err(DecompressError::Corrupt { .. })));
    assert_is_small(&codec);
    // One that says so itself is not even begun.
    let honest = message(1000, &frame_of(&vec![0; 128 * 1024]));
    assert_eq!(codec.decompress(&honest, MAX), Err(DecompressError::WrongLength { announced: 1000 }));
}

#[test]
fn a_frame_that_holds_less_than_announced_is_refused() {
    let short = message(1000, &run_of_zeros(0x38, 999));
    assert_eq!(inflate(&short), Err(DecompressError::WrongLength { announced: 1000 }));
    assert_eq!(inflate(&message(1000, &run_of_zeros(0x38, 1000))).unwrap(), vec![0; 1000]);
}

#[test]
fn the_window_that_a_frame_asks_for_costs_nothing() {
    // The largest that the library knows, 2 GiB, and the largest that the format does, almost 4 TiB.
    let codec = codec();
    assert_eq!(codec.decompress(&message(1000, &run_of_zeros(0xa8, 1000)), MAX).unwrap(), vec![0; 1000]);
    assert_is_small(&codec);
    let error = codec.decompress(&message(1000, &run_of_zeros(0xff, 1000)), MAX).unwrap_err();
    assert!(matches!(error, DecompressError::Corrupt { .. }), "{error}");
    assert_is_small(&codec);
}

#[test]
fn the_length_must_be_a_varint_in_its_shortest_form() {
    for message in [&[][..], &[0x80], &[0x80, 0x00], &[0xff; 12]] {
        assert_eq!(inflate(message), Err(DecompressError::Length), "{message:?}");
    }
}

#[test]
fn only_one_frame_and_nothing_else_is_a_message() {
    let frame = frame_of(b"once");
    let twice = [&frame[..], &frame].concat();
    assert_eq!(inflate(&message(8, &twice)), Err(DecompressError::TrailingBytes));
    assert_eq!(inflate(&message(4, &[&frame[..], &[0]].concat())), Err(DecompressError::TrailingBytes));
    // A frame that may be skipped, alone and in front of another one.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18][..], &[3, 0, 0, 0], b"abc"].concat();
    assert_eq!(inflate(&message(0, &skippable)), Err(DecompressError::NotAFrame));
    assert_eq!(inflate(&message(4, &[&skippable[..], &frame].concat())), Err(DecompressError::NotAFrame));
    assert_eq!(inflate(&message(4, &[&frame[..], &skippable].concat())), Err(DecompressError::TrailingBytes));
    // A frame of version 0.7.
    assert_eq!(inflate(&message(4, &[0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0])), Err(DecompressError::NotAFrame));
    assert_eq!(inflate(&message(0, b"")), Err(DecompressError::Truncated));
    assert_eq!(inflate(&message(4, b"hello")), Err(DecompressError::NotAFrame));
}

#[test]
fn a_frame_that_needs_a_dictionary_is_refused() {
    // As above, with a dictionary id of one byte in the header.
    let mut frame = run_of_zeros(0x38, 10);
    frame[4] |= 0x01;
    frame.insert(6, 42);
    assert_eq!(inflate(&message(10, &frame)), Err(DecompressError::Dictionary));
}

#[test]
fn every_truncation_is_refused() {
    let whole = codec().compress(&noise(3000));
    for len in 0..whole.len() {
        let error = inflate(&whole[..len]).unwrap_err();
        let expected = if len < 2 { DecompressError::Length } else { DecompressError::Truncated };
        assert_eq!(error, expected, "{len}");
    }
}

#[test]
fn a_context_works_again_behind_a_message_that_was_refused() {
    let codec = codec();
    let good = codec.compress(b"still here");
    for _ in 0..3 {
        assert!(codec.decompress(&message(1000, &run_of_zeros(0x38, 2000)), MAX).is_err());
        assert_eq!(codec.decompress(&good, MAX).unwrap(), &b"still here"[..]);
    }
}

#[test]
fn levels_are_those_from_1_to_9_and_each_works() {
    let raw = b"some of it repeats, some of it repeats".repeat(100);
    for level in 0..=u8::MAX {
        match CompressionLevel::new(level) {
            Ok(level) => assert_eq!(inflate(&Codec::new(level).compress(&raw)).unwrap(), raw),
            Err(error) => assert!(error.to_string().contains(&level.to_string())),
        }
        assert_eq!(CompressionLevel::new(level).is_ok(), (1..=9).contains(&level));
    }
}

#[test]
fn the_memory_of_the_library_is_what_the_documentation_says() {
    let raw = noise(4 * 1024 * 1024);
    for (level, most) in [(CompressionLevel::default(), 2), (CompressionLevel::MAX, 12)] {
        let codec = Codec::new(level);
        let message = codec.compress(&raw);
        assert_eq!(codec.decompress(&message, raw.len()).unwrap(), raw);
        assert_is_small(&codec);
        let compressor = take(&codec.compressor).expect("one is kept").sizeof();
        assert!(compressor <= most * 1024 * 1024, "{compressor}");
    }
}

fn assert_is_small(codec: &Codec) {
    let mut context = take(&codec.decompressor).expect("one is kept");
    let memory = context.sizeof();
    assert!(memory <= DECOMPRESSOR_MEMORY, "{memory}");
    assert!(context.reset(ResetDirective::SessionOnly).is_ok());
    put(&codec.decompressor, context);
}

/// Bytes with many repetitions.
fn compressible() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 1..40), 1..200_usize).prop_map(|(word, times)| word.repeat(times))
}

fn raw() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..5000), compressible()]
}

proptest! {
    #[test]
    fn every_message_comes_out_as_it_went_in(raw in raw(), level in 1..=9_u8) {
        let codec = Codec::new(CompressionLevel::new(level).unwrap());
        let message = codec.compress(&raw);
        prop_assert!(message.len() <= max_compressed_len(raw.len()));
        prop_assert_eq!(codec.decompress(&message, MAX).unwrap(), raw);
    }

    /// Whatever a peer makes of it: no panic, no more memory, and nothing that is longer than announced.
    #[test]
    fn damage_costs_no_more_than_the_limit(
        raw in raw(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let codec = codec();
        let mut message = codec.compress(&raw);
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        for message in [&message[..], &message[..cut.index(message.len())]] {
            if let Ok(inflated) = codec.decompress(message, MAX) {
                prop_assert!(inflated.len() <= MAX);
                let (announced, _) = split_length(message, MAX).unwrap();
                prop_assert_eq!(inflated.len(), announced);
            }
            let kept = take(&codec.decompressor);
            prop_assert!(kept.is_none_or(|context| context.sizeof() <= DECOMPRESSOR_MEMORY));
        }
    }

    #[test]
    fn noise_is_never_worse_than_an_error(frame in prop::collection::vec(any::<u8>(), 0..300), announced in 0..=MAX) {
        let behind_magic = [&MAGIC[..], &frame].concat();
        for frame in [frame, behind_magic] {
            let codec = codec();
            if let Ok(inflated) = codec.decompress(&message(announced, &frame), MAX) {
                prop_assert_eq!(inflated.len(), announced);
            }
            let kept = take(&codec.decompressor);
            prop_assert!(kept.is_none_or(|context| context.sizeof() <= DECOMPRESSOR_MEMORY));
        }
    }
}
