//! Choices read off the front of the fuzzer's bytes.

/// What is left of an input. Past its end everything is zero and empty, so that every input means something
/// and a longer one begins like its prefix.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// The next `len` bytes, or what there is of them.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        head
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    pub(super) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(super) fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A number below `end`, which is at most 256.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// A length of 0 to 2^19 in two bytes, small ones as likely as large ones.
    pub(super) fn size(&mut self) -> usize {
        let [exponent, mantissa] = self.array();
        (usize::from(mantissa) << (exponent % 12)) + usize::from(exponent / 12)
    }

    /// Cuts `data` into pieces of lengths that the input gives, at least 1 each; once the input is used up
    /// the rest is one piece.
    pub(super) fn cut<'d>(&mut self, mut data: &'d [u8], mut piece: impl FnMut(&'d [u8])) {
        while !data.is_empty() {
            let len = if self.is_empty() { data.len() } else { self.below(64) + 1 };
            let (head, rest) = data.split_at(len.min(data.len()));
            piece(head);
            data = rest;
        }
    }
}
