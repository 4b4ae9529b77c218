//! The blocks a worker reads into: all its connections share them, so an idle one holds none.
//!
//! What was read is split off a block without a copy and may outlive many reads, on its way to a slow peer. A block that
//! nobody holds a part of any more is used again rather than freed: the C library would give it back to the kernel and
//! pay a page fault for every page of the next, which doubles the cost of a 64 KB answer (`gateway-bench --only call-64KB`).

use bytes::BytesMut;

/// What is read at once at most, in bytes. A long answer costs by the write, since each wakes its reader: blocks of
/// 64 KiB cost a fourth more for one of 1 MB, those of 512 KiB no less (`gateway-bench --only call-1MB`).
pub const BLOCK: usize = 256 << 10;
/// The least room worth reading into, in bytes: an answer of 64 KiB with its head comes and goes in one piece.
const LEAST_ROOM: usize = 96 << 10;
/// Blocks that are kept besides the present one; beyond, a block is freed by whoever holds its last part.
const KEPT: usize = 3;

/// One block to read into, and some that may be used again.
#[derive(Debug, Default)]
pub struct Blocks {
    present: BytesMut,
    others: Vec<BytesMut>,
    /// Which of the others gives way next.
    turn: usize,
}

impl Blocks {
    /// A block with room for a good third of [`BLOCK`] at least. What is split off it stays valid.
    pub fn room(&mut self) -> &mut BytesMut {
        // From its start again when nobody holds a part of it, which is how it is mostly: what was read last is gone by
        // the next read, and its place is still in the processor's cache. Room that was initialised stays as it is.
        if self.present.is_empty() && self.present.try_reclaim(BLOCK) || self.present.capacity() >= LEAST_ROOM
        {
            return &mut self.present;
        }
        // Room that was only initialised is no part anybody holds.
        self.present.clear();
        if !self.present.try_reclaim(BLOCK) {
            let fresh = match self.others.iter_mut().position(|block| block.try_reclaim(BLOCK)) {
                Some(at) => self.others.swap_remove(at),
                None => BytesMut::with_capacity(BLOCK),
            };
            let full = std::mem::replace(&mut self.present, fresh);
            if self.others.len() < KEPT {
                self.others.push(full);
            } else if let Some(oldest) = self.others.get_mut(self.turn) {
                *oldest = full;
                self.turn = (self.turn + 1) % KEPT;
            }
        }
        &mut self.present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(blocks: &mut Blocks) -> BytesMut {
        let block = blocks.room();
        block.resize(BLOCK, 7);
        block.split()
    }

    #[test]
    fn a_block_is_used_again_when_nobody_holds_a_part_of_it() {
        let mut blocks = Blocks::default();
        let (first, second) = (fill(&mut blocks), fill(&mut blocks));
        let places = [first.as_ptr(), second.as_ptr()];
        drop(first);
        let third = fill(&mut blocks);
        assert_eq!(third.as_ptr(), places[0]);
        drop((second, third));
        for _ in 0..100 {
            assert!(places.contains(&fill(&mut blocks).as_ptr()));
        }
    }

    #[test]
    fn a_read_lands_where_the_last_one_did_once_that_is_gone() {
        let mut blocks = Blocks::default();
        let mut read = || {
            let block = blocks.room();
            block.extend_from_slice(&[7; 100]);
            block.split()
        };
        let (first, second) = (read(), read());
        let (place, next) = (first.as_ptr(), second.as_ptr());
        assert_ne!(place, next);
        drop(first);
        assert!(![place, next].contains(&read().as_ptr()), "a part of the block is held");
        drop(second);
        assert_eq!(read().as_ptr(), place);
    }

    #[test]
    fn an_answer_of_64_kib_is_read_at_once_wherever_a_block_begins() {
        let mut blocks = Blocks::default();
        let mut held = Vec::new();
        for size in (0..1000).map(|number| 1 + number * 37 % LEAST_ROOM) {
            assert!(blocks.room().capacity() >= (64 << 10) + (16 << 10));
            let block = blocks.room();
            block.resize(size, 7);
            held.push(block.split_to(size));
            held.truncate(size % 5);
        }
    }

    #[test]
    fn a_block_that_is_held_is_left_alone_and_few_are_kept() {
        let mut blocks = Blocks::default();
        let mut held: Vec<BytesMut> = (0..40).map(|_| fill(&mut blocks)).collect();
        assert!(blocks.others.len() <= KEPT);
        held.sort_by_key(|block| block.as_ptr());
        held.dedup_by_key(|block| block.as_ptr());
        assert_eq!(held.len(), 40);
        assert!(held.iter().all(|block| block.iter().all(|byte| *byte == 7)));
    }
}
