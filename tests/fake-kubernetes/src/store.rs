//! Objects, one counter of revisions for all of them, and the log of what happened.

use crate::owners::Owner;
use crate::tree;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Changes that are kept for watches; older ones count as compacted.
const LOG: usize = 50_000;

/// What an object is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The plural, with the group behind a dot: `gateways.gateway.networking.k8s.io`.
    pub(crate) resource: Arc<str>,
    /// Empty if the kind lives outside namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// An object as it was last written.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) object: Arc<Value>,
    pub(crate) owners: Vec<Owner>,
}

/// One write: before and after.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    /// Without it the object was created.
    pub(crate) before: Option<Arc<Value>>,
    /// Without it the object was deleted.
    pub(crate) after: Option<Arc<Value>>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    revision: u64,
    /// Nothing up to here can be watched from any more, except this very revision.
    horizon: u64,
    objects: BTreeMap<Key, Stored>,
    log: VecDeque<Change>,
}

impl Store {
    /// The revision of the last write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision that a watch or an exact list may name.
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Forgets history: from now on all that happened before is too old.
    pub(crate) fn compact(&mut self) {
        self.horizon = self.revision;
    }

    /// Counts on without a write, as writes of types unknown to us would.
    pub(crate) fn skip(&mut self, revisions: u64) {
        self.revision += revisions;
    }

    /// As after a restore from a backup: counting starts again at `revision`, and there is no history.
    pub(crate) fn rewind(&mut self, revision: u64) {
        self.revision = revision;
        self.horizon = revision;
        self.log.clear();
    }

    pub(crate) fn find(&self, key: &Key) -> Option<&Stored> {
        self.objects.get(key)
    }

    /// Creates or replaces an object; its resource version becomes that of this write.
    pub(crate) fn put(&mut self, key: Key, mut object: Value, owners: Vec<Owner>) -> Arc<Value> {
        self.revision += 1;
        tree::set(&mut object, &["metadata", "resourceVersion"], self.revision.to_string().into());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), Stored { object: Arc::clone(&object), owners });
        let before = before.map(|stored| stored.object);
        self.record(key, before, Some(Arc::clone(&object)));
        object
    }

    /// Removes an object, and returns what it was last.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?.object;
        self.revision += 1;
        self.record(key.clone(), Some(Arc::clone(&before)), None);
        Some(before)
    }

    fn record(&mut self, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        self.log.push_back(Change { revision: self.revision, key, before, after });
        if self.log.len() > LOG
            && let Some(oldest) = self.log.pop_front()
        {
            self.horizon = self.horizon.max(oldest.revision);
        }
    }

    /// What was written after `revision`, in order.
    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let start = self.log.partition_point(|change| change.revision <= revision);
        self.log.range(start..)
    }

    /// The objects of a type by namespace and name, in one namespace or in all.
    pub(crate) fn all(&self, resource: &Arc<str>, namespace: Option<&str>) -> Vec<(Key, Arc<Value>)> {
        let first = Key {
            resource: Arc::clone(resource),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: String::new(),
        };
        self.objects
            .range(first..)
            .take_while(|(key, _)| {
                key.resource == *resource && namespace.is_none_or(|wanted| key.namespace == wanted)
            })
            .map(|(key, stored)| (key.clone(), Arc::clone(&stored.object)))
            .collect()
    }

    /// The objects in a namespace, of every type.
    pub(crate) fn inside(&self, namespace: &str) -> Vec<Key> {
        self.objects.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    /// As `all`, but as it was at `revision`, which is not before the horizon.
    pub(crate) fn all_at(
        &self,
        resource: &Arc<str>,
        namespace: Option<&str>,
        revision: u64,
    ) -> Vec<(Key, Arc<Value>)> {
        let mut then: BTreeMap<_, _> = self.all(resource, namespace).into_iter().collect();
        let later = self.log.partition_point(|change| change.revision <= revision);
        for change in self.log.range(later..).rev() {
            if change.key.resource != *resource
                || namespace.is_some_and(|wanted| change.key.namespace != wanted)
            {
                continue;
            }
            match &change.before {
                Some(before) => then.insert(change.key.clone(), Arc::clone(before)),
                None => then.remove(&change.key),
            };
        }
        then.into_iter().collect()
    }
}
