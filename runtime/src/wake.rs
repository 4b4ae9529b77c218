//! How one task of a thread wakes another.

use std::cell::Cell;
use std::task::{Context, Waker};

/// The waker of the one task that waits here.
#[derive(Default)]
pub(crate) struct Waiting(Cell<Option<Waker>>);

impl Waiting {
    /// The running task is the one to wake. Register before looking at what is waited for.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let known = self.0.take().filter(|waker| waker.will_wake(cx.waker()));
        self.0.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
    }

    /// Lets it look again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}
