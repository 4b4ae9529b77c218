//! A client's GET stream: one stream downstream, one at every target that offers any.

use crate::answer::Content;
use crate::exchange::{Exchange, ExchangeId, State, Stream};
use crate::federation::{Era, Media};
use crate::http::{Method, Response};
use crate::jsonrpc::rewrite::{Plan, Scope};
use crate::leg::{Between, Inbound, Leg, LegId, Purpose, Trouble};
use crate::refusal::Refusal;
use crate::seal::Kind;
use crate::session::SessionId;
use crate::shard::Shard;
use crate::sse;
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use routing::TargetId;
use std::sync::Arc;
use std::time::Duration;

/// Whatever a target says: without any pause, one that is gone would be asked without end.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Fields of a client's request that no target is given: the gateway writes them itself.
const WRITTEN: [&str; 6] =
    ["accept", "content-type", "host", "last-event-id", "mcp-protocol-version", "mcp-session-id"];

/// Where a stream broke off, from `Last-Event-ID`.
struct Point {
    /// A POST's answer stream, or else the session's GET stream.
    post: bool,
    places: Vec<(TargetId, Bytes)>,
}

impl Shard {
    /// Serves a GET: resumes a POST's stream, or becomes the session's own.
    pub(crate) fn listen(&mut self, id: ExchangeId, session_id: SessionId) {
        let point = self.point(id, session_id);
        if let Some(Point { post: true, places }) = &point
            && let Some((target, last)) = places.first()
        {
            return self.resume_call(id, session_id, target, last.clone());
        }
        self.begin(id, 200, Content::Events, &[]);
        let places = point.map(|point| point.places).unwrap_or_default();
        self.become_listener_from(id, session_id, &places);
    }

