//! Bytes that wait for a peer to take them.
//!
//! ```text
//! tail   head, chunk size │ end of chunk, chunk size │ end of chunk
//! long                 piece                      piece
//! ```
//!
//! Small parts are copied into one growing tail, so that a head and its body leave in one write; long parts are kept by
//! reference, each with the place in the tail where it belongs. Nothing is removed before the kernel has taken it.

use crate::jsonrpc::rewrite::Output;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Up to this size a part is copied: it costs less than a microsecond, and a slow reader does not pin the block it was
/// read into, which may be many times as large.
const COPY: usize = 16 << 10;

/// Up to this size a part is copied in any case: a slice of its own costs as much.
const SMALL: usize = 1 << 10;

/// The taken front of a tail is given up from this size on.
const TRIM: usize = 64 << 10;

/// An emptied tail keeps at most this much room while its connection is in use: growing it anew for every piece of a
/// long answer doubled what a 64 KB answer costs.
const KEEP: usize = 512 << 10;

/// Room of outboxes at rest is kept for the next, if it is no more than this.
const SPARE: usize = 16 << 10;

/// Bytes on their way to one peer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    tail: Vec<u8>,
    /// How much of the tail has been taken.
    taken: usize,
    /// Parts that are no part of the tail, and how much of it stands before each.
    long: VecDeque<(usize, Bytes)>,
    /// How long these are together.
    long_bytes: usize,
}

impl Outbox {
    /// Where to append small things.
    pub(crate) fn write(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(&mut self.tail);
    }

    /// Appends `bytes`, by reference when they are many.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.push_over(COPY, bytes);
    }

    /// The same for what has memory of its own: a reference to it pins nothing else.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        self.push_over(SMALL, bytes);
    }

    fn push_over(&mut self, most: usize, bytes: Bytes) {
        if bytes.len() <= most {
            return self.write(|tail| tail.extend_from_slice(&bytes));
        }
        self.long_bytes += bytes.len();
        self.long.push_back((self.tail.len(), bytes));
    }

    /// Moves all that waits in `other`, of which nothing was taken, behind what waits here.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let before = self.tail.len();
        self.tail.extend_from_slice(&other.tail);
        self.long.extend(other.long.drain(..).map(|(at, bytes)| (before + at, bytes)));
        self.long_bytes += std::mem::take(&mut other.long_bytes);
        other.emptied();
    }

    /// Takes out the first part, or `most` bytes of it: for who sends by other means than a socket.
    pub(crate) fn take(&mut self, most: usize) -> Option<Bytes> {
        let (text, before_long) = (self.tail.get(self.taken..).unwrap_or_default(), self.long.front());
        let bytes = match before_long {
            Some((at, _)) if *at > self.taken => {
                let count = most.min(at - self.taken);
                self.taken += count;
                Bytes::copy_from_slice(text.get(..count).unwrap_or_default())
            }
            Some(_) => self.take_long(most)?,
            // The tail becomes a part like any other.
            None => {
                let mut tail = Bytes::from(std::mem::take(&mut self.tail));
                tail.advance(std::mem::take(&mut self.taken));
                self.long_bytes = tail.len();
                self.long.push_back((0, tail));
                self.take_long(most)?
            }
        };
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// The first long part, or `most` bytes of it.
    fn take_long(&mut self, most: usize) -> Option<Bytes> {
        let (_, first) = self.long.front_mut()?;
        let bytes = first.split_to(first.len().min(most));
        if first.is_empty() {
            self.long.pop_front();
        }
        self.long_bytes -= bytes.len();
        Some(bytes)
    }

    /// Gives up room that is not in use.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// The same; what is not much is for the next that has none: see [`Self::take_room`].
    pub(crate) fn rest_in(&mut self, spare: &mut Vec<u8>) {
        let room = self.tail.capacity();
        if self.is_empty() && room > spare.capacity() && room <= SPARE {
            *spare = std::mem::take(&mut self.tail);
            spare.clear();
        }
        self.rest();
    }

    /// Takes room from `spare`, if it has none of its own.
    pub(crate) fn take_room(&mut self, spare: &mut Vec<u8>) {
        if self.tail.capacity() == 0 {
            self.tail = std::mem::take(spare);
        }
    }

    /// Bytes waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.tail.len() - self.taken + self.long_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Fills `into` with what waits, in order; returns how many slices were filled.
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut from = self.taken;
        let long = self.long.iter().map(|(at, bytes)| (*at, bytes.as_ref()));
        let parts = long.chain([(self.tail.len(), [].as_slice())]).flat_map(|(at, bytes)| {
            let text = self.tail.get(std::mem::replace(&mut from, at)..at).unwrap_or_default();
            [text, bytes]
        });
        let mut filled = 0;
        for (slice, part) in into.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    /// The peer took `count` bytes.
    pub(crate) fn sent(&mut self, count: usize) {
        let mut count = count.min(self.waiting());
        while let Some((at, bytes)) = self.long.front_mut() {
            let text = count.min(*at - self.taken);
            self.taken += text;
            count -= text;
            let here = count.min(bytes.len());
            self.long_bytes -= here;
            if here < bytes.len() {
                bytes.advance(here);
                return self.trim();
            }
            count -= here;
            self.long.pop_front();
        }
        self.taken += count;
        self.trim();
    }

    /// Gives up what was taken.
    fn trim(&mut self) {
        if self.is_empty() {
            self.emptied();
        } else if self.taken >= TRIM {
            // A slow reader may never let the tail run empty.
            self.tail.drain(..self.taken);
            self.long.iter_mut().for_each(|(at, _)| *at -= self.taken);
            self.taken = 0;
        }
    }

    /// Nothing waits any more; some room is kept for what comes next.
    fn emptied(&mut self) {
        self.taken = 0;
        self.tail.clear();
        self.tail.shrink_to(KEEP);
    }
}

