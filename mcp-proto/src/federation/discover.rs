//! `server/discover`, and what it has in common with `initialize`: what a target says of itself.
//!
//! What targets said last is remembered with their era, so most of the time nobody is asked. A legacy target says it
//! when a session is opened, so one that was never met has a hidden session opened.

use super::gather::Question;
use super::initialize::{Capabilities, OWN_SERVER, append_instructions, result_of, without_modern_tasks};
use super::probe::Discovered;
use crate::era::{MODERN, PREFIX};
use crate::exchange::{ExchangeId, Slot, What};
use crate::jsonrpc::splice::quote;
use crate::refusal;
use crate::session::{Revision, SessionId};
use crate::shard::Shard;
use bytes::Bytes;
use routing::{Target, TargetId};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a target said of itself is asked for again after this.
const AGE: Duration = Duration::from_secs(60);

/// Asks a legacy target for a sign of life, which opens a session; to a modern one it becomes `server/discover`.
const PING: &[u8] = br#"{"jsonrpc":"2.0","id":"mcp-gateway-discover","method":"ping"}"#;

/// Where the two answers name the server.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, rename = "serverInfo")]
    info: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/serverInfo")]
    info: Option<&'a RawValue>,
}

impl Shard {
    /// Asks every target that has not said lately what it is.
    pub(super) fn discover(&mut self, id: ExchangeId, part: u16) {
        let targets = self.backend_of(id).targets().to_vec();
        let questions = targets.into_iter().map(|target| Question {
            target,
            body: Ok(Bytes::from_static(PING)),
            kept: None,
        });
        self.gather(id, part, What::Discover, questions.collect());
    }

    /// What a target said of itself, if that was lately.
    pub(super) fn discovered(&self, target: &TargetId) -> Option<Bytes> {
        let discovered = self.pools.get(target)?.verdict.discovered.as_ref()?;
        (discovered.at + AGE > self.now).then(|| discovered.body.clone())
    }

    /// A target said what it is, in answer to `initialize`, with the revision it agrees to, or to `server/discover`.
    pub(super) fn learn(&mut self, target: &TargetId, body: &[u8], revision: Option<Revision>) {
        let at = self.now;
        let Some(pool) = self.pools.get_mut(target) else { return };
        let verdict = &mut pool.verdict;
        // Nearly always it says what it said to the session before.
        if let Some(known) = verdict.discovered.as_mut().filter(|it| it.body == body && it.result.is_some()) {
            known.at = at;
            known.revision = revision.or(known.revision);
            return;
        }
        let discovered = Discovered { revision, ..Discovered::new(body, at) };
        if discovered.result.is_some() {
            verdict.discovered = Some(discovered);
        }
    }

    /// What a target said of itself last, if it was this.
    pub(super) fn said_before(&self, target: &TargetId, body: &[u8]) -> Option<&Discovered> {
        self.pools.get(target)?.verdict.discovered.as_ref().filter(|known| known.body == body)
    }

    /// `serverInfo` of a target, raw; the gateway's own where it is not known.
    pub(super) fn server_info(&self, target: &Target) -> Bytes {
        let discovered = self.pools.get(&target.id).and_then(|pool| pool.verdict.discovered.as_ref());
        let info = discovered.and_then(|discovered| discovered.info.clone());
        info.unwrap_or_else(|| Bytes::from_static(OWN_SERVER.as_bytes()))
    }

    /// All targets have said what they are, or time is up.
    pub(super) fn all_discovered(&mut self, id: ExchangeId, part: u16, slots: &[Slot]) {
        let mut capabilities = Capabilities::default();
        let mut instructions = String::new();
        let single = self.backend_of(id).single().cloned();
        for Slot { target, .. } in slots {
            let said = self.pools.get(target).and_then(|pool| pool.verdict.discovered.as_ref());
            match said.and_then(|said| said.result.as_ref()) {
                Some(result) => {
                    capabilities.add(Some(&result.capabilities), single.is_some());
                    let words = result.instructions.as_deref();
                    match &single {
                        Some(_) => instructions = words.unwrap_or_default().to_owned(),
                        None => append_instructions(&mut instructions, &target.name, words),
                    }
                }
                None => capabilities.add(self.catalogue.capabilities(target), false),
            }
        }
        let mut capabilities = match single {
            Some(_) => capabilities.united(),
            None => capabilities.merged(),
        };
        without_legacy_tasks(&mut capabilities);
        let info = match &single {
            Some(target) => self.server_info(target),
            None => Bytes::from_static(OWN_SERVER.as_bytes()),
        };
        let mut result = format!(
            "{{\"resultType\":\"complete\",\"supportedVersions\":[\"{MODERN}\"],\"capabilities\":{capabilities},\
             \"ttlMs\":{},\"cacheScope\":\"private\",\"_meta\":{{\"{PREFIX}serverInfo\":{}}}",
            if slots.iter().all(|slot| matches!(slot.outcome, Some(Ok(_)))) { AGE.as_millis() } else { 0 },
            String::from_utf8_lossy(&info),
        )
        .into_bytes();
        if !instructions.is_empty() {
            result.extend_from_slice(b",\"instructions\":");
            quote(&instructions, &mut result);
        }
        result.push(b'}');
        let Some(exchange) = self.exchange(id) else { return };
        let body = refusal::result(exchange.id_text(part), &result);
        self.answer_part(id, part, &body);
    }

    /// What a single modern target said of itself, as the answer to a legacy client's `initialize`.
    pub(super) fn as_initialize_result(
        &self,
        id: ExchangeId,
        part: u16,
        session: SessionId,
        target: &Target,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let result = result_of(body)?;
        let revision = self.sessions.get(session)?.revision;
        let mut capabilities = Value::Object(result.capabilities);
        without_legacy_tasks(&mut capabilities);
        let info = String::from_utf8_lossy(&self.server_info(target)).into_owned();
        let mut answer = json!({
            "protocolVersion": revision.as_str(),
            "capabilities": without_modern_tasks(capabilities),
            "serverInfo": serde_json::from_str::<Value>(&info).ok()?,
        });
        if let (Some(instructions), Some(members)) = (result.instructions, answer.as_object_mut()) {
            members.insert("instructions".to_owned(), instructions.into());
        }
        let exchange = self.exchange(id)?;
        Some(refusal::result(exchange.id_text(part), answer.to_string().as_bytes()))
    }
}

impl Discovered {
    pub(super) fn new(body: &[u8], at: Instant) -> Self {
        let body = Bytes::copy_from_slice(body);
        Self { result: result_of(&body).map(Arc::new), revision: None, info: named(&body), body, at }
    }
}

/// `serverInfo` in an answer to either question.
fn named(body: &[u8]) -> Option<Bytes> {
    let envelope = crate::jsonrpc::envelope::Envelope::parse(body, usize::MAX).ok()?;
    let named: Named<'_> = serde_json::from_slice(body.get(envelope.result?)?).ok()?;
    let info = named.info.or_else(|| named.meta?.info)?;
    Some(Bytes::copy_from_slice(info.get().as_bytes()))
}

/// Tasks of 2025-11-25 have another form than those of the extension (reference to both: changelog 2026-07-28).
fn without_legacy_tasks(capabilities: &mut Value) {
    if let Some(members) = capabilities.as_object_mut() {
        members.remove("tasks");
    }
}
