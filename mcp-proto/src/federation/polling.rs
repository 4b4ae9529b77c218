//! Targets that hang up on a call and want to be asked again (2025-11-25, Streamable HTTP, polling).
//!
//! A client that was given an event id does that itself. For one that can't, because its era or its transport has no
//! event ids or it takes no event stream, the gateway does.

use crate::exchange::Work;
use crate::http::Method;
use crate::leg::{Events, Leg, LegId, Purpose};
use crate::shard::Shard;
use std::sync::Arc;
use std::time::Duration;

/// What is waited where the target says nothing, and the bounds of what it may say.
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a target may be asked in vain: without a new event.
const MOST: u8 = 10;

/// A call that is asked for again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Poll {
    /// Its pause is not over.
    waits: bool,
    /// How often the target had nothing new.
    in_vain: u8,
}

impl Shard {
    /// Asks for the rest of an answer whose stream has ended, if the target has named a place to go on from.
    pub(crate) fn poll_again(&mut self, id: LegId, events: &Events) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let purpose = leg.purpose;
        if !matches!(purpose, Purpose::Part { slot: None, .. } | Purpose::Parked { .. }) {
            return false;
        }
        let in_vain = if events.moved { 0 } else { leg.poll.in_vain + 1 };
        let Some(last) = events.last.clone().filter(|_| in_vain < MOST) else { return false };
        // It is not sent again, but says under what id and token the call is known to the target.
        let body = leg.body.clone();
        let mut next = Leg::new(Arc::clone(&leg.target), leg.session, purpose, Method::Get, body);
        next.last_event = Some(Box::new(last));
        // Another session would know nothing of the call.
        next.reopened = u8::MAX;
        next.sent_at = leg.sent_at;
        next.fields = leg.fields.take();
        next.version = leg.version;
        next.attempt = leg.attempt;
        next.poll = Poll { waits: true, in_vain };
        next.dress = leg.dress.take();
        let target = leg.target.id.clone();
        let hidden = next.session;
        self.drop_leg(id);
        self.counters.calls.add(1);
        let next = self.legs.insert(next);
        match purpose {
            Purpose::Part { exchange, part, .. } => {
                if let Some(exchange) = self.exchange_mut(exchange)
                    && let Some(part) = exchange.parts.get_mut(usize::from(part))
                {
                    part.work = Work::Relay { target, leg: next };
                }
            }
            Purpose::Parked { call } => {
                if let Some(parked) = self.parked.get_mut(call) {
                    parked.leg = next;
                }
            }
            _ => {}
        }
        if let Some(hidden) = hidden.and_then(|id| self.sessions.get_mut(id)?.hidden.as_mut())
            && hidden.busy == Some(id)
        {
            hidden.busy = Some(next);
        }
        let pause = events.retry.map_or(PAUSE, Duration::from_millis).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.limit_leg(next, self.now + pause);
        true
    }

    /// The pause of a call that is asked for again is over.
    pub(crate) fn poll_due(&mut self, id: LegId) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        if !std::mem::take(&mut leg.poll.waits) {
            return false;
        }
        leg.deadline = None;
        self.dispatch_leg(id);
        true
    }
}
