//! Channels: targets that answer everything on one stream, where an HTTP target would answer each request on its own.
//!
//! ```text
//!                                   ┌─ process   a child's standard input and output, one message a line
//! leg ─► dispatch_on_channel ─► Channel
//!          │ another shard's? away  └─ sse       a GET's event stream; messages are POSTed to the endpoint it names
//!          ▼
//!        outgoing: a number of the channel's own in place of the id
//!        inbound:  the answer finds its leg by that number and gets the id back; a notice or request of the target
//!                  goes to the call it belongs to, or to the session
//! ```
//!
//! A channel belongs to one session at one target, because that is all a target on such a channel knows: one client.
//! A process that is shared, by its configuration or because its revision has no sessions, has one channel for all.
//! Private channels live on the session's home shard, shared ones on the first; a leg that begins on another shard is
//! sent there as mail ([`away`]), and its answer comes back whole.
//!
//! A client's stream is a listener of the channels its session has: what a target says to the session goes there, and
//! what it asks before there is one waits a moment for it.
//!
//! When a channel ends, whatever waits on it fails. The session keeps its place at the target, and the next request
//! opens the channel anew ([`Shard::revive`]), as it would a session that the target has lost.

mod away;
mod endpoint;
mod greeting;
mod inbound;
mod outgoing;
mod pace;
mod process;
mod sse;

use crate::ConnId;
use crate::ShardId;
use crate::endpoints::EndpointId;
use crate::federation::Era;
use crate::http::{Fields, Method};
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::session::{SessionId, TargetState};
use crate::shard::{Closing, Deferred, Shard};
use crate::table::{Table, key};
use crate::timers::Timed;
use bytes::Bytes;
use greeting::Greeting;
use pace::patience;
use routing::{Target, TargetId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use away::Mail;
pub(crate) use process::Child;
pub(crate) use sse::Feed;

key!(ChannelId, "A channel to a target.");

/// A target that ended before it had said anything is left alone for so long; the time doubles with every such end.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A process gets at least so long to begin and say what it speaks: silence means something else.
const BEGINNING: Duration = Duration::from_secs(10);

/// A question that nobody can be asked yet is kept for so long: servers ask for roots as soon as a session has begun, and
/// clients open their stream right after.
const HOLD: Duration = Duration::from_secs(10);
/// So many of them.
const MOST_HELD: usize = 16;

/// Where the shared channels are.
const SHARED: ShardId = ShardId(0);

/// A shard's channels.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    pub(crate) table: Table<ChannelId, Channel>,
    places: BTreeMap<Place, ChannelId>,
    starts: BTreeMap<TargetId, Starts>,
}

impl Channels {
    /// How many there are, in the table or by their place.
    pub(crate) fn count(&self) -> usize {
        self.table.len().max(self.places.len())
    }
}

/// Whose a channel is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    target: TargetId,
    /// `None`: everybody's.
    session: Option<SessionId>,
}

/// How a target has begun so far.
#[derive(Debug, Default)]
struct Starts {
    /// Ends before the first word, since there was one.
    failures: u32,
    /// When it may be tried again, and why it may not before.
    rest: Option<(Instant, Arc<str>)>,
    /// A shared channel to it was greeted once: another greeting is a new beginning.
    greeted: bool,
}

#[derive(Debug)]
pub(crate) struct Channel {
    target: Arc<Target>,
    session: Option<SessionId>,
    link: Link,
    /// Requests that wait until it is open, or greeted.
    queue: Vec<LegId>,
    /// Requests that were sent, by the numbers they were given.
    pending: BTreeMap<u64, Pending>,
    /// Streams of clients that hear what is said to the session.
    listeners: Vec<LegId>,
    /// What was asked while there were none, and since when it waits.
    unasked: Vec<Bytes>,
    unasked_since: Instant,
    /// The last number given.
    number: u64,
    greeting: Greeting,
    /// An answer has come on it.
    spoke: bool,
    begun: Instant,
    /// When it last had something to do.
    used: Instant,
    /// The target is no longer routed like this: it ends with its last request.
    stale: bool,
    pub(crate) timer: Option<Instant>,
}

