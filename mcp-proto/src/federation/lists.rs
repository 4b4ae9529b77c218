//! Lists of several targets as one: items renamed and joined in the order of the targets, cursors composed.
//!
//! One page for a client is a page of each target that has one left. The cursor to the next names every target's own
//! cursor, sealed, so it is good on any shard and for this session only.

use super::gather::Question;
use super::initialize::OWN_SERVER;
use super::probe::Era;
use super::route::Read;
use crate::catalogue::{List, Shown};
use crate::era::PREFIX;
use crate::exchange::{ExchangeId, Slot, What};
use crate::jsonrpc::envelope::Text;
use crate::jsonrpc::known::Known;
use crate::jsonrpc::list::{self, PageError};
use crate::jsonrpc::splice::quote;
use crate::jsonrpc::{members, params};
use crate::refusal;
use crate::seal::Kind;
use crate::session::SessionId;
use crate::shard::Shard;
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use routing::{BackendName, Target, TargetId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a merged page is made of.
#[derive(Default)]
struct Merged {
    /// Items, with a comma before each but the first.
    items: Vec<Bytes>,
    cursors: Vec<(TargetId, String)>,
    /// Other members of the targets' results: the first target that has one gives it.
    extra: BTreeMap<Cow<'static, str>, Bytes>,
    /// Targets whose share is missing, why, and whether an older copy stands in.
    missing: Vec<(TargetId, String, bool)>,
    /// The first error a target answered with.
    error: Option<(i64, String)>,
    /// How long the page holds, in milliseconds: the shortest of the targets' times. Targets that name none change at
    /// any moment.
    ttl: Option<u64>,
    /// Every target's share may be shown to anyone.
    public: bool,
    /// For a client that is told so.
    modern: bool,
    /// The only target answered with an event.
    event: bool,
    /// What the targets were asked with depends on a rule.
    edited: bool,
    /// Who answers such a client, raw.
    server_info: Option<Bytes>,
}

impl Shard {
    /// Asks all targets for their page, or those that a cursor names.
    pub(super) fn list(
        &mut self,
        id: ExchangeId,
        part: u16,
        kind: list::Kind,
        cursor: Option<&Text<'_>>,
        read: Read<'_>,
    ) {
        let message = read.message;
        let Some(cursor) = cursor else {
            let mut questions = self.questions(id, message);
            for question in &mut questions {
                if self.may_keep_for(id) {
                    question.kept = self.catalogue.lists.fresh(&question.target.id, kind, self.now);
                }
            }
            // An answer keeps the form the target chose, also when it comes from memory.
            if let [Question { target, kept: Some(_), .. }] = questions.as_slice()
                && self.catalogue.lists.came_as_event(&target.id, kind)
                && let Some(exchange) = self.exchange_mut(id)
            {
                exchange.by_events = exchange.accepts.events;
            }
            let known = read.envelope.map(|envelope| Known { envelope, replaced: None });
            return self.gather_known(id, part, What::List { kind, first: true }, questions, known);
        };
        let opened = self.open_cursor(id, kind, &cursor.value);
        let opened = opened.filter(|(backend, _)| self.turn_to(id, backend));
        let Some((_, cursors)) = opened else {
            // It may be the only target's own, from a shard that knew that the target and the client are of one era.
            let legacy = self.exchange(id).is_some_and(|exchange| exchange.modern.is_none());
            if legacy && self.backend_of(id).single().is_some() {
                let what = What::List { kind, first: false };
                return self.gather_message(id, part, what, message);
            }
            return self.fail_part(id, part, refusal::INVALID_PARAMS, "unknown cursor", None);
        };
        let mut questions = self.questions(id, message);
        questions.retain_mut(|question| {
            let Some((_, own)) = cursors.iter().find(|(target, _)| *target == question.target.id) else {
                return false;
            };
            let asked = super::route::replace(&mut self.room, message, &cursor.span, own);
            question.body = question.body.as_ref().map(|_| asked).map_err(Clone::clone);
            true
        });
        self.gather(id, part, What::List { kind, first: false }, questions);
    }

    /// All shares of a list are there, or given up.
    pub(super) fn listed(
        &mut self,
        id: ExchangeId,
        part: u16,
        kind: list::Kind,
        slots: Vec<Slot>,
        first: bool,
    ) {
        let exchange = self.exchange(id);
        let modern = exchange.is_some_and(|exchange| exchange.modern.is_some());
        let event = exchange.is_some_and(|exchange| exchange.by_events);
        let edited = !self.may_keep_for(id);
        let mut merged = Merged { modern, event, edited, public: true, ..Merged::default() };
        for slot in slots {
            // A target that left while it was asked is not missing.
            if matches!(slot.outcome, Some(Err(_))) && self.routes.find(&slot.target).is_none() {
                continue;
            }
            let outcome = slot.outcome.unwrap_or_else(|| Err("it was not asked".to_owned()));
            self.merge(&mut merged, kind, &slot.target, outcome, first, slot.until);
        }
        if merged.items.iter().map(Bytes::len).sum::<usize>() > self.config.limits.gather {
            let words = "the lists of all targets together are too large";
            return self.fail_part(id, part, refusal::INTERNAL_ERROR, words, None);
        }
        if merged.items.is_empty()
            && let Some((code, message)) = &merged.error
        {
            return self.fail_part(id, part, *code, message, None);
        }
        if let ([(target, reason, false)], Some(_)) =
            (merged.missing.as_slice(), self.backend_of(id).single())
        {
            let words = format!("target \"{}\" failed: {reason}", target.name);
            return self.fail_part(id, part, refusal::INTERNAL_ERROR, &words, Some(target.name.as_str()));
        }
        if modern {
            merged.server_info = Some(match self.backend_of(id).single() {
                Some(target) => self.server_info(target),
                None => Bytes::from_static(OWN_SERVER.as_bytes()),
            });
        }
        if !merged.missing.is_empty() {
            self.counters.partial_lists.add(1);
        }
        let cursor = self.seal_cursor(id, kind, &merged.cursors);
        let Some(exchange) = self.exchange_mut(id) else { return };
        let missing = merged.missing.iter().map(|(target, reason, _)| (target, reason.as_str()));
        exchange.log.error = missing_words(missing);
        let [start, end] = merged.around(exchange.id_text(part), kind, cursor.as_deref());
        let pieces = [start].into_iter().chain(merged.items).chain([end]).collect();
        self.answer_pieces(id, part, pieces);
    }

    fn merge(
        &mut self,
        merged: &mut Merged,
        kind: list::Kind,
        target: &TargetId,
        outcome: Result<Bytes, String>,
        first: bool,
        until: Option<Instant>,
    ) {
        let limits = self.config.limits;
        let era = self.routes.find(target).and_then(|target| self.era(target));
        let single = self.is_alone(target);
        let view = list::View {
            target: (!single).then_some(&target.name),
            drop_invalid: merged.modern || era == Some(Era::Modern),
            strip_execution: merged.modern,
            wrap_output: !merged.modern && era == Some(Era::Modern),
        };
        let reason = match outcome.map(|body| (self.shown(target, kind, &body, &view), body)) {
            Ok((Ok(page), body)) => {
                self.catalogue.learn_irregular(target, kind, &page.irregular, &limits);
                let whole = first && page.next_cursor.is_none();
                if kind == list::Kind::Tools && whole {
                    // The client will write its calls by this list.
                    self.catalogue.learn_mirrors(target, &page.mirrors, true, &limits);
                }
                let keeps = !merged.edited && self.may_keep(target);
                let left = until.map(|until| until.saturating_duration_since(self.now).as_millis() as u64);
                if first && left.is_none() {
                    let ttl = ttl(&page.extra);
                    let list = List { answer: &body, ttl, event: merged.event, shared: keeps && whole };
                    self.catalogue.lists.keep(target, kind, &list, &limits, self.now);
                }
                self.catalogue.lists.show(target, kind, &body, &view, &page, &limits);
                if let Some(cursor) = &page.next_cursor {
                    merged.cursors.push((target.clone(), cursor.clone()));
                }
                merged.add_extra(&page.extra, era == Some(Era::Modern), left);
                // What a target shows to one with these credentials is for none but those who have them.
                merged.public &= keeps;
                return merged.append(&page.items);
            }
            // A target without such a list has nothing to add.
            Ok((Err(PageError::Error { code: refusal::METHOD_NOT_FOUND, .. }), _)) if !single => return,
            Ok((Err(error), _)) => {
                if let PageError::Error { code, message } = &error {
                    merged.error.get_or_insert_with(|| (*code, message.clone()));
                }
                error.to_string()
            }
            Err(reason) => reason,
        };
        let kept = self.catalogue.lists.last(target, kind).filter(|_| first && !merged.edited);
        let stale = kept.and_then(|body| self.shown(target, kind, &body, &view).ok());
        merged.missing.push((target.clone(), reason, stale.is_some()));
        if let Some(page) = stale {
            merged.append(&page.items);
        }
    }

    /// What clients see of a target's answer; of one that came before, what they saw then.
    fn shown(
        &self,
        target: &TargetId,
        kind: list::Kind,
        body: &Bytes,
        view: &list::View<'_>,
    ) -> Result<Arc<Shown>, PageError> {
        if let Some(shown) = self.catalogue.lists.shown(target, kind, body, view) {
            return Ok(shown);
        }
        let mut items = Vec::with_capacity(body.len());
        items.push(b',');
        let page = list::federate(body, kind, view, self.config.limits.depth, &mut items)?;
        Ok(Arc::new(Shown::new(page, items)))
    }

    /// A list that depends on the client's own credentials is not kept for others.
    fn may_keep(&self, target: &TargetId) -> bool {
        self.routes.find(target).is_some_and(|target| target.forward.fields.is_empty())
    }

    /// Nor is one that may depend on what a rule adds to the request.
    fn may_keep_for(&self, id: ExchangeId) -> bool {
        self.exchange(id).is_none_or(|exchange| !exchange.head.fields.is_edited())
    }

    /// A list came after its answer had been given without it. It is news unless the copy that stood in for it, when it
    /// was `asked` for, was the same: a client that lists again at every word of a slow target would never come to rest.
    pub(super) fn list_arrived(
        &mut self,
        session: SessionId,
        asked: Option<Instant>,
        target: &Arc<Target>,
        kind: list::Kind,
        body: &Bytes,
        first: bool,
    ) {
        let limits = self.config.limits;
        let mut items = Vec::new();
        let Ok(page) =
            list::federate(body, kind, &list::View::names(&target.id.name), limits.depth, &mut items)
        else {
            return;
        };
        self.catalogue.learn_irregular(&target.id, kind, &page.irregular, &limits);
        if first && page.next_cursor.is_none() && self.may_keep(&target.id) {
            let list = List { answer: body, ttl: ttl(&page.extra), event: false, shared: true };
            self.catalogue.lists.keep(&target.id, kind, &list, &limits, self.now);
            if asked.is_some_and(|asked| self.catalogue.lists.is_older(&target.id, kind, asked)) {
                return;
            }
        }
        self.list_changed(session, kind);
    }

    fn seal_cursor(
        &mut self,
        id: ExchangeId,
        kind: list::Kind,
        cursors: &[(TargetId, String)],
    ) -> Option<String> {
        if cursors.is_empty() {
            return None;
        }
        let mut writer = Writer::default();
        writer.u128(self.owner_key(id)?);
        writer.bytes(self.exchange(id)?.way.backend.as_str().as_bytes());
        writer.bytes(kind.key().as_bytes());
        for (target, cursor) in cursors {
            writer.bytes(target.name.as_str().as_bytes());
            writer.bytes(cursor.as_bytes());
        }
        Some(self.config.keys.seal_equal(Kind::Cursor, &writer.done()))
    }

    /// Whether a cursor is one of ours, and not the only target's own.
    pub(super) fn is_own_cursor(&self, id: ExchangeId, kind: list::Kind, cursor: &str) -> bool {
        self.open_cursor(id, kind, cursor).is_some()
    }

    /// The backend and the targets' cursors in one of ours; `None` when it isn't this session's, or of another list.
    fn open_cursor(
        &self,
        id: ExchangeId,
        kind: list::Kind,
        cursor: &str,
    ) -> Option<(BackendName, Vec<(TargetId, String)>)> {
        let owner = self.owner_key(id)?;
        let content = self.config.keys.open(Kind::Cursor, cursor.as_bytes())?;
        let mut reader = Reader::new(&content);
        if reader.u128()? != owner {
            return None;
        }
        let backend = reader.text()?.into();
        if reader.text()? != kind.key() {
            return None;
        }
        let mut cursors = Vec::new();
        while !reader.is_empty() {
            cursors.push((TargetId::parse(&backend, reader.text()?).ok()?, reader.text()?.to_owned()));
        }
        Some((backend, cursors))
    }
}

impl Merged {
    /// Members of a target's result beside its items.
    fn add_extra(&mut self, extra: &[(String, Bytes)], from_modern: bool, left: Option<u64>) {
        let mut ttl = 0;
        let mut public = false;
        for (key, value) in extra {
            match key.as_str() {
                // To a legacy client from a legacy target they are members like any other.
                "resultType" | "ttlMs" | "cacheScope" if !self.modern && !from_modern => {
                    self.add_member(key, || value.clone());
                }
                "resultType" => {}
                "ttlMs" => ttl = left.unwrap_or_else(|| milliseconds(value)),
                "_meta" if from_modern || self.modern => {
                    self.add_member(key, || without_member(value, &format!("{PREFIX}serverInfo")).into());
                }
                "cacheScope" => public = value == "\"public\"",
                _ => self.add_member(key, || value.clone()),
            }
        }
        self.ttl = Some(self.ttl.map_or(ttl, |other| other.min(ttl)));
        self.public &= public;
    }

    fn add_member(&mut self, key: &str, value: impl FnOnce() -> Bytes) {
        if !self.extra.contains_key(key) {
            self.extra.insert(Cow::Owned(key.to_owned()), value());
        }
    }

    /// Takes a target's items, a comma before each.
    fn append(&mut self, items: &Bytes) {
        let comma = usize::from(self.items.is_empty()).min(items.len());
        let items = items.slice(comma..);
        if !items.is_empty() {
            self.items.push(items);
        }
    }

    /// The answer to the request `id`, before and behind the items.
    fn around(&mut self, id: &[u8], kind: list::Kind, cursor: Option<&str>) -> [Bytes; 2] {
        let key = kind.key().as_bytes();
        let start = [b"{\"jsonrpc\":\"2.0\",\"id\":", id, b",\"result\":{\"", key, b"\":["].concat();
        let mut end = b"]".to_vec();
        if let Some(cursor) = cursor {
            end.extend_from_slice(b",\"nextCursor\":");
            quote(cursor, &mut end);
        }
        if self.modern {
            let ttl = if self.missing.is_empty() { self.ttl.unwrap_or(0) } else { 0 };
            let public = self.public && self.missing.is_empty();
            let scope: &[u8] = if public { b"\"public\"" } else { b"\"private\"" };
            self.extra.insert("resultType".into(), Bytes::from_static(b"\"complete\""));
            self.extra.insert("ttlMs".into(), ttl.to_string().into());
            self.extra.insert("cacheScope".into(), Bytes::from_static(scope));
        }
        if !self.missing.is_empty() {
            let meta = with_member(self.extra.get("_meta"), "mcp-gateway/partial", &self.partial());
            self.extra.insert("_meta".into(), meta.into());
        }
        if let Some(info) = &self.server_info {
            let meta = with_member(self.extra.get("_meta"), &format!("{PREFIX}serverInfo"), info);
            self.extra.insert("_meta".into(), meta.into());
        }
        for (key, value) in &self.extra {
            end.push(b',');
            quote(key, &mut end);
            end.push(b':');
            end.extend_from_slice(value);
        }
        end.extend_from_slice(b"}}");
        [start.into(), end.into()]
    }

    /// What is said of the missing: `[{"target":…,"reason":…,"stale":…}]`.
    fn partial(&self) -> Vec<u8> {
        let mut out = b"[".to_vec();
        for (target, reason, stale) in &self.missing {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"target\":");
            quote(target.name.as_str(), &mut out);
            out.extend_from_slice(b",\"reason\":");
            quote(reason, &mut out);
            out.extend_from_slice(if *stale { b",\"stale\":true}" } else { b",\"stale\":false}" });
        }
        out.push(b']');
        out
    }
}

