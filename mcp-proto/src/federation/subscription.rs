//! `subscriptions/listen`: a modern client's stream of changes (2026-07-28, basic/patterns/subscriptions).
//!
//! ```text
//! filter ─► private session, this exchange its listener ─► a stream at each target that something is asked of
//!                                                           (GET and resources/subscribe, or a listen: see `agree`)
//! targets agree, or are late ─► acknowledged ─► what targets say, under the id of the client's request
//! ```
//!
//! The acknowledgement waits until every target's stream is open, so that nothing is missed from then on, but no longer
//! than [`SETTLE`] where it is known what the target can do. What is not known is promised. A target whose stream opens
//! after that, or anew, may have changed in between: the client is told that it did. An update is a hint to read
//! again, so one too many costs a read and one too few is wrong for ever.
//!
//! Changes of lists are gathered for a moment ([`BURST`]), since one event often changes the lists of several targets.
//! What the client does not take now is kept as a mark and said when it does.

mod topic;

use super::Likeness;
use super::gather::NOBODY;
use super::tasks::WatchedTask;
use crate::answer::Content;
use crate::conn::{Conn, Role, Wire};
use crate::era::PREFIX;
use crate::exchange::{Exchange, ExchangeId, State, Work};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::members::members;
use crate::jsonrpc::params::{self, Filter};
use crate::jsonrpc::rewrite::{Plan, Scope};
use crate::jsonrpc::splice;
use crate::leg::LegId;
use crate::refusal::{self, Refusal};
use crate::shard::Shard;
use crate::sse;
use bytes::Bytes;
use routing::{Backend, Target, TargetId, uris};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use topic::Topic;

/// Targets of which it is known what they can do have so long to open their streams before a client is answered.
pub(super) const SETTLE: Duration = Duration::from_millis(250);

/// Changes of one list within this time are one.
const BURST: Duration = Duration::from_millis(50);

/// When a client that takes nothing is looked at again.
const STALLED: Duration = Duration::from_millis(250);

/// A list-change notice longer than this is said in the gateway's own words.
const LONGEST_NOTICE: usize = 4 << 10;

/// What a modern client listens to.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// As the client asked, without the URIs.
    asked: Filter,
    pub(super) watched: Vec<Watched>,
    tasks: Vec<WatchedTask>,
    /// What was promised, once the client was told.
    honoured: Option<Filter>,
    /// Lists that changed; with the target's words, if it was said once.
    changes: BTreeMap<Topic, Option<Bytes>>,
    /// Resources that changed while nothing could be said.
    updated: BTreeSet<String>,
    /// When to acknowledge, or to tell what waits.
    due: Option<Instant>,
}

/// A resource that a client listens to.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) target: TargetId,
    /// As its target knows it.
    pub(super) uri: String,
    /// As the client wrote it, and wants to read it.
    asked: String,
    /// What a target that is told of each resource said.
    pub(super) told: Told,
    honoured: bool,
}

/// Whether a target that keeps subscriptions has this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    No,
    Yes,
    Refused,
}

