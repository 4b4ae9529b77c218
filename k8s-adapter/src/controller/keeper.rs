//! Brings what is there to what is wanted, and keeps it there.

use super::difference::holds;
use super::proxy::{CONTROLLER, MANAGED_BY, put_key};
use super::{ControllerOptions, Made, Obstacles, Wanted};
use crate::cluster::Vitals;
use crate::objects::Key;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Error};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Under which name fields are owned.
const MANAGER: &str = "mcp-gateway-controller";
/// How often it looks whether there is something to do.
const TICK: Duration = Duration::from_millis(250);
/// How often it makes sure that each Gateway has a Secret: it may create one, but not look for one.
const SEAL: Duration = Duration::from_secs(300);
/// Between two writes: many Gateways at once must not keep the API server busy.
const PACE: Duration = Duration::from_millis(50);

/// Kinds of what is made, except for the Secret: group and kind.
const KINDS: [(&str, &str); 3] = [("", "ServiceAccount"), ("", "Service"), ("apps", "Deployment")];

/// An object in the cluster, found by kind and key.
type There = BTreeMap<(String, Key), Value>;

pub(super) struct Keeper {
    client: Client,
    vitals: Arc<Vitals>,
    controller_name: String,
    readers: Option<String>,
    namespaces: Vec<String>,
    key: fn() -> String,
    sweep: Duration,
    /// Gateways, by uid, that have a Secret.
    sealed: BTreeSet<String>,
    sealed_since: Instant,
    /// What was said of the cluster last, so that it is not said again and again.
    trouble: Option<String>,
}

/// What to do about an object.
enum Step {
    Nothing,
    /// There is none. Not forced: what somebody else created in the meantime stays theirs.
    Create,
    Update,
}

impl Keeper {
    pub(super) fn new(
        client: Client,
        vitals: Arc<Vitals>,
        namespaces: Vec<String>,
        options: &ControllerOptions,
    ) -> Self {
        Self {
            client,
            vitals,
            controller_name: options.controller_name.clone(),
            readers: options.template.readers.clone(),
            namespaces,
            key: options.key,
            sweep: options.sweep,
            sealed: BTreeSet::new(),
            sealed_since: Instant::now(),
            trouble: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut wishes: watch::Receiver<Option<Wanted>>,
        tell: watch::Sender<Obstacles>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept: Option<Instant> = None;
        loop {
            tick.tick().await;
            let Ok(news) = wishes.has_changed() else { return };
            if !self.vitals.board().leader {
                swept = None;
                continue;
            }
            if !news && swept.is_some_and(|then| then.elapsed() < self.sweep) {
                continue;
            }
            let Some(wanted) = wishes.borrow_and_update().clone() else { continue };
            swept = Some(Instant::now());
            if let Some(obstacles) = self.reconcile(&wanted).await {
                tell.send_if_modified(|before| replace(before, obstacles));
            }
        }
    }

    /// Goes through everything once. None: the cluster could not be asked.
    async fn reconcile(&mut self, wanted: &Wanted) -> Option<Obstacles> {
        let there = self.there().await;
        let trouble = there.as_ref().err().cloned();
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            tracing::warn!(trouble, "can't look at the proxies of Gateways");
        }
        self.trouble = trouble;
        let there = there.ok()?;
        if self.sealed_since.elapsed() >= SEAL {
            self.sealed.clear();
            self.sealed_since = Instant::now();
        }
        let mut obstacles = Obstacles::new();
        let unbound = self.bind(&wanted.readers).await.err();
        for (key, made) in &wanted.proxies {
            let made = self.ensure(key, made, &there).await;
            if let Some(obstacle) = made.err().or_else(|| unbound.clone()) {
                obstacles.insert(key.clone(), obstacle);
            }
        }
        for ((kind, key), object) in &there {
            if self.is_released(object, &wanted.released) {
                self.delete(kind, key).await;
            }
        }
        Some(obstacles)
    }

    /// Everything that a controller made.
    async fn there(&self) -> Result<There, String> {
        let (label, value) = MANAGED_BY;
        let ours = ListParams::default().labels(&format!("{label}={value}"));
        let mut there = There::new();
        for (group, kind) in KINDS {
            let resource = resource(group, kind);
            let apis: Vec<Api<DynamicObject>> = match self.namespaces.as_slice() {
                [] => vec![Api::all_with(self.client.clone(), &resource)],
                some => some
                    .iter()
                    .map(|namespace| Api::namespaced_with(self.client.clone(), namespace, &resource))
                    .collect(),
            };
            for api in apis {
                let list = api.list(&ours).await.map_err(|error| format!("{kind}: {}", words(&error)))?;
                for object in list {
                    let key = Key {
                        namespace: object.metadata.namespace.clone().unwrap_or_default(),
                        name: object.metadata.name.clone().unwrap_or_default(),
                    };
                    there.insert((kind.to_owned(), key), plain(&object));
                }
            }
        }
        Ok(there)
    }