/// What the access log says of targets that are missing in an answer.
pub(super) fn missing_words<'a>(missing: impl Iterator<Item = (&'a TargetId, &'a str)>) -> Option<String> {
    let words: Vec<_> =
        missing.map(|(target, reason)| format!("target \"{}\" is missing: {reason}", target.name)).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// How long a target says its list holds.
fn ttl<V: AsRef<[u8]>>(extra: &[(String, V)]) -> Duration {
    let ttl = extra.iter().find(|(key, _)| key == "ttlMs");
    Duration::from_millis(ttl.map_or(0, |(_, ttl)| milliseconds(ttl.as_ref())))
}

fn milliseconds(raw: &[u8]) -> u64 {
    std::str::from_utf8(raw).ok().and_then(|ttl| ttl.parse().ok()).unwrap_or(0)
}

/// A `_meta` object without a member.
fn without_member(meta: &[u8], key: &str) -> Vec<u8> {
    let members = members::members(meta).unwrap_or_default();
    let values = members.into_iter().filter(|member| member.key == key.as_bytes()).map(|member| member.span);
    params::without(meta, values.collect())
}

/// A `_meta` object with a member added.
fn with_member(meta: Option<&Bytes>, key: &str, value: &[u8]) -> Vec<u8> {
    let member = [b"\"", key.as_bytes(), b"\":", value].concat();
    let interior = meta
        .and_then(|meta| meta.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}"))
        .map(<[u8]>::trim_ascii)
        .filter(|interior| !interior.is_empty());
    match interior {
        Some(interior) => [b"{", interior, b",", &member, b"}"].concat(),
        None => [b"{".as_slice(), &member, b"}"].concat(),
    }
}