#[derive(Debug)]
enum Link {
    /// Being made.
    Coming,
    Process {
        conn: ConnId,
        open: bool,
    },
    Sse {
        stream: LegId,
        endpoint: Option<Arc<str>>,
    },
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    leg: LegId,
    /// The id it came with, as written.
    id: Bytes,
    /// Its progress token, as written.
    token: Option<Bytes>,
    /// The target was told that nobody waits any more.
    cancelled: bool,
    /// It wants to hear what is logged meanwhile (2026-07-28, Logging).
    logs: bool,
    /// It is a listen: once the target has said something to it, it may be silent for ever.
    listens: bool,
}

/// What a request is to a channel, when it comes from another shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Errand {
    Message,
    /// It begins a session.
    Open,
    /// No message: a client's stream that listens.
    Listen,
}

/// Where a request to a channel's target is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Via {
    /// Not sent yet.
    Queue(ChannelId),
    /// Not to be sent: it hears what is said.
    Listener(ChannelId),
    /// Sent under this number.
    Channel(ChannelId, u64),
    /// With another shard.
    Shard(ShardId),
}

/// A message as it is POSTed on behalf of a channel.
#[derive(Debug)]
pub(crate) struct Carried {
    /// Where the channel's stream is.
    pub(crate) at: Option<EndpointId>,
    pub(crate) path: Arc<str>,
    pub(crate) message: Bytes,
}

impl Channel {
    fn is_open(&self) -> bool {
        match &self.link {
            Link::Coming => false,
            Link::Process { open, .. } => *open,
            Link::Sse { endpoint, .. } => endpoint.is_some(),
        }
    }

    fn is_shared(&self) -> bool {
        self.session.is_none()
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.queue.is_empty()
    }
}

impl Leg {
    fn errand(&self) -> Errand {
        match self.purpose {
            Purpose::Open { .. } => Errand::Open,
            Purpose::Stream { .. } if self.method == Method::Get => Errand::Listen,
            Purpose::Remote { errand, .. } => errand,
            _ => Errand::Message,
        }
    }

    /// Whether it is a client's request with an answer of its own: what the target says meanwhile may belong to it.
    fn is_call(&self) -> bool {
        matches!(
            self.purpose,
            Purpose::Part { slot: None, .. }
                | Purpose::Parked { .. }
                | Purpose::Remote { errand: Errand::Message, .. }
        )
    }
}

impl Shard {
    /// Whether a target answers on a channel.
    pub(crate) fn is_channel(&self, target: &Target) -> bool {
        target.process.is_some() || self.era(target) == Some(Era::Sse)
    }

    /// Whether all sessions use one channel to it.
    pub(crate) fn shares_channel(&self, target: &Target) -> bool {
        let modern = || self.era(target) == Some(Era::Modern);
        target.process.as_ref().is_some_and(|process| process.shared || modern())
    }

    /// The shard on which a session's channel to a target lives.
    pub(crate) fn channel_owner(&self, session: Option<SessionId>, target: &Target) -> ShardId {
        if self.shares_channel(target) {
            return SHARED;
        }
        // Without a session it is only asked what it speaks.
        session.and_then(|session| self.sessions.get(session)).map_or(self.id, |session| session.home)
    }

    /// It is known what a target speaks. If it has no sessions, the process that was asked is not the one that serves.
    pub(crate) fn channel_judged(&mut self, target: &TargetId, era: Era) {
        let place = Place { target: target.clone(), session: None };
        if era == Era::Modern
            && self.id != SHARED
            && let Some(id) = self.channels.places.get(&place).copied()
        {
            self.end_channel(id, &Trouble::Exited, Closing::Finish);
        }
    }

