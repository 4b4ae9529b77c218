//! The state machine: what each verb does to the store. No I/O, no clock.

use crate::definitions;
use crate::kinds::{DEFINITIONS, Kind, Kinds, split};
use crate::parameters::Parameters;
use crate::refusal::Refusal;
use crate::store::{Key, Store};
use crate::tree;
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

    /// Removes one object; of a namespace or a definition also what lives by it.
    pub(crate) fn delete(&mut self, target: &Target) -> Result<Value, Refusal> {
        let key = target.key();
        let missing = || Refusal::missing(&target.kind, &target.name);
        if self.store.find(&key).is_none() {
            return Err(missing());
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
        let last = self.store.remove(&key).ok_or_else(missing)?;
        Ok(present(&target.kind, &target.version, &last))
    }
}

impl Cluster {
    /// Removes all objects that the parameters select.
    pub(crate) fn delete_all(&mut self, target: &Target, parameters: &Parameters) -> Result<Value, Refusal> {
        let resource = Arc::from(target.kind.resource());
        for (key, object) in self.store.all(&resource, target.namespace.as_deref()) {
            if parameters.selector.matches(&object) {
                let namespace = target.kind.namespaced.then_some(key.namespace);
                self.delete(&Target { namespace, name: key.name, ..target.clone() })?;
            }
        }
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
    }
}

/// An object as it is shown: in the version asked for, and pruned by the schema of today.
pub(crate) fn present(kind: &Kind, version: &str, object: &Arc<Value>) -> Value {
    let mut shown = Value::clone(object);
    tree::set(&mut shown, &["apiVersion"], kind.api_version(version).into());
    shown
}

/// The ways to write.
#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Create(Value),
    Replace(Value),
    /// A merge patch, RFC 7396.
    Merge(Value),
    Apply {
        body: Value,
        force: bool,
    },
}

impl Cluster {
    /// Writes, and returns the HTTP status and the object.
    pub(crate) fn write(
        &mut self,
        target: &Target,
        verb: Verb,
        caller: &Caller,
    ) -> Result<(u16, Value), Refusal> {
        let key = target.key();
        let live = self.store.find(&key).cloned();
        let (mut object, code) = match (verb, &live) {
            (Verb::Create(_), Some(_)) => return Err(Refusal::exists(&target.kind, &target.name)),
            (Verb::Create(body), None) | (Verb::Apply { body, .. }, None) if !target.status => (body, 201),
            (Verb::Replace(body), Some(_)) => (body, 200),
            (Verb::Merge(patch) | Verb::Apply { body: patch, .. }, Some(live)) => {
                let mut object = Value::clone(&live.object);
                merge(&mut object, &patch);
                (object, 200)
            }
            _ => return Err(Refusal::missing(&target.kind, &target.name)),
        };
        let resource_version = tree::text(&object, "/metadata/resourceVersion");
        if let Some(live) = &live
            && !resource_version.is_empty()
            && resource_version != tree::text(&live.object, "/metadata/resourceVersion")
        {
            return Err(Refusal::stale(&target.kind, &target.name));
        }
        if let Some(live) = &live {
            let live = &live.object;
            if target.status {
                let status = object.get("status").cloned().unwrap_or(Value::Null);
                object = Value::clone(live);
                tree::set(&mut object, &["status"], status);
            } else if target.kind.status {
                tree::carry(&mut object, live, &["status"]);
            }
            for field in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
                tree::carry(&mut object, live, &["metadata", field]);
            }
            if target.kind.counted && object.get("spec") != live.get("spec") {
                let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
                tree::set(&mut object, &["metadata", "generation"], (generation + 1).into());
            }
            if object == **live {
                return Ok((code, present(&target.kind, &target.version, live)));
            }
        } else {
            if target.kind.status {
                tree::take(&mut object, &["status"]);
            }
            let uid = format!("00000000-0000-4000-8000-{:012x}", self.next());
            tree::set(&mut object, &["metadata", "uid"], uid.into());
            tree::set(&mut object, &["metadata", "creationTimestamp"], caller.now.clone().into());
            if target.kind.counted {
                tree::set(&mut object, &["metadata", "generation"], 1.into());
            }
        }
        tree::set(&mut object, &["metadata", "name"], target.name.clone().into());
        if let Some(namespace) = &target.namespace {
            tree::set(&mut object, &["metadata", "namespace"], namespace.clone().into());
        }
        tree::set(&mut object, &["kind"], target.kind.kind.clone().into());
        tree::set(&mut object, &["apiVersion"], target.kind.api_version(target.kind.version()).into());
        if caller.dry_run {
            return Ok((code, object));
        }
        let object = self.store.put(key, object, Vec::new());
        self.written(target, &object, caller);
        Ok((code, present(&target.kind, &target.version, &object)))
    }

    /// Notes a write of status, and brings a definition into force.
    fn written(&mut self, target: &Target, object: &Arc<Value>, caller: &Caller) {
        let key = target.key();
        if target.status {
            self.writes.push(StatusWrite {
                resource: key.resource.to_string(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                manager: caller.manager.clone(),
                status: object.get("status").cloned().unwrap_or(Value::Null),
                revision: self.store.revision(),
            });
        }
        if &*key.resource == DEFINITIONS
            && !target.status
            && let Some(kind) = Kind::defined(object, self.store.revision())
        {
            self.kinds.define(kind);
        }
    }
}

/// RFC 7396.
pub(crate) fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    let Value::Object(map) = value else { return };
    for (name, new) in patch {
        if new.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name).or_insert(Value::Null), new);
        }
    }
}
