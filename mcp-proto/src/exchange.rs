//! One HTTP request of a client while it is being answered.
//!
//! A POST carries one message, or several in a 2025-03-26 batch: each is a [`Part`] with work of its own, and all parts
//! feed one answer. Requests to targets are [legs](crate::leg); they know their exchange by id, so a leg outlives a
//! client that went away.

use crate::era::Claim;
use crate::federation::Subscription;
use crate::forward::Ticket;
use crate::http::{Method, Request};
use crate::jsonrpc::envelope::{Envelope, Text, decode};
use crate::jsonrpc::list;
use crate::jsonrpc::params::Filter;
use crate::leg::LegId;
use crate::session::{OpenedId, Revision, SessionId};
use crate::way::Way;
use crate::{ConnId, Record, ShardId};
use bytes::Bytes;
use routing::{Target, TargetId};
use std::borrow::Cow;
use std::ops::{Deref, DerefMut, Range};
use std::slice;
use std::time::{Duration, Instant};

/// An exchange: its connection, and which of the connection's requests it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ExchangeId {
    pub(crate) conn: ConnId,
    pub(crate) serial: u32,
}

/// What the client takes as an answer (`Accept`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Accepts {
    pub(crate) json: bool,
    pub(crate) events: bool,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) serial: u32,
    pub(crate) head: Request,
    pub(crate) way: Way,
    pub(crate) accepts: Accepts,
    pub(crate) session: Option<SessionId>,
    /// What the message claims, when it belongs to no session (2026-07-28).
    pub(crate) modern: Option<Box<Claim>>,
    pub(crate) body: Bytes,
    pub(crate) answer: Answer,
    /// The only target answered with an event stream, and so does the gateway, even if it made the answer.
    pub(crate) by_events: bool,
    /// Half an event is written: until its end nothing else may be.
    pub(crate) half: bool,
    /// Its stream is that of others as well: it carries whole messages only, and none of them has an event id.
    pub(crate) shared: bool,
    /// Another shard serves it.
    pub(crate) forwarded: Option<Ticket>,
    /// The client was given an event id of its own stream, so it can resume it.
    pub(crate) resumable: bool,
    /// Written as a JSON array, or as events, because it came as a batch.
    pub(crate) batch: Option<Vec<Bytes>>,
    pub(crate) parts: Parts,
    /// Parts that still owe something.
    pub(crate) open: usize,
    /// When parts that wait for several targets go on without those that are missing.
    pub(crate) deadline: Option<Instant>,
    /// When the head of its answer is to be written at the latest, if its rule says so.
    pub(crate) limit: Option<Instant>,
    /// When a comment is due on an event stream.
    pub(crate) comment: Option<Instant>,
    /// Target streams that feed this one, when it is a session's GET stream or a subscription.
    pub(crate) streams: Vec<Stream>,
    /// What a modern client listens to, when that is what it asked for.
    pub(crate) subscription: Option<Box<Subscription>>,
    pub(crate) started: Instant,
    pub(crate) sent: u64,
    pub(crate) log: Notes,
}

/// What the access log will say beyond what the exchange knows anyway.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// It is no request of a client, or is told of elsewhere.
    pub(crate) silent: bool,
    pub(crate) status: u16,
    pub(crate) code: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) target_duration: Option<Duration>,
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Nothing is written.
    Open,
    /// The head is written; the body goes on.
    Begun { events: bool, chunked: bool },
    /// Everything is written.
    Done,
}

/// One message of the request.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where the message stands in the body.
    pub(crate) message: Range<usize>,
    /// Its id as written, in the body; `None` for notifications and responses.
    pub(crate) id: Option<Range<usize>>,
    /// Its method as written, in the body, once it was read.
    pub(crate) method: Option<Range<usize>>,
    pub(crate) work: Work,
    /// Targets were asked for their names because of it; not done twice.
    pub(crate) looked_up: bool,
    /// It speaks of a task, or asks to become one.
    pub(crate) of_task: bool,
}

/// The messages of a request, in order: nearly always one, which takes no memory of its own.
#[derive(Debug)]
pub(crate) enum Parts {
    One(Part),
    Many(Vec<Part>),
}

