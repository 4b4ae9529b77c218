//! The state machine: what each verb does to the store. No I/O, no clock.

use crate::definitions;
use crate::kinds::{DEFINITIONS, Kind, Kinds, split};
use crate::parameters::Parameters;
use crate::refusal::Refusal;
use crate::store::{Key, Store};
use crate::write::{Verb, has_finalizers};
use crate::{schema, tree};
use serde_json::{Value, json};
use std::sync::Arc;

/// The state of a cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) kinds: Kinds,
    pub(crate) store: Store,
    /// Writes of status, in order.
    pub(crate) writes: Vec<StatusWrite>,
    /// Tells continue tokens from those that have expired.
    pub(crate) tokens: u64,
    serial: u64,
}

/// One write of an object's status that changed something.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusWrite {
    /// The plural, with the group behind a dot.
    pub resource: String,
    /// Empty for what lives outside namespaces.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The field manager, or the client's own name.
    pub manager: String,
    /// The status as it is stored from then on.
    pub status: Value,
    /// The resource version of the write.
    pub revision: u64,
}

/// What is spoken of: a type in one of its versions, and perhaps one object of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) status: bool,
}

impl Target {
    pub(crate) fn key(&self) -> Key {
        Key {
            resource: self.kind.resource().into(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.name.clone(),
        }
    }
}

/// Who writes, and when.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) manager: String,
    /// RFC 3339, in whole seconds.
    pub(crate) now: String,
    pub(crate) dry_run: bool,
}

impl Cluster {
    /// A cluster with two namespaces and the definitions of the Gateway API and Backend.
    pub(crate) fn new(now: &str) -> Self {
        let mut cluster = Self {
            kinds: Kinds::built_in(),
            store: Store::default(),
            writes: Vec::new(),
            tokens: 0,
            serial: 0,
        };
        let caller = Caller { manager: "fake-kubernetes".to_owned(), now: now.to_owned(), dry_run: false };
        for name in ["default", "kube-system"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            cluster.seed(namespace, &caller);
        }
        for definition in definitions::initial() {
            cluster.seed(definition, &caller);
        }
        // A server remembers nothing from before its start.
        cluster.store.compact();
        cluster
    }

    fn seed(&mut self, manifest: Value, caller: &Caller) {
        let target = self.target_of(&manifest);
        let made = target.and_then(|target| self.write(&target, Verb::Create(manifest), caller));
        debug_assert!(made.is_ok(), "{made:?}");
    }

    /// What a manifest speaks of.
    pub(crate) fn target_of(&self, manifest: &Value) -> Result<Target, Refusal> {
        let kind = self.kinds.of(manifest).cloned().ok_or_else(|| {
            let text = |pointer| tree::text(manifest, pointer);
            Refusal::new(
                404,
                format!("no matches for kind {:?} in version {:?}", text("/kind"), text("/apiVersion")),
            )
        })?;
        let namespace = match tree::text(manifest, "/metadata/namespace") {
            "" => "default",
            named => named,
        };
        Ok(Target {
            version: split(tree::text(manifest, "/apiVersion")).1.to_owned(),
            namespace: kind.namespaced.then(|| namespace.to_owned()),
            name: tree::text(manifest, "/metadata/name").to_owned(),
            status: false,
            kind,
        })
    }

    /// One object as `target`'s version shows it.
    pub(crate) fn find(&self, target: &Target) -> Result<Value, Refusal> {
        let stored = self.store.find(&target.key());
        let stored = stored.ok_or_else(|| Refusal::missing(&target.kind, &target.name))?;
        Ok(present(&target.kind, &target.version, &stored.object))
    }

    /// A number that was not given before, for uids, addresses and generated names.
    pub(crate) fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Removes one object, or marks it if it has finalizers; of a namespace or a definition also what lives by it. `wanted`
    /// may name the version and the uid that it has to have.
    pub(crate) fn delete(&mut self, target: &Target, wanted: &Value, now: &str) -> Result<Value, Refusal> {
        let key = target.key();
        let missing = || Refusal::missing(&target.kind, &target.name);
        let mut live = self.store.find(&key).cloned().ok_or_else(missing)?;
        for field in ["resourceVersion", "uid"] {
            let wanted = tree::text(wanted, &format!("/preconditions/{field}"));
            if !wanted.is_empty() && wanted != tree::text(&live.object, &format!("/metadata/{field}")) {
                return Err(Refusal::stale(&target.kind, &target.name));
            }
        }
        if has_finalizers(&live.object) {
            if live.object.pointer("/metadata/deletionTimestamp").is_none() {
                let mut object = Value::clone(&live.object);
                tree::set(&mut object, &["metadata", "deletionTimestamp"], now.into());
                live.object = self.store.put(key, object, live.owners);
            }
            return Ok(present(&target.kind, &target.version, &live.object));
        }
        if &*key.resource == "namespaces" {
            for inside in self.store.inside(&key.name) {
                self.store.remove(&inside);
            }
        }
        if &*key.resource == DEFINITIONS {
            for (instance, _) in self.store.all(&Arc::from(key.name.as_str()), None) {
                self.store.remove(&instance);
            }
            self.kinds.forget(&key.name);
        }
        self.store.remove(&key);
        Ok(present(&target.kind, &target.version, &live.object))
    }

    /// Removes all objects that the parameters select.
    pub(crate) fn delete_all(
        &mut self,
        target: &Target,
        chosen: &Parameters,
        now: &str,
    ) -> Result<Value, Refusal> {
        let resource = Arc::from(target.kind.resource());
        for (key, object) in self.store.all(&resource, target.namespace.as_deref()) {
            if chosen.selector.matches(&object) {
                let namespace = target.kind.namespaced.then_some(key.namespace);
                self.delete(&Target { namespace, name: key.name, ..target.clone() }, &Value::Null, now)?;
            }
        }
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
    }
}

/// An object as it is shown: in the version asked for, and pruned by the schema of today.
pub(crate) fn present(kind: &Kind, version: &str, object: &Arc<Value>) -> Value {
    let mut shown = Value::clone(object);
    if kind.custom {
        schema::prune(&kind.schema, &mut shown);
    }
    tree::set(&mut shown, &["apiVersion"], kind.api_version(version).into());
    shown
}