    /// Sends a request on the channel it belongs to; opens that when there is none.
    pub(crate) fn dispatch_on_channel(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        let target = Arc::clone(&leg.target);
        let errand = leg.errand();
        if leg.method != Method::Post && errand != Errand::Listen {
            // Sessions are ended with the channel itself, and no stream of it can be resumed.
            return self.deferred.push_back(Deferred::Settled(id));
        }
        let owner = self.channel_owner(leg.session, &target);
        if owner != self.id {
            return self.send_away(id, owner);
        }
        let session = leg.session.filter(|_| !self.shares_channel(&target));
        if session.is_some_and(|session| self.sessions.get(session).is_none()) {
            // It ended while this waited. What began for it now would never end.
            return self.deferred.push_back(Deferred::Fail(id, Trouble::Exited));
        }
        let place = Place { target: target.id.clone(), session };
        let (opens, fields) = (errand == Errand::Open, leg.fields.clone());
        let known = self.channels.places.get(&place).copied();
        let known = known.or_else(|| if opens { self.adopt(&place) } else { None });
        match known {
            Some(channel) => self.use_channel(id, channel),
            None if session.is_none() || opens => match self.open_channel(place, target, fields) {
                Ok(channel) => self.use_channel(id, channel),
                Err(trouble) => self.deferred.push_back(Deferred::Fail(id, trouble)),
            },
            None => self.revive(id),
        }
    }

    /// A process that was started to ask what it speaks becomes the first session's that needs one (2026-07-28, stdio,
    /// Backward Compatibility: the handshake follows the question).
    fn adopt(&mut self, place: &Place) -> Option<ChannelId> {
        let asked = Place { target: place.target.clone(), session: None };
        let id = self.channels.places.get(&asked).copied().filter(|_| place.session.is_some())?;
        let channel = self.channels.table.get_mut(id).filter(|channel| channel.is_idle())?;
        channel.session = place.session;
        self.channels.places.remove(&asked);
        self.channels.places.insert(place.clone(), id);
        Some(id)
    }

    fn open_channel(
        &mut self,
        place: Place,
        target: Arc<Target>,
        fields: Option<Box<Fields>>,
    ) -> Result<ChannelId, Trouble> {
        let now = self.now;
        let starts = self.channels.starts.get(&target.id);
        if let Some((until, reason)) = starts.and_then(|starts| starts.rest.as_ref())
            && now < *until
        {
            return Err(Trouble::Recently(Arc::clone(reason)));
        }
        if self.channels.table.len() >= self.config.limits.channels {
            return Err(Trouble::Crowded);
        }
        let id = self.channels.table.insert(Channel {
            target: Arc::clone(&target),
            session: place.session,
            link: Link::Coming,
            queue: Vec::new(),
            pending: BTreeMap::new(),
            listeners: Vec::new(),
            unasked: Vec::new(),
            unasked_since: now,
            number: 0,
            greeting: Greeting::default(),
            spoke: false,
            begun: now,
            used: now,
            stale: false,
            timer: None,
        });
        self.channels.places.insert(place, id);
        let link = match &target.process {
            Some(process) => self.spawn_child(id, &target, process),
            None => self.open_feed(id, &target, fields),
        };
        if let Some(channel) = self.channels.table.get_mut(id) {
            channel.link = link;
        }
        self.watch_channel(id);
        Ok(id)
    }

    /// Sends a request on a channel, or lets it wait until that can be done.
    fn use_channel(&mut self, id: LegId, on: ChannelId) {
        let most = self.config.limits.target_waiting;
        let modern = self.channels.table.get(on).and_then(|it| self.era(&it.target)) == Some(Era::Modern);
        let (Some(leg), Some(channel)) = (self.legs.get_mut(id), self.channels.table.get_mut(on)) else {
            return;
        };
        channel.used = self.now;
        // Without sessions there is no handshake, nor before it is known whether there are.
        let greets =
            channel.is_shared() && !channel.greeting.is_done() && !modern && leg.purpose != Purpose::Probe;
        if channel.is_open() && !greets {
            return self.send_on_channel(id, on);
        }
        if channel.queue.len() + channel.pending.len() >= most {
            return self.deferred.push_back(Deferred::Fail(id, Trouble::Busy));
        }
        channel.queue.push(id);
        leg.via = Some(Via::Queue(on));
        let until = self.now + patience(leg);
        if channel.is_open() {
            self.greet_channel(on);
        }
        self.limit_leg(id, until);
    }

