//! What one end of a connection says within Noise: the negotiation of the muxer, if there is one, then Yamux.

use septa_core::yamux;

use super::wire::{self, Stop};

/// Bytes of a frame's body that are shown.
const SHOWN: usize = 128;
const YAMUX: &[u8] = b"/yamux/1.0.0";
/// The type of frames that have a body.
const DATA: u8 = 0;

/// Plaintext, taken apart.
///
/// | state | left for | when |
/// |---|---|---|
/// | `Undecided` | `Negotiating`, `Frames` | the first byte shows which |
/// | `Negotiating` | `Frames` | the line that names Yamux was sent |
/// | any | `Opaque` | there was something else, or a part is missing |
#[derive(Default)]
pub(super) struct Plain {
    state: State,
    /// What is not complete: less than a header, what is shown of a body, or a line.
    buffer: Vec<u8>,
    /// Bytes of a body that are still to come and are not shown.
    skipped: usize,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Undecided,
    Negotiating,
    Frames,
    Opaque,
}

impl Plain {
    /// A part is missing: what follows cannot be understood.
    pub(super) fn give_up(&mut self) {
        self.state = State::Opaque;
        self.buffer = Vec::new();
    }

    pub(super) fn take(&mut self, bytes: &[u8], say: &mut dyn FnMut(&str)) {
        if self.state == State::Opaque {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut rest = buffer.as_slice();
        loop {
            let skipped = self.skipped.min(rest.len());
            self.skipped -= skipped;
            rest = rest.split_at(skipped).1;
            match self.step(rest, say) {
                Ok(left) => rest = left,
                Err(Stop::Incomplete) => break,
                Err(Stop::Foreign) => {
                    say("something else than Yamux");
                    return self.give_up();
                }
            }
        }
        if !rest.is_empty() {
            self.buffer = rest.to_vec();
        }
    }

    /// Takes one thing off the front.
    fn step<'b>(&mut self, bytes: &'b [u8], say: &mut dyn FnMut(&str)) -> Result<&'b [u8], Stop> {
        match self.state {
            State::Undecided => {
                // Yamux begins with its version, a line with its length.
                self.state = match bytes.first().ok_or(Stop::Incomplete)? {
                    0 => State::Frames,
                    _ => State::Negotiating,
                };
                Ok(bytes)
            }
            State::Negotiating => {
                let (line, rest) = wire::line(bytes)?;
                say(&format!("multistream {}", line.escape_ascii()));
                if line == YAMUX {
                    self.state = State::Frames;
                }
                Ok(rest)
            }
            State::Frames => self.frame(bytes, say),
            State::Opaque => Err(Stop::Foreign),
        }
    }

    fn frame<'b>(&mut self, bytes: &'b [u8], say: &mut dyn FnMut(&str)) -> Result<&'b [u8], Stop> {
        let (header, rest) = bytes.split_first_chunk::<{ yamux::HEADER_LEN }>().ok_or(Stop::Incomplete)?;
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = *header;
        if version != 0 {
            return Err(Stop::Foreign);
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let body_len = if kind == DATA { usize::try_from(length).unwrap_or(usize::MAX) } else { 0 };
        let (shown, rest) = rest.split_at_checked(body_len.min(SHOWN)).ok_or(Stop::Incomplete)?;
        self.skipped = body_len - shown.len();
        let (flags, stream) = (u16::from_be_bytes([f0, f1]), u32::from_be_bytes([s0, s1, s2, s3]));
        let mut text = format!("yamux {}{} stream {stream} length {length}", name(kind), names(flags));
        if !shown.is_empty() {
            text.push_str(&format!(" \"{}\"", shown.escape_ascii()));
        }
        if self.skipped > 0 {
            text.push_str(&format!(" and {} bytes more", self.skipped));
        }
        say(&text);
        Ok(rest)
    }
}

fn name(kind: u8) -> String {
    match kind {
        DATA => "data".to_owned(),
        1 => "window update".to_owned(),
        2 => "ping".to_owned(),
        3 => "go away".to_owned(),
        other => format!("type {other}"),
    }
}

fn names(flags: u16) -> String {
    let known = ["SYN", "ACK", "FIN", "RST"];
    let mut text = String::new();
    for (bit, name) in known.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1) {
        text.push(if bit == flags.trailing_zeros() as usize { ' ' } else { '+' });
        text.push_str(name);
    }
    let unknown = flags >> known.len();
    if unknown > 0 { format!("{text} flags {flags:#06x}") } else { text }
}
