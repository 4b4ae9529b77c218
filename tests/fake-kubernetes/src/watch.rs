//! Watches: a cursor in the log that turns changes into events.

use crate::cluster::{Cluster, Target, present};
use crate::faults::Plan;
use crate::kinds::Kind;
use crate::parameters::{Match, Parameters};
use crate::refusal::Refusal;
use serde_json::{Value, json};
use std::sync::Arc;

/// The annotation of the bookmark after the initial events.
const END: &str = "k8s.io/initial-events-end";

/// How streaming lists are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streaming {
    /// As they should be.
    #[default]
    Served,
    /// As over an etcd without progress notifications: 200, then an error event.
    OldStore,
    /// As on a server whose feature gate is off: 422.
    Off,
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) object: Value,
}

impl Event {
    pub(crate) fn error(refusal: &Refusal) -> Self {
        Self { kind: "ERROR", object: refusal.status() }
    }

    pub(crate) fn line(&self) -> String {
        format!("{}\n", json!({"type": self.kind, "object": self.object}))
    }
}

/// A watch in progress.
#[derive(Debug)]
pub(crate) struct Cursor {
    kind: Arc<Kind>,
    version: String,
    namespace: Option<String>,
    parameters: Parameters,
    /// All up to this revision has been told.
    position: u64,
    start: Start,
    /// Nothing follows any more.
    pub(crate) ended: bool,
}

#[derive(Debug)]
enum Start {
    /// The state is told first.
    State,
    /// This is told, and nothing more.
    Error(Refusal),
    Done,
}

impl Cursor {
    /// A watch of a type, in one namespace or in all.
    pub(crate) fn open(
        cluster: &Cluster,
        target: &Target,
        parameters: Parameters,
        plan: &Plan,
    ) -> Result<Self, Refusal> {
        let invalid =
            |text: &str| Err(Refusal::new(422, format!("ListOptions.meta.k8s.io \"\" is invalid: {text}")));
        let from = parameters.revision()?;
        let streaming = plan.streaming;
        match (parameters.initial, parameters.matching) {
            (Some(_), _) if streaming == Streaming::Off => {
                return invalid(
                    "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the \
                                WatchList feature gate is enabled",
                );
            }
            (Some(_), None | Some(Match::Exact)) => {
                return invalid(
                    "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
                                resourceVersionMatch to NotOlderThan",
                );
            }
            (None, Some(_)) => {
                return invalid(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
                                sendInitialEvents is provided",
                );
            }
            _ => {}
        }
        let start = match from {
            _ if parameters.initial == Some(true) && streaming == Streaming::OldStore => {
                Start::Error(Refusal::new(500, "RequestWatchProgress is disabled"))
            }
            _ if parameters.initial == Some(true) => Start::State,
            None | Some(0) if parameters.initial.is_none() => Start::State,
            Some(from) if from > 0 && from < cluster.store.horizon() => {
                let refusal = Refusal::expired(from, cluster.store.horizon());
                if plan.gone {
                    return Err(refusal);
                }
                Start::Error(refusal)
            }
            _ => Start::Done,
        };
        let position = from.filter(|from| *from > 0).unwrap_or_else(|| cluster.store.revision());
        Ok(Self {
            kind: Arc::clone(&target.kind),
            version: target.version.clone(),
            namespace: target.namespace.clone(),
            parameters,
            position,
            start,
            ended: false,
        })
    }

    /// What is to be told since the last call.
    pub(crate) fn advance(&mut self, cluster: &Cluster) -> Vec<Event> {
        if self.ended {
            return Vec::new();
        }
        let mut events = Vec::new();
        match std::mem::replace(&mut self.start, Start::Done) {
            Start::State if cluster.store.revision() < self.position => self.start = Start::State,
            Start::State => {
                self.position = cluster.store.revision();
                events = self.state(cluster);
                if self.parameters.bookmarks {
                    events.push(self.bookmark_with(json!({END: "true"})));
                }
            }
            Start::Error(refusal) => {
                self.ended = true;
                return vec![Event::error(&refusal)];
            }
            Start::Done => {}
        }
        let resource = self.kind.resource();
        for change in cluster.store.since(self.position) {
            let elsewhere =
                self.namespace.as_ref().is_some_and(|namespace| change.key.namespace != *namespace);
            if *change.key.resource != *resource || elsewhere {
                continue;
            }
            events.extend(self.event(change.before.as_ref(), change.after.as_ref(), change.revision));
        }
        self.position = self.position.max(cluster.store.revision());
        // The definition was deleted or replaced.
        self.ended = cluster.kinds.resource(&resource).is_none_or(|kind| kind.era != self.kind.era);
        events
    }

    fn state(&self, cluster: &Cluster) -> Vec<Event> {
        let resource = Arc::from(self.kind.resource());
        let objects = cluster.store.all(&resource, self.namespace.as_deref()).into_iter();
        objects
            .filter(|(_, object)| self.parameters.selector.matches(object))
            .map(|(_, object)| Event { kind: "ADDED", object: present(&self.kind, &self.version, &object) })
            .collect()
    }

    /// What a change means to a watch that sees only what its selector matches.
    fn event(&self, before: Option<&Arc<Value>>, after: Option<&Arc<Value>>, revision: u64) -> Option<Event> {
        let matching = |object: Option<&Arc<Value>>| {
            object.filter(|object| self.parameters.selector.matches(object)).cloned()
        };
        let (kind, object) = match (matching(before), matching(after)) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(before), None) => ("DELETED", before),
        };
        let mut object = present(&self.kind, &self.version, &object);
        crate::tree::set(&mut object, &["metadata", "resourceVersion"], revision.to_string().into());
        Some(Event { kind, object })
    }

    /// A bookmark, if they were asked for and there is something that it can say.
    pub(crate) fn bookmark(&self) -> Option<Event> {
        let speaks = self.parameters.bookmarks && !self.ended && matches!(self.start, Start::Done);
        speaks.then(|| self.bookmark_with(Value::Null))
    }

    fn bookmark_with(&self, annotations: Value) -> Event {
        let mut metadata = json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        if !annotations.is_null() {
            crate::tree::set(&mut metadata, &["annotations"], annotations);
        }
        let object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(&self.version), "metadata": metadata,
        });
        Event { kind: "BOOKMARK", object }
    }
}
