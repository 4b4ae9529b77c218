//! The objects and arrays around the place that is being read.

use super::marks::Role;
use super::paths::{NOTHING, Node};

/// So many take no memory of their own: a message, its result, its content, one of that, and a resource in it are five.
const NEAR: usize = 8;

/// An object or array on the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) array: bool,
    pub(super) node: &'static Node,
    pub(super) role: Role,
    /// A member was written.
    pub(super) kept: bool,
}

/// All of them, the innermost last.
#[derive(Debug)]
pub(super) struct Frames {
    near: [Frame; NEAR],
    far: Vec<Frame>,
    count: usize,
}

impl Default for Frames {
    fn default() -> Self {
        let none = Frame { array: false, node: &NOTHING, role: Role::None, kept: false };
        Self { near: [none; NEAR], far: Vec::new(), count: 0 }
    }
}

impl Frames {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn push(&mut self, frame: Frame) {
        match self.near.get_mut(self.count) {
            Some(slot) => *slot = frame,
            None => self.far.push(frame),
        }
        self.count += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let last = self.last().copied()?;
        self.count -= 1;
        self.far.truncate(self.count.saturating_sub(NEAR));
        Some(last)
    }

    pub(super) fn last(&self) -> Option<&Frame> {
        let index = self.count.checked_sub(1)?;
        self.near.get(index).or_else(|| self.far.last())
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Frame> {
        let index = self.count.checked_sub(1)?;
        self.near.get_mut(index).or_else(|| self.far.last_mut())
    }
}