    /// Lets the ServiceAccounts of our Gateways read, and nobody else's.
    async fn bind(&self, readers: &BTreeSet<Key>) -> Result<(), String> {
        let Some(name) = &self.readers else { return Ok(()) };
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &resource("rbac.authorization.k8s.io", "ClusterRoleBinding"));
        let failed =
            |error: Error| format!("ClusterRoleBinding {name}, which lets proxies read: {}", words(&error));
        let binding = api.get(name).await.map_err(failed)?;
        let subjects: Value = readers
            .iter()
            .map(|key| json!({ "kind": "ServiceAccount", "name": key.name, "namespace": key.namespace }))
            .collect();
        let there = binding.data.get("subjects").filter(|subjects| !subjects.is_null());
        if there.unwrap_or(&json!([])) == &subjects {
            return Ok(());
        }
        // A version that is not the one that was read is refused.
        let patch = json!({
            "metadata": { "resourceVersion": binding.metadata.resource_version },
            "subjects": subjects,
        });
        sleep(PACE).await;
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(failed)?;
        tracing::info!(binding = name, subjects = readers.len(), "changed who may read");
        Ok(())
    }

    /// Makes what is missing, and changes what differs. Looks at all of it before it writes any.
    async fn ensure(&mut self, key: &Key, made: &Made, there: &There) -> Result<(), String> {
        let mut steps = Vec::new();
        for object in &made.objects {
            steps.push((object, self.step(key, made, object, there).await?));
        }
        for (object, step) in steps {
            let (group, kind) = kind_of(object);
            if kind == "Deployment" {
                self.seal(key, made).await?;
            }
            let (params, done) = match step {
                Step::Nothing => continue,
                Step::Create => (PatchParams::apply(MANAGER), "created"),
                Step::Update => (PatchParams::apply(MANAGER).force(), "updated"),
            };
            sleep(PACE).await;
            let api = self.api(group, kind, key);
            let applied = api.patch(&key.name, &params, &Patch::Apply(object)).await;
            applied.map_err(|error| format!("{kind} {key}: {}", words(&error)))?;
            tracing::info!(kind, %key, done, "part of a proxy");
        }
        Ok(())
    }

    async fn step(&self, key: &Key, made: &Made, object: &Value, there: &There) -> Result<Step, String> {
        let (group, kind) = kind_of(object);
        let listed = there.get(&(kind.to_owned(), key.clone()));
        let found = match listed {
            Some(_) => None,
            // Perhaps there is one that bears no label of ours.
            None => {
                let found = self.api(group, kind, key).get_opt(&key.name).await;
                found
                    .map_err(|error| format!("{kind} {key}: {}", words(&error)))?
                    .map(|object| plain(&object))
            }
        };
        match listed.or(found.as_ref()) {
            None => Ok(Step::Create),
            Some(there) if !is_owned_by(there, &made.uid) => {
                Err(format!("{kind} {key} is in the way: it was not made for this Gateway"))
            }
            Some(there) if is_as_applied(there, object) => Ok(Step::Nothing),
            Some(_) => Ok(Step::Update),
        }
    }

    /// Makes the Secret, once. One that is there stays as it is.
    async fn seal(&mut self, key: &Key, made: &Made) -> Result<(), String> {
        if self.sealed.contains(&made.uid) {
            return Ok(());
        }
        let secret = put_key(made.secret.clone(), &(self.key)());
        let secret: DynamicObject = serde_json::from_value(secret).map_err(|error| error.to_string())?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match self.api("", "Secret", key).create(&params, &secret).await {
            Ok(_) => tracing::info!(kind = "Secret", %key, done = "created", "part of a proxy"),
            Err(Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(format!("Secret {key}: {}", words(&error))),
        }
        self.sealed.insert(made.uid.clone());
        Ok(())
    }

    /// Whether an object was made by this controller for a Gateway that is another's now.
    fn is_released(&self, object: &Value, released: &BTreeSet<String>) -> bool {
        let by = object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(CONTROLLER));
        by.and_then(Value::as_str) == Some(&self.controller_name)
            && owners(object).any(|uid| released.contains(uid))
    }

    async fn delete(&self, kind: &str, key: &Key) {
        let Some((group, kind)) = KINDS.into_iter().find(|(_, known)| *known == kind) else { return };
        sleep(PACE).await;
        match self.api(group, kind, key).delete(&key.name, &DeleteParams::background()).await {
            Ok(_) => tracing::info!(kind, %key, "deleted: its Gateway is another controller's now"),
            Err(error) => tracing::warn!(kind, %key, error = words(&error), "can't delete"),
        }
    }

    fn api(&self, group: &str, kind: &str, key: &Key) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &key.namespace, &resource(group, kind))
    }
}

/// Tells whether that is news, and in the log what is new in it.
fn replace(before: &mut Obstacles, obstacles: Obstacles) -> bool {
    for (gateway, obstacle) in &obstacles {
        if before.get(gateway) != Some(obstacle) {
            tracing::warn!(%gateway, obstacle, "a Gateway has no proxy as it should be");
        }
    }
    let news = *before != obstacles;
    *before = obstacles;
    news
}

fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

fn kind_of(object: &Value) -> (&str, &str) {
    let text = |field| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    (group, text("kind"))
}

fn plain(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().filter_map(|owner| owner.get("uid").and_then(Value::as_str))
}

fn is_owned_by(object: &Value, uid: &str) -> bool {
    owners(object).any(|owner| owner == uid)
}

/// Lists don't say what their items are.
fn is_as_applied(there: &Value, wanted: &Value) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| !["apiVersion", "kind"].contains(&name.as_str()))
        .all(|(name, wanted)| there.get(name).is_some_and(|there| holds(there, wanted)))
}

/// What the server says, or why it says nothing.
fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}
