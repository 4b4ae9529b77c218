//! Requests for backends that are plain HTTP services: they go there as they came, and so do the answers come back.
//!
//! ```text
//! intake: admit ─► way ─► pass_through ─► head written anew, body ─► a leg ─► pool ─► target
//! client ◄─ outbox ◄─ write_body ◄─ begin_passed ◄─ pass_head ◄─ answers ◄────────────┘
//! ```
//!
//! All fields keep their names, values and order, but for those that belong to one connection alone (RFC 9110, 7.6.1) and
//! those that say by which way a request came. Its body is there whole when it is passed on; an answer's goes through
//! piece by piece, in bounded memory. No JSON is looked for in either, and no session is.

mod answer;

use crate::ConnId;
use crate::conn::{Conn, Phase, Role};
use crate::edge::Fault;
use crate::exchange::{Answer, Exchange, ExchangeId, Part, Work};
use crate::http::{Framing, Request, write};
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::shard::Shard;
use bytes::Bytes;
use routing::{Backend, Target};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

impl Shard {
    /// Passes a client's request on to the only target of `backend`.
    pub(crate) fn pass_through(&mut self, id: ExchangeId, backend: &Backend) {
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else { return };
        let peer = client.peer.ip();
        let Some(exchange) = client.exchange.as_mut().filter(|it| it.serial == id.serial) else { return };
        if is_upgrade(&exchange.head) {
            let words = "connections that change their protocol (Upgrade, as of WebSocket) are not passed on";
            return self.answer_plainly(id, 501, words);
        }
        let Some(target) = backend.single().map(Arc::clone) else {
            return self.answer_plainly(id, 503, "nothing stands behind this backend");
        };
        let method = exchange.head.method;
        let head = request_head(exchange, &target, peer, self.config.keys.via());
        let purpose = Purpose::Pass { exchange: id };
        let mut leg = Leg::new(Arc::clone(&target), None, purpose, method, exchange.body.clone());
        leg.head = Some(Box::new(head));
        leg.repeatable = method.is_idempotent();
        leg.attempt = exchange.way.rule.as_ref().and_then(|rule| rule.backend_timeout);
        let leg = self.legs.insert(leg);
        exchange.parts.push(Part { work: Work::Pass { target: target.id.clone(), leg }, ..Part::new(0..0) });
        self.counters.calls.add(1);
        self.dispatch_leg(leg);
    }

    /// A request could not be passed on, or its answer broke off.
    pub(crate) fn pass_failed(&mut self, id: ExchangeId, target: &Target, trouble: &Trouble) {
        let words = format!("\"{}\" failed: {trouble}", target.id);
        match self.exchange(id).map(|exchange| exchange.answer) {
            Some(Answer::Open) => self.answer_plainly(id, status(trouble), &words),
            Some(Answer::Begun { .. }) => self.cut(id, &words),
            Some(Answer::Done) | None => {}
        }
    }

    /// Whether what a client is given is a stream that may be silent for ever: then there must be somebody who reads it.
    pub(crate) fn is_passed_a_stream(&self, conn: ConnId) -> bool {
        let Some(Role::Client(client)) = self.conns.get(conn).map(|slot| &slot.role) else { return false };
        let leg = client.exchange.as_ref().and_then(Exchange::passed_by).and_then(|leg| self.legs.get(leg));
        let by = leg.and_then(|leg| self.conns.get(leg.conn?)).map(|slot| &slot.role);
        matches!(by, Some(Role::Target(upstream)) if upstream.phase == Phase::Streaming)
    }
}

impl Exchange {
    /// The request to a plain HTTP service that this one is passed on as.
    pub(crate) fn passed_by(&self) -> Option<LegId> {
        match self.parts.first()?.work {
            Work::Pass { leg, .. } => Some(leg),
            _ => None,
        }
    }
}

/// Whether a client would speak something else on its connection from now on. Who offers HTTP/2 can do without
/// (RFC 9110, 7.8), and an offer of HTTP/1.0 counts for nothing.
fn is_upgrade(head: &Request) -> bool {
    let offers = head.fields.values("upgrade").flat_map(|value| value.split(|byte| *byte == b','));
    let mut others = offers.map(<[u8]>::trim_ascii).filter(|offer| !offer.eq_ignore_ascii_case(b"h2c"));
    !head.http10 && head.fields.lists("connection", "upgrade") && others.any(|offer| !offer.is_empty())
}

/// The head of the request to a target, the same at whichever endpoint.
fn request_head(exchange: &Exchange, target: &Target, peer: IpAddr, via: &str) -> Bytes {
    let (head, fields) = (&exchange.head, &exchange.head.fields);
    let edit = exchange.way.rule.as_ref().and_then(|rule| rule.rewrite.path.as_ref());
    let path = edit.map_or_else(|| Cow::Borrowed(head.path()), |edit| edit.apply(head.path()).into());
    // What the rule says, else whom the client means, also where the request target says so and `Host` another (RFC 9112,
    // 3.2.2); HTTP/1.0 need not say.
    let host = fields.given().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, host)| host);
    let said = Some(head.authority()).filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| said.unwrap_or(&target.authority).as_bytes());
    let mut out = Vec::with_capacity(1024);
    match head.query() {
        Some(query) => write::request(&mut out, head.method, &format!("{path}?{query}")),
        None => write::request(&mut out, head.method, &path),
    }
    write::field(&mut out, "host", host);
    let mut measured = false;
    for (name, value) in fields.end_to_end() {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // What was expected has come: the body is here.
        if is("host") || is("expect") || is("x-forwarded-for") {
            continue;
        }
        measured |= is("content-length");
        write::field(&mut out, name, value);
    }
    if !measured && head.framing != Framing::None {
        write::length(&mut out, exchange.body.len() as u64);
    }
    let mut hops = fields.values("x-forwarded-for").collect::<Vec<_>>();
    let peer = peer.to_canonical().to_string();
    hops.push(peer.as_bytes());
    write::field(&mut out, "x-forwarded-for", &hops.join(b", ".as_slice()));
    if fields.first("x-forwarded-proto").is_none() {
        write::field(&mut out, "x-forwarded-proto", b"http");
    }
    write::field(&mut out, "via", via.as_bytes());
    for (name, value) in &target.headers {
        write::field(&mut out, name, value.as_bytes());
    }
    write::end(&mut out);
    out.into()
}

/// What a client is told of a target that gave no answer (RFC 9110, 15.6).
fn status(trouble: &Trouble) -> u16 {
    match trouble {
        Trouble::Nowhere | Trouble::Busy => 503,
        Trouble::Late(_) | Trouble::Connect(Fault::TimedOut) | Trouble::Lost(Fault::TimedOut) => 504,
        _ => 502,
    }
}