impl Default for Parts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Parts {
    pub(crate) fn push(&mut self, part: Part) {
        match self {
            Self::Many(parts) if parts.is_empty() => *self = Self::One(part),
            Self::Many(parts) => parts.push(part),
            Self::One(_) => {
                let Self::One(first) = std::mem::take(self) else { return };
                *self = Self::Many(vec![first, part]);
            }
        }
    }
}

impl Deref for Parts {
    type Target = [Part];

    fn deref(&self) -> &[Part] {
        match self {
            Self::One(part) => slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }
}

impl DerefMut for Parts {
    fn deref_mut(&mut self) -> &mut [Part] {
        match self {
            Self::One(part) => slice::from_mut(part),
            Self::Many(parts) => parts,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Work {
    /// Not begun.
    New,
    /// One target answers.
    Relay {
        target: TargetId,
        leg: LegId,
    },
    /// A plain HTTP service answers, and there is no message.
    Pass {
        target: TargetId,
        leg: LegId,
    },
    /// Several targets answer, and one answer is made of theirs.
    Gather(Gather),
    /// These were asked, and all is said.
    Asked(Vec<TargetId>),
    Done,
}

#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) what: What,
    pub(crate) slots: Vec<Slot>,
}

/// What is made of the answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Initialize,
    /// `server/discover`
    Discover,
    List {
        kind: list::Kind,
        /// From its beginning, without a cursor.
        first: bool,
    },
    /// `logging/setLevel`: done when one target did it.
    Level,
    /// Something without an answer of its own: 202 when it arrived everywhere.
    Notify,
    /// DELETE: 200 when all targets were told.
    End,
    /// Names of this kind are wanted before the message can be routed.
    Lookup(list::Kind),
}

/// One target's share in a gather.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) target: TargetId,
    pub(crate) outcome: Option<Result<Bytes, String>>,
    /// The outcome is one of before, which holds as long as this.
    pub(crate) until: Option<Instant>,
    /// The first of its pages has come.
    pub(crate) begun: bool,
}

/// One target's stream under a session's GET stream or a subscription.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) target: TargetId,
    pub(crate) leg: Option<LegId>,
    /// Takes the place of `leg` once the target has agreed to it.
    pub(crate) next: Option<LegId>,
    /// What is listened to has changed since the target was asked.
    pub(crate) stale: bool,
    pub(crate) state: State,
    /// It was open before, and ended.
    pub(crate) gap: bool,
    /// It goes on where it ended.
    pub(crate) resumes: bool,
    /// The target session that was told which resources are listened to: its id, if it has one, and its revision.
    pub(crate) told: Option<(Option<OpenedId>, Revision)>,
    /// The last event id the target gave.
    pub(crate) last: Option<Bytes>,
    /// When to open it again.
    pub(crate) again: Option<Instant>,
    /// What to wait before the next opening; the target's `retry` sets it.
    pub(crate) pause: Duration,
    /// Who is told when it misses nothing: requests that are under way, each for a moment.
    pub(crate) waiters: Vec<Waiter>,
}

/// A request whose answer waits for a stream, which may be on another shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) shard: ShardId,
    pub(crate) leg: LegId,
    /// From then on it waits no more.
    pub(crate) until: Instant,
}

/// How far a target's stream is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Waiting,
    /// It is in force; with what the target agreed to, where it says so.
    Open(Option<Box<Filter>>),
    /// The target offers none.
    Refused,
}

impl Exchange {
    pub(crate) fn new(serial: u32, head: Request, accepts: Accepts, body: Bytes, started: Instant) -> Self {
        Self {
            serial,
            head,
            way: Way::default(),
            accepts,
            session: None,
            modern: None,
            body,
            answer: Answer::Open,
            by_events: false,
            half: false,
            shared: false,
            forwarded: None,
            resumable: false,
            batch: None,
            parts: Parts::default(),
            open: 0,
            deadline: None,
            limit: None,
            comment: None,
            streams: Vec::new(),
            subscription: None,
            started,
            sent: 0,
            log: Notes::default(),
        }
    }

    /// Whether a target is given any field of its head.
    pub(crate) fn passes(&self, target: &Target) -> bool {
        !target.forward.fields.is_empty() || self.head.fields.is_edited()
    }

    /// Whether an answer may be written piece by piece, as it comes.
    pub(crate) fn takes_pieces(&self) -> bool {
        self.batch.is_none() && !self.shared
    }

