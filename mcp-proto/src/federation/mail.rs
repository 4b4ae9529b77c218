//! Mail between the shards: what one has to say to the others about the sessions that they share.

use crate::edge::Note;
use crate::session::{Opened, Session, TargetState};
use crate::shard::Shard;
use bytes::Bytes;
use routing::TargetId;
use std::sync::Arc;

impl Shard {
    /// What another shard has to say.
    pub(crate) fn note(&mut self, note: Note) {
        match note {
            Note::Touch { sealed } => {
                let now = self.now;
                let session = self.open_sealed(&sealed).and_then(|id| self.sessions.get_mut(id));
                let Some(session) = session else { return };
                session.used = now;
                // The shard that asks may have forgotten it.
                if let Some(params) = session.level.clone() {
                    self.broadcast(&Note::Level { sealed, params });
                }
            }
            Note::Ended { key } => self.ended_elsewhere(key),
            Note::Ask { sealed, target, lost } => self.asked(&sealed, &target, lost),
            Note::Opened { key, target, outcome } => {
                let Some(id) = self.by_key.get(&key).copied() else { return };
                match outcome {
                    Ok(opened) => {
                        self.learn_era(&target, &opened);
                        self.target_ready(id, &target, opened, false);
                    }
                    Err(reason) => self.target_unavailable(id, &target, reason),
                }
            }
            Note::Sessionless { key, target } => {
                self.learn_modern(&target);
                if let Some(id) = self.by_key.get(&key).copied() {
                    self.go_without_session(id, &target);
                }
            }
            Note::Cancel { key, message } => {
                if let Some(id) = self.by_key.get(&key).copied() {
                    self.cancel_here(id, &message);
                }
            }
            Note::Notify { key, message } => {
                let session = self.by_key.get(&key).and_then(|id| self.sessions.get(*id));
                if let Some(listener) = session.and_then(|session| session.listener) {
                    _ = self.notify_listener(listener, &message);
                }
            }
            Note::Channel(mail) => self.channel_mail(mail),
            Note::Listens { sealed, shard } => self.tell_subscriptions(&sealed, shard),
            Note::Watches { key, entries, on } => {
                if let Some(id) = self.by_key.get(&key).copied() {
                    self.subscriptions_told(id, entries, on);
                }
            }
            Note::Await { key, target, waiter } => self.await_stream(key, target, waiter),
            Note::Heard { leg } => self.heard(leg),
            Note::Changed { target, method } => self.invalidate_here(&target, &method),
            Note::Slow { target } => {
                self.mark_slow(&target);
            }
            Note::Level { sealed, params } => {
                if let Some(id) = self.open_sealed(&sealed)
                    && let Some(session) = self.sessions.get_mut(id)
                {
                    session.level = Some(params);
                }
            }
            Note::Input { place, message } => self.input_here(place, &message),
            Note::Forward(forwarded) => self.serve_forwarded(*forwarded),
            Note::Answer { ticket, bytes, end } => self.answered(ticket, bytes, end),
            Note::Taken { ticket, count } => self.paid(ticket, count),
            Note::Gone { ticket } => self.guest_gone(ticket),
            Note::Broken { ticket } => self.broken(ticket),
            Note::Lost { shard } => self.shard_gone(shard),
            Note::Subscribed { sealed, target, uri, on } => {
                if let Some(id) = self.open_sealed(&sealed) {
                    _ = self.remember_subscription(id, &target, uri, on);
                }
            }
        }
    }

    /// The home answers for a target session: with the one there is, or with a new one.
    fn asked(&mut self, sealed: &Bytes, target: &TargetId, lost: Option<Opened>) {
        let Some(id) = self.open_sealed(sealed) else { return };
        let Some(target) = self.routes.find(target).map(Arc::clone) else { return };
        let now = self.now;
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.used = now;
        let key = session.key;
        let outcome = match session.target_mut(&target.id) {
            TargetState::Ready(opened) if lost.as_ref() != Some(opened) => Ok(opened.clone()),
            TargetState::Failed { until, reason } if now < *until => Err(Arc::clone(reason)),
            TargetState::Opening { .. } => return,
            _ => return self.open_target(id, &target, lost, Vec::new()),
        };
        self.broadcast(&Note::Opened { key, target: target.id.clone(), outcome });
    }

    /// The shard that took the DELETE ended what the id told it of; the home knows whether there is more.
    fn ended_elsewhere(&mut self, key: u128) {
        let Some(id) = self.by_key.get(&key).copied() else {
            return self.ended.insert(key);
        };
        let Some(session) = self.sessions.get(id) else { return };
        if session.home == self.id {
            let told = Session::open(&self.config.keys, &session.sealed, self.unix(), self.now);
            for (target, opened) in self.open_targets(id) {
                if told.as_ref().and_then(|told| told.session.ready(&target)) != Some(&opened) {
                    self.end_at(target, opened);
                }
            }
        }
        self.retire(id);
    }
}