    /// A channel is open, or has been greeted: what waited for that goes on.
    fn channel_ready(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        for waiting in std::mem::take(&mut channel.queue) {
            if let Some(leg) = self.legs.get_mut(waiting) {
                leg.via = None;
                self.use_channel(waiting, id);
            }
        }
        self.watch_channel(id);
    }

    /// A session holds a place at a target whose channel is gone: it is opened anew, if the message is worth it.
    fn revive(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if matches!(leg.purpose, Purpose::Greet { .. }) {
            return self.deferred.push_back(Deferred::Fail(id, Trouble::Exited));
        }
        if !leg.is_request() && leg.errand() != Errand::Listen {
            // A notice about what the target has forgotten, or an answer to a question it has.
            return self.deferred.push_back(Deferred::Settled(id));
        }
        leg.opened = None;
        let (target, session) = (Arc::clone(&leg.target), leg.session);
        let Some(session_id) = session else { return };
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let state = session.target_mut(&target.id);
        if let TargetState::Ready(opened) = state {
            let lost = opened.clone();
            *state = TargetState::Absent;
            self.open_target(session_id, &target, Some(lost), Vec::new());
        }
        self.start_in_session(id);
    }

    /// Ends a channel. What waits on it fails with `trouble`.
    fn end_channel(&mut self, id: ChannelId, trouble: &Trouble, how: Closing) {
        let Some(channel) = self.channels.table.remove(id) else { return };
        self.channels.places.retain(|_, known| *known != id);
        let sent = channel.pending.into_values().map(|pending| pending.leg);
        for leg in channel.queue.into_iter().chain(sent).chain(channel.listeners) {
            if let Some(waiting) = self.legs.get_mut(leg) {
                waiting.via = None;
                self.deferred.push_back(Deferred::Fail(leg, trouble.clone()));
            }
        }
        match channel.link {
            Link::Coming => {}
            Link::Process { conn, .. } => self.end_child(conn, how),
            Link::Sse { stream, .. } => self.end_feed(stream),
        }
    }

    /// A channel ended of itself. One that had not said a word is left alone for a while.
    fn channel_failed(&mut self, id: ChannelId, trouble: &Trouble) {
        let now = self.now;
        let Some(channel) = self.channels.table.get(id) else { return };
        self.counters.channels_failed.add(1);
        // One that can't stand being asked what it speaks may well answer to what it knows.
        let asked =
            |pending: &Pending| self.legs.get(pending.leg).is_some_and(|leg| leg.purpose == Purpose::Probe);
        if !channel.spoke && !channel.pending.values().any(asked) {
            let starts = self.channels.starts.entry(channel.target.id.clone()).or_default();
            let rest = REST.saturating_mul(1 << starts.failures.min(8)).min(LONGEST_REST);
            starts.failures += 1;
            starts.rest = Some((now + rest, trouble.to_string().into()));
            // That it speaks so was a guess, or it has learnt more since.
            if matches!(trouble, Trouble::Status(400..500) | Trouble::Malformed(_)) {
                let target = channel.target.id.clone();
                self.unsure(&target);
            }
        }
        self.end_channel(id, trouble, Closing::Abort);
    }

    /// A target said something that only one that works can say.
    fn channel_spoke(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        let target = Arc::clone(&channel.target);
        if !std::mem::replace(&mut channel.spoke, true)
            && let Some(starts) = self.channels.starts.get_mut(&target.id)
        {
            starts.failures = 0;
            starts.rest = None;
        }
        if let Some(pool) = self.pools.get_mut(&target.id) {
            pool.slow = false;
            if !pool.is_settled() {
                self.saw_word(&target.id);
            }
        }
    }

    /// `initialize` has failed: the next begins on a channel of its own.
    pub(crate) fn end_channel_at(&mut self, session: SessionId, target: &TargetId) {
        let place = Place { target: target.clone(), session: Some(session) };
        if let Some(id) = self.channels.places.get(&place).copied() {
            self.end_channel(id, &Trouble::Exited, Closing::Finish);
        }
    }

