//! Bytes that wait for a peer to take them.
//!
//! Small parts are copied into one growing tail, so that a head and its body leave in one write; large parts are kept
//! by reference in front of it. Nothing is removed before the kernel has taken it.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Up to this size a part is copied: cheaper than a slice of its own, and it does not pin the block it was read into.
const COPY: usize = 4 << 10;

/// The taken front of a tail is given up from this size on.
const TRIM: usize = 64 << 10;

/// An emptied tail keeps at most this much room while its connection is in use: growing it anew for every piece of a
/// long answer doubled what a 64 KB answer costs.
const KEEP: usize = 512 << 10;

/// Bytes on their way to one peer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parts: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// How much of the first part (or of the tail, when there is none) has been taken.
    taken: usize,
    waiting: usize,
}

impl Outbox {
    /// Where to append small things.
    pub(crate) fn write(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        append(&mut self.tail);
        self.waiting += self.tail.len() - before;
    }

    /// Appends `bytes`, by reference when they are many.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY {
            return self.write(|tail| tail.extend_from_slice(&bytes));
        }
        self.waiting += bytes.len();
        if !self.tail.is_empty() {
            let tail = Bytes::from(std::mem::take(&mut self.tail));
            // The tail was first in line: what was taken of it stays counted in `taken`.
            self.parts.push_back(tail);
        }
        self.parts.push_back(bytes);
    }

    /// Takes out the first part, or `most` bytes of it: for who sends by other means than a socket.
    pub(crate) fn take(&mut self, most: usize) -> Option<Bytes> {
        if self.parts.is_empty() {
            let mut tail = Bytes::from(std::mem::take(&mut self.tail));
            tail.advance(std::mem::take(&mut self.taken));
            self.parts.push_back(tail);
        }
        let first = self.parts.front_mut()?;
        first.advance(std::mem::take(&mut self.taken));
        let bytes = first.split_to(first.len().min(most));
        if first.is_empty() {
            self.parts.pop_front();
        }
        self.waiting -= bytes.len();
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// Gives up room that is not in use.
    pub(crate) fn rest(&mut self) {
        if self.waiting == 0 {
            self.tail = Vec::new();
        }
    }

    /// Bytes waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Fills `into` with what waits, in order; returns how many slices were filled.
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let parts = self.parts.iter().map(|part| part.as_ref()).chain([self.tail.as_slice()]);
        let mut taken = self.taken;
        let mut filled = 0;
        let mut room = into.iter_mut();
        for part in parts {
            let rest = part.get(std::mem::take(&mut taken)..).unwrap_or_default();
            if rest.is_empty() {
                continue;
            }
            let Some(slice) = room.next() else { break };
            *slice = IoSlice::new(rest);
            filled += 1;
        }
        filled
    }

    /// The peer took `count` bytes.
    pub(crate) fn sent(&mut self, count: usize) {
        let count = count.min(self.waiting);
        self.waiting -= count;
        self.taken += count;
        while let Some(first) = self.parts.front() {
            if self.taken < first.len() {
                return;
            }
            self.taken -= first.len();
            self.parts.pop_front();
        }
        if self.waiting == 0 {
            self.taken = 0;
            self.tail.clear();
            self.tail.shrink_to(KEEP);
        } else if self.parts.is_empty() && self.taken >= TRIM {
            // A slow reader may never let the tail run empty.
            self.tail.drain(..self.taken);
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]), IoSlice::new(&[])];
            let filled = outbox.slices(&mut slices);
            let bytes: Vec<u8> =
                slices[..filled].iter().flat_map(|slice| slice.to_vec()).take(step).collect();
            assert!(!bytes.is_empty());
            out.extend_from_slice(&bytes);
            outbox.sent(bytes.len());
        }
        out
    }

    #[test]
    fn an_outbox_at_rest_holds_no_room() {
        let mut outbox = Outbox::default();
        outbox.write(|tail| tail.extend_from_slice(&[7; 1000]));
        outbox.rest();
        assert_eq!(outbox.waiting(), 1000);
        outbox.sent(1000);
        outbox.rest();
        assert_eq!(outbox.tail.capacity(), 0);
    }

    #[test]
    fn a_tail_that_never_runs_empty_does_not_grow() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.write(|tail| tail.extend_from_slice(&[7; 1000]));
            outbox.sent(if outbox.waiting() > 4000 { 1000 } else { 0 });
        }
        assert_eq!(outbox.waiting(), 4000);
        assert!(outbox.tail.capacity() < 4 * TRIM, "{}", outbox.tail.capacity());
    }

    proptest! {
        #[test]
        fn everything_leaves_once_and_in_order(
            parts in prop::collection::vec((0usize..9000, any::<bool>()), 0..12),
            step in 1usize..5000,
            first in 0usize..100,
        ) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            outbox.write(|tail| tail.extend_from_slice(b"head"));
            expected.extend_from_slice(b"head");
            outbox.sent(first.min(4));
            for (number, (size, small)) in parts.iter().enumerate() {
                let size = if *small { size % 64 } else { *size };
                let bytes = vec![number as u8; size];
                expected.extend_from_slice(&bytes);
                outbox.push(bytes.into());
            }
            prop_assert_eq!(outbox.waiting(), expected.len() - first.min(4));
            // What is taken out and what is sent may alternate.
            let mut taken = outbox.take(step).unwrap_or_default().to_vec();
            taken.extend_from_slice(&outbox.take(step % 7).unwrap_or_default());
            prop_assert_eq!(outbox.waiting(), expected.len() - first.min(4) - taken.len());
            taken.extend(drain(&mut outbox, step));
            prop_assert_eq!(taken, &expected[first.min(4)..]);
            prop_assert_eq!(outbox.take(step), None);
            prop_assert_eq!(outbox.waiting(), 0);
        }
    }
}
