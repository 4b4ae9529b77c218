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
