//! Panics of worker threads go to the log, with a backtrace, instead of to standard error.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Once per process: the hook that was there keeps all other threads.
pub(crate) fn log_those_of_workers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if WORKER.get() {
                let thread = std::thread::current();
                let name = thread.name().unwrap_or_default();
                tracing::error!(thread = name, backtrace = %Backtrace::force_capture(), "{panic}");
            } else {
                others(panic);
            }
        }));
    });
}

/// Marks the running thread.
pub(crate) fn this_is_a_worker() {
    WORKER.set(true);
}
