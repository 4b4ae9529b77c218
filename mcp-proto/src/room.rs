//! Room for the messages that are made for targets.

use bytes::{Bytes, BytesMut};

/// A block is as large as this; what is longer than a quarter of it has memory of its own.
const BLOCK: usize = 4 << 10;

/// A block of memory of which each short message takes its piece. It is used anew when all of them are gone.
#[derive(Debug, Default)]
pub(crate) struct Room(BytesMut);

impl Room {
    /// What `write` makes, of `longest` bytes at most.
    pub(crate) fn make(&mut self, longest: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut own = BytesMut::new();
        let (out, block) = if longest <= BLOCK / 4 { (&mut self.0, BLOCK) } else { (&mut own, longest) };
        if out.capacity() < longest {
            out.reserve(block);
        }
        write(out);
        out.split().freeze()
    }
}
