//! Allocations of the core in steady state, at most: pools and buffers are warm, and the connections stay.
//!
//! A count that falls is written down here, so that it can't rise again. It takes some seconds: calls by the thousand
//! without optimization, and sessions by the hundred before the first of them.

#[path = "../core/curve.rs"]
mod curve;
#[path = "../core/wire.rs"]
mod wire;

use curve::CURVES;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use wire::{ROWS, Row, Wire};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Most allocations and reallocations of a unit. The ends of this test are included: theirs are the fractions, each of them a new
/// block to read into now and then, and a good part of `session`.
const LIMITS: [(&str, f64); ROWS.len()] = [
    ("call-200B", 0.0),
    ("call-4KB", 0.2),
    ("call-64KB", 4.0),
    ("call-one-target", 0.0),
    ("call-modern", 1.1),
    ("call-legacy-to-modern", 4.2),
    ("call-modern-to-legacy", 3.3),
    ("call-64KB-legacy-to-modern", 8.2),
    ("call-64KB-modern-to-legacy", 7.3),
    ("call-1MB-legacy-to-modern", 8.2),
    ("list", 9.5),
    ("list-modern", 19.6),
    ("list-cached", 19.0),
    ("session", 50.2),
    ("notify", 0.0),
];

/// Units that are counted.
const COUNTED: usize = 200;
/// What tables and blocks may allocate now and then, in all these units together.
const SELDOM: usize = 20;
/// The largest size that is quick enough to set up without optimization.
const LARGEST: usize = 1_000;

/// One test, for the counts are the process's.
#[test]
fn allocations_stay_within_their_limits() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let counted = allocations(row);
        let (_, limit) =
            LIMITS.into_iter().find(|(name, _)| *name == row.name).expect("a limit for each row");
        let each = counted as f64 / COUNTED as f64;
        println!("{}: {each:.2} of {limit}", row.name);
        if each > limit + SELDOM as f64 / COUNTED as f64 {
            wrong.push(format!("{}: {each:.2}, not {limit}", row.name));
        }
    }
    for curve in CURVES {
        let sizes = curve.sizes.iter().copied().filter(|size| *size <= LARGEST);
        let counts: Vec<usize> = sizes.map(|size| allocations(curve.at(size))).collect();
        println!("{}: {counts:?} in {COUNTED} units", curve.name);
        if counts.iter().any(|count| *count > counts[0] + SELDOM) {
            wrong.push(format!("{}: allocations grow, {counts:?} in {COUNTED} units", curve.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Of so many units.
fn allocations(row: Row) -> usize {
    let mut wire = Wire::new(row);
    let region = Region::new(ALLOCATOR);
    (0..COUNTED).for_each(|_| wire.unit());
    let change = region.change();
    change.allocations + change.reallocations
}