    /// A session is gone, and its channels with it.
    pub(crate) fn end_channels_of(&mut self, session: SessionId) {
        let own = self.channels.places.iter().filter(|(place, _)| place.session == Some(session));
        for id in own.map(|(_, id)| *id).collect::<Vec<_>>() {
            self.end_channel(id, &Trouble::Exited, Closing::Finish);
        }
    }

    /// A new snapshot is in force: a channel to a target that is gone, or another now, ends with its last request.
    pub(crate) fn reroute_channels(&mut self) {
        let routes = Arc::clone(&self.routes);
        self.channels.starts.retain(|name, _| routes.find(name).is_some());
        for id in self.channels.table.keys() {
            let Some(channel) = self.channels.table.get_mut(id) else { continue };
            let old = &channel.target;
            let same = routes.find(&old.id).is_some_and(|new| {
                (&new.process, &new.authority, &new.path, &new.headers)
                    == (&old.process, &old.authority, &old.path, &old.headers)
            });
            let at = match &channel.link {
                Link::Sse { stream, .. } => self.legs.get(*stream).and_then(|stream| stream.at),
                Link::Coming | Link::Process { .. } => None,
            };
            let endpoints = self.pools.get(&old.id).map(|pool| &pool.endpoints);
            let left = at.zip(endpoints).is_some_and(|(at, it)| it.is_any_listed() && !it.lists(at));
            if !same || left {
                channel.stale = true;
                self.channels.starts.remove(&channel.target.id);
                self.channels.places.retain(|_, known| *known != id);
                self.channel_eased(id);
            }
        }
    }

    /// A channel has a request less.
    fn channel_eased(&mut self, id: ChannelId) {
        let now = self.now;
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        channel.used = now;
        if channel.stale && channel.is_idle() {
            return self.end_channel(id, &Trouble::Exited, Closing::Finish);
        }
        if let Some(conn) = self.channel_conn(id)
            && !self.is_crowded(conn)
        {
            self.set_paused(conn, false);
        }
        self.watch_channel(id);
    }

    /// A leg leaves the tables. What it waited for on a channel is not wanted any more.
    pub(crate) fn leave_channel(&mut self, id: LegId, leg: &Leg) {
        match leg.via {
            None => {}
            Some(Via::Queue(on)) => {
                if let Some(channel) = self.channels.table.get_mut(on) {
                    channel.queue.retain(|queued| *queued != id);
                    self.channel_eased(on);
                }
            }
            Some(Via::Channel(on, number)) => {
                let Some(channel) = self.channels.table.get_mut(on) else { return };
                let pending = channel.pending.remove(&number);
                // The one request that must not be cancelled (MCP 2025-11-25, Cancellation, Behavior Requirements), and
                // the one that a target may not even know.
                let asks = leg.errand() == Errand::Open || leg.purpose == Purpose::Probe;
                if pending.is_some_and(|pending| !pending.cancelled) && !asks {
                    self.cancel_on_channel(on, number);
                }
                self.channel_eased(on);
            }
            Some(Via::Listener(on)) => {
                if let Some(channel) = self.channels.table.get_mut(on) {
                    channel.listeners.retain(|listener| *listener != id);
                    self.channel_eased(on);
                }
            }
            Some(Via::Shard(owner)) => self.forget_away(owner, id),
        }
    }

    /// A request on a channel that waited for its client waits for its target again.
    pub(crate) fn renew_patience(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id).filter(|leg| leg.via.is_some()) else { return };
        self.limit_leg(id, self.now + patience(leg));
    }

    /// When a request on a channel is given up.
    pub(crate) fn limit_leg(&mut self, id: LegId, until: Instant) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.deadline = Some(until);
        if leg.timer.is_none_or(|timer| until < timer) {
            leg.timer = Some(until);
            self.timers.set(Timed::Leg(id), until);
        }
    }
}
