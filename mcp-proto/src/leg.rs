//! One HTTP request to one target, from the moment it is wanted until its answer has been dealt with.

use crate::ConnId;
use crate::ShardId;
use crate::channel::{Carried, ChannelId, Errand, Feed, Via};
use crate::conn::Incoming;
use crate::edge::Fault;
use crate::endpoints::EndpointId;
use crate::events::Held;
use crate::exchange::ExchangeId;
use crate::federation::{Dress, Era, ParkedId, Poll, Round};
use crate::http::{Fields, Method};
use crate::jsonrpc::list;
use crate::jsonrpc::rewrite::{Plan, Rewriter};
use crate::session::{Opened, OpenedId, Revision, SessionId};
use crate::sse;
use crate::table::key;
use bytes::Bytes;
use routing::Target;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

key!(LegId, "A request to a target.");

#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) target: Arc<Target>,
    pub(crate) session: Option<SessionId>,
    pub(crate) purpose: Purpose,
    pub(crate) method: Method,
    /// The client's message, under the names the target knows.
    pub(crate) body: Bytes,
    /// The head of its request, whole, where that is the client's and no message is sent.
    pub(crate) head: Option<Box<Bytes>>,
    /// What is sent in its place.
    pub(crate) dress: Option<Dress>,
    /// Fields of the client's request, kept where the target wants some of them.
    pub(crate) fields: Option<Box<Fields>>,
    pub(crate) last_event: Option<Box<Bytes>>,
    /// The version header of the client, where it differs from what was negotiated: the target may judge it.
    pub(crate) version: Option<Revision>,
    /// May be sent again when a kept-alive connection turned out to be stale (RFC 9110, 9.2.2): never a tool call.
    pub(crate) repeatable: bool,
    pub(crate) repeated: bool,
    /// Where it was sent.
    pub(crate) at: Option<EndpointId>,
    /// Endpoints that could not be reached for it.
    pub(crate) refused: Vec<EndpointId>,
    /// How often the target's session had been lost and was opened anew for it.
    pub(crate) reopened: u8,
    /// The rounds of questions that it has been through, or that it waits for.
    pub(crate) round: Option<Box<Round>>,
    /// The list it asks for, when that is merged with others.
    pub(crate) list: Option<list::Kind>,
    /// It was refused for header fields that repeat arguments wrongly, and the schemas were asked for again: once.
    pub(crate) mirrored_anew: bool,
    /// It asks for the rest of an answer.
    pub(crate) poll: Poll,
    /// An answer that is given if it turns out that the target still speaks what it was asked in.
    pub(crate) refused_with: Option<Box<Refused>>,
    /// It was refused as if in the wrong era, and the era was looked into: once.
    pub(crate) doubted: bool,
    /// It subscribes, and so many shards have not said yet that its client's stream, if they have it, hears of that.
    pub(crate) unheard: u16,
    /// The target session id it was sent with, or that `initialize` gave.
    pub(crate) session_id: Option<OpenedId>,
    pub(crate) sent_at: Option<Instant>,
    /// The target session it belongs to, where the session does not say: one that is being opened or ended.
    pub(crate) opened: Option<Box<Opened>>,
    pub(crate) conn: Option<ConnId>,
    pub(crate) inbound: Inbound,
    /// Where it is, when its target answers on a channel.
    pub(crate) via: Option<Via>,
    /// Set when it is the POST of a channel's message.
    pub(crate) carried: Option<Box<Carried>>,
    /// What one attempt at the target may take, if the rule of the client's request says so.
    pub(crate) attempt: Option<Duration>,
    /// When it is given up while it has no connection.
    pub(crate) deadline: Option<Instant>,
    /// When its timer looks at it next.
    pub(crate) timer: Option<Instant>,
}

impl Leg {
    pub(crate) fn new(
        target: Arc<Target>,
        session: Option<SessionId>,
        purpose: Purpose,
        method: Method,
        body: Bytes,
    ) -> Self {
        Self {
            target,
            session,
            purpose,
            method,
            body,
            head: None,
            dress: None,
            fields: None,
            last_event: None,
            version: None,
            repeatable: method == Method::Get,
            repeated: false,
            at: None,
            refused: Vec::new(),
            reopened: 0,
            round: None,
            list: None,
            mirrored_anew: false,
            poll: Poll::default(),
            refused_with: None,
            doubted: false,
            unheard: 0,
            session_id: None,
            sent_at: None,
            opened: None,
            conn: None,
            inbound: Inbound::Head,
            via: None,
            carried: None,
            attempt: None,
            deadline: None,
            timer: None,
        }
    }
}

