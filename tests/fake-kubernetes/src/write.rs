//! Writes: from what a client sent to what is stored.

use crate::cluster::{Caller, Cluster, StatusWrite, Target, present};
use crate::kinds::{DEFINITIONS, Kind};
use crate::owners::{self, Owner};
use crate::refusal::Refusal;
use crate::store::Stored;
use crate::{built_in, patch, schema, tree};
use serde_json::{Value, json};

/// The ways to write.
#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Create(Value),
    Replace(Value),
    /// A merge patch, RFC 7396.
    Merge(Value),
    Strategic(Value),
    /// RFC 6902.
    Json(Value),
    Apply {
        body: Value,
        force: bool,
    },
}

/// What an object is to become.
struct Draft {
    object: Value,
    owners: Vec<Owner>,
    /// Whether owners are settled already.
    applied: bool,
}

impl Cluster {
    /// Writes, and returns the HTTP status and the object.
    pub(crate) fn write(
        &mut self,
        target: &Target,
        verb: Verb,
        caller: &Caller,
    ) -> Result<(u16, Value), Refusal> {
        let mut target = target.clone();
        if target.name.is_empty()
            && let Verb::Create(body) = &verb
        {
            let prefix = tree::text(body, "/metadata/generateName").to_owned();
            target.name = if prefix.is_empty() { prefix } else { format!("{prefix}{:05x}", self.next()) };
        }
        self.welcome(&target)?;
        let key = target.key();
        let live = self.store.find(&key).cloned();
        let Draft { mut object, mut owners, applied } = draft(&target, verb, live.as_ref(), caller)?;
        match &live {
            Some(live) => confine(&target, &mut object, &live.object),
            None => self.found(&target, &mut object, caller),
        }
        self.complete(&target.kind, live.as_ref(), &mut object)?;
        let before = live.as_ref().map(|live| &*live.object);
        if applied {
            owners::settle(&object, &mut owners);
        } else {
            owners::updated(&target, caller, before.unwrap_or(&Value::Null), &object, &mut owners);
        }
        let managed = if owners.is_empty() { None } else { Some(owners::shown(&owners)) };
        match managed {
            Some(managed) => tree::set(&mut object, &["metadata", "managedFields"], managed),
            None => {
                tree::take(&mut object, &["metadata", "managedFields"]);
            }
        }
        let code = if live.is_some() { 200 } else { 201 };
        if caller.dry_run || before == Some(&object) {
            return Ok((code, present(&target.kind, &target.version, &object.into())));
        }
        if object.pointer("/metadata/deletionTimestamp").is_some() && !has_finalizers(&object) {
            self.store.remove(&key);
            return Ok((code, present(&target.kind, &target.version, &object.into())));
        }
        let object = self.store.put(key, object, owners);
        self.written(&target, &object, caller);
        Ok((code, present(&target.kind, &target.version, &object)))
    }

    /// Whether there can be such an object at all.
    fn welcome(&self, target: &Target) -> Result<(), Refusal> {
        if target.name.is_empty() {
            let cause =
                ("FieldValueRequired", "Required value: name or generateName is required", "metadata.name");
            let cause = (cause.0, cause.1.to_owned(), cause.2.to_owned());
            return Err(Refusal::invalid(&target.kind, "", &[cause]));
        }
        if let Some(namespace) = &target.namespace {
            let namespaces = self.kinds.resource("namespaces").cloned();
            let home = namespaces.map(|kind| Target {
                version: "v1".to_owned(),
                namespace: None,
                name: namespace.clone(),
                status: false,
                kind,
            });
            if let Some(home) = home.filter(|home| self.store.find(&home.key()).is_none()) {
                return Err(Refusal::missing(&home.kind, namespace));
            }
        }
        Ok(())
    }

    /// What the server gives to a new object.
    fn found(&mut self, target: &Target, object: &mut Value, caller: &Caller) {
        if target.kind.status {
            tree::take(object, &["status"]);
        }
        for field in ["resourceVersion", "generation", "deletionTimestamp", "managedFields"] {
            tree::take(object, &["metadata", field]);
        }
        let serial = self.next();
        let uid = format!("00000000-0000-4000-8000-{serial:012x}");
        tree::set(object, &["metadata", "uid"], uid.into());
        tree::set(object, &["metadata", "creationTimestamp"], caller.now.clone().into());
        tree::set(object, &["metadata", "name"], target.name.clone().into());
        if let Some(namespace) = &target.namespace {
            tree::set(object, &["metadata", "namespace"], namespace.clone().into());
        }
        if target.kind.counted {
            tree::set(object, &["metadata", "generation"], 1.into());
        }
        built_in::found(&target.kind, object, serial);
    }

