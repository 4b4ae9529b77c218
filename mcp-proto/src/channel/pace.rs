//! When a channel is looked at again, and when it must wait for a client.

use super::{BEGINNING, Channel, ChannelId, HOLD, Link, Via};
use crate::ConnId;
use crate::conn::{Conn, Role};
use crate::deadlines;
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::shard::{Closing, Shard};
use crate::timers::Timed;
use std::time::{Duration, Instant};

impl Shard {
    pub(super) fn watch_channel(&mut self, id: ChannelId) {
        let idle = self.config.timeouts.process;
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        let Some(due) = channel.due(idle) else { return };
        if channel.timer.is_none_or(|timer| due < timer) {
            channel.timer = Some(due);
            self.timers.set(Timed::Channel(id), due);
        }
    }

    /// A channel's time has come, unless it has moved on.
    pub(crate) fn channel_due(&mut self, id: ChannelId, at: Instant) {
        let idle = self.config.timeouts.process;
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        if channel.timer != Some(at) {
            return;
        }
        channel.timer = None;
        if !channel.unasked.is_empty() && channel.unasked_since + HOLD <= self.now {
            self.ask_session(id);
        }
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        if channel.due(idle).is_some_and(|due| due <= self.now) {
            return match channel.is_open() && channel.greeting.asked().is_none() {
                true => self.end_channel(id, &Trouble::Exited, Closing::Finish),
                false => self.channel_failed(id, &Trouble::Late("start")),
            };
        }
        self.watch_channel(id);
    }

    // --- pace ---

    /// The connection that brings what a channel's target says.
    pub(super) fn channel_conn(&self, id: ChannelId) -> Option<ConnId> {
        match &self.channels.table.get(id)?.link {
            Link::Coming => None,
            Link::Process { conn, .. } => Some(*conn),
            Link::Sse { stream, .. } => self.legs.get(*stream)?.conn,
        }
    }

    /// The connection that is paused when the client of a request takes nothing. One that others use goes on.
    pub(crate) fn feeder(&self, leg: LegId) -> Option<ConnId> {
        // A request whose answer is written feeds nobody, though its stream may go on.
        let leg = self.legs.get(leg).filter(|leg| leg.purpose != Purpose::Quiet)?;
        match leg.via {
            Some(Via::Channel(on, _)) => {
                self.channels.table.get(on).filter(|channel| !channel.is_shared())?;
                self.channel_conn(on)
            }
            Some(_) => None,
            None => leg.conn,
        }
    }

    /// Whether a connection that feeds several clients must wait for one of them.
    pub(crate) fn is_crowded(&self, conn: ConnId) -> bool {
        let on = match self.conns.get(conn).map(|slot| &slot.role) {
            Some(Role::Child(child)) => Some(child.channel),
            Some(Role::Target(upstream)) => {
                match upstream.leg.and_then(|leg| self.legs.get(leg)).map(|leg| leg.purpose) {
                    Some(Purpose::Feed { channel }) => Some(channel),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some(channel) = on.and_then(|on| self.channels.table.get(on)) else { return false };
        !channel.is_shared() && channel.pending.values().any(|pending| self.is_overfull(pending.leg))
    }

    /// Whether the client of a request takes less than it is sent.
    pub(super) fn is_overfull(&self, leg: LegId) -> bool {
        let exchange = self.legs.get(leg).and_then(|leg| leg.purpose.answers());
        let slot = exchange.filter(|it| self.exchange(*it).is_some()).and_then(|it| self.outlet(it.conn));
        slot.is_some_and(|slot: &Conn| slot.outbox.waiting() > self.config.limits.buffer)
    }
}

impl Channel {
    /// When it has waited long enough: for its beginning, or without anything to do.
    fn due(&self, idle: Duration) -> Option<Instant> {
        let first_byte = self.target.timeouts.first_byte;
        if !self.is_open() {
            return Some(self.begun + first_byte);
        }
        if let Some(since) = self.greeting.asked() {
            return Some(since + first_byte);
        }
        if !self.unasked.is_empty() {
            return Some(self.unasked_since + HOLD);
        }
        // A private one ends with its session.
        let unused = self.is_shared() && self.is_idle() && self.listeners.is_empty();
        unused.then(|| self.used + idle)
    }
}

/// How long a request may wait for its answer: there is no connection of its own to watch.
pub(super) fn patience(leg: &Leg) -> Duration {
    let timeouts = &leg.target.timeouts;
    let usual = match leg.purpose {
        Purpose::Part { slot: None, .. } | Purpose::Remote { .. } | Purpose::Open { .. } => {
            timeouts.first_byte
        }
        Purpose::Probe => timeouts.first_byte.min(timeouts.gather.max(BEGINNING)),
        _ => timeouts.first_byte.min(timeouts.gather.max(deadlines::PATIENCE)),
    };
    leg.attempt.map_or(usual, |attempt| attempt.min(usual))
}