impl Subscription {
    /// When something is to be done for it.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the client was told what is honoured: from then on it relies on it.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.honoured.is_some()
    }

    fn wants(&self, topic: Topic) -> bool {
        topic.is_in(self.honoured.as_ref().unwrap_or(&self.asked))
    }

    /// What is to be asked of a target. Members that are not known here can go to one target only.
    pub(super) fn share(&self, target: &TargetId, single: bool) -> Filter {
        let own = self.watched.iter().filter(|watched| watched.target == *target);
        let tasks = self.tasks.iter().filter(|task| task.target == *target);
        Filter {
            uris: own.map(|watched| watched.uri.clone()).collect(),
            task_ids: tasks.map(|task| task.inner.clone()).collect(),
            unknown: if single { self.asked.unknown.clone() } else { Vec::new() },
            ..self.asked
        }
    }

    /// What the client calls a resource that it listens to: itself, or one below it.
    fn name_of(&self, target: &TargetId, uri: &str) -> Option<String> {
        let acknowledged = self.is_acknowledged();
        let own = self.watched.iter().filter(|watched| watched.target == *target);
        let known = own.filter(|watched| watched.honoured || !acknowledged);
        let covering = known.filter(|watched| covers(&watched.uri, uri));
        let nearest = covering.max_by_key(|watched| watched.uri.len())?;
        Some(format!("{}{}", nearest.asked, uri.strip_prefix(&nearest.uri)?))
    }

    /// A resource's update could not be said.
    fn keep_update(&mut self, uri: String, most: usize) {
        if self.updated.len() < most || self.watched.iter().any(|watched| watched.asked == uri) {
            self.updated.insert(uri);
        } else if let Some(above) = self.watched.iter().find(|watched| covers(&watched.asked, &uri)) {
            self.updated.insert(above.asked.clone());
        }
    }
}

/// Whether one who listens to `uri` wants to hear of `changed`: the same, or a sub-resource (server/resources).
fn covers(uri: &str, changed: &str) -> bool {
    let Some(rest) = changed.strip_prefix(uri) else { return false };
    rest.is_empty() || rest.starts_with(['/', '?', '#']) || uri.ends_with('/')
}

impl Shard {
    /// Serves `subscriptions/listen`.
    pub(super) fn subscribe(&mut self, id: ExchangeId, part: u16, envelope: &Envelope<'_>, message: &Bytes) {
        let Some(exchange) = self.exchange(id) else { return };
        if !exchange.accepts.events {
            let words = "subscriptions/listen is answered with text/event-stream only";
            return self.refuse(id, &Refusal::http(406, words));
        }
        let asked = envelope.params.notifications.clone().and_then(|span| message.get(span));
        let Some(mut asked) = asked.and_then(Filter::parse) else {
            let words = "params.notifications is no filter of notifications";
            return self.fail_part(id, part, refusal::INVALID_PARAMS, words, None);
        };
        let watched = self.watched(self.backend_of(id), std::mem::take(&mut asked.uris));
        let tasks = self.watched_tasks(id, std::mem::take(&mut asked.task_ids));
        let (client, capabilities, _) = exchange.claimed();
        let likeness = Likeness {
            backend: exchange.way.backend.clone(),
            capabilities: mute(capabilities),
            client: Bytes::copy_from_slice(client),
            level: Bytes::new(),
        };
        let Some(session) = self.private_session(likeness, Bytes::new(), true) else {
            return self.refuse(id, &Refusal::overloaded());
        };
        if let Some(session) = self.sessions.get_mut(session) {
            session.listener = Some(id);
        }
        self.counters.streams.add(1);
        let subscription = Subscription {
            asked,
            watched,
            tasks,
            honoured: None,
            changes: BTreeMap::new(),
            updated: BTreeSet::new(),
            due: Some(self.now + SETTLE),
        };
        let Some(exchange) = self.exchange_mut(id) else { return };
        exchange.session = Some(session);
        exchange.subscription = Some(Box::new(subscription));
        exchange.head.fields.detach();
        self.begin(id, 200, Content::Events, &[]);
        self.open_streams(id, &[]);
        if let Some(exchange) = self.exchange_mut(id) {
            let targets = exchange.streams.iter().map(|stream| stream.target.clone()).collect();
            if let Some(part) = exchange.parts.get_mut(usize::from(part)) {
                part.work = Work::Asked(targets);
            }
        }
        self.watch(id.conn);
        self.settle_subscription(id);
        if self.is_leaving(id.conn) {
            self.end_subscription(id);
        }
    }

