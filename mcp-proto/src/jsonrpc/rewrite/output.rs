//! Where rewritten messages go.

/// Takes what becomes of a piece, in order.
pub trait Output {
    /// Where to append what is new or short.
    fn text(&mut self) -> &mut Vec<u8>;

    /// Takes the next bytes, which are `same` as some of the piece at hand: a slice of it.
    fn pass(&mut self, same: &[u8]);
}

/// One text, put together.
impl Output for Vec<u8> {
    fn text(&mut self) -> &mut Vec<u8> {
        self
    }

    fn pass(&mut self, same: &[u8]) {
        self.extend_from_slice(same);
    }
}

/// Goes through a piece: what stays as it is goes to the output in runs as long as can be.
pub(super) struct Pen<'a, O> {
    piece: &'a [u8],
    /// Up to here it has gone to the output, or has been left out.
    written: usize,
    at: usize,
    out: &'a mut O,
    /// What stays as it is goes by value, so that it can be taken back.
    pub(super) by_value: bool,
}

impl<'a, O: Output> Pen<'a, O> {
    pub(super) fn new(piece: &'a [u8], out: &'a mut O) -> Self {
        Self { piece, written: 0, at: 0, out, by_value: false }
    }

    /// The byte here; `None` at the end of the piece.
    pub(super) fn peek(&self) -> Option<u8> {
        self.piece.get(self.at).copied()
    }

    /// What is still to be looked at.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.piece.get(self.at..).unwrap_or_default()
    }

    /// The next `count` bytes stay as they are.
    pub(super) fn pass(&mut self, count: usize) {
        self.at += count;
    }

    /// The next `count` bytes are left out.
    pub(super) fn skip(&mut self, count: usize) {
        self.flush();
        self.at += count;
        self.written = self.at;
    }

    /// Where to append something new.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        self.flush();
        self.out.text()
    }

    /// What stays as it is goes to the output.
    pub(super) fn flush(&mut self) {
        let same = self.piece.get(self.written..self.at).unwrap_or_default();
        self.written = self.at;
        match self.by_value {
            _ if same.is_empty() => {}
            true => self.out.text().extend_from_slice(same),
            false => self.out.pass(same),
        }
    }
}
