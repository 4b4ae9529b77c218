//! Tasks of several targets: an id that a client holds names the target, sealed, so that a later message about the task
//! finds its way without a table. With one target ids pass as they are.
//!
//! The two kinds of tasks, those of 2025-11-25 and the extension of 2026-07-28, are told apart by nothing here: each is
//! relayed between a client and a target of the same era, and neither is offered where the other side can't speak it.

use super::gather::NOBODY;
use crate::exchange::{Exchange, ExchangeId};
use crate::jsonrpc::envelope::{Envelope, Text};
use crate::jsonrpc::members::members;
use crate::jsonrpc::params;
use crate::jsonrpc::rewrite::TaskSeal;
use crate::jsonrpc::splice::quote;
use crate::refusal;
use crate::shard::Shard;
use bytes::Bytes;
use memchr::memmem;
use routing::{Target, TargetId};
use std::ops::Range;
use std::sync::Arc;

/// The identifier of the extension (extensions/tasks).
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// What a message about a task carries in `_meta` (2025-11-25, basic/utilities/tasks).
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// A task that a client wants to hear of.
#[derive(Debug)]
pub(super) struct WatchedTask {
    pub(super) target: TargetId,
    /// As its target knows it.
    pub(super) inner: String,
    /// As the client knows it.
    pub(super) asked: String,
}

impl Shard {
    /// A message about a task goes to the target that has it.
    pub(super) fn by_task(&mut self, id: ExchangeId, part: u16, task: Option<&Text<'_>>, message: &Bytes) {
        let Some(task) = task else {
            return self.fail_part(id, part, refusal::INVALID_PARAMS, "params.taskId is no string", None);
        };
        if let Some(owner) = self.owner_key(id)
            && let Some((target, _)) = TaskSeal::open(&self.config.keys, owner, &task.value)
        {
            // If its rule does not lead there, no task is found.
            _ = self.turn_to(id, &target.backend);
        }
        if let Some((target, inner)) = self.unseal_task(id, &task.value) {
            let message = super::route::replace(&mut self.room, message, &task.span, &inner);
            return self.relay(id, part, target, message, false);
        }
        match self.backend_of(id).single().cloned() {
            Some(target) => self.relay(id, part, target, message.clone(), false),
            None => self.fail_part(id, part, refusal::INVALID_PARAMS, "unknown task", None),
        }
    }

    pub(super) fn unseal_task(&self, id: ExchangeId, task: &str) -> Option<(Arc<Target>, String)> {
        self.unseal_task_of(id, self.owner_key(id)?, task)
    }

    /// What `owner` calls `task` towards the backend that serves an exchange.
    fn unseal_task_of(&self, id: ExchangeId, owner: u128, task: &str) -> Option<(Arc<Target>, String)> {
        let (target, inner) = TaskSeal::open(&self.config.keys, owner, task)?;
        let backend = self.backend_of(id);
        let target = backend.target(target.name.as_str()).filter(|known| known.id == target)?;
        Some((Arc::clone(target), inner))
    }

    /// The task that a client's answer belongs to, by its own id.
    pub(super) fn related_task(&self, id: ExchangeId, message: &[u8]) -> Option<params::Edit> {
        let envelope = Envelope::parse(message, usize::MAX).ok()?;
        let inside = |object: Range<usize>, key: &str| {
            let members = members(message.get(object.clone())?)?;
            let span = members.into_iter().find(|member| member.key == key.as_bytes())?.span;
            Some(object.start + span.start..object.start + span.end)
        };
        let meta = inside(envelope.result?, "_meta")?;
        let task = inside(inside(meta, RELATED_TASK)?, "taskId")?;
        let sealed: String = serde_json::from_slice(message.get(task.clone())?).ok()?;
        let (_, inner) = self.unseal_task(id, &sealed)?;
        let mut literal = Vec::new();
        quote(&inner, &mut literal);
        Some((task, literal))
    }

    /// The tasks that some target has, as many as one client may have.
    pub(super) fn watched_tasks(&self, id: ExchangeId, ids: Vec<String>) -> Vec<WatchedTask> {
        let single = self.backend_of(id).single();
        let found = ids.into_iter().filter_map(|asked| {
            let (target, inner) = match single {
                Some(target) => (target.id.clone(), asked.clone()),
                None => {
                    let (target, inner) = self.unseal_task_of(id, NOBODY, &asked)?;
                    (target.id.clone(), inner)
                }
            };
            Some(WatchedTask { target, inner, asked })
        });
        found.take(self.config.limits.names).collect()
    }

    /// How the ids of tasks in an answer are sealed, if there are several targets and the client knows of tasks.
    pub(super) fn task_seal(&self, id: ExchangeId, part: u16, target: &TargetId) -> Option<Arc<TaskSeal>> {
        (!self.is_alone(target)).then_some(())?;
        let exchange = self.exchange(id)?;
        // A client of 2025-11-25 asks for a task with the request; who knows the extension may be given one any time.
        let asks = exchange.parts.get(usize::from(part)).is_some_and(|part| part.of_task);
        if !asks && !self.knows_tasks(exchange) {
            return None;
        }
        self.session_task_seal(self.owner_key(id)?, target)
    }

    /// Whether a client knows the extension. Most say too little for that to be looked for.
    fn knows_tasks(&self, exchange: &Exchange) -> bool {
        let (_, claimed, _) = exchange.claimed();
        let session = exchange.session.and_then(|session| self.sessions.get(session));
        let capabilities = session.map_or(claimed, |session| &session.capabilities);
        capabilities.len() > EXTENSION.len() && memmem::find(capabilities, EXTENSION.as_bytes()).is_some()
    }

    /// The same for what a target says on its own.
    pub(super) fn session_task_seal(&self, owner: u128, target: &TargetId) -> Option<Arc<TaskSeal>> {
        (!self.is_alone(target))
            .then(|| Arc::new(TaskSeal { keys: self.config.keys.clone(), owner, target: target.clone() }))
    }
}