    /// The resources that lead somewhere, as many as one client may have.
    fn watched(&self, backend: &Backend, uris: Vec<String>) -> Vec<Watched> {
        let limits = &self.config.limits;
        let mut seen = BTreeSet::new();
        let mut kept = 0;
        let mut watched = Vec::new();
        for asked in uris {
            let (target, uri) = match (backend.single(), uris::split(backend, &asked)) {
                (Some(target), _) => (target.id.clone(), asked.clone()),
                (None, Some((target, uri))) => (target.id.clone(), uri),
                (None, None) => continue,
            };
            kept += asked.len();
            if watched.len() >= limits.names || kept > limits.session {
                break;
            }
            if seen.insert(asked.clone()) {
                watched.push(Watched { target, uri, asked, told: Told::No, honoured: false });
            }
        }
        watched
    }

    /// Acknowledges as soon as no target is waited for.
    pub(super) fn settle_subscription(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchange(id) else { return };
        let Some(subscription) = &exchange.subscription else { return };
        let waits = exchange.streams.iter().any(|it| it.leg.is_some() && it.state == State::Waiting);
        if !subscription.is_acknowledged() && !waits {
            self.acknowledge(id);
        }
    }

    /// A subscription's time has come.
    pub(crate) fn subscription_due(&mut self, id: ExchangeId) {
        let now = self.now;
        let Some(exchange) = self.exchange_mut(id) else { return };
        let Some(subscription) = &mut exchange.subscription else { return };
        if subscription.due.take_if(|due| *due <= now).is_none() {
            return;
        }
        if subscription.is_acknowledged() {
            return self.tell_changes(id);
        }
        // Others are waited for as long as `initialize` waits for them, and once.
        let last = exchange.started + self.config.timeouts.initialize;
        let unknown = self.unknown_targets(id);
        if now < last && !unknown.is_empty() {
            return self.set_due(id, last);
        }
        for target in unknown {
            self.mark_slow(&target);
        }
        self.acknowledge(id);
    }

    /// Targets that have not said yet what they can do, and are not known to be slow.
    fn unknown_targets(&self, id: ExchangeId) -> Vec<TargetId> {
        let Some(exchange) = self.exchange(id) else { return Vec::new() };
        let waiting = exchange.streams.iter().filter(|it| it.leg.is_some() && it.state == State::Waiting);
        let targets = waiting.filter_map(|stream| self.routes.find(&stream.target));
        let unknown = targets.filter(|it| !self.is_slow(it) && self.capabilities(&it.id).is_none());
        unknown.map(|target| target.id.clone()).collect()
    }

    fn set_due(&mut self, id: ExchangeId, at: Instant) {
        if let Some(subscription) = self.subscription_mut(id) {
            subscription.due = Some(subscription.due.map_or(at, |due| due.min(at)));
        }
        self.watch(id.conn);
    }

    pub(super) fn subscription_mut(&mut self, id: ExchangeId) -> Option<&mut Subscription> {
        self.exchange_mut(id)?.subscription.as_deref_mut()
    }

