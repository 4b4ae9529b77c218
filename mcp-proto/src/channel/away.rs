//! Requests for channels that live on another shard: sent there as mail, answered by mail. What passes a channel is
//! whole and bounded, so that is all it takes.
//!
//! ```text
//! here                               the channel's shard
//! leg, Via::Shard ── Call ─────────► leg, Purpose::Remote ─► channel
//!      └ target_message ◄── Said ──┤
//!      └ leg_answered ◄─ Answered ─┤
//!      └ leg_failed ◄──── Failed ──┘
//!      └ leaves the table ── Gone ─► leaves the table
//! ```

use super::{Errand, Via, patience};
use crate::ShardId;
use crate::edge::Note;
use crate::http::{Fields, Method};
use crate::jsonrpc::envelope::Envelope;
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::session::{SessionId, SessionKey};
use crate::shard::{Deferred, Shard};
use bytes::Bytes;
use routing::TargetId;
use std::sync::Arc;

/// What shards say to one another about channels.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    /// A message for a channel that lives with the reader.
    Call(Box<Call>),
    /// The target answered.
    Answered { leg: LegId, message: Bytes },
    /// A client's stream is heard on the channel.
    Listening { leg: LegId },
    /// It won't.
    Failed { leg: LegId, trouble: Trouble },
    /// The target said something that belongs to a request.
    Said { leg: LegId, message: Bytes },
    /// Nobody waits for this request of the sender's any more.
    Gone { from: ShardId, leg: LegId },
    /// A shared target said something to all who use it.
    Noticed { target: TargetId, message: Bytes },
    /// A shared target began anew and has forgotten what sessions had told it.
    Renewed { target: TargetId },
}

/// One message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    from: ShardId,
    leg: LegId,
    target: TargetId,
    /// Whose it is: the session's key, and its id as the client holds it.
    asker: Option<(SessionKey, Bytes)>,
    /// It is for a channel that all sessions use; the reader may not know yet what the target speaks.
    shared: bool,
    errand: Errand,
    message: Bytes,
    fields: Option<Box<Fields>>,
}

impl Shard {
    pub(super) fn mail(&mut self, shard: ShardId, mail: Mail) {
        self.post(shard, Note::Channel(mail));
    }

    /// Tells every shard, this one too.
    pub(super) fn tell_all(&mut self, mail: Mail) {
        self.broadcast(&Note::Channel(mail.clone()));
        self.channel_mail(mail);
    }

    /// Sends a request to the shard that has its channel.
    pub(super) fn send_away(&mut self, id: LegId, owner: ShardId) {
        let now = self.now;
        let shared = self.legs.get(id).is_some_and(|leg| self.shares_channel(&leg.target));
        let Some(leg) = self.legs.get_mut(id) else { return };
        let session = leg.session.and_then(|session| self.sessions.get(session));
        let mut fields = leg.fields.clone();
        if let Some(fields) = &mut fields {
            fields.detach();
        }
        let call = Call {
            from: self.id,
            leg: id,
            target: leg.target.id.clone(),
            asker: session.map(|session| (session.key, session.sealed.clone())),
            shared,
            errand: leg.errand(),
            message: Bytes::copy_from_slice(leg.message()),
            fields,
        };
        leg.sent_at = Some(now);
        if !leg.is_request() && leg.errand() != Errand::Listen {
            self.deferred.push_back(Deferred::Settled(id));
        } else {
            leg.via = Some(Via::Shard(owner));
            let until = now + patience(leg);
            self.limit_leg(id, until);
        }
        self.mail(owner, Mail::Call(Box::new(call)));
    }

    /// A request of another shard's has failed here.
    pub(crate) fn remote_failed(&mut self, shard: ShardId, leg: LegId, trouble: Trouble) {
        self.mail(shard, Mail::Failed { leg, trouble });
    }

    /// A request that another shard works on is of no interest any more.
    pub(super) fn forget_away(&mut self, owner: ShardId, leg: LegId) {
        let from = self.id;
        self.mail(owner, Mail::Gone { from, leg });
    }