    pub(crate) fn is_post(&self) -> bool {
        self.head.method == Method::Post
    }

    /// Whether it lasts as long as its reader, and not until there is an answer.
    pub(crate) fn is_stream(&self) -> bool {
        self.passed_by().is_none() && (!self.is_post() || self.subscription.is_some())
    }

    /// A modern client's description, capabilities and log level, as it wrote them; empty where it said nothing.
    pub(crate) fn claimed(&self) -> (&[u8], &[u8], Option<&[u8]>) {
        let text = |span: Range<usize>| self.body.get(span).unwrap_or_default();
        match self.modern.as_deref() {
            Some(claim) => (
                claim.client.clone().map(text).unwrap_or_default(),
                text(claim.capabilities.clone()),
                claim.log_level.clone().map(text),
            ),
            None => (b"", b"", None),
        }
    }

    /// Whether a part is a request, which wants an answer.
    pub(crate) fn is_request(&self, part: u16) -> bool {
        self.parts.get(usize::from(part)).is_some_and(|part| part.id.is_some())
    }

    /// The raw id of a part, `null` if it has none.
    pub(crate) fn id_text(&self, part: u16) -> &[u8] {
        self.parts.get(usize::from(part)).and_then(|part| self.body.get(part.id.clone()?)).unwrap_or(b"null")
    }

    /// The same as a piece of the body.
    pub(crate) fn id_bytes(&self, part: u16) -> Bytes {
        let id = self.parts.get(usize::from(part)).and_then(|part| part.id.clone());
        id.map_or(Bytes::from_static(b"null"), |id| self.body.slice(id))
    }

    /// The JSON-RPC method of a part that was read.
    pub(crate) fn method(&self, part: u16) -> Option<Cow<'_, str>> {
        let method = self.parts.get(usize::from(part))?.method.clone()?;
        decode(str::from_utf8(self.body.get(method)?).ok()?)
    }

    /// Method and name, or URI, of a part.
    fn describe(&self, part: u16) -> Option<(String, String)> {
        let part = self.parts.get(usize::from(part))?;
        let envelope = Envelope::parse(self.body.get(part.message.clone())?, usize::MAX).ok()?;
        let params = &envelope.params;
        let name = params.name.as_ref().or(params.uri.as_ref());
        let text = |text: Option<&Text<'_>>| text.map(|text| text.value.to_string()).unwrap_or_default();
        Some((text(envelope.method.as_ref()), text(name)))
    }

    /// What the access log says of it.
    pub(crate) fn record(&mut self, now: Instant) -> Record {
        let (method, name) = self.describe(0).unwrap_or_default();
        Record {
            client: None,
            http_method: self.head.method.as_str().to_owned(),
            route: self.head.path().to_owned(),
            rule: self.way.rule.as_ref().map(|rule| rule.name.to_string()).unwrap_or_default(),
            backend: self.way.backend.to_string(),
            status: self.log.status,
            method,
            target: self.parts.first().map(|part| part.work.targets()).unwrap_or_default(),
            name,
            code: self.log.code,
            error: self.log.error.take().unwrap_or_default(),
            received: self.body.len() as u64,
            sent: self.sent,
            duration: now.saturating_duration_since(self.started),
            target_duration: self.log.target_duration,
        }
    }
}

impl Stream {
    /// Whether whatever changes from now on is told: it is heard, or will be taken to have changed.
    pub(crate) fn misses_nothing(&self) -> bool {
        match self.state {
            State::Waiting => self.gap,
            State::Open(_) => self.next.is_none() && self.again.is_none(),
            State::Refused => true,
        }
    }
}

impl Slot {
    pub(crate) fn new(target: TargetId) -> Self {
        Self { target, outcome: None, until: None, begun: false }
    }
}

impl Work {
    fn targets(&self) -> String {
        match self {
            Self::Relay { target, .. } | Self::Pass { target, .. } => target.name.to_string(),
            Self::Gather(gather) => {
                gather.slots.iter().map(|slot| slot.target.name.as_str()).collect::<Vec<_>>().join(",")
            }
            Self::Asked(targets) => targets.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(","),
            Self::New | Self::Done => String::new(),
        }
    }
}