/// A piece of a message on its way through a rewriter: what stays as it is and is long goes by reference.
pub(crate) struct Rewritten<'a> {
    pub(crate) piece: &'a Bytes,
    pub(crate) out: &'a mut Outbox,
}

impl Output for Rewritten<'_> {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.out.tail
    }

    fn pass(&mut self, same: &[u8]) {
        match same.len() {
            ..=COPY => self.out.tail.extend_from_slice(same),
            _ => self.out.push(self.piece.slice_ref(same)),
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
    fn room_goes_from_one_outbox_at_rest_to_the_next() {
        let (mut one, mut other, mut spare) = (Outbox::default(), Outbox::default(), Vec::new());
        one.write(|tail| tail.extend_from_slice(&[7; 1000]));
        one.rest_in(&mut spare);
        assert_eq!((one.waiting(), spare.capacity()), (1000, 0));
        one.sent(1000);
        one.rest_in(&mut spare);
        assert_eq!((one.tail.capacity(), spare.len()), (0, 0));
        assert!(spare.capacity() >= 1000);
        other.take_room(&mut spare);
        assert_eq!((other.waiting(), spare.capacity()), (0, 0));
        assert!(other.tail.capacity() >= 1000);
        // Much of it is nobody's.
        other.write(|tail| tail.resize(2 * SPARE, 7));
        other.sent(usize::MAX);
        other.rest_in(&mut spare);
        assert_eq!((other.tail.capacity(), spare.capacity()), (0, 0));
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

    #[test]
    fn long_text_passes_a_rewriter_by_reference() {
        use crate::jsonrpc::rewrite::{Plan, Rewriter};
        let text = "a long text ".repeat(10_000);
        let json = format!(r#"{{"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#);
        let piece = Bytes::from(json.clone());
        let mut outbox = Outbox::default();
        let mut rewriter = Rewriter::new(Plan::default(), 64);
        rewriter.push(&piece, &mut Rewritten { piece: &piece, out: &mut outbox }).unwrap();
        assert!(rewriter.is_complete());
        assert_eq!(outbox.waiting(), json.len());
        let mut slices = [IoSlice::new(&[]); 4];
        let count = outbox.slices(&mut slices);
        let places = piece.as_ptr_range();
        let referenced = |slice: &IoSlice<'_>| slice.len() >= text.len() && places.contains(&slice.as_ptr());
        assert!(slices[..count].iter().any(referenced), "{slices:?}");
        assert_eq!(drain(&mut outbox, usize::MAX), json.as_bytes());
    }

    proptest! {
        #[test]
        fn everything_leaves_once_and_in_order(
            parts in prop::collection::vec((0usize..40_000, any::<bool>()), 0..12),
            step in 1usize..20_000,
            first in 0usize..8,
            moved in any::<bool>(),
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
                if number % 2 == 0 { outbox.push(bytes.into()) } else { outbox.share(bytes.into()) }
            }
            prop_assert_eq!(outbox.waiting(), expected.len() - first.min(4));
            if moved && first == 0 {
                let mut other = std::mem::take(&mut outbox);
                outbox.write(|tail| tail.extend_from_slice(b"before"));
                expected.splice(..0, *b"before");
                outbox.append(&mut other);
                prop_assert!(other.is_empty());
                prop_assert_eq!(outbox.waiting(), expected.len());
            }
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