    /// Prunes, fills in defaults, counts the generation, and checks.
    fn complete(&self, kind: &Kind, live: Option<&Stored>, object: &mut Value) -> Result<(), Refusal> {
        tree::set(object, &["kind"], kind.kind.clone().into());
        tree::set(object, &["apiVersion"], kind.api_version(kind.version()).into());
        if kind.custom {
            schema::prune(&kind.schema, object);
        }
        schema::default(&kind.schema, object);
        built_in::complete(kind, live.map(|live| &*live.object), object);
        if let Some(live) = live.map(|live| &*live.object)
            && kind.counted
            && content(object) != content(live)
        {
            let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
            tree::set(object, &["metadata", "generation"], (generation + 1).into());
        }
        let mut causes = Vec::new();
        schema::check(&kind.schema, object, live.map(|live| &*live.object), "", &mut causes);
        if causes.is_empty() {
            return Ok(());
        }
        Err(Refusal::invalid(kind, tree::text(object, "/metadata/name"), &causes))
    }

    /// Notes a write of status, and brings a definition into force.
    fn written(&mut self, target: &Target, object: &Value, caller: &Caller) {
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
            && let Some(kind) = Kind::defined(object)
        {
            self.kinds.define(kind);
        }
    }
}

/// What a verb makes of the object that is there, or not.
fn draft(target: &Target, verb: Verb, live: Option<&Stored>, caller: &Caller) -> Result<Draft, Refusal> {
    let missing = || Refusal::missing(&target.kind, &target.name);
    let (Verb::Create(body)
    | Verb::Replace(body)
    | Verb::Merge(body)
    | Verb::Strategic(body)
    | Verb::Json(body)
    | Verb::Apply { body, .. }) = &verb;
    let named = tree::text(body, "/metadata/name");
    if !named.is_empty() && named != target.name {
        let message =
            format!("the name of the object ({named}) does not match the name on the URL ({})", target.name);
        return Err(Refusal::new(400, message));
    }
    current(target, body, live, matches!(verb, Verb::Replace(_)))?;
    let owners = live.map(|live| live.owners.clone()).unwrap_or_default();
    let draft = |object| Ok(Draft { object, owners: owners.clone(), applied: false });
    let patched = |patch: &dyn Fn(&mut Value) -> Result<(), Refusal>| {
        let mut object = Value::clone(&live.ok_or_else(missing)?.object);
        patch(&mut object)?;
        draft(object)
    };
    match verb {
        Verb::Create(_) if live.is_some() => Err(Refusal::exists(&target.kind, &target.name)),
        Verb::Create(body) => draft(body),
        Verb::Replace(_) if live.is_none() => Err(missing()),
        Verb::Replace(body) => draft(body),
        Verb::Merge(body) => patched(&|object| {
            patch::merge(object, &body);
            Ok(())
        }),
        Verb::Strategic(body) => patched(&|object| {
            patch::strategic(&target.kind.schema, object, &body);
            Ok(())
        }),
        Verb::Json(body) => patched(&|object| patch::json(object, &body)),
        Verb::Apply { body, force } => {
            if body.pointer("/metadata/managedFields").is_some_and(|managed| !managed.is_null()) {
                return Err(Refusal::new(400, "metadata.managedFields must be nil"));
            }
            if target.status && live.is_none() {
                return Err(missing());
            }
            let body = part(target, body);
            let mut object = live.map_or_else(|| json!({}), |live| Value::clone(&live.object));
            let mut owners = owners.clone();
            owners::apply(target, caller, &mut object, &mut owners, &body, force)?;
            Ok(Draft { object, owners, applied: true })
        }
    }
}

/// Refuses what was made for another state of the object.
fn current(target: &Target, body: &Value, live: Option<&Stored>, replaces: bool) -> Result<(), Refusal> {
    let stale = || Err(Refusal::stale(&target.kind, &target.name));
    for field in ["/metadata/resourceVersion", "/metadata/uid"] {
        let wanted = tree::text(body, field);
        match live {
            Some(live) if !wanted.is_empty() && wanted != tree::text(&live.object, field) => return stale(),
            Some(_) if wanted.is_empty() && replaces && target.kind.guarded && field.ends_with("Version") => {
                let cause =
                    ("FieldValueInvalid", "must be specified for an update", "metadata.resourceVersion");
                let cause = (cause.0, cause.1.to_owned(), cause.2.to_owned());
                return Err(Refusal::invalid(&target.kind, &target.name, &[cause]));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of an applied object, the part that its endpoint takes, with the defaults that keys of lists have.
fn part(target: &Target, mut body: Value) -> Value {
    if target.status {
        let status = body.get("status").cloned().unwrap_or_else(|| json!({}));
        return json!({"status": status});
    }
    if target.kind.status {
        tree::take(&mut body, &["status"]);
    }
    if !target.kind.custom {
        schema::default(&target.kind.schema, &mut body);
    }
    body
}

/// Keeps from `live` what the endpoint does not write: status or all but status, and what only the server sets.
fn confine(target: &Target, object: &mut Value, live: &Value) {
    if target.status {
        let status = object.get("status").cloned();
        *object = live.clone();
        match status {
            Some(status) => tree::set(object, &["status"], status),
            None => {
                tree::take(object, &["status"]);
            }
        }
    } else if target.kind.status {
        tree::carry(object, live, &["status"]);
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "managedFields",
    ] {
        tree::carry(object, live, &["metadata", field]);
    }
}

/// What counts for the generation: all but metadata and status.
fn content(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| !["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()))
        .collect()
}

pub(crate) fn has_finalizers(object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|finalizers| !finalizers.is_empty())
}