/// An answer that may come of having been asked in the wrong era.
#[derive(Debug)]
pub(crate) struct Refused {
    /// It was asked in the modern one.
    pub(crate) modern: bool,
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Whom the answer is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// A client's message: all of its work, or one slot of a gather.
    Part { exchange: ExchangeId, part: u16, slot: Option<u16> },
    /// A target's stream under a client's GET stream.
    Stream { exchange: ExchangeId },
    /// `resources/subscribe` at a legacy target, for a subscription.
    Subscribe { exchange: ExchangeId },
    /// A lost POST stream that a client resumes with a GET.
    Resume { exchange: ExchangeId },
    /// `initialize` at a target; a part of the client's own `initialize`, or later.
    Open { asker: Option<(ExchangeId, u16, u16)> },
    /// `notifications/initialized` at a target whose session is opened late; `again` after one that was lost.
    Greet { again: bool },
    /// `server/discover` at a target of unknown era.
    Probe,
    /// A client's message whose client is being asked something.
    Parked { call: ParkedId },
    /// `tools/list` on behalf of a client's call, for the schemas.
    Schemas { exchange: ExchangeId },
    /// A request of another shard, for a channel that lives here.
    /// The key of the session that asks is in bytes: the number would align each leg to twice what it needs.
    Remote { shard: ShardId, leg: LegId, asker: Option<[u8; 16]>, errand: Errand },
    /// The event stream on which a channel's target says everything.
    Feed { channel: ChannelId },
    /// A client's request to a plain HTTP service.
    Pass { exchange: ExchangeId },
    /// Nobody waits.
    Quiet,
}

impl Purpose {
    /// The exchange that the target's answer answers.
    pub(crate) fn answers(self) -> Option<ExchangeId> {
        match self {
            Self::Part { exchange, slot: None, .. } | Self::Resume { exchange } => Some(exchange),
            _ => None,
        }
    }

    /// Whether it is a question of the gateway's own: nothing but its answer is wanted of it.
    pub(crate) fn is_for_one_answer(self) -> bool {
        match self {
            Self::Probe | Self::Schemas { .. } | Self::Open { .. } | Self::Subscribe { .. } => true,
            Self::Part { slot, .. } => slot.is_some(),
            _ => false,
        }
    }

    /// The exchange it was made for.
    pub(crate) fn exchange(self) -> Option<ExchangeId> {
        match self {
            Self::Part { exchange, .. }
            | Self::Stream { exchange }
            | Self::Subscribe { exchange }
            | Self::Resume { exchange }
            | Self::Schemas { exchange }
            | Self::Open { asker: Some((exchange, ..)) } => Some(exchange),
            _ => None,
        }
    }

    /// The exchange that what the target says besides belongs to.
    pub(crate) fn feeds(self) -> Option<ExchangeId> {
        match self {
            Self::Stream { exchange } => Some(exchange),
            _ => self.answers(),
        }
    }
}

impl Leg {
    /// Whether it was asked as a request that stands for itself.
    pub(crate) fn is_modern(&self) -> bool {
        self.dress.as_ref().is_some_and(|dress| dress.era == Era::Modern)
    }
}

/// What is done with the answer's body.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// The head is still to come.
    Head,
    /// Kept whole, up to a limit: answers that are merged or looked into.
    Whole {
        status: u16,
        body: Incoming,
    },
    /// Small JSON that is rewritten and then written in one piece.
    Short(Box<Short>),
    /// JSON that must be looked at before it goes to the client.
    Look(Box<Look>),
    /// JSON on its way to the client, as it comes.
    Pass {
        rewriter: Option<Box<Rewriter>>,
        /* inside an event of our own */ event: bool,
    },
    Events(Box<Events>),
    /// The same, while nothing has come of the next event.
    Between(Between),
    /// A channel's event stream.
    Feed(Box<Feed>),
    /// Read and forgotten, so that the connection can be used again.
    Drop,
}

impl Inbound {
    pub(crate) fn whole(status: u16) -> Self {
        Self::Whole { status, body: Incoming::default() }
    }
}

/// A small answer that is rewritten whole.
#[derive(Debug, Default)]
pub(crate) struct Short {
    /// What is done to it, until its first piece comes.
    pub(crate) plan: Plan,
    pub(crate) length: usize,
    /// Kept for its next piece, where it comes in several.
    pub(crate) rewriter: Option<Box<Rewriter>>,
    pub(crate) body: Vec<u8>,
    /// All of it, where nothing was to be done.
    pub(crate) spared: Bytes,
    pub(crate) complete: bool,
}

/// An answer of another era than its client's.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) rewriter: Rewriter,
    pub(crate) held: Held,
    /// How much of it has come.
    pub(crate) came: usize,
    /// It is certainly an answer.
    pub(crate) settled: bool,
    /// Its target may still ask the client something, and then it is for another request than it was when it began.
    pub(crate) askable: bool,
    /// It is too long to be written with its length: it goes on as it comes as soon as it is settled.
    pub(crate) long: bool,
}

