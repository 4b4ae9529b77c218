//! Panics of worker threads go to the log, with a backtrace, instead of to standard error. Those of a runtime while it
//! finds out whether it can run are no panics to a user: see [`quietly`].

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

#[derive(Clone, Copy)]
enum Thread {
    Other,
    Worker,
    Quiet,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::Other) };
}

/// Once per process: the hook that was there keeps all other threads.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| match THREAD.get() {
            Thread::Other => others(panic),
            Thread::Worker => {
                let thread = std::thread::current();
                let name = thread.name().unwrap_or_default();
                tracing::error!(thread = name, backtrace = %Backtrace::force_capture(), "{panic}");
            }
            Thread::Quiet => {}
        }));
    });
}

/// Marks the running thread.
pub(crate) fn this_is_a_worker() {
    THREAD.set(Thread::Worker);
}

/// Runs `attempt`; none when it panicked, of which nothing is said.
pub fn quietly<T>(attempt: impl FnOnce() -> T) -> Option<T> {
    install();
    let before = THREAD.replace(Thread::Quiet);
    let outcome = catch_unwind(AssertUnwindSafe(attempt));
    THREAD.set(before);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_and_not_printed() {
        assert_eq!(quietly::<()>(|| panic!("not to be seen")), None);
        assert_eq!(quietly(|| 1), Some(1));
    }
}