    /// What another shard has to say.
    pub(crate) fn channel_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Call(call) => self.call_arrived(*call),
            Mail::Answered { leg, message } => {
                if self.is_away(leg) {
                    self.leg_answered(leg, &message);
                }
            }
            Mail::Listening { leg } => {
                if let Some(leg) = self.legs.get_mut(leg) {
                    leg.deadline = None;
                }
                self.leg_settled(leg);
            }
            Mail::Failed { leg, trouble } => {
                if self.is_away(leg) {
                    self.leg_failed(leg, trouble);
                }
            }
            Mail::Said { leg, message } => self.leg_told(leg, &message),
            Mail::Gone { from, leg } => {
                let is_it = |purpose| matches!(purpose, Purpose::Remote { shard, leg: far, .. } if shard == from && far == leg);
                let found = self.legs.iter().find(|(_, leg)| is_it(leg.purpose)).map(|(id, _)| id);
                if let Some(id) = found {
                    self.drop_leg(id);
                }
            }
            Mail::Noticed { target, message } => self.noticed(&target, &message),
            Mail::Renewed { target } => self.renewed(&target),
        }
    }

    /// Whether a request waits for another shard; from now on it does not.
    fn is_away(&mut self, leg: LegId) -> bool {
        let via = self.legs.get_mut(leg).and_then(|leg| leg.via.take());
        matches!(via, Some(Via::Shard(_)))
    }

    fn call_arrived(&mut self, call: Call) {
        let Some(target) = self.routes.find(&call.target).map(Arc::clone) else {
            return self.mail(call.from, Mail::Failed { leg: call.leg, trouble: Trouble::Nowhere });
        };
        let asker = call.asker.as_ref().map(|(key, _)| key.to_be_bytes());
        let mut session = None;
        if let Some((_, sealed)) = call.asker.as_ref().filter(|_| !call.shared) {
            session = self.open_sealed(sealed);
            if session.is_none() {
                let trouble = Trouble::Lost(crate::Fault::Other);
                return self.mail(call.from, Mail::Failed { leg: call.leg, trouble });
            }
        }
        let purpose = Purpose::Remote { shard: call.from, leg: call.leg, asker, errand: call.errand };
        let mut leg = Leg::new(target, session, purpose, Method::Post, call.message);
        leg.fields = call.fields;
        let leg = self.legs.insert(leg);
        self.start(leg);
    }

    /// A shared target's notice, for the sessions at home here.
    fn noticed(&mut self, name: &TargetId, message: &Bytes) {
        let Some(target) = self.routes.find(name).map(Arc::clone) else { return };
        let uri = Envelope::parse(message, usize::MAX).ok().and_then(|envelope| envelope.params.uri);
        for session in self.sessions_at(name) {
            let subscribed = uri.as_ref().is_none_or(|uri| {
                let entry = (name.clone(), uri.value.to_string());
                let told = self.sessions.get(session).is_some_and(|it| it.subscriptions.contains(&entry));
                // A subscription knows by itself what it wants to hear.
                told || self.subscriber(session).is_some()
            });
            if subscribed {
                self.session_message(session, &target, message);
            }
        }
    }

    /// A shared target must be told again what sessions at home here had told it.
    fn renewed(&mut self, name: &TargetId) {
        let Some(target) = self.routes.find(name).map(Arc::clone) else { return };
        for session in self.sessions_at(name) {
            self.restore(session, &target);
            self.lists_changed(session);
        }
    }

    /// The sessions at home here that are open at a target.
    fn sessions_at(&self, name: &TargetId) -> Vec<SessionId> {
        let Some(target) = self.routes.find(name) else { return Vec::new() };
        let home = |session: &crate::session::Session| session.home == self.id;
        let all =
            self.sessions.iter().filter(|(_, session)| home(session) && session.ready(target).is_some());
        all.map(|(id, _)| id).collect()
    }
}