/// A target's event stream, being read.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) parser: sse::Parser,
    /// What has come of the event at hand and has not been passed on.
    pub(crate) held: Held,
    /// The rewriter of the event at hand, once there is data of it: streams wait long, and there are many.
    pub(crate) rewriter: Option<Box<Rewriter>>,
    /// For the next event's rewriter. Without one events are looked at when they are whole, and as they came.
    pub(crate) plan: Option<Box<Plan>>,
    /// The event at hand is an answer on its way to the client.
    pub(crate) passing: bool,
    /// The event at hand is no JSON: the rest of it is dropped.
    pub(crate) broken: bool,
    /// The answer was on it.
    pub(crate) answered: bool,
    /// The last event id on it or before it, whether there was one on it, and what it said of reconnecting.
    pub(crate) last: Option<Bytes>,
    pub(crate) moved: bool,
    pub(crate) retry: Option<u64>,
}

/// What is known of a target's event stream between two events: streams wait long, and there are many.
#[derive(Debug, Default)]
pub(crate) struct Between {
    /// A part of an event has come.
    pub(crate) begun: bool,
    pub(crate) plan: Option<Box<Plan>>,
    pub(crate) answered: bool,
    pub(crate) last: Option<Bytes>,
    pub(crate) moved: bool,
    pub(crate) retry: Option<u64>,
}

impl Between {
    /// At the start of a stream of which every answer is rewritten by `plan`, or no answer of it goes to a client as
    /// it is.
    pub(crate) fn new(plan: Option<Plan>) -> Self {
        Self { plan: plan.map(Box::new), ..Self::default() }
    }
}

impl Events {
    /// Goes on reading a stream of which nothing is at hand, with the room that another has left.
    pub(crate) fn go_on(&mut self, between: Between) {
        match between.begun {
            false => self.parser = sse::Parser::new(),
            true => self.parser.go_on(),
        }
        self.plan = between.plan;
        self.answered = between.answered;
        self.last = between.last;
        self.moved = between.moved;
        self.retry = between.retry;
    }

    /// What is left to know of the stream, unless it is in the middle of an event.
    pub(crate) fn pause(&mut self) -> Option<Between> {
        if self.passing || self.broken || self.rewriter.is_some() || !self.held.is_empty() {
            return None;
        }
        self.parser.is_between_events().then(|| Between {
            begun: true,
            plan: self.plan.take(),
            answered: self.answered,
            last: self.last.take(),
            moved: self.moved,
            retry: self.retry,
        })
    }
}

/// Why a request to a target failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// It has no endpoint at the moment.
    Nowhere,
    /// The endpoint that had its session is gone, and so was the next.
    Gone,
    Connect(Fault),
    Lost(Fault),
    /// It took too long to do this.
    Late(&'static str),
    /// What it sent is no HTTP, no JSON-RPC, or no MCP.
    Malformed(&'static str),
    /// Its event stream ended without an answer.
    Silent,
    Status(u16),
    TooLarge,
    /// It went on talking while its client was being asked.
    Chatty,
    /// Our own limit on connections and waiting requests.
    Busy,
    /// Our own limit on channels.
    Crowded,
    /// Its process could not be started.
    Unstarted(Fault),
    /// Its process is gone.
    Exited,
    /// Its event stream is gone, on which everything else would have come.
    Hushed,
    /// The endpoint its event stream named is of no use.
    Endpoint(&'static str),
    /// It failed a moment ago and is left alone for another.
    Recently(Arc<str>),
    /// Its session could not be opened.
    Refused(Arc<str>),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("it has no reachable endpoint at the moment: try again later"),
            Self::Gone => f.write_str("the instance that had its session is gone"),
            Self::Connect(fault) => write!(f, "it can't be reached ({fault})"),
            Self::Lost(fault) => write!(f, "the connection broke before the answer was complete ({fault})"),
            Self::Late(what) => write!(f, "it took too long to {what}"),
            Self::Malformed(what) => write!(f, "its answer is malformed: {what}"),
            Self::Silent => f.write_str("it hung up without an answer"),
            Self::Status(401) => f.write_str("it refused the gateway's credentials"),
            Self::Status(403) => f.write_str("it forbids the gateway's requests (HTTP 403)"),
            Self::Status(status) => write!(f, "it answered with HTTP status {status}"),
            Self::TooLarge => f.write_str("its answer is too large to be looked into"),
            Self::Chatty => f.write_str("it said too much while its client was being asked"),
            Self::Busy => f.write_str("too many requests wait for it"),
            Self::Crowded => f.write_str("too many processes and event streams of targets are in use"),
            Self::Unstarted(fault) => write!(f, "its process can't be started ({fault})"),
            Self::Exited => f.write_str("its process ended"),
            Self::Hushed => f.write_str("its event stream ended"),
            Self::Endpoint(why) => write!(f, "the endpoint its event stream names can't be used: {why}"),
            Self::Recently(reason) => f.write_str(reason),
            Self::Refused(reason) => write!(f, "it refused the session: {reason}"),
        }
    }
}
