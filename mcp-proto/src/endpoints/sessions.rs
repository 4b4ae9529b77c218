//! Sessions and their endpoints: where a request goes, and what becomes of sessions whose endpoint is gone.
//!
//! A target session lives at one endpoint, and so do its requests, from whatever shard, as long as that endpoint is in
//! the snapshot, ready or draining. Who has its address afterwards never sees them. When it is gone, or can't be reached
//! while another can, the session is lost as if the target had said so, and opened anew with the next request; streams
//! that a client reads are the next request.

use super::{Astray, EndpointId};
use crate::ConnId;
use crate::conn::{Conn, Phase};
use crate::exchange::ExchangeId;
use crate::leg::{LegId, Purpose, Trouble};
use crate::pool::Pool;
use crate::session::{Opened, TargetState};
use crate::shard::{Closing, Deferred, Shard};
use routing::Target;
use std::sync::Arc;

impl Shard {
    /// The endpoint for a request, by its index.
    pub(crate) fn endpoint_for(&mut self, id: LegId) -> Result<usize, Astray> {
        let own = self.own_endpoint(id);
        let Self { legs, pools, rng, now, .. } = self;
        let nowhere = Astray::Stuck(Trouble::Nowhere);
        let Some((leg, pool)) = legs.get(id).and_then(|leg| Some((leg, pools.get(&leg.target.id)?))) else {
            return Err(nowhere);
        };
        let Pool { endpoints, .. } = pool;
        match own {
            // What belongs to a stream ends with it.
            Some(own) if leg.carried.is_some() => {
                let there = endpoints.position(own).filter(|_| !leg.refused.contains(&own));
                return there.ok_or(Astray::Stuck(Trouble::Hushed));
            }
            Some(own) => {
                if let Some(index) = endpoints.keep(own, &leg.refused, *now)? {
                    return Ok(index);
                }
            }
            None => {}
        }
        endpoints.choose(&leg.refused, *now, rng).map_err(Astray::Stuck)
    }

    /// The endpoint that a request must go to, if it is not free.
    fn own_endpoint(&self, id: LegId) -> Option<EndpointId> {
        let leg = self.legs.get(id)?;
        match &leg.carried {
            Some(carried) => carried.at,
            None => self.opened_for(id)?.at.as_deref().copied(),
        }
    }

    /// The target session that a request is sent in.
    pub(crate) fn opened_for(&self, id: LegId) -> Option<&Opened> {
        let leg = self.legs.get(id)?;
        if leg.is_modern() {
            return None;
        }
        let session = leg.session.and_then(|session| self.sessions.get(session));
        leg.opened.as_deref().or_else(|| session?.ready(&leg.target))
    }

    /// Whether a request that waits for a connection can use one to `at`.
    pub(crate) fn suits(&self, id: LegId, at: EndpointId) -> bool {
        let Some(pool) = self.legs.get(id).and_then(|leg| self.pools.get(&leg.target.id)) else {
            return false;
        };
        match self.own_endpoint(id) {
            Some(own) => own == at,
            None => pool.endpoints.takes_new(at),
        }
    }

    /// What a session that was opened at `at` remembers of that.
    pub(crate) fn memory(&self, target: &Target, at: EndpointId) -> Option<EndpointId> {
        self.pools.get(&target.id)?.endpoints.memory(at)
    }

    /// The endpoint of a request's target session is of no use any more, and the session with it: it is opened anew,
    /// wherever that can be, and the request goes there. Nothing of it has been sent.
    pub(crate) fn lose_session(&mut self, id: LegId, trouble: Trouble) {
        let Some(leg) = self.legs.get(id) else { return };
        let most = self.pools.get(&leg.target.id).map_or(0, |pool| pool.endpoints.count());
        let spent = usize::from(leg.reopened) > most;
        let is_stream = matches!(leg.purpose, Purpose::Stream { .. });
        if matches!(leg.purpose, Purpose::Greet { .. } | Purpose::Resume { .. }) || spent {
            return self.deferred.push_back(Deferred::Fail(id, trouble));
        }
        if leg.opened.is_some() || !(is_stream || leg.is_request()) {
            // The end of what has ended, a notice about what is forgotten, an answer to who is gone.
            return self.deferred.push_back(Deferred::Settled(id));
        }
        if let Purpose::Stream { exchange } = leg.purpose {
            self.forget_place(exchange, id);
        }
        self.reopen(id);
    }

    /// Opens a request's target session anew, unless that has happened meanwhile, and begins the request again.
    fn reopen(&mut self, id: LegId) {
        let lost = self.opened_for(id).cloned();
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.reopened = leg.reopened.saturating_add(1);
        let target = Arc::clone(&leg.target);
        let session = leg.session;
        if let Some((session, lost)) = session.zip(lost)
            && let Some(state) = self.sessions.get_mut(session).map(|session| session.target_mut(&target.id))
        {
            *state = TargetState::Absent;
            self.open_target(session, &target, Some(lost), Vec::new());
        }
        self.start_in_session(id);
    }

    /// What a stream said last means nothing in another session.
    fn forget_place(&mut self, exchange: ExchangeId, id: LegId) {
        if let Some(stream) = self.stream_of(exchange, id) {
            stream.last = None;
        }
    }

    /// Endpoints have come or gone. What was on its way to one that is gone goes elsewhere, and streams that are read
    /// are opened anew; what else is under way may finish.
    pub(crate) fn leave_endpoints(&mut self) {
        for conn in self.conns.keys() {
            let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { continue };
            let (at, connects) = (upstream.at, matches!(upstream.phase, Phase::Connecting(_)));
            let (Some(leg), Some(pool)) = (upstream.leg, self.pools.get(&upstream.target)) else { continue };
            if !pool.endpoints.is_any_listed() || pool.endpoints.lists(at) {
                continue;
            }
            match self.legs.get(leg).map(|leg| leg.purpose) {
                _ if connects => self.send_elsewhere(leg, conn),
                Some(Purpose::Stream { exchange }) if self.reads(exchange) => {
                    self.open_stream_elsewhere(leg, exchange);
                }
                _ => {}
            }
        }
    }

    /// A connection leads to who is not meant any more, and nothing was sent on it.
    pub(crate) fn send_elsewhere(&mut self, leg: LegId, conn: ConnId) {
        self.close(conn, Closing::Abort);
        self.deferred.push_back(Deferred::Send(leg));
    }

    fn open_stream_elsewhere(&mut self, id: LegId, exchange: ExchangeId) {
        let Some(target) = self.legs.get(id).map(|leg| leg.target.id.clone()) else { return };
        self.forget_place(exchange, id);
        self.abandon(id);
        self.stream_ended(exchange, &target);
        self.open_stream(exchange, &target);
    }
}
