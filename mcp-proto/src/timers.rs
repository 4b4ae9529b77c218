//! When to look at what again.
//!
//! Objects keep their deadline in a plain field; the heap holds a time at which to look at the object. When that time
//! comes and the deadline has moved on, the object is simply looked at later. So the way of a request touches no
//! structure: it only writes a field, and at most one entry an object is live.

use crate::ConnId;
use crate::leg::LegId;
use crate::session::SessionId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// What has a deadline.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timed {
    Conn(ConnId),
    Leg(LegId),
    Session(SessionId),
    Drain,
}

impl Timed {
    /// For logs: what the shard sleeps towards.
    fn reason(self) -> &'static str {
        match self {
            Self::Conn(_) => "connection",
            Self::Leg(_) => "request to a target",
            Self::Session(_) => "session",
            Self::Drain => "drain",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timed)>>,
}

impl Timers {
    /// Look at `what` at `at`.
    pub(crate) fn set(&mut self, what: Timed, at: Instant) {
        self.heap.push(Reverse((at, what)));
    }

    /// The next thing whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(Instant, Timed)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        self.heap.peek().map(|Reverse((at, what))| (*at, what.reason()))
    }
}
