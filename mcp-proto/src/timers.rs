//! When to look at what again.
//!
//! Objects keep their deadline in a plain field; the heap holds a time at which to look at the object. When that time
//! comes and the deadline has moved on, the object is simply looked at later. So the way of a request touches no
//! structure: it only writes a field, and at most one entry an object is live.

use crate::ConnId;
use crate::channel::ChannelId;
use crate::federation::ParkedId;
use crate::leg::LegId;
use crate::session::SessionId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// So many dead entries are no reason to look.
const SPARE: usize = 64;

/// What has a deadline.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timed {
    Conn(ConnId),
    Leg(LegId),
    Session(SessionId),
    Channel(ChannelId),
    Parked(ParkedId),
    /// What is known of targets may be told again.
    Observations,
    Drain,
}

impl Timed {
    /// For logs: what the shard sleeps towards.
    fn reason(self) -> &'static str {
        match self {
            Self::Conn(_) => "connection",
            Self::Leg(_) => "request to a target",
            Self::Session(_) => "session",
            Self::Channel(_) => "channel to a target",
            Self::Parked(_) => "parked call",
            Self::Observations => "news of targets",
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

    /// Drops entries that nothing waits for, once they are more than the `live` others: objects that are gone leave
    /// theirs behind, and a session's would stay for as long as the session may be idle.
    pub(crate) fn tidy(&mut self, live: usize, is_live: impl Fn(Instant, Timed) -> bool) {
        if self.heap.len() > 2 * live + SPARE {
            self.heap.retain(|Reverse((at, what))| is_live(*at, *what));
        }
    }

    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        self.heap.peek().map(|Reverse((at, what))| (*at, what.reason()))
    }
}