    /// Tells the client what it will hear of: the first message on its stream.
    fn acknowledge(&mut self, id: ExchangeId) {
        let heard: Vec<bool> = match self.exchange(id).and_then(|it| Some((it, it.subscription.as_ref()?))) {
            Some((exchange, it)) => it.watched.iter().map(|it| self.is_heard(exchange, it)).collect(),
            None => return,
        };
        let lists = Topic::ALL.map(|topic| self.may_change(id, topic));
        let single = self.backend_of(id).single().cloned();
        let Some(exchange) = self.exchange_mut(id) else { return };
        let agreed = single.and_then(|target| exchange.agreed(&target.id)).cloned().unwrap_or_default();
        let tasks = exchange.subscription.iter().flat_map(|subscription| &subscription.tasks);
        let told = |task: &&WatchedTask| {
            exchange.agreed(&task.target).is_some_and(|agreed| agreed.task_ids.contains(&task.inner))
        };
        let task_ids = tasks.filter(told).map(|task| task.asked.clone()).collect();
        let Some(subscription) = &mut exchange.subscription else { return };
        for (watched, heard) in subscription.watched.iter_mut().zip(heard) {
            watched.honoured = heard;
        }
        let [tools, prompts, resources] = lists;
        let mut honoured = Filter {
            tools: subscription.asked.tools && tools,
            prompts: subscription.asked.prompts && prompts,
            resources: subscription.asked.resources && resources,
            uris: subscription.heard().map(|watched| watched.asked.clone()).collect(),
            task_ids,
            unknown: agreed.unknown,
        };
        let mut filter = Vec::new();
        honoured.write(&mut filter);
        honoured.uris = Vec::new();
        subscription.honoured = Some(honoured);
        subscription.due = None;
        let wanted: Vec<_> = Topic::ALL.into_iter().filter(|topic| subscription.wants(*topic)).collect();
        subscription.changes.retain(|topic, _| wanted.contains(topic));
        let heard: Vec<_> = subscription.heard().map(|watched| watched.asked.clone()).collect();
        subscription.updated.retain(|uri| heard.iter().any(|asked| covers(asked, uri)));
        let waits = !subscription.changes.is_empty() || !subscription.updated.is_empty();
        let message = [
            b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{",
            &exchange.tag()[..],
            b",\"notifications\":",
            &filter,
            b"}}",
        ]
        .concat();
        self.tell_subscriber(id, &message);
        if waits {
            self.set_due(id, self.now + BURST);
        }
    }

    /// Whether the client will be told of a resource.
    fn is_heard(&self, exchange: &Exchange, watched: &Watched) -> bool {
        let Some(stream) = exchange.streams.iter().find(|stream| stream.target == watched.target) else {
            return false;
        };
        match &stream.state {
            State::Refused => false,
            State::Open(Some(agreed)) => agreed.uris.contains(&watched.uri),
            State::Open(None) => watched.told == Told::Yes,
            State::Waiting => {
                watched.told != Told::Refused && self.may_subscribe(&watched.target) != Some(false)
            }
        }
    }

    /// Whether any target has such a list: several change it together, and so does a new route, even if none of them
    /// ever says so.
    fn may_change(&self, id: ExchangeId, topic: Topic) -> bool {
        let targets = self.backend_of(id).targets();
        targets.is_empty() || targets.iter().any(|target| self.has_list(&target.id, topic))
    }

    /// Whether a target has such a list, or may have.
    fn has_list(&self, target: &TargetId, topic: Topic) -> bool {
        self.capabilities(target).is_none_or(|capabilities| capabilities.contains_key(topic.capability()))
    }

    /// Whether a target takes `resources/subscribe`, if it has said.
    pub(super) fn may_subscribe(&self, target: &TargetId) -> Option<bool> {
        let capabilities = self.capabilities(target)?;
        let subscribe = capabilities.get("resources").and_then(|resources| resources.get("subscribe"));
        Some(subscribe.and_then(serde_json::Value::as_bool).unwrap_or_default())
    }

    /// What a target said last that it can do.
    fn capabilities(&self, target: &TargetId) -> Option<&serde_json::Map<String, serde_json::Value>> {
        let discovered = self.pools.get(target)?.verdict.discovered.as_ref()?;
        Some(&discovered.result.as_ref()?.capabilities)
    }

    /// A target says something to a session that a subscription listens in.
    pub(super) fn hear(
        &mut self,
        id: Option<LegId>,
        listener: ExchangeId,
        target: &Arc<Target>,
        envelope: &Envelope<'_>,
        raw: &[u8],
    ) {
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        if let Some(topic) = Topic::of_notice(method) {
            self.invalidate(&target.id, method);
            let words = self.exchange(listener).map(|exchange| exchange.tagged(raw, envelope, Vec::new()));
            return self.topic_changed(listener, topic, words);
        }
        if method == "notifications/resources/updated" {
            return self.resource_updated(listener, target, envelope, raw);
        }
        // Notices of extensions that the client asked for by their members. Progress and log lines have no place here.
        let Some(exchange) = self.exchange(listener) else { return };
        let honoured = exchange.subscription.as_ref().and_then(|subscription| subscription.honoured.as_ref());
        let more = honoured.is_some_and(|it| !it.task_ids.is_empty() || !it.unknown.is_empty());
        let known = matches!(method, "notifications/message" | "notifications/progress");
        if !more || known || !id.is_some_and(|id| self.is_listening(id)) || !self.has_room(listener) {
            return self.counters.dropped.add(1);
        }
        let message = exchange.tagged(raw, envelope, Vec::new());
        let plan = Plan {
            task: self.session_task_seal(NOBODY, &target.id),
            ..Plan::names(self.renames(target), Scope::Task)
        };
        let message = if method == "notifications/tasks" { self.rewritten(plan, &message) } else { message };
        self.tell_subscriber(listener, &message);
    }

    /// A list changed, here or at a target.
    pub(super) fn topic_changed(&mut self, listener: ExchangeId, topic: Topic, words: Option<Vec<u8>>) {
        let at = self.now + BURST;
        let Some(subscription) = self.subscription_mut(listener).filter(|it| it.wants(topic)) else { return };
        let first = !subscription.changes.contains_key(&topic);
        let words = words.filter(|words| first && words.len() <= LONGEST_NOTICE);
        subscription.changes.insert(topic, words.map(Bytes::from));
        if subscription.is_acknowledged() {
            self.set_due(listener, at);
        }
    }

    fn resource_updated(
        &mut self,
        listener: ExchangeId,
        target: &Arc<Target>,
        envelope: &Envelope<'_>,
        raw: &[u8],
    ) {
        let most = self.config.limits.names;
        let has_room = self.has_room(listener);
        let Some(exchange) = self.exchange_mut(listener) else { return };
        let Some(subscription) = &mut exchange.subscription else { return };
        let Some(uri) = &envelope.params.uri else { return self.counters.malformed.add(1) };
        let Some(name) = subscription.name_of(&target.id, &uri.value) else {
            return self.counters.dropped.add(1);
        };
        let acknowledged = subscription.is_acknowledged();
        if !acknowledged || !has_room || subscription.updated.contains(&name) {
            subscription.keep_update(name, most);
            if acknowledged {
                self.set_due(listener, self.now + STALLED);
            }
            return;
        }
        let mut text = Vec::new();
        splice::quote(&name, &mut text);
        let message = exchange.tagged(raw, envelope, vec![(uri.span.clone(), text)]);
        self.tell_subscriber(listener, &message);
    }

    /// A target was not heard for a time in which the client relied on it: whatever it has may have changed.
    pub(super) fn tell_missed(&mut self, listener: ExchangeId, target: &TargetId) {
        for topic in Topic::ALL {
            if self.has_list(target, topic) {
                self.invalidate(target, topic.notice());
                self.topic_changed(listener, topic, None);
            }
        }
        let at = self.now + BURST;
        let Some(subscription) = self.subscription_mut(listener) else { return };
        let own = subscription.heard().filter(|watched| watched.target == *target);
        let missed: Vec<_> = own.map(|watched| watched.asked.clone()).collect();
        if !missed.is_empty() {
            subscription.updated.extend(missed);
            self.set_due(listener, at);
        }
    }

    /// Says what was gathered, as far as the client takes it.
    fn tell_changes(&mut self, id: ExchangeId) {
        loop {
            let has_room = self.has_room(id);
            let Some(exchange) = self.exchange_mut(id) else { return };
            let tag = exchange.tag();
            let Some(subscription) = &mut exchange.subscription else { return };
            if !has_room {
                return self.set_due(id, self.now + STALLED);
            }
            let message = if let Some((topic, words)) = subscription.changes.pop_first() {
                words.map_or_else(|| notice(topic.notice(), &tag, b""), |words| words.to_vec())
            } else if let Some(uri) = subscription.updated.pop_first() {
                let mut more = b",\"uri\":".to_vec();
                splice::quote(&uri, &mut more);
                notice("notifications/resources/updated", &tag, &more)
            } else {
                return;
            };
            self.tell_subscriber(id, &message);
        }
    }

    fn tell_subscriber(&mut self, id: ExchangeId, message: &[u8]) {
        let mut event = Vec::with_capacity(message.len() + 32);
        sse::write::event(&mut event, None, message);
        self.write_event(id, &event);
    }

    /// Ends a subscription properly: with the answer to the request that it is (Graceful Closure).
    pub(crate) fn end_subscription(&mut self, id: ExchangeId) {
        let Some(subscription) = self.subscription_mut(id) else { return };
        match subscription.is_acknowledged() {
            false => self.acknowledge(id),
            true => self.tell_changes(id),
        }
        let Some(exchange) = self.exchange(id) else { return };
        let result = [b"{\"resultType\":\"complete\",", &exchange.tag()[..], b"}"].concat();
        let message = refusal::result(exchange.id_text(0), &result);
        self.tell_subscriber(id, &message);
        self.end_listener(id);
    }

    /// Whether a client's stream takes messages of others than those that are paused when it does not.
    pub(crate) fn has_room(&self, listener: ExchangeId) -> bool {
        let most = self.config.limits.buffer;
        let waiting = |slot: &Conn| slot.outbox.waiting() <= most;
        let Some(slot) = self.conns.get(listener.conn) else { return false };
        match &slot.role {
            Role::Client(client) => match client.wire {
                Wire::Nowhere => false,
                Wire::Stream(stream) => self.conns.get(stream).is_some_and(waiting),
                _ => waiting(slot),
            },
            Role::Target(_) | Role::Child(_) => false,
        }
    }
}

impl Subscription {
    /// The resources that the client was promised to hear of.
    fn heard(&self) -> impl Iterator<Item = &Watched> {
        self.watched.iter().filter(|watched| watched.honoured)
    }
}

impl Exchange {
    /// `_meta` with the subscription that a message belongs to, as a member.
    fn tag(&self) -> Vec<u8> {
        [b"\"_meta\":{", &self.subscription_id()[..], b"}"].concat()
    }

