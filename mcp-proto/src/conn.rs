//! One connection: a client's or one to a target.

use crate::channel::Child;
use crate::endpoints::EndpointId;
use crate::exchange::Exchange;
use crate::forward::Ticket;
use crate::http::{ClientCodec, Request, ServerCodec};
use crate::leg::LegId;
use crate::one_stream::OneStream;
use crate::outbox::Outbox;
use crate::session::SessionId;
use crate::{ConnId, Limits};
use bytes::{Bytes, BytesMut};
use routing::TargetId;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) role: Role,
    pub(crate) outbox: Outbox,
    /// `Flush` is queued or the frontend waits for room in the socket.
    pub(crate) armed: bool,
    pub(crate) paused: bool,
    /// Closed as soon as the outbox is empty.
    pub(crate) closing: bool,
    /// When the peer last took bytes, or when the first bytes began to wait.
    pub(crate) progress: Instant,
    /// When its timer looks at it next.
    pub(crate) timer: Option<Instant>,
}

#[derive(Debug)]
pub(crate) enum Role {
    Client(Box<Client>),
    Target(Box<Upstream>),
    /// A target that is a child process.
    Child(Box<Child>),
}

/// A client's connection, with a socket or without.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wire: Wire,
    /// Where the socket listens that accepted it, if one did.
    pub(crate) at: Option<SocketAddr>,
    pub(crate) peer: SocketAddr,
    pub(crate) codec: ServerCodec,
    /// A request whose body is still coming, and what came of it.
    pub(crate) incoming: Option<Box<Option<(Request, Incoming)>>>,
    pub(crate) exchange: Option<Exchange>,
    /// The exchange is the client's one stream for everything.
    pub(crate) stream: Option<Box<OneStream>>,
    pub(crate) serial: u32,
    /// The last session id seen here and what it opened to: opened once, not once a request.
    pub(crate) memo: Option<(Bytes, SessionId)>,
    /// When the present phase began: waiting for a request, its head, its body.
    pub(crate) since: Instant,
    /// The client sends no more.
    pub(crate) ended: bool,
    /// A request has been answered on it.
    pub(crate) used: bool,
    /// It ends with what is under way: nobody listens any more where it was accepted.
    pub(crate) leaving: bool,
}

/// Where what is written to a client goes. All without a socket are [virtual](crate::virtual_client): made for one
/// exchange, unknown to the frontend, gone with the exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wire {
    /// To its own socket, as HTTP.
    Socket,
    /// The same, as lines of whole messages.
    Lines,
    /// As HTTP to the shard that has the client.
    Shard(Ticket),
    /// As whole messages onto the one stream that this connection is.
    Stream(ConnId),
    /// Nowhere: the exchange is there for the target streams that it owns.
    Nowhere,
}

impl Wire {
    /// Whether the frontend knows the connection.
    pub(crate) fn is_socket(self) -> bool {
        matches!(self, Self::Socket | Self::Lines)
    }

    /// Whether it takes whole messages, and no HTTP.
    pub(crate) fn carries_messages(self) -> bool {
        matches!(self, Self::Lines | Self::Stream(_) | Self::Nowhere)
    }
}

impl Client {
    pub(crate) fn new(wire: Wire, peer: SocketAddr, limits: &Limits, now: Instant) -> Self {
        Self {
            wire,
            at: None,
            peer,
            codec: ServerCodec::new(limits),
            incoming: None,
            exchange: None,
            stream: None,
            serial: 0,
            memo: None,
            since: now,
            ended: false,
            used: false,
            leaving: false,
        }
    }
}

/// A body that is still coming: one piece costs nothing, several are put together.
#[derive(Debug)]
pub(crate) enum Incoming {
    One(Bytes),
    Many(BytesMut),
}

impl Default for Incoming {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Incoming {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        match self {
            Self::One(first) if first.is_empty() => *self = Self::One(piece),
            Self::One(first) => {
                let mut many = BytesMut::with_capacity((first.len() + piece.len()) * 2);
                many.extend_from_slice(first);
                many.extend_from_slice(&piece);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.extend_from_slice(&piece),
        }
    }

    pub(crate) fn done(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

/// A connection to a target.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) target: TargetId,
    /// Where it leads.
    pub(crate) at: EndpointId,
    pub(crate) codec: ClientCodec,
    pub(crate) leg: Option<LegId>,
    pub(crate) phase: Phase,
    /// An answer has been received on it before.
    pub(crate) used: bool,
    /// How long the target keeps it open without a request.
    pub(crate) keep: Duration,
}

/// What a connection to a target is doing, and since when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Connecting(Instant),
    Idle(Instant),
    /// The request was written.
    Waiting(Instant),
    /// Bytes of an answer came.
    Answering(Instant),
    /// An event stream: silence is no fault.
    Streaming,
}

impl Conn {
    pub(crate) fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            outbox: Outbox::default(),
            armed: false,
            paused: false,
            closing: false,
            progress: now,
            timer: None,
        }
    }

    /// Whether the frontend knows it.
    pub(crate) fn has_socket(&self) -> bool {
        match &self.role {
            Role::Client(client) => client.wire.is_socket(),
            Role::Target(_) | Role::Child(_) => true,
        }
    }

    pub(crate) fn client(&mut self) -> Option<&mut Client> {
        match &mut self.role {
            Role::Client(client) => Some(client),
            Role::Target(_) | Role::Child(_) => None,
        }
    }

    pub(crate) fn upstream(&mut self) -> Option<&mut Upstream> {
        match &mut self.role {
            Role::Target(upstream) => Some(upstream),
            Role::Client(_) | Role::Child(_) => None,
        }
    }

    pub(crate) fn child(&mut self) -> Option<&mut Child> {
        match &mut self.role {
            Role::Child(child) => Some(child),
            Role::Client(_) | Role::Target(_) => None,
        }
    }
}
