//! What rude peers leave behind in the real command: nothing. Sessions by the hundred, of clients of every era before
//! targets of every era, end in every way that nobody is told of; then children, sessions, descriptors, calls and memory
//! are what they were before.
//!
//! [`gateway`] runs the command and asks the kernel and `/metrics` what it holds; [`target`] is a scripted target, over
//! HTTP or as a child process, and [`client`] a client with all that its era lets it have open, both on bare sockets and,
//! where they are to be killed, in [`process`]es of their own; [`rude`] lets them come and go.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod client;
mod gateway;
mod lines;
mod process;
mod rude;
mod target;
mod wire;

use gateway::Runtime;
use target::Kind;

/// Runs each of these functions as a test of its own on either runtime.
macro_rules! on_both_runtimes {
    ($($test:ident),* $(,)?) => {
        mod tokio {
            $(#[test] fn $test() { super::$test($crate::gateway::Runtime::Tokio); })*
        }
        mod glommio {
            $(#[test] fn $test() { super::$test($crate::gateway::Runtime::Glommio); })*
        }
    };
}

on_both_runtimes![
    before_a_target_with_sessions,
    before_a_modern_target,
    before_a_target_with_event_streams,
    before_child_processes,
    as_a_program,
];

fn before_a_target_with_sessions(runtime: Runtime) {
    rude::all_come_and_go(runtime, Kind::Legacy);
}

fn before_a_modern_target(runtime: Runtime) {
    rude::all_come_and_go(runtime, Kind::Modern);
}

fn before_a_target_with_event_streams(runtime: Runtime) {
    rude::all_come_and_go(runtime, Kind::Sse);
}

fn before_child_processes(runtime: Runtime) {
    rude::all_come_and_go(runtime, Kind::Process);
}

fn as_a_program(runtime: Runtime) {
    lines::come_and_go(runtime);
}
