//! What the core holds for sessions that wait, in bytes asked of the allocator.

#[path = "../core/wire.rs"]
#[expect(dead_code, reason = "one row of many")]
mod wire;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use wire::{ROWS, Unit, Wire};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// As many as fill the table of requests, which doubles.
const SESSIONS: usize = 340;

/// Bytes for a session, its stream, and a stream at each of three targets.
const LIMIT: usize = 6_100;

#[test]
fn an_idle_session_with_its_streams_is_small() {
    let row = ROWS.into_iter().find(|row| row.unit == Unit::Notify).expect("the row");
    let mut wire = Wire::new(row);
    let region = Region::new(ALLOCATOR);
    for _ in 0..SESSIONS {
        wire.listen();
    }
    let change = region.change();
    let each = (change.bytes_allocated - change.bytes_deallocated) / SESSIONS;
    assert!(each <= LIMIT, "{each} bytes");
}
