//! Sessions that no client sees: a modern client's way into a legacy target.
//!
//! Such a session is made for a set of client capabilities and a client's description, and any request that says the
//! same of its client may use it. Where the target could ask something back, a call has one to itself, so that it is
//! certain whose call a question belongs to (reference: `2026-07-28`, MRTR; targets ask on any stream they like).

use crate::exchange::ExchangeId;
use crate::http::Fields;
use crate::leg::{LegId, Purpose};
use crate::session::{Hidden, Revision, SessionId};
use crate::shard::Shard;
use crate::wire::Writer;
use bytes::Bytes;
use routing::{Backend, BackendName};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a hidden session says of its client, as the client wrote it; empty where it wrote nothing.
#[derive(Debug, Default)]
pub(crate) struct Likeness {
    pub(crate) backend: BackendName,
    pub(crate) capabilities: Bytes,
    /// Its description.
    pub(crate) client: Bytes,
    pub(crate) level: Bytes,
}

/// What of a client's capabilities lets a target ask it something.
#[derive(Deserialize)]
struct Askable<'a> {
    #[serde(borrow)]
    sampling: Option<&'a RawValue>,
    #[serde(borrow)]
    elicitation: Option<&'a RawValue>,
    #[serde(borrow)]
    roots: Option<&'a RawValue>,
}

impl Shard {
    /// The session in which a modern client's request goes to a legacy target; `None` at the limit of sessions.
    pub(crate) fn hidden_session(&mut self, exchange: ExchangeId, leg: LegId) -> Option<SessionId> {
        let mut key = Writer::behind(std::mem::take(&mut self.scratch));
        let waiting = self.exchange(exchange)?;
        let (client, capabilities, level) = waiting.claimed();
        key.bytes(waiting.way.backend.as_str().as_bytes());
        [client, capabilities, level.unwrap_or_default()].into_iter().for_each(|text| key.bytes(text));
        write_credentials(self.backend_of(exchange), &waiting.head.fields, &mut key);
        let key = key.done();
        let single = matches!(self.legs.get(leg)?.purpose, Purpose::Part { slot: None, .. });
        let exclusive = single && (level.is_some() || can_be_asked(capabilities));
        let known = self.hidden.get(&key[..]).map(Vec::as_slice).unwrap_or_default();
        let free = known.iter().copied().find(|id| {
            let hidden = self.sessions.get(*id).and_then(|session| session.hidden.as_ref());
            hidden.is_some_and(|hidden| {
                hidden.exclusive == exclusive && hidden.busy.is_none_or(|leg| self.legs.get(leg).is_none())
            })
        });
        let id = match free {
            Some(id) => id,
            None => {
                let copy = |text: &[u8]| Bytes::copy_from_slice(text);
                let likeness = Likeness {
                    backend: waiting.way.backend.clone(),
                    capabilities: copy(capabilities),
                    client: copy(client),
                    level: level.map(copy).unwrap_or_default(),
                };
                let key = Bytes::copy_from_slice(&key);
                let id = self.private_session(likeness, key.clone(), exclusive)?;
                self.hidden.entry(key).or_default().push(id);
                id
            }
        };
        self.keep_room(key);
        let now = self.now;
        let session = self.sessions.get_mut(id)?;
        session.used = now;
        if let Some(hidden) = &mut session.hidden {
            hidden.busy = exclusive.then_some(leg);
        }
        Some(id)
    }

    /// Whether a call has its session to itself, so that its client can be asked something.
    pub(crate) fn has_session_alone(&self, leg: LegId) -> bool {
        let session = self.legs.get(leg).and_then(|leg| self.sessions.get(leg.session?));
        session.and_then(|session| session.hidden.as_ref()).is_some_and(|hidden| hidden.exclusive)
    }

    /// A hidden session that is found by `key`; without one only its maker uses it.
    pub(crate) fn private_session(
        &mut self,
        likeness: Likeness,
        key: Bytes,
        exclusive: bool,
    ) -> Option<SessionId> {
        if self.sessions.len() >= self.config.limits.sessions {
            return None;
        }
        let Likeness { backend, capabilities, client, level } = likeness;
        let id = self.new_session(backend, Revision::LATEST, capabilities, client);
        let session = self.sessions.get_mut(id)?;
        session.hidden = Some(Box::new(Hidden { key, exclusive, busy: None }));
        if !level.is_empty() {
            session.level = Some([b"{\"level\":", &level[..], b"}"].concat().into());
        }
        Some(id)
    }

    /// A hidden session is gone.
    pub(crate) fn forget_hidden(&mut self, id: SessionId, hidden: &Hidden) {
        let Some(known) = self.hidden.get_mut(&hidden.key) else { return };
        known.retain(|known| *known != id);
        if known.is_empty() {
            self.hidden.remove(&hidden.key);
        }
    }
}

/// What of a request's header fields any target is given: who is someone else there has a session of its own.
fn write_credentials(backend: &Backend, fields: &Fields, key: &mut Writer) {
    for name in backend.targets().iter().flat_map(|target| &target.forward.fields) {
        key.bytes(fields.first(name).unwrap_or_default());
    }
    for (name, value) in fields.given() {
        key.bytes(name.as_bytes());
        key.bytes(value);
    }
}

/// Whether a client with these capabilities can be asked anything.
pub(crate) fn can_be_asked(capabilities: &[u8]) -> bool {
    serde_json::from_slice::<Askable<'_>>(capabilities)
        .is_ok_and(|it| it.sampling.is_some() || it.elicitation.is_some() || it.roots.is_some())
}