    /// Makes an event stream the session's own.
    pub(crate) fn become_listener(&mut self, id: ExchangeId, session: SessionId) {
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.session = Some(session);
        }
        self.become_listener_from(id, session, &[]);
    }

    fn become_listener_from(&mut self, id: ExchangeId, session_id: SessionId, places: &[(TargetId, Bytes)]) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let before = session.listener.replace(id).filter(|before| *before != id);
        let changed = std::mem::take(&mut session.changed);
        match before {
            Some(before) => self.end_stream(before),
            None => self.counters.streams.add(1),
        }
        if changed {
            self.lists_changed(session_id);
        }
        if let Some(exchange) = self.exchange_mut(id) {
            // From now on it matters only for what targets are given of it.
            exchange.head.shed(|name| !WRITTEN.iter().any(|own| name.eq_ignore_ascii_case(own)));
        }
        self.ask_subscriptions(session_id);
        self.open_streams(id, places);
    }

    /// Opens a stream at every target that something is wanted of.
    pub(super) fn open_streams(&mut self, id: ExchangeId, places: &[(TargetId, Bytes)]) {
        let targets = self.backend_of(id).targets().to_vec();
        let wanted = targets.into_iter().filter(|target| self.share(id, &target.id).is_some());
        let wanted: Vec<_> = wanted.map(|target| target.id.clone()).collect();
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.streams = wanted.iter().map(|target| Stream::new(target.clone(), places)).collect();
        }
        for target in wanted {
            self.open_stream(id, &target);
        }
    }

    /// Follows the routes: a target that is gone is heard no more, and one that is new and has no sessions is heard now.
    pub(crate) fn reroute_streams(&mut self, id: ExchangeId) {
        let targets = self.backend_of(id).targets().to_vec();
        let Some(exchange) = self.exchange_mut(id) else { return };
        let subscribes = exchange.subscription.is_some();
        let (stay, go) = std::mem::take(&mut exchange.streams)
            .into_iter()
            .partition::<Vec<_>, _>(|stream| targets.iter().any(|target| target.id == stream.target));
        exchange.streams = stay;
        for stream in go {
            self.end_target_stream(stream);
        }
        for target in &targets {
            let known = |stream: &Stream| stream.target == target.id;
            let later = !subscribes && matches!(self.era(target), Some(Era::Legacy | Era::Sse));
            if later || self.share(id, &target.id).is_none() {
                continue;
            }
            let Some(exchange) = self.exchange_mut(id) else { return };
            if !exchange.streams.iter().any(known) {
                exchange.streams.push(Stream::new(target.id.clone(), &[]));
                self.open_stream(id, &target.id);
            }
        }
    }

    fn end_target_stream(&mut self, stream: Stream) {
        for leg in stream.leg.into_iter().chain(stream.next) {
            self.abandon(leg);
        }
        self.tell_waiters(stream.waiters);
    }

    /// The point a `Last-Event-ID` names, if it is this session's.
    fn point(&self, id: ExchangeId, session: SessionId) -> Option<Point> {
        let session = self.sessions.get(session)?;
        let last = self.exchange(id)?.head.fields.first("last-event-id")?;
        let content = self.config.keys.open(Kind::Event, last)?;
        let mut reader = Reader::new(&content);
        if reader.u128()? != session.key {
            return None;
        }
        let post = reader.u8()? == 1;
        let mut places = Vec::new();
        while !reader.is_empty() {
            let target = TargetId::parse(&session.backend, reader.text()?).ok()?;
            places.push((target, Bytes::copy_from_slice(reader.bytes()?)));
        }
        Some(Point { post, places })
    }

    /// Our id for a target's event: what the target needs to go on from there.
    pub(crate) fn event_id(&mut self, id: LegId, last: &Bytes) -> Option<String> {
        let leg = self.legs.get(id)?;
        let target = leg.target.id.clone();
        let session = self.sessions.get(leg.session?)?;
        // Streams of clients that know no session can't be resumed; the target's still can, by the gateway.
        let (key, hidden) = (session.key, session.is_hidden());
        let mut writer = Writer::default();
        writer.u128(key);
        match leg.purpose {
            // A client that knows no session can't resume a stream.
            Purpose::Part { .. } if hidden => return None,
            // A batch's stream carries the answers of several targets: one of them can't resume it.
            Purpose::Part { exchange, .. } if !self.exchange(exchange)?.takes_pieces() => return None,
            Purpose::Part { slot: None, .. } | Purpose::Resume { .. } if !hidden => {
                writer.u8(1);
                writer.bytes(target.name.as_str().as_bytes());
                writer.bytes(last);
            }
            Purpose::Stream { exchange } => {
                writer.u8(0);
                let exchange = self.exchange_mut(exchange)?;
                if let Some(stream) = exchange.streams.iter_mut().find(|stream| stream.target == target) {
                    stream.last = Some(last.clone());
                }
                if hidden || exchange.shared || exchange.subscription.is_some() {
                    return None;
                }
                for stream in &exchange.streams {
                    let Some(last) = &stream.last else { continue };
                    writer.bytes(stream.target.name.as_str().as_bytes());
                    writer.bytes(last);
                }
            }
            _ => return None,
        }
        Some(self.config.keys.seal_equal(Kind::Event, &writer.done()))
    }

    fn resume_call(&mut self, id: ExchangeId, session: SessionId, target: &TargetId, last: Bytes) {
        let Some(target) = self.routes.find(target).map(Arc::clone) else {
            return self.refuse(id, &Refusal::http(404, "the target of this stream is gone"));
        };
        let stream = Stream::new(target.id.clone(), &[]);
        let mut leg =
            Leg::new(target, Some(session), Purpose::Resume { exchange: id }, Method::Get, Bytes::new());
        leg.last_event = Some(Box::new(last));
        let leg = self.legs.insert(leg);
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.streams.push(Stream { leg: Some(leg), ..stream });
        }
        self.start(leg);
    }

    pub(crate) fn resume_head(&mut self, id: LegId, exchange: ExchangeId, head: &Response) -> Inbound {
        if head.status == 200 && Media::of(head) == Media::Events {
            self.begin(exchange, 200, Content::Events, &[]);
            self.stream_answer(id);
            let target = self.legs.get(id).and_then(|leg| self.renames(&leg.target));
            return Inbound::Between(Between::new(Some(Plan::names(target, Scope::Result))));
        }
        Inbound::whole(head.status)
    }

    pub(crate) fn resume_refused(&mut self, id: LegId, exchange: ExchangeId, status: u16) {
        self.drop_leg(id);
        let status = if matches!(status, 400..500) && status != 401 && status != 403 { status } else { 404 };
        self.refuse(exchange, &Refusal::http(status, "the target does not resume this stream"));
    }

    /// A resumed stream broke off: the client may come again.
    pub(crate) fn finish_or_fail(&mut self, exchange: ExchangeId, trouble: &Trouble) {
        let Some(waiting) = self.exchange_mut(exchange) else { return };
        waiting.log.error = Some(trouble.to_string());
        match waiting.answer {
            crate::exchange::Answer::Open => {
                self.refuse(exchange, &Refusal::http(404, "the stream can't be resumed now"));
            }
            _ => self.finish(exchange),
        }
    }

    /// Opens the stream of one target, unless it is open; if that is to be replaced, one beside it.
    pub(crate) fn open_stream(&mut self, id: ExchangeId, target: &TargetId) {
        let routed = self.routes.find(target).map(Arc::clone);
        let Some(exchange) = self.exchange_mut(id) else { return };
        let Some(target) = routed else {
            // The target is gone, and with it what there was to open again.
            return exchange.streams.retain(|stream| stream.target != *target || stream.leg.is_some());
        };
        let session = exchange.session;
        let fields = exchange.passes(&target).then(|| Box::new(exchange.head.fields.clone()));
        let Some(stream) = exchange.streams.iter_mut().find(|stream| stream.target == target.id) else {
            return;
        };
        if stream.leg.is_some() && (stream.again.is_none() || stream.next.is_some()) {
            return;
        }
        stream.again = None;
        stream.stale = false;
        let name = target.id.clone();
        let mut leg = Leg::new(target, session, Purpose::Stream { exchange: id }, Method::Get, Bytes::new());
        leg.fields = fields;
        let leg = self.legs.insert(leg);
        let Some(exchange) = self.exchange_mut(id) else { return };
        if let Some(stream) = exchange.streams.iter_mut().find(|stream| stream.target == name) {
            if stream.leg.is_some() {
                stream.next = Some(leg);
            } else {
                stream.leg = Some(leg);
                stream.state = State::Waiting;
            }
        }
        self.start(leg);
    }

    pub(crate) fn stream_head(&mut self, id: LegId, exchange: ExchangeId, head: &Response) -> Inbound {
        if head.status != 200 || Media::of(head) != Media::Events {
            return Inbound::whole(head.status);
        }
        self.stream_answer(id);
        if !self.is_listening(id) {
            self.stream_attached(id, exchange);
        }
        Inbound::Between(Between::default())
    }

    /// A legacy target's stream is open, or its channel is heard.
    pub(crate) fn stream_attached(&mut self, id: LegId, exchange: ExchangeId) {
        self.promote(id, exchange);
        if let Some(stream) = self.stream_of(exchange, id) {
            stream.pause = Stream::PAUSE;
        }
        self.tell_resources(id, exchange);
    }

    pub(crate) fn stream_of(&mut self, exchange: ExchangeId, leg: LegId) -> Option<&mut Stream> {
        let mut streams = self.exchange_mut(exchange)?.streams.iter_mut();
        streams.find(|stream| stream.leg == Some(leg) || stream.next == Some(leg))
    }

    /// A target without such a stream is left alone; one that is busy or unwell is asked again.
    pub(crate) fn stream_refused(&mut self, id: LegId, exchange: ExchangeId, status: u16) {
        let target = self.legs.get(id).map(|leg| leg.target.id.clone());
        self.abandon(id);
        let Some(stream) = self.stream_of(exchange, id) else { return };
        // It does not take a second one: then the first must go before.
        let (first, had) = (stream.leg.filter(|_| stream.next == Some(id)), stream.gap);
        if let Some(first) = first {
            self.abandon(first);
        }
        // Nor is one that had a stream before: its session may have been lost once more.
        let again = first.is_some() || had && status != 405 || matches!(status, 409 | 429 | 500 | 502..);
        if again && let Some(target) = target {
            return self.stream_ended(exchange, &target);
        }
        if let Some(stream) = self.stream_of(exchange, id) {
            stream.leg = None;
            stream.state = State::Refused;
        }
        self.settle_subscription(exchange);
        self.settle_waiters(exchange);
    }

    /// A target's stream ended, or the one that was to replace it: it is opened again after a pause.
    pub(crate) fn stream_ended(&mut self, id: ExchangeId, target: &TargetId) {
        let now = self.now;
        let Some(exchange) = self.exchange(id) else { return };
        let Some(stream) = exchange.streams.iter().find(|stream| stream.target == *target) else { return };
        let alive = |leg: Option<LegId>| leg.filter(|leg| self.legs.get(*leg).is_some());
        let (leg, next) = (alive(stream.leg), alive(stream.next));
        let Some(exchange) = self.exchange_mut(id) else { return };
        let Some(stream) = exchange.streams.iter_mut().find(|stream| stream.target == *target) else {
            return;
        };
        if leg.is_none() {
            stream.gap |= matches!(stream.state, State::Open(_));
            stream.state = State::Waiting;
        }
        (stream.leg, stream.next) = (leg.or(next), next.filter(|_| leg.is_some()));
        if leg.is_none() && next.is_some() {
            return;
        }
        stream.again = Some(now + stream.pause);
        stream.pause = (stream.pause * 2).min(LONGEST_PAUSE);
        self.watch(id.conn);
        self.settle_subscription(id);
        self.settle_waiters(id);
    }

    /// What a target says about reconnecting: for its own stream to us, for a call's to the client.
    pub(crate) fn retry_told(&mut self, id: LegId, milliseconds: u64) {
        let Some(leg) = self.legs.get(id) else { return };
        match leg.purpose {
            Purpose::Stream { exchange } => {
                if let Some(stream) = self.stream_of(exchange, id) {
                    stream.pause = Duration::from_millis(milliseconds).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                }
            }
            Purpose::Part { exchange, slot: None, .. } | Purpose::Resume { exchange }
                if self.exchange(exchange).is_some_and(|it| it.accepts.events && it.modern.is_none()) =>
            {
                let mut line = Vec::new();
                sse::write::retry(&mut line, milliseconds);
                line.push(b'\n');
                self.write_event(exchange, &line);
            }
            _ => {}
        }
    }

    /// Opens streams whose pause is over.
    pub(crate) fn reopen_streams(&mut self, id: ExchangeId) {
        let now = self.now;
        let Some(exchange) = self.exchange(id) else { return };
        let due: Vec<_> = exchange
            .streams
            .iter()
            .filter(|stream| stream.again.is_some_and(|again| again <= now))
            .map(|stream| stream.target.clone())
            .collect();
        for target in due {
            self.open_stream(id, &target);
        }
    }

    /// A target session was opened: its stream can be, too.
    pub(crate) fn reopen_stream_of(&mut self, session: SessionId, target: &TargetId) {
        let Some(session) = self.sessions.get(session) else { return };
        let Some(listener) = session.listener else { return };
        let Some(exchange) = self.exchange_mut(listener) else { return };
        if !exchange.streams.iter().any(|stream| stream.target == *target) {
            exchange.streams.push(Stream::new(target.clone(), &[]));
        }
        self.open_stream(listener, target);
    }

    /// A message for a client on its own stream; whether it was taken.
    pub(crate) fn notify_listener(&mut self, listener: ExchangeId, message: &[u8]) -> bool {
        if !self.has_room(listener) {
            self.counters.dropped.add(1);
            return false;
        }
        let mut event = Vec::with_capacity(message.len() + 24);
        sse::write::event(&mut event, None, message);
        self.write_event(listener, &event);
        true
    }

    /// Ends a client's stream properly: because the session ended, or the gateway does.
    pub(crate) fn end_listener(&mut self, id: ExchangeId) {
        if let Some(session) = self.exchange(id).and_then(|exchange| exchange.session)
            && let Some(session) = self.sessions.get_mut(session)
            && session.listener == Some(id)
        {
            session.listener = None;
            self.counters.streams.sub(1);
        }
        self.end_stream(id);
    }

    fn end_stream(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        for stream in std::mem::take(&mut exchange.streams) {
            self.end_target_stream(stream);
        }
        self.finish(id);
    }

    /// A client's stream is gone, and what fed it with it.
    pub(crate) fn forget_listener(&mut self, id: ExchangeId, exchange: &mut Exchange) {
        let session = exchange.session.and_then(|session| self.sessions.get_mut(session));
        if let Some(session) = session.filter(|session| session.listener == Some(id)) {
            session.listener = None;
            session.used = self.now;
            self.counters.streams.sub(1);
        }
        for stream in std::mem::take(&mut exchange.streams) {
            self.end_target_stream(stream);
        }
    }
}

impl Stream {
    /// The first pause before a target's stream is opened again; it doubles with every failure.
    pub(super) const PAUSE: Duration = Duration::from_secs(1);

    fn new(target: TargetId, places: &[(TargetId, Bytes)]) -> Self {
        let last = places.iter().find(|(name, _)| *name == target).map(|(_, last)| last.clone());
        Self {
            target,
            leg: None,
            next: None,
            stale: false,
            state: State::Waiting,
            gap: false,
            resumes: false,
            told: None,
            last,
            again: None,
            pause: Self::PAUSE,
            waiters: Vec::new(),
        }
    }
}