    fn subscription_id(&self) -> Vec<u8> {
        [format!("\"{PREFIX}subscriptionId\":").as_bytes(), self.id_text(0)].concat()
    }

    /// A target's notice as one of this subscription, with other edits.
    fn tagged(&self, raw: &[u8], envelope: &Envelope<'_>, mut edits: Vec<params::Edit>) -> Vec<u8> {
        edits.push(match envelope.params.modern.subscription_id.clone() {
            Some(span) => (span, self.id_text(0).to_vec()),
            None => params::meta(raw, envelope, &self.subscription_id()),
        });
        params::edited(raw, edits)
    }

    /// What a target agreed to on its own terms.
    fn agreed(&self, target: &TargetId) -> Option<&Filter> {
        match &self.streams.iter().find(|stream| stream.target == *target)?.state {
            State::Open(agreed) => agreed.as_deref(),
            State::Waiting | State::Refused => None,
        }
    }
}

/// A notice in the gateway's own words; `tag` and `more` are members of its params.
fn notice(method: &str, tag: &[u8], more: &[u8]) -> Vec<u8> {
    let start = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{");
    [start.as_bytes(), tag, more, b"}}"].concat()
}

/// Capabilities of a client that can't be asked anything: nobody would hear the question.
fn mute(capabilities: &[u8]) -> Bytes {
    let members = members(capabilities).unwrap_or_default();
    let asks =
        members.into_iter().filter(|it| matches!(&it.key[..], b"sampling" | b"elicitation" | b"roots"));
    params::without(capabilities, asks.map(|member| member.span).collect()).into()
}

#[cfg(test)]
mod tests;
