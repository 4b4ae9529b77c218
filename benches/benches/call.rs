//! What the whole core costs: bytes of a client in, bytes to a target out, and back, with every allocation counted; within
//! each era, and from one to the other.

#[path = "../core/wire.rs"]
mod wire;

use criterion::{Criterion, criterion_group, criterion_main};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use wire::{ROWS, Wire};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

criterion_group!(core, units);
criterion_main!(core);

/// Units whose allocations are counted.
const COUNTED: u32 = 1000;

fn units(c: &mut Criterion) {
    for row in ROWS {
        let mut wire = Wire::new(row);
        let region = Region::new(ALLOCATOR);
        for _ in 0..COUNTED {
            wire.unit();
        }
        let change = region.change();
        println!(
            "{}: {:.3} allocations and {:.3} reallocations, {} bytes",
            row.name,
            change.allocations as f64 / f64::from(COUNTED),
            change.reallocations as f64 / f64::from(COUNTED),
            change.bytes_allocated / COUNTED as usize,
        );
        c.bench_function(row.name, |b| b.iter(|| wire.unit()));
    }
}
