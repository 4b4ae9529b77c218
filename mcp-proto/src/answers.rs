//! What targets answer: head, body and end of each answer go to whoever waits for them.

use crate::channel::Via;
use crate::conn::{Conn, Phase};
use crate::http::Response;
use crate::jsonrpc::rewrite::{Plan, Rewriter};
use crate::leg::{Between, Inbound, Leg, LegId, Purpose, Short, Trouble};
use crate::session::TargetState;
use crate::shard::{Closing, Deferred, Shard};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// Room that is kept for putting answers together, of all that are under way at once the last one's.
const SCRATCH: usize = 256 << 10;

/// How much of an answer is kept that only explains a failure.
const EXPLANATION: usize = 64 << 10;

impl Shard {
    /// The head of an answer: decides what is done with its body.
    pub(crate) fn leg_head(&mut self, id: LegId, head: &Response) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let inbound = match leg.purpose {
            _ if leg.via.is_some() => match head.status {
                200..300 => Inbound::Drop,
                status => Inbound::whole(status),
            },
            Purpose::Quiet | Purpose::Greet { .. } | Purpose::Remote { .. } => Inbound::Drop,
            Purpose::Feed { .. } => self.feed_head(id, head),
            Purpose::Part { exchange, part, slot: None } => self.call_head(id, exchange, part, head),
            Purpose::Part { exchange, slot: Some(_), .. } => {
                let took = leg.sent_at.map(|at| self.now.saturating_duration_since(at));
                if let Some(exchange) = self.exchange_mut(exchange) {
                    exchange.log.target_duration = exchange.log.target_duration.max(took);
                }
                self.whole_or_events(id, head)
            }
            Purpose::Probe | Purpose::Schemas { .. } | Purpose::Subscribe { .. } | Purpose::Parked { .. } => {
                self.whole_or_events(id, head)
            }
            Purpose::Open { .. } => {
                leg.session_id = head.fields.first("mcp-session-id").map(Into::into);
                self.whole_or_events(id, head)
            }
            Purpose::Stream { exchange } => self.stream_head(id, exchange, head),
            Purpose::Resume { exchange } => self.resume_head(id, exchange, head),
            Purpose::Pass { exchange } => self.pass_head(id, exchange, head),
        };
        if let Some(leg) = self.legs.get_mut(id) {
            leg.inbound = inbound;
        }
    }

    fn whole_or_events(&mut self, id: LegId, head: &Response) -> Inbound {
        use crate::federation::Media;
        if head.status == 200 && Media::of(head) == Media::Events {
            self.stream_answer(id);
            return Inbound::Between(Between::default());
        }
        Inbound::whole(head.status)
    }

    /// The answer is an event stream: silence on it is no fault while somebody hears it.
    pub(crate) fn stream_answer(&mut self, id: LegId) {
        let Some((conn, purpose)) = self.legs.get(id).and_then(|leg| Some((leg.conn?, leg.purpose))) else {
            return;
        };
        let phase = if self.is_awaited(purpose) { Phase::Streaming } else { Phase::Answering(self.now) };
        if let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) {
            upstream.phase = phase;
            self.watch(conn);
        }
    }

    /// Whoever waited for an answer has it, or is gone: if it is an event stream, it may be silent no longer.
    pub(crate) fn limit_silence(&mut self, id: LegId) {
        let Some(conn) = self.legs.get(id).and_then(|leg| leg.conn) else { return };
        let upstream = self.conns.get_mut(conn).and_then(Conn::upstream);
        if upstream.is_some_and(|upstream| upstream.phase == Phase::Streaming) {
            self.stream_answer(id);
        }
    }

    /// Whether there is somebody who decides for how long to wait for what comes on an event stream.
    fn is_awaited(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Stream { .. } | Purpose::Feed { .. } | Purpose::Parked { .. } => true,
            Purpose::Part { exchange, slot: None, .. }
            | Purpose::Resume { exchange }
            | Purpose::Pass { exchange } => self.exchange(exchange).is_some(),
            // It has the time of what it answers, which is shorter.
            _ => purpose.is_for_one_answer(),
        }
    }

    /// A piece of an answer's body.
    pub(crate) fn leg_body(&mut self, id: LegId, bytes: Bytes) {
        let limits = self.config.limits;
        let Some(leg) = self.legs.get_mut(id) else { return };
        let purpose = leg.purpose;
        let mut inbound = std::mem::replace(&mut leg.inbound, Inbound::Drop);
        if let Inbound::Between(between) = inbound {
            inbound = Inbound::Events(self.resume_events(between));
        }
        let result = match (&mut inbound, purpose) {
            (Inbound::Head | Inbound::Drop | Inbound::Between(_), _) => Ok(()),
            (Inbound::Whole { status, body }, _) => {
                let most = if (200..300).contains(status) { limits.message } else { EXPLANATION };
                if body.len() + bytes.len() <= most {
                    body.push(bytes);
                    Ok(())
                } else if *status == 200 {
                    Err(Trouble::TooLarge)
                } else {
                    Ok(())
                }
            }
            (Inbound::Short(short), _)
                if short.rewriter.is_none()
                    && bytes.len() == short.length
                    && short.plan.spares(&bytes, limits.depth) =>
            {
                (short.spared, short.complete) = (bytes, true);
                Ok(())
            }
            (Inbound::Short(short), _) => {
                let Short { plan, length, rewriter, body, complete, .. } = &mut **short;
                if body.capacity() == 0 {
                    *body = std::mem::take(&mut self.scratch);
                    body.reserve(*length);
                }
                let pushed = if rewriter.is_none() && bytes.len() == *length {
                    let mut rewriter = Rewriter::new(std::mem::take(plan), limits.depth);
                    rewriter.push(&bytes, body).map(|()| rewriter.is_complete())
                } else {
                    let rewriter = rewriter.get_or_insert_with(|| self.rewriter(std::mem::take(plan)));
                    rewriter.push(&bytes, body).map(|()| rewriter.is_complete())
                };
                pushed.map(|it| *complete = it).map_err(|_| Trouble::Malformed("it is no JSON"))
            }
            (Inbound::Look(look), Purpose::Part { exchange, .. }) => {
                self.look_body(exchange, look, bytes).map(|pass| {
                    if let Some(pass) = pass {
                        inbound = pass;
                    }
                })
            }
            (Inbound::Look(_), _) => Ok(()),
            (Inbound::Pass { rewriter, .. }, Purpose::Part { exchange, .. }) => {
                self.pass_body(exchange, rewriter, bytes)
            }
            (Inbound::Pass { .. }, Purpose::Pass { exchange }) => {
                self.write_body(exchange, bytes);
                Ok(())
            }
            (Inbound::Pass { .. }, _) => Ok(()),
            (Inbound::Events(events), _) => self.read_events(id, events, bytes),
            (Inbound::Feed(feed), Purpose::Feed { channel }) => {
                self.read_feed(id, channel, feed, bytes);
                Ok(())
            }
            (Inbound::Feed(_), _) => Ok(()),
        };
        let events = matches!(inbound, Inbound::Events(_));
        if let Inbound::Events(events) = inbound {
            inbound = self.pause_events(events);
        }
        // What happened may have given the answer another fate.
        if let Some(leg) = self.legs.get_mut(id)
            && (leg.purpose == purpose || events)
        {
            leg.inbound = inbound;
        }
        if let Err(trouble) = result {
            self.break_off(id, trouble);
        }
    }

    /// The target is at fault in the middle of an answer: its connection is of no more use.
    pub(crate) fn break_off(&mut self, id: LegId, trouble: Trouble) {
        if let Some(conn) = self.legs.get(id).and_then(|leg| leg.conn) {
            self.close(conn, Closing::Abort);
        }
        self.leg_failed(id, trouble);
    }

    /// An answer is complete.
    pub(crate) fn leg_ended(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let (purpose, via) = (leg.purpose, leg.via);
        match (std::mem::replace(&mut leg.inbound, Inbound::Drop), purpose) {
            (inbound, _) if let Some(Via::Channel(on, _)) = via => {
                let status = if let Inbound::Whole { status, .. } = inbound { status } else { 202 };
                self.carried(id, on, status);
            }
            (_, Purpose::Greet { again }) => self.greeted(id, again),
            (Inbound::Head | Inbound::Drop, _) => self.drop_leg(id),
            (Inbound::Short(mut short), Purpose::Part { exchange, .. }) => {
                let (body, spared) = (std::mem::take(&mut short.body), std::mem::take(&mut short.spared));
                self.drop_leg(id);
                if short.complete {
                    self.respond(exchange, 200, if spared.is_empty() { &body } else { &spared }, &[]);
                    (short.plan, short.rewriter) = (Plan::default(), None);
                    self.short = Some(short);
                } else {
                    let words = "the target's answer is no JSON";
                    self.fail_part(exchange, 0, crate::refusal::INTERNAL_ERROR, words, None);
                }
                self.keep_room(body);
            }
            (Inbound::Pass { event, .. }, Purpose::Part { exchange, .. }) => {
                self.drop_leg(id);
                if event {
                    let mut end = Vec::new();
                    crate::sse::write::end(&mut end);
                    self.write_copy(exchange, &end);
                }
                self.finish(exchange);
            }
            (Inbound::Pass { .. }, Purpose::Pass { exchange }) => {
                self.drop_leg(id);
                self.finish(exchange);
            }
            (Inbound::Look(look), Purpose::Part { exchange, part, .. }) => {
                self.looked_at_answer(id, exchange, part, *look);
            }
            (Inbound::Short(_) | Inbound::Pass { .. } | Inbound::Look(_), _) => self.drop_leg(id),
            (Inbound::Whole { status, body }, _) => self.whole_answer(id, purpose, status, &body.done()),
            (Inbound::Events(events), _) => self.events_ended(id, &events),
            (Inbound::Between(between), _) => {
                let events = self.resume_events(between);
                self.events_ended(id, &events);
                self.events = Some(events);
            }
            (Inbound::Feed(_), _) => self.leg_failed(id, Trouble::Hushed),
        }
    }

    /// An answer was put together here: its room is for the next.
    pub(crate) fn keep_room(&mut self, mut room: Vec<u8>) {
        // It was not taken.
        if room.capacity() == 0 {
            return;
        }
        room.clear();
        room.shrink_to(SCRATCH);
        self.scratch = room;
    }

    /// An answer that was kept whole.
    pub(crate) fn whole_answer(&mut self, id: LegId, purpose: Purpose, status: u16, body: &[u8]) {
        if let Purpose::Parked { call } = purpose {
            return self.keep_whole(call, status, body);
        }
        if self.is_session_lost(id, status, body) {
            return self.renew(id);
        }
        if let (Purpose::Part { exchange, part, slot: Some(slot) }, Some(known)) =
            (purpose, self.known_list(id, status, body))
        {
            return self.slot_said(id, exchange, part, slot, status, known);
        }
        if self.is_doubtful(id, status, body) {
            return;
        }
        match purpose {
            Purpose::Part { exchange, part, slot: None } => self.call_whole(id, exchange, part, status, body),
            Purpose::Part { exchange, part, slot: Some(slot) } => {
                self.slot_answered(id, exchange, part, slot, status, body);
            }
            Purpose::Open { asker } => self.target_answered(id, asker, status, body),
            Purpose::Stream { exchange } if status == 200 && self.is_listening(id) => {
                self.listen_answered(id, exchange, body);
            }
            Purpose::Stream { exchange } => self.stream_refused(id, exchange, status),
            Purpose::Subscribe { exchange } => self.resource_told(id, exchange, body),
            Purpose::Resume { exchange } => self.resume_refused(id, exchange, status),
            Purpose::Probe => self.probe_answered(id, status, body),
            Purpose::Schemas { .. } if (200..300).contains(&status) => self.schemas_answered(id, body),
            Purpose::Schemas { .. } => self.leg_failed(id, Trouble::Status(status)),
            Purpose::Feed { channel } => {
                self.drop_leg(id);
                self.feed_refused(channel, status);
            }
            // On a channel; what it says to a log level is not waited for in vain, whatever it is.
            Purpose::Greet { again } => self.greeted(id, again),
            Purpose::Quiet | Purpose::Remote { .. } | Purpose::Parked { .. } | Purpose::Pass { .. } => {
                self.drop_leg(id);
            }
        }
    }

    /// 404 is the specification's word for a session that is gone; some servers say 400 and mention it in the text.
    fn is_session_lost(&self, id: LegId, status: u16, body: &[u8]) -> bool {
        let Some(leg) = self.legs.get(id) else { return false };
        if leg.session.is_none()
            || leg.session_id.is_none()
            || leg.reopened >= self.renewals(leg)
            || matches!(leg.purpose, Purpose::Open { .. })
        {
            return false;
        }
        let mentions = || body.windows(7).any(|window| window.eq_ignore_ascii_case(b"session"));
        status == 404 || (status == 400 && mentions())
    }

    /// How often a request may be sent again with another target session: what the session's home has may be as old as
    /// what was known here.
    fn renewals(&self, leg: &Leg) -> u8 {
        let home = leg.session.and_then(|session| self.sessions.get(session)).map(|session| session.home);
        if home == Some(self.id) { 1 } else { 2 }
    }

    /// A target forgot the session: opens it anew and sends the request once more, which was refused unread.
    fn renew(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.reopened += 1;
        leg.inbound = Inbound::Head;
        let target = Arc::clone(&leg.target);
        let (Some(session_id), Some(sent)) = (leg.session, leg.session_id.take()) else { return };
        let Some(session) = self.sessions.get_mut(session_id) else {
            return self.leg_failed(id, Trouble::Status(404));
        };
        let state = session.target_mut(&target.id);
        if let TargetState::Ready(opened) = state
            && opened.id.as_ref() == Some(&sent)
        {
            let lost = opened.clone();
            *state = TargetState::Absent;
            self.open_target(session_id, &target, Some(lost), Vec::new());
        }
        self.start_in_session(id);
    }

    /// A request could not be sent, or its answer broke off.
    pub(crate) fn leg_failed(&mut self, id: LegId, trouble: Trouble) {
        let Some(leg) = self.legs.get(id) else { return };
        let (purpose, target) = (leg.purpose, Arc::clone(&leg.target));
        self.saw_trouble(&target.id, &trouble);
        if let Purpose::Parked { call } = purpose {
            return self.keep_failure(id, call, trouble);
        }
        let Some(leg) = self.legs.remove(id) else { return };
        self.counters.calls.sub(1);
        self.counters.target_failures.add(1);
        self.leave_channel(id, &leg);
        match leg.purpose {
            Purpose::Part { exchange, part, slot: None } => {
                self.call_failed(&leg.target.id, exchange, part, &trouble);
            }
            Purpose::Part { exchange, part, slot: Some(slot) } => {
                self.slot_done(exchange, part, slot, Err(trouble.to_string()));
            }
            Purpose::Open { asker } => self.target_refused(&leg.target, leg.session, asker, &trouble),
            Purpose::Stream { exchange } => self.stream_ended(exchange, &leg.target.id),
            Purpose::Subscribe { exchange } => self.resource_not_told(exchange, &leg.target.id),
            Purpose::Resume { exchange } => self.finish_or_fail(exchange, &trouble),
            Purpose::Pass { exchange } => self.pass_failed(exchange, &leg.target, &trouble),
            Purpose::Greet { .. } => self.target_refused(&leg.target, leg.session, None, &trouble),
            Purpose::Probe => self.probe_failed(&leg.target, &trouble),
            Purpose::Schemas { .. } => self.schemas_failed(&leg.target.id, &trouble),
            Purpose::Remote { shard, leg, .. } => self.remote_failed(shard, leg, trouble),
            Purpose::Feed { channel } => self.feed_failed(channel, &trouble),
            Purpose::Quiet | Purpose::Parked { .. } => {}
        }
    }

    /// A request is over and done with.
    pub(crate) fn drop_leg(&mut self, id: LegId) {
        if self.legs.get(id).is_some_and(|leg| leg.via.is_none()) {
            self.legs.discard(id);
            return self.counters.calls.sub(1);
        }
        if let Some(leg) = self.legs.remove(id) {
            self.counters.calls.sub(1);
            self.leave_channel(id, &leg);
        }
    }

    /// A request whose answer has been dealt with; its stream may still be open.
    pub(crate) fn settle_leg(&mut self, id: LegId) {
        match self.legs.get(id).map(|leg| leg.conn.is_some()) {
            Some(true) => self.quiet(id),
            _ => self.drop_leg(id),
        }
    }

    /// A request that has waited too long for a connection, a session, or an answer on a channel; unless it has moved
    /// on.
    pub(crate) fn leg_due(&mut self, id: LegId, at: Instant) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if leg.timer != Some(at) {
            return;
        }
        leg.timer = None;
        if leg.round.as_ref().is_some_and(|round| round.is_open()) {
            return self.round_due(id);
        }
        if self.poll_due(id) {
            return;
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        // It waits for its client: however long that takes is not the target's fault.
        if matches!(leg.purpose, Purpose::Parked { .. }) {
            return;
        }
        let Some(deadline) = leg.deadline.filter(|_| leg.conn.is_none()) else { return };
        if deadline > self.now {
            return self.limit_leg(id, deadline);
        }
        if leg.unheard > 0 {
            return self.subscribed(id);
        }
        let what = match leg.via {
            Some(Via::Channel(..) | Via::Shard(_)) => "answer",
            Some(Via::Queue(_) | Via::Listener(_)) => "start",
            None => "accept a request",
        };
        let (session, target, waits) = (leg.session, Arc::clone(&leg.target), leg.via.is_none());
        self.deferred.push_back(Deferred::Fail(id, Trouble::Late(what)));
        if let Some(session) = session.filter(|_| waits) {
            self.ask_again(session, &target.id);
        }
    }
}
