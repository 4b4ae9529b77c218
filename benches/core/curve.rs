//! What calls could come to cost more with, and must not.

use crate::wire::{ROWS, Row};

/// A row, of which one thing grows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    row: &'static str,
    grow: fn(Row, usize) -> Row,
    /// From the smallest to the largest.
    pub(crate) sizes: &'static [usize],
}

const SESSIONS: &[usize] = &[1, 10, 100, 1_000, 10_000, 100_000];
const TARGETS: &[usize] = &[2, 3, 10, 30, 100];
const TOOLS: &[usize] = &[10, 100, 1_000, 10_000];

/// All of them.
pub(crate) const CURVES: [Curve; 5] = [
    curve("sessions", "call-one-target", |row, sessions| Row { sessions, ..row }, SESSIONS),
    curve("targets", "call-200B", grow_targets, TARGETS),
    curve("targets, modern", "call-modern", grow_targets, TARGETS),
    curve("tools", "call-200B", grow_tools, TOOLS),
    curve("tools, modern", "call-modern", grow_tools, TOOLS),
];

const fn curve(
    name: &'static str,
    row: &'static str,
    grow: fn(Row, usize) -> Row,
    sizes: &'static [usize],
) -> Curve {
    Curve { name, row, grow, sizes }
}

/// Between two and many: a single target's tools have no prefix, which is a way of its own.
fn grow_targets(row: Row, targets: usize) -> Row {
    Row { targets, ..row }
}

fn grow_tools(row: Row, tools: usize) -> Row {
    Row { tools, ..row }
}

impl Curve {
    /// The row at one of the sizes.
    pub(crate) fn at(self, size: usize) -> Row {
        let row = ROWS.into_iter().find(|row| row.name == self.row).expect("a row's name");
        (self.grow)(row, size)
    }
}
